# SPDX-License-Identifier: Apache-2.0
"""Judges the estimated state of every cell: `python benchmarks/cellstates.py FIRST LAST [FOLDER [SCENARIO ...]]`.

Flies virtual packs of the seeds FIRST to LAST, drawn by `research/make_virtual.py`: partly used or full,
cell charges 0.5 % apart, some cells weak, half of the packs without a gauge, a third of the gauges wrong by 15 %
of the charge, cells read with 1 mV and up to 0.4 s apart. Compares the estimate of each cell with the pack once a
minute. With a folder of flights whose sidecars hold the capacities of the cells and whose rows hold the charge of
the mean cell, judges those too; likewise the scenarios of `dronebms sim` that are named after it, with a row for
the weakest cell. Per cent; for capacity and resistance of the true value.
Resistance is the voltage drop after 20 s of the present current, divided by that current.
"""

import copy
import csv
import gzip
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.scoring import read_judged
from dronebms.core.chemistry import chemistry_of
from dronebms.core.pack_data import PackData
from dronebms.core.report import CellState
from dronebms.estimation.estimator import Estimator
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from research import make_virtual, making
from research.making import Array
from sim.plant.pack import Pack
from smartbattery.snapshot import Identity, Snapshot

EACH_S, LEAST_S, LASTS_S, OHM_S = 60, 200, 6000.0, 20
APART, STALE_S, NOISE_V, GAUGE_SD = 0.006, 0.4, 0.0007, 0.012
GAUGE_ERRORS = 0.0, 0.0, 0.0, 0.0, -0.15, 0.15  # errors of the gauges, fraction of the charge
Judged = tuple[str, float, float]  # quantity, error, standard deviation


def ohms_of(pack: Pack) -> Array | None:
    """Return the resistance of each cell after 20 s of the present current; `None` without one."""
    amps = np.array([float(pack.current_a)])
    if amps < 1.0:
        return None
    return np.asarray((_after(pack, 0 * amps) - _after(pack, amps)) / amps)


def _after(pack: Pack, load_a: Array) -> Array:
    cells = copy.deepcopy(pack.cells)
    cells_v = pack.cells_v
    for _ in range(OHM_S + 1):
        source_v, ohm = cells.thevenin(load_a)
        cells_v = source_v - load_a * ohm
        cells.advance(load_a, cells_v)
    return np.asarray(cells_v)


def virtual(seed: int) -> Iterator[Judged]:
    """Fly a virtual pack until its end, and yield the errors of the cell states."""
    rng = np.random.default_rng([seed, 77])
    spec = make_virtual.draw(rng)
    start, ambient = float(rng.choice(make_virtual.STARTS)), float(rng.choice([-5, 10, 25, 40]))
    spec = spec.model_copy(
        update={"start_charge_frac": start, "ambient_degc": ambient, "start_degc": max(ambient, 5)}
    )
    hover_c, cutoff_v, _ = make_virtual.ROWS[spec.chemistry]
    pack_data = PackData(
        chemistry_of(spec.chemistry), spec.cells, spec.rated_mah, float(rng.uniform(*cutoff_v))
    )
    pack = make_virtual.built(spec, make_virtual.curve(spec.chemistry, rng), rng)
    pack.cells.charge_frac -= abs(rng.normal(0, APART, spec.cells))
    nominal_v = make_virtual.NOMINAL_V.get(spec.chemistry, 3.7) * spec.cells
    hover_w = rng.uniform(*hover_c) * float(pack.cells.capacity_ah.mean()) * nominal_v
    _, watts, _ = making.load(rng, hover_w, LASTS_S)
    gauge_frac = pack.cells.charge_frac.min() + rng.normal(0, GAUGE_SD)
    lie = float(np.random.default_rng([seed, 78]).choice(GAUGE_ERRORS))
    gauge_pct = round(100 * min(max(gauge_frac + lie, 0.0), 1.0))
    gauge, before_v, estimator = rng.uniform() > 0.5, pack.cells_v, Estimator(pack_data)  # noqa: PLR2004 - half
    rows: list[Judged] = []
    for second, power_w in enumerate(watts):
        pack.apply(power_w)
        late = rng.uniform(0, STALE_S, spec.cells)
        read_v = pack.cells_v + (before_v - pack.cells_v) * late
        before_v = pack.cells_v
        look = Snapshot(
            float(second),
            voltage_v=float(pack.voltage_v),
            current_a=round(float(pack.current_a), 2),
            temperature_degc=round(float(pack.cells.temperature_degc.mean()), 1),
            cells_v=tuple(np.round(read_v + rng.normal(0, NOISE_V, spec.cells), 3).tolist()),
            soc_pct=gauge_pct if gauge and not second else None,
            read_at_s={"voltage_v": float(second)},
            identity=Identity(serial=seed),
        )
        cells = estimator.update(look).state.cells
        if second % EACH_S == EACH_S - 1:
            kind = "lifepo4" if spec.chemistry == "lifepo4" else "lipo, li-ion"
            rows += apart(kind, cells, pack)
        if pack.cells_v.min() < pack_data.cutoff_v or pack.overloaded:
            break
        pack.advance()
    yield from rows if second > LEAST_S else ()


