# SPDX-License-Identifier: Apache-2.0
"""Every value that flows: snapshot -> Estimate -> Event, Status -> Report -> sinks.

Each stage of the pipeline makes one frozen value; a sink, a viewer or an encoder needs the value
and not the algorithm. This module imports neither numpy nor any stage. Units are in the names;
current is positive while discharging. `None` means unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol, TypeAlias

from dronebms.core.pack_data import PackData
from dronebms.core.vehicle_state import VehicleState
from smartbattery.snapshot import Snapshot


class Source(Protocol):
    """A source of snapshots: a fuel gauge, several packs as one, a flight log."""

    def poll(self, now_s: float) -> Snapshot:
        """Snapshot at `now_s`; never raises for a bus error or a rejected value."""
        ...


# ---------------------------------------------------------------------- estimation


@dataclass(frozen=True, slots=True)
class CellState:
    """Estimated state of one cell, each value followed by its standard deviation."""

    soc_pct: float | None = None
    soc_sd_pct: float | None = None
    capacity_mah: float | None = None
    capacity_sd_mah: float | None = None
    resistance_ohm: float | None = None  # after some 20 s of load, at the present temperature
    resistance_sd_ohm: float | None = None
    slow_ohm: float | None = None  # added by minutes of load
    slow_sd_ohm: float | None = None


@dataclass(frozen=True, slots=True)
class PackState:
    """Estimated state of the weakest cell and of every cell in order; updated every 10 s."""

    weakest: CellState = CellState()
    activation_kj_mol: float | None = None  # Arrhenius activation energy of the resistance
    activation_sd_kj_mol: float | None = None
    cells: tuple[CellState, ...] = ()


UNKNOWN_STATE = PackState()


class Verdict(StrEnum):
    """Answer to "can I still get home" and "does it last for the mission"."""

    YES = "yes"
    MARGINAL = "marginal"  # no by the 5 % bound alone
    NO = "no"  # no by the median
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Charge, remaining time and available current of a pack at `t_s`.

    End of discharge: the 5 s mean of the weakest cell is at or below the cut-off, or the cell is
    0.25 V below the cut-off for a second.
    """

    t_s: float
    soc_pct: float | None = None  # of the weakest cell
    soh_pct: float | None = None
    remaining_s: float | None = None  # median
    remaining_low_s: float | None = None  # 5 %
    remaining_high_s: float | None = None  # 95 %
    home_s: float | None = None  # flight home and landing
    # Time left after the landing at home: 5 % bound, median less the landing reserve, 95 % bound.
    home_reserve_s: float | None = None
    home_margin_s: float | None = None
    home_best_s: float | None = None
    turn_back_in_s: float | None = None  # by the 5 % bound
    home_verdict: Verdict = Verdict.UNKNOWN
    mission_verdict: Verdict = Verdict.UNKNOWN
    verdict_missing: str | None = None  # the one thing that is not known, for both verdicts
    mission_s: float | None = None  # rest of the mission, its landing or the return after it
    mission_end_pct: float | None = None  # state of charge then
    mission_end_low_pct: float | None = None  # 5 %; 0: the pack ends before
    mission_needs_mah: float | None = None
    usable_mah: float | None = None  # until the end of discharge, median
    usable_low_mah: float | None = None  # 5 %
    last_home_item: int | None = None  # last mission item from which home is reached
    alternate: str | None = None  # what is in reach while home is not: "rally point 2"
    alternate_by_return: bool | None = None  # whether the autopilot's own return goes there
    resistance_ohm: float | None = None  # of the whole pack, after some 20 s of load
    resting_cell_v: float | None = None  # weakest cell without its sag
    max_discharge_a: float | None = None  # for 10 s
    max_discharge_2s_a: float | None = None
    max_discharge_30s_a: float | None = None
    used_mah: float | None = None  # counted since the first sample
    used_wh: float | None = None
    state: PackState = UNKNOWN_STATE
    doubts: tuple[str, ...] = ()  # words of the gauge that the cells refute, a sentence each


@dataclass(frozen=True, slots=True)
class ReportedCharge:
    """Charge as it is sent to a vehicle: of one estimate, sudden changes debounced."""

    soc_pct: float | None = None
    remaining_s: float | None = None  # median
    consumed_mah: float | None = None  # from full, of the rated capacity
    consumed_wh: float | None = None  # from full
    remaining_low_s: float | None = None  # 5 %, never more than the median


# ---------------------------------------------------------------------- protection


