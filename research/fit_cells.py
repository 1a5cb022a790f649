# SPDX-License-Identifier: Apache-2.0
"""Fits the cells of `sim/cells/*.json` to published parameter sets: `python research/fit_cells.py`.

Runs pulse, rest, constant-current and stepped tests of a Doyle-Fuller-Newman cell (`dfn.py`) at each
temperature of the table and finds the parameters of `sim.plant.cell` with the least squared error. The fit of a temperature
starts from its warmer or colder neighbour with a penalty on the difference, so that the tables are smooth.
Takes some minutes. Needs the extra `validate`. `validate.py` uses other loads.

No parameter set of a LiHV cell is published: its row is the LiPo one with the end of the curve
extrapolated to 4.35 V and the same tables over the longer charge.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares
from scipy.signal import lfilter

from research.dfn import SETS, FloatArray, Load, ReferenceCell, ReferenceSet, Trace, stepped
from sim.plant.cell_parameters import COLUMNS, CURVE_FRAC, CellParameters, extended_curve_v

FOLDER = Path(__file__).parents[1] / "sim" / "cells"
TEMPERATURES_DEGC = (25.0, 16.0, 8.0, 0.0, -10.0, 32.0, 40.0, 55.0)  # in the order of the fits
KNOTS_FRAC = np.array((0.0, 0.03, 0.07, 0.12, 0.2, 0.3, 0.42, 0.55, 0.68, 0.8, 0.9, 1.0))
CURVE_POINTS = 401
LIHV_FULL_V = 4.35
ROUNDS, FIRST_ROUNDS = 40, 200
_MV = 1000.0
_ERROR_MV = 10.0  # residual of one
_SAMPLES = 2000.0  # every test has the weight of this number of samples
_LEAST_FRAC, _LEAST_ABOVE_CUT_V = 0.02, 0.02  # below these, a sample has little weight
_FAINT = 0.05
_HOLD_TABLES, _HOLD_SCALARS = 4.0, 10.0  # to the neighbour, per factor of e
_MOST_DEPLETION = 0.98
_JUDGED_FRAC, _JUDGED_C = (0.10, 0.95), 3.01
SCALARS = (
    "pair_s", "depletion_s", "fast_depletion_s", "lag_s", "fast_lag_s",
    "lag_frac", "fast_lag_frac", "fast_share", "depletion_v", "transfer_v", "starved_v",
)  # fmt: skip
TABLES = ("pair_v", "ohmic_v", "exchange_c", "depletion")
_START = {
    "lag_frac": 0.02, "lag_s": 40.0, "fast_lag_frac": 0.005, "fast_lag_s": 5.0, "depletion_s": 150.0, "fast_depletion_s": 20.0, "fast_share": 0.4,
    "depletion_v": 0.1, "pair_s": 60.0, "transfer_v": 0.06, "starved_v": 0.01,
    "ohmic_v": 0.03, "pair_v": 0.02, "exchange_c": 0.5, "depletion": 0.2,
}  # fmt: skip


def tests(capacity_ah: float) -> list[Load]:
    """Return the tests of a cell: pulses with rests, constant currents, steps."""
    pulses = [(10.0, 0.0)]
    for _ in range(16):
        pulses += [(20, 2.0), (40, 0.0), (10, 3.0), (30, 0.0), (20, 0.5), (10, -1.0), (20, 0.0)]
        pulses += [(180, 1.0), (240, 0.0)]
    random = np.random.default_rng(11)
    steps = [(5.0, 0.0)]
    while sum(duration_s * rate_c for duration_s, rate_c in steps) < 1.1 * 3600.0:
        rate_c = float(random.choice((0.3, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0)))
        steps.append((float(random.integers(15, 120)), rate_c))
    named = {"pulses": pulses, "steps": steps}
    named |= {f"{c:g}C": [(5.0, 0.0), (float(round(3780.0 / c)), c)] for c in (0.5, 1.0, 2.0, 3.0)}
    return [
        stepped(name, [(s, rate_c * capacity_ah) for s, rate_c in steps])
        for name, steps in named.items()
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """One test with the arrays that the fit needs."""

    name: str
    rate_c: FloatArray
    charge_frac: FloatArray
    hats: FloatArray  # (samples, knots): weights of the tables' knots
    target_v: FloatArray
    warmer_v: FloatArray  # change of the open-circuit voltage by temperature
    weight: FloatArray


def case_of(trace: Trace, cell: ReferenceCell, warmer_v: FloatArray) -> Case:
    """Return a test with its weights."""
    charge_frac = trace.charge_frac
    sure = (charge_frac > _LEAST_FRAC) & (trace.voltage_v > cell.row.cut_v + _LEAST_ABOVE_CUT_V)
    weight = np.where(sure, 1.0, _FAINT) * np.sqrt(_SAMPLES / max(len(sure), 400))
    hats = np.array([np.interp(charge_frac, KNOTS_FRAC, row) for row in np.eye(len(KNOTS_FRAC))]).T
    return Case(
        trace.name, trace.current_a / cell.capacity_ah, charge_frac, hats,
        trace.voltage_v, warmer_v, weight,
    )  # fmt: skip


def lagged(drive: FloatArray, time_s: float) -> FloatArray:
    """Return a first-order lag of one value a second; each value holds for the second before it."""
    gain = 1.0 - np.exp(-1.0 / time_s)
    after: FloatArray = np.asarray(lfilter([gain], [1.0, gain - 1.0], drive), dtype=np.float64)
    return after


def voltage_v(
    parameters: FloatArray, case: Case, curve: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Return the voltage of `sim.plant.cell` under a known current; the parameters are logarithms."""
    scalar = dict(zip(SCALARS, np.exp(parameters[: len(SCALARS)]), strict=True))
    tables = np.exp(case.hats @ parameters[len(SCALARS) :].reshape(len(TABLES), -1).T)
    table = dict(zip(TABLES, tables.T, strict=True))
    rate_c = case.rate_c
    lag_frac = lagged(scalar["lag_frac"] * rate_c, scalar["lag_s"])
    lag_frac = lag_frac + lagged(scalar["fast_lag_frac"] * rate_c, scalar["fast_lag_s"])
    pull = table["depletion"] * rate_c
    depleted = lagged(pull, scalar["depletion_s"])
    depleted = depleted + scalar["fast_share"] * lagged(pull, scalar["fast_depletion_s"])
    left = 1.0 - np.minimum(depleted, _MOST_DEPLETION)
    beyond = (depleted - 1.0 + left) / (1.0 - _MOST_DEPLETION)
    volts: FloatArray = (
        np.interp(case.charge_frac - lag_frac, *curve)
        + case.warmer_v
        - lagged(table["pair_v"] * rate_c, scalar["pair_s"])
        - table["ohmic_v"] * rate_c
        - scalar["transfer_v"] * np.arcsinh(rate_c / (2.0 * table["exchange_c"]))
        + scalar["depletion_v"] * (np.log(left) - beyond)
        - scalar["starved_v"] * rate_c * (1.0 - left) / left
    )
    return volts


