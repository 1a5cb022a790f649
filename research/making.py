# SPDX-License-Identifier: Apache-2.0
"""Common parts of computed flights: the load, the end, the errors of the gauge, the file.

Watts and volts of cells, amperes positive while discharging, ampere-hours. File format: `dronebms/flightlogs`.
The phases of the load are those of a multirotor. A gauge counts charge against a stale full charge capacity,
or reports the usable charge, as Impedance Track does.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
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
SHORTEST_S, INSTANT_V, MEAN_S, AFTER_S = 150.0, 0.25, 5, 6
COMPENSATED, NO_GAUGE, WEAK = 0.35, 0.1, 0.3  # shares of the packs


@dataclass(frozen=True)
class Making:
    """The properties of a pack that its file holds."""

    name: str
    chemistry: str
    cutoff_v: float
    cells: int
    rated_ah: float
    full_ah: float  # true capacity
    compensated: bool
    stale: float  # relative error of a counting gauge's full charge capacity
    gauge: bool = True


@dataclass(frozen=True)
class Flown:
    """A flight, one sample a second; `charge` and `used_ah` are those of the weakest cell."""

    t_s: Array
    cells_v: Array
    pack_v: Array
    amps: Array
    degc: Array
    charge: Array
    used_ah: Array


def load(rng: np.random.Generator, hover_w: float, lasts_s: float) -> tuple[Array, Array, float]:
    """Draw (seconds, watts, take-off) of a flight of `lasts_s` seconds or longer."""
    t_s = np.arange(0.0, lasts_s + 1)
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


def end_of(cells_v: Array, cutoff_v: float) -> int | None:
    """Return the index of the end; `None` when the flight does not reach it."""
    lowest_v = cells_v.min(axis=1)
    means_v = [lowest_v[max(0, k - MEAN_S + 1) : k + 1].mean() for k in range(len(lowest_v))]
    ended = np.flatnonzero((np.array(means_v) <= cutoff_v) | (lowest_v <= cutoff_v - INSTANT_V))
    return int(ended[0]) if len(ended) else None


def columns(pack: Making, flown: Flown, end: int, rng: np.random.Generator) -> dict[str, Array]:
    """Return the columns of a flight as its gauge reports them, and the truth."""
    count, t_s = len(flown.t_s), flown.t_s
    start, used_ah = flown.charge[0], flown.used_ah - flown.used_ah[0]
    full_ah = pack.full_ah * (1 + pack.stale)
    if pack.compensated:
        full_ah = used_ah[end] * (1 + rng.normal(0, 0.04)) / start
    remaining_ah = full_ah * start * (1 + rng.normal(0, 0.012)) - used_ah
    amps = np.round(flown.amps * (1 + rng.normal(0, 0.005)) + rng.uniform(-0.03, 0.03), 2)
    table = {
        "t_s": t_s,
        "voltage_v": flown.pack_v + rng.normal(0, 0.002, count),
        "current_a": amps,
        "temperature_degc": np.round(flown.degc + rng.uniform(-0.7, 0.7), 1),
    }
    for k, volts in enumerate(flown.cells_v.T):
        table[f"cell{k + 1}_v"] = volts + rng.normal(0, 0.001, count)
    if pack.gauge:
        table["gauge_soc_pct"] = np.round(100 * np.clip(remaining_ah / full_ah, 0, 1))
        table["gauge_remaining_mah"] = np.maximum(remaining_ah, 0) * 1e3
        table["gauge_full_mah"] = np.full(count, full_ah * 1e3)
    return table | {
        "truth_soc_frac": flown.charge,
        "truth_remaining_s": np.maximum(t_s[end] - t_s, 0),
        "truth_power_w": flown.pack_v * flown.amps,
    }


def write(folder: Path, table: dict[str, Array], end: int, side: dict[str, object]) -> None:
    """Write a flight and its sidecar, named by the pack and the flight's index."""
    name = f"{side['pack_id']}_{side['flight_index']}"
    with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8") as file:
        file.write(",".join(table) + "\n")
        np.savetxt(file, np.column_stack(list(table.values()))[: end + AFTER_S], "%.4f", ",")
    left = float(table["truth_soc_frac"][end])
    side["truth"] = {"t_end_s": float(table["t_s"][end]), "soc_end": left}
    (folder / f"{name}.json").write_text(json.dumps(side, indent=1), encoding="utf-8")
    print(f"{name}: {table['t_s'][end]:.0f} s, {100 * left:.0f} % left", flush=True)


def sidecar(pack: Making, index: int, takeoff_s: float, source: str) -> dict[str, object]:
    """Return the sidecar of a flight."""
    return {
        "cells": pack.cells,
        "capacity_mah": round(pack.rated_ah * 10) * 100,
        "chemistry": pack.chemistry,
        "cutoff_cell_v": pack.cutoff_v,
        "pack_id": pack.name,
        "flight_index": index,
        "takeoff_s": round(takeoff_s, 1),
        "source": source,
        "licence": "our own computation",
    }
