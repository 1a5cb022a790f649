# SPDX-License-Identifier: Apache-2.0
"""A snapshot as it ages for a reader that does not poll."""

import json
import math
from dataclasses import FrozenInstanceError, astuple, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from smartbattery.snapshot import (
    CELL_FIELDS,
    MAX_AGE_S,
    NO_COUNTS,
    UNIDENTIFIED,
    BusCounts,
    Identity,
    Snapshot,
)

LOOK = Snapshot(
    t_s=100.0,
    voltage_v=24.1,
    current_a=31.0,
    temperature_degc=25.05,
    cells_v=(4.02, None, 3.98, 4.05),
    average_a=30.0,
    max_error_pct=2.0,
    soc_pct=80.0,
    remaining_mah=12_800.0,
    full_mah=16_000.0,
    time_to_empty_s=1500.0,
    cycles=12.0,
    status_raw=0x00C0,
    identity=Identity(serial=9596, cells=4, pec=True),
    read_at_s={"voltage_v": 99.5, "cycles": 60.0},
    counts=BusCounts(transfers=40, nacks=2),
)
NOT_VALUES = {
    "t_s",
    "cells_v",
    "identity",
    "read_at_s",
    "counts",
    "trouble",
    "doubts",
    "rejected",
    "disputed",
}
VALUES = [row.name for row in fields(Snapshot) if row.name not in NOT_VALUES]


def test_an_empty_snapshot_has_no_values() -> None:
    empty = Snapshot(5.0)
    assert [getattr(empty, name) for name in VALUES] == [None] * len(VALUES)
    assert (empty.cells_v, empty.identity, empty.counts) == ((), UNIDENTIFIED, NO_COUNTS)
    assert set(astuple(NO_COUNTS)) == {0}
    assert (empty.trouble, empty.lowest_cell(), empty.age_s("voltage_v")) == (None, None, None)
    assert json.loads(TypeAdapter(Snapshot).dump_json(empty))["read_at_s"] == {}


def test_cells_have_the_names_of_32_fields() -> None:
    assert (CELL_FIELDS[0], CELL_FIELDS[31], len(CELL_FIELDS)) == ("cell1_v", "cell32_v", 32)


def test_a_snapshot_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        LOOK.voltage_v = 25.0  # type: ignore[misc] # that it is refused is the matter
    assert Snapshot(0.0).read_at_s is not Snapshot(0.0).read_at_s


def test_the_age_is_that_of_the_last_valid_reading() -> None:
    assert LOOK.age_s("voltage_v") == 0.5
    assert LOOK.age_s("cycles") == 40.0
    assert LOOK.age_s("soc_pct") is None


@settings(deadline=None)
@given(later_s=st.floats(0.0, MAX_AGE_S))
def test_a_snapshot_is_valid_for_a_moment_and_its_readings_age(later_s: float) -> None:
    held = LOOK.at(100.0 + later_s)
    assert [getattr(held, name) for name in VALUES] == [getattr(LOOK, name) for name in VALUES]
    assert held.cells_v == LOOK.cells_v
    assert held.t_s == 100.0 + later_s
    assert held.age_s("voltage_v") == held.t_s - 99.5


@settings(deadline=None)
@given(later_s=st.floats(MAX_AGE_S + 1e-6, 1e9))
def test_an_expired_snapshot_has_no_values_and_no_cell_has_moved(later_s: float) -> None:
    late = LOOK.at(100.0 + later_s)
    assert [getattr(late, name) for name in VALUES] == [None] * len(VALUES)
    assert late.cells_v == (None,) * 4
    assert late.lowest_cell() is None
    assert (late.identity, late.counts) == (LOOK.identity, LOOK.counts)
    assert late.age_s("voltage_v") == late.t_s - 99.5


def test_an_expired_snapshot_states_a_reason_or_retains_its_own() -> None:
    assert (LOOK.at(101.0).voltage_v, LOOK.at(101.0).trouble) == (24.1, None)
    assert LOOK.at(101.1).voltage_v is None
    assert LOOK.at(112.4).trouble == "no reading for 12 s"
    assert Snapshot(100.0, trouble="no answer").at(112.4).trouble == "no answer"


def test_a_snapshot_at_its_own_time_is_itself() -> None:
    assert LOOK.at(100.0) is LOOK


def test_the_weakest_cell_counts_from_0_and_an_unknown_one_is_never_it() -> None:
    assert LOOK.lowest_cell() == (2, 3.98)
    assert Snapshot(0.0, cells_v=(None, 3.9, 3.9)).lowest_cell() == (1, 3.9)
    assert Snapshot(0.0, cells_v=(None, None)).lowest_cell() is None


def test_known_cells_are_in_their_order_and_an_unknown_one_is_none_of_them() -> None:
    assert LOOK.known_cells_v() == [4.02, 3.98, 4.05]
    assert LOOK.at(200.0).known_cells_v() == []


def test_readings_in_dispute_are_for_limits_alone() -> None:
    assert LOOK.undisputed() is LOOK
    disputed = replace(LOOK, disputed={"voltage_v": (24.1, 22.0)})
    assert disputed.undisputed().voltage_v is None
    assert disputed.undisputed().cells_v == LOOK.cells_v
    current = replace(LOOK, disputed={"current_a": (28.0, 5.0)})
    assert current.undisputed() is current


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [name for name in VALUES if type(getattr(LOOK, name)) is float])
def test_what_is_no_finite_number_is_unknown(name: str, value: float) -> None:
    read: dict[str, Any] = {name: value}
    unknown: dict[str, Any] = {name: None}
    assert replace(LOOK, **read).finite() == replace(LOOK, **unknown)
    wrong = replace(LOOK, cells_v=(value, None, 3.98, value))
    assert wrong.finite() == replace(LOOK, cells_v=(None, None, 3.98, None))


def test_a_snapshot_of_finite_numbers_is_itself() -> None:
    assert LOOK.finite() is LOOK
    assert Snapshot(1.0).finite() == Snapshot(1.0)
    opposite = replace(LOOK, current_a=math.inf, average_a=-math.inf)
    assert opposite.finite() == replace(LOOK, current_a=None, average_a=None)
    beyond = replace(LOOK, fet_degc=math.nan, beyond_a=math.inf)
    assert beyond.finite() == LOOK
