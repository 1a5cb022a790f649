# SPDX-License-Identifier: Apache-2.0
"""A flight log as a `Source`: the readings of gauge and vehicle up to each moment.

Causal: a poll at `now_s` uses the rows up to `now_s` and none of the later ones. A value holds for
5 s, or for three of the log's median sample intervals if that is longer: logs sampled every 10 or
30 s exist, and gaps of 10-35 s in logs of 1 Hz. Then it is `None`. Times are the log's clock.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isnan
from types import MappingProxyType
from typing import Any

from dronebms.core.clock import second_of
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.flightlogs.flight_log import (
    BATTERY_COLUMNS,
    CELL_COLUMNS,
    COLUMNS,
    VEHICLE_COLUMNS,
    FlightLog,
)
from smartbattery.snapshot import NO_COUNTS, Snapshot

_MIN_AGE_S = 5.0
_INTERVALS = 3.0  # missed samples after which a value has expired
_WINDOW = 15  # intervals of which the median is taken: a log may change its rate


class FlightSource:
    """Plays a flight log: a `Source`, the vehicle's state, and the times of the loop's steps.

    Time is an argument and does not decrease.
    """

    def __init__(self, log: FlightLog) -> None:
        columns = log.columns
        self._times_s = columns["t_s"]
        self._fields = tuple(
            (row.field, columns[row.name], row.low, row.high)
            for row in COLUMNS
            if row.name in columns
        )
        cells = tuple(row.field for row in CELL_COLUMNS[: log.pack_data.cells])
        self._cells = cells if any(name in columns for name in cells) else ()
        self._has_vehicle = any(row.name in columns for row in VEHICLE_COLUMNS)
        self._unknown = replace(UNKNOWN_VEHICLE, uid=log.uid)
        self._row = -1  # the newest row that was read
        self._last: dict[str, tuple[float, float]] = {}  # by field: last valid value and its time
        self._read_at_s: Mapping[str, float] = MappingProxyType({})
        self._intervals_s: deque[float] = deque(maxlen=_WINDOW)
        self._max_age_s = _MIN_AGE_S
        self._counts = NO_COUNTS

    def poll(self, now_s: float) -> Snapshot:
        """Snapshot of the newest row at or before `now_s` and of earlier values that still hold."""
        valid = self._valid(now_s).get
        state: dict[str, Any] = {row.field: valid(row.field) for row in BATTERY_COLUMNS}
        return Snapshot(
            t_s=now_s,
            cells_v=tuple(map(valid, self._cells)),
            read_at_s=self._read_at_s,
            counts=self._counts,
            trouble=self._trouble(now_s),
            **state,
        )

    def vehicle(self, now_s: float) -> VehicleState:
        """State of the vehicle; its id alone if the log has no column of it."""
        if not self._has_vehicle:
            return self._unknown
        valid = self._valid(now_s)
        state: dict[str, Any] = {row.field: valid.get(row.field) for row in VEHICLE_COLUMNS}
        if state["armed"] is not None:
            state["armed"] = bool(state["armed"])
        return replace(self._unknown, **state)

    def ticks(self) -> Iterator[float]:
        """Yield the growing times of the loop's steps: every sample, and each second of a gap.

        Seconds count from the first sample; one with a sample in it gets no extra step.
        """
        first_s = self._times_s[0]
        due = 0  # the first second without a step
        for t_s in self._times_s:
            second = second_of(t_s, first_s)
            for silent in range(due, second):
                yield first_s + silent
            yield t_s
            due = second + 1

    def _valid(self, now_s: float) -> dict[str, float]:
        """Values that hold at `now_s`, by field."""
        self._advance(now_s)
        oldest_s = now_s - self._max_age_s
        return {field: value for field, (value, at_s) in self._last.items() if at_s >= oldest_s}

    def _advance(self, now_s: float) -> None:
        """Read the rows up to `now_s`."""
        times_s = self._times_s
        row = self._row + 1
        if row == len(times_s) or times_s[row] > now_s:
            return
        while row < len(times_s) and times_s[row] <= now_s:
            self._read(row, times_s[row])
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

    def _read(self, row: int, t_s: float) -> None:
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
