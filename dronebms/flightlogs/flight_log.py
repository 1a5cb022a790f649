# SPDX-License-Identifier: Apache-2.0
"""Value of a flight log: its columns, with the range of plausible values of each.

The ranges of the battery columns are those of the gauge's registers. Units are in the names;
current is positive while discharging. The file format is in docs/flight_logs.md, the
columns in docs/reference/flight_csv.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from pathlib import Path

from dronebms.core.bounded_input import MAX_ROWS, BoundError
from dronebms.core.errors import FlightLogError
from dronebms.core.pack_data import PackData
from dronebms.core.resolution import Resolution
from smartbattery.registers import (
    CELLS,
    CURRENT,
    FULL,
    RELATIVE_SOC,
    REMAINING,
    TEMPERATURE,
    TIME_TO_EMPTY,
    VOLTAGE,
    Register,
)
from smartbattery.snapshot import CELL_FIELDS, MAX_CELLS

# A step of the loop follows from each sample and from each second of a gap; their number is
# bounded by that of the samples and by these.
LONGEST_GAP_S = 86_400.0  # longer: the logger's clock was set, or t_s is not in seconds
_GAP_S = 60.0  # no log is sampled more slowly
_ALL_GAPS_S = 86_400.0
_LONGEST_S = 7 * 86_400.0
_MOST_STEPS = 1000  # of a coarse quantity: 0.01 V over the range of a small pack
_DIGITS = 4  # of a value: a sum of rounded cells differs in its last binary digits
_MOST_HIDDEN_FRAC = 0.1  # of the samples: a message may be sent twice, a second have two rows
_LAST_S = 1e10  # seconds since 1970 have ten digits

# Values by column name. NaN is an empty field, here and nowhere else: a million rows of None
# would not fit in memory.
Columns = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a flight log that is read, and the range of its plausible values."""

    name: str
    field: str  # of Snapshot or VehicleState
    low: float  # inclusive
    high: float
    meaning: str


@dataclass(frozen=True, slots=True)
class FlightLog:
    """A recorded flight."""

    name: str  # stem of the file name
    pack_data: PackData
    columns: Columns
    notes: tuple[str, ...] = ()  # for the user, a sentence each
    uid: str | None = None  # `VehicleState.uid`


def _gauge(name: str, register: Register, meaning: str) -> Column:
    return Column(name, register.field, register.low, register.high, meaning)


# fmt: off
BATTERY_COLUMNS = (
    _gauge("voltage_v",             VOLTAGE, "pack voltage; needed"),
    _gauge("current_a",             CURRENT, "current, positive while discharging; needed"),
    _gauge("temperature_degc",      TEMPERATURE, "temperature of the pack"),
    _gauge("gauge_soc_pct",         RELATIVE_SOC, "state of charge that the fuel gauge reports"),
    _gauge("gauge_remaining_mah",   REMAINING, "remaining charge that the fuel gauge reports"),
    _gauge("gauge_full_mah",        FULL, "full charge capacity that the fuel gauge reports"),
    _gauge("gauge_time_to_empty_s", TIME_TO_EMPTY, "time to empty that the fuel gauge reports"),
)
VEHICLE_COLUMNS = (
    Column("armed",            "armed",                0.0,      1.0, "1 while the vehicle is armed"),
    Column("lat_deg",          "lat_deg",            -90.0,     90.0, "latitude of the vehicle, WGS 84"),
    Column("lon_deg",          "lon_deg",           -180.0,    180.0, "longitude of the vehicle, WGS 84"),
    Column("alt_m",            "alt_m",           -1_000.0, 20_000.0, "altitude of the vehicle above sea level"),
    Column("home_lat_deg",     "home_lat_deg",       -90.0,     90.0, "latitude of the home position"),
    Column("home_lon_deg",     "home_lon_deg",      -180.0,    180.0, "longitude of the home position"),
    Column("ground_speed_m_s", "ground_speed_m_s",     0.0,    200.0, "speed over ground"),
    Column("climb_m_s",        "climb_m_s",         -100.0,    100.0, "climb rate, positive upwards"),
    Column("wind_m_s",         "wind_m_s",             0.0,    100.0, "wind speed"),
    Column("wind_from_deg",    "wind_from_deg",        0.0,    360.0, "direction that the wind comes from"),
)
# fmt: on
CELL_COLUMNS = tuple(
    Column(name, name, CELLS[0].low, CELLS[0].high, f"voltage of cell {number}")
    for number, name in enumerate(CELL_FIELDS, start=1)
)
COLUMNS = (*BATTERY_COLUMNS, *CELL_COLUMNS, *VEHICLE_COLUMNS)


