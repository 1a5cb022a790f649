"""The service: runs a configuration, reloads it on SIGHUP, continues after a restart in flight."""

import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from dronebms.core.clock import Clock, SystemClock, unix_s
from dronebms.core.errors import ConfigError
from dronebms.core.report import ActionKind, Report, Sink
from dronebms.core.state import decode, encode
from dronebms.health.sink import PackHistorySink
from dronebms.monitoring.loop import Loop, live_ticks
from dronebms.monitoring.pipeline import Pipeline, restore_parts, stored_parts
from dronebms.monitoring.restart_state import LATCHES, PACKS
from dronebms.protection.rules import Rules
from dronebms.recording.format import Recorded, Start
from dronebms.service.checkpoint import CheckpointFile
from dronebms.service.config import Config, read_config
from dronebms.service.config_reload import apply_reload
from dronebms.service.factories import (
    bridge_of,
    charger_of,
    gauges_of,
    lock_packs,
    log_events,
    metrics_of,
    mqtt_of,
    pack_memory_of,
    recorder_of,
    status_server_of,
)
from dronebms.service.preflight_log import PreflightLog
from dronebms.service.systemd_notify import Notifier
from mavlink_bridge.bridge import BridgeState
from mavlink_bridge.vehicle.saved_parameters import left_behind
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from smartbattery.bus_trace import Transfer
from smartbattery.gauge_state import GaugeState

CHECKPOINT = "run.kept"  # file name in the state folder
VEHICLE = "vehicle"  # key of a checkpoint
_log = logging.getLogger(__name__)


def serve(path: Path, stack: ExitStack) -> None:
    """Run the service of a configuration file until a signal ends it; SIGHUP reads the file again.

    Raises:
        ConfigError: one sentence for each error of the file, what `Service` raises, or another run
            uses the state.
        LinkError: as `Service`.
    """
    hangups: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: hangups.append(number))
    config = read_config(path)
    notifier = Notifier()
    checkpoint = (
        None if config.state is None else CheckpointFile(Path(config.state.dir) / CHECKPOINT)
    )
    clock = SystemClock(start_s=0.0 if checkpoint is None else checkpoint.start_s)
    service = Service(config, stack, clock)
    if checkpoint is not None:
        stack.callback(checkpoint.close)
        service.restore(checkpoint.parts)
    stack.callback(notifier.notify, "STOPPING=1")
    stops = _stops_between_steps()
    for report in service.reports():
        if checkpoint is not None:
            checkpoint.step(report.t_s, partial(service.state, report.t_s))
        notifier.stepped(report, stuck=service.is_stuck(report.t_s))
        if hangups:
            hangups.clear()
            notifier.notify("RELOADING=1")
            service.reload(path)
            notifier.notify("READY=1")
        if signal.SIGINT in stops:
            raise KeyboardInterrupt
        if stops:
            return


def _stops_between_steps() -> list[int]:
    """Signals that end the service, collected by handlers; a second one ends it at once.

    An exception from a handler could strike between two statements that belong together, such as
    those that write a block of a recording.
    """
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if before is signal.SIG_IGN:  # as of a background job
            continue

        def stop(number: int, frame: FrameType | None, before: Any = before) -> None:  # noqa: ANN401 - a handler
            if stops and callable(before):
                before(number, frame)
            stops.append(number)

        signal.signal(number, stop)
    return stops


