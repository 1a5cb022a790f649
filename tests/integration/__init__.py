"""Tests with independent programs, over loopback only."""
