"""Whom a TOML file lets the service tell: a flight controller, a scraper, a broker, a charger."""

import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from dronebms.core.toml_schema import Positive, Section, Word

Port = Annotated[int, Field(ge=1, le=65535)]


def _topic(text: str) -> str:
    if not text or set(text) & set("+#\0") or text.strip("/") != text:
        raise ValueError('a topic such as "fleet/drone7", without + and #')
    return text


Topic = Annotated[str, AfterValidator(_topic)]


class MavlinkConfig(Section):
    """The link to the flight controller."""

    url: str = "udpout:127.0.0.1:14550"
    system_id: Annotated[int, Field(ge=1, le=255)] = 1
    vehicle: Literal["auto", "ardupilot", "px4"] = "auto"
    battery_id: Annotated[int, Field(ge=-1, le=250)] = -1  # -1: the first that is free
    accept_systems: tuple[Annotated[int, Field(ge=1, le=255)], ...] = (255,)  # that may ask
    signing_key: Word | None = None  # file with a passphrase


class MetricsConfig(Section):
    """OpenMetrics for a scraper, on this computer alone unless told otherwise."""

    port: Port = 9100
    address: Word = "127.0.0.1"


class MqttConfig(Section):
    """A broker that is told what happens, later if it is away now."""

    host: Word
    port: Port = 1883
    topic: Topic = "dronebms"
    period_s: Positive = 10.0  # of the reports of one battery
    max_mb: Positive = 64.0  # of what waits
    ca: Word | None = None  # file: who vouches for the broker; without it no TLS
    certificate: Word | None = None  # files: our own, where the broker asks for one
    key: Word | None = None
    user: Word | None = None
    password_file: Word | None = None

    @model_validator(mode="after")
    def _fits(self) -> "MqttConfig":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("both of certificate and key, or neither")
        if self.ca is None and self.certificate is not None:
            raise ValueError("ca beside certificate and key")
        if self.user is None and self.password_file is not None:
            raise ValueError("user beside password_file")
        return self


class ChargerConfig(Section):
    """What regulates a charger, told `reduce` or `stop`: a program, an MQTT topic; not if armed."""

    command: Annotated[list[Word], Field(min_length=1)] | None = None
    topic: Topic | None = None

    @model_validator(mode="after")
    def _is_something(self) -> "ChargerConfig":
        if self.command is None and self.topic is None:
            raise ValueError("command, topic or both")
        return self

    @property
    def place(self) -> str:
        """What is told, for people."""
        program = None if self.command is None else f"the program {shlex.join(self.command)}"
        topic = None if self.topic is None else f"the MQTT topic {self.topic}"
        return " and ".join(filter(None, (program, topic)))
