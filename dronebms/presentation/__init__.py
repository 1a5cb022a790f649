# SPDX-License-Identifier: Apache-2.0
"""Texts and values that the terminal, the page of `dronebms web` and the report share.

A screen draws them; it has no wording of its own.
"""
