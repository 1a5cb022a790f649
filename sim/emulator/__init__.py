# SPDX-License-Identifier: Apache-2.0
"""Emulated devices on a virtual bus: SBS gauge, BQ40, bus faults, stand-in for smbus2.SMBus."""

from sim.emulator.bq40 import Bq40
from sim.emulator.bus import Device, VirtualBus
from sim.emulator.gauge import VirtualGauge
from sim.emulator.smbus2_stub import SMBus
from sim.emulator.world import World, open_bus, open_virtual

__all__ = [
    "Bq40",
    "Device",
    "SMBus",
    "VirtualBus",
    "VirtualGauge",
    "World",
    "open_bus",
    "open_virtual",
]
