# SPDX-License-Identifier: Apache-2.0
"""Simulated smart batteries: cells, gauge, bus, faults and flights; no MAVLink.

from sim import open_virtual

bus, world = open_virtual("survey", clock, seed=1)  # a pack at 0x0b on a virtual bus
"""

from sim.emulator import SMBus, World, open_bus, open_virtual
from sim.plant import FAULTS, Scenario, load_scenario, parse_fault, scenario_names

__all__ = [
    "FAULTS",
    "SMBus",
    "Scenario",
    "World",
    "load_scenario",
    "open_bus",
    "open_virtual",
    "parse_fault",
    "scenario_names",
]
