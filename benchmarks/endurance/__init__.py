# SPDX-License-Identifier: Apache-2.0
"""Endurance: the service with everything on for hours, disturbed at random moments of a seed."""
