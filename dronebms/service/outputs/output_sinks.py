# SPDX-License-Identifier: Apache-2.0
"""The outputs of a service, each from its own section of the configuration.

An exit stack closes them. A sink that cannot be opened is logged and tried again: it must not leave
a pack unguarded.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dronebms import __version__
from dronebms.core.clock import Clock
from dronebms.core.optional import needed_by
from dronebms.core.report import Report, Sink
from dronebms.dronecan.can_url import parse_can_url
from dronebms.estimation.learning.pack_memory import (
    LEARNED_FOLDER,
    BackgroundPackMemory,
    PackMemoryFolder,
)
from dronebms.recording.archive import Bounds, Folder
from dronebms.recording.recorder import Recorder
from dronebms.recording.records import Start
from dronebms.service.can_buses import CanBuses
from dronebms.service.config.service_config import (
    ChargerConfig,
    Config,
    RecordingConfig,
    StateConfig,
    StatusConfig,
)
from dronebms.service.external_program import ChargerHook
from dronebms.service.outputs.retried_sink import ClosingSink, RetriedSink
from dronebms.telemetry.config import MetricsConfig, MqttConfig
from dronebms.telemetry.status_socket import StatusServer
from mavlink_bridge.protocol.flight_stacks import PX4

if TYPE_CHECKING:
    from dronebms.telemetry.mqtt import MqttPublisher
    from dronebms.telemetry.openmetrics import OpenMetricsExporter

_MB = 1e6
_log = logging.getLogger(__name__)


def status_server_of(config: StatusConfig | None, stack: ExitStack) -> Sink | None:
    """The status socket for viewers; `None` if none is configured."""
    if config is None:
        return None
    path = Path(config.socket)
    return _retried(f"status socket at {config.shown}", lambda: StatusServer(path), stack)


def metrics_of(config: MetricsConfig | None, stack: ExitStack, clock: Clock) -> Sink | None:
    """The OpenMetrics server; `None` if none is configured.

    Raises:
        ConfigError: its package is not installed.
    """
    if config is None:
        return None
    exporter = metrics_exporter()
    name = f"metrics at {config.address}:{config.port}"
    return _retried(name, lambda: exporter(config, clock), stack)


def mqtt_of(
    config: MqttConfig | None,
    state: StateConfig | None,
    charger: ChargerConfig | None,
    stack: ExitStack,
) -> Sink | None:
    """The MQTT client, with a queue on disk if there is a state folder; `None` if not configured.

    Raises:
        ConfigError: its package is not installed.
    """
    if config is None:
        return None
    publisher = mqtt_publisher()
    queue = None if state is None else state.folder / "mqtt.sqlite"
    topic = None if charger is None else charger.topic
    name = f"MQTT to {config.host}:{config.port}"
    return _retried(name, lambda: publisher(config, queue, topic), stack)


def dronecan_of(config: Config, buses: CanBuses) -> Sink | None:
    """The sink that sends the packs as batteries on a CAN bus; `None` if not configured.

    Raises:
        ConfigError: its package is not installed.
    """
    if config.dronecan is None:
        return None
    bus = buses.of(parse_can_url(config.dronecan.url))
    from dronebms.dronecan.battery_sink import BatterySink  # noqa: PLC0415 - an extra

    major, minor, *_ = __version__.split(".")
    version = int(major), int(minor)
    indices = config.sent_to_can()
    return BatterySink(bus, config.dronecan, indices, version, PX4.least_disarmed_pct)


def charger_of(config: ChargerConfig | None, clock: Clock) -> Sink:
    """The sink that runs the program of the charger, if there is one."""
    command = None if config is None else config.command
    return (lambda _: None) if command is None else ChargerHook(command, clock)


def recorder_of(config: RecordingConfig | None, start: Start, stack: ExitStack) -> Recorder | None:
    """The recorder of a run that begins with `start`; `None` if not configured."""
    if config is None:
        return None
    bounds = Bounds(config.max_mb * _MB, config.file_mb * _MB, config.max_days)
    recorder = Recorder(Folder(config.folder, bounds), start)
    stack.callback(recorder.close)
    return recorder


def pack_memory_of(config: StateConfig | None, stack: ExitStack) -> BackgroundPackMemory | None:
    """The memory of packs of earlier flights, `None` without a state folder."""
    if config is None:
        return None
    memory = BackgroundPackMemory(PackMemoryFolder(config.folder / LEARNED_FOLDER))
    stack.callback(memory.close)
    return memory


def log_events(report: Report) -> None:
    """A sink that logs the limits that have tripped or cleared."""
    for event in report.status.events:
        level = logging.WARNING if event.tripped else logging.INFO
        fields = {
            "battery": report.index,
            "limit": event.limit_id,
            "event": "tripped" if event.tripped else "cleared",
        }
        _log.log(level, "battery %d %s", report.index + 1, event.text, extra=fields)


def _retried(name: str, make: Callable[[], ClosingSink], stack: ExitStack) -> Sink:
    sink = RetriedSink(name, make)
    stack.callback(sink.close)
    return sink


def metrics_exporter() -> "type[OpenMetricsExporter]":
    """The exporter of [metrics].

    Raises:
        ConfigError: its package is not installed.
    """
    with needed_by("[metrics] needs", "metrics"):
        from dronebms.telemetry.openmetrics import OpenMetricsExporter  # noqa: PLC0415 - an extra
    return OpenMetricsExporter


def mqtt_publisher() -> "type[MqttPublisher]":
    """The client of [mqtt].

    Raises:
        ConfigError: its package is not installed.
    """
    with needed_by("[mqtt] needs", "mqtt"):
        from dronebms.telemetry.mqtt import MqttPublisher  # noqa: PLC0415 - an extra
    return MqttPublisher
