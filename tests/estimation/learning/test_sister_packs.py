# SPDX-License-Identifier: Apache-2.0
"""A pack that never flew starts from its sister packs, on the usual power of its vehicle."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import ACTIVATION, FAST, KNOTS, SIZE, CellModel
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_pack import Keys, Known, Learned, LearnedPack
from dronebms.estimation.learning.pack_memory import PackMemoryInRam, recall
from dronebms.estimation.learning.sister_packs import sister_prior
from dronebms.estimation.model_parameters import FITTED
from dronebms.flightlogs import FlightSource, read_csv_log
from smartbattery.snapshot import Snapshot
from tests.snapshots import FACTS, look

FOLDER = Path(__file__).parents[2] / "data" / "sister_packs"
ELDER, YOUNGER = (FOLDER / f"T003_Marquis2019_{pack}_0.csv.gz" for pack in (0, 1))


@cache
def seen_of(path: Path) -> tuple[PackData, tuple[Snapshot, ...], float]:
    flight = read_csv_log(path)
    source = FlightSource(flight)
    side = json.loads((FOLDER / f"{flight.name}.json").read_text())
    looks = tuple([source.poll(t_s) for t_s in source.ticks()])
    return flight.pack_data, looks, side["truth"]["t_end_s"]


@cache
def elder() -> tuple[Keys, Learned]:
    pack_data, looks, _ = seen_of(ELDER)
    estimator = Estimator(pack_data)
    for snapshot in looks:
        estimator.update(snapshot)
    return estimator.keys, estimator.learn()


def memory() -> PackMemoryInRam:
    """Memory after the first flight of the elder sister."""
    kept = PackMemoryInRam()
    kept.store(*elder())
    return kept


def estimator_of(pack_data: PackData, kept: PackMemoryInRam) -> Estimator:
    def look_up(keys: Keys) -> Known:
        return recall(kept, keys, lambda error: pytest.fail(str(error)))

    return Estimator(pack_data, look_up)


def known_of(estimator: Estimator) -> tuple[bool, bool]:
    """Whether the pack itself is known, and its sister packs."""
    stages = estimator.state().stages
    assert stages is not None
    return stages.pack.learned is not None, stages.pack.sister_odds is not None


def flown(kept: PackMemoryInRam, pack_data: PackData | None = None) -> list[tuple[float, Estimate]]:
    """Seconds left and estimates of the first flight of the younger sister."""
    own, looks, end_s = seen_of(YOUNGER)
    estimator = estimator_of(pack_data or own, kept)
    rows = [(end_s - snapshot.t_s, estimator.update(snapshot)) for snapshot in looks]
    return [row for row in rows if row[0] >= 30.0 and row[1].remaining_s is not None]


def error(rows: list[tuple[float, Estimate]]) -> float:
    judged = rows[len(rows) // 5 :]
    return float(np.mean([abs((estimate.remaining_s or 0.0) / s - 1.0) for s, estimate in judged]))


def test_the_first_flight_of_a_pack_is_estimated_better_with_a_sister_pack() -> None:
    unknown, known = flown(PackMemoryInRam()), flown(memory())
    assert error(known) < 0.5 * error(unknown)
    assert error(known) < 0.25
    inside = [(e.remaining_low_s or 0.0) <= s <= (e.remaining_high_s or 0.0) for s, e in known[60:]]
    assert np.mean(inside) > 0.85


def test_of_another_model_capacity_or_chemistry_nothing_is_known() -> None:
    pack_data, looks, _ = seen_of(YOUNGER)
    unnamed = replace(pack_data, vehicle=None)
    for other in (
        replace(unnamed, pack_model="another"),
        replace(unnamed, pack_model=None),
        replace(unnamed, capacity_mah=5000.0),
    ):
        known, unknown = estimator_of(other, memory()), estimator_of(other, PackMemoryInRam())
        assert [known.update(e) for e in looks[:90]] == [unknown.update(e) for e in looks[:90]]
        assert known_of(known) == (False, False)
    kept = memory()
    (name,) = kept.packs
    kept.packs[name] = replace(kept.packs[name], chemistry="lifepo4")
    estimator = estimator_of(unnamed, kept)
    estimator.update(looks[0])
    assert known_of(estimator) == (False, False)


def test_a_pack_that_has_flown_itself_starts_from_itself() -> None:
    pack_data, looks, _ = seen_of(ELDER)
    for data, expected in (
        (pack_data, (True, False)),
        (replace(pack_data, pack_id="another"), (False, True)),
    ):
        estimator = estimator_of(data, memory())
        estimator.update(looks[0])
        assert known_of(estimator) == expected


def test_a_new_pack_is_its_own_reference_of_ageing() -> None:
    _, looks, _ = seen_of(YOUNGER)
    kept = memory()
    (first,) = kept.packs.values()
    estimator = estimator_of(seen_of(YOUNGER)[0], kept)
    for snapshot in looks:
        estimator.update(snapshot)
    kept.store(estimator.keys, estimator.learn())
    second = kept.packs["T003_Marquis2019_1"]
    assert (second.flights, second.model) == (1, first.model)
    assert second.first_fast == second.cells.mean[0] != first.first_fast
    assert len(second.cells.warm) == 1
    assert kept.sisters("T003 Marquis2019") == (second, first)


# ---------------------------------------------------------------------- the prior


def cells_of(fast: float, sd: float, *warm: tuple[float, float]) -> CellParameters:
    """Parameters, each known as well; FAST as given, the others 0."""
    mean = np.zeros(SIZE - FAST)
    mean[0] = fast
    rows = tuple(map(tuple, (sd**2 * np.eye(SIZE - FAST)).tolist()))
    return CellParameters(tuple(mean.tolist()), rows, warm)


def test_alike_sisters_make_the_prior_no_surer_than_one_of_them() -> None:
    one = sister_prior([cells_of(0.3, 0.1)])
    four = sister_prior([cells_of(0.3, 0.1)] * 4)
    assert np.allclose(one.covariance, four.covariance)
    assert np.allclose(one.mean, four.mean)
    assert one.covariance[0][0] == pytest.approx(0.1**2 + FITTED.sd_sister[0] ** 2)
    assert one.mean[0] == pytest.approx(0.3)


def test_the_surer_sister_counts_more() -> None:
    prior = sister_prior([cells_of(0.0, 0.05), cells_of(1.0, 0.5)])
    assert prior.mean[0] < 0.2
    assert 0.05**2 + 0.15**2 < prior.covariance[0][0] < 0.5**2


def test_the_dependence_on_temperature_is_that_within_each_sister() -> None:
    # Each sister at two temperatures (kilokelvin), one of twice the resistance of the other.
    slope = -0.6
    sisters = [
        cells_of(base, 0.2, *[(kelvin, base + slope * kelvin) for kelvin in (0.0, 0.35)])
        for base in (0.0, 0.7)
    ]
    prior = sister_prior(sisters)
    assert prior.mean[ACTIVATION - FAST] == pytest.approx(slope, abs=0.12)
    # One flight of each, at different temperatures: they may differ in resistance instead.
    apart = [cells_of(0.0, 0.2, (0.0, 0.0)), cells_of(0.7, 0.2, (0.35, 0.7))]
    assert abs(sister_prior(apart).mean[ACTIVATION - FAST]) < 0.2 * 0.7 / 0.35
    later = CellParameters((), (), ((0.1, 0.2),), prior.sister_warm)
    assert later.activation(FITTED.sd_activation_kk)[0] == pytest.approx(slope, abs=0.12)


def test_a_resistance_at_25_degc_is_less_certain_after_flights_at_other_temperatures() -> None:
    def resistance(*warm: tuple[float, float]) -> tuple[float, float]:
        cells = cells_of(math.log(2.0), 0.1, *warm)
        return LearnedPack(cells, 0.0, 0.0, 5000.0, len(warm)).resistance_pct(FITTED)

    at_25, cold = resistance((0.0, math.log(2.0))), resistance((0.3, math.log(2.0)))
    assert at_25 == pytest.approx((200.0, 20.0))
    assert cold[0] == pytest.approx(200.0)
    assert cold[1] == pytest.approx(200.0 * math.hypot(0.1, 0.3 * FITTED.sd_activation_kk), rel=0.2)
    assert cold[1] > 2.0 * at_25[1]
    # Two temperatures show its dependence.
    assert resistance((0.0, 0.5), (0.3, 0.9))[1] < cold[1]


def test_the_prior_of_a_pack_is_surer_than_that_of_its_chemistry() -> None:
    pack_data, _, _ = seen_of(YOUNGER)
    learned = elder()[1].pack
    assert learned is not None
    model = CellModel(pack_data.chemistry, learned.rated_mah / 1e3, rated=True)
    known, unknown = CellFit(model, sister_prior([learned.cells])), CellFit(model)
    own = CellFit(model, learned.cells)
    for element in (FAST, KNOTS + 2, KNOTS + 4):
        sds = [fit.P[element, element] for fit in (own, known, unknown)]
        assert sds == sorted(sds)


# ---------------------------------------------------------------------- the vehicle


def hover(estimator: Estimator, seconds: int, amps: float, vehicle: VehicleState) -> float:
    """Fly; the mean power that was assumed 45 s after the first load."""
    assumed_w = 0.0
    for t in range(seconds):
        estimator.update(look(float(t), 3.95 - 0.0006 * t, amps + t % 2), vehicle)
        stages = estimator.state().stages
        forecast = None if stages is None else stages.time_to_empty.forecast
        if t == 45 and forecast is not None:
            assumed_w = forecast.power_w
    return assumed_w


BY_UID = replace(UNKNOWN_VEHICLE, uid="0badcafe")


@pytest.mark.parametrize("by_uid", [False, True])
def test_the_usual_power_is_that_of_the_vehicle_and_not_of_the_pack(*, by_uid: bool) -> None:
    kept = PackMemoryInRam()

    def fly(vehicle: str, pack: str, amps: float, seconds: int) -> float:
        named = replace(FACTS, pack_id=pack, vehicle=None if by_uid else vehicle)
        state = replace(UNKNOWN_VEHICLE, uid=vehicle if by_uid else None)
        estimator = estimator_of(named, kept)
        assumed_w = hover(estimator, seconds, amps, state)
        assert estimator.keys.vehicle == vehicle
        kept.store(estimator.keys, estimator.learn())
        return assumed_w

    for _ in range(3):
        fly("heavy", "A", 40.0, 120)
        fly("light", "B", 20.0, 220)
    assert {name: len(found) for name, found in kept.vehicles.items()} == {"heavy": 1, "light": 1}
    # The packs change places; both fly with 30 A for now.
    heavy_w, light_w, new_w = (fly(name, pack, 30.0, 60) for name, pack in (
        ("heavy", "B"), ("light", "A"), ("new", "A")))  # fmt: skip
    assert heavy_w > 1.1 * new_w > 1.1 * 1.05 * light_w
    assert kept.packs["A"].power == ()


def test_a_vehicle_that_becomes_known_after_the_first_reading_is_taken_in_once() -> None:
    kept = PackMemoryInRam()
    pack = replace(FACTS, pack_id="A")
    first = estimator_of(replace(pack, vehicle="0badcafe"), kept)
    hover(first, 220, 20.0, UNKNOWN_VEHICLE)
    kept.store(first.keys, first.learn())
    asked: list[Keys] = []

    def look_up(keys: Keys) -> Known:
        asked.append(keys)
        return recall(kept, keys, lambda error: pytest.fail(str(error)))

    late = Estimator(replace(pack, pack_id="B"), look_up)
    for t in range(40):
        late.update(look(float(t), 3.95, 30.0 + t % 2), BY_UID if t >= 20 else UNKNOWN_VEHICLE)
    assert asked == [Keys("B"), Keys(vehicle="0badcafe")]
    assert late.keys == Keys("B", None, "0badcafe")
    stages = late.state().stages
    assert stages is not None
    assert stages.pack.usual is not None
    restored = Estimator(replace(pack, pack_id="B"), look_up, state=late.state())
    assert restored.update(look(40.0, 3.9, 30.0), BY_UID) == late.update(
        look(40.0, 3.9, 30.0), BY_UID
    )
    assert len(asked) == 2
    after_minutes = Estimator(replace(pack, pack_id="C"), look_up)
    for t in range(300):
        known = BY_UID if t >= 250 else UNKNOWN_VEHICLE
        after_minutes.update(look(float(t), 3.95 - 0.0006 * t, 30.0 + t % 2), known)
    stages = after_minutes.state().stages
    assert stages is not None
    assert stages.pack.usual is None  # the flight has a load of its own
    assert after_minutes.keys.vehicle == "0badcafe"  # which is one of the vehicle's


def test_without_a_vehicle_the_usual_power_is_the_packs() -> None:
    kept = PackMemoryInRam()
    for pack, amps in (("A", 40.0), ("B", 20.0)):
        estimator = estimator_of(replace(FACTS, pack_id=pack), kept)
        hover(estimator, 220, amps, UNKNOWN_VEHICLE)
        kept.store(estimator.keys, estimator.learn())
    assert kept.vehicles == {}
    assumed_w = [
        hover(estimator_of(replace(FACTS, pack_id=pack), kept), 60, 30.0, UNKNOWN_VEHICLE)
        for pack in ("A", "B")
    ]
    assert assumed_w[0] > 1.1 * assumed_w[1]
