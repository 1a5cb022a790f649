"""What needs an extra, loaded when it is asked for, and what only a fleet needs of the service."""

import importlib
import logging
from contextlib import ExitStack, closing
from pathlib import Path
from types import ModuleType

from dronebms.core.clock import Clock
from dronebms.core.errors import ConfigError
from dronebms.monitoring.pipeline import Sink
from dronebms.service.config import Config

_log = logging.getLogger(__name__)


def load(name: str, who: str, extra: str) -> ModuleType:
    """Return a module of the core, on behalf of who needs it.

    Raises:
        ConfigError: what it needs is not installed.
    """
    try:
        return importlib.import_module(f"dronebms.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{who} {error.name}: pip install 'dronebms[{extra}]'") from error


def fleet_sinks(config: Config, stack: ExitStack, clock: Clock) -> list[Sink]:
    """Return the sinks of [metrics] and [mqtt], at work until the stack is left.

    Raises:
        ConfigError: what one needs is not installed, or a file of it cannot be used.
    """
    sinks: list[Sink] = []
    if config.metrics is not None:
        told = config.metrics
        try:
            metrics = load("telemetry.openmetrics", "[metrics] needs", "metrics").Metrics(
                told, clock
            )
            sinks.append(stack.enter_context(closing(metrics)))
        except OSError as error:  # nobody can scrape; that must not keep a pack unguarded
            _log.error("no metrics at %s:%d: %s", told.address, told.port, error.strerror or error)
    if config.mqtt is not None:
        queue = None if config.state is None else Path(config.state.dir) / "mqtt.sqlite"
        charger = None if config.charger is None else config.charger.topic
        mqtt = load("telemetry.mqtt", "[mqtt] needs", "mqtt").Mqtt(config.mqtt, queue, charger)
        sinks.append(stack.enter_context(closing(mqtt)))
    return sinks
