"""Rated pack data, and the rows of the chemistries."""

from itertools import pairwise

import pytest

from dronebms.core.chemistry import CHEMISTRIES, LIPO, Chemistry, chemistry_of
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from smartbattery.snapshot import UNIDENTIFIED, Identity


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


def test_each_assumed_value_is_reported() -> None:
    assert PackData(LIPO, 4, 3000.0, 3.4).assumed() == ()
    notes = PackData(LIPO).assumed()
    assert notes[0] == "the rated capacity is not given and will be estimated"
    assert notes[1] == "the cut-off is not given: 3.3 V a cell, the usual one of lipo"
