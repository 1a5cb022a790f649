# SPDX-License-Identifier: Apache-2.0
"""Judges the time to empty behind a gauge that is wrong: `python benchmarks/lying_gauge.py [FLIGHT...]`.

Each flight (files or folders with the true charge, `truth_soc_frac`) is flown behind a gauge that reports the true
charge, and behind others: off by a constant from the start on, absent, lost in the middle, with an absurd full
charge capacity, a remaining capacity that stands still. Every pack is unknown. `--scenario N` does the same with
N seeds of the scenario `lying_gauge`, from 60 % of the charge on, with its other errors. The error is that of
`scoring.py`, from 20 % of the capacity used on; its ratio to that behind the true gauge is to be 1.3 at most.

    --only TEXT   only the gauges whose name contains it
    --flights     also print every flight
"""

import argparse
import csv
import gzip
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.estimate import Ours, without_gauge
from benchmarks.scoring import LEAST_S, Judged, read_folder, run
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from smartbattery.snapshot import Snapshot

SCENARIO = Path(__file__).parents[1] / "sim" / "scenarios" / "lying_gauge.toml"
USED_FRAC = 0.2
OFFSETS = (-0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4)
TRUE = "true gauge"
GOAL = 1.3
START_FRAC, LONG_S = 0.6, 3000.0  # of the scenario


@dataclass(frozen=True)
class Charge:
    """The true charge of a flight."""

    frac: dict[float, float]  # by time
    full_mah: float
    takeoff_s: float
    end_s: float


Gauge = Callable[[Snapshot, Charge], Snapshot]


def shifted(points: float) -> Gauge:
    """A gauge whose charge is off by a constant, within 0 and 1."""

    def reported(look: Snapshot, charge: Charge) -> Snapshot:
        frac = min(max(charge.frac[look.t_s] + points, 0.0), 1.0)
        return as_reported(look, frac, frac * charge.full_mah, charge.full_mah)

    return reported


def from_full(look: Snapshot, charge: Charge) -> Snapshot:
    """A gauge that reports full at the start and counts rightly from there."""
    drawn = charge.frac[min(charge.frac)] - charge.frac[look.t_s]
    frac = max(1.0 - drawn, 0.0)
    return as_reported(look, frac, frac * charge.full_mah, charge.full_mah)


def lost(look: Snapshot, charge: Charge) -> Snapshot:
    """A true gauge that falls silent in the middle of the flight."""
    is_lost = look.t_s > (charge.takeoff_s + charge.end_s) / 2.0
    return without_gauge(look) if is_lost else shifted(0.0)(look, charge)


def absurd(frac: float, full_times: float) -> Gauge:
    """A gauge whose remaining and full charge capacity are constants, of the true full one."""

    def reported(look: Snapshot, charge: Charge) -> Snapshot:
        full_mah = full_times * charge.full_mah
        return as_reported(look, frac, frac * full_mah, full_mah)

    return reported


def as_reported(look: Snapshot, frac: float, mah: float, full_mah: float) -> Snapshot:
    """Return a snapshot with reported values, in the resolution of a gauge."""
    soc_pct = float(round(100.0 * frac))
    return replace(
        look,
        soc_pct=soc_pct,
        remaining_mah=round(mah),
        full_mah=round(full_mah),
        time_to_empty_s=None,
    )


GAUGES: dict[str, Gauge] = {
    TRUE: shifted(0.0),
    "no gauge": lambda look, _: without_gauge(look),
    "lost in the middle": lost,
    **{f"{100 * points:+.0f} points": shifted(points) for points in OFFSETS},
    "full at the start": from_full,
    "full and remaining 10 times": absurd(1.0, 10.0),
    "full and remaining 1 mAh": absurd(1.0, 1e-4),
    "remaining stuck at full": absurd(1.0, 1.0),
}


