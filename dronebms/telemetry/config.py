"""Moved."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dronebms.core.toml_schema import NonEmptyText, Positive, Section

Port = Annotated[int, Field(ge=1, le=65535)]


def _topic(text: str) -> str:
    if not text or set(text) & set("+#\0") or text.strip("/") != text:
        raise ValueError('a topic such as "fleet/drone7", without + and #')
    return text


Topic = Annotated[str, AfterValidator(_topic)]


class MetricsConfig(Section):
    """OpenMetrics for a scraper, on this computer alone unless told otherwise."""

    port: Port = 9100
    address: NonEmptyText = "127.0.0.1"


class MqttConfig(Section):
    """A broker that is told what happens, later if it is away now."""

    host: NonEmptyText
    port: Port = 1883
    topic: Topic = "dronebms"
    period_s: Positive = 10.0  # of the reports of one battery
    max_mb: Positive = 64.0  # of what waits
    ca: NonEmptyText | None = None  # file: who vouches for the broker; without it no TLS
    certificate: NonEmptyText | None = None  # files: our own, where the broker asks for one
    key: NonEmptyText | None = None
    user: NonEmptyText | None = None
    password_file: NonEmptyText | None = None

    @model_validator(mode="after")
    def _fits(self) -> "MqttConfig":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("both of certificate and key, or neither")
        if self.ca is None and self.certificate is not None:
            raise ValueError("ca beside certificate and key")
        if self.user is None and self.password_file is not None:
            raise ValueError("user beside password_file")
        return self