class Severity(IntEnum):
    """Severity of a limit; a higher number is worse."""

    OK = 0
    INFO = 1
    WARNING = 2
    CRITICAL = 3
    EMERGENCY = 4

    @property
    def label(self) -> str:
        """Name in files and on screens."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Event:
    """A limit that has just tripped or cleared."""

    t_s: float
    limit_id: str
    severity: Severity
    tripped: bool
    text: str  # state, quantity, value, limit; within the 50 bytes of a STATUSTEXT where it fits


@dataclass(frozen=True, slots=True)
class Status:
    """Result of the limit evaluation of one pack at `t_s`."""

    t_s: float
    severity: Severity = Severity.OK
    active: tuple[str, ...] = ()  # ids of the tripped limits, worst first
    limited_by: str | None = None  # id of the limit that binds next
    limited_in_s: float | None = None  # at the present load
    asked_max_a: float | None = None  # current the governor allows
    fault_bits: int = 0  # MAV_BATTERY_FAULT
    events: tuple[Event, ...] = ()  # since the previous Status
    asked_by: str | None = None  # id of the limit behind `asked_max_a`
    trips_in_s: Mapping[str, float] = field(default_factory=dict)  # at the present load
    limp_home_a: float | None = None  # this pack's share of the current that keeps it flying
    charging: bool = False  # by a current that is more than an offset of the gauge
    labels: Mapping[str, str] = field(default_factory=dict)  # of the limits that are named here
    # Limits of a warning or worse that are exceeded now: rest of the hold time, longest first.
    pending: Mapping[str, float] = field(default_factory=dict)
    checking_s: float = 0.0  # until every limit has judged the connected pack

    def label(self, limit_id: str) -> str:
        """Label of a limit that the status names."""
        return self.labels.get(limit_id, limit_id.replace("_", " "))


@dataclass(frozen=True, slots=True)
class SupplyStatus:
    """Several packs as one supply (`dronebms.monitoring.multi_pack`)."""

    severity: Severity
    missing: tuple[int, ...]  # indices of packs that are silent or rejected
    series: bool = False
    current_a: float | None = None
    max_discharge_a: float | None = None
    asked_max_a: float | None = None
    asked_by: str | None = None
    limp_home_a: float | None = None  # of all packs, the missing ones included
    remaining_s: float | None = None
    home_verdict: Verdict = Verdict.UNKNOWN  # the worst of the packs that are present
    mission_verdict: Verdict = Verdict.UNKNOWN
    all_missing: bool = False


# ---------------------------------------------------------------------- actions

GOVERNOR = "governor"  # trigger of an action: while the governor limits the current
# Index of the battery, number of the row, start of the event in seconds of the loop's clock. That
# clock continues over a restart, so that no event of a run has the key of an earlier run's.
ActionKey: TypeAlias = tuple[int, int, float]


class ActionKind(IntEnum):
    """Kinds of actions by urgency; a less urgent one never replaces a more urgent one."""

    REPORT = 0
    ANNOUNCE = 1
    REDUCE = 2
    RETURN = 3
    LAND = 4

    @property
    def label(self) -> str:
        """Name in files."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Action:
    """One configured row: what to do while a trigger holds."""

    on: Severity | str  # this severity or worse, the id of a limit, or GOVERNOR
    do: ActionKind
    hold_s: float = 2.0  # debounce of the trigger
    cooldown_s: float = 30.0  # from its end until the next activation
    only_when_armed: bool = True
    retry_s: float = 3.0  # time for the vehicle to comply before the command is repeated
    retries: int = 2
    escalate: ActionKind | None = None  # after the last retry
    speed_m_s: float | None = None  # REDUCE only, in addition to the current
    climb_m_s: float | None = None

    def met(self, status: Status) -> str | None:
        """Id of the limit that meets the trigger, `None` if none does."""
        if self.on == GOVERNOR:
            return None if status.asked_max_a is None else GOVERNOR
        if isinstance(self.on, Severity):
            return status.active[0] if status.active and status.severity >= self.on else None
        return self.on if self.on in status.active else None


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """An active action, from the end of its debounce until its trigger ends."""

    action: Action
    key: ActionKey
    because: str  # id of the limit, or GOVERNOR
    max_a: float | None = None  # current limit of REDUCE


# ---------------------------------------------------------------------- ground


@dataclass(frozen=True, slots=True)
class ChargingAdvice:
    """Advice for the charger: `none` (not charging), `go on`, `reduce` or `stop`."""

    do: str = "none"
    why: str = "not charging"
    full_in_s: float | None = None
    storage_in_s: float | None = None  # to half charged, at this current or at STORAGE_C
    most_a: float | None = None  # by capacity, chemistry and the gauge's ChargingCurrent


@dataclass(frozen=True, slots=True)
class PreflightVerdict:
    """Go or no-go: go if there is no reason against it."""

    reasons: tuple[str, ...] = ("not evaluated",)
    state: str = ""  # charge and lowest cell, shown with a go
    checking: bool = False  # the pack is not judged yet: the last of the reasons

    @property
    def go(self) -> bool:
        """Whether there is no reason against a take-off."""
        return not self.reasons

    @property
    def temporary(self) -> bool:
        """Whether there is no reason but that the pack is not judged yet."""
        return self.checking and len(self.reasons) == 1

    @property
    def text(self) -> str:
        """The verdict as one line."""
        return f"GO: {self.state}" if self.go else f"NO-GO: {'; '.join(self.reasons)}"


# ---------------------------------------------------------------------- report


@dataclass(frozen=True, slots=True)
class PackSummary:
    """What the pack history has of a pack, as screens show it."""

    name: str | None = None  # that a user gave it
    tags: tuple[str, ...] = ()
    flights: int = 0
    capacity: str | None = None  # with its interval, and the share of the rated one
    findings: tuple[str, ...] = ()  # the worst first
    maintenance: str | None = None  # when it is due


@dataclass(frozen=True, slots=True)
class Report:
    """All values of one battery at one step, as every sink receives them."""

    t_s: float
    index: int  # of the battery, from 0
    pack_data: PackData
    snapshot: Snapshot
    vehicle: VehicleState
    estimate: Estimate
    status: Status
    charging: ChargingAdvice = ChargingAdvice()
    preflight: PreflightVerdict = PreflightVerdict()
    requests: tuple[ActionRequest, ...] = ()  # most urgent first
    supply: SupplyStatus | None = None  # of which it is a part; sets `status.asked_max_a`
    reported: ReportedCharge = ReportedCharge()
    history: PackSummary | None = None  # of the pack; for screens alone
    unread: str | None = None  # why it is unknown which faults earlier runs latched

    @property
    def flying(self) -> bool:
        """Whether the vehicle is armed; if that is unknown, whether the pack is under load."""
        armed = self.vehicle.armed
        return self.estimate.remaining_s is not None if armed is None else armed


Sink: TypeAlias = Callable[[Report], None]
