# SPDX-License-Identifier: Apache-2.0
"""The quantities of the table of limits, computed once a step.

`quantity_values` has their names and units.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import TypeAlias

from dronebms.core.pack_data import CHARGE_C, LOAD_C, REST_C, PackData
from dronebms.core.pack_identity import is_same_pack, merged
from dronebms.core.report import Estimate, Verdict
from dronebms.core.vehicle_state import VehicleState
from dronebms.core.verdicts import alternate_text, mission_shortage
from dronebms.protection.current_history import WINDOWS_S, CurrentHistory, CurrentHistoryState
from dronebms.protection.quantity_values import (
    NOT_APPLICABLE,
    QuantityName,
    Value,
    Values,
    number,
)
from smartbattery import bq40
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot

HEAT_TAU_S = 120.0  # thermal time constant of the pack's core
RELAXED_S = 60.0  # at rest, until the cell voltages are comparable
WARMING_S = 60.0
_HIDDEN_S = 3.0  # time constant: cells and pack differ for a moment in a step of the load
# A charging current up to here may be the offset of a gauge: half a per cent of a shunt for 200 A.
_OFFSET_C = 0.1
_OFFSET_A = 1.0
# of the cells in a charge
_RISE_S = 300.0
_RISE_STEP_S = 10.0
_RISE_V = 0.008
_STORED_PCT = 80.0
SETTLED_S = 30.0  # of load; earlier predictions rest on the prior alone
_STOP = 1 << 11  # BatteryStatus: TDA
_HOT = 1 << 12  # BatteryStatus: OTA
_CAPACITY_FRAC = 0.2  # between configured and design capacity
_READ: tuple[QuantityName, ...] = ("voltage_v", "temperature_degc", "fet_degc")
_TIMES_LEFT: tuple[QuantityName, ...] = ("remaining_s", "remaining_low_s", "remaining_high_s")
_TIMES_HOME: tuple[QuantityName, ...] = (
    "turn_back_in_s",
    "home_reserve_s",
    "home_margin_s",
    "home_best_s",
)
_OF_FLIGHT: tuple[QuantityName, ...] = (*_TIMES_HOME, "alternates", "mission_risk")
_PREDICTED: tuple[QuantityName, ...] = (*_TIMES_LEFT, *_OF_FLIGHT)
_ESTIMATED: tuple[QuantityName, ...] = ("soc_pct", "soh_pct", *_TIMES_LEFT, *_TIMES_HOME)
_read = attrgetter(*_READ)
_estimated = attrgetter(*_ESTIMATED)
_SEEN = frozenset(("current", "temperature", "cells"))
_RISKS = {Verdict.YES: 0.0, Verdict.MARGINAL: 1.0, Verdict.NO: 2.0, Verdict.UNKNOWN: None}
_STEP_S = 1.0 - 1e-6
_SAME_S = 1e-9


@dataclass(frozen=True, slots=True)
class QuantitiesState:
    """State of the quantities; times in seconds of the loop's clock."""

    identity: Identity = UNIDENTIFIED
    history: CurrentHistoryState = field(default_factory=CurrentHistoryState)
    last_s: float | None = None
    last_valid_s: float | None = None  # of the voltage
    heat_a2: float = 0.0
    since_s: dict[str, float] = field(default_factory=dict)  # start of each lasting condition
    idle_mah: float = 0.0
    loaded_s: float = 0.0
    temperatures: tuple[tuple[float, float], ...] = ()  # (time, degC) of the last minute
    most_readings: int = 0  # known at once, so far
    seen: tuple[str, ...] = ()  # readings that were known at least once
    hidden_cell_v: float | None = None  # mean of the unknown cells, by the pack's voltage
    charged: bool = False  # by a large current, until it ends
    charging: tuple[tuple[float, float], ...] = ()  # (time, mean cell voltage) of a small charge

    def __post_init__(self) -> None:
        """Raise ValueError for a negative square."""
        if self.heat_a2 < 0.0:
            raise ValueError(f"heat_a2 is {self.heat_a2:g}")


