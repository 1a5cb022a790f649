"""What a vehicle should be asked to draw at most, before a limit trips or the pack gives way.

Amperes positive while discharging, seconds, watts, volts. `allowance` says what may be drawn and
what binds it; `Governor` asks for it smoothly: down fast, up slowly, never below the current that
keeps the aircraft in the air, and not at all while there is plenty.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate
from dronebms.core.vehicle_state import VehicleState
from dronebms.protection.limits import Limit
from dronebms.protection.quantities import (
    HEAT_TAU_S,
    NOT_APPLICABLE,
    WINDOWS_S,
    CurrentHistory,
    Values,
    number,
)

REACT_S = 2.0  # how long a current goes on until the vehicle follows; no window is shorter
MARGIN = 0.97  # of a window's limit: what rounding and a late answer cost
_AFTER = 0.8  # of the steady current: what a burst may have to be followed by
_POINTS = 20
_NEAR, _FAR = 1.15, 1.4  # allowance over present current: asks from, asks until
_RELEASE_S = 10.0
_DOWN_PER_S, _UP_PER_S = 0.5, 0.04  # of what is asked
_SAG_V = 0.05  # above the cut-off: where the weakest cell is held
_LIMP = 1.1  # of the mean power in flight, when no current is stated
_LIMP_TAU_S, _LIMP_KNOWN_S = 120.0, 30.0
_DESCENT_M_S = -0.5  # takes less than staying in the air
_HEATS = math.exp(-REACT_S / HEAT_TAU_S)
Asked = tuple[float | None, str | None]  # amperes, and what binds them


@dataclass(frozen=True, slots=True)
class Caps:
    """What the table says of one pack, its mildest tiers."""

    windows: Mapping[str, tuple[str, float]]  # quantity: (id, amperes)
    heat: tuple[str, float] | None
    warm_degc: float
    hot_degc: float
    cutoff_v: float

    @property
    def steady_a(self) -> float:
        """Amperes that may be drawn for ever."""
        rows = [*self.windows.values(), *([] if self.heat is None else [self.heat])]
        return MARGIN * min((amps for _, amps in rows), default=math.inf)


def caps_of(limits: tuple[Limit, ...], pack_data: PackData) -> Caps:
    """Return what the governor keeps to, from the table that judges."""
    windows: dict[str, tuple[str, float]] = {}
    for row in sorted(limits, key=lambda row: row.trip):  # the mildest tier comes first
        if row.quantity in (*WINDOWS_S, "heat_a"):
            windows.setdefault(row.quantity, (row.limit_id, row.trip))
    heat = windows.pop("heat_a", None)
    hot = sorted(r.trip for r in limits if r.quantity == "temperature_degc" and r.rising)
    warm_degc, hot_degc = (*hot, math.inf, math.inf)[:2]
    return Caps(windows, heat, warm_degc, hot_degc, pack_data.cutoff_v)


def allowance(
    caps: Caps, history: CurrentHistory, values: Values, estimate: Estimate, now_s: float
) -> tuple[float, str]:
    """Return (amperes that may be drawn now, what binds them); infinite when nothing does."""
    given = (estimate.max_discharge_a, estimate.max_discharge_30s_a)
    found = [(math.inf, "none"), *((a, "cell_critical") for a in given if a is not None)]
    cell_v, pack_ohm = number(values["lowest_cell_v"]), estimate.resistance_ohm
    load_a, cells = number(values.get("loaded_a")), number(values["cells"])
    if cell_v is not None and pack_ohm and load_a is not None and cells:
        over_v = cell_v - caps.cutoff_v - _SAG_V
        found.append((max(load_a + over_v * cells / pack_ohm, 0.0), "cell_sag"))
    degc, steady_a = number(values["temperature_degc"]), caps.steady_a
    if degc is not None and degc > caps.warm_degc and math.isfinite(steady_a):
        room = (caps.hot_degc - degc) / (caps.hot_degc - caps.warm_degc)
        found.append((max(room, 0.0) * steady_a, "hot_critical"))
    if load_a is not None and load_a * _NEAR > _AFTER * steady_a:  # budgets leave at least that
        found += _budgets(caps, history, values, now_s)
    return min(found)


def _budgets(
    caps: Caps, history: CurrentHistory, values: Values, now_s: float
) -> list[tuple[float, str]]:
    """Return, for each window, the current for REACT_S that may be followed by a lower one.

    After it, `_AFTER` of the steady current trips nothing. Whoever keeps to this at every step
    never trips a window: what was promised one step ago leaves room for that current at the least.
    """
    after_a, found = _AFTER * caps.steady_a, []
    for what, (limit_id, trip_a) in caps.windows.items():
        span_s = WINDOWS_S[what]
        stride_s = (span_s - REACT_S) / _POINTS
        for point in range(_POINTS):
            # Of a stride the worst of both ends: nothing between them is worse.
            ahead_s = REACT_S + stride_s * point
            past_as = history.drawn_as(now_s - span_s + ahead_s)
            room_as = MARGIN * trip_a * span_s - past_as - after_a * stride_s * (point + 1)
            found.append((max(room_as / REACT_S, after_a), limit_id))
    heat_a = number(values["heat_a"])
    if caps.heat is not None and heat_a is not None:
        limit_id, trip_a = caps.heat
        room_a2 = (MARGIN * trip_a) ** 2 - heat_a**2 * _HEATS
        found.append((math.sqrt(max(room_a2 / (1.0 - _HEATS), after_a**2)), limit_id))
    return found


def limp_home_notes(pack_data: PackData) -> tuple[str, ...]:
    """Return a sentence when nobody has told what keeps the aircraft in the air."""
    if pack_data.limp_home_a is not None:
        return ()
    return (
        f"limp_home_a is not stated: {_LIMP:g} times the mean power in flight is taken for it, and "
        f"nothing is asked of the vehicle before {_LIMP_KNOWN_S:.0f} s of load have shown that",
    )


@dataclass(frozen=True, slots=True)
class GovernorState:
    """State of the governor."""

    asked_a: float | None = None  # the limit in force
    plenty_s: float = 0.0  # for so long far above the present current
    power_w: float = 0.0  # mean power in flight
    flown_s: float = 0.0
    limp_home_a: float | None = None  # learned


class Governor:
    """Current limit of one battery.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: GovernorState = GovernorState()) -> None:
        self._asked_a = state.asked_a
        self._plenty_s = state.plenty_s
        self._power_w = state.power_w
        self._flown_s = state.flown_s
        self._limp_a = state.limp_home_a

    def state(self) -> GovernorState:
        """State for a restart."""
        return GovernorState(
            self._asked_a, self._plenty_s, self._power_w, self._flown_s, self._limp_a
        )

    def limp_home_a(
        self, pack_data: PackData, values: Values, vehicle: VehicleState, *, learns: bool = True
    ) -> float | None:
        """Return this pack's share of what keeps the aircraft in the air: stated, or learned.

        Args:
            pack_data: may state it.
            values: the quantities now.
            vehicle: as it is heard now.
            learns: whether the pack carries its share, and not that of another that is lost.
        """
        load_a = values.get("loaded_a")
        pack_v = number(values["voltage_v"])
        dt_s = number(values["dt_s"]) or 0.0
        if pack_data.limp_home_a is not None:
            return pack_data.limp_home_a
        if pack_v is None or load_a is None or not learns:
            return self._limp_a
        descends = vehicle.climb_m_s is not None and vehicle.climb_m_s <= _DESCENT_M_S
        if load_a is not NOT_APPLICABLE and load_a > 0.0 and not descends:
            self._flown_s += dt_s
            share = dt_s / max(min(self._flown_s, _LIMP_TAU_S), dt_s, 1e-9)
            self._power_w += (load_a * pack_v - self._power_w) * share
        if self._flown_s >= _LIMP_KNOWN_S:
            self._limp_a = _LIMP * self._power_w / pack_v
        return self._limp_a

    def asked(self, allowed: tuple[float, str], limp_a: float | None, values: Values) -> Asked:
        """Return (amperes that are asked for, what binds them), None while nothing is asked.

        Without a current that keeps the aircraft in the air nothing is asked: the least that is
        safe to ask for is not known then.
        """
        load_a = values.get("loaded_a")
        dt_s = number(values["dt_s"]) or 0.0
        if limp_a is None:
            self._asked_a = None
            return None, None
        if load_a is None:  # nothing new is heard: what was asked stands
            return self._asked_a, None
        present_a = 0.0
        if load_a is not NOT_APPLICABLE and load_a > 0.0:
            present_a = max(load_a, number(values["current_2s_a"]) or 0.0)
        target_a, by = max(allowed, (limp_a, "limp_home"))
        if self._asked_a is None:
            if target_a > _NEAR * present_a:
                return None, None
            self._asked_a, self._plenty_s = max(present_a, target_a), 0.0
        most_a, least_a = _UP_PER_S * self._asked_a * dt_s, -_DOWN_PER_S * self._asked_a * dt_s
        step_a = max(min(target_a - self._asked_a, most_a), least_a)
        self._asked_a = max(self._asked_a + step_a, limp_a)
        plenty = self._asked_a > _FAR * present_a
        self._plenty_s = self._plenty_s + dt_s if plenty else 0.0
        if self._plenty_s >= _RELEASE_S:
            self._asked_a = None
            return None, None
        return self._asked_a, by
