"""Tests with programs that nobody here wrote, over loopback only."""
