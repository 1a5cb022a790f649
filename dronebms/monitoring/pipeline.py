"""The loop's one step: snapshot -> estimate -> status -> report -> sinks, for one battery.

Live, replay and simulation all step here; they differ in the source and the clock.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report, Sink, Source, SupplyStatus
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.pack_memory import LearnedPack, PackMemory, RecalledPack
from dronebms.monitoring.charging_advice import advise_charging
from dronebms.monitoring.consistency import ConsistencyCheck
from dronebms.monitoring.plausibility import PlausibilityCheck
from dronebms.monitoring.preflight import check_preflight
from dronebms.protection.actions import Actions
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import Limit, LimitChange, changed_limits, default_limits
from dronebms.protection.rules import NO_RULES, Rules
from smartbattery.snapshot import Identity, Snapshot

MOST_GAP_S = 60.0  # out of sight; in that time nobody lands, charges a pack and takes off
_ASKED_S = 3.0  # for a serial number
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What a monitor knew of its pack at a time."""

    t_s: float
    serial: int | None
    told: PackData
    pack_data: PackData
    rules: Rules
    stages: tuple[PlausibilityCheck, ConsistencyCheck, Estimator, Alarms, Actions]


class Pipeline:
    """One battery's chain of stages.

    Args:
        source: where its snapshots come from.
        facts: what is known of the pack; the gauge's identity fills the gaps.
        sinks: called in this order with every report; one that fails is logged, counted and
            does not stop the others.
        index: of the battery, from 0.
        rules: what a configuration changes.
        packs: what was learned of packs in earlier flights; `learn` adds to it.

    Raises:
        ConfigError: a change of a limit that cannot be.
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
        self._told = self._pack_data = pack_data
        self._serial: int | None = None
        self._sinks = tuple(sinks)
        self._index = index
        self._rules = rules
        self._memory: PipelineState | None = None
        self._asking_s: float | None = None  # since when a pack without a serial number is heard
        self._plausibility = PlausibilityCheck()
        self._consistency = ConsistencyCheck()
        self._packs, self._flying = packs, False
        self._estimator = Estimator(pack_data, self._recall)
        self._alarms = Alarms(self.limits(rules.limit_changes), pack_data)
        self._actions = Actions(rules.actions, index)
        self.sink_failures = 0
        self.recalled: RecalledPack | None = None  # the newest, for a recorder

    def step(self, now_s: float, vehicle: VehicleState) -> Report:
        """Poll, estimate, judge and tell; return what was told: for the only pack of a vehicle."""
        return self.publish(self.evaluate(now_s, vehicle))

    def evaluate(self, now_s: float, vehicle: VehicleState) -> Report:
        """Poll, estimate and judge; return what holds of this pack alone."""
        snapshot = self._source.poll(now_s)
        if self._memory is not None:
            snapshot = self._recognised(self._memory, snapshot)
        self._learn(snapshot.identity)
        snapshot = self._plausibility.check(snapshot, self._pack_data)
        snapshot = self._consistency.check(snapshot, self._pack_data)
        estimate = self._estimator.update(snapshot, vehicle)
        status = self._alarms.update(snapshot, estimate, vehicle)
        report = Report(now_s, self._index, self._pack_data, snapshot, vehicle, estimate, status)
        report = with_ground_checks(report)
        if self._flying and not report.flying:
            self.keep()
        self._flying = report.flying
        return report

    def publish(self, report: Report, supply: SupplyStatus | None = None) -> Report:
        """Say what is wanted, hand the report to the sinks and return it.

        Args:
            report: of the last look.
            supply: the supply that this pack is a part of.
        """
        self._alarms.supply = supply
        if supply is not None:
            status = replace(
                report.status, asked_max_a=supply.asked_max_a, asked_by=supply.asked_by
            )
            report = replace(report, status=status, supply=supply)
        requests = self._actions.update(report.status, report.vehicle)
        report = replace(report, requests=requests)
        for sink in self._sinks:
            try:
                sink(report)
            # A full disk or a broken screen must not stop protection.
            except Exception:  # noqa: BLE001 - the one place where our own mistakes are held
                self.sink_failures += 1
                _log.exception("a sink failed and is skipped for this step")
        return report

    def state(self, now_s: float) -> "PipelineState":
        """Return all that is remembered, for another run to go on from."""
        stages = self._plausibility, self._consistency, self._estimator, self._alarms, self._actions
        return PipelineState(now_s, self._serial, self._told, self._pack_data, self._rules, stages)

    def restore(self, state: "PipelineState") -> None:
        """Go on from an earlier run, once it shows that it is the same pack."""
        same = state.told == self._told and state.rules == self._rules
        self._memory = state if same and state.serial else None

    def _recognised(self, state: "PipelineState", snapshot: Snapshot) -> Snapshot:
        """Take up the memory if it is of this pack; until that is known, nothing of it is."""
        now_s, serial = snapshot.t_s, snapshot.identity.serial
        if serial is None and snapshot.voltage_v is not None:
            self._asking_s = now_s if self._asking_s is None else self._asking_s
        asked_s = 0.0 if self._asking_s is None else now_s - self._asking_s
        if now_s - state.t_s > MOST_GAP_S or asked_s > _ASKED_S:
            self._memory = None
        elif serial is None:
            return Snapshot(now_s, trouble="it is not known yet whether it is the same pack")
        else:
            self._memory = None
            if serial == state.serial:
                self._serial, self._pack_data = serial, state.pack_data
                (self._plausibility, self._consistency, self._estimator, self._alarms,
                 self._actions) = state.stages  # fmt: skip
                self._estimator.recall = self._recall
                gap_s = now_s - state.t_s
                _log.warning("battery %d goes on after %.1f s", self._index + 1, gap_s)
        return snapshot

    def use(self, rules: Rules) -> None:
        """Go by other rules from now on; what is tripped stays so until it clears.

        Raises:
            ConfigError: a change of a limit that cannot be; the old rules stay.
        """
        self._alarms.use(self.limits(rules.limit_changes), self._pack_data)
        self._rules = rules
        self._actions.use(rules.actions)

    def learn(self) -> None:
        """Keep what the flight has taught; to be called after landing, it takes milliseconds.

        Raises:
            ConfigError: it cannot be kept.
        """
        pack, learned = self._estimator.pack_key, self._estimator.learn()
        if self._packs is not None and pack is not None and learned is not None:
            self._packs.save(pack, learned)

    def keep(self) -> None:
        """Keep what the flight has taught; what cannot be kept is logged and stops nothing."""
        try:
            self.learn()
        except ConfigError as error:
            _log.error("nothing is kept of this flight: %s", error)

    def _recall(self, pack: str) -> LearnedPack | None:
        if self._packs is None:
            return None
        learned = None
        try:
            learned = self._packs.load(pack)
        except ConfigError as error:  # a damaged file stops no protection
            _log.error("%s; nothing is taken as known of this pack", error)
        self.recalled = pack, learned
        return learned

    def _learn(self, identity: Identity) -> None:
        """Judge by what the gauge says of its pack; a pack that is plugged in stops nothing."""
        pack_data, known = self._told.completed(identity), self._pack_data
        if identity.serial in (None, self._serial):  # of the same pack nothing is forgotten
            pack_data = pack_data.completed(
                Identity(cells=known.cells, design_mah=known.capacity_mah)
            )
        else:
            if self._serial is not None:  # what the pack before this one has taught
                self.keep()
            self._serial = identity.serial
        if pack_data == known:
            return
        self._pack_data = pack_data
        try:
            limits = self.limits(self._rules.limit_changes)
        except ConfigError as error:
            _log.error("%s; this pack is judged by the limits as shipped", error)
            limits = default_limits(pack_data)
        self._alarms.use(limits, pack_data)

    def limits(self, changes: tuple[LimitChange, ...]) -> tuple[Limit, ...]:
        """Return the protection table of the pack as it is known now.

        Raises:
            ConfigError: a change that cannot be.
        """
        return changed_limits(default_limits(self._pack_data), changes)


def with_ground_checks(report: Report) -> Report:
    """Return the report with charging advice and preflight verdict filled in."""
    report = replace(report, charging=advise_charging(report))
    return replace(report, preflight=check_preflight(report))
