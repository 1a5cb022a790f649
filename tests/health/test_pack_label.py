# SPDX-License-Identifier: Apache-2.0
"""Names, maintenance and vehicles of packs, cell deviations, and a file of the version before."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dronebms.core.report import Report
from dronebms.health.database import PackHistory
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.pack_label import (
    PackLabel,
    Stay,
    maintenance,
    stays,
    use_since_maintenance,
)
from dronebms.health.sqlite import FILE, SqliteFile
from tests.health.test_pack_history import flights_of, survey

VERSION_2 = Path(__file__).parents[1] / "data" / "history" / "packs_version_2.sqlite"
DAY_S = 86_400.0


def flown(
    number: int, pack: str = "A", vehicle: str | None = "lifter", **more: float
) -> FlightRecord:
    values = {
        "rated_mah": 10_000.0,
        "used_mah": 5000.0,
        "started_unix_s": 1.8e9 + number * DAY_S,
    } | more
    return FlightRecord(f"run:0:{number}", LANDED, pack, vehicle=vehicle, **values)  # type: ignore[arg-type]  # fields of one type


def test_a_service_is_due_by_whichever_bound_is_reached() -> None:
    flights = [flown(n) for n in range(10)]
    label = PackLabel("A", every_flights=10.0, every_cycles=6.0, every_days=30.0)
    use = use_since_maintenance(label, flights, 1.8e9 + 12 * DAY_S)
    assert [use.flights, use.cycles, use.days] == pytest.approx([10, 5.0, 12.0])
    texts = [due.text for due in maintenance(label, use)]
    assert texts == [
        "due: 10 of 10 flights",
        "in 1 cycle: 5 of 6 cycles",
        "in 18 days: 12 of 30 days",
    ]
    assert [due.is_reached for due in maintenance(label, use)] == [True, False, False]


def test_use_counts_from_the_last_service() -> None:
    flights = [flown(n) for n in range(10)]
    label = PackLabel("A", serviced_unix_s=1.8e9 + 7.5 * DAY_S, serviced_after="run:0:7")
    use = use_since_maintenance(label, flights, 1.8e9 + 10 * DAY_S)
    assert [use.flights, use.cycles, use.days] == pytest.approx([2, 1.0, 2.5])
    use = use_since_maintenance(replace(label, serviced_after="run:0:9"), flights, 1.8e9)
    assert (use.flights, use.cycles, use.days) == (0, 0.0, 0.0)


def test_what_is_unknown_is_not_due() -> None:
    label = PackLabel("A", every_cycles=1.0, every_days=1.0)
    undated = [replace(flown(n), rated_mah=None, started_unix_s=None) for n in range(9)]
    use = use_since_maintenance(label, undated, 2e9)
    assert (use.flights, use.cycles, use.days) == (9, None, None)
    assert maintenance(label, use) == ()
    assert maintenance(PackLabel("A"), use_since_maintenance(PackLabel("A"), undated, 2e9)) == ()


def test_the_vehicles_of_a_pack_and_the_packs_that_followed_it() -> None:
    order = [("A", "one"), ("A", "one"), ("B", "one"), ("A", "two"), ("A", "two"), ("A", "one"),
             ("C", None), ("C", "two"), ("B", "one"), ("B", "one")]  # fmt: skip
    flights = [flown(n, pack, vehicle) for n, (pack, vehicle) in enumerate(order)]

    def day(number: int) -> float:
        return 1.8e9 + number * DAY_S

    assert stays("A", flights) == [
        Stay("one", 2, day(0), day(1), "B"),
        Stay("two", 2, day(3), day(4), "C"),
        Stay("one", 1, day(5), day(5), "B"),
    ]
    assert stays("B", flights) == [
        Stay("one", 1, day(2), day(2), "A"),
        Stay("one", 2, day(8), day(9), None),
    ]
    assert stays("D", flights) == []
    alone = [flights[0], replace(flights[3], flight_id="run:0:3"), flights[5]]
    assert [stay.replaced_by for stay in stays("A", alone)] == [None, None, None]


def test_two_packs_of_one_flight_do_not_replace_each_other() -> None:
    pairs = [
        replace(flown(n, pack), flight_id=f"run:{battery}:{n}")
        for n in range(3)
        for battery, pack in enumerate("AB")
    ]
    assert stays("A", pairs) == [Stay("lifter", 3, 1.8e9, 1.8e9 + 2 * DAY_S, None)]


def deviating(
    reports: list[Report], cell: int, by_v: float, at: list[tuple[int, int]]
) -> list[Report]:
    """The reports with a cell that is lower in some spans of seconds of them."""
    begin_s = reports[0].t_s
    changed = []
    for report in reports:
        snapshot = report.snapshot
        if any(begin <= report.t_s - begin_s < end for begin, end in at):
            cells_v = list(snapshot.cells_v)
            cells_v[cell] = (cells_v[cell] or 0.0) - by_v
            snapshot = replace(snapshot, cells_v=tuple(cells_v))
        changed.append(replace(report, snapshot=snapshot))
    return changed


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    return survey(150.0)


def test_the_times_that_a_cell_leaves_the_others_are_counted(reports: list[Report]) -> None:
    spans = [(60, 62), (70, 95), (110, 112)]
    for by_v, expected in ((0.03, 0.0), (0.12, 3.0)):
        (row,) = flights_of(deviating(reports, 3, by_v, spans))
        assert row.cell_deviations == tuple(expected * (k == 3) for k in range(6))


def test_the_time_above_90_percent_counts_on_the_ground_alone(reports: list[Report]) -> None:
    charged = [report for report in reports if report.estimate.soc_pct is not None]
    ground = [one for one in charged if one.vehicle.armed is not True]
    assert ground
    (row,) = flights_of(reports)
    above = [one for one in ground if (one.estimate.soc_pct or 0.0) >= 90.0]
    step_s = float(np.median(np.diff([one.t_s for one in reports])))
    assert row.above_90_h == pytest.approx(len(above) * step_s / 3600.0, abs=1.0 / 3600.0)


def test_the_vehicle_of_a_flight_is_the_configured_one_else_the_autopilots_uid(
    reports: list[Report],
) -> None:
    followed = [replace(one, vehicle=replace(one.vehicle, uid="00ff")) for one in reports]
    assert [row.vehicle for row in flights_of(followed)] == ["00ff"]
    named = [replace(one, pack_data=replace(one.pack_data, vehicle="lifter 2")) for one in followed]
    assert [row.vehicle for row in flights_of(named)] == ["lifter 2"]


def test_a_file_of_version_2_is_read_as_it_is_and_changed_by_a_writer(tmp_path: Path) -> None:
    path = Path(shutil.copy(VERSION_2, tmp_path / FILE))
    before = path.read_bytes()
    read = PackHistory(SqliteFile(path, writes=False), writes=False)
    flights = read.flights()
    assert path.read_bytes() == before
    assert [(row.flown_s, row.vehicle, row.above_90_h, row.cell_deviations) for row in flights] == [
        (380.0, None, None, ())
    ] * 3
    assert read.labels() == {}
    history = PackHistory(SqliteFile(path, writes=True), writes=True)
    assert history.flights() == flights
    history.put_label(PackLabel(flights[0].pack, "blue"))
    history.put([flown(99, flights[0].pack)])
    again = PackHistory(SqliteFile(path, writes=False), writes=False)
    assert [row.vehicle for row in again.flights()] == [None, None, None, "lifter"]
    assert again.labels()[flights[0].pack].name == "blue"


def test_days_are_unknown_while_the_clock_is_not_set() -> None:
    label = PackLabel("A", every_flights=3.0, every_days=30.0)
    use = use_since_maintenance(label, [flown(n) for n in range(3)], None)
    assert (use.flights, use.days) == (3, None)
    assert [due.unit for due in maintenance(label, use)] == ["flights"]


@pytest.mark.parametrize("serviced_s", [None, 40.0])
def test_days_since_a_service_without_a_date_count_from_the_next_flight_that_has_one(
    serviced_s: float | None,
) -> None:
    """The clock had not been set: 1970 is no date of a service, and nothing is due for it."""
    flights = [flown(n) for n in range(6)]
    flights[3] = replace(flights[3], started_unix_s=None)
    label = PackLabel("A", every_days=30.0, serviced_unix_s=serviced_s, serviced_after="run:0:2")
    use = use_since_maintenance(label, flights, 1.8e9 + 10 * DAY_S)
    assert use.flights == 3
    assert use.days == pytest.approx(6.0)
    use = use_since_maintenance(label, flights[:4], 1.8e9 + 10 * DAY_S)
    assert (use.flights, use.days) == (1, None)
