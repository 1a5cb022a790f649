"""The sinks that send to other computers: [metrics] and [mqtt] of a configuration."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path

from dronebms.core.clock import Clock
from dronebms.core.optional import needed_by
from dronebms.core.report import Sink
from dronebms.service.config import Config

_log = logging.getLogger(__name__)


def remote_sinks(config: Config, stack: ExitStack, clock: Clock) -> list[Sink]:
    """Return the sinks of [metrics] and [mqtt], at work until the stack is left.

    Raises:
        ConfigError: a package that one needs is not installed, or a file of it cannot be used.
    """
    sinks: list[Sink] = []
    if config.metrics is not None:
        with needed_by("[metrics] needs", "metrics"):
            from dronebms.telemetry.openmetrics import OpenMetricsExporter  # noqa: PLC0415 - an extra
        try:
            sinks.append(stack.enter_context(closing(OpenMetricsExporter(config.metrics, clock))))
        except OSError as error:  # a missing scrape endpoint must not leave a pack unprotected
            _log.error(
                "no metrics at %s:%d: %s",
                config.metrics.address,
                config.metrics.port,
                error.strerror or error,
            )
    if config.mqtt is not None:
        with needed_by("[mqtt] needs", "mqtt"):
            from dronebms.telemetry.mqtt import MqttPublisher  # noqa: PLC0415 - an extra
        queue = None if config.state is None else Path(config.state.dir) / "mqtt.sqlite"
        charger = None if config.charger is None else config.charger.topic
        sinks.append(stack.enter_context(closing(MqttPublisher(config.mqtt, queue, charger))))
    return sinks
