# SPDX-License-Identifier: Apache-2.0
"""Configuration of MQTT and OpenMetrics."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dronebms.core.toml_schema import FilePath, NonEmptyText, Positive, Section

Port = Annotated[int, Field(ge=1, le=65535)]


def _topic(text: str) -> str:
    if not text or set(text) & set("+#\0") or text.strip("/") != text:
        raise ValueError('a topic such as "fleet/drone7", without + and #')
    return text


Topic = Annotated[str, AfterValidator(_topic)]


class MetricsConfig(Section):
    """OpenMetrics exporter, by default for this computer alone."""

    port: Port = 9100
    """TCP port of the exporter."""
    address: NonEmptyText = "127.0.0.1"
    """Address that the exporter listens on."""


class MqttConfig(Section):
    """MQTT broker; messages are queued while it is away."""

    host: NonEmptyText
    """Name or address of the broker."""
    port: Port = 1883
    """TCP port of the broker."""
    topic: Topic = "dronebms"
    """Topic that all topics of this computer are below."""
    period_s: Positive = 10.0
    """Time between the reports of one battery."""
    max_mb: Positive = 64.0
    """Size of the queued messages, in MB."""
    ca: FilePath | None = None
    """File of the certificate authority; without it no TLS."""
    certificate: FilePath | None = None
    """File of the client certificate; needs `key` and `ca`."""
    key: FilePath | None = None
    """File of the key of the client certificate."""
    user: NonEmptyText | None = None
    """Name of the user at the broker."""
    password_file: FilePath | None = None
    """File of the user's password."""

    @model_validator(mode="after")
    def _fits(self) -> "MqttConfig":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("both certificate and key, or neither")
        if self.ca is None and self.certificate is not None:
            raise ValueError("ca in addition to certificate and key")
        if self.user is None and self.password_file is not None:
            raise ValueError("user in addition to password_file")
        return self
