# SPDX-License-Identifier: Apache-2.0
"""Computes flights with PyBaMM's cells, to fit the estimator's parameters and to validate it.

    PYTHONPATH=. python research/make_flights.py FOLDER FIRST LAST

Needs PyBaMM (pip install pybamm, in a separate environment). Each pack is a cell of a published
parameter set with its own geometry, transport, curve and ageing, drawn from its seed; the last digit of the
seed selects the set. A mean cell is solved under the power of the load, then the weakest cell of the pack under
the resulting current. The 23 validation flights use the first nine sets too, with other packs.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pybamm  # type: ignore[import-not-found,unused-ignore]  # an environment of its own has it

from research import making
from research.making import Flown, Making

Array = npt.NDArray[np.float64]
LIPO, LI_ION = ("lipo", (1.8, 3.1)), ("li-ion", (0.88, 1.4))  # hover in capacities an hour
# Parameter set: chemistry and hover, cut-offs in volts.
SETS = (
    ("Chen2020", LI_ION, (3.0,)),
    ("OKane2022", LI_ION, (3.0,)),
    ("ORegan2022", LI_ION, (3.0,)),
    ("Marquis2019", ("lipo", (2.2, 3.2)), (3.2, 3.3)),
    ("Ecker2015", LIPO, (3.3,)),
    ("NCA_Kim2011", LIPO, (3.3,)),
    ("Mohtat2020", LIPO, (3.3,)),
    ("Ai2020", LIPO, (3.3,)),
    ("Prada2013", ("lifepo4", (1.2, 2.0)), (2.6,)),
    ("Ramadass2004", LIPO, (3.3,)),
)
NO_THERMAL_DATA = "Ramadass2004", "Prada2013"
MESH = {"x_n": 12, "x_s": 8, "x_p": 12, "r_n": 14, "r_p": 14}
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
STARTS = ((1.0, 1.0, 0.97), (0.6, 0.7, 0.8, 0.9, 0.97), (0.97, 0.9, 0.8, 0.75))
ZERO_DEGC_K, MOST_LEFT = 273.15, 0.5


@dataclass(frozen=True)
class Pack:
    """The drawn properties of one pack."""

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


def scaled(law: Any, factor: float) -> Any:  # noqa: ANN401 - PyBaMM's expressions
    """Return a transport law times a factor."""

    def changed(x: Any, kelvin: Any) -> Any:  # noqa: ANN401 - as above
        return factor * (law(x, kelvin) if callable(law) else law)

    return changed


def bent(curve: Any, sizes_v: Array, phases: Array) -> Any:  # noqa: ANN401 - as above
    """Return an electrode's open-circuit curve with waves added, as makes differ."""
    first, second = (float(size) for size in sizes_v)

    def changed(share: Any) -> Any:  # noqa: ANN401 - as above
        waves = first * pybamm.sin(3 * share + float(phases[0]))
        return curve(share) + waves + second * pybamm.sin(7 * share + float(phases[1]))

    return changed


def draw(seed: int, rng: np.random.Generator) -> Pack:
    """Draw the pack of a seed."""
    base, (chemistry, hovers_c), cutoffs_v = SETS[seed % len(SETS)]
    cutoff_v = float(rng.choice(cutoffs_v)) if len(cutoffs_v) > 1 else cutoffs_v[0]
    values = pybamm.ParameterValues(base)
    if base in NO_THERMAL_DATA:
        other = pybamm.ParameterValues("Marquis2019")
        missing = [
            key
            for key in list(other.keys())
            if key not in values and any(word in key for word in THERMAL)
        ]
        values.update({key: other[key] for key in missing}, check_already_exists=False)
    fade = rng.uniform(0, 0.2)
    vary(values, fade, rng, bend_v=0.006 if chemistry == "lifepo4" else 0.01)
    values["Lower voltage cut-off [V]"] = cutoff_v - 0.5
    low, high = pybamm.lithium_ion.get_min_max_stoichiometries(values)[:2]
    lithium = float(values.evaluate(pybamm.LithiumIonParameters().n.Q_init))
    cell_ah = lithium * (high - low)
    new_ah = cell_ah / (1 - 0.6 * fade)
    ohm_ah = rng.uniform(3e-3, 10e-3) + 0.1 * fade * rng.uniform(0.3, 1.5)
    values["Contact resistance [Ohm]"] = ohm_ah / new_ah
    cool(values, rng.uniform(400, 1500))
    if chemistry == "lifepo4":  # isothermal at ambient, as in the validation flights
        values["Total heat transfer coefficient [W.m-2.K-1]"] = 2000.0
    weak = rng.uniform(0.03, 0.08) if rng.uniform() < making.WEAK else rng.uniform(0.005, 0.025)
    return Pack(
        values=values,
        name=f"G{seed:03d}_{base}",
        chemistry=chemistry,
        cutoff_v=cutoff_v,
        cells=int(rng.choice([4, 6, 12])),
        cell_ah=cell_ah,
        rated_ah=new_ah * rng.uniform(0.98, 1.06),
        scale=round(rng.uniform(5, 30) * 2) / 2 / new_ah,
        hover_c=rng.uniform(*hovers_c),
        weak_capacity=1 - weak,
        weak_ohm=rng.uniform(1, 1.5),
        compensated=rng.uniform() < making.COMPENSATED,
        stale=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.15)),
    )


