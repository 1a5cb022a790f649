# SPDX-License-Identifier: Apache-2.0
"""Section `[mavlink]` of the configuration, or several sections `[[mavlink]]`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dronebms.core.errors import LinkError
from dronebms.core.toml_schema import FilePath, Section, sentence
from mavlink_bridge.protocol.link import parse_url

_TAKEN = (180, 181)  # of the batteries
# roles of a link
VEHICLE = "vehicle"
TELEMETRY = "telemetry"
_OF_EVERY_LINK = ("url", "role", "accept_systems", "signing_key")


def _link_url(text: str) -> str:
    try:
        parse_url(text)
    except LinkError as error:
        why, _, expected = str(error).partition(": expected ")
        if not expected:
            raise sentence(why.partition(": ")[2]) from error
        raise ValueError(expected) from error
    return text


def _free(component: int) -> int:
    if component in _TAKEN:
        raise ValueError("a component that is no battery's: neither 180 nor 181")
    return component


class MavlinkConfig(Section):
    """Link to the flight controller, or to a receiver of telemetry."""

    url: Annotated[str, AfterValidator(_link_url)] = "udpout:127.0.0.1:14550"
    """Link to the flight controller: `udpout:HOST:PORT`, `udpin:HOST:PORT`, `tcp:HOST:PORT` or
    `serial:PATH[:BAUD]`."""
    role: Literal["vehicle", "telemetry"] = "vehicle"
    """`vehicle`: the one link whose autopilot is followed and commanded; `telemetry`: reports and
    texts alone, for a ground station."""
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
    pack_voltage_only: bool = False
    """BATTERY_STATUS has the pack's voltage in `voltages[0]` and no cells, for receivers that read
    that field alone."""

    @model_validator(mode="after")
    def _has_the_keys_of_its_role(self) -> "MavlinkConfig":
        given = [key for key in type(self).model_fields if key in self.model_fields_set]
        wrong = [key for key in given if key not in _OF_EVERY_LINK]
        if self.role == TELEMETRY and wrong:
            raise ValueError(f"{wrong[0]} on the link of the vehicle; every link has its values")
        if self.role == TELEMETRY and "url" not in given:
            raise ValueError("a url with role telemetry")
        return self


def _as_list(given: object) -> object:
    return [given] if isinstance(given, dict | MavlinkConfig) else given


def _links(links: list[MavlinkConfig]) -> list[MavlinkConfig]:
    """Exactly one link leads to the vehicle, and no two are the same."""
    vehicles = [number for number, one in enumerate(links, 1) if one.role == VEHICLE]
    if not vehicles:
        raise ValueError(f'one link with role = "{VEHICLE}"')
    if len(vehicles) > 1:
        numbers = " and ".join(f"mavlink.{number}" for number in vehicles)
        raise ValueError(
            f'one link to the vehicle, not {numbers}: write role = "{TELEMETRY}" to the others'
        )
    urls = [one.url for one in links]
    twice = next((url for url in urls if urls.count(url) > 1), None)
    if twice is not None:
        raise ValueError(f"another url in each [[mavlink]], not {twice} twice")
    return links


Links = Annotated[
    list[MavlinkConfig],
    Field(min_length=1),
    AfterValidator(_links),
    BeforeValidator(_as_list, json_schema_input_type=MavlinkConfig | list[MavlinkConfig]),
]
