# SPDX-License-Identifier: Apache-2.0
"""Verdict and recommendations of a report: every limit, changes of a pack, and earlier flights."""

from dataclasses import replace
from pathlib import Path

import pytest

from dronebms.analysis.flight_comparison import Change, compare
from dronebms.analysis.recommendations import RECOMMENDATIONS, SENTENCES, Fitness, verdict
from dronebms.analysis.track import Track, tracks
from dronebms.cli.main import main
from dronebms.core.report import Severity
from dronebms.health.database import PackHistory
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.pack_label import PackLabel
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.protection.limits import every_limit
from tests.analysis.test_report_page import ParsedPage, flown

FLIGHT = Path(__file__).parents[1] / "data" / "flights" / "F13_Marquis2019_P04_1.csv.gz"


def track(*limits: str, worst: Severity | None = Severity.WARNING) -> Track:
    (found,) = tracks(flown(60.0))
    found.tripped = {limit: [[1.0, 2.0]] for limit in limits}
    found.worst = worst
    return found


def test_every_row_is_of_limits_that_exist() -> None:
    named = [limit for row in RECOMMENDATIONS for limit in row.limits]
    assert set(named) <= set(every_limit())
    assert len(named) == len(set(named))


@pytest.mark.parametrize("limit", sorted(every_limit()))
def test_a_flight_with_a_critical_limit_is_never_fit_without_a_check(limit: str) -> None:
    severity = every_limit()[limit].severity
    sentence, _ = verdict(track(limit, worst=severity))
    assert sentence.endswith(".")
    if severity >= Severity.CRITICAL:
        assert not sentence.startswith(SENTENCES[Fitness.FIT]) or limit.startswith("cold")


def test_the_gravest_row_rules_and_all_advise() -> None:
    sentence, advice = verdict(track("spread_load", "failed", "cold"))
    assert sentence == "Take out of service: permanent failure."
    assert [text.split(":")[0] for text in advice[:3]] == [
        "The gauge has a permanent failure",
        "The cells differ under load",
        "The pack was cold",
    ]
    assert verdict(track())[0] == "Fit for the next flight once it is charged."
    assert verdict(track(worst=None)) == ("Unknown: no data received.", [])


@pytest.mark.parametrize(
    ("value", "earlier", "grows", "worse"),
    [(1.31, 1.0, True, True), (1.29, 1.0, True, False), (0.84, 1.0, False, True),
     (0.86, 1.0, False, False), (9.0, 1.0, None, False), (1.0, 0.0, True, False)],
)  # fmt: skip
def test_a_pack_that_has_changed_is_serviced(
    value: float,
    earlier: float,
    grows: bool | None,  # noqa: FBT001 - a parameter
    worse: bool,  # noqa: FBT001 - a parameter
) -> None:
    change = Change("Resistance", "mohm", 2, value, earlier, grows)
    assert change.is_worse is worse
    sentence, advice = verdict(track(), [change])
    assert sentence.startswith(SENTENCES[Fitness.SERVICE if worse else Fitness.FIT])
    assert any(text.startswith("Resistance") for text in advice) is worse


def flight(**values: float) -> FlightRecord:
    return FlightRecord("x", LANDED, "P", **values)  # type: ignore[arg-type]  # fields of one type


def test_a_flight_is_compared_with_the_median_of_three_or_more() -> None:
    earlier = [flight(used_mah=value, spread_load_mv=20.0) for value in (1.0, 2.0, 9.0)]
    (used, spread) = compare(flight(used_mah=3.0, spread_load_mv=50.0), earlier)
    assert (used.value, used.earlier, used.is_worse) == (3.0, 2.0, False)
    assert spread.is_worse
    assert compare(flight(used_mah=3.0), earlier[:2]) == []
    assert compare(flight(), earlier) == []


def test_resistances_compare_at_like_temperatures() -> None:
    cold = [flight(resistance_mohm=9.0, resistance_degc=0.0)] * 4
    warm = [flight(resistance_mohm=3.0, resistance_degc=25.0)] * 3
    (change,) = compare(flight(resistance_mohm=5.0, resistance_degc=30.0), [*cold, *warm])
    assert (change.earlier, change.is_worse) == (3.0, True)
    assert compare(flight(resistance_mohm=5.0), warm) == []


def test_the_page_has_the_packs_name_and_its_earlier_flights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.html"
    assert main(["packs", "--state-dir", str(tmp_path), "--add", str(FLIGHT)]) == 0
    history = PackHistory(SqliteFile(tmp_path / FILE, writes=True), writes=True)
    (row,) = history.flights()
    assert main(["report", str(FLIGHT), "-o", str(out), "--state-dir", str(tmp_path)]) == 0
    shown = ParsedPage(out.read_text("utf-8")).texts
    assert "0 earlier flights of this pack are too few to compare with" in shown
    history.put(replace(row, flight_id=str(n), flown_s=1000.0 + 9 * n) for n in range(4))
    history.put_label(PackLabel(row.pack, "blue 1"))
    assert main(["report", str(FLIGHT), "-o", str(out), "--state-dir", str(tmp_path)]) == 0
    shown = ParsedPage(out.read_text("utf-8")).texts
    assert "blue 1" in shown
    assert "median of the 4 earlier flights of this pack" in shown
    assert "Charge used" in shown
    assert main(["report", str(FLIGHT), "-o", str(out)]) == 0
    assert "no pack history: --state-dir selects one" in ParsedPage(out.read_text("utf-8")).texts
    capsys.readouterr()
