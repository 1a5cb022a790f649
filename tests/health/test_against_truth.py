# SPDX-License-Identifier: Apache-2.0
"""Pack history against the truth: simulated ageing packs, and cells that a laboratory measured."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ageing import KINDS, WEAK_CELL, Kind, by_pack, fly, lives
from dronebms.core.chemistry import chemistry_of
from dronebms.flightlogs import FlightSource, read_csv_log
from dronebms.health.ageing_trend import weak_cell
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.health.soh_measurement import measure_soh
from dronebms.monitoring.pipeline import Pipeline
from sim.plant.ageing import ageing_of

LIPO, LI_ION, LIFEPO4 = KINDS
PACKS, STEP_S = range(401, 405), 2.5


@pytest.mark.parametrize("kind", [LIPO, LI_ION], ids=lambda kind: kind.chemistry)
def test_relative_capacity_follows_the_truth_from_new_to_worn(kind: Kind) -> None:
    law, random, shares = ageing_of(kind.chemistry), np.random.default_rng(1), []
    for cycles, degc in ((16.0, 10.0), (350.0, 25.0), (700.0, 18.0)):
        true_ah = 0.95 * kind.rated_ah * law.capacity_left_frac(cycles, cycles)
        for samples in fly(kind, kind.spec(cycles, degc), PACKS, random, step_s=STEP_S):
            found = measure_soh(samples, chemistry_of(kind.chemistry), kind.rated_ah, 6)
            assert found.relative_capacity is not None
            shares.append(found.relative_capacity * kind.rated_ah / true_ah)
    assert max(shares) / min(shares) < 1.12
    assert np.mean(shares) == pytest.approx(1.0, abs=0.10)


def test_resistance_at_one_temperature_follows_the_truth() -> None:
    random, ohms = np.random.default_rng(2), []
    for cycles in (16.0, 700.0):
        flown = fly(LIPO, LIPO.spec(cycles, 22.0), PACKS, random, step_s=STEP_S)
        found = [measure_soh(samples, chemistry_of("lipo"), 16.0, 6) for samples in flown]
        ohms.append(np.mean([one.resistance_ohm or 0.0 for one in found]))
    assert ohms[1] / ohms[0] == pytest.approx(LIPO.ohm(700.0) / LIPO.ohm(16.0), rel=0.12)


def test_no_capacity_is_measured_on_a_flat_curve() -> None:
    flown = fly(LIFEPO4, LIFEPO4.spec(0.0, 20.0), PACKS, np.random.default_rng(1), step_s=STEP_S)
    found = [measure_soh(samples, chemistry_of("lifepo4"), 10.0, 6) for samples in flown]
    assert {one.relative_capacity for one in found} == {None}
    assert all(one.resistance_ohm is not None for one in found)


@pytest.mark.slow
def test_a_simulated_weak_cell_is_detected_before_its_cut_off_and_no_healthy_one() -> None:
    for rows, _ in by_pack(lives(LIPO, PACKS, 14, step_s=STEP_S)):
        assert weak_cell(rows) is None
    for rows, lowest_v in by_pack(lives(LIPO, PACKS, 22, weak_from=6, step_s=STEP_S)):
        weak = weak_cell(rows)
        assert weak is not None
        assert weak.cell == WEAK_CELL + 1
        assert 6 < weak.since <= 20
        assert min(lowest_v) > chemistry_of("lipo").cutoff_cell_v + 0.1


def record_of(path: Path) -> FlightRecord:
    flight = read_csv_log(path)
    source, detector = FlightSource(flight), FlightDetector("lab")
    pipeline = Pipeline(source, flight.pack_data)
    rows = [detector.update(pipeline.step(t_s, source.vehicle(t_s))) for t_s in source.ticks()]
    found = [row for row in (*rows, detector.record(LOST)) if row is not None]
    return found[0]


@pytest.mark.slow
def test_laboratory_cells_lose_what_the_laboratory_measured(real_flights: tuple[Path, ...]) -> None:
    for cell in ("nasa_b0025", "nasa_b0029"):
        paths = [path for path in real_flights if path.name.startswith(cell)]
        measured, true = [], []
        for path in paths:
            note = path.with_name(path.name.partition(".")[0] + ".json").read_text()
            found = re.search(r"measured capacity ([\d.]+)", note)
            assert found is not None
            true.append(float(found[1]))
            measured.append(record_of(path).relative_capacity or 0.0)
        assert len(paths) == 3
        for k in (1, 2):
            assert measured[k] / measured[0] == pytest.approx(true[k] / true[0], abs=0.02)
