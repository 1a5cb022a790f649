# SPDX-License-Identifier: Apache-2.0
"""Tests of the generated files and of the site."""
