# SPDX-License-Identifier: Apache-2.0
"""Where a pack is: bus, address, profile and multiplexer channel."""

from collections.abc import Callable
from dataclasses import dataclass

from dronebms.core.service_defaults import AUTO
from smartbattery.bus import Bus
from smartbattery.registers import ADDRESS

DEVICE = "/dev/"
HOLDER = "dronebms probe"
OpenBus = Callable[[str], Bus]  # a device or "sim:SCENARIO"
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Bus, address, profile and multiplexer channel of a pack."""

    bus: str
    address: int = ADDRESS
    gauge: str = AUTO
    channel: tuple[int, int] | None = None  # address and channel of a multiplexer

    def __str__(self) -> str:
        """As the title of a readout has it, with the channel of a multiplexer."""
        text = f"{self.bus} address 0x{self.address:02x}"
        if self.channel is None:
            return text
        return "{}, multiplexer 0x{:02x} channel {}".format(text, *self.channel)
