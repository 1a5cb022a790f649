# SPDX-License-Identifier: Apache-2.0
"""Tests of the CAN bus, its nodes and the batteries on it."""
