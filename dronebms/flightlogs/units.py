# SPDX-License-Identifier: Apache-2.0
"""Units of a table's columns: values that no pack can have are rejected with the likely unit.

A single implausible value is a spike, which the source withholds. A column whose usual (median)
value is implausible is in another unit, or of another sign. Zeros are left out: loggers write them
for unknown. What no range shows is compared with physics: the charge that was drawn with the rated
capacity, and the sign of the current with the direction of the voltage.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dronebms.core.errors import FlightLogError
from dronebms.core.pack_data import PackData
from dronebms.flightlogs.flight_log import COLUMNS, Columns
from smartbattery.registers import CELLS

Values = NDArray[np.float64]
Unit = tuple[str, float, float]  # name, factor and offset to the unit of the column

_METRES: tuple[Unit, ...] = (("centimetres", 1e-2, 0.0), ("millimetres", 1e-3, 0.0))
# By the end of a column's name: its unit, and the units that are mistaken for it.
_UNITS: tuple[tuple[str, str, tuple[Unit, ...]], ...] = (
    ("_v", "V", (("millivolts", 1e-3, 0.0), ("centivolts", 1e-2, 0.0))),
    ("_a", "A", (("milliamperes", 1e-3, 0.0), ("centiamperes", 1e-2, 0.0))),
    ("_degc", "degC",
     (("kelvin", 1.0, -273.15), ("0.1 K", 0.1, -273.15), ("0.01 degC", 1e-2, 0.0))),
    ("_pct", "%", (("0.1 %", 0.1, 0.0), ("0.01 %", 1e-2, 0.0))),
    ("_mah", "mAh", (("ampere-hours", 1e3, 0.0), ("microampere-hours", 1e-3, 0.0))),
    ("_m_s", "m/s", _METRES),
    ("_s", "s", (("milliseconds", 1e-3, 0.0), ("microseconds", 1e-6, 0.0))),
    ("_deg", "degrees", (("1e-7 degrees", 1e-7, 0.0),)),
    ("_m", "m", _METRES),
)  # fmt: skip
_NEEDED = ("voltage_v", "current_a")  # outside their range they are rejected in any unit
_LEAST_CELL_FRAC = 1 / 3  # of the full voltage: below it the usual voltage is not of so many cells
_MOST_PACKS = 30.0  # full packs drawn in one log
_SLOW_PACKS = 3.0  # at intervals at which a log has one or two discharges
_LARGEST_AH = 33.0  # taken where no capacity is given
_GAP_S = 60.0  # the current of a longer gap is unknown
_SLOW_S = 5.0  # a median interval from here on: t_s may be in milliseconds
_SMALL_FRAC = 2e-3  # of the capacity: no flight begins with less charge
_LOAD_C = 0.05  # mean current that shows its sign
_LEAST_S = 10.0
_FALLS_FRAC = 0.98  # of the voltage at the beginning
_TENTH = 10  # parts, of which the first and the last are compared
_MOST_OTHER_FRAC = 0.1  # of the charge, against the direction
_SECONDS_PER_HOUR = 3600.0


def check_units(columns: Columns, pack_data: PackData, path: Path) -> None:
    """Check that every column is in its unit.

    Raises:
        FlightLogError: a column is in another unit, with the unit that fits.
    """
    for reason in _reasons(
        {name: np.asarray(column) for name, column in columns.items()}, pack_data
    ):
        raise FlightLogError(f"{path}: {reason}")


def _reasons(columns: dict[str, Values], pack_data: PackData) -> Iterable[str]:
    usual: dict[str, float] = {}
    least_v = pack_data.chemistry.full_cell_v * _LEAST_CELL_FRAC
    for row in COLUMNS:
        known = _known(columns.get(row.name))
        if known.size:
            usual[row.name] = value = _median(known)
            if not row.low <= value <= row.high:
                low = row.low
                high = row.high
                if row.name == "voltage_v" and pack_data.cells:
                    low = pack_data.cells * least_v
                    high = pack_data.cells * CELLS[0].high
                unit, likely = _likely(row.name, value, low, high)
                if likely or row.name in _NEEDED:
                    yield f"{row.name} {value:g} is outside {row.low:g}-{row.high:g} {unit}{likely}"
    if "voltage_v" not in usual:
        yield "voltage_v has no value but 0 and unknown"
    cells = pack_data.cells
    volts = usual.get("voltage_v")
    if cells and volts is not None and not least_v <= volts / cells <= CELLS[0].high:
        # Too low for a pack of so many cells, it may be that of one; too high, of more cells alone.
        cause = "of one cell, or another pack" if volts < cells * least_v else "more cells"
        yield f"voltage_v {volts:g} is not that of {cells} cells: {cause}?"
    soc_pct = _known(columns.get("gauge_soc_pct"))
    if soc_pct.size and soc_pct.max() <= 1 and np.any(soc_pct % 1):
        yield f"gauge_soc_pct is at most {soc_pct.max():g} %: a fraction?"
    yield from _of_charge(columns, pack_data)


def _median(values: Values) -> float:
    """The median; of two largest numbers too, whose sum is none."""
    return float(np.median(values / 2.0)) * 2.0


def _known(column: Values | None) -> Values:
    """Values that are neither unknown nor 0."""
    return np.array(()) if column is None else column[~np.isnan(column) & (column != 0)]


def _likely(name: str, value: float, low: float, high: float) -> tuple[str, str]:
    """Unit of a column, and the question whether it is in another that fits; "" if none does."""
    for end, unit, others in _UNITS:
        if name.endswith(end):
            fitting = [other for other, factor, offset in others
                       if low <= value * factor + offset <= high]  # fmt: skip
            return unit, f": {' or '.join(fitting)}?" if fitting else ""
    return "", ""


def _of_charge(columns: dict[str, Values], pack_data: PackData) -> Iterable[str]:
    times_s = columns["t_s"]
    amps = np.nan_to_num(columns["current_a"])
    if len(times_s) <= _TENTH:
        return
    given_ah = None if pack_data.capacity_mah is None else pack_data.capacity_mah / 1000
    rated_ah = _LARGEST_AH if given_ah is None else given_ah
    intervals_s = np.diff(times_s)
    usual_s = float(np.median(intervals_s))
    drawn_ah = amps[:-1] * np.minimum(intervals_s, max(_GAP_S, usual_s)) / _SECONDS_PER_HOUR
    if abs(float(drawn_ah.sum())) > rated_ah * (_MOST_PACKS if usual_s <= _GAP_S else _SLOW_PACKS):
        wrong = "t_s in milliseconds" if usual_s >= _SLOW_S else "current_a in mA"
        yield f"{abs(drawn_ah.sum()):.0f} Ah were drawn from a pack of {rated_ah:g} Ah: {wrong}?"
    remaining_mah = _known(columns.get("gauge_remaining_mah"))
    full_mah = _known(columns.get("gauge_full_mah"))
    full = float(np.median(full_mah)) if full_mah.size else pack_data.capacity_mah
    if full and remaining_mah.size and remaining_mah.max() <= _SMALL_FRAC * full:
        yield f"gauge_remaining_mah is at most {remaining_mah.max():g} of {full:g} mAh: Ah?"
    yield from _of_sign(times_s, drawn_ah, columns["voltage_v"], given_ah or 1 / _LOAD_C)


def _of_sign(times_s: Values, drawn_ah: Values, volts: Values, rated_ah: float) -> Iterable[str]:
    """A pack that is charged all the time while its voltage falls: the sign is that of SBS."""
    lasted_s = float(times_s[-1] - times_s[0])
    charged_ah = -float(drawn_ah[drawn_ah < 0].sum())
    least_ah = _LOAD_C * rated_ah * lasted_s / _SECONDS_PER_HOUR
    other_ah = float(drawn_ah[drawn_ah > 0].sum())
    if lasted_s < _LEAST_S or charged_ah < least_ah or other_ah > _MOST_OTHER_FRAC * charged_ah:
        return
    part = len(volts) // _TENTH
    begin = _known(volts[:part])
    end = _known(volts[-part:])
    if begin.size and end.size and np.median(end) < _FALLS_FRAC * np.median(begin):
        yield "current_a is negative while the voltage falls: discharge is positive"
