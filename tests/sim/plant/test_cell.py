# SPDX-License-Identifier: Apache-2.0
"""Our cell against the electrochemical model it was fitted to, under loads not used by the fit.

The references are runs of PyBaMM, written by `research/validate.py --traces`, which judges many
more and prints the table of docs/virtual_pack.md.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dronebms.core.chemistry import CHEMISTRIES, Chemistry, chemistry_of
from sim.plant.cell import CellBuild, Cells, open_circuit_curve_v
from sim.plant.cell_parameters import COLUMNS, cell_parameters, interpolated
from sim.plant.pack import Pack

STEP_S = 0.1
TRACES = Path(__file__).parents[2] / "data" / "cells.json.gz"
RUNS = ("survey 20 degC", "punch 4 degC")
each_trace = pytest.mark.parametrize(
    ("chemistry", "run"), [(c, r) for c in ("lipo", "li-ion", "lifepo4") for r in RUNS]
)
each_chemistry = pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)


@cache
def traces() -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads(gzip.decompress(TRACES.read_bytes()))
    return {(row["chemistry"], row["name"]): row for row in rows}


@cache
def flown(chemistry: str, run: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return our voltage and temperature at the samples of a reference, and the reference."""
    row = traces()[chemistry, run]
    known = {key: np.array(value) for key, value in row.items() if isinstance(value, list)}
    build = CellBuild(
        chemistry=chemistry,
        capacity_ah=np.array([row["capacity_ah"]]),
        resistance_factor=np.ones(1),
        heat_capacity_j_k_ah=row["heat_capacity_j_k"] / row["capacity_ah"],
        curve_v=open_circuit_curve_v(chemistry, 0.0, 0.0),
        charge_frac=np.ones(1),
        start_degc=known["temperature_degc"][0],
        ambient_degc=known["temperature_degc"][0],
        cooling_s=row["cooling_s"] * 2.0,  # a cell alone has two free faces
    )
    pack = Pack(Cells(build, STEP_S), 0.0, STEP_S)
    steps = np.round(known["t_s"] / STEP_S).astype(int)
    middle_s = (np.arange(steps[-1]) + 0.5) * STEP_S
    asked_w = np.interp(middle_s, known["load_t_s"], known["load_w"]).tolist()
    at_w = np.interp(known["t_s"], known["load_t_s"], known["load_w"])
    volts, degrees, done = [], [], 0
    for until, power_w in zip(steps.tolist(), at_w.tolist(), strict=True):
        for step in range(done, until):
            pack.apply(asked_w[step])
            pack.advance()
        done = until
        pack.apply(power_w)
        volts.append(float(pack.voltage_v))
        degrees.append(float(pack.cells.temperature_degc[0]))
    return np.array(volts), np.array(degrees), known


def judged(known: dict[str, np.ndarray], capacity_ah: float) -> np.ndarray:
    """The range of validation: 10 to 95 % of the charge, to 3C, 0 to 40 degC."""
    part = (known["charge_frac"] >= 0.10) & (known["charge_frac"] <= 0.95)
    part &= (known["temperature_degc"] >= 0.0) & (known["temperature_degc"] <= 40.0)
    part &= np.abs(known["current_a"]) <= 3.0 * capacity_ah
    return part


@each_trace
def test_the_voltage_is_within_15_mv_rms_of_the_electrochemical_model(
    chemistry: str, run: str
) -> None:
    """Down to the usual cut-off: the last seconds of LiFePO4 miss, see docs/virtual_pack.md."""
    volts, _, known = flown(chemistry, run)
    part = judged(known, traces()[chemistry, run]["capacity_ah"])
    part &= known["voltage_v"] >= chemistry_of(chemistry).cutoff_cell_v
    assert np.sum(part) > 40
    assert float(np.sqrt(np.mean((volts - known["voltage_v"])[part] ** 2))) <= 0.015


@each_trace
def test_the_temperature_is_within_2_k_of_the_electrochemical_model(
    chemistry: str, run: str
) -> None:
    _, degrees, known = flown(chemistry, run)
    part = judged(known, traces()[chemistry, run]["capacity_ah"])
    rise_k = np.ptp(known["temperature_degc"][part])
    assert rise_k > 2.5
    assert float(np.max(np.abs(degrees - known["temperature_degc"])[part])) <= 2.0


@each_chemistry
def test_every_number_of_a_row_is_present_and_possible(chemistry: Chemistry) -> None:
    row = cell_parameters(chemistry.name)
    assert row.chemistry == chemistry.name
    assert "PyBaMM" in row.source
    assert np.all(np.diff(row.rest_v) >= 0)
    assert np.all(np.diff(row.temperature_degc) > 0)
    assert np.all(np.abs(row.entropy_v_k) < 0.002)
    assert tuple(row.tables) == COLUMNS
    temperatures, knots = len(row.temperature_degc), len(row.knots_frac)
    assert {table.shape for table in row.tables.values()} == {
        (temperatures,),
        (temperatures, knots),
    }
    assert all(np.all(table > 0) for table in row.tables.values())


@each_chemistry
def test_a_cell_is_as_fitted_at_the_fitted_temperatures_and_held_beyond(
    chemistry: Chemistry,
) -> None:
    row = cell_parameters(chemistry.name)
    degrees = row.temperature_degc
    for charge_frac, knot in ((0.0, 0), (0.3, None), (1.0, -1)):
        charges = np.full(len(degrees), charge_frac)
        for name, seen in zip(COLUMNS, interpolated(chemistry.name, charges, degrees), strict=True):
            table = row.tables[name]
            if table.ndim == 1:
                assert seen == pytest.approx(table, rel=1e-3)
            elif knot is not None:
                assert seen == pytest.approx(table[:, knot], rel=1e-2)
    far = interpolated(chemistry.name, np.array([-0.3, 1.4]), np.array([-60.0, 100.0]))
    ends = interpolated(chemistry.name, np.array([0.0, 1.0]), degrees[[0, -1]])
    assert far == pytest.approx(ends)


def test_entropy_cools_or_heats_without_a_loss() -> None:
    """A LiPo at a hundredth of 1C loses next to nothing and warms by T dU/dT all the same."""
    build = CellBuild(
        chemistry="lipo",
        capacity_ah=np.ones(1),
        resistance_factor=np.full(1, 1e-3),
        heat_capacity_j_k_ah=20.0,
        curve_v=open_circuit_curve_v("lipo", 0.0, 0.0),
        charge_frac=np.full(1, 0.5),
        start_degc=25.0,
        ambient_degc=25.0,
        cooling_s=1e9,
    )
    cells = Cells(build, 1.0)
    row = cell_parameters("lipo")
    entropy_v_k = float(np.interp(0.475, np.linspace(0, 1, len(row.entropy_v_k)), row.entropy_v_k))
    for _ in range(1800):
        source_v, ohm = cells.thevenin(np.full(1, 0.1))
        cells.advance(np.full(1, 0.1), source_v - 0.1 * ohm)
    expected_k = -298.15 * entropy_v_k * 180.0 / 20.0
    assert abs(expected_k) > 0.3
    lost_k = float(cells.heat_j[0]) / 20.0
    risen_k = float(cells.temperature_degc[0]) - 25.0
    assert risen_k - lost_k == pytest.approx(expected_k, rel=0.1)
    assert lost_k < 0.2 * abs(expected_k)
