"""Remaining flight time and protection from a smart battery, for a drone's companion computer."""
