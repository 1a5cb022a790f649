# SPDX-License-Identifier: Apache-2.0
"""Capacity in ampere-hours: against the truth, and unknown rather than wrong."""

from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ageing import KINDS, Kind, fly
from benchmarks.capacity import record_of
from benchmarks.scoring import is_laboratory, true_capacity_mah
from dronebms.core.chemistry import chemistry_of
from dronebms.flightlogs import read_csv_log
from dronebms.health.capacity import measure_capacity, pack_capacity
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.samples import AMPS, T_S, USED_AH, Array

LIPO, LI_ION, LIFEPO4 = KINDS
STEP_S = 2.5
TRUE_FRAC = 0.95  # of the simulated packs when they are new


def flown(kind: Kind, seed: int = 1) -> Array:
    """Samples of a flight of a new pack that uses 50 to 70 % of the rated charge."""
    random = np.random.default_rng(seed)
    return np.asarray(fly(kind, kind.spec(16.0, 22.0), range(401, 402), random, step_s=STEP_S)[0])


def measured(samples: Array, kind: Kind, rated_ah: float | None = None) -> float | None:
    found = measure_capacity(
        samples, chemistry_of(kind.chemistry), rated_ah or kind.rated_ah, cells=6
    )
    return None if found is None else found.capacity_ah


def record(n: int, frac: float, sd: float = 0.05, rated_mah: float = 10_000.0) -> FlightRecord:
    return FlightRecord(
        str(n), LANDED, "P", rated_mah=rated_mah, capacity_mah=frac * rated_mah, capacity_sd_frac=sd
    )


@pytest.mark.parametrize("kind", [LIPO, LI_ION], ids=lambda kind: kind.chemistry)
def test_a_simulated_capacity_is_near_the_truth(kind: Kind) -> None:
    for seed in (1, 2):
        assert measured(flown(kind, seed), kind) == pytest.approx(
            TRUE_FRAC * kind.rated_ah, rel=0.12
        )


def test_computed_flights_of_other_cells_are_inside_of_the_interval(
    computed_flights: tuple[Path, ...],
) -> None:
    figures = 0
    for path in computed_flights:
        true_mah, row = true_capacity_mah(path), record_of(path)
        assert true_mah is not None
        assert row is not None
        found = pack_capacity([row])
        if found is None:
            continue
        figures += 1
        assert found.low_mah <= true_mah <= found.high_mah
        assert found.high_mah - found.low_mah < 0.35 * found.mah
    assert figures >= 2


@pytest.mark.slow
def test_laboratory_cells_are_within_a_seventh(real_flights: tuple[Path, ...]) -> None:
    errors = []
    for path in real_flights:
        row = record_of(path) if is_laboratory(path) else None
        true_mah, found = true_capacity_mah(path), pack_capacity([] if row is None else [row])
        if found is not None and true_mah is not None and "b0053" not in path.name:  # at 4 degC
            errors.append(abs(found.mah / true_mah - 1.0))
    assert len(errors) == 6
    assert max(errors) < 1 / 7


def with_gaps(samples: Array) -> Array:
    lost = samples.copy()
    lost[100:130, AMPS] = nan
    return lost


def with_a_jump(samples: Array) -> Array:
    return np.vstack([samples[:100], samples[120:]])


UNKNOWN: dict[str, Callable[[Array], Array]] = {
    "too little charge is used": lambda s: s[s[:, USED_AH] < 0.3 * LI_ION.rated_ah],
    "it starts under load": lambda s: s[s[:, T_S] >= 60.0],
    "it is never loaded": lambda s: s[s[:, T_S] < 25.0],
    "the current is unknown for a minute": with_gaps,
    "nothing is read for a minute": with_a_jump,
    "there are no samples": lambda s: s[:0],
    "there is one sample": lambda s: s[:1],
}


@pytest.mark.parametrize("why", UNKNOWN)
def test_a_flight_that_cannot_give_a_capacity_gives_none(why: str) -> None:
    samples = flown(LI_ION)
    assert measured(samples, LI_ION) is not None
    assert measured(UNKNOWN[why](samples), LI_ION) is None


def test_a_capacity_that_the_rated_one_does_not_allow_is_unknown() -> None:
    samples = flown(LI_ION)
    assert measured(samples, LI_ION, rated_ah=0.5 * LI_ION.rated_ah) is None


def test_a_flat_curve_gives_no_capacity() -> None:
    assert measured(flown(LIFEPO4), LIFEPO4) is None


def test_a_pack_without_a_rated_capacity_has_no_figure(
    tmp_path: Path, computed_flights: tuple[Path, ...]
) -> None:
    (path,) = (p for p in computed_flights if p.name.startswith("F01"))
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    side = path.with_name("F01_OKane2022_P00_1.json").read_text()
    (tmp_path / "F01_OKane2022_P00_1.json").write_text(side.replace('"capacity_mah": 10000,', ""))
    assert read_csv_log(copy).pack_data.capacity_mah is None
    row, known = record_of(copy), record_of(path)
    assert known is not None
    assert known.capacity_mah is not None
    assert row is not None
    assert row.capacity_mah is None
    assert pack_capacity([row]) is None


def test_more_flights_narrow_the_interval_and_a_surer_one_counts_for_more() -> None:
    one, four = pack_capacity([record(0, 0.9)]), pack_capacity([record(n, 0.9) for n in range(4)])
    assert one is not None
    assert four is not None
    assert (one.flights, four.flights) == (1, 4)
    assert four.high_mah - four.low_mah < one.high_mah - one.low_mah
    assert one.low_mah < one.mah < one.high_mah
    assert one.rated_frac == pytest.approx(one.mah / 10_000.0)
    mixed = pack_capacity([record(0, 0.7, sd=0.15), record(1, 0.9, sd=0.03)])
    assert mixed is not None
    assert mixed.mah == pytest.approx(8900.0, rel=0.02)


def test_flights_without_a_measurement_change_nothing() -> None:
    empty = replace(record(1, 0.9), capacity_mah=None, capacity_sd_frac=None, rated_mah=None)
    assert pack_capacity([]) is None
    assert pack_capacity([empty]) is None
    found, alone = pack_capacity([record(0, 0.9), empty]), pack_capacity([record(0, 0.9)])
    assert found is not None
    assert alone is not None
    assert found.flights == 1
    assert found.mah == pytest.approx(alone.mah, rel=0.005)


@pytest.mark.parametrize("frac", [1.45, 1.2])
def test_no_figure_is_far_above_the_rated_capacity(frac: float) -> None:
    found = pack_capacity([record(0, frac)])
    assert found is not None
    assert found.rated_frac < 1.1


def test_a_worn_pack_is_recognised() -> None:
    found = pack_capacity([record(n, 0.6, sd=0.04) for n in range(3)])
    assert found is not None
    assert found.rated_frac == pytest.approx(0.62, abs=0.03)
    assert found.high_mah < 7500.0
