"""The service: everything of a configuration at work, read again, gone on with after a restart."""

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dronebms.core.clock import Clock, SystemClock, unix_s
from dronebms.core.errors import ConfigError
from dronebms.core.report import ActionKind, Report, Sink
from dronebms.estimation.pack_memory import LEARNED_FOLDER, BackgroundPackMemory, PackMemoryFolder
from dronebms.health.sink import PackHistorySink
from dronebms.monitoring.loop import Loop, live_ticks
from dronebms.monitoring.pipeline import Pipeline, PipelineState
from dronebms.monitoring.state_codec import for_recording
from dronebms.protection.rules import Rules
from dronebms.service.checkpoint import CheckpointFile
from dronebms.service.config import Config, read_config
from dronebms.service.config_reload import apply_reload
from dronebms.service.external_program import ChargerHook
from dronebms.service.factories import (
    bridge_of,
    gauges_of,
    lock_packs,
    log_events,
    recorder_of,
    stream_of,
)
from dronebms.service.preflight_log import PreflightLog
from dronebms.service.remote_sinks import remote_sinks
from dronebms.service.systemd_notify import Notifier
from mavlink_bridge.vehicle.precedence import SentCommand
from mavlink_bridge.vehicle.saved_parameters import left_behind
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from smartbattery.bus_trace import Transfer
from smartbattery.gauge_state import GaugeState

HANDS_ON = "BMS_ACT"
_log = logging.getLogger(__name__)