class Quantities:
    """Quantities of one battery.

    Args:
        pack_data: what is known of the pack.
        state: of an earlier run, to continue from.
    """

    def __init__(self, pack_data: PackData, state: QuantitiesState = QuantitiesState()) -> None:
        self.pack_data = pack_data
        self.missing: tuple[int, ...] = ()  # packs of the same supply
        self.all_missing = False
        self.settling = False  # in flight, while predictions are not evaluated yet
        self._restore(state)

    def state(self) -> QuantitiesState:
        """State for a restart."""
        return QuantitiesState(
            identity=self.identity,
            history=self.history.state(),
            last_s=self._last_s,
            last_valid_s=self._last_valid_s,
            heat_a2=self._heat_a2,
            since_s=dict(self._since_s),
            idle_mah=self._idle_mah,
            loaded_s=self._loaded_s,
            temperatures=tuple(self._degc),
            most_readings=self._most_readings,
            seen=tuple(sorted(self._seen)),
            hidden_cell_v=self._hidden_cell_v,
            charged=self._charged,
            charging=tuple(self._charging_v),
        )

    def _restore(self, state: QuantitiesState) -> None:
        self.identity = state.identity
        self.history = CurrentHistory(state.history)
        self._last_s = state.last_s
        self._last_valid_s = state.last_valid_s
        self._heat_a2 = state.heat_a2
        self._since_s = dict(state.since_s)
        self._idle_mah = state.idle_mah
        self._loaded_s = state.loaded_s
        self._degc = deque(state.temperatures)
        self._most_readings = state.most_readings
        self._seen = set(state.seen)
        self._hidden_cell_v = state.hidden_cell_v
        self._charging_v = deque(state.charging)
        self._charged = state.charged
        self.charging = False  # in the last step
        self._compared: tuple[Identity, PackData] | None = None  # of `mismatches`
        self.mismatches: tuple[str, ...] = ()
        self._estimate = Estimate(0.0)  # the newest

    def resume(self) -> None:
        """Continue after an absence of the loop, in which the temperature was not seen."""
        self._degc.clear()

    def update(self, snapshot: Snapshot, estimate: Estimate, vehicle: VehicleState) -> Values:
        """All quantities at the snapshot's time; another pack resets the state."""
        if is_same_pack(self.identity, snapshot.identity):
            self.identity = merged(self.identity, snapshot.identity)
        else:
            self._restore(QuantitiesState(identity=snapshot.identity))
        now_s = snapshot.t_s
        values: Values = dict(zip(_ESTIMATED, _estimated(estimate), strict=True))
        values["alternates"] = _alternates(estimate)
        values["mission_risk"] = _mission_risk(estimate, vehicle)
        # A time to empty of 0 is a measurement, not a prediction.
        early = self._loaded_s < SETTLED_S and estimate.remaining_s != 0.0
        self.settling = early and vehicle.armed is not False
        if early:
            values |= dict.fromkeys(_PREDICTED)
        if vehicle.armed is False:  # landed: there is no way home any more
            values |= dict.fromkeys(_OF_FLIGHT, NOT_APPLICABLE)
        values.update(zip(_READ, _read(snapshot), strict=True))
        values["cells"] = self.pack_data.cells or len(snapshot.cells_v)
        dt_s = 0.0 if self._last_s is None else max(now_s - self._last_s, 0.0)
        values["dt_s"] = dt_s
        values["warming_k"] = self._warming(now_s, snapshot.temperature_degc)
        self._last_s = now_s
        known_v = snapshot.known_cells_v()
        cells_v = _judged_cells(snapshot, known_v)
        hidden_v = self._hidden_cell(snapshot, known_v, dt_s)
        lowest_v = cells_v if hidden_v is None else [*cells_v, hidden_v]
        values["lowest_cell_v"] = min(lowest_v, default=None)
        values["highest_cell_v"] = max(cells_v, default=None)
        values["resting_cell_v"] = estimate.resting_cell_v if cells_v else None
        self._estimate = estimate
        self._gauge_quantities(snapshot, values, len(known_v), vehicle)
        self._current_quantities(snapshot, dt_s, values)
        self._load_quantities(snapshot, known_v, estimate, vehicle, dt_s, values)
        return values

    def reason(self, quantity: QuantityName, snapshot: Snapshot) -> str:
        """Details of a quantity for its text: the flags, readings or batteries it counts."""
        details = _DETAILS.get(quantity)
        return "" if details is None else "; ".join(details(self, snapshot))

    def blind_to(self, snapshot: Snapshot) -> str:
        """The readings that are unknown and were known before."""
        return "/".join(name for name in _lacking(snapshot) if name in self._seen)

    @property
    def estimate(self) -> Estimate:
        """The newest."""
        return self._estimate

    # ------------------------------------------------------------------ parts

    def _hidden_cell(self, snapshot: Snapshot, known_v: list[float], dt_s: float) -> float | None:
        """Mean of the unknown cells: what the known ones leave of the pack's voltage.

        The lowest is no higher than that. Smoothed, because pack and cells are not read at once.
        """
        unknown = len(snapshot.cells_v) - len(known_v)
        if not known_v or not unknown or snapshot.voltage_v is None:
            self._hidden_cell_v = None
            return None
        mean_v = (snapshot.voltage_v - sum(known_v)) / unknown
        before_v = mean_v if self._hidden_cell_v is None else self._hidden_cell_v
        self._hidden_cell_v = before_v + (mean_v - before_v) * (1.0 - math.exp(-dt_s / _HIDDEN_S))
        return self._hidden_cell_v

    def _gauge_quantities(
        self, snapshot: Snapshot, values: Values, known_cells: int, vehicle: VehicleState
    ) -> None:
        now_s = snapshot.t_s
        valid = snapshot.has_answer
        if valid or self._last_valid_s is None:  # silence counts from the start
            self._last_valid_s = snapshot.read_at_s.get("voltage_v", now_s) if valid else now_s
        # A log with a sample every half minute is not silent in between: its values still hold.
        values["silence_s"] = 0.0 if valid else now_s - self._last_valid_s
        values["other_pack"] = float(snapshot.other_pack is not None)
        # On the ground a dispute is a doubt like any other: the pack is not flown.
        disputes = ("voltage_v" in snapshot.disputed) + ("current_a" in snapshot.disputed)
        hidden = snapshot.voltage_v is None or "cells_v" in snapshot.rejected
        disputes += valid and hidden  # no reading shows the weakest cell
        flies = vehicle.armed is not False
        values["disputes"] = NOT_APPLICABLE
        if flies:
            values["disputes"] = float(disputes) if valid else None
        doubts = len(snapshot.doubts) + len(self._estimate.doubts) - disputes * flies
        values["doubts"] = float(doubts) if valid else None
        known = known_cells + (snapshot.current_a is not None)
        known += snapshot.temperature_degc is not None
        self._most_readings = max(self._most_readings, known)
        refused = _refused(snapshot)
        if not self._seen.issuperset(_SEEN):
            self._seen.update(_SEEN.difference(_lacking(snapshot)), refused)
        blind = valid and (known < self._most_readings or bool(refused))
        values["blind_s"] = self._lasting("blind", now_s, lasts=blind)
        values["stop_alarm"] = self._stop_alarm(snapshot, values)
        values["hot_alarm"] = _count(snapshot.status_raw, _HOT)
        timers, charge_trips = _masks(snapshot.identity.gauge)
        alerts = snapshot.alerts
        values["alerts"] = _count(snapshot.alert_raw, ~timers) if alerts is None else len(alerts)
        values["tripped"] = _count(snapshot.safety_raw, ~charge_trips)
        values["charge_tripped"] = _count(snapshot.safety_raw, charge_trips)
        values["failed"] = _count(snapshot.failure_raw)
        if valid:
            if self._compared != (snapshot.identity, self.pack_data):
                self._compared = (snapshot.identity, self.pack_data)
                self.mismatches = tuple(mismatches(snapshot.identity, self.pack_data))
            values["mismatches"] = float(len(self.mismatches))

    def _stop_alarm(self, snapshot: Snapshot, values: Values) -> float | None:
        """Whether the gauge reports an empty pack; unknown where it counts by a wrong charge.

        A gauge that has restarted may report both no charge and the end of the discharge. Its cells
        show that it is not empty, if all of them are known.
        """
        stop = _count(snapshot.status_raw, _STOP)
        lowest_v = number(values["lowest_cell_v"])
        refuted = "remaining_mah" in snapshot.rejected and None not in snapshot.cells_v
        refuted &= lowest_v is not None and lowest_v > self.pack_data.low_v
        return None if stop and refuted else stop

    def _current_quantities(self, snapshot: Snapshot, dt_s: float, values: Values) -> None:
        now_s = snapshot.t_s
        current_a = _least_a(snapshot)
        values["beyond_a"] = None if current_a is None else abs(snapshot.beyond_a or 0.0)
        self.history.add(now_s, current_a)
        for name, span_s in WINDOWS_S.items():
            values[name] = self.history.mean(now_s, span_s)
        if current_a is not None:
            share = 1.0 - math.exp(-dt_s / HEAT_TAU_S)
            self._heat_a2 += (current_a * current_a - self._heat_a2) * share
            values["heat_a"] = math.sqrt(self._heat_a2)

    def _warming(self, now_s: float, degc: float | None) -> float | None:
        """Rise of the temperature within a minute in kelvin, `None` before a minute is known."""
        seen = self._degc
        if degc is None:
            seen.clear()
            return None
        if not seen or now_s - seen[-1][0] >= _STEP_S:
            seen.append((now_s, degc))
        while len(seen) > 1 and seen[1][0] <= now_s - WARMING_S + _SAME_S:
            seen.popleft()
        return degc - seen[0][1] if now_s - seen[0][0] >= WARMING_S - _SAME_S else None

    def _lasting(self, name: str, now_s: float, *, lasts: bool) -> float:
        """Seconds for which a condition has lasted without a break, 0 if it does not hold."""
        if not lasts:
            self._since_s.pop(name, None)
            return 0.0
        return now_s - self._since_s.setdefault(name, now_s)

    def _load_quantities(
        self,
        snapshot: Snapshot,
        known_v: list[float],
        estimate: Estimate,
        vehicle: VehicleState,
        dt_s: float,
        values: Values,
    ) -> None:
        """Quantities that depend on whether the pack rests, is loaded or is charged."""
        now_s = snapshot.t_s
        current_a = _least_a(snapshot)
        self.charging = False
        if current_a is None:
            self._loaded_s += dt_s * (vehicle.armed is True)
            return
        ah = self.pack_data.capacity_ah
        loaded = current_a >= LOAD_C * ah
        armed = vehicle.armed
        self.charging = charging = self._charges(snapshot, -current_a, ah, armed=armed)
        resting_s = self._lasting("rest", now_s, lasts=abs(current_a) <= REST_C * ah)
        self._loaded_s += dt_s * loaded
        flying = loaded or vehicle.armed is True
        self._idle_mah = 0.0 if flying or charging else self._idle_mah + current_a * dt_s / 3.6
        full = not flying and (estimate.soc_pct or 0.0) >= _STORED_PCT
        spread_v = max(known_v) - min(known_v) if known_v else None
        values["loaded_a"] = current_a if loaded else NOT_APPLICABLE
        values["spread_rest_v"] = spread_v if resting_s >= RELAXED_S else None
        values["spread_load_v"] = spread_v if loaded else None
        values["spread_charge_v"] = spread_v if charging else NOT_APPLICABLE
        values["charge_a"] = max(-current_a, 0.0) if charging or armed is not True else 0.0
        values["charge_s"] = self._lasting("charge", now_s, lasts=charging)
        requested_a = snapshot.charging_a
        requested_v = snapshot.charging_v
        values["charge_request_frac"] = None if charging else NOT_APPLICABLE
        values["charge_above_v"] = None if charging else NOT_APPLICABLE
        if charging and requested_a is not None:
            values["charge_request_frac"] = -current_a / max(requested_a, CHARGE_C * ah)
        if charging and requested_v and snapshot.voltage_v is not None:  # 0: no charge requested
            values["charge_above_v"] = snapshot.voltage_v - requested_v
        values["charging_degc"] = snapshot.temperature_degc if charging else NOT_APPLICABLE
        values["idle_mah"] = self._idle_mah
        values["stored_s"] = self._lasting("stored", now_s, lasts=full)

    def _charges(
        self, snapshot: Snapshot, charge_a: float, ah: float, *, armed: bool | None
    ) -> bool:
        """Whether a charging current is one: an offset of the gauge raises no cell.

        A large one needs no proof on the ground, where chargers are; in flight the cells give it.
        A large one that becomes small charges until the cells fall.
        """
        seen = self._charging_v
        cells = self.pack_data.cells or len(snapshot.cells_v)
        cell_v = None if not cells or snapshot.voltage_v is None else snapshot.voltage_v / cells
        if charge_a < CHARGE_C * ah:
            self._charged = False
            seen.clear()
            if cell_v is not None and (armed is True or charge_a >= -REST_C * ah):
                seen.append((snapshot.t_s, cell_v))
            return False
        if armed is not True and charge_a >= max(_OFFSET_C * ah, _OFFSET_A):
            self._charged = True
            return True
        if cell_v is None:
            return self._charged
        while seen and seen[0][0] < snapshot.t_s - _RISE_S:
            seen.popleft()
        if not seen or snapshot.t_s - seen[-1][0] >= _RISE_STEP_S:
            seen.append((snapshot.t_s, cell_v))
        levels_v = [v for _, v in seen]
        self._charged = self._charged and cell_v > max(levels_v) - _RISE_V
        return self._charged or cell_v >= min(levels_v) + _RISE_V


