# SPDX-License-Identifier: Apache-2.0
"""Remaining flight time and protection from a smart battery, for a drone's companion computer."""

__version__ = "0.2.0"
__all__ = ["__version__"]