def simulated(name: str) -> Iterator[Judged]:
    """Fly a scenario with seed 3 and yield the same."""
    with ExitStack() as stack:
        simulation, due_s = Simulation(SimOptions(name, 3, None, (), None), stack), EACH_S
        for report in simulation.reports():
            if report.t_s >= due_s:
                due_s += EACH_S
                pack = simulation.world._pack  # noqa: SLF001 - the truth, which nothing else may see
                state, charges = report.estimate.state, pack.cells.charge_frac
                yield from apart(name, state.cells, pack)
                if state.weakest.soc_pct is not None and state.weakest.soc_sd_pct is not None:
                    off = state.weakest.soc_pct - 100 * charges[pack.cells_v.argmin()]
                    yield f"{name}: charge, weakest", off, state.weakest.soc_sd_pct


def apart(kind: str, cells: tuple[CellState, ...], pack: Pack) -> Iterator[Judged]:
    """Yield the errors of the estimated cell states against a virtual pack."""
    charges, mah, ohms = pack.cells.charge_frac, pack.cells.capacity_ah * 1e3, ohms_of(pack)
    for place, cell in enumerate(cells):
        if cell.soc_pct is not None and cell.soc_sd_pct is not None:
            yield f"{kind}: charge", cell.soc_pct - 100 * charges[place], cell.soc_sd_pct
        yield from share(f"{kind}: capacity", cell.capacity_mah, cell.capacity_sd_mah, mah[place])
        if ohms is not None:
            estimated = cell.resistance_ohm, cell.resistance_sd_ohm
            yield from share(f"{kind}: resistance", *estimated, ohms[place])
    levels = [cell.soc_pct for cell in cells if cell.soc_pct is not None]
    if len(levels) == len(charges):
        off = np.array(levels) - np.mean(levels) - 100 * (charges - charges.mean())
        yield from ((f"{kind}: charge, difference from the mean", value, np.nan) for value in off)


def share(what: str, estimated: float | None, sd: float | None, true: float) -> Iterator[Judged]:
    """Yield the error and its standard deviation in per cent of the true value."""
    if estimated is not None and sd is not None:
        yield what, 100 * (estimated / true - 1), 100 * sd / true


def recorded(path: Path) -> Iterator[Judged]:
    """Replay a flight and yield the same of the mean cell's charge, and of the capacities."""
    judged, side = (
        read_judged(path),
        json.loads(Path(str(path)[: -len(".csv.gz")] + ".json").read_text()),
    )
    if judged is None:
        return
    with gzip.open(path, "rt", encoding="utf-8") as file:
        charge = {float(row["t_s"]): float(row["truth_soc_frac"]) for row in csv.DictReader(file)}
    estimator, due_s = Estimator(judged.flight.pack_data), EACH_S
    for look in judged.looks:
        cells = estimator.update(look).state.cells
        if look.t_s < due_s:
            continue
        due_s += EACH_S
        levels = [(c.soc_pct, c.soc_sd_pct) for c in cells if c.soc_pct and c.soc_sd_pct]
        if levels:
            middle_pct, sd_pct = np.mean(levels, axis=0)
            yield "flights: charge", middle_pct - 100 * charge[look.t_s], sd_pct
        for cell, mah in zip(cells, side["truth"]["cell_capacity_mah"], strict=True):
            yield from share("flights: capacity", cell.capacity_mah, cell.capacity_sd_mah, mah)


def within(rows: list[Judged]) -> dict[str, tuple[int, float, float, float]]:
    """Return for each quantity the count, share within two deviations, error, deviation."""
    by_name: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, off, sd in rows:
        by_name[name].append((off, sd))
    tables = {name: np.array(found) for name, found in sorted(by_name.items())}
    return {
        name: (len(t), float(np.mean(abs(t[:, 0]) < 2 * t[:, 1])),
               float(np.sqrt(np.mean(t[:, 0] ** 2))), float(np.median(t[:, 1])))
        for name, t in tables.items()
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    first, last, *folder = sys.argv[1:]
    rows = [row for seed in range(int(first), int(last)) for row in virtual(seed)]
    if folder:
        rows += [row for path in sorted(Path(folder[0]).glob("*.csv.gz")) for row in recorded(path)]
        rows += [row for name in folder[1:] for row in simulated(name)]
    print(f"{'per cent':34s} {'values':>7s} {'within 2 sd':>12s} {'error, rms':>11s} {'sd':>6s}")
    for name, (count, share_in, off, sd) in within(rows).items():
        doubt = f"{'-':>12s} {off:11.2f} {'-':>6s}"
        if not math.isnan(sd):
            doubt = f"{100 * share_in:11.0f}% {off:11.2f} {sd:6.2f}"
        print(f"{name:34s} {count:7d} {doubt}")


if __name__ == "__main__":
    main()
