"""Cells and pack: balances that must close, and the direction of what depends on what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.chemistry import CHEMISTRIES, LIPO, Chemistry
from sim.cell import CellBuild, Cells, truth_curve_v
from sim.pack import Pack, build_pack
from sim.packspec import PackSpec

STEP_S = 0.1


def pack_of(
    *,
    shape: tuple[int, ...] = (6,),
    charge_frac: float = 1.0,
    degc: float = 25.0,
    wire_ohm: float = 0.002,
    resistance_mohm_ah: float = 35.0,
) -> Pack:
    build = CellBuild(
        capacity_ah=np.full(shape, 16.0),
        resistance_mohm_ah=np.full(shape, resistance_mohm_ah),
        curve_v=truth_curve_v(LIPO, 0.01, -0.005),
        charge_frac=np.full(shape, charge_frac),
        start_degc=degc,
        ambient_degc=degc,
        cooling_s=900.0,
    )
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


def stored_wh(curve_v: np.ndarray, from_frac: float, to_frac: float, capacity_ah: float) -> float:
    charge = np.linspace(to_frac, from_frac, 20_001)
    knots = np.concatenate(((-0.05,), np.linspace(0, 1, 101)))
    open_v = np.interp(charge, knots, curve_v)
    return float(np.sum((open_v[1:] + open_v[:-1]) / 2 * np.diff(charge))) * capacity_ah


@pytest.mark.parametrize("power_w", [50.0, 400.0, 800.0, 1500.0])
def test_the_terminals_give_the_power_that_is_asked(power_w: float) -> None:
    pack = pack_of()
    for _ in range(200):
        pack.apply(power_w)
        assert float(pack.voltage_v * pack.current_a) == pytest.approx(power_w, rel=1e-12)
        pack.advance()


def test_what_leaves_the_cells_is_what_passed_the_terminals() -> None:
    pack = pack_of()
    fly(pack, 800.0, 900.0)
    left_ah = float(np.mean((1.0 - pack.cells.charge_frac) * pack.cells.capacity_ah))
    assert float(pack.drawn_ah) > 8.0
    assert left_ah == pytest.approx(float(pack.drawn_ah), rel=1e-9)


@pytest.mark.parametrize("degc", [0.0, 25.0])
def test_stored_energy_is_delivered_or_becomes_heat(degc: float) -> None:
    pack = pack_of(degc=degc)
    delivered_wh = fly(pack, 800.0, 1000.0)
    end_frac = float(pack.cells.charge_frac[0])
    gone_wh = 6 * stored_wh(truth_curve_v(LIPO, 0.01, -0.005), 1.0, end_frac, 16.0)
    assert float(pack.heat_wh) > 3.0
    assert delivered_wh + float(pack.heat_wh) == pytest.approx(gone_wh, rel=1e-3)


def test_the_wire_takes_its_share_of_the_voltage() -> None:
    pack = pack_of(wire_ohm=0.01)
    pack.apply(800.0)
    assert float(pack.cells_v.sum() - pack.voltage_v) == pytest.approx(0.01 * pack.current_a)


def test_a_pack_that_is_asked_too_much_gives_the_most_it_can_and_says_so() -> None:
    pack = pack_of(charge_frac=0.1, degc=-20.0)
    pack.apply(100.0)
    assert not pack.overloaded
    rested_v = float(pack.cells.open_circuit_v().sum())
    pack.apply(1e6)
    assert pack.overloaded
    assert float(pack.voltage_v) == pytest.approx(rested_v / 2)  # matched load


def test_a_pack_that_is_flown_to_death_stays_a_number_and_stops_giving() -> None:
    pack = pack_of(charge_frac=0.02)
    fly(pack, 900.0, 400.0)
    assert pack.overloaded
    assert float(pack.current_a) < 0.1
    assert np.all(np.isfinite(pack.cells_v))
    assert np.all(np.isfinite(pack.cells.temperature_degc))


def test_resistance_is_what_it_is_named_after_20_s_of_load() -> None:
    pack = pack_of(charge_frac=0.6, wire_ohm=0.0)
    rest_v = float(pack.cells.open_circuit_v()[0])
    pack.apply(0.0)
    for _ in range(round(20.0 / STEP_S)):
        pack.current_a = np.float64(16.0)
        pack.cells.advance(np.array([16.0]), np.zeros(6), pack.cells.resistance_ohm())
    ohm = pack.cells.resistance_ohm()[0, 0]
    sag_v = float(pack.cells.polarisation_v[:, 0].sum() + 16.0 * ohm)
    assert rest_v > 3.8
    assert sag_v == pytest.approx(0.035, rel=0.01)  # 35 mohm Ah at 1 C


@pytest.mark.parametrize(("warm", "cold"), [(25.0, 10.0), (10.0, -10.0), (45.0, 25.0)])
def test_a_colder_cell_resists_more(warm: float, cold: float) -> None:
    assert np.all(
        pack_of(degc=cold).cells.resistance_ohm() > 1.1 * pack_of(degc=warm).cells.resistance_ohm()
    )


def test_an_almost_empty_cell_resists_more() -> None:
    empty, half = pack_of(charge_frac=0.03), pack_of(charge_frac=0.5)
    assert np.all(empty.cells.resistance_ohm() > 1.5 * half.cells.resistance_ohm())


def test_a_load_heats_and_a_rest_cools_with_the_time_constant() -> None:
    pack = pack_of(degc=20.0)
    fly(pack, 1500.0, 300.0)
    hot_degc = float(pack.cells.temperature_degc[0])
    assert hot_degc > 25.0
    fly(pack, 0.0, 900.0)
    cooled = (float(pack.cells.temperature_degc[0]) - 20.0) / (hot_degc - 20.0)
    assert cooled == pytest.approx(np.exp(-1), rel=0.02)


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
    assert rested_v == pytest.approx(float(pack.cells.open_circuit_v()[0]), abs=1e-3)


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


def test_one_seed_is_one_pack_and_another_seed_another() -> None:
    spec = PackSpec(chemistry="lipo", cells=6, cell_mah=5000.0, resistance_mohm_ah=35.0)
    one, same, other = (
        build_pack(spec, np.random.default_rng(seed), STEP_S).cells for seed in (7, 7, 8)
    )
    assert np.array_equal(one.capacity_ah, same.capacity_ah)
    assert np.array_equal(one.resistance_ohm(), same.resistance_ohm())
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
def test_an_unbent_curve_passes_through_the_chemistry_table(chemistry: Chemistry) -> None:
    curve_v = truth_curve_v(chemistry, 0.0, 0.0)[1:]
    assert curve_v[::5] == pytest.approx(np.array(chemistry.ocv_v))


def test_a_bent_curve_is_elsewhere_and_rises() -> None:
    plain_v, bent_v = truth_curve_v(LIPO, 0.0, 0.0), truth_curve_v(LIPO, 0.012, -0.008)
    assert float(np.max(np.abs(bent_v - plain_v))) > 0.01
    assert np.all(np.diff(bent_v) > 0)


def test_a_curve_that_would_fall_is_refused() -> None:
    with pytest.raises(ValueError, match="falls nowhere"):
        truth_curve_v(LIPO, 0.5, 0.0)


@settings(max_examples=40, deadline=None)
@given(
    power_w=st.floats(0.0, 20_000.0),
    charge_frac=st.floats(0.0, 1.0),
    degc=st.floats(-40.0, 90.0),
    resistance_mohm_ah=st.floats(1.0, 2000.0),
)
def test_no_load_makes_a_pack_that_cannot_be(
    power_w: float, charge_frac: float, degc: float, resistance_mohm_ah: float
) -> None:
    pack = pack_of(charge_frac=charge_frac, degc=degc, resistance_mohm_ah=resistance_mohm_ah)
    fly(pack, power_w, 5.0)
    assert 0.0 <= float(pack.voltage_v) <= 6 * 4.3
    assert 0.0 <= float(pack.voltage_v * pack.current_a) <= power_w * (1 + 1e-9)
    assert float(pack.heat_wh) >= 0.0
    assert np.all(pack.cells.charge_frac <= charge_frac)
