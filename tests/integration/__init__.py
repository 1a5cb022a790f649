# SPDX-License-Identifier: Apache-2.0
"""Tests with independent programs, over loopback only."""
