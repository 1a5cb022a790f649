# SPDX-License-Identifier: Apache-2.0
"""Current governor: the current a vehicle may draw before a limit trips or the pack gives way.

Amperes positive while discharging, seconds, watts, volts. `allowed_current` computes what may be
drawn now and what binds it. `Governor` derives the limit commanded to the vehicle: it falls fast,
rises slowly, never falls below the current that keeps the aircraft in the air, and is absent while
there is a wide margin.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate
from dronebms.core.vehicle_state import VehicleState
from dronebms.protection.current_history import WINDOWS_S, CurrentHistory
from dronebms.protection.limits import Limit
from dronebms.protection.quantities import HEAT_TAU_S
from dronebms.protection.quantity_values import NOT_APPLICABLE, QuantityName, Values, number
from smartbattery.values import changed

REACT_S = 2.0  # until the vehicle follows a limit; no window is shorter
MARGIN = 0.97  # of a window's limit, for rounding and a late response
_AFTER = 0.8  # of the steady current, that must remain possible after a burst
_POINTS = 20
_NEAR = 1.15  # allowed over present current: limits below
_FAR = 1.4  # releases above
_RELEASE_S = 10.0
# of the limit
_DOWN_PER_S = 0.5
_UP_PER_S = 0.04
_SAG_V = 0.05  # above the cut-off, where the weakest cell is held
_LIMP = 1.1  # of the mean power in flight, if limp_home_a is not set
_LIMP_TAU_S = 120.0
_LIMP_KNOWN_S = 30.0
_DESCENT_M_S = -0.5  # draws less than hovering
_HEATS = math.exp(-REACT_S / HEAT_TAU_S)
CurrentLimit = tuple[float | None, str | None]  # amperes, id of the limit that binds


@dataclass(frozen=True, slots=True)
class CurrentCaps:
    """Thresholds of the mildest tiers of one pack's table."""

    windows: Mapping[QuantityName, tuple[str, float]]  # id of the limit, amperes
    heat: tuple[str, float] | None
    warm_degc: float
    hot_degc: float
    cutoff_v: float
    steady_a: float  # that may be drawn without end


def caps_of(limits: tuple[Limit, ...], pack_data: PackData) -> CurrentCaps:
    """The governor's thresholds, from the table that trips."""
    windows: dict[QuantityName, tuple[str, float]] = {}
    for row in sorted(limits, key=lambda row: row.trip):  # the mildest tier comes first
        if row.quantity in (*WINDOWS_S, "heat_a"):
            windows.setdefault(row.quantity, (row.limit_id, row.trip))
    steady_a = MARGIN * min((amps for _, amps in windows.values()), default=math.inf)
    heat = windows.pop("heat_a", None)
    hot = sorted(r.trip for r in limits if r.quantity == "temperature_degc" and r.rising)
    warm_degc, hot_degc = (*hot, math.inf, math.inf)[:2]
    return CurrentCaps(windows, heat, warm_degc, hot_degc, pack_data.cutoff_v, steady_a)


def allowed_current(
    caps: CurrentCaps, history: CurrentHistory, values: Values, estimate: Estimate, now_s: float
) -> tuple[float, str]:
    """Amperes that may be drawn now and the limit that binds; infinite if none does."""
    given = (estimate.max_discharge_a, estimate.max_discharge_30s_a)
    found = [(math.inf, "none"), *((a, "cell_critical") for a in given if a is not None)]
    cell_v = number(values["lowest_cell_v"])
    pack_ohm = estimate.resistance_ohm
    load_a = number(values.get("loaded_a"))
    cells = number(values["cells"])
    if cell_v is not None and pack_ohm and load_a is not None and cells:
        over_v = cell_v - caps.cutoff_v - _SAG_V
        found.append((max(load_a + over_v * cells / pack_ohm, 0.0), "cell_sag"))
    degc = number(values["temperature_degc"])
    steady_a = caps.steady_a
    if degc is not None and degc > caps.warm_degc and math.isfinite(steady_a):
        room = (caps.hot_degc - degc) / (caps.hot_degc - caps.warm_degc)
        found.append((max(room, 0.0) * steady_a, "hot_critical"))
    if load_a is not None and load_a * _NEAR > _AFTER * steady_a:  # budgets leave at least that
        found += _budgets(caps, history, values, now_s)
    return min(found)