def fitted(
    cases: Sequence[Case],
    curve: tuple[FloatArray, FloatArray],
    start: FloatArray,
    *,
    hold: float,
    rounds: int,
) -> FloatArray:
    """Return the logarithms of the parameters of one temperature."""
    holds = np.full(len(start), _HOLD_TABLES)
    holds[: len(SCALARS)] = _HOLD_SCALARS

    def residuals(parameters: FloatArray) -> FloatArray:
        tables = parameters[len(SCALARS) :].reshape(len(TABLES), -1)
        errors = [
            (voltage_v(parameters, case, curve) - case.target_v) * case.weight * (_MV / _ERROR_MV)
            for case in cases
        ]
        rough = np.diff(tables, 2, axis=1).ravel()
        return np.concatenate((*errors, rough, (parameters - start) * holds * hold))

    found = least_squares(residuals, start, loss="soft_l1", f_scale=3.0, max_nfev=rounds)
    return np.asarray(found.x, dtype=np.float64)


def residual_text(
    parameters: FloatArray, cases: Iterable[Case], curve: tuple[FloatArray, FloatArray]
) -> str:
    """Return the RMS error of each test over the judged range."""
    texts = []
    for case in cases:
        low, high = _JUDGED_FRAC
        judged = (case.charge_frac > low) & (case.charge_frac < high)
        judged &= np.abs(case.rate_c) < _JUDGED_C
        if np.any(judged):
            error_v = (voltage_v(parameters, case, curve) - case.target_v)[judged]
            texts.append(f"{case.name} {np.sqrt(np.mean(error_v**2)) * _MV:.1f}")
    return ", ".join(texts)