def notes_on(columns: Columns, path: Path) -> tuple[str, ...]:
    """What a log does not have, for the user."""
    if not all(isnan(value) for value in columns["current_a"]):
        return ()
    return (f"{path.name} has no current: charge used and time left are unknown",)


def notes_on_times(times_s: Sequence[float], samples: int, path: Path) -> tuple[str, ...]:
    """Compare the different times of a log with its number of samples, for the user.

    Of the samples of one time the newest values are read, so that a clock that stands hides the
    others.

    Raises:
        FlightLogError: all samples have one time.
    """
    if len(times_s) == 1 < samples:
        raise FlightLogError(
            f"{path}: all {samples} samples have one time: the clock of the logger stood or ran back"
        )
    hidden = samples - len(times_s)
    if hidden <= _MOST_HIDDEN_FRAC * samples:
        return ()
    return (
        f"{path.name}: {hidden} of {samples} samples have the time of a later one and are left out",
    )


def resolution_of(log: FlightLog) -> Resolution:
    """Resolution of a log that has rounded its values.

    A quantity of coarse steps has few different values; one that never changes shows no step.
    """
    columns = log.columns
    cells = log.pack_data.cells or 1
    names = [row.name for row in CELL_COLUMNS if row.name in columns]
    steps_v = [_step_of(columns["voltage_v"], cells), *(_step_of(columns[name]) for name in names)]
    cell_v = min((step_v for step_v in steps_v if step_v is not None), default=0.0)
    return Resolution(cell_v, _step_of(columns["current_a"]) or 0.0)


def _step_of(column: Sequence[float], parts: int = 1) -> float | None:
    """Smallest difference of two values of a column, divided by `parts`; None without two."""
    known = {value for value in column if not isnan(value)}
    if len(known) > _MOST_STEPS:
        return 0.0
    values = sorted({round(value, _DIGITS) for value in known})
    steps = [high - low for low, high in pairwise(values)]
    return min(steps) / parts if steps else None


class TimeLine:
    """The times of a log, checked one by one; `last_s` is the newest."""

    def __init__(self) -> None:
        self.last_s: float | None = None
        self._first_s = 0.0
        self._gaps_s = 0.0
        self._samples = 0

    def add(self, t_s: float) -> None:
        """Append a time.

        Raises:
            BoundError: the time decreases, or a bound of a log is exceeded.
        """
        if not abs(t_s) <= _LAST_S:
            raise BoundError(f"{t_s:g} s is no time; milliseconds?")
        if self.last_s is None:
            self._first_s = self.last_s = t_s
        step_s = t_s - self.last_s
        self._gaps_s += max(step_s - _GAP_S, 0.0)
        self._samples += step_s > 0 or not self._samples
        if step_s < 0:
            raise BoundError(f"time decreases from {self.last_s} to {t_s}")
        if step_s > LONGEST_GAP_S:
            raise BoundError(f"more than a day between {self.last_s} and {t_s}: is t_s in s?")
        if self._gaps_s > _ALL_GAPS_S:
            raise BoundError("gaps of more than a day together; is t_s in milliseconds?")
        if t_s - self._first_s > _LONGEST_S:
            raise BoundError("a log of more than 7 days; is t_s in milliseconds?")
        if self._samples > MAX_ROWS:
            raise BoundError(f"more than {MAX_ROWS} samples")
        self.last_s = t_s


def check_cells(columns: Columns, cells: int | None, path: Path, slots: int = MAX_CELLS) -> None:
    """Compare the cell columns with the number of cells; a cell between others may be missing.

    Args:
        columns: of the log.
        cells: in series.
        path: of the log.
        slots: cells that the log has room for; later ones are unknown.

    Raises:
        FlightLogError: the last cell column is not that of the last cell.
    """
    numbers = [number for number, row in enumerate(CELL_COLUMNS, 1) if row.name in columns]
    if numbers and numbers[-1] != min(cells or 0, slots):
        raise FlightLogError(
            f"{path}: the cell columns end with cell{numbers[-1]}_v, but the pack has {cells} cells"
        )
