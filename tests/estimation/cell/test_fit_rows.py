# SPDX-License-Identifier: Apache-2.0
"""Rows of the fit: when a row is due, what it holds, and how many there are."""

from dataclasses import replace

import pytest

from dronebms.estimation.cell.fit_rows import FitRows, FitSample


def second(used_as: float = 0.0, cell_v: float = 3.8, amps: float = 10.0) -> FitSample:
    return FitSample(1.0, used_as, cell_v, amps, 0.0, 0.0, 0.0)


def pending(*seconds: FitSample) -> FitRows:
    rows = FitRows()
    for one in seconds:
        rows = rows.with_second(one, accepted=True)
    return rows


def test_a_row_is_due_after_ten_seconds_of_which_one_was_accepted() -> None:
    rows = FitRows()
    for _ in range(20):
        rows = rows.with_second(second(), accepted=False)
        assert not rows.is_due
    assert rows.with_second(second(), accepted=True).is_due
    assert not pending(*[second()] * 9).is_due
    assert pending(*[second()] * 10).is_due


def test_a_row_is_the_mean_of_its_seconds_without_outliers() -> None:
    seconds = [second(10.0 * k, 3.8 - 0.001 * k) for k in range(9)]
    rows = pending(*seconds, second(50.0, 3.0)).with_row(0.01)
    assert (rows.pending, rows.span_s) == ((), 0.0)
    (row,) = rows.whole
    assert row.span_s == 9.0
    assert row.used_as == pytest.approx(40.0)
    assert row.cell_v == pytest.approx(3.796)
    # Of a change that its current explains, none is left out.
    sagged = pending(second(), second(cell_v=3.6, amps=30.0)).with_row(0.01)
    assert sagged.whole[0].span_s == 2.0


def test_a_long_flight_has_no_more_rows_than_a_short_one() -> None:
    rows = FitRows()
    spans = []
    for k in range(400):
        rows = replace(rows, pending=(second(float(k)),), span_s=10.0).with_row(0.01)
        spans.append(len(rows.whole))
    assert max(spans) == 160
    assert sum(row.span_s for row in rows.whole) == 400.0
    assert [row.used_as for row in rows.whole] == sorted(row.used_as for row in rows.whole)
