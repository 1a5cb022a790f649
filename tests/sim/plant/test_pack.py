# SPDX-License-Identifier: Apache-2.0
"""Cells and pack: balances that must close, and signs of dependencies."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dronebms.core.chemistry import CHEMISTRIES, Chemistry
from sim.plant.cell import CellBuild, Cells, open_circuit_curve_v, resistance_factor
from sim.plant.cell_parameters import CURVE_FRAC
from sim.plant.pack import Pack, build_pack, build_packs
from sim.plant.pack_spec import PackSpec

STEP_S = 0.1


def pack_of(
    *,
    shape: tuple[int, ...] = (6,),
    charge_frac: float = 1.0,
    degc: float = 25.0,
    wire_ohm: float = 0.002,
    resistance_mohm_ah: float = 35.0,
    chemistry: str = "lipo",
) -> Pack:
    curve_v = open_circuit_curve_v(chemistry, 0.0 if chemistry == "lifepo4" else 0.01, 0.0)
    build = CellBuild(
        chemistry=chemistry,
        capacity_ah=np.full(shape, 16.0),
        resistance_factor=np.ones(shape),
        heat_capacity_j_k_ah=22.0,
        curve_v=curve_v,
        charge_frac=np.full(shape, charge_frac),
        start_degc=degc,
        ambient_degc=degc,
        cooling_s=900.0,
    )
    build.resistance_factor[...] = resistance_factor(build, resistance_mohm_ah)
    return Pack(Cells(build, STEP_S), wire_ohm, STEP_S)


def fly(pack: Pack, power_w: float, duration_s: float) -> float:
    """Hold a power; return what came out of the terminals, watt-hours."""
    delivered_wh = 0.0
    for _ in range(round(duration_s / STEP_S)):
        pack.apply(power_w)
        delivered_wh += float(pack.voltage_v * pack.current_a) * STEP_S / 3600
        pack.advance()
    pack.apply(power_w)
    return delivered_wh


def stored_wh(cells: Cells, before_frac: np.ndarray) -> float:
    """Return the energy at rest between two charges, in cells of 25 degC."""
    wh = 0.0
    for start, end, ah in zip(before_frac, cells.charge_frac, cells.capacity_ah, strict=True):
        charge = np.linspace(end, start, 20_001)
        open_v = np.interp(charge, CURVE_FRAC, cells._build.curve_v)
        wh += float(np.sum((open_v[1:] + open_v[:-1]) / 2 * np.diff(charge))) * ah
    return wh


@pytest.mark.parametrize("power_w", [50.0, 400.0, 800.0, 1500.0])
def test_the_terminals_supply_the_power_of_the_load(power_w: float) -> None:
    pack = pack_of()
    for _ in range(200):
        pack.apply(power_w)
        assert float(pack.voltage_v * pack.current_a) == pytest.approx(power_w, rel=1e-12)
        pack.advance()


def test_the_charge_of_the_cells_is_that_of_the_terminals() -> None:
    pack = pack_of()
    fly(pack, 800.0, 900.0)
    left_ah = float(np.mean((1.0 - pack.cells.charge_frac) * pack.cells.capacity_ah))
    assert float(pack.drawn_ah) > 8.0
    assert left_ah == pytest.approx(float(pack.drawn_ah), rel=1e-9)


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
@pytest.mark.parametrize("power_w", [800.0, -500.0])
def test_stored_energy_is_delivered_or_becomes_heat(chemistry: Chemistry, power_w: float) -> None:
    pack = pack_of(chemistry=chemistry.name, charge_frac=0.95 if power_w > 0 else 0.3)
    pack.cells._entropy_v_k = np.zeros(2)  # warmth stores energy in it: another account
    before_frac = pack.cells.charge_frac.copy()
    delivered_wh = fly(pack, power_w, 1200.0)
    assert abs(delivered_wh) > 100.0
    assert float(pack.heat_wh) > 2.0
    gone_wh = stored_wh(pack.cells, before_frac)
    assert delivered_wh + float(pack.heat_wh) == pytest.approx(gone_wh, rel=1e-3)


def test_the_wire_takes_its_share_of_the_voltage() -> None:
    pack = pack_of(wire_ohm=0.01)
    pack.apply(800.0)
    assert float(pack.cells_v.sum() - pack.voltage_v) == pytest.approx(0.01 * pack.current_a)


def test_an_overloaded_pack_supplies_its_maximum_and_reports_it() -> None:
    pack = pack_of(charge_frac=0.1, degc=-20.0)
    pack.apply(100.0)
    assert not pack.overloaded
    rested_v = float(pack.cells.open_circuit_v().sum())
    pack.apply(1e6)
    assert pack.overloaded
    assert float(pack.voltage_v) == pytest.approx(rested_v / 2, rel=1e-3)  # matched load


def test_a_pack_that_is_discharged_completely_stays_finite_and_supplies_nothing() -> None:
    pack = pack_of(charge_frac=0.02)
    fly(pack, 900.0, 400.0)
    assert pack.overloaded
    assert float(pack.current_a) < 0.1
    assert np.all(np.isfinite(pack.cells_v))
    assert np.all(np.isfinite(pack.cells.temperature_degc))


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_resistance_is_as_stated_after_20_s_of_load(chemistry: Chemistry) -> None:
    pack = pack_of(chemistry=chemistry.name, charge_frac=0.5, wire_ohm=0.0)
    cells = pack.cells
    for _ in range(round(20.0 / STEP_S)):
        source_v, ohm = cells.thevenin(np.array([16.0]))  # 1C
        cells.advance(np.array([16.0]), source_v - 16.0 * ohm)
    source_v, ohm = cells.thevenin(np.array([16.0]))
    sag_v = float((cells.open_circuit_v() - source_v + 16.0 * ohm)[0])
    assert sag_v == pytest.approx(0.035, rel=0.03)  # 35 mohm Ah


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
@pytest.mark.parametrize(("warm", "cold"), [(25.0, 10.0), (10.0, -10.0), (45.0, 25.0)])
def test_a_colder_cell_sags_more(chemistry: Chemistry, warm: float, cold: float) -> None:
    assert sag_v(chemistry.name, 0.5, cold) > 1.05 * sag_v(chemistry.name, 0.5, warm)


def test_an_almost_empty_cell_sags_more() -> None:
    assert sag_v("lipo", 0.04, 25.0) > 1.5 * sag_v("lipo", 0.5, 25.0)


def sag_v(chemistry: str, charge_frac: float, degc: float) -> float:
    pack = pack_of(chemistry=chemistry, charge_frac=charge_frac, degc=degc, wire_ohm=0.0)
    fly(pack, 500.0, 20.0)
    return float((pack.cells.open_circuit_v() - pack.cells_v)[0])


def test_the_resistance_of_charge_transfer_falls_with_the_current() -> None:
    cells = pack_of(degc=0.0, resistance_mohm_ah=115.0).cells
    ohms = [float(cells.thevenin(np.array([amps]))[1][0]) for amps in (0.0, 16.0, 48.0)]
    assert ohms[0] > 1.1 * ohms[1] > 1.1 * ohms[2]  # Butler-Volmer


def test_a_load_heats_a_lone_cell_and_a_rest_cools_it_with_the_time_constant() -> None:
    pack = pack_of(shape=(1,), degc=20.0)
    fly(pack, 250.0, 300.0)
    hot_degc = float(pack.cells.temperature_degc[0])
    assert hot_degc > 25.0
    fly(pack, 0.0, 450.0)  # two free faces: twice as fast as between others
    cooled = (float(pack.cells.temperature_degc[0]) - 20.0) / (hot_degc - 20.0)
    assert cooled == pytest.approx(np.exp(-1), rel=0.02)


def test_the_middle_of_a_stack_is_warmest_and_moving_air_cools_it() -> None:
    still, flown = pack_of(degc=20.0), pack_of(degc=20.0)
    flown.cells.airflow_m_s = 10.0
    fly(still, 1500.0, 400.0)
    fly(flown, 1500.0, 400.0)
    degc = still.cells.temperature_degc
    assert np.all(np.diff(degc)[:2] > 0.05)
    assert degc == pytest.approx(degc[::-1], abs=1e-9)
    assert np.all(flown.cells.temperature_degc < degc - 1.0)


def test_a_hot_cell_warms_its_neighbour_and_no_heat_is_lost_between() -> None:
    pack = pack_of(degc=20.0)
    pack.cells._cooling_frac_s[:] = 0.0
    pack.cells.temperature_degc[0] = 50.0
    fly(pack, 0.0, 600.0)
    degc = pack.cells.temperature_degc
    assert np.all(np.diff(degc) < 0.0)
    assert float(degc.sum()) == pytest.approx(5 * 20.0 + 50.0)
    assert degc[1] > 24.0


def test_after_a_load_the_voltage_recovers_at_once_and_then_slowly() -> None:
    pack = pack_of()
    fly(pack, 1000.0, 120.0)
    loaded_v = float(pack.cells_v[0])
    pack.apply(0.0)
    at_once_v = float(pack.cells_v[0])
    fly(pack, 0.0, 300.0)
    rested_v = float(pack.cells_v[0])
    assert at_once_v - loaded_v > 0.02
    assert rested_v - at_once_v > 0.02
    assert rested_v == pytest.approx(float(pack.cells.open_circuit_v()[0]), abs=0.01)


def test_many_packs_at_once_are_as_each_alone() -> None:
    powers_w = np.array([[300.0, 800.0], [1200.0, 0.0]])
    together = pack_of(shape=(2, 2, 6))
    for _ in range(300):
        together.apply(powers_w)
        together.advance()
    together.apply(powers_w)
    for index in np.ndindex(2, 2):
        alone = pack_of()
        fly(alone, float(powers_w[index]), 30.0)
        assert together.cells_v[index] == pytest.approx(alone.cells_v, rel=1e-12)
        assert together.drawn_ah[index] == pytest.approx(float(alone.drawn_ah), rel=1e-12)


def test_charging_raises_the_voltage_and_over_charge_does_steeply() -> None:
    pack = pack_of(charge_frac=0.9)
    rested_v = float(pack.voltage_v)
    delivered_wh = fly(pack, -400.0, 60.0)
    assert delivered_wh == pytest.approx(-400.0 / 60)
    assert float(pack.current_a) < 0.0
    assert float(pack.voltage_v) > rested_v + 0.1
    volts = []
    for _ in range(4):
        fly(pack, -400.0, 300.0)
        volts.append(float(pack.cells_v[0]))
    assert np.all(pack.cells.charge_frac > 1.1)
    assert volts[-1] > 4.4
    assert np.all(np.diff(volts, 2) > 0)


@pytest.mark.parametrize("index", [None, 2])
def test_a_lost_string_leaves_half_of_a_group_with_its_charge(index: int | None) -> None:
    pack, sound = pack_of(charge_frac=0.7), pack_of(charge_frac=0.7)
    pack.lose_string(index, 2)
    hit = np.arange(6) == index if index is not None else np.full(6, fill_value=True)
    assert pack.cells.charge_frac == pytest.approx(np.full(6, 0.7))
    assert pack.cells.capacity_ah == pytest.approx(np.where(hit, 8.0, 16.0))
    assert pack.cells.open_circuit_v() == pytest.approx(sound.cells.open_circuit_v())
    fly(pack, 600.0, 60.0)
    fly(sound, 600.0, 60.0)
    used, whole = 0.7 - pack.cells.charge_frac, 0.7 - sound.cells.charge_frac
    assert used[hit] == pytest.approx(2 * whole[hit], rel=0.1)
    assert np.all(pack.cells_v[hit] < sound.cells_v[hit] - 0.02)
    assert np.all((pack.cells.temperature_degc > sound.cells.temperature_degc + 0.3)[hit])


def test_the_last_string_cannot_be_lost() -> None:
    with pytest.raises(ValueError, match="cannot lose it"):
        pack_of().lose_string(None, 1)


def test_lifepo4_rests_higher_after_charging_than_after_discharging() -> None:
    spec = PackSpec(chemistry="lifepo4", cells=1, cell_mah=16000.0)
    down, up = (build_pack(spec, np.random.default_rng(1), STEP_S) for _ in range(2))
    for pack, start_frac, power_w in ((down, 0.7, 50.0), (up, 0.3, -50.0)):
        pack.cells.charge_frac[:] = start_frac
        while (pack.cells.charge_frac[0] - 0.5) * power_w > 0:
            fly(pack, power_w, 10.0)
    apart_v = float((up.cells.open_circuit_v() - down.cells.open_circuit_v())[0])
    assert 0.015 < apart_v < 0.03


def test_a_fleet_is_each_pack_alone() -> None:
    spec = PackSpec(chemistry="li-ion", cells=4, cell_mah=4000.0, start_charge_frac=0.6)
    fleet = build_packs(spec, [np.random.default_rng(seed) for seed in range(5)], STEP_S)
    powers_w = np.array([0.0, 40.0, 80.0, -30.0, 5000.0])
    for _ in range(200):
        fleet.apply(powers_w)
        fleet.advance()
    fleet.apply(powers_w)
    for seed, power_w in enumerate(powers_w):
        alone = build_pack(spec, np.random.default_rng(seed), STEP_S)
        fly(alone, float(power_w), 20.0)
        assert fleet.cells_v[seed] == pytest.approx(alone.cells_v, rel=1e-12)
        assert fleet.cells.temperature_degc[seed] == pytest.approx(alone.cells.temperature_degc)


def test_one_seed_is_one_pack_and_another_seed_another() -> None:
    spec = PackSpec(chemistry="lipo", cells=6, cell_mah=5000.0, resistance_mohm_ah=35.0)
    one, same, other = (
        build_pack(spec, np.random.default_rng(seed), STEP_S).cells for seed in (7, 7, 8)
    )
    assert np.array_equal(one.capacity_ah, same.capacity_ah)
    assert np.array_equal(one._rate_c_a, same._rate_c_a)
    assert not np.array_equal(one.capacity_ah, other.capacity_ah)


def test_cells_are_balanced_full_and_apart_below() -> None:
    spec = PackSpec(chemistry="lipo", cells=6, cell_mah=5000.0, resistance_mohm_ah=35.0)
    full = build_pack(spec, np.random.default_rng(1), STEP_S).cells
    half_spec = spec.model_copy(update={"start_charge_frac": 0.5})
    half = build_pack(half_spec, np.random.default_rng(1), STEP_S).cells
    assert np.all(full.charge_frac == 1.0)
    assert np.argmin(half.charge_frac) == np.argmin(half.capacity_ah)
    missing_ah = (1.0 - half.charge_frac) * half.capacity_ah
    assert missing_ah == pytest.approx(np.full(6, missing_ah[0]))


def test_parallel_cells_add_up_and_even_out() -> None:
    single = PackSpec(chemistry="lipo", cells=6, cell_mah=4000.0, resistance_mohm_ah=35.0)
    four = single.model_copy(update={"parallel": 4})
    one = build_pack(single, np.random.default_rng(3), STEP_S).cells
    group = build_pack(four, np.random.default_rng(3), STEP_S).cells
    assert float(group.capacity_ah.mean()) == pytest.approx(16.0 * 0.96, rel=0.02)
    apart = one.capacity_ah / (4.0 * 0.96) - 1.0
    assert group.capacity_ah / (16.0 * 0.96) - 1.0 == pytest.approx(apart / 2.0)


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_a_curve_goes_from_dead_to_full_and_beyond(chemistry: Chemistry) -> None:
    curve_v = open_circuit_curve_v(chemistry.name, 0.0, 0.0)
    at = dict(zip(np.round(CURVE_FRAC, 4), curve_v, strict=True))
    assert at[1.0] == pytest.approx(chemistry.full_cell_v, abs=0.06)
    assert 1.9 < at[0.0] < chemistry.cutoff_cell_v
    assert at[-0.05] == pytest.approx(0.0, abs=1e-9)
    assert np.all(np.diff(curve_v) > -1e-9)


def test_a_bent_curve_is_elsewhere_and_rises() -> None:
    plain_v, bent_v = (
        open_circuit_curve_v("lipo", 0.0, 0.0),
        open_circuit_curve_v("lipo", 0.012, -0.008),
    )
    assert float(np.max(np.abs(bent_v - plain_v))) > 0.01
    assert np.all(np.diff(bent_v) >= 0)


def test_a_curve_that_would_fall_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fall"):
        open_circuit_curve_v("lipo", 0.5, 0.0)


@settings(max_examples=40, deadline=None)
@example(power_w=-2931.0, charge_frac=0.1875, degc=-11.0, resistance_mohm_ah=530.0)
@given(
    power_w=st.floats(-3_000.0, 20_000.0),
    charge_frac=st.floats(0.0, 1.0),
    degc=st.floats(-40.0, 90.0),
    resistance_mohm_ah=st.floats(1.0, 2000.0),
)
def test_no_load_makes_an_impossible_pack(
    power_w: float, charge_frac: float, degc: float, resistance_mohm_ah: float
) -> None:
    pack = pack_of(charge_frac=charge_frac, degc=degc, resistance_mohm_ah=resistance_mohm_ah)
    fly(pack, power_w, 5.0)
    assert np.all(np.isfinite(pack.cells_v))
    assert float(pack.voltage_v) >= 0.0
    assert float(pack.voltage_v * pack.current_a) <= power_w + 1e-6
    assert float(pack.voltage_v * pack.current_a) * np.sign(power_w) >= 0.0
    assert float(pack.heat_wh) >= 0.0
    assert np.all((pack.cells.charge_frac - charge_frac) * np.sign(power_w) <= 0.0)
