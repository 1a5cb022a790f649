# SPDX-License-Identifier: Apache-2.0
"""Computes fleets with PyBaMM's cells: sister packs of one model that fly on one vehicle.

    PYTHONPATH=. python research/make_fleets.py FOLDER FIRST LAST

Needs PyBaMM, as `make_flights.py`, whose cells and loads it uses. Of the three packs of a fleet the
first flies three times, the second twice, the third once, each flight at another temperature, from
another charge and with another load about the same hover. Geometry, transport and curve belong to
the model; sister packs differ from it a little, and each has aged by itself. The last digit of the
seed selects the parameter set.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pybamm  # type: ignore[import-not-found,unused-ignore]  # an environment of its own has it

from research import making
from research.make_flights import (
    NO_THERMAL_DATA,
    SETS,
    THERMAL,
    ZERO_DEGC_K,
    Pack,
    cool,
    flown_by,
    scaled,
    vary,
)

FLIGHTS = 3, 2, 1  # of each sister
AMBIENT_DEGC = (-5.0, 35.0)
STARTS = (1.0, 1.0, 1.0, 0.97, 0.9, 0.75, 0.6)
MOST_LEFT = 0.6
FADE_SPREAD = 0.03  # of the sisters' fade about that of their fleet


@dataclass(frozen=True)
class Fleet:
    """What the sister packs have in common."""

    name: str
    base: str
    values: Any
    chemistry: str
    cutoff_v: float
    cells: int
    new_ah: float  # capacity of a new cell
    rated_ah: float  # of the pack
    scale: float
    hover_w: float  # of a cell
    fade: float
    compensated: bool
    gauge: bool


def draw(seed: int, rng: np.random.Generator) -> Fleet:
    """Draw the fleet of a seed."""
    base, (chemistry, hovers_c), cutoffs_v = SETS[seed % len(SETS)]
    values = pybamm.ParameterValues(base)
    if base in NO_THERMAL_DATA:
        other = pybamm.ParameterValues("Marquis2019")
        thermal = [key for key in list(other.keys()) if any(word in key for word in THERMAL)]
        missing = {key: other[key] for key in thermal if key not in values}
        values.update(missing, check_already_exists=False)
    vary(values, 0.0, rng, bend_v=0.006 if chemistry == "lifepo4" else 0.01)
    cutoff_v = float(rng.choice(cutoffs_v))
    values["Lower voltage cut-off [V]"] = cutoff_v - 0.5
    cool(values, rng.uniform(400, 1500))
    if chemistry == "lifepo4":  # isothermal at ambient, as in `make_flights`
        values["Total heat transfer coefficient [W.m-2.K-1]"] = 2000.0
    new_ah = capacity_ah(values)
    rated_ah = float(round(rng.uniform(5, 30) * 2) / 2)
    return Fleet(
        name=f"T{seed:03d}",
        base=base,
        values=values,
        chemistry=chemistry,
        cutoff_v=cutoff_v,
        cells=int(rng.choice([4, 6, 12])),
        new_ah=new_ah,
        rated_ah=rated_ah,
        scale=rated_ah / new_ah / rng.uniform(0.98, 1.06),
        hover_w=rng.uniform(*hovers_c) * new_ah * 3.7,
        fade=rng.uniform(0.0, 0.18),
        compensated=rng.uniform() < making.COMPENSATED,
        gauge=rng.uniform() >= making.NO_GAUGE,
    )


def capacity_ah(values: Any) -> float:  # noqa: ANN401 - PyBaMM's values
    """Return the capacity of a cell between empty and full."""
    low, high = pybamm.lithium_ion.get_min_max_stoichiometries(values)[:2]
    return float(values.evaluate(pybamm.LithiumIonParameters().n.Q_init)) * float(high - low)


def sister(fleet: Fleet, index: int, rng: np.random.Generator) -> Pack:
    """Draw a pack of a fleet."""
    values = fleet.values.copy()
    fade = float(np.clip(rng.normal(fleet.fade, FADE_SPREAD), 0.0, 0.22))
    for law in ("diffusivity [m2.s-1]", "conductivity [S.m-1]"):
        key = f"Electrolyte {law}"
        values[key] = scaled(values[key], float(np.exp(rng.normal(0, 0.05))))
    for electrode in ("Positive", "Negative"):
        values[f"{electrode} particle radius [m]"] *= float(np.exp(rng.normal(0, 0.04)))
        values[f"{electrode} electrode active material volume fraction"] *= 1 - 0.6 * fade
    ohm_ah = rng.uniform(3e-3, 10e-3) + 0.1 * fade * rng.uniform(0.3, 1.5)
    values["Contact resistance [Ohm]"] = ohm_ah / fleet.new_ah
    weak = rng.uniform(0.03, 0.08) if rng.uniform() < making.WEAK else rng.uniform(0.005, 0.025)
    cell_ah = capacity_ah(values)
    return Pack(
        values=values,
        name=f"{fleet.name}_{fleet.base}_{index}",
        chemistry=fleet.chemistry,
        cutoff_v=fleet.cutoff_v,
        cells=fleet.cells,
        cell_ah=cell_ah,
        rated_ah=fleet.rated_ah / fleet.scale,
        scale=fleet.scale,
        hover_c=fleet.hover_w / 3.7 / cell_ah,
        weak_capacity=1 - weak,
        weak_ohm=rng.uniform(1, 1.5),
        compensated=fleet.compensated,
        stale=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.15)),
    )


def fly(fleet: Fleet, pack: Pack, index: int, rng: np.random.Generator, folder: Path) -> None:
    """Compute a flight and write it, unless it does not reach its end."""
    charge, ambient = float(rng.choice(STARTS)), rng.uniform(*AMBIENT_DEGC)
    degc = max(ambient, 20.0) if rng.uniform() < 0.3 else ambient  # noqa: PLR2004 - kept warm
    values = pack.values.copy()
    kelvin = {"Ambient": ambient, "Initial": degc, "Reference": 25.0}
    values.update({f"{key} temperature [K]": at + ZERO_DEGC_K for key, at in kelvin.items()})
    payload = rng.uniform(0.95, 1.1)
    lasts_s = min(3600 * 1.4 / pack.hover_c, 5500)
    times_s, watts, takeoff_s = making.load(rng, payload * fleet.hover_w, lasts_s)
    flown = flown_by(pack, values, (times_s, watts), charge, rng)
    made = making.Making(
        name=pack.name,
        chemistry=pack.chemistry,
        cutoff_v=pack.cutoff_v,
        cells=pack.cells,
        rated_ah=fleet.rated_ah,
        full_ah=pack.cell_ah * pack.scale,
        compensated=pack.compensated,
        stale=pack.stale,
        gauge=fleet.gauge,
    )
    end = making.end_of(flown.cells_v, pack.cutoff_v)
    if end is None or end - takeoff_s < making.SHORTEST_S or flown.charge[end] > MOST_LEFT:
        print(pack.name, index, "has no end, or ends at once", flush=True)
        return
    side = making.sidecar(made, index, takeoff_s, "PyBaMM (DFN, lumped thermal), make_fleets.py")
    side |= {"pack_model": f"{fleet.name} {fleet.base}", "vehicle": f"{fleet.name} multirotor"}
    making.write(folder, making.columns(made, flown, end, rng), end, side)


def main() -> None:
    """Compute the fleets of a range of seeds."""
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, last):
        rng = np.random.default_rng(7000 + seed)
        fleet = draw(seed, rng)
        for which, flights in enumerate(FLIGHTS):
            pack = sister(fleet, which, rng)
            for index in range(flights):
                try:
                    fly(fleet, pack, index, rng, folder)
                except pybamm.SolverError as error:
                    print(pack.name, index, f"the solver gave up: {error}", flush=True)


if __name__ == "__main__":
    main()