def _alternates(estimate: Estimate) -> float | None:
    """Number of alternates in reach while home is not."""
    if estimate.home_verdict is Verdict.UNKNOWN:
        return None
    return float(estimate.home_verdict is Verdict.NO and estimate.alternate is not None)


def _mission_risk(estimate: Estimate, vehicle: VehicleState) -> Value:
    """Verdict of the mission that is flown: 0 YES, 1 MARGINAL, 2 NO."""
    flown = vehicle.flies_mission
    return _RISKS[estimate.mission_verdict] if flown else None if flown is None else NOT_APPLICABLE


def _lead_time(estimate: Estimate) -> str:
    """What a pilot can do, and the time until the verdict is NO while the vehicle stays there."""
    margin_s = estimate.home_margin_s
    spare = "" if margin_s is None else f": {max(margin_s, 0.0):.0f} s to spare"
    return f"turn back{spare}"


def _lacking(snapshot: Snapshot) -> list[str]:
    """Names of the readings that are unknown."""
    readings = {
        "current": snapshot.current_a,
        "temperature": snapshot.temperature_degc,
        "cells": None if None in snapshot.cells_v or not snapshot.cells_v else 0.0,
    }
    return [name for name, value in readings.items() if value is None]


def _judged_cells(snapshot: Snapshot, known_v: list[float]) -> list[float]:
    """Cell voltages that limits judge: in a dispute those of both sides."""
    if "cells_v" in snapshot.disputed:
        packs_v = [pack_v / len(snapshot.cells_v) for pack_v in snapshot.disputed["voltage_v"]]
        return [*snapshot.disputed["cells_v"], *packs_v]
    return known_v


