"""Section `[mavlink]` of the configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dronebms.core.errors import LinkError
from dronebms.core.toml_schema import FilePath, Section
from mavlink_bridge.protocol.link import parse_url

_TAKEN = (180, 181)  # of the batteries


def _link_url(text: str) -> str:
    try:
        parse_url(text)
    except LinkError as error:
        raise ValueError(str(error).partition(": expected ")[2] or str(error)) from error
    return text


def _free(component: int) -> int:
    if component in _TAKEN:
        raise ValueError("a component that is no battery's: neither 180 nor 181")
    return component


class MavlinkConfig(Section):
    """Link to the flight controller."""

    url: Annotated[str, AfterValidator(_link_url)] = "udpout:127.0.0.1:14550"
    """Link to the flight controller: `udpout:HOST:PORT`, `udpin:HOST:PORT`, `tcp:HOST:PORT` or
    `serial:PATH[:BAUD]`."""
    system_id: Annotated[int, Field(ge=1, le=255)] | None = None
    """System id of the vehicle, the only one that is followed; else the first autopilot received.
    """
    component_id: Annotated[int, Field(ge=2, le=250), AfterValidator(_free)] = 191
    """MAVLink component of this computer."""
    vehicle: Literal["auto", "ardupilot", "px4"] = "auto"
    """Flight stack; `auto` follows the heartbeat."""
    battery_id: Annotated[int, Field(ge=-1, le=250)] = -1
    """BATTERY_STATUS.id of the first battery; -1: the first free one."""
    report_time: Literal["median", "low"] | None = None
    """What BATTERY_STATUS.time_remaining is: the median, or the 5 % bound (`low`); else the bound
    to an autopilot that acts on it, the median to others."""
    accept_systems: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=1, le=255)], ...], Field(strict=False)
    ] = (255,)
    """System ids of the ground stations whose requests are answered."""
    signing_key: FilePath | None = None
    """File with the passphrase that frames are signed with."""
