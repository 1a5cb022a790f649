# SPDX-License-Identifier: Apache-2.0
"""Lints that no standard tool has: the language and the state of modules."""
