"""More computed flights to fit the estimator's constants on: `make_flights.py FOLDER FIRST LAST`.

Needs PyBaMM (pip install pybamm, in an environment of its own). Each pack is a cell of a published
parameter set with a geometry, transport and ageing of its own, drawn from its seed: a mean cell
under the load's power, and the pack's weakest cell under the current that this makes. Sets:
Chen2020 and Ramadass2004, none of the sets of the flights that come with the tests. Format:
DESIGN.md, section 4. The gauges count charge with a stale full charge, or tell what can be used.
"""

import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pybamm  # type: ignore[import-not-found,unused-ignore]  # an environment of its own has it

Array = npt.NDArray[np.float64]
SETS = (("Chen2020", 3.0, "li-ion"), ("Ramadass2004", 3.3, "lipo"), ("Chen2020", 3.2, "lipo"))
THERMAL = (
    "density",
    "heat",
    "hermal cond",
    "Cell ",
    "transfer",
    "temperature",
    "current collector",
)
# Phase: power over hover, shortest and longest in seconds, gusts, how often.
PHASES = (
    (1.00, 60, 200, 0.04, 0.20),
    (0.92, 60, 240, 0.05, 0.28),
    (1.22, 40, 200, 0.07, 0.15),
    (1.42, 15, 50, 0.04, 0.10),
    (0.75, 20, 60, 0.05, 0.07),
    (1.08, 60, 240, 0.16, 0.12),
    (0.85, 60, 240, 0.05, 0.08),
)
AMBIENT_DEGC = (-5, 10, 25, 40)
STARTS = ((1.0,), (0.6, 0.7, 0.8, 0.9, 0.97), (0.97, 0.9, 0.8, 0.75))
ZERO_DEGC_K, GAS = 273.15, 8.314
SHORTEST_S, INSTANT_V, MEAN_S = 150.0, 0.25, 5


@dataclass(frozen=True)
class Pack:
    """One pack as it was drawn."""

    values: Any
    name: str
    chemistry: str
    cutoff_v: float
    cells: int
    cell_ah: float
    rated_ah: float
    scale: float  # parallel cells, in effect
    hover_c: float
    weak_capacity: float
    weak_ohm: float
    compensated: bool
    stale: float


def arrhenius(kelvin: Any, joule_mol: float) -> Any:  # noqa: ANN401 - PyBaMM's expressions
    """Return the factor at a temperature, 1 at 25 degC."""
    return pybamm.exp(joule_mol / GAS * (1 / 298.15 - 1 / kelvin))


def scaled(law: Any, factor: float, joule_mol: float) -> Any:  # noqa: ANN401 - as above
    """Return a transport law times a factor, with a temperature dependence."""

    def changed(x: Any, kelvin: Any) -> Any:  # noqa: ANN401 - as above
        return factor * arrhenius(kelvin, joule_mol) * (law(x, kelvin) if callable(law) else law)

    return changed


def draw(seed: int, rng: np.random.Generator) -> Pack:
    """Return a pack of a seed."""
    base, cutoff_v, chemistry = SETS[rng.integers(0, len(SETS))]
    values = pybamm.ParameterValues(base)
    if base == "Ramadass2004":  # the set has no thermal data
        other = pybamm.ParameterValues("Marquis2019")
        missing = [
            key
            for key in list(other.keys())
            if key not in values and any(word in key for word in THERMAL)
        ]
        values.update({key: other[key] for key in missing}, check_already_exists=False)
    thin = rng.uniform(0.35, 0.9) if chemistry == "lipo" else rng.uniform(0.75, 1.05)
    fade = rng.uniform(0, 0.2)
    for law in ("diffusivity [m2.s-1]", "conductivity [S.m-1]"):
        key = f"Electrolyte {law}"
        values[key] = scaled(
            values[key], float(np.exp(rng.normal(0.25, 0.3))), rng.uniform(10e3, 25e3)
        )
    for electrode in ("Positive", "Negative"):
        values[f"{electrode} electrode thickness [m]"] *= thin
        values[f"{electrode} particle radius [m]"] *= np.exp(rng.normal(-0.15, 0.3))
        values[f"{electrode} electrode active material volume fraction"] *= 1 - 0.6 * fade
        key = f"{electrode} particle diffusivity [m2.s-1]"
        values[key] = scaled(
            values[key], float(np.exp(rng.normal(0.3, 0.5))), rng.uniform(15e3, 40e3)
        )
    values["Lower voltage cut-off [V]"], values["Upper voltage cut-off [V]"] = cutoff_v - 0.5, 4.2
    low, high = pybamm.lithium_ion.get_min_max_stoichiometries(values)[:2]
    lithium = float(values.evaluate(pybamm.LithiumIonParameters().n.Q_init))
    cell_ah = lithium * (high - low)
    new_ah = cell_ah / (1 - 0.6 * fade)
    values["Contact resistance [Ohm]"] = rng.uniform(3e-3, 25e-3) / new_ah
    cool(values, rng.uniform(400, 1500))
    weak = rng.uniform(0.03, 0.08) if rng.uniform() < 0.3 else rng.uniform(0.005, 0.025)  # noqa: PLR2004 - three in ten
    return Pack(
        values=values,
        name=f"T{seed:02d}_{base}_{chemistry}",
        chemistry=chemistry,
        cutoff_v=cutoff_v,
        cells=int(rng.choice([4, 6, 12])),
        cell_ah=cell_ah,
        rated_ah=new_ah * rng.uniform(0.97, 1.06),
        scale=round(rng.uniform(5, 30) * 2) / 2 / new_ah,
        hover_c=rng.uniform(0.75, 1.1) if chemistry == "li-ion" else rng.uniform(1.4, 3.2),
        weak_capacity=1 - weak,
        weak_ohm=rng.uniform(1.0, 1.5),
        compensated=rng.uniform() < 0.35,  # noqa: PLR2004 - a third
        stale=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.15)),
    )


