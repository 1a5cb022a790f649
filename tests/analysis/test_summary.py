# SPDX-License-Identifier: Apache-2.0
"""The summary of a flight: how long each verdict held."""

from dataclasses import replace

import pytest

from dronebms.analysis.plots import stack
from dronebms.analysis.report_page import Flown, page
from dronebms.analysis.summary import Summary
from dronebms.analysis.track import Track
from dronebms.core.report import Report, Verdict
from dronebms.core.vehicle_state import VehicleState
from tests.scenes import FLYING


def report_at(
    t_s: float, home: Verdict, mission: Verdict, *, armed: bool = True, mode: str = "AUTO"
) -> Report:
    estimate = replace(FLYING.estimate, home_verdict=home, mission_verdict=mission)
    vehicle = VehicleState(armed=armed, mode=mode)
    return replace(FLYING, t_s=t_s, estimate=estimate, vehicle=vehicle)


def flight() -> list[Report]:
    """A minute on the ground, 60 s of YES, 30 s of MARGINAL, 10 s of NO without a mission."""
    reports = [report_at(k, Verdict.NO, Verdict.NO, armed=False) for k in range(60)]
    reports += [report_at(60.0 + k, Verdict.YES, Verdict.YES) for k in range(60)]
    reports += [report_at(120.0 + k, Verdict.MARGINAL, Verdict.NO) for k in range(30)]
    return reports + [report_at(150.0 + k, Verdict.NO, Verdict.NO, mode="RTL") for k in range(10)]


def test_the_shares_of_each_verdict_are_those_of_the_flight() -> None:
    summary = Summary()
    for report in flight():
        summary(report)
    assert dict(summary.verdicts()) == {
        "Way home": "YES 60 %, MARGINAL 30 %, NO 10 % of 1:40",
        "Mission": "YES 67 %, NO 33 % of 1:30",
    }
    lines = summary.lines(FLYING.pack_data, "x.csv")
    assert "way home YES 60 %, MARGINAL 30 %, NO 10 % of 1:40" in lines
    assert "mission YES 67 %, NO 33 % of 1:30" in lines


@pytest.mark.parametrize("armed", [True, False])
def test_a_flight_without_a_verdict_has_no_line_of_it(armed: bool) -> None:  # noqa: FBT001 - a parameter
    summary = Summary()
    for k in range(10):
        summary(report_at(float(k), Verdict.UNKNOWN, Verdict.UNKNOWN, armed=armed))
    assert list(summary.verdicts()) == []


def test_the_report_page_has_them_too() -> None:
    track = Track(FLYING)
    for report in flight():
        track(report)
    html = page("x", [Flown(track, stack(track))])
    assert "YES 60 %, MARGINAL 30 %, NO 10 % of 1:40" in html
