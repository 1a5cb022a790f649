# SPDX-License-Identifier: Apache-2.0
"""Validates the simulated cells against PyBaMM and laboratory discharges: `python research/validate.py [--plots FOLDER]`.

1. Against PyBaMM (`dfn.py`): drone-like power loads at temperatures that the fit does not use, with
   self-heating. Errors of voltage and temperature are taken between 10 and 95 % of the charge, at up to
   3C and 0 to 40 degC. Needs the extra `validate`.
2. Against laboratory discharges in `$DRONEBMS_FLIGHTS/real`: capacity, resistance and heat are fitted to
   the first discharge of a cell and validated on its others; the curve and all else stay.

Prints a row for each run, also for those that miss the goal; `--plots` (extra `report`) draws them too.
"""

import argparse
import gzip
import importlib
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dronebms.core.chemistry import chemistry_of
from research.dfn import SETS, FloatArray, Load, ReferenceCell, Trace, stepped
from sim.plant.cell import CellBuild, Cells, open_circuit_curve_v
from sim.plant.cell_parameters import cell_parameters
from sim.plant.pack import Pack

STEP_S = 0.1
COOLING_S = 700.0  # of the judged cells
JUDGED_FRAC, JUDGED_C, JUDGED_DEGC = (0.10, 0.95), 3.0, (0.0, 40.0)
GOAL_MV, GOAL_K = 15.0, 2.0
LAB_CUT_V = 3.0
LAB_FULL_V = {"evtol_vah07": 4.0}  # end of charge of this cell; 4.2 V for the others
LAB_J_K = 45.0  # an 18650 of 45 g with 1000 J/(kg K)
OWN_HEAT = "heavy 12 degC"  # one run with the heat that PyBaMM computes
TRACED, TRACE_STEP_S = ("survey 20 degC", "punch 4 degC"), 10
FULL_H = 1.15 * 3600.0
GUST_S, GUST_CORRELATION = 5.0, 0.5


def gusty(name: str, plan: list[tuple[float, float]], gust_frac: float, seed: int) -> Load:
    """Return a plan of (seconds, power) with gusts, one knot per `GUST_S`; the last part continues."""
    random, value, gust = np.random.default_rng(seed), [], 0.0
    for duration_s, level in plan:
        for _ in range(round(duration_s / GUST_S)):
            gust = GUST_CORRELATION * gust + np.sqrt(1.0 - GUST_CORRELATION**2) * float(
                random.standard_normal()
            )
            value.append(level * max(1.0 + gust_frac * gust, 0.3))
    seconds = np.arange(float(len(value))) * GUST_S
    return Load(name, seconds, np.array(value), is_power=True, is_smooth=True)


def judged_loads() -> Iterator[tuple[Load, float, float]]:
    """Yield load, start temperature and start charge; powers are relative to `rated_w`."""
    survey = [(15.0, 0.02), (10.0, 2.6), (30.0, 2.2), (150.0, 1.3), (700.0, 1.45), (60.0, 2.0), (120.0, 1.2), (FULL_H, 1.4)]  # fmt: skip
    hops = [(120.0, 1.6), (90.0, 0.02), (30.0, 2.4), (200.0, 1.2), (300.0, 0.02)]
    punch = [(25.0, 1.0), (6.0, 2.7)] * 130
    random = np.random.default_rng(77)
    steps = [(float(random.uniform(5, 45)), float(random.uniform(0.3, 2.6))) for _ in range(130)]
    loads = {
        "survey": (gusty("survey", survey, 0.08, 3), (4.0, 20.0, 36.0), 1.0),
        "gusts": (gusty("gusts", [(FULL_H, 1.2)], 0.25, 4), (12.0, 28.0), 1.0),
        "steps": (stepped("steps", steps, is_power=True), (12.0, 30.0), 1.0),
        "hover": (stepped("hover", [(10.0, 0.02), (FULL_H, 1.0)], is_power=True), (4.0, 20.0), 1.0),
        "heavy": (
            stepped("heavy", [(10.0, 0.02), (FULL_H, 2.0)], is_power=True),
            (12.0, 30.0),
            1.0,
        ),
        "punch": (stepped("punch", punch, is_power=True), (4.0, 20.0, 34.0), 1.0),
        "hops": (stepped("hops", hops * 6, is_power=True), (12.0, 30.0), 0.6),
    }
    for load, temperatures_degc, start_frac in loads.values():
        for degc in temperatures_degc:
            yield replace(load, name=f"{load.name} {degc:.0f} degC"), degc, start_frac


def our_cell(build: CellBuild) -> Pack:
    """Return one cell without wires."""
    return Pack(Cells(build, STEP_S), 0.0, STEP_S)


