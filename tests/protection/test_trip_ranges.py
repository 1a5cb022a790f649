# SPDX-License-Identifier: Apache-2.0
"""Plausible thresholds: every default is one, for every chemistry and number of cells."""

import pytest

from dronebms.core.chemistry import CHEMISTRIES, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.protection.limits import default_limits, every_limit
from dronebms.protection.trip_ranges import (
    TRIP_RANGES,
    implausible_clear,
    implausible_limits,
    implausible_trip,
)

PACKS = [
    PackData(chemistry, cells=cells, capacity_mah=capacity_mah)
    for chemistry in CHEMISTRIES
    for cells, capacity_mah in ((None, None), (1, 300.0), (3, 850.0), (6, 16e3), (14, 60e3))
]


def test_every_quantity_of_the_table_has_a_range() -> None:
    assert {row.quantity for row in every_limit().values()} == set(TRIP_RANGES)


@pytest.mark.parametrize("pack_data", PACKS, ids=lambda one: f"{one.chemistry.name}-{one.cells}S")
def test_no_default_is_implausible(pack_data: PackData) -> None:
    limits = default_limits(pack_data)
    for row in limits:
        assert implausible_trip(row.limit_id, row.trip) is None, row
        assert implausible_clear(row.limit_id, row.clear) is None, row
    assert list(implausible_limits(limits, pack_data)) == []


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_a_milli_is_never_plausible_where_the_whole_unit_is(chemistry: Chemistry) -> None:
    pack_data = PackData(chemistry, cells=6, capacity_mah=16_000.0)
    for row in default_limits(pack_data):
        if row.quantity.endswith("_v") and row.quantity != "charge_above_v":
            wrong = implausible_trip(row.limit_id, 1000.0 * row.trip)
            assert wrong is not None
            assert f"then write {row.trip:.5g})" in wrong
