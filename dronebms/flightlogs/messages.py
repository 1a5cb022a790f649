# SPDX-License-Identifier: Apache-2.0
"""Messages of a log in columns: payloads of one layout, read as arrays, and joined into a table.

A log writes each kind of message at its own rate. A row of the table is a battery sample, together
with the newest values of every other kind since the row before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dronebms.core.bounded_input import BoundError
from dronebms.core.errors import FlightLogError
from dronebms.flightlogs.flight_log import LONGEST_GAP_S, TimeLine
from mavlink_bridge.protocol.autopilot import wind_of
from mavlink_bridge.protocol.battery_sample import DIVIDED_MV
from smartbattery.registers import CELLS
from smartbattery.snapshot import MAX_CELLS

Values: TypeAlias = NDArray[np.float64]
DIVIDED_V = DIVIDED_MV / 1000
_BACK_S = 1.0  # by which the times of samples in order may differ
_MAX_DAMAGES = 10_000  # places at which a log is damaged: more is no log
_LASTING = ("armed", "home_lat_deg", "home_lon_deg")  # logged once, valid until the next


class Damages:
    """Places at which a log is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def add(self) -> None:
        """Count a place.

        Raises:
            FlightLogError: there are so many that this is no log.
        """
        self._count += 1
        if self._count > _MAX_DAMAGES:
            raise FlightLogError(f"{self._path} is damaged at more than {_MAX_DAMAGES} places")


@dataclass(slots=True)
class Payloads:
    """Payloads of one layout; a field is its numpy type, its place in the payload and its scale."""

    size: int  # bytes of a payload
    fields: Mapping[str, tuple[str, int, float]]
    data: bytearray = field(default_factory=bytearray)


class Fields(Mapping[str, Values]):
    """The numbers of each field of payloads, converted when they are asked for."""

    def __init__(self, payloads: Payloads) -> None:
        self._fields = payloads.fields
        kind = np.dtype({
            "names": list(self._fields),
            "formats": [kind for kind, _, _ in self._fields.values()],
            "offsets": [place for _, place, _ in self._fields.values()],
            "itemsize": payloads.size,
        })  # fmt: skip
        self._rows: NDArray[Any] = np.frombuffer(payloads.data, kind)

    def __getitem__(self, name: str) -> Values:
        scale = self._fields[name][2]
        values: Values = self._rows[name].astype(np.float64) * scale
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def unknown(self) -> Values:
        """NaN for each payload."""
        return np.full(len(self._rows), nan)

    def scaled(self, name: str, integer_scale: float) -> Values:
        """A field that some versions write as a whole number of smaller units."""
        kind, _, scale = self._fields[name]
        return self[name] * (integer_scale if scale == 1.0 and "f" not in kind else 1.0)

    def select(self, field: str, value: float) -> None:
        """Drop the payloads with another value of a field."""
        self._rows = self._rows[self[field] == value]


@dataclass(frozen=True, slots=True)
class Topic:
    """Messages of one kind: their times, and values by the column of a flight log."""

    times_s: Values
    columns: Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class BatteryLog:
    """What a log has of one of its batteries."""

    topics: Sequence[Topic]  # its samples, and the vehicle's state
    batteries: Mapping[int, str]  # that have samples: number from 0, and its place in the log
    pack: Mapping[str, object] = field(default_factory=dict)  # rated data, by keys of a sidecar
    cell_slots: int = MAX_CELLS  # cells that a message has room for
    divided: bool = False  # whether it has cells that are the pack's voltage divided
    uid: str | None = None  # `VehicleState.uid`

    @property
    def sample_times_s(self) -> Values:
        """Times of its samples, as they were logged."""
        times_s = [topic.times_s for topic in self.topics if "voltage_v" in topic.columns]
        return np.concatenate([*times_s, np.array(())])


