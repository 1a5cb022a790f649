# SPDX-License-Identifier: Apache-2.0
"""Rated pack data, and the rows of the chemistries."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dronebms.core.chemistry import (
    CHEMISTRIES,
    LI_ION,
    LIFEPO4,
    LIHV,
    LIPO,
    Chemistry,
    chemistry_of,
)
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot
from tests.snapshots import look


@pytest.mark.parametrize("row", CHEMISTRIES, ids=lambda row: row.name)
def test_a_chemistry_is_a_possible_cell(row: Chemistry) -> None:
    assert len(row.ocv_v) == 21
    assert all(below <= above for below, above in pairwise(row.ocv_v))
    assert row.ocv_v[-1] <= row.full_cell_v
    # The cut-off under load is below the resting voltage of an empty cell plus the sag.
    assert row.cutoff_cell_v < row.low_cell_v < row.ocv_v[10]
    assert 0.0 < row.continuous_c < row.burst_c
    assert row.cold_degc < 20.0 < row.hot_degc - 13.0
    assert chemistry_of(row.name) is row
    assert row.source


@pytest.mark.parametrize(
    ("row", "points", "within_v"),
    [
        (LI_ION, ((0.0955, 3.3231), (0.2915, 3.5737), (0.4573, 3.7017), (0.8342, 4.0637)), 0.03),
        (LI_ION, ((0.0905, 3.3275), (0.2814, 3.5700), (0.4573, 3.6972), (0.8442, 4.0595)), 0.04),
        (LI_ION, ((0.1106, 3.3301), (0.3116, 3.5860), (0.4824, 3.7012), (0.8492, 4.0666)), 0.02),
        (LIFEPO4, ((0.0534, 3.0872), (0.0885, 3.1942), (0.2972, 3.2772)), 0.03),
    ],
    ids=["Molicel P42A", "Molicel P28A", "LG M50T", "Lithium Werks APR18650M1B"],
)
def test_a_row_follows_measured_cells(
    row: Chemistry, points: tuple[tuple[float, float], ...], within_v: float
) -> None:
    # Break points of C/20 and C/32 curves as published with each cell.
    for charge_frac, rested_v in points:
        assert row.open_circuit_v(charge_frac) == pytest.approx(rested_v, abs=within_v)


def test_the_names_are_those_of_mavlink() -> None:
    from pymavlink.dialects.v20 import common as mavlink  # noqa: PLC0415 - the reference table

    kinds = {row.name: row.mavlink_type for row in CHEMISTRIES}
    assert kinds["lipo"] == kinds["lihv"] == mavlink.MAV_BATTERY_TYPE_LIPO
    assert kinds["li-ion"] == mavlink.MAV_BATTERY_TYPE_LION
    assert kinds["lifepo4"] == mavlink.MAV_BATTERY_TYPE_LIFE


def test_an_unknown_chemistry_is_rejected_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match="'nimh' is not one of lipo, lihv, li-ion, lifepo4"):
        chemistry_of("nimh")


def test_the_cut_off_is_the_configured_one_or_the_chemistrys() -> None:
    assert PackData(LIPO).cutoff_v == 3.3
    assert PackData(LIPO, cutoff_cell_v=3.5).cutoff_v == 3.5


def test_a_gauge_completes_and_never_overrides() -> None:
    identity = Identity(cells=6, design_mah=5200.0)
    assert PackData(LIPO).completed(identity) == PackData(LIPO, 6, 5200.0)
    assert PackData(LIPO, cells=4).completed(identity) == PackData(LIPO, 4, 5200.0)
    configured = PackData(LIPO, 4, 3000.0)
    assert configured.completed(identity) is configured
    assert PackData(LIPO).completed(UNIDENTIFIED) == PackData(LIPO)


def test_a_lipo_pack_that_only_lihv_can_be_is_estimated_so_and_named() -> None:
    pack = PackData(LIPO, 4, 5000.0, 3.3)
    seen = pack.seen(look(0.0, 4.31, 0.0, cells=4))
    assert (seen.curve, seen.full_seen_v) == (LIHV, 4.31)
    assert (seen.chemistry, seen.cutoff_v) == (LIPO, 3.3)  # limits stay those of the configuration
    (note,) = seen.assumed()
    assert note.startswith("a cell of 4.31 V is no lipo: the minutes left are those of lihv, the ")
    word = replace(look(0.0, 4.0, 0.0, cells=4), charging_v=17.4)
    assert pack.seen(word).full_seen_v == pytest.approx(4.35)


@pytest.mark.parametrize(
    ("pack", "snapshot"),
    [
        (PackData(LIPO, 4), look(0.0, 4.24, 0.0, cells=4)),  # a charger's tolerance
        (PackData(LIPO, 4), look(0.0, 4.31, -3.0, cells=4)),  # charged
        (PackData(LIPO, 4), look(0.0, 4.31, None, cells=4)),  # perhaps charged
        (PackData(LIPO, 2), replace(look(0.0, 4.31, 0.0, cells=2), cells_v=(4.2, 4.31))),  # one
        (PackData(LIPO, 4), replace(look(0.0, 4.31, 0.0, cells=4), cells_v=())),  # perhaps 5 cells
        (PackData(LIPO, 4), look(0.0, 5.2, 0.0, cells=4)),
        (PackData(LIPO, 4), replace(look(0.0, 4.0, 0.0, cells=4), charging_v=16.8)),
        (PackData(LIPO, 4), replace(look(0.0, 4.0, 0.0, cells=4), charging_v=21.0)),
        (PackData(LI_ION, 4), look(0.0, 4.31, 0.0, cells=4)),
        (PackData(LIHV, 4), look(0.0, 4.1, 0.0, cells=4)),
    ],
)  # fmt: skip
def test_nothing_less_shows_lihv(pack: PackData, snapshot: Snapshot) -> None:
    assert pack.seen(snapshot) == pack
    assert pack.curve is pack.chemistry


def test_the_capacity_is_the_rated_one_or_that_of_an_unknown_pack() -> None:
    assert PackData(LIPO, 4, 3000.0).capacity_ah == 3.0
    assert PackData(LIPO, 4).capacity_ah == 5.0


def test_each_assumed_value_is_reported() -> None:
    assert PackData(LIPO, 4, 3000.0, 3.4).assumed() == ()
    notes = PackData(LIPO).assumed()
    assert notes[0] == "the rated capacity is not given and will be estimated"
    assert notes[1] == "the cut-off is not given: 3.3 V a cell, the usual one of lipo"


@pytest.mark.parametrize("row", CHEMISTRIES, ids=lambda row: row.name)
@pytest.mark.parametrize("charge_frac", [-0.2, 0.0, 0.013, 0.05, 0.5, 0.777, 0.999, 1.0, 1.1])
def test_the_mean_voltage_down_to_a_charge_is_that_of_many_steps(
    row: Chemistry, charge_frac: float
) -> None:
    bounded = min(max(charge_frac, 0.0), 1.0)
    fracs = bounded + (1.0 - bounded) * (np.arange(20_000) + 0.5) / 20_000
    place = np.linspace(0.0, 1.0, len(row.ocv_v))
    mean_v = float(np.interp(fracs, place, row.ocv_v).mean())
    assert row.mean_open_circuit_v(charge_frac) == pytest.approx(mean_v, abs=1e-6)
