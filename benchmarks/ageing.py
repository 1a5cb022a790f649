# SPDX-License-Identifier: Apache-2.0
"""Judges the pack history: whole lives of simulated packs against the simulated truth.

    python benchmarks/ageing.py [--packs 12] [--flights 100]

Prints for each chemistry the error of the trends, how often the forecast interval contains the true end of
life, on how many healthy packs a weak cell is named, and how many flights before its cut-off under load a cell
that does weaken is named. Packs fly together (`sim.plant.pack.build_packs`) in steps of one second; readings
have the noise and resolution of a gauge; the air goes from 0 to 30 degC over the seasons. `_SLOW_S`, the margins
of `_ENDS` and the thresholds of cells were chosen on packs 1 to 107; these are other packs.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from dronebms.core.chemistry import chemistry_of
from dronebms.health.ageing_trend import forecast_ageing, weak_cell
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.samples import Array
from dronebms.health.soh_measurement import measure_soh
from sim.emulator.world import RandomStream, random_generator
from sim.plant.ageing import ageing_of
from sim.plant.pack import build_packs
from sim.plant.pack_spec import PackSpec

REST_S, BURST_S, LEG_S = 30, 25, 150
WEAK_CELL = 2  # from 0
DEFECT_FRAC = (
    0.0025,
    0.01,
)  # per flight: capacity that the weak cell loses, resistance that it gains
WORN_FRAC, WORN_TIMES = 0.8, 2.0  # of the capacity, of the resistance
GUST_FRAC, GUST_S = 0.08, 3.0
EARLIEST = 10, 20, 40, 60, 80  # numbers of flights after which a forecast is judged


@dataclass(frozen=True)
class Kind:
    """A pack and its use."""

    chemistry: str
    rated_ah: float
    mean_w: float
    mohm_ah: float
    cycles: float  # cycles per flight of this benchmark: a life in fewer flights

    def spec(self, cycles: float, degc: float) -> PackSpec:
        """Return the pack after a number of cycles, one a day."""
        return PackSpec(
            chemistry=self.chemistry, cells=6, parallel=2, cell_mah=self.rated_ah * 500,
            actual_capacity_frac=0.95, resistance_mohm_ah=self.mohm_ah, cycles=cycles,
            age_days=cycles, ambient_degc=degc, start_degc=degc + 3,
        )  # fmt: skip

    def ohm(self, cycles: float) -> float:
        """Return the true resistance of a cell: 5 s of 2C at half charge and 25 degC."""
        spec = self.spec(cycles, 25.0).model_copy(
            update={"start_charge_frac": 0.5, "start_degc": 25.0, "resistance_spread_frac": 0.0}
        )
        cells = build_packs(spec, [random_generator(1, RandomStream.CELLS)], 1.0).cells
        amps, open_v = np.full((1, 1), 2 * self.rated_ah), cells.open_circuit_v()
        for _ in range(5):
            cells.advance(amps, open_v)
        source_v, ohm = cells.thevenin(amps)
        return float(np.mean((open_v - source_v) / amps + ohm))


KINDS = (
    Kind("lipo", 16.0, 640.0, 40.0, 8.0),
    Kind("li-ion", 20.0, 560.0, 60.0, 4.0),
    Kind("lifepo4", 10.0, 360.0, 40.0, 8.0),
)


def fly(kind: Kind, spec: PackSpec, seeds: range, random: np.random.Generator,
        defect: float = 0.0, step_s: float = 1.0) -> Array:  # fmt: skip
    """Fly packs once, each with its own load, until 50 to 70 % are used.

    Args:
        kind: of the packs.
        spec: of the packs, at their present age.
        seeds: of the cell differences, one per pack, the same in each flight.
        random: generator of loads and readings.
        defect: flights since the weak cell began to degrade.
        step_s: of the samples.

    Returns:
        (packs, n, columns), `dronebms.health.samples`.
    """
    fleet = build_packs(
        spec, [random_generator(seed, RandomStream.CELLS) for seed in seeds], step_s
    )
    if defect > 0:
        lost, gained = DEFECT_FRAC
        fleet.cells.weaken(WEAK_CELL, max(1 - lost * defect, 0.3), 1 + gained * defect)
    count, gust, used_ah, rows, t_s = len(seeds), 0.0, np.zeros(len(seeds)), [], 0.0
    load_w = kind.mean_w * (1 + 0.04 * random.standard_normal(count))
    end_ah, keep = random.uniform(0.5, 0.7) * kind.rated_ah, np.exp(-step_s / GUST_S)
    while used_ah.max() < end_ah:
        gust = gust * keep + GUST_FRAC * np.sqrt(1 - keep**2) * random.standard_normal(count)
        leg = 1.25 if t_s < REST_S + BURST_S else 0.92 if t_s // LEG_S % 2 else 1.04
        fleet.apply(np.full(count, 14.0) if t_s < REST_S else load_w * leg * (1 + gust))
        fleet.cells.airflow_m_s = 0.0 if t_s < REST_S else 5.0
        cells_v = np.round(fleet.cells_v + 0.001 * random.standard_normal(fleet.cells_v.shape), 3)
        amps = 1.004 * fleet.current_a + 0.05 * random.standard_normal(count)
        degc = np.round(fleet.cells.temperature_degc.mean(axis=1), 1)
        time = np.full(count, t_s)
        rows.append(np.column_stack([time, cells_v.sum(axis=1), amps, degc, used_ah, cells_v]))
        used_ah = used_ah + fleet.current_a * (step_s / 3600)
        fleet.advance()
        t_s += step_s
    return np.stack(rows, axis=1)


def lives(kind: Kind, packs: range, flights: int, weak_from: int | None = None,
          step_s: float = 1.0) -> Iterator[list[tuple[FlightRecord, float]]]:  # fmt: skip
    """Yield, flight by flight, the row of each pack and its lowest cell voltage under load."""
    random, chemistry = np.random.default_rng(packs.start), chemistry_of(kind.chemistry)
    for n in range(flights):
        season = 15 + 15 * np.sin(n * 0.11 + 1) * random.uniform(0.6, 1.0)
        spec = kind.spec(n * kind.cycles, float(season))
        defect = 0.0 if weak_from is None else float(max(n - weak_from, 0))
        measured_rows = []
        for pack, samples in zip(
            packs, fly(kind, spec, packs, random, defect, step_s), strict=True
        ):
            found = measure_soh(samples, chemistry, kind.rated_ah, 6)
            ohm = found.resistance_ohm
            row = FlightRecord(
                f"{pack}:{n}", LANDED, str(pack), n, gauge_cycles=n * kind.cycles,
                relative_capacity=found.relative_capacity,
                resistance_mohm=None if ohm is None else 1e3 * ohm,
                resistance_degc=found.resistance_degc, mean_degc=float(samples[:, 3].mean()),
                cells_resistance=found.cells_resistance, cells_capacity=found.cells_capacity,
            )  # fmt: skip
            measured_rows.append((row, float(samples[:, 5:].min())))
        yield measured_rows


def by_pack(
    life: Iterator[list[tuple[FlightRecord, float]]],
) -> list[tuple[list[FlightRecord], list[float]]]:
    """Return the flights and lowest voltages of each pack."""
    steps = list(life)
    packs = range(len(steps[0]))
    return [([s[p][0] for s in steps], [s[p][1] for s in steps]) for p in packs]


def true_end(kind: Kind) -> float:
    """Return the flight at which 80 % of capacity or twice the resistance is reached."""
    law, start = ageing_of(kind.chemistry), 2 * kind.cycles  # the middle of the first five flights
    first_ah, first_ohm = law.capacity_left_frac(start, start), kind.ohm(start)

    def is_over(n: int) -> bool:
        cycles = n * kind.cycles
        lost = law.capacity_left_frac(cycles, cycles) / first_ah <= WORN_FRAC
        return lost or kind.ohm(cycles) / first_ohm >= WORN_TIMES

    return next((float(n) for n in range(0, 3000, 2) if is_over(n)), float("inf"))


def first(values: list[float], is_it: Callable[[float], bool]) -> float:
    """Return the number (from 1) of the first flight that meets the condition; infinite if none."""
    return next((float(n) for n, value in enumerate(values, 1) if is_it(value)), float("inf"))


def judge(kind: Kind, packs: int, flights: int) -> None:
    """Print the figures of a chemistry."""
    law, last = ageing_of(kind.chemistry), (flights - 1) * kind.cycles
    start, end = 2 * kind.cycles, true_end(kind)
    healthy = by_pack(lives(kind, range(201, 201 + packs), flights))
    seen = [forecast_ageing(rows) for rows, _ in healthy]
    true = {
        "capacity": law.capacity_left_frac(last, last) / law.capacity_left_frac(start, start),
        "resistance": kind.ohm(last) / kind.ohm(start),
    }
    print(
        f"{kind.chemistry}: {packs} healthy packs, {flights} flights of {kind.cycles:g} cycles; worn out at flight {end:g}"
    )
    for what, share in true.items():
        now = [t.now for t in (getattr(one, what) for one in seen) if t is not None]
        if now:
            print(
                f"  {what} {share:.3f} of the first flights': measured {fmean(now):.3f} +- {np.std(now):.3f}"
            )
    for at in (n for n in EARLIEST if n < min(flights, end)):
        lefts = [forecast_ageing(rows[:at]).left for rows, _ in healthy]
        ends = [[float("inf") if n is None else n for n in left] for left in lefts if left]
        held = [low <= end - at <= high for low, _, high in ends]
        if held:
            middle = median(m for _, m, _ in ends)
            print(
                f"  after {at} flights: {end - at:g} left, forecast {middle:.0f}, inside the interval {sum(held)} of {len(held)}"
            )
    changed = sum(
        t is not None and t.changed is not None
        for one in seen
        for t in (one.capacity, one.resistance)
    )
    print(
        f"  weak cells named on healthy packs: {sum(one.weak is not None for one in seen)} of {packs}; changes: {changed} of {2 * packs}"
    )
    weak_from = flights // 4
    cutoff_v = chemistry_of(kind.chemistry).cutoff_cell_v
    ahead, named_after, wrong = [], [], 0
    for rows, lows in by_pack(lives(kind, range(301, 301 + packs), flights, weak_from)):
        weak = weak_cell(rows)
        hurt = first(lows, lambda volts: volts <= cutoff_v)
        wrong += weak is None or weak.cell != WEAK_CELL + 1
        if weak is not None:
            named_after.append(weak.since - weak_from)
            ahead.append(hurt - weak.since)
    print(
        f"  a cell that degrades from flight {weak_from} on: named after {median(named_after):g} (most {max(named_after):g}) flights, {median(ahead):g} (least {min(ahead):g}) before it reaches {cutoff_v:g} V; not or wrongly named: {wrong} of {packs}"
    )


def main() -> None:
    """Judge every chemistry."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--packs", type=int, default=12)
    parser.add_argument("--flights", type=int, default=100)
    options = parser.parse_args()
    for kind in KINDS:
        judge(kind, options.packs, options.flights)


if __name__ == "__main__":
    main()