def fit(row: ReferenceSet) -> CellParameters:
    """Return the row of a chemistry."""
    cell = ReferenceCell(row)
    charge_frac = np.linspace(0.0, 1.0, CURVE_POINTS)
    rest_v, entropy_v_k = cell.open_circuit(charge_frac)
    rest_v = np.maximum.accumulate(rest_v)  # a published table has dents of 1 mV
    curve = (CURVE_FRAC, extended_curve_v(rest_v))
    initial = [_START[name] for name in SCALARS]
    initial += [_START[name] for name in TABLES for _ in KNOTS_FRAC]
    found: dict[float, FloatArray] = {}
    for degc in TEMPERATURES_DEGC:
        near = min(found, key=lambda known: abs(known - degc), default=None)
        cases = []
        for load in tests(cell.capacity_ah):
            trace = cell.run(load, degc)
            warmer_v = np.interp(trace.charge_frac, charge_frac, entropy_v_k) * (degc - 25.0)
            cases.append(case_of(trace, cell, warmer_v))
        start = np.log(initial) if near is None else found[near]
        hold, rounds = (0.01, FIRST_ROUNDS) if near is None else (1.0, ROUNDS)
        found[degc] = fitted(cases, curve, start, hold=hold, rounds=rounds)
        print(
            f"{row.chemistry} {degc:5.1f} degC, mV: {residual_text(found[degc], cases, curve)}",
            flush=True,
        )
    degrees = sorted(found)
    values = np.exp(np.array([found[degc] for degc in degrees]))
    columns = {name: values[:, index] for index, name in enumerate(SCALARS)}
    tables = values[:, len(SCALARS) :].reshape(len(degrees), len(TABLES), -1)
    columns |= {name: tables[:, index] for index, name in enumerate(TABLES)}
    columns["fast_depletion"] = columns["depletion"] * columns["fast_share"][:, None]
    return CellParameters(
        chemistry=row.chemistry,
        source=row.source,
        heat_capacity_j_k_ah=cell.heat_capacity_j_k / cell.capacity_ah,
        rest_v=rest_v,
        entropy_v_k=entropy_v_k,
        temperature_degc=np.array(degrees),
        knots_frac=KNOTS_FRAC,
        tables={name: columns[name] for name in COLUMNS},
    )


def lihv(row: CellParameters) -> CellParameters:
    """Return a LiPo row extrapolated to 4.35 V."""
    charge_frac = np.linspace(0.0, 1.0, len(row.rest_v))
    curve_v = extended_curve_v(row.rest_v)
    full_frac = float(np.interp(LIHV_FULL_V, curve_v, CURVE_FRAC))
    longer = charge_frac * full_frac
    return CellParameters(
        chemistry="lihv",
        source=f"the LiPo row extrapolated to {LIHV_FULL_V} V; no set of a LiHV cell is published. "
        + row.source,
        heat_capacity_j_k_ah=row.heat_capacity_j_k_ah / full_frac,
        rest_v=np.interp(longer, CURVE_FRAC, curve_v),
        entropy_v_k=np.interp(longer, charge_frac, row.entropy_v_k),
        temperature_degc=row.temperature_degc,
        knots_frac=np.append(row.knots_frac[:-1] / full_frac, 1.0),
        tables=row.tables,
    )


def write(row: CellParameters, path: Path) -> None:
    """Write a row as JSON, one array a line."""

    def line(values: FloatArray, digits: int = 5) -> str:
        return json.dumps([float(f"{value:.{digits}g}") for value in values])

    def block(arrays: Mapping[str, FloatArray]) -> str:
        parts = []
        for name, values in arrays.items():
            text = (
                line(values)
                if values.ndim == 1
                else "[\n    " + ",\n    ".join(map(line, values)) + "]"
            )
            parts.append(f"  {json.dumps(name)}: {text}")
        return "{\n" + ",\n".join(parts) + "}"

    entries = {
        "chemistry": json.dumps(row.chemistry),
        "source": json.dumps(row.source),
        "heat_capacity_j_k_ah": f"{row.heat_capacity_j_k_ah:.4g}",
        "rest_v": line(row.rest_v, 6),
        "entropy_v_k": line(row.entropy_v_k, 4),
        "temperature_degc": line(row.temperature_degc),
        "knots_frac": line(row.knots_frac),
        "tables": block(row.tables),
    }
    text = ",\n".join(f"{json.dumps(key)}: {value}" for key, value in entries.items())
    path.write_text("{\n" + text + "\n}\n", encoding="utf-8")


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0], allow_abbrev=False)
    names = [row.chemistry for row in SETS]
    parser.add_argument("chemistry", nargs="*", help=", ".join(names))
    wanted = parser.parse_args().chemistry or names
    FOLDER.mkdir(exist_ok=True)
    for reference in SETS:
        if reference.chemistry in wanted:
            row = fit(reference)
            write(row, FOLDER / f"{row.chemistry}.json")
            if row.chemistry == "lipo":
                write(lihv(row), FOLDER / "lihv.json")


if __name__ == "__main__":
    main()
