# SPDX-License-Identifier: Apache-2.0
"""A log with several packs, one after the other: each starts from its own charge."""

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report
from dronebms.flightlogs import FlightLog, FlightSource
from dronebms.monitoring.pipeline import Pipeline
from tests.monitoring.test_pack_recognition import Cell

FACTS = PackData(LIPO, cells=6, capacity_mah=16000.0, pack_id="A7")
FLOWN_S, REST_S, HOVER_A, IDLE_A = 120.0, 10.0, 28.0, 0.5


def logged(
    packs: list[Cell], gap_s: float, *, has_vehicle: bool, has_gauge: bool, only_armed: bool
) -> FlightLog:
    """A log of one flight with each pack, a sample a second, nothing in between."""
    columns: dict[str, list[float]] = {"t_s": [], "voltage_v": [], "current_a": [], "armed": []}
    columns |= {f"cell{k}_v": [] for k in range(1, 7)} | {"gauge_soc_pct": []}
    t_s = 0.0
    for pack in packs:
        rests = 0.0 if only_armed else REST_S
        for k in range(round(rests + FLOWN_S + rests)):
            armed = rests <= k < rests + FLOWN_S
            current_a = HOVER_A + k % 3 if rests + 3 < k < rests + FLOWN_S - 5 else IDLE_A
            pack.draw(current_a, 1.0)
            cell_v = pack.cell_v(current_a)
            row = [t_s, 6 * cell_v, current_a, float(armed), *[cell_v] * 6]
            row.append(float(round(100.0 * pack.charge)))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            t_s += 1.0
        t_s += gap_s
    for name, wanted in (("armed", has_vehicle), ("gauge_soc_pct", has_gauge)):
        if not wanted:
            del columns[name]
    return FlightLog("log", FACTS, columns)


def replayed(log: FlightLog) -> list[Report]:
    source = FlightSource(log)
    pipeline = Pipeline(source, log.pack_data)
    return [pipeline.step(t_s, source.vehicle(t_s)) for t_s in source.ticks()]


@pytest.mark.parametrize(
    ("has_vehicle", "has_gauge", "only_armed"),
    [(True, True, False), (False, True, False), (True, False, True), (True, True, True)],
    ids=["tlog", "no vehicle", "bin without gauge", "bin"],
)
@pytest.mark.parametrize(("first", "second"), [(0.45, 0.95), (0.98, 0.4)])
def test_the_second_pack_starts_from_its_own_charge(
    first: float, second: float, *, has_vehicle: bool, has_gauge: bool, only_armed: bool
) -> None:
    if only_armed and second < first and not has_gauge:
        pytest.skip("a load explains any lower voltage: the flight corrects the charge")
    packs = [Cell(first), Cell(second)]
    log = logged(packs, 90.0, has_vehicle=has_vehicle, has_gauge=has_gauge, only_armed=only_armed)
    reports = replayed(log)
    begins_s = reports[-1].t_s - FLOWN_S - (0.0 if only_armed else REST_S)
    after = next(one for one in reports if one.t_s >= begins_s + 3.0)
    assert after.estimate.soc_pct == pytest.approx(100.0 * second, abs=8.0)
    assert (after.estimate.used_mah or 0.0) < 20.0
    assert after.pack_data.pack_key(after.snapshot.identity) is None


def test_two_flights_of_one_pack_are_one_pack() -> None:
    pack = Cell(0.95)
    reports = replayed(
        logged([pack, pack], 90.0, has_vehicle=True, has_gauge=True, only_armed=False)
    )
    assert {report.snapshot.identity.connection for report in reports} == {0}
    assert (reports[-1].estimate.used_mah or 0.0) > 1700.0