def follow(pack: Pack, t_s: FloatArray, power_w: FloatArray, until_s: FloatArray) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Return voltage and temperature at some times under a power, straight lines between knots."""
    volts, degrees = np.empty(len(until_s)), np.empty(len(until_s))
    steps = np.round(until_s / STEP_S).astype(int)
    load_w = np.interp((np.arange(steps[-1] + 1) + 0.5) * STEP_S, t_s, power_w)
    at_w = np.interp(until_s, t_s, power_w)
    done = 0
    for index, until in enumerate(steps):
        for step in range(done, until):
            pack.apply(load_w[step])
            pack.advance()
        done = until
        pack.apply(at_w[index])
        volts[index], degrees[index] = float(pack.voltage_v), pack.cells.temperature_degc[0]
    return volts, degrees


@dataclass(frozen=True, slots=True)
class Judged:
    """One run and its reference."""

    name: str
    reference: Trace
    voltage_v: FloatArray
    temperature_degc: FloatArray
    counted: npt.NDArray[np.bool_]  # where it is judged

    def figures(self, cutoff_v: float) -> FloatArray:
        """Return RMSE of voltage, mV, the same above a cut-off, its worst, worst temperature, K."""
        error_mv = (self.voltage_v - self.reference.voltage_v) * 1000.0
        error_k = (self.temperature_degc - self.reference.temperature_degc)[self.counted]
        above = self.counted & (self.reference.voltage_v >= cutoff_v)
        rmse_mv, above_mv = (
            np.sqrt(np.mean(error_mv[part] ** 2)) for part in (self.counted, above)
        )
        worst_mv = np.max(np.abs(error_mv[self.counted]))
        return np.array((rmse_mv, above_mv, worst_mv, np.max(np.abs(error_k))))


def judge(cell: ReferenceCell, load: Load, degc: float, start_frac: float, *, own_heat: bool = False) -> Judged:  # fmt: skip
    """Run our cell and the reference under one load."""
    build = CellBuild(
        chemistry=cell.row.chemistry,
        capacity_ah=np.array([cell.capacity_ah]),
        resistance_factor=np.ones(1),
        heat_capacity_j_k_ah=cell.heat_capacity_j_k / cell.capacity_ah,
        curve_v=open_circuit_curve_v(cell.row.chemistry, 0.0, 0.0),
        charge_frac=np.array([start_frac]),
        start_degc=degc,
        ambient_degc=degc,
        cooling_s=COOLING_S * 2.0,  # a cell alone has two free faces
    )
    seconds = np.arange(0.0, load.t_s[-1], 1.0)
    volts, degrees = follow(our_cell(build), load.t_s, load.value, seconds)
    if own_heat:
        reference = cell.run_own_heat(load, degc, start_frac=start_frac, cooling_s=COOLING_S)
    else:
        reference = cell.run_warming(
            load,
            degc,
            start_frac=start_frac,
            cooling_s=COOLING_S,
            guess=(seconds[::5], degrees[::5]),
        )
    lasted = len(reference.t_s)
    volts, degrees = volts[:lasted], degrees[:lasted]
    low, high = JUDGED_FRAC
    counted = (reference.charge_frac >= low) & (reference.charge_frac <= high)
    counted &= np.abs(reference.current_a) <= JUDGED_C * cell.capacity_ah
    low, high = JUDGED_DEGC
    counted &= (reference.temperature_degc >= low) & (reference.temperature_degc <= high)
    return Judged(load.name, reference, volts, degrees, counted)


def trace_row(run: Judged, load: Load, cell: ReferenceCell) -> dict[str, object]:
    """Return a reference run in the form of tests/data: the knots of the load, a sample per 10 s."""
    reference, every = run.reference, slice(None, None, TRACE_STEP_S)
    until = int(np.searchsorted(load.t_s, reference.t_s[-1])) + 1
    arrays = {
        "load_t_s": (load.t_s[:until], 1),
        "load_w": (load.value[:until], 3),
        "t_s": (reference.t_s[every], 1),
        "voltage_v": (reference.voltage_v[every], 4),
        "temperature_degc": (reference.temperature_degc[every], 2),
        "charge_frac": (reference.charge_frac[every], 4),
        "current_a": (reference.current_a[every], 3),
    }
    return {
        "chemistry": cell.row.chemistry,
        "name": run.name,
        "source": cell.row.source,
        "capacity_ah": round(cell.capacity_ah, 5),
        "heat_capacity_j_k": round(cell.heat_capacity_j_k, 4),
        "cooling_s": COOLING_S,
        **{
            name: [round(float(x), digits) for x in values]
            for name, (values, digits) in arrays.items()
        },
    }


def against_pybamm(folder: Path | None, traces: Path | None) -> None:
    """Print the table of every run, with the mean and the worst of each chemistry."""
    traced: list[dict[str, object]] = []
    print(
        "| cell | run | seconds | RMSE mV | RMSE above the cut-off mV | worst mV | temperature rises K | worst error K | |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in SETS:
        cell, rows, cutoff_v = ReferenceCell(row), [], chemistry_of(row.chemistry).cutoff_cell_v
        runs = [(plan, degc, start_frac, False) for plan, degc, start_frac in judged_loads()]
        runs += [(replace(run[0], name=f"{run[0].name}, own heat"), *run[1:3], True) for run in runs if run[0].name == OWN_HEAT]  # fmt: skip
        for plan, degc, start_frac, own_heat in runs:
            load = replace(plan, value=plan.value * cell.rated_w())
            run = judge(cell, load, degc, start_frac, own_heat=own_heat)
            if not np.any(run.counted):
                print(f"| {row.chemistry} | {run.name} | 0 | | | | | | above 40 degC at once |")
                continue
            figures = run.figures(cutoff_v)
            rise_k = float(np.max(run.reference.temperature_degc[run.counted])) - degc
            missed = "misses" if figures[0] > GOAL_MV or figures[-1] > GOAL_K else ""
            print(
                f"| {row.chemistry} | {run.name} | {np.sum(run.counted)} | {figures[0]:.1f} | {figures[1]:.1f} | {figures[2]:.0f} | {rise_k:.1f} | {figures[3]:.2f} | {missed} |",
                flush=True,
            )
            if not own_heat:
                rows.append(figures)
            if run.name in TRACED:
                traced.append(trace_row(run, load, cell))
            if folder is not None:
                draw(run, f"{row.chemistry} {run.name}", folder)
        for name, over in ((f"mean of {len(rows)}", np.mean), ("worst", np.max)):
            whole = over(np.array(rows), axis=0)
            print(
                f"| {row.chemistry} | {name} | | {whole[0]:.1f} | {whole[1]:.1f} | {whole[2]:.0f} | | {whole[3]:.2f} | |"
            )
    if traces is not None:
        text = json.dumps(traced, separators=(",", ":"))
        traces.write_bytes(gzip.compress(text.encode("ascii"), mtime=0))


@dataclass(frozen=True, slots=True)
class Discharge:
    """A laboratory discharge, a value a second; the measured rows are at whole seconds `rows`."""

    name: str
    pack_id: str
    rated_ah: float
    current_a: FloatArray
    rows: npt.NDArray[np.intp]
    voltage_v: FloatArray
    temperature_degc: FloatArray


def discharges(folder: Path) -> Iterator[Discharge]:
    """Yield the discharges of single cells in a folder of flights, a cell's in order."""
    for path in sorted(folder.glob("*.json")):
        pack_data = json.loads(path.read_text(encoding="utf-8"))
        if pack_data["cells"] != 1 or pack_data["chemistry"] != "li-ion":
            continue
        with gzip.open(path.with_suffix(".csv.gz"), "rt", encoding="utf-8") as file:
            table = np.genfromtxt(file, delimiter=",", names=True)
        rows = np.round(table["t_s"] - table["t_s"][0]).astype(np.intp)
        seconds = np.arange(rows[-1] + 1)
        nearest = np.searchsorted((rows[1:] + rows[:-1]) / 2.0, seconds)
        yield Discharge(
            path.stem,
            pack_data["pack_id"],
            pack_data["capacity_mah"] / 1000.0,
            table["current_a"][nearest],
            rows,
            table["voltage_v"],
            table["temperature_degc"],
        )


