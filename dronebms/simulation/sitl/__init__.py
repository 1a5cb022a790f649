# SPDX-License-Identifier: Apache-2.0
"""Virtual packs as the battery of a simulated ArduPilot or PX4 vehicle."""

from dronebms.simulation.sitl.packs import FOUND_S, Sitl

__all__ = ["FOUND_S", "Sitl"]
