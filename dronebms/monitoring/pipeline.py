# SPDX-License-Identifier: Apache-2.0
"""One step of one battery: snapshot -> checks -> estimate -> status -> report -> sinks.

Live operation, replay and simulation use the same step; they differ in the source and the clock.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.pack_identity import is_same_pack
from dronebms.core.report import (
    Estimate,
    Report,
    ReportedCharge,
    Sink,
    Source,
    Status,
    SupplyStatus,
)
from dronebms.core.resolution import FINE
from dronebms.core.state import decode, encode
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_pack import (
    NOTHING_KNOWN,
    NOTHING_LEARNED,
    Keys,
    Known,
    Recalled,
    recalled_also,
)
from dronebms.estimation.learning.pack_memory import PackMemory, recall
from dronebms.monitoring.awaited_pack import AwaitedPack
from dronebms.monitoring.charging_advice import advise_charging
from dronebms.monitoring.confirmed_estimate import (
    confirmed,
    is_uncounted,
    without_charge,
    without_verdicts,
)
from dronebms.monitoring.consistency import ConsistencyCheck
from dronebms.monitoring.pack_recognition import (
    PackRecognition,
)
from dronebms.monitoring.plausibility import PlausibilityCheck
from dronebms.monitoring.preflight import check_preflight
from dronebms.monitoring.reported_charge import ReportedChargeStage
from dronebms.monitoring.restart_state import (
    LATCHES,
    PACKS,
    UNREAD,
    Latches,
    PipelineState,
    StoredPack,
)
from dronebms.monitoring.watch_time import LOG_STEP_S, WatchTime
from dronebms.protection.actions import Actions
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import Limit, LimitChange, changed_limits, default_limits
from dronebms.protection.rules import NO_RULES, Rules
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot
from smartbattery.values import changed

_SHORT_S = 1.0  # an absence in which neither load, charge nor temperature change much
_NO_LATCHES: Mapping[str, tuple[str, ...]] = {}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RuledStages:
    """The stages that depend on the rules of a configuration."""

    rules: Rules
    alarms: Alarms
    actions: Actions


class Pipeline:
    """The stages of one battery.

    Attributes:
        longest_step_s: a longer step is an absence of the loop (`watch_time`).
        resolution: of the source; that of a log of rounded values is coarse.
        recalled: what was newly loaded from the pack memory, for a recorder.

    Args:
        source: of its snapshots.
        pack_data: rated data of the pack; the gauge's identity completes them.
        sinks: called in this order with every report; one that fails is logged and does
            not stop the others.
        index: of the battery, from 0.
        rules: configured changes of limits, and actions.
        packs: learned in earlier flights; `store_learned` adds to it.

    Raises:
        ConfigError: a configured limit contradicts itself or another one.
    """

    def __init__(
        self,
        source: Source,
        pack_data: PackData,
        sinks: Sequence[Sink] = (),
        *,
        index: int = 0,
        rules: Rules = NO_RULES,
        packs: PackMemory | None = None,
    ) -> None:
        self._source = source
        self._configured = pack_data
        self._pack_data = pack_data  # completed by the gauge
        self._identity = UNIDENTIFIED
        self._latch_key: str | None = None
        self._sinks = tuple(sinks)
        self._index = index
        self._rules = rules
        self._awaited: AwaitedPack | None = None  # its state is restored once it is recognised
        self._latches = _NO_LATCHES
        self._unread: str | None = None  # why the latches of earlier runs are unknown
        self.longest_step_s = LOG_STEP_S
        self.resolution = FINE
        self._watch = WatchTime()
        self._recognition = PackRecognition()
        self._plausibility = PlausibilityCheck()
        self._consistency = ConsistencyCheck()
        self._packs = packs
        self._flying = False
        self._estimator = Estimator(pack_data, self._recall)
        self._failures: set[str] = set()  # of the estimator, logged once each
        self._alarms = Alarms(self._limits_with(rules.limit_changes), pack_data)
        self._actions = Actions(rules.actions, index)
        self._reported = ReportedChargeStage()
        self.recalled: Recalled | None = None
        self._known: dict[Keys, Known] = {}  # as recalled since something was last stored

    def step(self, now_s: float, vehicle: VehicleState) -> Report:
        """Evaluate and publish one step of a vehicle with one pack."""
        return self.publish(self.evaluate(now_s, vehicle))

    def evaluate(self, now_s: float, vehicle: VehicleState) -> Report:
        """Poll, estimate and evaluate the limits; the report of this pack alone."""
        snapshot = self._source.poll(now_s).finite()
        if self._awaited is not None:
            snapshot = self._recognise(self._awaited, snapshot, vehicle)
        snapshot = self._recognition.update(snapshot, vehicle, self._pack_data)
        self._identify(snapshot)
        absent_s = self._watch.step(now_s, self.longest_step_s)
        if absent_s > 0.0:
            self._resume(absent_s)
        snapshot = self._plausibility.check(snapshot, self._pack_data, self.resolution)
        snapshot = self._consistency.check(
            snapshot, self._pack_data, self.resolution, armed=vehicle.armed
        )
        estimate = self._estimated(snapshot.undisputed(), vehicle)
        if snapshot.disputed or is_uncounted(snapshot):
            estimate = without_charge(estimate)
        status = self._alarms.update(self._watch.of_snapshot(snapshot), estimate, vehicle)
        status = _at(status, now_s)
        if self._alarms.settling:
            estimate = without_verdicts(estimate)
        elif vehicle.armed is not False:
            estimate = confirmed(estimate, status.active)
        report = Report(
            now_s,
            self._index,
            self._pack_data,
            snapshot,
            vehicle,
            estimate,
            status,
            unread=self._unread,
        )
        reported = self._reported.update(report, self._alarms.confirms)
        report = with_ground_checks(report, reported)
        if vehicle.armed is not None or not snapshot.disputed:  # a load in dispute is no landing
            if self._flying and not report.flying:
                self.store_learned_or_log()
            self._flying = report.flying
        return report

    def publish(self, report: Report, supply: SupplyStatus | None = None) -> Report:
        """Evaluate the actions, pass the report to the sinks and return it.

        Args:
            report: of `evaluate`.
            supply: of which this pack is a part.
        """
        self._alarms.supply = supply
        status = report.status
        if supply is not None:
            status = changed(status, asked_max_a=supply.asked_max_a, asked_by=supply.asked_by)
        watched = _at(status, self._watch.of(report.t_s))
        requests = self._actions.update(watched, report.vehicle, report.t_s)
        if supply is not None or requests:
            report = changed(report, status=status, supply=supply, requests=requests)
        for sink in self._sinks:
            try:
                sink(report)
            # A full disk or a broken screen must not stop protection.
            except Exception:  # noqa: BLE001 - our own mistakes must not stop protection
                _log.exception("a sink failed and is skipped for this step")
        return report

    def state(self, now_s: float) -> PipelineState:
        """State for a restart.

        While the pack of an earlier run is awaited it is that pack's, also where another one is
        used meanwhile: a restart recognises whose state it is before it continues, so that the
        other pack then starts without history, and never from a state that is not its own.
        """
        if self._awaited is not None:
            return self._awaited.state
        return PipelineState(
            StoredPack(now_s, self._configured, self._pack_data, self._rules),
            self._recognition.state(),
            self._plausibility.state(),
            self._consistency.state(),
            self._estimator.state(),
            self._alarms.state(),
            self._actions.state(),
            self._watch.state(),
            self._reported.state(),
        )

    @property
    def earlier_latches(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of the limits that earlier runs latched, by the key of the pack."""
        return self._latches

    @property
    def latches(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of the latched limits of the pack by its key, empty before it is identified."""
        key = self._configured.latch_key(self._identity)
        return {} if key is None else {key: self._alarms.latched}

    def restore(
        self,
        state: PipelineState | None,
        latches: Mapping[str, tuple[str, ...]] = _NO_LATCHES,
        unread: str | None = None,
    ) -> None:
        """Continue from an earlier run, once the gauge reports the identity of its pack.

        Args:
            state: of that run, `None` to start without history.
            latches: ids of the limits that were latched, by `PackData.latch_key`; they are latched
                again if the first pack to be identified is one of these.
            unread: why the latched limits of that run are unknown, `None` if they are not.
        """
        self._latches = latches
        self._unread = unread
        if state is None or state.recognition.last is None:
            return
        if (state.pack.configured, state.pack.rules) != (self._configured, self._rules):
            _log.info("battery %d is not restored: its configuration differs", self._index + 1)
            return
        self._awaited = AwaitedPack(state)

    def _recognise(
        self, awaited: AwaitedPack, snapshot: Snapshot, vehicle: VehicleState
    ) -> Snapshot:
        """Snapshot to evaluate; the state of an earlier run is used once its pack is recognised."""
        found = awaited.outcome(snapshot, vehicle)
        if found.refused is not None:
            self._awaited = None
            _log.info("battery %d is not restored: %s", self._index + 1, found.refused)
        elif found.state is not None:
            self._awaited = None
            self._continue(found.state)
            gap_s = snapshot.t_s - found.state.pack.t_s
            _log.warning("battery %d is restored after %.1f s", self._index + 1, gap_s)
        return found.snapshot

    def _continue(self, state: PipelineState) -> None:
        self._pack_data = state.pack.pack_data
        self._watch = WatchTime(state.watch)
        self._recognition = PackRecognition(state.recognition)
        self._identity = state.recognition.identity
        self._plausibility = PlausibilityCheck(state.plausibility)
        self._consistency = ConsistencyCheck(state.consistency)
        self._alarms = Alarms(self._limits_or_default(), self._pack_data, state.alarms)
        self._actions = Actions(self._rules.actions, self._index, state.actions)
        self._reported = ReportedChargeStage(state.reported)
        if state.estimator is None:
            return
        try:
            self._estimator = self._estimator.with_state(state.estimator)
        except ValueError as error:  # such as a matrix of another size
            _log.warning("battery %d: estimator is not restored: %s", self._index + 1, error)

    def use(self, rules: Rules) -> None:
        """Use other rules from now on; a tripped limit stays until it clears.

        Raises:
            ConfigError: a limit contradicts itself or another one; the old rules stay.
        """
        self.use_stages(self.stages_of(rules))

    def stages_of(self, rules: Rules) -> RuledStages:
        """Stages that continue with other rules; nothing changes before `use_stages`.

        Raises:
            ConfigError: a limit contradicts itself or another one.
        """
        alarms = Alarms(
            self._limits_with(rules.limit_changes), self._pack_data, self._alarms.state()
        )
        actions = Actions(rules.actions, self._index, self._actions.state())
        return RuledStages(rules, alarms, actions)

    def use_stages(self, stages: RuledStages) -> None:
        """Use the stages of `stages_of` from now on; call it before the next step."""
        self._rules = stages.rules
        self._alarms = stages.alarms
        self._actions = stages.actions

    def store_learned(self) -> None:
        """Store what the flight has shown of the pack; takes milliseconds, call after landing.

        Raises:
            ConfigError: the file cannot be written.
        """
        self._known.clear()
        learned = self._estimator.learn()
        if self._packs is not None and learned != NOTHING_LEARNED:
            keys = self._estimator.keys.of_battery(self._index)
            self._packs.store(keys, learned.under(keys))

    def store_learned_or_log(self) -> None:
        """Call `store_learned`; an error is logged."""
        try:
            self.store_learned()
        except ConfigError as error:
            _log.error("nothing learned in this flight is stored: %s", error)
        except Exception:  # noqa: BLE001 - our own mistakes must not stop protection
            _log.exception("nothing learned in this flight is stored")

    def _estimated(self, snapshot: Snapshot, vehicle: VehicleState) -> Estimate:
        """The estimate; an unknown one, and a new start, if the estimator fails."""
        try:
            return self._estimator.update(snapshot, vehicle)
        # Limits of voltage, current and temperature are evaluated without an estimate.
        except Exception as error:  # noqa: BLE001 - our own mistakes must not stop protection
            reason = f"estimator failed: {type(error).__name__}"
            if reason not in self._failures:
                self._failures.add(reason)
                _log.exception("battery %d: %s; it starts again", self._index + 1, reason)
            self._estimator = Estimator(self._configured, self._recall)
            return Estimate(snapshot.t_s, doubts=(reason,))

    def _recall(self, keys: Keys) -> Known:
        if self._packs is None:
            return NOTHING_KNOWN
        keys = keys.of_battery(self._index)
        if keys not in self._known:  # an estimator that fails in each step starts again in each
            self._known[keys] = recall(self._packs, keys, _log_damaged)
            self.recalled = recalled_also(self.recalled, Recalled(keys, self._known[keys]))
        return self._known[keys]

    def _identify(self, snapshot: Snapshot) -> None:
        """Complete the rated data by the gauge's identity; another pack starts from its own."""
        identity = snapshot.identity
        known = self._pack_data
        if identity is self._identity:
            self._use_pack_data(known.seen(snapshot))
            self._latch(identity)  # after a restart the identity is that of the state
            return
        pack_data = self._configured.completed(identity)
        if is_same_pack(self._identity, identity):  # known values stay
            pack_data = pack_data.completed(
                Identity(cells=known.cells, design_mah=known.capacity_mah)
            )
            pack_data = changed(pack_data, full_seen_v=known.full_seen_v)
        else:
            self.store_learned_or_log()  # the flight of the previous pack has ended
            self._consistency = ConsistencyCheck()
        self._identity = identity
        self._use_pack_data(pack_data.seen(snapshot))
        self._latch(identity)

    def _use_pack_data(self, pack_data: PackData) -> None:
        if pack_data is not self._pack_data and pack_data != self._pack_data:
            self._pack_data = pack_data
            self._alarms.use(self._limits_or_default(), pack_data)

    def _resume(self, absent_s: float) -> None:
        """Continue after an absence of the loop: nothing that happened in it was seen."""
        self._plausibility.resume(absent_s)
        self._reported.resume(absent_s)
        if absent_s > _SHORT_S:
            self._estimator.resume()
            self._alarms.resume()

    def _latch(self, identity: Identity) -> None:
        """Latch the limits again that an earlier run latched for the first pack."""
        if self._latch_key is not None:
            return
        key = self._configured.latch_key(identity)
        if key is None or identity == UNIDENTIFIED:
            return
        self._latch_key = key
        limit_ids = self._latches.get(key, ())
        if limit_ids:
            self._alarms.latch(limit_ids)
            text = ", ".join(limit_ids)
            _log.warning("battery %d: latched by an earlier run: %s", self._index + 1, text)

    def _limits_or_default(self) -> tuple[Limit, ...]:
        """The configured limits, or the default ones where those contradict each other."""
        try:
            return self._limits_with(self._rules.limit_changes)
        except ConfigError as error:
            _log.error("%s; the default limits are used for this pack", error)
            return default_limits(self._pack_data)

    def _limits_with(self, changes: tuple[LimitChange, ...]) -> tuple[Limit, ...]:
        """The table of limits for the present rated data, with the changes.

        Raises:
            ConfigError: a limit contradicts itself or another one.
        """
        return changed_limits(default_limits(self._pack_data), changes)


def _log_damaged(error: ConfigError) -> None:
    """Log it: a damaged file must not stop protection."""
    _log.error("%s; the estimator starts without it", error)


def _at(status: Status, now_s: float) -> Status:
    """The status with another time, of the clock or of watch time."""
    if status.t_s == now_s:
        return status
    return changed(
        status, t_s=now_s, events=tuple([changed(event, t_s=now_s) for event in status.events])
    )


def with_ground_checks(report: Report, reported: ReportedCharge | None = None) -> Report:
    """The report with charging advice and preflight verdict, and the charge to send if given."""
    charging = advise_charging(report)
    return changed(
        report,
        reported=report.reported if reported is None else reported,
        charging=charging,
        preflight=check_preflight(report, charging),
    )


# ---------------------------------------------------------------------- restart of all batteries


def stored_parts(pipelines: Sequence[Pipeline], now_s: float) -> dict[str, object]:
    """State of every battery and the latched limits, as plain data."""
    latches: dict[str, tuple[str, ...]] = {}
    for pipeline in pipelines:
        latches.update(pipeline.earlier_latches)
    for pipeline in pipelines:
        latches.update(pipeline.latches)
    packs = {key: limit_ids for key, limit_ids in latches.items() if limit_ids}
    states = [pipeline.state(now_s).to_json() for pipeline in pipelines]
    return {PACKS: states, LATCHES: encode(Latches(packs))}


def restore_parts(pipelines: Sequence[Pipeline], parts: Mapping[str, object]) -> None:
    """Restore every battery from `stored_parts`; the log names what is not restored."""
    latches = None
    unread = None if UNREAD not in parts else f"{parts[UNREAD]}"
    if LATCHES in parts:
        latches = decode(Latches, parts[LATCHES], "state of the latched limits", any_format=True)
        unread = "their state is damaged" if latches is None else unread
    states = parts.get(PACKS)
    states = states if isinstance(states, list) and len(states) == len(pipelines) else None
    if PACKS in parts and states is None:
        _log.warning("no battery is restored: another number of batteries is stored")
    for index, pipeline in enumerate(pipelines):
        state = None
        if states is not None:
            state = PipelineState.from_json(states[index], f"battery {index + 1}")
        pipeline.restore(state, {} if latches is None else latches.packs, unread)