def followed(run: Discharge, capacity_ah: FloatArray, factor: FloatArray, cooling_s: float) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Return voltage and temperature at the rows, `(rows, candidates)`."""
    start_degc = float(run.temperature_degc[0])
    shape = (capacity_ah.size, 1)
    build = CellBuild(
        chemistry="li-ion",
        capacity_ah=capacity_ah.reshape(shape),
        resistance_factor=factor.reshape(shape),
        heat_capacity_j_k_ah=LAB_J_K / run.rated_ah,
        curve_v=open_circuit_curve_v("li-ion", 0.0, 0.0),
        charge_frac=np.ones(shape),
        start_degc=start_degc,
        ambient_degc=start_degc,
        cooling_s=cooling_s * 2.0,
    )
    rest_v = cell_parameters("li-ion").rest_v
    full_frac = np.interp(
        LAB_FULL_V.get(run.pack_id, rest_v[-1]), rest_v, np.linspace(0, 1, len(rest_v))
    )
    build.charge_frac[:] = full_frac
    cells, seen = Cells(build, 1.0), []
    for current_a in run.current_a[:, None]:
        source_v, ohm = cells.thevenin(current_a)
        cells_v = source_v - current_a * ohm
        seen.append((cells_v[:, 0], cells.temperature_degc[:, 0]))
        cells.advance(current_a, cells_v)
    volts, degrees = (np.array(part)[run.rows] for part in zip(*seen, strict=True))
    return volts, degrees


def misfit_mv(run: Discharge, volts: FloatArray) -> FloatArray:
    """Return the RMSE of voltage of each candidate above the cut-off, mV."""
    counted = run.voltage_v >= LAB_CUT_V
    misfit: FloatArray = np.sqrt(np.mean((volts - run.voltage_v[:, None])[counted] ** 2, axis=0))
    return misfit * 1000.0


def fitted(run: Discharge) -> tuple[float, float, float]:
    """Return the capacity in Ah, resistance factor and cooling time in s with the least error."""
    capacity_ah, factor, cooling_s = run.rated_ah, 1.0, COOLING_S
    for span in (0.5, 0.15, 0.05):
        grid = np.geomspace(1.0 / (1.0 + span), 1.0 + span, 15)
        capacities, factors = (
            part.ravel() for part in np.meshgrid(capacity_ah * grid, factor * grid**3)
        )
        volts, _ = followed(run, capacities, factors, cooling_s)
        best = int(np.argmin(misfit_mv(run, volts)))
        capacity_ah, factor = float(capacities[best]), float(factors[best])
        one = np.array([capacity_ah]), np.array([factor])
        tried = {s: followed(run, *one, s)[1][:, 0] for s in cooling_s * np.geomspace(0.5, 2.0, 9)}
        cooling_s = min(tried, key=lambda s: float(np.mean((tried[s] - run.temperature_degc) ** 2)))
    return capacity_ah, factor, cooling_s


def against_discharges(folder: Path) -> None:
    """Print the errors on further discharges of a cell that was fitted to its first."""
    print(
        "| discharge | capacity Ah | resistance | cooling s | RMSE mV | temperature error K, mean and worst |"
    )
    print("|---|---|---|---|---|---|")
    known: dict[str, tuple[float, float, float]] = {}
    for run in discharges(folder):
        new = run.pack_id not in known
        if new:
            known[run.pack_id] = fitted(run)
        capacity_ah, factor, cooling_s = known[run.pack_id]
        volts, degrees = followed(run, np.array([capacity_ah]), np.array([factor]), cooling_s)
        rmse_mv = float(misfit_mv(run, volts)[0])
        error_k = np.abs(degrees[:, 0] - run.temperature_degc)
        mark = " (fitted)" if new else ""
        print(
            f"| {run.name}{mark} | {capacity_ah:.2f} | {factor:.2f} | {cooling_s:.0f} | {rmse_mv:.0f} | {np.mean(error_k):.1f}, {np.max(error_k):.1f} |",
            flush=True,
        )


def draw(run: Judged, title: str, folder: Path) -> None:
    """Write a plot of a run."""
    plt = importlib.import_module("matplotlib.pyplot")

    figure, (top, middle, low) = plt.subplots(3, 1, sharex=True, figsize=(8, 7))
    reference = run.reference
    for axis, ours, theirs, label in (
        (top, run.voltage_v, reference.voltage_v, "voltage, V"),
        (low, run.temperature_degc, reference.temperature_degc, "temperature, degC"),
    ):
        axis.plot(reference.t_s, theirs, "k", lw=1.0, label="reference")
        axis.plot(reference.t_s, ours, "r--", lw=1.0, label="ours")
        axis.set_ylabel(label)
    middle.plot(reference.t_s, (run.voltage_v - reference.voltage_v) * 1000.0, "b", lw=0.8)
    middle.set_ylabel("error, mV")
    top.legend()
    top.set_title(title)
    low.set_xlabel("seconds")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{title.replace(' ', '_')}.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0], allow_abbrev=False)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--traces",
        type=Path,
        metavar="FILE",
        help="write the reference runs of tests/data/cells.json.gz",
    )
    options = parser.parse_args()
    if importlib.util.find_spec("pybamm") is None:
        print("PyBaMM is not installed: its part is skipped; pip install -e '.[validate]'")
    else:
        against_pybamm(options.plots, options.traces)
    flights = os.environ.get("DRONEBMS_FLIGHTS")
    if flights is None:
        print("DRONEBMS_FLIGHTS is not set: the laboratory discharges are skipped")
    else:
        against_discharges(Path(flights) / "real")


if __name__ == "__main__":
    main()
