"""What only a fleet needs of the service, loaded when the configuration asks for it."""

import importlib
import logging
from contextlib import ExitStack, closing
from pathlib import Path
from types import ModuleType

from dronebms.clock import Clock
from dronebms.config import Config
from dronebms.errors import ConfigError
from dronebms.monitor import Sink

_log = logging.getLogger(__name__)


def load(name: str, who: str, extra: str | None = None) -> ModuleType:
    """Return a module of the fleet, on behalf of who needs it; its extra has its name, or another.

    Raises:
        ConfigError: what it needs is not installed.
    """
    try:
        return importlib.import_module(f"dronebms.fleet.{name}")
    except ModuleNotFoundError as error:
        hint = f"pip install 'dronebms[{extra or name}]'"
        raise ConfigError(f"{who} {error.name}: {hint}") from error


def fleet_sinks(config: Config, stack: ExitStack, clock: Clock) -> list[Sink]:
    """Return the sinks of [metrics] and [mqtt], at work until the stack is left.

    Raises:
        ConfigError: what one needs is not installed, or a file of it cannot be used.
    """
    sinks: list[Sink] = []
    if config.metrics is not None:
        told = config.metrics
        try:
            metrics = load("metrics", "[metrics] needs").Metrics(told, clock)
            sinks.append(stack.enter_context(closing(metrics)))
        except OSError as error:  # nobody can scrape; that must not keep a pack unguarded
            _log.error("no metrics at %s:%d: %s", told.address, told.port, error.strerror or error)
    if config.mqtt is not None:
        queue = None if config.state is None else Path(config.state.dir) / "mqtt.sqlite"
        charger = None if config.charger is None else config.charger.topic
        mqtt = load("mqtt", "[mqtt] needs").Mqtt(config.mqtt, queue, charger)
        sinks.append(stack.enter_context(closing(mqtt)))
    return sinks
