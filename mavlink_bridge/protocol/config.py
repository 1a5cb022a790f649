"""Moved."""

from typing import Annotated, Literal

from pydantic import Field

from dronebms.core.toml_schema import NonEmptyText, Section


class MavlinkConfig(Section):
    """The link to the flight controller."""

    url: str = "udpout:127.0.0.1:14550"
    system_id: Annotated[int, Field(ge=1, le=255)] = 1
    vehicle: Literal["auto", "ardupilot", "px4"] = "auto"
    battery_id: Annotated[int, Field(ge=-1, le=250)] = -1  # -1: the first that is free
    accept_systems: tuple[Annotated[int, Field(ge=1, le=255)], ...] = (255,)  # that may ask
    signing_key: NonEmptyText | None = None  # file with a passphrase
