# SPDX-License-Identifier: Apache-2.0
"""Plausible thresholds of a configured limit, and the pack that none of them may trip.

A limit that a sound pack at rest trips, full or half full, is a mistake: its alarm would always be
on, and an action on it would follow at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from dronebms.core.pack_data import PackData
from dronebms.core.plausible_range import (
    AMPERE_HOURS,
    FAHRENHEIT,
    FRACTION,
    HOURS,
    KELVIN,
    MILLI_A,
    MILLI_S,
    MILLI_V,
    MINUTES,
    PERCENT,
    TENTH_KELVIN,
    PlausibleRange,
    Slip,
)
from dronebms.core.report import Severity
from dronebms.protection.limits import Limit, every_limit
from dronebms.protection.quantity_values import QuantityName
from smartbattery.registers import MAX_MAH
from smartbattery.snapshot import MAX_CELLS

_LOW_CELL_V = 1.5  # below every cut-off
_HIGH_CELL_V = 4.8  # above the emergency of a LiHV cell
_CELL = PlausibleRange(_LOW_CELL_V, _HIGH_CELL_V, "V", (MILLI_V,))
_PACK = PlausibleRange(_LOW_CELL_V, MAX_CELLS * _HIGH_CELL_V, "V", (MILLI_V,))
_SPREAD = PlausibleRange(0.005, 1.0, "V", (MILLI_V,))
_DEGC = PlausibleRange(-40.0, 100.0, "degC", (KELVIN, TENTH_KELVIN, FAHRENHEIT))
_AMPS = PlausibleRange(0.01, 5000.0, "A", (MILLI_A,))
_PCT = PlausibleRange(1.0, 99.0, "%", (FRACTION,))
_LEFT = PlausibleRange(5.0, 7200.0, "s", (MINUTES, MILLI_S))
_HOME = PlausibleRange(-600.0, 7200.0, "s", (MILLI_S,))
_SILENCE = PlausibleRange(1.0, 60.0, "s", (MILLI_S,))
_COUNT = PlausibleRange(1.0, 16.0)
_DURATION = PlausibleRange(600.0, 30 * 86_400.0, "s", (HOURS, MINUTES))

# fmt: off
TRIP_RANGES: Mapping[QuantityName, PlausibleRange] = MappingProxyType({
    "resting_cell_v": _CELL, "lowest_cell_v": _CELL, "highest_cell_v": _CELL, "voltage_v": _PACK,
    "spread_rest_v": _SPREAD, "spread_load_v": _SPREAD, "spread_charge_v": _SPREAD,
    "temperature_degc": _DEGC, "charging_degc": _DEGC,
    "fet_degc": PlausibleRange(0.0, 175.0, "degC", (KELVIN, TENTH_KELVIN)),
    "warming_k": PlausibleRange(0.5, 100.0, "K/min"),
    "silence_s": _SILENCE, "blind_s": PlausibleRange(1.0, 300.0, "s", (MILLI_S,)),
    "doubts": _COUNT, "disputes": _COUNT, "other_pack": _COUNT, "mismatches": _COUNT,
    "stop_alarm": _COUNT, "hot_alarm": _COUNT, "alerts": _COUNT,
    "tripped": _COUNT, "charge_tripped": _COUNT, "failed": _COUNT,
    "packs_missing": _COUNT, "modules_missing": _COUNT, "beyond_a": _AMPS,
    "soc_pct": _PCT, "soh_pct": _PCT,
    "remaining_s": _LEFT, "remaining_low_s": _LEFT, "remaining_high_s": _LEFT,
    "turn_back_in_s": _HOME, "home_reserve_s": _HOME, "home_margin_s": _HOME, "home_best_s": _HOME,
    "alternates": _COUNT, "mission_risk": PlausibleRange(1.0, 2.0),
    "limp_margin_a": PlausibleRange(-200.0, 500.0, "A", (MILLI_A,)),
    "stored_s": _DURATION, "charge_s": _DURATION,
    "charge_request_frac": PlausibleRange(1.0, 3.0, "times the request", (PERCENT,)),
    "charge_above_v": PlausibleRange(0.01, 5.0, "V", (MILLI_V,)),
    "current_2s_a": _AMPS, "current_10s_a": _AMPS, "current_60s_a": _AMPS, "heat_a": _AMPS,
    "charge_a": _AMPS,
    "idle_mah": PlausibleRange(5.0, MAX_MAH, "mAh", (AMPERE_HOURS,)),
})
# fmt: on

_ROOM_DEGC = 25.0
_DEEP_V = 0.8  # below the resting voltage of an empty cell a limit never trips in time
_LEAST_C = 0.02  # a slow charger
_MOST_C = 800.0  # more than any maker prints on a pack
_STATES = (("full", 100.0, -1), ("half full", 50.0, 10))  # percent, place in the OCV curve


def implausible_trip(limit_id: str, trip: float) -> str | None:
    """What was expected instead of a threshold, `None` if it is plausible for some pack."""
    row = TRIP_RANGES.get(every_limit()[limit_id].quantity)
    return None if row is None else row.wrong(trip)


def implausible_clear(limit_id: str, clear: float) -> str | None:
    """The same for the value at which a limit clears; 0 is the end of every count and duration."""
    return None if clear == 0.0 else implausible_trip(limit_id, clear)


def implausible_limits(limits: Iterable[Limit], pack_data: PackData) -> Iterator[str]:
    """A sentence for each limit of a pack that never trips, or that a sound pack at rest trips."""
    for row in limits:
        of_pack = _of_pack(row, pack_data)
        wrong = None if of_pack is None else of_pack.wrong(row.trip)
        if wrong is not None:
            yield f"limit {row.limit_id!r}: expected trip of {wrong}, not {row.trip:g}"
            continue
        for state, values in sound_values(pack_data).items():
            value = values.get(row.quantity)
            if value is not None and row.beyond(value):
                yield (
                    f"limit {row.limit_id!r} trips at {row.trip:g}: a sound {state} "
                    f"{pack_data.chemistry.name} pack at rest has {value:.4g}"
                )
                break


def _of_pack(row: Limit, pack_data: PackData) -> PlausibleRange | None:
    """Narrower range of a threshold for the cells or the capacity of a pack."""
    cells = pack_data.cells
    mah = pack_data.capacity_mah
    least_v = pack_data.chemistry.ocv_v[0] - _DEEP_V
    if row.quantity in ("lowest_cell_v", "resting_cell_v"):
        return PlausibleRange(least_v, _HIGH_CELL_V, f"V of a {pack_data.chemistry.name} cell")
    if row.quantity == "voltage_v" and cells:
        slips = (MILLI_V, Slip("volts of a cell", cells))
        return PlausibleRange(cells * least_v, cells * _HIGH_CELL_V, f"V of {cells} cells", slips)
    if TRIP_RANGES.get(row.quantity) is _AMPS and row.quantity != "beyond_a" and mah:
        return PlausibleRange(_LEAST_C * mah / 1e3, _MOST_C * mah / 1e3, "A", (MILLI_A,))
    return None


def sound_values(pack_data: PackData) -> dict[str, dict[QuantityName, float]]:
    """Quantities of a sound pack at rest at 25 degC, by the name of its state."""
    found = {}
    for name, soc_pct, place in _STATES:
        cell_v = pack_data.chemistry.ocv_v[place]
        values: dict[QuantityName, float] = {
            "resting_cell_v": cell_v,
            "lowest_cell_v": cell_v,
            "highest_cell_v": cell_v,
            "temperature_degc": _ROOM_DEGC,
            "fet_degc": _ROOM_DEGC,
            "soh_pct": 100.0,
            "silence_s": 0.0,
            "blind_s": 0.0,
        }
        if pack_data.cells:
            values["voltage_v"] = pack_data.cells * cell_v
        if soc_pct == 100.0:  # noqa: PLR2004 - an alarm at 60 % is a choice, not a mistake
            values["soc_pct"] = soc_pct
            if pack_data.hover_a and pack_data.capacity_mah:
                left_s = 3.6 * pack_data.capacity_mah / pack_data.hover_a
                values |= dict.fromkeys(("remaining_s", "remaining_low_s"), left_s)
        found[name] = values
    return found


def too_mild(row: Limit, severity: Severity) -> bool:
    """Whether a severity hides a limit that protects the pack or the vehicle."""
    return row.severity >= Severity.CRITICAL and severity < Severity.WARNING
