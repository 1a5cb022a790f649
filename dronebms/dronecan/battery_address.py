# SPDX-License-Identifier: Apache-2.0
"""Address of a DroneCAN pack: `dronecan:URL#ID`, or `#nodeID` for a pack that sends no id."""

from dataclasses import dataclass

from dronebms.core.errors import LinkError
from dronebms.dronecan.can_url import CanUrl, parse_can_url
from dronebms.dronecan.frames import NODE_IDS

PREFIX = "dronecan:"
BATTERY_IDS = range(256)
FORM = '"dronecan:URL#ID", as "dronecan:socketcan:can0#1", or #node42 for a pack without an id'
_NODE = "node"


@dataclass(frozen=True, slots=True)
class BatteryAddress:
    """Bus and id of a pack; one of the two ids is `None`."""

    bus: CanUrl
    battery_id: int | None = None
    node_id: int | None = None

    @property
    def name(self) -> str:
        """Name of the pack in sentences."""
        if self.battery_id is None:
            return f"node {self.node_id} on {self.bus}"
        return f"battery {self.battery_id} on {self.bus}"


@dataclass(frozen=True, slots=True)
class CanPack:
    """Address and peculiarities of a pack.

    Attributes:
        address: of the pack.
        cells: in series; `None`: as the pack states.
        nominal_v: of the pack, by which Wh are Ah; `None`: as the pack states.
        reversed_types: ids of the data types whose current has the other sign than is usual.
        ignore_flags: whether the maker has given the status flags another sense.
    """

    address: BatteryAddress
    cells: int | None = None
    nominal_v: float | None = None
    reversed_types: frozenset[int] = frozenset()
    ignore_flags: bool = False

    @property
    def name(self) -> str:
        """Name of the pack in sentences."""
        return self.address.name


def parse_battery(text: str) -> BatteryAddress:
    """Parse the address of a pack.

    Raises:
        LinkError: invalid address; the message states the expected form after "expected".
    """
    url, mark, number = text.removeprefix(PREFIX).partition("#")
    ids = BATTERY_IDS
    is_node = number.startswith(_NODE)
    if is_node:
        ids = NODE_IDS
        number = number.removeprefix(_NODE)
    if not text.startswith(PREFIX) or not mark or not (number.isascii() and number.isdecimal()):
        raise LinkError(f"DroneCAN pack {text!r}: expected {FORM}")
    # A long number is out of range, whatever it is.
    if len(number) > len(str(ids[-1])) or int(number) not in ids:
        what = "node id" if is_node else "battery id"
        raise LinkError(f"DroneCAN pack {text!r}: expected a {what} from {ids[0]} to {ids[-1]}")
    bus = parse_can_url(url)
    return BatteryAddress(bus, *((None, int(number)) if is_node else (int(number),)))
