# SPDX-License-Identifier: Apache-2.0
"""Section `[dronecan]` of the configuration."""

from typing import Annotated

from pydantic import AfterValidator, Field

from dronebms.core.errors import LinkError
from dronebms.core.toml_schema import PrintableText, Section
from dronebms.dronecan.can_url import parse_can_url


def can_url(text: str) -> str:
    """Validate a CAN URL.

    Raises:
        ValueError: what was expected.
    """
    try:
        url = parse_can_url(text)
    except LinkError as error:
        raise ValueError(str(error).partition(": expected ")[2]) from error
    return str(url)


# ids above are those of debugging tools
LAST_NODE = 125
LAST_BATTERY = 255


class DronecanConfig(Section):
    """Packs as batteries on a CAN bus; each pack is a node of its own."""

    url: Annotated[PrintableText, AfterValidator(can_url)]
    """CAN bus: `socketcan:INTERFACE`, `slcan:PATH`, `mcast:NUMBER`, or `mavcan`: that of the
    autopilot, over the link of the vehicle."""
    node_id: Annotated[int, Field(ge=1, le=LAST_NODE)] | None = None
    """Node id of the first battery, the others follow; without it the ids are allocated."""
    battery_id: Annotated[int, Field(ge=0, le=LAST_BATTERY)] = 0
    """battery_id of the first battery, the others follow; ArduPilot's BATT_SERIAL_NUM."""
    rate_hz: Annotated[float, Field(ge=1.0, le=10.0)] = 2.0
    """Rate of BatteryInfo."""
    cbat: bool = False
    """Also CBAT, for PX4."""

    @property
    def sends(self) -> str:
        """The messages, for people."""
        return "BatteryInfo, BatteryInfoAux" + (", CBAT" if self.cbat else "")

    @property
    def nodes(self) -> str:
        """Node and battery ids, for people."""
        node = "node ids allocated" if self.node_id is None else f"node ids from {self.node_id}"
        return f"{node}, battery ids from {self.battery_id}"
