# SPDX-License-Identifier: Apache-2.0
"""The CAN buses of a service: one thread for each URL, shared by packs that are read and sent."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from dronebms.core.clock import Clock
from dronebms.core.optional import needed_by
from dronebms.dronecan.can_url import CanUrl

if TYPE_CHECKING:
    from collections.abc import Callable

    from dronebms.dronecan.can_bus import CanBus
    from dronebms.dronecan.transports import FramePort

EXTRA = "dronecan"


class CanBuses:
    """Buses by their URL; `start` after the last use of `of`.

    Args:
        clock: of the loop.
        stack: closes the buses.
        mavlink: makes the port of `mavcan`, the CAN bus behind the link of the vehicle.
    """

    def __init__(
        self, clock: Clock, stack: ExitStack, mavlink: "Callable[[], FramePort] | None" = None
    ) -> None:
        self._clock = clock
        self._stack = stack
        self._mavlink = mavlink
        self._buses: dict[CanUrl, CanBus] = {}

    def of(self, url: CanUrl) -> "CanBus":
        """The bus of a URL.

        Raises:
            ConfigError: its package is not installed.
        """
        if url not in self._buses:
            bus_class = can_bus_class()
            if self._mavlink is not None and url.kind == "mavcan":
                from dronebms.dronecan.transports import PortTransport  # noqa: PLC0415 - an extra

                port = self._mavlink()
                bus = bus_class(url, self._clock, lambda _: PortTransport(port))
            else:
                bus = bus_class(url, self._clock)
            self._buses[url] = bus
            self._stack.callback(self._buses[url].close)
        return self._buses[url]

    def start(self) -> None:
        """Start the threads of all buses."""
        for bus in self._buses.values():
            bus.start()

    @property
    def trouble(self) -> str | None:
        """Description of a fault of a bus, `None` without one."""
        return next((bus.trouble for bus in self._buses.values() if bus.trouble), None)


def can_bus_class() -> "type[CanBus]":
    """The class of a bus.

    Raises:
        ConfigError: its package is not installed.
    """
    with needed_by("a CAN bus needs", EXTRA):
        from dronebms.dronecan.can_bus import CanBus  # noqa: PLC0415 - an extra
    return CanBus