def _budgets(
    caps: CurrentCaps, history: CurrentHistory, values: Values, now_s: float
) -> list[tuple[float, str]]:
    """For each window, the current for REACT_S after which `_AFTER` of the steady one is safe.

    A vehicle that draws no more at any step never trips a window: the budget of the previous step
    leaves room for at least that lower current.
    """
    after_a = _AFTER * caps.steady_a
    found = []
    for quantity, (limit_id, trip_a) in caps.windows.items():
        span_s = WINDOWS_S[quantity]
        stride_s = (span_s - REACT_S) / _POINTS
        rooms_as = []
        for point in range(_POINTS):
            # The worse of both ends of a stride; between them the budget is no smaller.
            ahead_s = REACT_S + stride_s * point
            past_as = history.drawn_as(now_s - span_s + ahead_s)
            rooms_as.append(MARGIN * trip_a * span_s - past_as - after_a * stride_s * (point + 1))
        found.append((max(min(rooms_as) / REACT_S, after_a), limit_id))
    heat_a = number(values["heat_a"])
    if caps.heat is not None and heat_a is not None:
        limit_id, trip_a = caps.heat
        room_a2 = (MARGIN * trip_a) ** 2 - heat_a**2 * _HEATS
        found.append((math.sqrt(max(room_a2 / (1.0 - _HEATS), after_a**2)), limit_id))
    return found


def limp_home_notes(pack_data: PackData) -> tuple[str, ...]:
    """One sentence if `limp_home_a` is not configured."""
    if pack_data.limp_home_a is not None:
        return ()
    return (
        f"limp_home_a not set: will use {_LIMP:g} x mean flight power; "
        f"current limiting inactive for the first {_LIMP_KNOWN_S:.0f} s of load",
    )


@dataclass(frozen=True, slots=True)
class GovernorState:
    """State of the governor."""

    limit_a: float | None = None  # commanded now
    plenty_s: float = 0.0  # time for which it has been far above the present current
    power_w: float = 0.0  # mean power in flight
    flown_s: float = 0.0
    limp_home_a: float | None = None  # learned


class Governor:
    """Current limit of one battery.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: GovernorState = GovernorState()) -> None:
        self._state = state

    def state(self) -> GovernorState:
        """State for a restart."""
        return self._state

    def limp_home_a(
        self, pack_data: PackData, values: Values, vehicle: VehicleState, *, learns: bool = True
    ) -> float | None:
        """This pack's share of the current that keeps the aircraft in the air, `None` if unknown.

        Args:
            pack_data: has the configured value; without it, the current is learned.
            values: the quantities now.
            vehicle: its climb rate.
            learns: False while the pack also carries the load of a missing one.
        """
        if pack_data.limp_home_a is not None:
            return pack_data.limp_home_a
        state = self._state
        load_a = values.get("loaded_a")
        pack_v = number(values["voltage_v"])
        dt_s = number(values["dt_s"]) or 0.0
        if pack_v is None or load_a is None or not learns:
            return state.limp_home_a
        descends = vehicle.climb_m_s is not None and vehicle.climb_m_s <= _DESCENT_M_S
        if load_a is not NOT_APPLICABLE and load_a > 0.0 and not descends:
            flown_s = state.flown_s + dt_s
            share = dt_s / max(min(flown_s, _LIMP_TAU_S), dt_s, 1e-9)
            power_w = state.power_w + (load_a * pack_v - state.power_w) * share
        else:
            flown_s = state.flown_s
            power_w = state.power_w
        limp_a = state.limp_home_a if flown_s < _LIMP_KNOWN_S else _LIMP * power_w / pack_v
        self._state = GovernorState(state.limit_a, state.plenty_s, power_w, flown_s, limp_a)
        return limp_a

    def update(
        self, allowed: tuple[float, str], limp_a: float | None, values: Values
    ) -> CurrentLimit:
        """Current limit commanded to the vehicle and what binds it, `None` while there is none.

        Without `limp_a` there is no limit, because the lowest safe one is unknown.
        """
        limit_a = self._state.limit_a
        plenty_s = self._state.plenty_s
        load_a = values.get("loaded_a")
        dt_s = number(values["dt_s"]) or 0.0
        if limp_a is None:
            self._state = changed(self._state, limit_a=None)
            return None, None
        if load_a is None:  # the current is unknown: the limit stays
            return limit_a, None
        present_a = 0.0
        if load_a is not NOT_APPLICABLE and load_a > 0.0:
            present_a = max(load_a, number(values["current_2s_a"]) or 0.0)
        target_a, by = max(allowed, (limp_a, "limp_home"))
        if limit_a is None:
            if target_a > _NEAR * present_a:
                return None, None
            limit_a = max(present_a, target_a)
            plenty_s = 0.0
        most_a = _UP_PER_S * limit_a * dt_s
        least_a = -_DOWN_PER_S * limit_a * dt_s
        limit_a = max(limit_a + max(min(target_a - limit_a, most_a), least_a), limp_a)
        plenty_s = plenty_s + dt_s if limit_a > _FAR * present_a else 0.0
        released = plenty_s >= _RELEASE_S
        self._state = changed(self._state, limit_a=None if released else limit_a, plenty_s=plenty_s)
        return (None, None) if released else (limit_a, by)
