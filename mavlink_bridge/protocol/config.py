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
    system_id: Annotated[int, Field(ge=1, le=255)] | None = None  # None: the first received
    component_id: Annotated[int, Field(ge=2, le=250), AfterValidator(_free)] = 191  # of us
    vehicle: Literal["auto", "ardupilot", "px4"] = "auto"
    battery_id: Annotated[int, Field(ge=-1, le=250)] = -1  # -1: first free id
    # What BATTERY_STATUS.time_remaining is; None: the 5 % bound to an autopilot that acts on it.
    report_time: Literal["median", "low"] | None = None
    accept_systems: Annotated[  # may send requests; TOML has arrays alone
        tuple[Annotated[int, Field(strict=True, ge=1, le=255)], ...], Field(strict=False)
    ] = (255,)
    signing_key: FilePath | None = None  # path of a file with a passphrase
