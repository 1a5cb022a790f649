# SPDX-License-Identifier: Apache-2.0
"""Driver of smart batteries on SMBus: raw transfers below, validated values above.

    from smartbattery import Gauge, LinuxBus

    bus = LinuxBus("/dev/i2c-1")
    snapshot = Gauge(bus).poll(now_s=0.0)  # the caller's clock, monotonic seconds
    print(snapshot.voltage_v, snapshot.current_a, snapshot.cells_v, snapshot.trouble)

Nothing in it is specific to drones. `None` is unknown; current is positive while discharging.
"""

from smartbattery.bus import Bus
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import (
    AdapterLimitError,
    BatteryError,
    BusAbsentError,
    BusError,
    BusTimeoutError,
    IntegrityError,
    InUseError,
    NackError,
    UnsupportedError,
)
from smartbattery.gauge import Gauge
from smartbattery.linux_bus import LinuxBus
from smartbattery.multiplexer import MuxBus
from smartbattery.profiles import PROFILES, Profile, profile_named
from smartbattery.snapshot import BusCounts, Identity, Snapshot

__all__ = [
    "PROFILES",
    "AdapterLimitError",
    "BatteryError",
    "Bus",
    "BusAbsentError",
    "BusCounts",
    "BusError",
    "BusTimeoutError",
    "Gauge",
    "GaugeLock",
    "Identity",
    "InUseError",
    "IntegrityError",
    "LinuxBus",
    "MuxBus",
    "NackError",
    "PlaybackBus",
    "Profile",
    "RecordingBus",
    "Snapshot",
    "Transfer",
    "UnsupportedError",
    "profile_named",
]