def serve(path: Path, stack: ExitStack) -> None:
    """Run the service of a configuration file until it is told to stop; SIGHUP reads it again.

    Raises:
        ConfigError: everything that is wrong with the file, what `Service` raises, or another run
            has the state.
        LinkError: a link URL that means nothing.
    """
    asked: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: asked.append(number))
    config, told = read_config(path), Notifier()
    keeper = None if config.state is None else CheckpointFile(Path(config.state.dir) / "run.kept")
    clock = SystemClock(start_s=0.0 if keeper is None else keeper.start_s)
    service = Service(config, stack, clock)
    if keeper is not None:
        stack.callback(keeper.close)
        service.restore(keeper.state())
    stack.callback(told.notify, "STOPPING=1")
    for report in service.reports():
        if keeper is not None:
            keeper.step(report.t_s, partial(service.state, report.t_s))
        told.stepped(report, stuck=service.is_stuck(report.t_s))
        if asked:
            asked.clear()
            told.notify("RELOADING=1")
            service.reload(path)
            told.notify("READY=1")


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What a service needs to go on after a restart in flight."""

    packs: tuple[PipelineState, ...]
    sent: SentCommand | None  # the last command to the vehicle, which a pilot may have overridden
    first_id: int | None  # of the batteries, as far as the vehicle had told
    hands_on: float  # 0 when somebody has told it to keep its hands off


class Service:
    """All of a configuration, at work.

    Raises:
        ConfigError: a limit or scenario that cannot be used, or a pack that another program reads.
        LinkError: a link URL that means nothing.
    """

    def __init__(self, config: Config, stack: ExitStack, clock: Clock) -> None:
        lock_packs(config, stack)
        self._config, self._stack, self._clock = config, stack, clock
        self._bridge = bridge_of(config, stack)
        self._act()
        sinks: list[Sink] = [self._bridge, log_events, PreflightLog(), self._charge]
        if (stream := stream_of(config, stack)) is not None:
            sinks.append(stream)
        if config.state is not None:
            passports = PackHistorySink(Path(config.state.dir), unix_s)
            sinks.append(stack.enter_context(closing(passports)))
        sinks += remote_sinks(config, stack, clock)
        self._charger = _charger(config, clock)
        rules, packs = _rules(config), _packs(config, stack)
        self._gauges = gauges_of(config, stack, clock, self._polled)
        self._pipelines = [
            Pipeline(gauge, battery.pack_data(), sinks, index=index, rules=rules, packs=packs)
            for index, (gauge, battery) in enumerate(zip(self._gauges, config.battery, strict=True))
        ]
        for pipeline in self._pipelines:
            stack.callback(pipeline.keep)
        _log.info("telling %s", config.mavlink.url)
        # Last: what cannot start leaves no empty recording.
        self._recorder = recorder_of(config, rules, stack)

    def reports(self) -> Iterator[Report]:
        """Yield every step, without end."""
        pump, topology = self._bridge.pump, self._config.topology
        loop = Loop(self._clock, pump, self._pipelines, self._recorder, topology)
        return loop.reports(live_ticks(self._clock))

    def is_stuck(self, now_s: float) -> bool:
        """Return whether a gauge that was heard is not even asked any more."""
        return any(gauge.is_stuck(now_s) for gauge in self._gauges)

    def state(self, now_s: float) -> "ServiceState":
        """Return what another run needs to go on."""
        acting = self._bridge.vehicle_control
        return ServiceState(
            tuple(pipeline.state(now_s) for pipeline in self._pipelines),
            None if acting is None else acting.sent,
            self._bridge.first_id.found,
            self._bridge.answers.values[HANDS_ON],
        )

    def restore(self, memories: "ServiceState | None") -> None:
        """Go on from what an earlier run knew, of each pack once it is recognised."""
        if memories is None or len(memories.packs) != len(self._pipelines):
            return
        for pipeline, memory in zip(self._pipelines, memories.packs, strict=True):
            pipeline.restore(memory)
        if self._recorder is not None:
            self._recorder.begin(for_recording(memories.packs))
        self._bridge.first_id.found = memories.first_id
        self._bridge.answers.values[HANDS_ON] = memories.hands_on
        if self._bridge.vehicle_control is not None:
            self._bridge.vehicle_control.sent = memories.sent

    def reload(self, path: Path) -> None:
        """Take over what can be changed in flight, all of it or nothing; the log says the rest."""
        try:
            config, waiting = apply_reload(self._config, read_config(path))
            rules = _rules(config)
            for pipeline in self._pipelines:
                pipeline.limits(rules.limit_changes)  # raises before anything is changed
        except ConfigError as error:
            for line in str(error).splitlines():
                _log.error("the configuration stays as it was: %s", line)
            return
        for pipeline in self._pipelines:
            pipeline.use(rules)
        if self._recorder is not None:
            self._recorder.use(rules)
        if config.charger != self._config.charger:
            self._charger = _charger(config, self._clock)
        self._config = config
        self._act()
        _log.info("limits, actions and charger are those of %s now", path)
        for line in waiting:
            _log.warning("%s", line)

    def _act(self) -> None:
        """Let the bridge act on the vehicle where the configuration names an action."""
        acts = any(row.action().do >= ActionKind.REDUCE for row in self._config.action)
        folder = self._config.vehicle_dir
        # Also for what an earlier configuration has left behind, to be put back.
        if self._bridge.vehicle_control is None and (acts or left_behind(folder)):
            self._bridge.vehicle_control = VehicleControl(folder)
            self._stack.callback(self._bridge.restore_parameters, self._clock)

    def _polled(
        self, index: int, t_s: float, transfers: Sequence[Transfer], known: GaugeState
    ) -> None:
        if self._recorder is not None:
            self._recorder.polled(index, t_s, transfers, known)

    def _charge(self, report: Report) -> None:
        self._charger(report)


def _rules(config: Config) -> Rules:
    return Rules(config.limit_changes(), tuple(row.action() for row in config.action))


def _charger(config: Config, clock: Clock) -> Sink:
    command = None if config.charger is None else config.charger.command
    return (lambda _: None) if command is None else ChargerHook(command, clock)


def _packs(config: Config, stack: ExitStack) -> BackgroundPackMemory | None:
    """Return what was learned of packs; a service without [state] knows and keeps nothing."""
    if config.state is None:
        return None
    kept = BackgroundPackMemory(PackMemoryFolder(Path(config.state.dir) / LEARNED_FOLDER))
    stack.callback(kept.close)
    return kept