def cool(values: Any, tau_s: float) -> None:  # noqa: ANN401 - PyBaMM's values
    """Give a cell the thermal time constant of a drone's pack."""
    parts = ("Negative electrode", "Positive electrode", "Separator")
    thick_m = sum(values[f"{part} thickness [m]"] for part in parts)
    volume = 1.15 * thick_m * values["Electrode height [m]"] * values["Electrode width [m]"]
    values["Cell volume [m3]"] = volume
    values["Cell cooling surface area [m2]"] = volume * 2e6 / tau_s / 20.0
    values["Total heat transfer coefficient [W.m-2.K-1]"] = 20.0


def load(rng: np.random.Generator, hover_w: float, lasts_s: float) -> tuple[Array, Array, float]:
    """Return (seconds, watts of a cell, take-off) of a flight that goes on until the pack ends."""
    t_s = np.arange(0, lasts_s + 1)
    level, gust = np.full_like(t_s, 0.02), np.zeros_like(t_s)
    takeoff_s = rng.uniform(10, 25)
    level[t_s >= takeoff_s] = rng.uniform(1.3, 1.6)
    at_s = takeoff_s + rng.uniform(10, 20)
    while at_s < lasts_s:
        power, shortest, longest, gusty, _ = PHASES[
            rng.choice(len(PHASES), p=[row[4] for row in PHASES])
        ]
        level[t_s >= at_s], gust[t_s >= at_s] = power * rng.normal(1, 0.06), gusty
        at_s += rng.uniform(shortest, longest)
    wind = np.zeros_like(t_s)
    for k in range(1, len(t_s)):
        wind[k] = wind[k - 1] * (1 - 1 / 6) + rng.normal() * np.sqrt(2 / 6)
    level = np.convolve(np.r_[level[0], level[0], level], np.ones(3) / 3, "valid")
    return t_s, hover_w * level * np.exp(gust * np.clip(wind, -3, 3) * 0.8), float(takeoff_s)


def solve(values: Any, mode: str, t_s: Array, drive: Array, charge: float) -> tuple[Array, ...]:  # noqa: ANN401 - as above
    """Return (seconds, volts, amperes, kelvin, Ah) of a cell under power or current."""
    options = {"thermal": "lumped", "contact resistance": "true"}
    if mode == "power":
        options["operating mode"] = "power"
    given = values.copy()
    name = "Power function [W]" if mode == "power" else "Current function [A]"
    given.update({name: pybamm.Interpolant(t_s, drive, pybamm.t)}, check_already_exists=False)
    simulation = pybamm.Simulation(
        pybamm.lithium_ion.DFN(options),
        parameter_values=given,
        solver=pybamm.IDAKLUSolver(rtol=1e-4, atol=1e-5),
    )
    solution = simulation.solve(t_s, initial_soc=min(charge, 0.999))  # at 1 the voltage limit trips
    at_s = np.arange(0, np.floor(solution.t[-1]) + 0.5)
    names = (
        "Terminal voltage [V]",
        "Current [A]",
        "X-averaged cell temperature [K]",
        "Discharge capacity [A.h]",
    )
    return at_s, *(solution[name](at_s) for name in names)


