"""Flights of PyBaMM's cells to fit the estimator's constants on.

    PYTHONPATH=. python benchmarks/make_flights.py FOLDER FIRST LAST

Needs PyBaMM (pip install pybamm, in an environment of its own). Each pack is a cell of a published
parameter set with a geometry, transport, curve and ageing of its own, drawn from its seed: a mean cell
under the load's power, and the pack's weakest cell under the current that this makes. Sets:
Chen2020 and Ramadass2004, none of the sets of the flights that come with the tests.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pybamm  # type: ignore[import-not-found,unused-ignore]  # an environment of its own has it

from benchmarks import making
from benchmarks.making import Flown, Making

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
AMBIENT_DEGC = (-5, 10, 25, 40)
STARTS = ((1.0,), (0.6, 0.7, 0.8, 0.9, 0.97), (0.97, 0.9, 0.8, 0.75))
ZERO_DEGC_K, GAS = 273.15, 8.314


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


def bent(curve: Any, sizes_v: Array, phases: Array) -> Any:  # noqa: ANN401 - as above
    """Return an electrode's open-circuit curve with waves in it: no two makes are alike."""
    first, second = (float(size) for size in sizes_v)

    def changed(share: Any) -> Any:  # noqa: ANN401 - as above
        waves = first * pybamm.sin(3 * share + float(phases[0]))
        return curve(share) + waves + second * pybamm.sin(7 * share + float(phases[1]))

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
    values["Positive electrode OCP [V]"] = bent(
        values["Positive electrode OCP [V]"], rng.normal(0, 0.02, 2), rng.uniform(0, 2 * np.pi, 2)
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
    times_s, watts, takeoff_s = making.load(rng, pack.hover_c * pack.cell_ah * 3.7, lasts_s)
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
    flown = Flown(
        t_s[:count],
        cells_v,
        cells_v.sum(axis=1),
        amps[:count] * pack.scale,
        kelvins[:count] - ZERO_DEGC_K,
        charge - used_ah[:count] / pack.cell_ah,
        used_ah[:count] * pack.scale,
    )
    keep(pack, flown, (index, takeoff_s), rng, folder)


def keep(
    pack: Pack, flown: Flown, flight: tuple[int, float], rng: np.random.Generator, folder: Path
) -> None:
    """Write a flight (its index and take-off) if it has an end."""
    made = Making(
        name=pack.name,
        chemistry=pack.chemistry,
        cutoff_v=pack.cutoff_v,
        cells=pack.cells,
        rated_ah=pack.rated_ah * pack.scale,
        full_ah=pack.cell_ah * pack.scale,
        compensated=pack.compensated,
        stale=pack.stale,
    )
    index, takeoff_s = flight
    end = making.end_of(flown.cells_v, pack.cutoff_v)
    if end is None or end - takeoff_s < making.SHORTEST_S:
        print(pack.name, index, "does not end, or at once", flush=True)
        return
    table = making.columns(made, flown, end, rng)
    source = "PyBaMM (DFN, lumped thermal), by make_flights.py"
    making.write(folder, table, end, making.sidecar(made, index, takeoff_s, source))


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