def table(log: BatteryLog, path: Path) -> dict[str, Values]:
    """Columns of equal length, a row for each time of a sample.

    Raises:
        FlightLogError: the times exceed the bounds of a log.
    """
    times_s = np.unique(_in_order(log.sample_times_s, path))
    check_times(times_s, path)
    before_s = np.concatenate(([-np.inf], times_s[:-1]))
    columns: dict[str, Values] = {"t_s": times_s}
    for topic in log.topics:
        for name, values in topic.columns.items():
            known = np.isfinite(values) & np.isfinite(topic.times_s)
            at_s = topic.times_s[known]
            order = np.argsort(at_s, kind="stable")
            at_s = at_s[order]
            sorted_values = values[known][order]
            newest = np.searchsorted(at_s, times_s, side="right") - 1
            found = newest >= 0
            if name not in _LASTING:
                found &= at_s[newest] > before_s if at_s.size else False
            column = columns.setdefault(name, np.full(len(times_s), nan))
            column[found] = sorted_values[newest[found]]
    return columns


def _in_order(times_s: Values, path: Path) -> Values:
    """The times of samples as they were logged, without single ones that are damaged.

    Raises:
        FlightLogError: the time goes back: the samples of two boots would be mixed.
    """
    times_s = times_s[np.isfinite(times_s)]
    spike = np.zeros(len(times_s), dtype=bool)
    before_s = times_s[:-2]
    inner_s = times_s[1:-1]
    after_s = times_s[2:]
    spike[1:-1] = (before_s <= after_s) & ((inner_s < before_s) | (inner_s > after_s))
    if len(times_s) > 1:
        last_s = times_s[-1] - times_s[-2]
        spike[0] = times_s[0] > times_s[1] and not spike[1]
        spike[-1] = not 0.0 <= last_s <= LONGEST_GAP_S and not spike[-2]
    times_s = times_s[~spike]
    newest_s = np.maximum.accumulate(times_s)
    (back,) = np.nonzero(times_s < newest_s - _BACK_S)
    if back.size:
        from_s = newest_s[back[0]]
        to_s = times_s[back[0]]
        raise FlightLogError(
            f"{path}: its time goes back from {from_s:.1f} to {to_s:.1f} s: logs of two boots?"
        )
    return times_s


def check_times(times_s: Values, path: Path) -> None:
    """Check growing times.

    Raises:
        FlightLogError: they exceed the bounds of a log.
    """
    timeline = TimeLine()
    for number, t_s in enumerate(times_s.tolist(), 1):
        try:
            timeline.add(t_s)
        except BoundError as error:
            raise FlightLogError(f"{path}, battery sample {number}: {error}") from error


def unless(values: Values, unknown: float) -> Values:
    """The values, NaN where they are the one that means unknown."""
    return np.where(values == unknown, nan, values)


def are_measured(cells: Mapping[str, Values]) -> bool:
    """Whether the cells are measured ones.

    An autopilot that measures the pack alone divides its voltage by the number of cells, or writes
    it as that of one cell: cells that never differ, and one that is above any cell's voltage, are
    not measured.

    Args:
        cells: voltage columns, NaN where there is none.
    """
    rows = np.array(list(cells.values()))
    rows = rows[:, ~np.isnan(rows).all(axis=0)]
    highest_v = np.nanmax(rows, axis=0)
    lowest_v = np.nanmin(rows, axis=0)
    differ = len(cells) == 1 or bool((highest_v - lowest_v > DIVIDED_V).any())
    return differ and float(np.median(highest_v)) < CELLS[0].high


def wind_columns(north_m_s: Values, east_m_s: Values) -> dict[str, Values]:
    """Wind from its north and east components; exactly 0 means that it is not estimated."""
    estimated = (north_m_s != 0) | (east_m_s != 0)
    pairs = zip(north_m_s.tolist(), east_m_s.tolist(), strict=True)
    winds = np.array([wind_of(*pair) for pair in pairs]).reshape(-1, 2)
    columns = zip(("wind_m_s", "wind_from_deg"), winds.T, strict=True)
    return {name: np.where(estimated, values, nan) for name, values in columns}