def fly(pack: Pack, index: int, rng: np.random.Generator, folder: Path) -> None:
    """Compute a flight and write it; one that does not reach its end is left out."""
    charge, ambient = float(rng.choice(STARTS[index])), float(rng.choice(AMBIENT_DEGC))
    kept_warm = rng.uniform() > 0.6  # noqa: PLR2004 - four in ten
    degc = max(ambient, float(rng.choice([18, 25]))) if kept_warm else ambient
    values = pack.values.copy()
    kelvin = {"Ambient": ambient, "Initial": degc, "Reference": 25.0}
    values.update({f"{key} temperature [K]": at + ZERO_DEGC_K for key, at in kelvin.items()})
    lasts_s = min(3600 * 1.4 / pack.hover_c, 4500)
    times_s, watts, takeoff_s = load(rng, pack.hover_c * pack.cell_ah * 3.7, lasts_s)
    t_s, mean_v, amps, kelvins, used_ah = solve(values, "power", times_s, watts, charge)
    for electrode in ("Positive", "Negative"):
        values[f"{electrode} electrode active material volume fraction"] *= pack.weak_capacity
    values["Contact resistance [Ohm]"] *= pack.weak_ohm
    weak_s, weak_v, *_ = solve(values, "current", t_s, amps, charge)
    count = min(len(t_s), len(weak_s))
    share = np.r_[1.0, rng.uniform(-0.9, 0.6, pack.cells - 1)]
    share[1:] -= share.sum() / (pack.cells - 1) * 0.9
    rng.shuffle(share)
    cells_v = mean_v[:count, None] + (weak_v[:count] - mean_v[:count])[:, None] * share[None, :]
    lowest_v = cells_v.min(axis=1)
    five_v = np.array([lowest_v[max(0, k - MEAN_S + 1) : k + 1].mean() for k in range(count)])
    ended = np.flatnonzero((five_v <= pack.cutoff_v) | (lowest_v <= pack.cutoff_v - INSTANT_V))
    if not len(ended) or t_s[ended[0]] - takeoff_s < SHORTEST_S:
        print(pack.name, index, "does not end, or at once")
        return
    end = int(ended[0])
    full_ah = pack.cell_ah * (1 + pack.stale)
    if pack.compensated:
        full_ah = (used_ah[end] - used_ah[0]) * (1 + rng.normal(0, 0.04)) / charge
    remaining_ah = full_ah * charge * (1 + rng.normal(0, 0.012)) - used_ah[:count]
    pack_a = np.round(
        amps[:count] * pack.scale * (1 + rng.normal(0, 0.005)) + rng.uniform(-0.03, 0.03), 2
    )
    columns = {
        "t_s": t_s[:count],
        "voltage_v": cells_v.sum(axis=1) + rng.normal(0, 0.002, count),
        "current_a": pack_a,
        "temperature_degc": np.round(kelvins[:count] - ZERO_DEGC_K + rng.uniform(-0.7, 0.7), 1),
        **{
            f"cell{k + 1}_v": cells_v[:, k] + rng.normal(0, 0.001, count) for k in range(pack.cells)
        },
        "gauge_soc_pct": np.round(100 * np.clip(remaining_ah / full_ah, 0, 1)),
        "gauge_remaining_mah": np.maximum(remaining_ah, 0) * pack.scale * 1e3,
        "gauge_full_mah": np.full(count, full_ah * pack.scale * 1e3),
        "truth_soc_frac": charge - used_ah[:count] / pack.cell_ah,
        "truth_remaining_s": np.maximum(t_s[end] - t_s[:count], 0),
        "truth_power_w": mean_v[:count] * amps[:count] * pack.cells * pack.scale,
    }
    name = f"{pack.name}_{index}"
    with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8") as file:
        file.write(",".join(columns) + "\n")
        np.savetxt(file, np.column_stack(list(columns.values()))[: end + 6], "%.4f", ",")
    sidecar = {
        "cells": pack.cells,
        "capacity_mah": round(pack.rated_ah * pack.scale * 10) * 100,
        "chemistry": pack.chemistry,
        "cutoff_cell_v": pack.cutoff_v,
        "pack_id": pack.name,
        "flight_index": index,
        "takeoff_s": round(takeoff_s, 1),
        "source": "computed with PyBaMM (DFN, lumped thermal) by benchmarks/make_flights.py",
        "licence": "our own computation",
        "truth": {"t_end_s": float(t_s[end]), "soc_end": float(columns["truth_soc_frac"][end])},
    }
    (folder / f"{name}.json").write_text(json.dumps(sidecar, indent=1), encoding="utf-8")
    print(name, f"{t_s[end] - takeoff_s:.0f} s, {100 * columns['truth_soc_frac'][end]:.0f} % left")


def main() -> None:
    """Make the packs of some seeds."""
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, last):
        rng = np.random.default_rng(1000 + seed)
        pack = draw(seed, rng)
        for index in range(len(STARTS)):
            try:
                fly(pack, index, rng, folder)
            except pybamm.SolverError as error:
                print(pack.name, index, f"the solver gave up: {error}")


if __name__ == "__main__":
    main()
