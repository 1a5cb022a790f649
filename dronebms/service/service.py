# SPDX-License-Identifier: Apache-2.0
"""The service: runs a configuration, reloads it on SIGHUP, continues after a restart in flight."""

import gc
import logging
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from dronebms.core.background_jobs import Run, Worker, run_inline
from dronebms.core.clock import Clock, SystemClock, date_s
from dronebms.core.errors import DroneBmsError
from dronebms.core.report import Report, Sink
from dronebms.core.state import decode, encode
from dronebms.core.vehicle_state import VehicleState
from dronebms.health.sink import PackHistorySink
from dronebms.monitoring.loop import Loop, live_ticks
from dronebms.monitoring.pipeline import Pipeline, restore_parts, stored_parts
from dronebms.monitoring.restart_state import LATCHES, PACKS, UNREAD
from dronebms.protection.rules import Rules
from dronebms.recording.records import Recorded, Start
from dronebms.service.can_buses import CanBuses
from dronebms.service.checkpoint import CHECKPOINT, BackgroundCheckpoint, CheckpointFile
from dronebms.service.config import Config, read_config
from dronebms.service.config_reload import ConfigReading, apply_reload
from dronebms.service.installation import refuse_unusable
from dronebms.service.machine import THIS_MACHINE, Machine, Wiring
from dronebms.service.outputs.link_log import LinkLog
from dronebms.service.outputs.output_sinks import (
    charger_of,
    dronecan_of,
    log_events,
    metrics_of,
    mqtt_of,
    pack_memory_of,
    recorder_of,
    status_server_of,
)
from dronebms.service.outputs.preflight_log import PreflightLog
from dronebms.service.outputs.vehicle_bridge import bridge_of
from dronebms.service.signals import Signals
from dronebms.service.sources.battery_sources import monitors_of
from dronebms.service.systemd_notify import Notifier
from mavlink_bridge.bridge import BridgeState
from mavlink_bridge.vehicle.saved_file import left_behind
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from smartbattery.bus_trace import Transfer
from smartbattery.gauge_state import GaugeState
from smartbattery.snapshot import Snapshot

VEHICLE = "vehicle"  # key of a checkpoint
_NEW_OBJECTS = 2000  # until garbage is searched among them
_log = logging.getLogger(__name__)


def serve(path: Path, stack: ExitStack) -> None:
    """Run the service of a configuration file until a signal ends it; SIGHUP reads the file again.

    Raises:
        ConfigError: one sentence for each error of the file, or what `Service` raises.
        InUseError: another run uses the state or a pack.
    """
    signals = Signals()
    config = read_config(path)
    refuse_unusable(config)
    notifier = stack.enter_context(closing(Notifier()))
    checkpoint = (
        None
        if config.state is None
        else CheckpointFile(config.state.folder / CHECKPOINT, str(path.absolute()))
    )
    clock = SystemClock(start_s=0.0 if checkpoint is None else checkpoint.start_s)
    # Closed after the vehicle is restored, so that the last job is done and no disk is waited for.
    worker = stack.enter_context(closing(Worker("vehicle limits")))
    checkpoints = stack.enter_context(ExitStack())
    service = Service(config, stack, clock, run=worker.run)
    background = None
    if checkpoint is not None:
        service.restore(checkpoint.parts)
        checkpoint.parts = {}  # some 300 kB, which nothing needs from here on
        background = BackgroundCheckpoint(checkpoint)
        checkpoints.callback(background.close)
    stack.callback(notifier.notify, "STOPPING=1")
    signals.collect_stops()
    reading = ConfigReading(path)
    limit_garbage()
    for report in service.reports():
        if background is not None:
            background.step(report.t_s, partial(service.state, report.t_s))
        notifier.stepped(report, stuck=service.is_stuck(report.t_s))
        if signals.reloads:
            signals.reloads.clear()
            notifier.notify("RELOADING=1")
            reading.request()
        read = reading.step(report.t_s)
        if read is not None:
            service.reload(path, read.result)
            if not reading.is_pending:
                notifier.notify("READY=1")
        if not signals.stops:
            continue
        if background is not None and signal.SIGTERM not in signals.stops:  # a run by hand
            background.release(report.t_s, partial(service.state, report.t_s))
        if signal.SIGINT in signals.stops:
            raise KeyboardInterrupt
        return


