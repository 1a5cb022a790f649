# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms campaign`: flies many seeds, stores the results, prints statistics."""

import argparse
import json
import os
import signal
from collections.abc import Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from dronebms.cli.exit_codes import DONE, print_stderr
from dronebms.core.clock import SystemClock
from dronebms.core.number_format import DASH, counted, number, printable
from dronebms.core.optional import needed_by
from dronebms.simulation.campaign import Campaign, fly, read_campaign
from dronebms.simulation.processes import processes
from dronebms.simulation.results_file import ResultsFile
from dronebms.simulation.statistics import Statistic, summary

_HOUR_S = 3600.0
_UNITS = {"v": ("V", 2), "s": ("s", 0), "degc": ("degC", 1), "pct": ("%", 0)}


def campaign(options: argparse.Namespace) -> int:
    """Fly the seeds that are missing in the results file, and print the statistics of all."""
    flown = read_campaign(options.scenario, options.fault, options.duration)
    name = "-".join(("campaign", flown.scenario, *flown.faults))
    path = options.out or Path(f"{name}.jsonl")
    results = ResultsFile(path, flown, print_stderr)
    seeds = range(options.seed, options.seed + options.runs)
    missing = [seed for seed in seeds if seed not in results.rows]
    print_stderr(f"{path}: {options.runs - len(missing)} of {options.runs} flights found")
    if missing:
        jobs = min(options.jobs or len(os.sched_getaffinity(0)), len(missing))
        workers = processes(jobs)
        if options.scheduler is not None:
            with needed_by("--scheduler needs", "cluster"):
                from dronebms.simulation import dask_cluster  # noqa: PLC0415 - an extra
            workers = dask_cluster.workers(options.scheduler)
        with workers as pool:
            _fly(pool, flown, missing, results)
    lines = summary([results.rows[seed] for seed in seeds])
    if options.json:
        table = {"seed": options.seed, "runs": options.runs, "table": list(map(asdict, lines))}
        print(json.dumps(asdict(flown) | table))
    else:
        print(text_table(lines))
    return DONE


def _fly(pool: Executor, flown: Campaign, seeds: Sequence[int], results: ResultsFile) -> None:
    clock = SystemClock()
    console = Console(stderr=True)
    flown_s = 0.0
    # Ctrl-C reaches every process of the terminal; the workers ignore it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    futures = [pool.submit(fly, flown, seed) for seed in seeds]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        for future in bar.track(
            as_completed(futures), len(seeds), description=escape(printable(flown.scenario))
        ):
            row = future.result()
            results.add(row)
            flown_s += row.flown_s
    hours = flown_s / _HOUR_S
    wall_s = clock.now_s()
    flights = counted(len(seeds), "flight")
    print_stderr(f"{flights}, {hours:.2f} h, in {wall_s:.1f} s: {hours / wall_s:.3f} h a second")


def text_table(lines: Sequence[Statistic]) -> str:
    """The statistics, a line each, under a heading."""
    rows = [("", "runs", "value", "95 % interval", "least - most")]
    for line in lines:
        name, _, end = line.name.rpartition("_")
        unit, decimals = _UNITS.get(end, ("%", 0))
        name = (name if end in _UNITS else line.name).replace("_", " ")
        interval, span = (
            DASH if low is None else f"{low:.{decimals}f} - {high:.{decimals}f}"
            for low, high in ((line.low, line.high), (line.least, line.most))
        )
        rows.append((name, str(line.runs), number(line.value, unit, decimals), interval, span))
    return "\n".join("{:24}{:>8}{:>12}{:>17}{:>17}".format(*row).rstrip() for row in rows)
