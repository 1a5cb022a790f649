# SPDX-License-Identifier: Apache-2.0
"""Interface of gauges that other packages add, by an entry point of the group `dronebms.gauges`.

The name of the entry point is the scheme of the bus in a configuration: `jbd = "dronebms_jbd"`
serves `bus = "jbd:/dev/ttyUSB0"`. It refers to a module, or an object, that is a `GaugePackage`.
docs/gauges.md has the steps; `sim.source_contract` checks a gauge.
"""

from importlib import metadata
from typing import Protocol

from smartbattery.snapshot import Snapshot

GAUGES = "dronebms.gauges"  # group of the entry points
GAUGE_INTERFACE = 1  # changes when a package of the earlier one would not work any more


class PackageGauge(Protocol):
    """A `Source` that is polled by a thread of its own."""

    def poll(self, now_s: float) -> Snapshot:
        """Snapshot at `now_s`; opens the device when it is not open, and never raises for it.

        Returns within half a second. Values without a valid reading are `None`; `read_at_s` has the
        time of each reading; without a voltage `trouble` has the reason.
        """
        ...

    def close(self) -> None:
        """Close the device; nothing is polled after that."""
        ...


class GaugePackage(Protocol):
    """What the entry point refers to."""

    INTERFACE: int  # GAUGE_INTERFACE that the package was written for

    def open_gauge(self, bus: str, cells: int | None) -> PackageGauge:
        """The gauge of a bus; nothing is opened or sent before its first poll.

        Args:
            bus: as configured, with the scheme.
            cells: in series, as configured.

        Raises:
            ConfigError: the place can never be a device.
        """
        ...

    def trouble_of(self, bus: str) -> tuple[str, str] | None:
        """What will not work on this machine now, and the line that mends it; opens nothing."""
        ...


def scheme_of(bus: str) -> str:
    """Scheme of a bus; "" without one."""
    scheme, colon, _ = bus.partition(":")
    return scheme if colon else ""


def schemes() -> list[str]:
    """Schemes of the installed packages; none of them is imported."""
    return sorted({entry.name for entry in metadata.entry_points(group=GAUGES)})
