# SPDX-License-Identifier: Apache-2.0
"""Computes virtual flights to fit the estimator's parameters: `python research/make_virtual.py FOLDER FIRST LAST`.

Three flights of each pack, built from the simulator's cells with its own curve, capacity, resistance,
weak cell, age and cooling, drawn from its seed. Curves lie between those of the LiCoO2 and the NMC cell,
bent, tilted and compressed towards one end: packs sold as LiPo are of either kind.
A flight that ends half full is left out: no maker sells that pack for that load.
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from research import making
from research.making import Array, Flown, Making
from sim.plant.cell import open_circuit_curve_v
from sim.plant.cell_parameters import CURVE_FRAC
from sim.plant.pack import Pack, build_pack
from sim.plant.pack_spec import PackSpec

CHEMISTRIES = ("lipo", "lipo", "lipo", "li-ion", "li-ion", "lifepo4")
# Hover in capacities an hour, cut-off in volts, ln of the resistance over the simulator's cell.
ROWS = {
    "lipo": ((1.4, 3.2), (3.2, 3.4), -0.5),
    "li-ion": ((0.75, 1.5), (2.9, 3.1), -0.1),
    "lifepo4": ((0.9, 2.0), (2.5, 2.7), -0.7),
}
STARTS = (1.0, 1.0, 0.97, 0.9, 0.8, 0.7, 0.6)
FLIGHTS, MOST_LEFT, DEEP_V = 3, 0.5, 0.35
NOMINAL_V = {"lifepo4": 3.25}


def curve(chemistry: str, rng: np.random.Generator) -> Array:
    """Draw an open-circuit voltage curve at `CURVE_FRAC` that no table has."""
    flat = chemistry == "lifepo4"
    bend_v, tilt_v = rng.normal(0, 0.004 if flat else 0.03, 2)
    drawn_v = open_circuit_curve_v(chemistry, 0.0, 0.0)
    if not flat:
        other_v = open_circuit_curve_v("li-ion" if chemistry == "lipo" else "lipo", 0.0, 0.0)
        most = 1.0 if chemistry == "lipo" else 0.5
        drawn_v = drawn_v + rng.uniform(0, most) * (other_v - drawn_v)
    inside = np.clip(CURVE_FRAC, 0, 1)
    drawn_v = drawn_v + bend_v * np.sin(np.pi * inside) + tilt_v * (2 * inside - 1)
    pressed_v = np.interp(inside ** math.exp(rng.normal(0, 0.12)), CURVE_FRAC, drawn_v)
    within = (CURVE_FRAC > 0) & (CURVE_FRAC < 1)
    return np.maximum.accumulate(np.where(within, pressed_v, drawn_v))


def built(spec: PackSpec, curve_v: Array, rng: np.random.Generator) -> Pack:
    """Build a pack; the same generator gives the same cells."""
    pack = build_pack(spec, rng, 1.0)
    cells = pack.cells
    cells._build.curve_v[...] = curve_v  # noqa: SLF001 - no product needs a curve of its own
    cells._slope_v = np.append(np.diff(curve_v), 0.0)  # noqa: SLF001 - as above
    cells.weaken(slice(None), 1.0, math.exp(rng.normal(ROWS[spec.chemistry][2], 0.35)))
    if rng.uniform() < making.WEAK:
        weakest = int(rng.integers(spec.cells))
        cells.weaken(weakest, 1 - rng.uniform(0.03, 0.08), rng.uniform(1.2, 1.6))
    return pack


def draw(rng: np.random.Generator) -> PackSpec:
    """Draw the cells of a pack."""
    return PackSpec(
        chemistry=str(rng.choice(CHEMISTRIES)),
        cells=int(rng.choice([4, 6, 12])),
        cell_mah=1000.0 * round(rng.uniform(4, 30), 1),
        actual_capacity_frac=rng.uniform(0.86, 1.02),
        capacity_spread_frac=rng.uniform(0.004, 0.016),
        resistance_spread_frac=rng.uniform(0.05, 0.18),
        wire_mohm=rng.uniform(0.5, 4),
        cycles=max(rng.uniform(-200, 200), 0.0),
        cooling_s=rng.uniform(400, 1500),
    )


def flown(pack: Pack, watts: Array, cutoff_v: float) -> Flown:
    """Fly a pack until well below its cut-off, or until it cannot deliver the power."""
    rows = []
    for k, power_w in enumerate(watts):
        pack.apply(float(power_w))
        cells = pack.cells
        rows.append((float(k), pack.cells_v.copy(), float(pack.voltage_v), float(pack.current_a),
                     float(cells.temperature_degc.mean()), cells.charge_frac.copy()))  # fmt: skip
        if pack.overloaded or pack.cells_v.min() < cutoff_v - DEEP_V:
            break
        pack.advance()
    t_s, cells_v, pack_v, amps, degc, charges = map(np.array, zip(*rows, strict=True))
    weakest = int(cells_v[-1].argmin())
    used_ah = np.cumsum(amps) / 3600
    return Flown(t_s, cells_v, pack_v, amps, degc, charges[:, weakest], used_ah)


def fly(spec: PackSpec, made: Making, hover_c: float, seeds: list[int], folder: Path) -> None:
    """Compute the flights of a pack, without those that do not reach their end."""
    for index in range(FLIGHTS):
        rng = np.random.default_rng([*seeds, index])
        ambient, warm = rng.uniform(-5, 40), rng.uniform() > 0.6  # noqa: PLR2004 - four in ten
        flight = spec.model_copy(
            update={
                "start_charge_frac": float(rng.choice(STARTS)),
                "ambient_degc": ambient,
                "start_degc": max(ambient, float(rng.choice([18, 25]))) if warm else ambient,
                "cycles": spec.cycles + index,
            }
        )
        own = np.random.default_rng(seeds)  # of the pack: the same in each flight
        pack = built(flight, curve(spec.chemistry, own), own)
        made = replace(made, full_ah=float(pack.cells.capacity_ah.mean()))
        hover_w = hover_c * made.full_ah * spec.cells * NOMINAL_V.get(spec.chemistry, 3.7)
        _, watts, takeoff_s = making.load(rng, hover_w, min(3600 * 1.4 / hover_c, 4500))
        did = flown(pack, watts, made.cutoff_v)
        end = making.end_of(did.cells_v, made.cutoff_v)
        if end is None or end - takeoff_s < making.SHORTEST_S or did.charge[end] > MOST_LEFT:
            print(made.name, index, "does not end, or ends too early", flush=True)
            continue
        table = making.columns(made, did, end, rng)
        side = making.sidecar(made, index, takeoff_s, "the simulator's cells, by make_virtual.py")
        making.write(folder, table, end, side)


def main() -> None:
    """Compute the flights of the packs of a range of seeds."""
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, last):
        rng = np.random.default_rng(50_000 + seed)
        spec = draw(rng)
        hover_c, cutoff_v, _ = ROWS[spec.chemistry]
        made = Making(
            name=f"V{seed:03d}_{spec.chemistry}",
            chemistry=spec.chemistry,
            cutoff_v=round(rng.uniform(*cutoff_v), 1),
            cells=spec.cells,
            rated_ah=spec.rated_mah / 1e3,
            full_ah=math.nan,
            compensated=rng.uniform() < making.COMPENSATED,
            stale=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.15)),
            gauge=rng.uniform() > making.NO_GAUGE,
        )
        fly(spec, made, rng.uniform(*hover_c), rng.integers(1 << 30, size=2).tolist(), folder)


if __name__ == "__main__":
    main()
