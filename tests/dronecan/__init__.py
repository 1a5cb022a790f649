"""Tests of the CAN bus, its nodes and the batteries on it."""
