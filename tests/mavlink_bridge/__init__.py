"""Tests of the MAVLink bridge."""
