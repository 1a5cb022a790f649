# SPDX-License-Identifier: Apache-2.0
"""Lines that a vehicle flies, and its power by motion."""