def vary(values: Any, fade: float, rng: np.random.Generator, *, bend_v: float) -> None:  # noqa: ANN401 - PyBaMM's values
    """Vary the values of a set: makes differ and packs age."""
    for law in ("diffusivity [m2.s-1]", "conductivity [S.m-1]"):
        key = f"Electrolyte {law}"
        values[key] = scaled(values[key], float(np.exp(rng.normal(0, 0.15))))
    thin = float(np.exp(rng.normal(0, 0.12)))
    for electrode in ("Positive", "Negative"):
        values[f"{electrode} electrode thickness [m]"] *= thin
        values[f"{electrode} particle radius [m]"] *= float(np.exp(rng.normal(0, 0.12)))
        values[f"{electrode} electrode active material volume fraction"] *= 1 - 0.6 * fade
    key = "Positive electrode OCP [V]"
    values[key] = bent(values[key], rng.normal(0, bend_v, 2), rng.uniform(0, 2 * np.pi, 2))


def cool(values: Any, tau_s: float) -> None:  # noqa: ANN401 - PyBaMM's values
    """Set the thermal time constant of a drone's pack."""
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
        var_pts=MESH,
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


def flown_by(
    pack: Pack,
    values: Any,  # noqa: ANN401 - PyBaMM's values
    drive: tuple[Array, Array],
    charge: float,
    rng: np.random.Generator,
) -> Flown:
    """Return the response of a pack: its mean cell under the power, the weakest under the current.

    Args:
        pack: its properties.
        values: of its mean cell in this flight.
        drive: seconds and watts of a cell.
        charge: at the start.
        rng: draws where the other cells lie.
    """
    t_s, mean_v, amps, kelvins, used_ah = solve(values, "power", *drive, charge)
    for electrode in ("Positive", "Negative"):
        values[f"{electrode} electrode active material volume fraction"] *= pack.weak_capacity
    values["Contact resistance [Ohm]"] *= pack.weak_ohm
    weak_s, weak_v, *_ = solve(values, "current", t_s, amps, charge)
    count = min(len(t_s), len(weak_s))
    share = np.r_[1.0, rng.uniform(-0.9, 0.6, pack.cells - 1)]
    share[1:] -= share.sum() / (pack.cells - 1) * 0.9
    rng.shuffle(share)
    cells_v = mean_v[:count, None] + (weak_v[:count] - mean_v[:count])[:, None] * share[None, :]
    return Flown(
        t_s[:count],
        cells_v,
        cells_v.sum(axis=1),
        amps[:count] * pack.scale,
        kelvins[:count] - ZERO_DEGC_K,
        charge - used_ah[:count] / pack.cell_ah,
        used_ah[:count] * pack.scale,
    )


def fly(pack: Pack, index: int, rng: np.random.Generator, folder: Path) -> None:
    """Compute a flight and write it, unless it does not reach its end."""
    charge, ambient = float(rng.choice(STARTS[index])), float(rng.choice(AMBIENT_DEGC))
    warmed = rng.uniform() > 0.6  # noqa: PLR2004 - four in ten
    degc = max(ambient, float(rng.choice([18, 25]))) if warmed else ambient
    values = pack.values.copy()
    kelvin = {"Ambient": ambient, "Initial": degc, "Reference": 25.0}
    values.update({f"{key} temperature [K]": at + ZERO_DEGC_K for key, at in kelvin.items()})
    lasts_s = min(3600 * 1.4 / pack.hover_c, 4500)
    times_s, watts, takeoff_s = making.load(rng, pack.hover_c * pack.cell_ah * 3.7, lasts_s)
    flown = flown_by(pack, values, (times_s, watts), charge, rng)
    write_if_ended(pack, flown, (index, takeoff_s), rng, folder)


def write_if_ended(
    pack: Pack, flown: Flown, flight: tuple[int, float], rng: np.random.Generator, folder: Path
) -> None:
    """Write a flight (its index and take-off) if it has an end.

    A flight that ends half full is left out: no maker sells that pack for that load.
    """
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
        print(pack.name, index, "does not end, or ends at once", flush=True)
        return
    if flown.charge[end] > MOST_LEFT:
        print(pack.name, index, "ends half full", flush=True)
        return
    table = making.columns(made, flown, end, rng)
    source = "PyBaMM (DFN, lumped thermal), by make_flights.py"
    making.write(folder, table, end, making.sidecar(made, index, takeoff_s, source))


def main() -> None:
    """Compute the flights of the packs of a range of seeds."""
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, last):
        rng = np.random.default_rng(5000 + seed)
        pack = draw(seed, rng)
        for index in range(len(STARTS)):
            try:
                fly(pack, index, rng, folder)
            except pybamm.SolverError as error:
                print(pack.name, index, f"the solver gave up: {error}")


if __name__ == "__main__":
    main()
