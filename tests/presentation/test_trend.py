# SPDX-License-Identifier: Apache-2.0
"""Trends: bounded points over a flight, gaps, restarts, and charts in range."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.core.report import Estimate
from dronebms.presentation.trend import MAX_POINTS, Point, Trend, charts
from dronebms.terminal.chart import chart_lines
from dronebms.terminal.glyphs import ASCII, UNICODE, Glyphs
from tests.scenes import FLYING, NOW_S, SILENT, at, trend_of


def test_a_long_flight_is_stored_in_a_bounded_number_of_points() -> None:
    trend = Trend()
    for step in range(4 * 3600):  # two hours, twice a second
        trend.add(replace(FLYING, t_s=0.5 * step))
        assert len(trend.points()) <= MAX_POINTS
    points = trend.points()
    assert len(points) > MAX_POINTS / 3
    assert points[0].t_s == 0.0
    assert points[-1].t_s > 2 * 3600.0 - 120.0
    assert [point.voltage_v for point in points] == pytest.approx([22.419] * len(points))


def test_a_point_is_the_mean_of_its_step_and_unknown_without_readings() -> None:
    trend = Trend()
    for t_s, current_a in ((0.0, 10.0), (0.5, 20.0), (1.0, None), (1.5, None), (2.0, 30.0)):
        snapshot = replace(FLYING.snapshot, current_a=current_a)
        trend.add(replace(FLYING, t_s=t_s, snapshot=snapshot))
    assert [point.current_a for point in trend.points()] == [15.0, None, 30.0]


def test_a_service_that_started_again_starts_the_trend_again() -> None:
    trend = trend_of(*(NOW_S + step for step in range(50)))
    trend.add(replace(FLYING, t_s=3.0))
    assert [point.t_s for point in trend.points()] == [3.0]


def test_reports_that_were_not_received_are_a_gap_in_the_line() -> None:
    times_s = [*(NOW_S + step for step in range(10)), *(NOW_S + 40.0 + step for step in range(10))]
    points = trend_of(*times_s).points()
    assert [point for point in points if point.voltage_v is None] == [Point(NOW_S + 10.0)]
    voltage, *_ = charts(points)
    heading, *rows = chart_lines(voltage, 60, 6, ASCII)
    assert heading.split() == ["voltage", "22.1", "V", "22.0", "V", "-", "23.5", "V"]
    drawn = {column for row in rows for column, mark in enumerate(row) if mark != " "}
    assert drawn == {*range(11, 21), *range(50, 60)}


def test_charts_have_their_newest_value_and_round_ends() -> None:
    voltage, current, left = charts(trend_of(*(NOW_S + step for step in range(120))).points())
    assert (voltage.label, voltage.span) == ("voltage", "last 1:59")
    assert (voltage.bottom, voltage.top) == ("21.5 V", "23.0 V")
    assert (current.bottom, current.top) == ("0 A", "20 A")
    assert (left.bottom, left.top, left.newest) == ("0:00", "15:00", "10:38")


def test_a_wide_interval_does_not_flatten_the_time_left() -> None:
    wide = Estimate(NOW_S, remaining_s=600.0, remaining_low_s=500.0, remaining_high_s=36_000.0)
    trend = Trend()
    trend.add(replace(FLYING, estimate=wide))
    *_, left = charts(trend.points())
    assert left.top == "20:00"
    (place,) = left.places
    assert (place.low, place.y, place.high) == pytest.approx((5 / 12, 0.5, 1.0))


def test_the_first_estimates_of_a_flight_do_not_flatten_the_rest() -> None:
    lefts_s = [3600.0] * 5 + [600.0] * 95
    *_, left = charts([Point(float(t), remaining_s=left_s) for t, left_s in enumerate(lefts_s)])
    assert left.top == "20:00"
    assert (left.places[0].y, left.places[-1].y) == (1.0, 0.5)


def test_unknown_is_a_dash_and_no_place() -> None:
    trend = Trend()
    trend.add(SILENT)
    assert [chart.newest for chart in charts(trend.points())] == ["- V", "- A", "-"]
    assert {place.y for chart in charts(trend.points()) for place in chart.places} == {None}
    assert charts(()) == ()


KNOWN = st.none() | st.floats(-500.0, 500.0)
LEFT_S = st.none() | st.floats(0.0, 1e6)
POINTS = st.lists(st.tuples(KNOWN, KNOWN, LEFT_S, LEFT_S, LEFT_S), min_size=1, max_size=40)


@settings(deadline=None)
@given(POINTS, st.integers(1, 90), st.integers(1, 15), st.sampled_from([ASCII, UNICODE]))
def test_every_trend_fits_its_chart(
    rows: list[tuple[float | None, ...]], width: int, height: int, glyphs: Glyphs
) -> None:
    points = [Point(10.0 * index, *row) for index, row in enumerate(rows)]
    for chart in charts(points):
        shares = [place.x for place in chart.places]
        shares += [y for p in chart.places for y in (p.y, p.low, p.high) if y is not None]
        assert all(-1e-9 <= share <= 1.0 + 1e-9 for share in shares)
        lines = chart_lines(chart, width, height, glyphs)
        assert [len(line) for line in lines] == [width] * (height + 1)


def test_the_line_of_a_chart_is_where_its_values_are() -> None:
    _, current, _ = charts(trend_of(*(NOW_S + step for step in range(60))).points())
    rows = chart_lines(current, 61, 10, ASCII)[1:]
    share = at(NOW_S + 59.0).snapshot.current_a
    assert share is not None
    marked = [9 - row for row, line in enumerate(rows) if line[-1] == "*"]
    assert round(share / 20.0 * 19) // 2 in marked
