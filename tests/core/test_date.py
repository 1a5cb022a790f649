# SPDX-License-Identifier: Apache-2.0
"""The date of a computer whose clock may not have been set."""

import time

import pytest

from dronebms.core.clock import date_s, known_date

SET_S = 1_735_689_600.0  # 2025-01-01T00:00:00Z, by `date -u -d 2025-01-01 +%s`


@pytest.mark.parametrize("clock_s", [-5.0, 0.0, 12.5, 1e9, SET_S - 0.001])
def test_a_clock_that_was_never_set_has_no_date(
    clock_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: clock_s)
    assert date_s() is None
    assert known_date(clock_s) is None


@pytest.mark.parametrize("clock_s", [SET_S, 1.8e9, 4e9])
def test_a_clock_that_was_set_has_one(clock_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: clock_s)
    assert date_s() == known_date(clock_s) == clock_s
