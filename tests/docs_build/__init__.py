"""Tests of the generated files and of the site."""
