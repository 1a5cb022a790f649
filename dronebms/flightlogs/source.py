"""A recorded flight as a `Source`: what a gauge and a vehicle would have said at each moment.

Causal: a poll at `now_s` knows the rows up to `now_s` and nothing of those to come.
A value holds for 5 s, or for three of the log's usual sample intervals where that is longer: logs
sampled every 10 or 30 s exist, and gaps of 10-35 s in logs of 1 Hz. Then it is `None`.
Units are in the names; current is positive while discharging; times are the log's clock.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dronebms.core.clock import second_of
from dronebms.core.pack_data import PackData
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.flightlogs.columns import BATTERY_COLUMNS, CELL_COLUMNS, COLUMNS, VEHICLE_COLUMNS
from dronebms.flightlogs.csv_table import Columns, check_cells, read_table, stem_of
from dronebms.flightlogs.sidecar import NO_OPTIONS, FlightOptions, read_pack_data
from smartbattery.snapshot import NO_COUNTS, Snapshot

__all__ = ["FlightLog", "FlightOptions", "FlightSource", "read_csv_log"]

_MIN_AGE_S = 5.0
_INTERVALS = 3.0  # that may be missed before a value is too old
_WINDOW = 15  # intervals of which the median is the usual one: a log may change its rate


@dataclass(frozen=True, slots=True)
class FlightLog:
    """One recorded flight."""

    name: str  # the stem of the file
    pack_data: PackData
    columns: Columns  # NaN is an empty field; `FlightSource` hands out None


def read_csv_log(path: Path, options: FlightOptions = NO_OPTIONS) -> FlightLog:
    """Return the flight of a .csv or .csv.gz file and, where there is one, of its .json sidecar.

    Raises:
        FlightError: the file, its sidecar or an option cannot be used, in one sentence.
    """
    name = stem_of(path)
    columns = read_table(path)
    pack_data = read_pack_data(path, path.with_name(f"{name}.json"), options)
    check_cells(columns, pack_data.cells, path)
    return FlightLog(name, pack_data, columns)


class FlightSource:
    """Plays a flight: a `Source`, the vehicle beside it, and the moments worth a look.

    Time is handed in and does not go back.
    """

    def __init__(self, flight: FlightLog) -> None:
        columns = flight.columns
        self._times_s = columns["t_s"]
        self._fields = tuple(
            (row.field, columns[row.name], row.low, row.high)
            for row in COLUMNS
            if row.name in columns
        )
        cells = tuple(row.field for row in CELL_COLUMNS[: flight.pack_data.cells])
        self._cells = cells if any(name in columns for name in cells) else ()
        self._has_vehicle = any(row.name in columns for row in VEHICLE_COLUMNS)
        self._row = -1  # the newest that has been taken in
        self._last: dict[str, tuple[float, float]] = {}  # field: last good value, when
        self._read_at_s: Mapping[str, float] = MappingProxyType({})
        self._intervals_s: deque[float] = deque(maxlen=_WINDOW)
        self._max_age_s = _MIN_AGE_S
        self._counts = NO_COUNTS

    def poll(self, now_s: float) -> Snapshot:
        """Return what the newest row at or before `now_s` says, and what still holds of others."""
        known = self._known(now_s).get
        state: dict[str, Any] = {row.field: known(row.field) for row in BATTERY_COLUMNS}
        return Snapshot(
            t_s=now_s,
            cells_v=tuple(map(known, self._cells)),
            read_at_s=self._read_at_s,
            counts=self._counts,
            trouble=self._trouble(now_s),
            **state,
        )

    def vehicle(self, now_s: float) -> VehicleState:
        """Return what the log says of the vehicle; a log without such columns says nothing."""
        if not self._has_vehicle:
            return UNKNOWN_VEHICLE
        known = self._known(now_s)
        state: dict[str, Any] = {row.field: known.get(row.field) for row in VEHICLE_COLUMNS}
        if state["armed"] is not None:
            state["armed"] = bool(state["armed"])
        return VehicleState(**state)

    def ticks(self) -> Iterator[float]:
        """Yield the times at which the loop steps, growing: every sample, and in gaps each second.

        Seconds are whole ones since the first sample; one in which a sample lies is not added.
        """
        first_s = self._times_s[0]
        due = 0  # the first second in which nothing has been yielded
        for t_s in self._times_s:
            second = second_of(t_s, first_s)
            for silent in range(due, second):
                yield first_s + silent
            yield t_s
            due = second + 1

    def _known(self, now_s: float) -> dict[str, float]:
        """Return the values that hold at `now_s`, by field."""
        self._advance(now_s)
        oldest_s = now_s - self._max_age_s
        return {field: value for field, (value, at_s) in self._last.items() if at_s >= oldest_s}

    def _advance(self, now_s: float) -> None:
        """Take in the rows up to `now_s`."""
        times_s, row = self._times_s, self._row + 1
        if row == len(times_s) or times_s[row] > now_s:
            return
        while row < len(times_s) and times_s[row] <= now_s:
            self._take(row, times_s[row])
            row += 1
        self._row = row - 1
        ordered_s = sorted(self._intervals_s)
        if ordered_s:
            usual_s = ordered_s[(len(ordered_s) - 1) // 2]
            self._max_age_s = max(_MIN_AGE_S, _INTERVALS * usual_s)
        read_at_s = {field: at_s for field, (_, at_s) in self._last.items()}
        cells_at_s = [read_at_s[field] for field in self._cells if field in read_at_s]
        if cells_at_s:
            read_at_s["cells_v"] = max(cells_at_s)
        self._read_at_s = MappingProxyType(read_at_s)

    def _take(self, row: int, t_s: float) -> None:
        if row > 0:
            self._intervals_s.append(t_s - self._times_s[row - 1])
        for field, column, low, high in self._fields:
            value = column[row]
            if low <= value <= high:
                self._last[field] = (value, t_s)
            elif not isnan(value):
                self._counts = replace(self._counts, withheld=self._counts.withheld + 1)

    def _trouble(self, now_s: float) -> str | None:
        if self._row < 0:
            return "the log has not begun"
        newest_s = self._times_s[self._row]
        if now_s - newest_s <= self._max_age_s:
            return None
        return f"the log has no sample since {newest_s:.1f} s"
