"""Figures that anyone can print: cost, estimate, mutation."""
