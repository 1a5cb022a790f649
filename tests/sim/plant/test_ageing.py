# SPDX-License-Identifier: Apache-2.0
"""Ageing of a pack by use and time: published figures, and a life flown flight by flight."""

import numpy as np
import pytest

from sim.plant.ageing import AGEING, Ageing, ageing_of, leaked_frac
from sim.plant.pack import Pack, after_flight, build_pack
from sim.plant.pack_spec import PackSpec

STEP_S = 0.1

each_row = pytest.mark.parametrize("row", AGEING, ids=lambda row: row.chemistry)


def spec_of(**keys: object) -> PackSpec:
    made = {"chemistry": "li-ion", "cells": 4, "cell_mah": 5000.0, **keys}
    return PackSpec.model_validate(made)


def pack_of(**keys: object) -> Pack:
    return build_pack(spec_of(**keys), np.random.default_rng(1), STEP_S)


@each_row
def test_a_new_pack_has_no_loss(row: Ageing) -> None:
    assert row.capacity_left_frac(0.0, 0.0) == 1.0
    assert row.resistance_factor(0.0, 0.0) == 1.0


@each_row
def test_use_and_time_reduce_capacity_and_increase_resistance(row: Ageing) -> None:
    assert row.capacity_left_frac(100, 0) > row.capacity_left_frac(300, 0)
    assert row.capacity_left_frac(0, 100) > row.capacity_left_frac(0, 700)
    assert row.resistance_factor(300, 700) > row.resistance_factor(100, 100) > 1.0
    assert 0.0 < row.capacity_left_frac(1e6, 1e6) < 0.1


def test_an_nmc_cell_ages_as_in_its_paper() -> None:
    """The formulas of Schmalstieg et al. 2014 for the 2.05 Ah cell, written out once more."""
    cycles, days, mean_v, rest_v = 300.0, 200.0, 3.8, 3.85
    throughput_ah = cycles * 2 * 2.05
    fade = (7.348e-3 * (mean_v - 3.667) ** 2 + 7.6e-4 + 4.081e-3) * throughput_ah**0.5
    fade += (7.543 * rest_v - 23.75) * 1e6 * np.exp(-6976 / 298.15) * days**0.75
    growth = (2.153e-4 * (mean_v - 3.725) ** 2 - 1.521e-5 + 2.798e-4) * throughput_ah
    growth += (5.270 * rest_v - 16.32) * 1e5 * np.exp(-5986 / 298.15) * days**0.75
    row = ageing_of("li-ion")
    assert row.capacity_left_frac(cycles, days) == pytest.approx(1 - fade, abs=0.002)
    assert row.resistance_factor(cycles, days) == pytest.approx(1 + growth, abs=0.01)


def test_lifepo4_stored_for_a_year_loses_capacity_as_in_its_paper() -> None:
    """Naumann et al. 2018 at 25 degC and half charge: k (c (0 ** 3) + d) sqrt(t)."""
    fade = 1.2571e-5 * 0.60225 * (365 * 86400) ** 0.5
    assert ageing_of("lifepo4").capacity_left_frac(0, 365) == pytest.approx(1 - fade, abs=0.001)


def test_a_hot_day_costs_as_much_as_many_mild_ones() -> None:
    row = ageing_of("li-ion")
    days = row.days_at_25_degc(100.0, 45.0)
    mild, hot = (np.exp(-6976 / (273.15 + degc)) for degc in (25.0, 45.0))
    assert days > 400.0
    assert mild * days**0.75 == pytest.approx(hot * 100.0**0.75)
    assert row.days_at_25_degc(100.0, 25.0) == pytest.approx(100.0)


def test_a_pack_self_discharges_in_storage_and_faster_in_the_heat() -> None:
    assert leaked_frac(30, 20.0) == pytest.approx(0.02)
    assert leaked_frac(30, 40.0) == pytest.approx(0.08)
    fresh, stored = pack_of(), pack_of(rested_days=60.0, ambient_degc=20.0)
    lost = fresh.cells.charge_frac - stored.cells.charge_frac
    assert lost == pytest.approx(np.full(4, 0.04), rel=0.03)
    empty = pack_of(rested_days=20_000.0)
    assert np.all(np.abs(empty.cells.charge_frac) < 0.05)


def test_a_used_pack_holds_less_and_sags_more() -> None:
    new, old = pack_of(), pack_of(cycles=400.0, age_days=700.0)
    row = ageing_of("li-ion")
    left_frac = row.capacity_left_frac(400.0, 700.0)
    assert old.cells.capacity_ah == pytest.approx(new.cells.capacity_ah * left_frac)
    for pack in (new, old):
        for _ in range(100):
            pack.apply(100.0)
            pack.advance()
    assert np.all(old.cells_v < new.cells_v - 0.02)


def test_a_life_is_flown_flight_by_flight() -> None:
    spec = spec_of(ambient_degc=25.0)
    drawn_ah, capacities_ah = 0.0, []
    for _ in range(3):
        pack = build_pack(spec, np.random.default_rng(1), STEP_S)
        capacities_ah.append(float(np.mean(pack.cells.capacity_ah)))
        for _ in range(600):
            pack.apply(90.0)
            pack.advance()
        drawn_ah += float(pack.drawn_ah)
        spec = after_flight(spec, pack, rest_days=2.0)
    assert spec.age_days == pytest.approx(6.0)
    assert spec.cycles == pytest.approx(drawn_ah / capacities_ah[1], rel=0.02)
    assert 0.05 < spec.cycles < 0.07
    assert capacities_ah[0] > capacities_ah[1] > capacities_ah[2]