def charge_of(judged: Judged, path: Path) -> Charge | None:
    """Return the true charge of a flight; `None` without one."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("truth_soc_frac")]
    if not rows:
        return None
    times_s, fracs = np.array([[float(row["t_s"]), float(row["truth_soc_frac"])] for row in rows]).T
    frac = {look.t_s: float(np.interp(look.t_s, times_s, fracs)) for look in judged.looks}
    known = [look for look in judged.looks if look.current_a is not None]
    drawn_as = sum(
        (now.current_a or 0.0) * (now.t_s - before.t_s) for before, now in pairwise(known)
    )
    full_mah = drawn_as / 3.6 / (frac[known[0].t_s] - frac[known[-1].t_s])
    return Charge(frac, full_mah, judged.takeoff_s, judged.end_s)


def error(judged: Judged, charge: Charge, gauge: Gauge) -> float:
    """Return the mean error of the median, of the true time, after `USED_FRAC` of the charge."""
    looks = tuple(gauge(look, charge) for look in judged.looks)
    seen = replace(judged, looks=looks)
    rows, _ = run(seen, Ours(seen, None), lambda: 0.0)
    start = charge.frac[min(charge.frac)]
    return mean_error(row for row in rows.tolist() if start - charge.frac[row[0]] >= USED_FRAC)


def mean_error(rows: Iterable[Sequence[float]]) -> float:
    """Return the mean error of rows of (time, true seconds, 5 %, median, 95 %)."""
    errors = [
        1.0 if math.isnan(row[3]) else abs(row[3] - row[1]) / row[1]
        for row in rows
        if row[1] >= LEAST_S
    ]
    return float(np.mean(errors)) if errors else math.nan


def of_flights(paths: Sequence[Path]) -> Iterator[tuple[Judged, Charge]]:
    """Yield the flights with a true charge."""
    files = [
        p for path in paths for p in (sorted(path.glob("*.csv.gz")) if path.is_dir() else [path])
    ]
    for path in files:
        for judged in read_folder([path]):
            charge = charge_of(judged, path)
            if charge is not None:
                yield judged, charge


# ---------------------------------------------------------------------- scenario


def scenario_text(points: float | None) -> str:
    """Return the scenario with a gauge that is off by some points, or is true (`None`)."""
    text = SCENARIO.read_text(encoding="utf-8")
    values = {"start_charge_frac": START_FRAC, "start_error_frac": points or 0.0}
    if points is None:
        values |= dict.fromkeys(
            ("full_error_frac", "current_gain_error_frac", "current_offset_a"), 0.0
        )
    for key, value in values.items():
        text = re.sub(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
    return text.replace("duration_s = 480.0", f"duration_s = {LONG_S}")  # the pack ends in the air


def of_scenario(seed: int, points: float | None) -> float:
    """Return the error on a flight of the scenario until its pack ends."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "scenario.toml"
        path.write_text(scenario_text(points), encoding="utf-8")
        simulation = Simulation(SimOptions(str(path), seed, None), stack)
        rows: list[tuple[float, float, float]] = []
        due_s = end_s = 0.0
        for report in simulation.reports():
            truth, end_s = simulation.world.truth(), report.t_s
            if truth.ended_s is not None:
                break
            if report.t_s >= due_s and report.flying:
                due_s = report.t_s + 1.0
                median_s = report.estimate.remaining_s
                rows.append(
                    (report.t_s, math.nan if median_s is None else median_s, truth.soc_frac)
                )
    used = (row for row in rows if START_FRAC - row[2] >= USED_FRAC)
    return mean_error((t_s, end_s - t_s, 0.0, median_s, 0.0) for t_s, median_s, _ in used)


def print_table(table: dict[str, dict[str, float]], *, flights: bool) -> None:
    """Print mean errors by gauge, and their ratio to those behind the true one."""
    print("| gauge | error % | ratio to the true gauge | flights above 1.3 |")
    print("|---|---|---|---|")
    for name, errors in table.items():
        true = table[TRUE]
        ratio = np.mean(list(errors.values())) / np.mean([true[flight] for flight in errors])
        above = sum(errors[flight] > GOAL * true[flight] for flight in errors)
        print(
            f"| {name} | {100 * np.mean(list(errors.values())):.0f} | {ratio:.2f} | {above} of {len(errors)} |"
        )
        if flights:
            print("    " + ", ".join(f"{flight} {100 * e:.0f}" for flight, e in errors.items()))


def main() -> None:
    """Judge flights, or the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--scenario", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--only", default="")
    parser.add_argument("--flights", action="store_true")
    options = parser.parse_args()
    if options.paths:
        chosen = [name for name in GAUGES if name == TRUE or options.only in name]
        table: dict[str, dict[str, float]] = {name: {} for name in chosen}
        for judged, charge in of_flights(options.paths):
            for name in chosen:
                table[name][judged.flight.name] = error(judged, charge, GAUGES[name])
        print_table(table, flights=options.flights)
    if options.scenario:
        offsets: dict[str, float | None] = {TRUE: None}
        offsets |= {f"{100 * points:+.0f} points": points for points in OFFSETS}
        seeds = range(1, options.scenario + 1)
        table = {
            name: {f"seed {seed}": of_scenario(seed, points) for seed in seeds}
            for name, points in offsets.items()
        }
        print_table(table, flights=options.flights)


if __name__ == "__main__":
    main()
