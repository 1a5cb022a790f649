# SPDX-License-Identifier: Apache-2.0
"""In each report of a flight the severity is at least as grave as the verdicts."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from dronebms.core.report import Estimate, Report, Severity, Verdict
from dronebms.monitoring.pipeline import Pipeline
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from tests.estimation.ahead.flights_ahead import AWAY, flying, waypoint
from tests.snapshots import FACTS, Scripted, look

LEAST = {Verdict.NO: Severity.CRITICAL, Verdict.MARGINAL: Severity.WARNING}


def fly(estimates: list[Estimate], monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """Reports of a mission whose estimates are given, one each second after a minute of load."""
    source = Scripted(look(0.0))
    pipeline = Pipeline(source, FACTS)
    vehicle = flying(AWAY, waypoint(3.0))
    reports = []
    for t, estimate in enumerate([estimates[0]] * 60 + estimates):
        source.snapshot = look(float(t))
        given = replace(estimate, t_s=float(t))
        monkeypatch.setattr(pipeline._estimator, "update", lambda *_, given=given: given)
        reports.append(pipeline.step(float(t), vehicle))
    return reports[60:]


SOUND = Estimate(
    0.0, 60.0, remaining_s=600.0, remaining_low_s=400.0, remaining_high_s=900.0, home_s=100.0,
    home_reserve_s=200.0, home_margin_s=400.0, home_best_s=700.0, turn_back_in_s=200.0,
    home_verdict=Verdict.YES, mission_verdict=Verdict.YES,
)  # fmt: skip
MARGINAL = replace(SOUND, home_verdict=Verdict.MARGINAL, home_reserve_s=-5.0, turn_back_in_s=0.0)
NO = replace(MARGINAL, home_verdict=Verdict.NO, home_margin_s=-5.0)


def test_a_worse_verdict_is_given_with_its_limit_and_never_as_a_better_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = fly([SOUND] * 5 + [MARGINAL] * 10 + [NO] * 10 + [SOUND] * 2, monkeypatch)
    verdicts = [report.estimate.home_verdict for report in reports]
    assert verdicts[:5] == [Verdict.YES] * 5
    assert verdicts[5:10] == [Verdict.UNKNOWN] * 5
    assert verdicts[10:20] == [Verdict.MARGINAL] * 10
    assert verdicts[20:25] == [Verdict.NO] * 5
    assert verdicts[25:] == [Verdict.YES] * 2
    assert reports[7].estimate.verdict_missing == "confirmation"
    assert reports[12].estimate.verdict_missing is None
    for report in reports:
        assert report.status.severity >= LEAST.get(report.estimate.home_verdict, Severity.OK)


def test_the_verdict_of_the_mission_follows_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = replace(SOUND, mission_verdict=Verdict.NO)
    reports = fly([SOUND] * 2 + [bad] * 8, monkeypatch)
    verdicts = [report.estimate.mission_verdict for report in reports]
    assert verdicts == [Verdict.YES] * 2 + [Verdict.UNKNOWN] * 5 + [Verdict.NO] * 3
    assert all(report.estimate.home_verdict is Verdict.YES for report in reports)


@pytest.mark.parametrize("flight", ["mission_headwind", "worn_pack"])
def test_no_report_of_a_flight_is_milder_than_its_verdicts(flight: str) -> None:
    with ExitStack() as stack:
        for report in Simulation(SimOptions(flight=flight, speed=None), stack).reports():
            verdicts = {report.estimate.home_verdict, report.estimate.mission_verdict}
            if report.vehicle.armed:
                least = max(LEAST.get(verdict, Severity.OK) for verdict in verdicts)
                assert report.status.severity >= least, report.t_s