class Service:
    """Everything that a configuration describes, running.

    Raises:
        ConfigError: a limit, a scenario, the signing key or an extra cannot be used, or another
            program reads a pack.
        LinkError: the link URL is invalid, its host is unknown or its port is in use.
    """

    def __init__(self, config: Config, stack: ExitStack, clock: Clock) -> None:
        lock_packs(config.battery, stack)
        self._config = config
        self._stack = stack
        self._clock = clock
        self._bridge = bridge_of(config.mavlink, stack)
        self._control_vehicle()
        rules = _rules(config)
        sinks = self._sinks(config)
        packs = pack_memory_of(config.state, stack)
        self._gauges = gauges_of(config.battery, stack, clock, self._polled)
        self._pipelines = [
            Pipeline(gauge, battery.pack_data(), sinks, index=index, rules=rules, packs=packs)
            for index, (gauge, battery) in enumerate(zip(self._gauges, config.battery, strict=True))
        ]
        for pipeline in self._pipelines:
            stack.callback(pipeline.store_learned_or_log)
        _log.info("MAVLink to %s", config.mavlink.url)
        # Last: a service that cannot start leaves no empty recording.
        batteries = [Recorded(b.pack_data(), b.address, b.gauge) for b in config.battery]
        start = Start(tuple(batteries), rules, config.topology)
        self._recorder = recorder_of(config.recording, start, stack)

    def _sinks(self, config: Config) -> list[Sink]:
        stack, clock = self._stack, self._clock
        self._charger = charger_of(config.charger, clock)
        sinks: list[Sink] = [self._bridge, log_events, PreflightLog(), self._charge]
        history = None
        if config.state is not None:
            history = stack.enter_context(closing(PackHistorySink(Path(config.state.dir), unix_s)))
        optional = (
            status_server_of(config.status, stack),
            history,
            metrics_of(config.metrics, stack, clock),
            mqtt_of(config.mqtt, config.state, config.charger, stack),
        )
        return sinks + [sink for sink in optional if sink is not None]

    def reports(self) -> Iterator[Report]:
        """Every step, without end."""
        pump, topology = self._bridge.pump, self._config.topology
        loop = Loop(self._clock, pump, self._pipelines, self._recorder, topology)
        return loop.reports(live_ticks(self._clock))

    def is_stuck(self, now_s: float) -> bool:
        """Whether a gauge that has answered is not polled any more."""
        return any(gauge.is_stuck(now_s) for gauge in self._gauges)

    def state(self, now_s: float) -> dict[str, object]:
        """State of every battery and of the bridge for a restart, as plain data."""
        return stored_parts(self._pipelines, now_s) | {VEHICLE: encode(self._bridge.state())}

    def restore(self, parts: Mapping[str, object]) -> None:
        """Continue from `state`, with each pack once it is recognised."""
        if not parts:
            return
        restore_parts(self._pipelines, parts)
        if self._recorder is not None:
            self._recorder.begin({key: parts[key] for key in (PACKS, LATCHES) if key in parts})
        if VEHICLE in parts:
            state = decode(BridgeState, parts[VEHICLE], "state of the bridge")
            if state is not None:
                self._bridge.restore(state)

    def reload(self, path: Path) -> None:
        """Apply what can change in flight, all of it or nothing; the log names the rest."""
        try:
            config, waiting = apply_reload(self._config, read_config(path))
            rules = _rules(config)
            for pipeline in self._pipelines:
                pipeline.limits(rules.limit_changes)  # raises before anything is changed
        except ConfigError as error:
            for line in str(error).splitlines():
                _log.error("the configuration is not changed: %s", line)
            return
        for pipeline in self._pipelines:
            pipeline.use(rules)
        if self._recorder is not None:
            self._recorder.use(rules)
        if config.charger != self._config.charger:
            self._charger = charger_of(config.charger, self._clock)
        self._config = config
        self._control_vehicle()
        _log.info("limits, actions and charger are those of %s now", path)
        for line in waiting:
            _log.warning("%s", line)

    def _control_vehicle(self) -> None:
        """Enable commands to the vehicle if an action needs them.

        Also if an earlier run has changed parameters of the vehicle, to restore them.
        """
        acts = any(row.action().do >= ActionKind.REDUCE for row in self._config.action)
        folder = self._config.vehicle_dir
        if self._bridge.vehicle_control is None and (acts or left_behind(folder)):
            self._bridge.vehicle_control = VehicleControl(folder)
            self._stack.callback(self._bridge.restore_parameters, self._clock)

    def _polled(
        self, index: int, t_s: float, transfers: Sequence[Transfer], state: GaugeState
    ) -> None:
        if self._recorder is not None:
            self._recorder.polled(index, t_s, transfers, state)

    def _charge(self, report: Report) -> None:
        self._charger(report)


def _rules(config: Config) -> Rules:
    return Rules(config.limit_changes(), tuple(row.action() for row in config.action))
