"""Lints that no standard tool has: the language and the state of modules."""
