# SPDX-License-Identifier: Apache-2.0
"""State of a pipeline across a restart in flight: its pack, every stage, latched limits.

Each is a part of its own format (`dronebms.core.state`): a stage whose part cannot be read starts
without history, the others continue. Times in seconds of the loop's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, TypeVar

from dronebms.core.state import AnyState, Part, StoredPackData, decode, encode
from dronebms.estimation.estimator import EstimatorState
from dronebms.monitoring.consistency import ConsistencyState
from dronebms.monitoring.pack_recognition import RecognitionState
from dronebms.monitoring.plausibility import PlausibilityState
from dronebms.monitoring.reported_charge import ReportedChargeState
from dronebms.monitoring.watch_time import WatchState
from dronebms.protection.actions import ActionsState
from dronebms.protection.alarms import AlarmsState
from dronebms.protection.check_time import CheckTime
from dronebms.protection.quantities import QuantitiesState
from dronebms.protection.rules import Rules
from smartbattery.snapshot import Identity

# keys of a checkpoint and of a recording's start
PACKS = "packs"
LATCHES = "latches"
UNREAD = "unread"  # why the latches cannot be read
_Identified = TypeVar(
    "_Identified",
    RecognitionState,
    PlausibilityState,
    EstimatorState,
    QuantitiesState,
    CheckTime,
    ReportedChargeState,
)


@dataclass(frozen=True, slots=True)
class StoredPack:
    """The rated data and rules of a pipeline at `t_s`."""

    FORMAT: ClassVar[int] = 2

    t_s: float
    configured: StoredPackData
    pack_data: StoredPackData  # completed by the gauge
    rules: Rules


@dataclass(frozen=True, slots=True)
class PipelineState:
    """State of a pipeline; a stage with its default state has no history."""

    pack: StoredPack
    recognition: RecognitionState
    plausibility: PlausibilityState
    consistency: ConsistencyState
    estimator: EstimatorState | None
    alarms: AlarmsState
    actions: ActionsState
    watch: WatchState = field(default_factory=WatchState)
    reported: ReportedChargeState = field(default_factory=ReportedChargeState)

    def sharing(self, identity: Identity) -> "PipelineState":
        """The same state with one object in place of every equal identity.

        Each stage was decoded with a copy of its own, and would compare every field in every step.
        """

        def shared(part: _Identified) -> _Identified:
            return replace(part, identity=identity) if part.identity == identity else part

        alarms = self.alarms
        estimator = self.estimator
        return replace(
            self,
            recognition=shared(self.recognition),
            plausibility=shared(self.plausibility),
            estimator=None if estimator is None else shared(estimator),
            alarms=replace(
                alarms,
                quantities=shared(alarms.quantities),
                check_time=shared(alarms.check_time),
            ),
            reported=shared(self.reported),
        )

    def to_json(self) -> dict[str, Part]:
        """A part for each field."""
        states = {row.name: getattr(self, row.name) for row in fields(self)}
        return {name: encode(state) for name, state in states.items() if state is not None}

    @classmethod
    def from_json(cls, parts: object, name: str) -> "PipelineState | None":
        """State of the parts; `None` without its pack. The log names what is not restored.

        Args:
            parts: of `to_json`.
            name: of the battery, for the log.
        """
        found = parts if isinstance(parts, dict) else {}
        pack = decode(StoredPack, found.get("pack"), f"{name}: its pack")
        if pack is None:
            return None

        recognition = decode(RecognitionState, found.get("recognition"), f"{name}: its identity")
        if recognition is None:
            return None

        def part(kind: type[AnyState], key: str) -> AnyState | None:
            return decode(kind, found.get(key), f"{name}: state of {key}")

        return cls(
            pack,
            recognition=recognition,
            plausibility=part(PlausibilityState, "plausibility") or PlausibilityState(),
            consistency=part(ConsistencyState, "consistency") or ConsistencyState(),
            estimator=part(EstimatorState, "estimator"),
            alarms=part(AlarmsState, "alarms") or AlarmsState(),
            actions=part(ActionsState, "actions") or ActionsState(),
            watch=part(WatchState, "watch") or WatchState(),
            reported=part(ReportedChargeState, "reported") or ReportedChargeState(),
        )


@dataclass(frozen=True, slots=True)
class Latches:
    """Latched limits; later formats only add fields."""

    FORMAT: ClassVar[int] = 1

    packs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # ids by `latch_key`