def _refused(snapshot: Snapshot) -> set[str]:
    """Names of the readings that a cross-check has rejected or disputes."""
    names = {*snapshot.rejected, *snapshot.disputed}
    if not names:
        return names
    found = {"current"} if "current_a" in names else set()
    return found | ({"cells"} if any(name.startswith("cell") for name in names) else set())


def _least_a(snapshot: Snapshot) -> float | None:
    """The current, its lower bound while the register is saturated, or the largest in dispute."""
    if snapshot.current_a is not None:
        return snapshot.current_a
    return max(snapshot.disputed.get("current_a", ()), default=snapshot.beyond_a)


def mismatches(identity: Identity, pack_data: PackData) -> tuple[str, ...]:
    """Differences between the identified and the configured pack."""
    found = []
    if pack_data.cells and identity.cells and pack_data.cells != identity.cells:
        found.append(f"{identity.cells} cells, not {pack_data.cells}")
    rated_mah = pack_data.capacity_mah
    design_mah = identity.design_mah
    if rated_mah and design_mah and abs(design_mah / rated_mah - 1.0) > _CAPACITY_FRAC:
        found.append(f"{design_mah:.0f} mAh, not {rated_mah:.0f}")
    # Many packs report the wrong one of the other chemistries; LiFePO4 has another voltage.
    kind = (identity.chemistry or "").upper()
    if kind.startswith("LI") and kind.startswith("LIF") != (pack_data.chemistry.name == "lifepo4"):
        found.append(f"{identity.chemistry}, not {pack_data.chemistry.name}")
    return tuple(found)


