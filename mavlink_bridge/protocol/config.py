"""Section `[mavlink]` of the configuration."""

from typing import Annotated, Literal

from pydantic import Field

from dronebms.core.toml_schema import NonEmptyText, Section


class MavlinkConfig(Section):
    """Link to the flight controller."""

    url: str = "udpout:127.0.0.1:14550"
    system_id: Annotated[int, Field(ge=1, le=255)] = 1
    vehicle: Literal["auto", "ardupilot", "px4"] = "auto"
    battery_id: Annotated[int, Field(ge=-1, le=250)] = -1  # -1: first free id
    accept_systems: tuple[Annotated[int, Field(ge=1, le=255)], ...] = (255,)  # may send requests
    signing_key: NonEmptyText | None = None  # path of a file with a passphrase
