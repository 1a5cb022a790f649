# SPDX-License-Identifier: Apache-2.0
"""The flight ahead: the way home, the mission, their verdicts."""