def _flags(snapshot: Snapshot, word: str, raw: int | None) -> tuple[str, ...]:
    """Set flags of a BQ40's status word, as the identified part documents them."""
    part = bq40.part_named(snapshot.identity.gauge)
    return tuple(f"{flag.name} {flag.text}" for flag in bq40.flags(part, word, raw or 0))


@cache
def _masks(gauge: str) -> tuple[int, int]:
    """Masks of the SafetyAlert timers and of the SafetyStatus trips of a charge alone."""
    part = bq40.part_named(gauge)
    return bq40.timer_mask(part), bq40.charge_trip_mask(part)


def _count(raw: int | None, mask: int = -1) -> float | None:
    return None if raw is None else float((raw & mask).bit_count())


def _missing_packs(quantities: Quantities, _: Snapshot) -> tuple[str, ...]:
    carried = "no battery is left" if quantities.all_missing else "load on the others"
    return (f"{_numbers(quantities.missing)} missing: {carried}",)


def _numbers(indices: tuple[int, ...]) -> str:
    return ", ".join(str(index + 1) for index in indices)


def _safety_flags(_: Quantities, snapshot: Snapshot) -> tuple[str, ...]:
    return _flags(snapshot, "SafetyStatus", snapshot.safety_raw)


_Details: TypeAlias = Callable[[Quantities, Snapshot], tuple[str, ...]]
_DETAILS: Mapping[QuantityName, _Details] = {
    "blind_s": lambda quantities, snapshot: (quantities.blind_to(snapshot),),
    "doubts": lambda quantities, snapshot: (*snapshot.doubts, *quantities.estimate.doubts),
    "other_pack": lambda _, snapshot: (snapshot.other_pack or "",),
    "disputes": lambda _, snapshot: snapshot.doubts,
    "packs_missing": _missing_packs,
    "modules_missing": lambda quantities, _: (_numbers(quantities.missing),),
    "mismatches": lambda quantities, _: quantities.mismatches,
    "alerts": lambda _, snapshot: (
        snapshot.alerts or _flags(snapshot, "SafetyAlert", snapshot.alert_raw)
    ),
    "tripped": _safety_flags,
    "charge_tripped": _safety_flags,
    "failed": lambda _, snapshot: _flags(snapshot, "PFStatus", snapshot.failure_raw),
    "home_reserve_s": lambda quantities, _: (_lead_time(quantities.estimate),),
    "alternates": lambda quantities, _: (alternate_text(quantities.estimate),),
    "mission_risk": lambda quantities, _: (
        mission_shortage(quantities.estimate, "needs {needs} of {usable} Ah"),
    ),
}