def limit_garbage() -> None:
    """Search garbage among what is made from here on, and early.

    What is loaded lives as long as the service, and a search of it would delay the loop. The rest
    is some 10,000 objects; with the threshold of the start (`cli.main`) as many could lie there as
    garbage, for hours.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


class Service:
    """Everything that a configuration describes, running.

    Args:
        config: of the service.
        stack: ends everything.
        clock: of the loop.
        machine: has the packs and the links.
        run: does the jobs on the disk that protection does not wait for.

    Raises:
        ConfigError: a limit, a scenario, the signing key or an extra cannot be used.
        InUseError: another program reads a pack.
    """

    def __init__(
        self,
        config: Config,
        stack: ExitStack,
        clock: Clock,
        machine: Machine = THIS_MACHINE,
        run: Run = run_inline,
    ) -> None:
        machine.lock_packs(config.battery, stack)
        self._config = config
        self._stack = stack
        self._clock = clock
        self._run = run
        links = [machine.link(one, stack) for one in config.mavlink]
        self._bridge = bridge_of(config, links, stack)
        # Absolute from here on: the current folder of a service can be deleted in flight.
        self._vehicle_dir = config.vehicle_dir
        kinds = config.action_kinds()
        # Values that an earlier run has left on the vehicle are restored also without an action.
        if kinds or left_behind(self._vehicle_dir):
            self._bridge.vehicle_control = VehicleControl(self._vehicle_dir, kinds, self._run)
        rules = _rules(config)
        self._can = CanBuses(clock, stack, self._bridge.can_port)
        sinks = self._sinks(config)
        packs = pack_memory_of(config.state, stack)
        wiring = Wiring(stack, clock, self._can, self._polled, self._shown)
        sources = {
            **machine.sources(config.battery, wiring),
            **monitors_of(config.battery, self._bridge, self._shown),
        }
        self._can.start()
        self._gauges = [sources[index] for index in range(len(sources))]
        rated = config.pack_data()
        self._pipelines = [
            Pipeline(gauge, pack_data, sinks, index=index, rules=rules, packs=packs)
            for index, (gauge, pack_data) in enumerate(zip(self._gauges, rated, strict=True))
        ]
        for pipeline in self._pipelines:
            stack.callback(pipeline.store_learned_or_log)
        # Last: a service that cannot start leaves no empty recording.
        batteries = tuple(
            [
                Recorded(pack_data, battery.address, battery.gauge)
                for pack_data, battery in zip(rated, config.battery, strict=True)
            ]
        )
        start = Start(batteries, rules, config.topology)
        self._recorder = recorder_of(config.recording, start, stack)
        # First at the end: everything else that is closed may wait for a disk.
        if self._bridge.vehicle_control is not None:
            stack.callback(self._bridge.restore_parameters, clock)

    def _sinks(self, config: Config) -> list[Sink]:
        stack = self._stack
        clock = self._clock
        self._charger = charger_of(config.charger, clock)
        sinks: list[Sink] = [
            self._bridge,
            log_events,
            LinkLog(config.vehicle_link.url),
            PreflightLog(),
            self._charge,
        ]
        history = None
        if config.state is not None:
            history = stack.enter_context(closing(PackHistorySink(config.state.folder, date_s)))
        viewers = status_server_of(config.status, stack)
        optional = (
            viewers if history is None else _with_history(viewers, history),
            history,
            metrics_of(config.metrics, stack, clock),
            mqtt_of(config.mqtt, config.state, config.charger, stack),
            dronecan_of(config, self._can),
        )
        return sinks + [sink for sink in optional if sink is not None]

    def reports(self, ticks: Iterator[float] | None = None) -> Iterator[Report]:
        """Every step; `None` for `ticks` is ten a second, without end."""
        topology = self._config.topology
        loop = Loop(self._clock, self._vehicle, self._pipelines, self._recorder, topology)
        return loop.reports(live_ticks(self._clock) if ticks is None else ticks)

    def _vehicle(self, now_s: float) -> VehicleState:
        """State of the vehicle, with that of the links to it."""
        state = self._bridge.pump(now_s)
        trouble = self._can.trouble
        return state if trouble is None else replace(state, can_trouble=trouble)

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
            kept = {key: parts[key] for key in (PACKS, LATCHES, UNREAD) if key in parts}
            self._recorder.begin(kept)
        if VEHICLE in parts:
            state = decode(BridgeState, parts[VEHICLE], "state of the bridge")
            if state is not None:
                self._bridge.restore(state)

    def reload(self, path: Path, read: Callable[[], Config]) -> None:
        """Apply what can change in flight, all of it or nothing; the log names the rest.

        Whatever fails is logged and leaves everything as it was: a reload never ends the service.

        Args:
            path: of the file, for the log.
            read: returns its configuration, or raises why there is none; never blocks.
        """
        try:
            config, waiting = apply_reload(self._config, read())
            rules = _rules(config)
            stages = [pipeline.stages_of(rules) for pipeline in self._pipelines]
            charger = self._charger
            if config.charger != self._config.charger:
                charger = charger_of(config.charger, self._clock)
            kinds = config.action_kinds()
            control = None
            if kinds and self._bridge.vehicle_control is None:
                control = VehicleControl(self._vehicle_dir, kinds, self._run)
            if self._recorder is not None:
                self._recorder.use(rules)
        # The flight goes on with the old configuration, also after a mistake of our own.
        except Exception as error:  # noqa: BLE001 - the one place around a configuration in flight
            kind = "" if isinstance(error, DroneBmsError) else f"{type(error).__name__}: "
            _log.error("the configuration is not changed: %s%s", kind, error)
            return
        # From here on assignments only, which cannot fail.
        for pipeline, changed in zip(self._pipelines, stages, strict=True):
            pipeline.use_stages(changed)
        self._charger = charger
        self._config = config
        if control is not None:
            self._bridge.vehicle_control = control
            self._stack.callback(self._bridge.restore_parameters, self._clock)
        if self._bridge.vehicle_control is not None:
            self._bridge.vehicle_control.configured = kinds
        _log.info("limits, actions and charger are those of %s now", path)
        if waiting:
            _log.warning("%s", "\n".join(waiting))

    def _polled(
        self, index: int, t_s: float, transfers: Sequence[Transfer], state: GaugeState
    ) -> None:
        if self._recorder is not None:
            self._recorder.polled(index, t_s, transfers, state)

    def _shown(self, index: int, snapshot: Snapshot) -> None:
        if self._recorder is not None:
            self._recorder.shown(index, snapshot)

    def _charge(self, report: Report) -> None:
        self._charger(report)


def _with_history(sink: Sink | None, history: PackHistorySink) -> Sink | None:
    """The sink, which receives what the history has of each pack too."""
    if sink is None:
        return None
    return lambda report: sink(history.with_summary(report))


def _rules(config: Config) -> Rules:
    return Rules(config.limit_changes(), tuple(row.action() for row in config.action))
