# SPDX-License-Identifier: Apache-2.0
"""Trends of a battery: voltage, current and time left over the time that a screen has seen.

`Trend` stores them in a bounded number of points, `charts` scales these for a screen of any size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from dronebms.core.number_format import DASH, duration, number
from dronebms.core.report import Report

MAX_POINTS = 240
_FIRST_STEP_S = 1.0
_LEAST_SPAN_S = 60.0
_DIVISIONS = 4.0
_NICE = (1.0, 2.0, 5.0, 10.0)
_NICE_S = (15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)
_LEAST_SPAN = {"voltage_v": 1.0, "current_a": 4.0}
# The chart of the time left ends at so many times the median that so many points are below: a wide
# band, and the first estimates of a flight, are cut.
_BAND_OF_MEDIAN = 2.0
_USUAL_FRAC = 0.9


@dataclass(frozen=True, slots=True)
class Point:
    """Means over one step of a trend, in seconds of the service's clock; `None` is unknown."""

    t_s: float
    voltage_v: float | None = None
    current_a: float | None = None
    remaining_low_s: float | None = None
    remaining_s: float | None = None
    remaining_high_s: float | None = None


class Trend:
    """The points of one battery, at most `MAX_POINTS`: when they are full, two become one."""

    def __init__(self) -> None:
        self._step_s = _FIRST_STEP_S
        self._points: list[Point] = []
        self._step: list[Point] = []  # the reports of the present step

    def add(self, report: Report) -> None:
        """Add a report; a clock that went back is another run of the service and starts again."""
        estimate = report.estimate
        snapshot = report.snapshot
        point = Point(
            report.t_s,
            snapshot.voltage_v,
            snapshot.current_a,
            estimate.remaining_low_s,
            estimate.remaining_s,
            estimate.remaining_high_s,
        )
        if self._step and point.t_s < self._step[-1].t_s:
            self._step_s = _FIRST_STEP_S
            self._points = []
            self._step = []
        if self._step and point.t_s - self._step[0].t_s >= self._step_s:
            self._points.append(_mean(self._step))
            silent_s = point.t_s - self._step[-1].t_s
            if silent_s > 2.0 * self._step_s + _FIRST_STEP_S:
                self._points.append(Point(self._step[-1].t_s + self._step_s))  # a gap
            self._step = []
            if len(self._points) >= MAX_POINTS:
                pairs = zip(self._points[::2], self._points[1::2], strict=False)
                self._points = [_mean(pair) for pair in pairs]
                self._step_s *= 2.0
        self._step.append(point)

    def points(self) -> tuple[Point, ...]:
        """The points, oldest first; the last one is of the present step."""
        return (*self._points, _mean(self._step)) if self._step else ()


def _mean(points: Sequence[Point]) -> Point:
    def of(field: str) -> float | None:
        known = [value for point in points if (value := getattr(point, field)) is not None]
        return sum(known) / len(known) if known else None

    fields = ("voltage_v", "current_a", "remaining_low_s", "remaining_s", "remaining_high_s")
    return Point(points[0].t_s, *(of(field) for field in fields))


# ---------------------------------------------------------------------- charts


@dataclass(frozen=True, slots=True)
class Place:
    """A point of a chart: shares of its width and height, from the left and the bottom."""

    x: float
    y: float | None
    low: float | None = None  # of a band around `y`
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A trend as text and places."""

    label: str
    newest: str
    bottom: str
    top: str
    span: str  # of time
    places: tuple[Place, ...]


def charts(points: Sequence[Point]) -> tuple[Chart, ...]:
    """Voltage, current and time left; none without points."""
    if not points:
        return ()
    last_s = points[-1].t_s
    first_s = min(points[0].t_s, last_s - _LEAST_SPAN_S)
    xs = [(point.t_s - first_s) / (last_s - first_s) for point in points]
    span = f"last {duration(last_s - first_s)}"
    return (
        _chart("voltage", "voltage_v", lambda v: number(v, "V", 1), points, (xs, span)),
        _chart("current", "current_a", lambda v: number(v, "A"), points, (xs, span)),
        _time_left_chart(points, (xs, span)),
    )


def _chart(
    label: str,
    field: str,
    text: Callable[[float | None], str],
    points: Sequence[Point],
    axis: tuple[list[float], str],
) -> Chart:
    xs, span = axis
    values: list[float | None] = [getattr(point, field) for point in points]
    known = [value for value in values if value is not None]
    if not known:
        return Chart(label, text(None), "", "", span, tuple(Place(x, None) for x in xs))
    low = min(known)
    high = max(known)
    if field == "current_a":
        low = min(low, 0.0)
    low, high = _nice(low, max(high, low + _LEAST_SPAN[field]))
    places = tuple(
        Place(x, None if value is None else (value - low) / (high - low))
        for x, value in zip(xs, values, strict=True)
    )
    return Chart(label, text(values[-1]), text(low), text(high), span, places)


def _time_left_chart(points: Sequence[Point], axis: tuple[list[float], str]) -> Chart:
    xs, span = axis
    label = "time left"
    newest_s = points[-1].remaining_s
    newest = DASH if newest_s is None else duration(newest_s)
    known = [point.remaining_s for point in points if point.remaining_s is not None]
    if not known:
        return Chart(label, newest, "", "", span, tuple(Place(x, None) for x in xs))
    bounds = [point.remaining_high_s for point in points if point.remaining_high_s is not None]
    usual_s = sorted(known)[int(_USUAL_FRAC * (len(known) - 1))]
    highest_s = min(max([*bounds, *known]), _BAND_OF_MEDIAN * usual_s)
    step_s = next((step for step in _NICE_S if highest_s / step <= _DIVISIONS), _NICE_S[-1])
    top_s = max(ceil(highest_s / step_s), 1) * step_s

    def share(seconds: float | None) -> float | None:
        return None if seconds is None else min(max(seconds / top_s, 0.0), 1.0)

    places = tuple(
        Place(
            x,
            share(point.remaining_s),
            None if point.remaining_s is None else share(point.remaining_low_s),
            None if point.remaining_s is None else share(point.remaining_high_s),
        )
        for x, point in zip(xs, points, strict=True)
    )
    return Chart(label, newest, duration(0.0), duration(top_s), span, places)


def _nice(low: float, high: float) -> tuple[float, float]:
    """The range, extended to round numbers."""
    raw = (high - low) / _DIVISIONS
    power = 10.0 ** floor(log10(raw))
    step = next(nice * power for nice in _NICE if nice * power >= raw)
    return floor(low / step) * step, ceil(high / step) * step
