# SPDX-License-Identifier: Apache-2.0
"""Compares the multirotor power model with published vehicles: `python research/rotor.py`.

Hover: no row was used to choose a constant; the figure of merit and the efficiency of the drive are
those of Bauersfeld and Scaramuzza for any multicopter (IEEE Robotics and Automation Letters 7-2, 2022).
Cruise: two numbers are fitted to the first flight (`wake_overlap`, whose result is its default, and the drag
area of that vehicle); the other flights validate them. Also flies every shipped scenario once.
Watts at the pack, kg, metres; an endurance is the maker's, over the whole rated energy of the pack,
in still air at sea level.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from sim.emulator.world import World
from sim.plant.multirotor import Multirotor
from sim.plant.scenario import VehicleSpec, load_scenario, scenario_names

SEA_LEVEL_KG_M3 = 1.225
INCH_M = 0.0254
MINUTES_PER_HOUR = 60.0
TB47_WH, TB48_WH = 99.9, 129.96


@dataclass(frozen=True)
class Hover:
    """A published hover; the power is published, or the rated energy over the endurance."""

    name: str
    mass_kg: float
    rotors: int
    inches: float
    published_w: float
    avionics_w: float = 10.0

    def model_w(self) -> float:
        """Return the power of the model in W, from the fields of this row alone."""
        return multirotor(self).power_w(self.mass_kg, SEA_LEVEL_KG_M3, 0.0, 0.0)


def multirotor(hover: Hover, **other: float) -> Multirotor:
    """Return a published vehicle as a power model."""
    return Multirotor(
        VehicleSpec(
            mass_kg=hover.mass_kg,
            rotors=hover.rotors,
            rotor_diameter_m=hover.inches * INCH_M,
            avionics_w=hover.avionics_w,
            **other,
        )
    )


def mean_w(energy_wh: float, minutes: float) -> float:
    """Return the mean power of an endurance."""
    return energy_wh * MINUTES_PER_HOUR / minutes


# fmt: off
# DJI's table for developers (Payload & Flight Time: take-off mass, battery, minutes); rotors from its specifications.
MAKER = (
    Hover("Matrice 100, TB47D",             2.355, 4, 13.0, mean_w(TB47_WH, 22)),
    Hover("Matrice 100, TB47D, 0.5 kg",     2.855, 4, 13.0, mean_w(TB47_WH, 17)),
    Hover("Matrice 100, TB47D, 1 kg",       3.355, 4, 13.0, mean_w(TB47_WH, 13)),
    Hover("Matrice 100, TB48D",             2.431, 4, 13.0, mean_w(TB48_WH, 28)),
    Hover("Matrice 100, TB48D, 0.5 kg",     2.931, 4, 13.0, mean_w(TB48_WH, 20)),
    Hover("Matrice 100, TB48D, 1 kg",       3.431, 4, 13.0, mean_w(TB48_WH, 16)),
    Hover("Matrice 100, two TB47D",         3.115, 4, 13.0, mean_w(2 * TB47_WH, 33)),
    Hover("Matrice 100, two TB48D",         3.267, 4, 13.0, mean_w(2 * TB48_WH, 40)),
    Hover("Inspire 1, TB47",                2.935, 4, 13.0, mean_w(TB47_WH, 18)),
    Hover("Inspire 1, TB48",                3.035, 4, 13.0, mean_w(TB48_WH, 21)),
    Hover("Inspire 1 Pro, TB47",            3.396, 4, 13.0, mean_w(TB47_WH, 15)),
    Hover("Inspire 1 Pro, TB48",            3.496, 4, 13.0, mean_w(TB48_WH, 18)),
    Hover("Matrice 600, six TB47S",         9.100, 6, 21.0, mean_w(6 * TB47_WH, 35)),
    Hover("Matrice 600, six TB47S, 6 kg",  15.100, 6, 21.0, mean_w(6 * TB47_WH, 16)),
    Hover("Matrice 600, six TB48S",         9.610, 6, 21.0, mean_w(6 * TB48_WH, 40)),
    Hover("Matrice 600, six TB48S, 5.5 kg",15.110, 6, 21.0, mean_w(6 * TB48_WH, 18)),
    Hover("Mavic 3",                        0.895, 4,  9.4, mean_w(77.0, 40)),
)
# github.com/tzi4/Multicopter_Battery_and_Range_Calculations (MIT), docs/results: a quadrotor with T-Motor U8 Lite, its
# battery of two branches measured in one; mass and rotor as its authors assume them.
QUAD = Hover("quadrotor, U8 Lite, 29 inch", 12.4, 4, 29.0, 2 * 757.9)
MEASURED = (
    QUAD,
    # Median power in the air of flights of VTO Labs and of bvermeulen/dji_mavic (both MIT); DJI's masses and rotors.
    Hover("Phantom 4 Pro V2, recorded",     1.375, 4,  9.4, 200.0),
    Hover("Mavic Pro, recorded",            0.734, 4,  8.3, 98.0),
)
# The same quadrotor: speed over ground in m/s, power over that of hover, samples.
FITTED = (
    (2.46, 1.016, 1303), (3.51, 1.027, 1107), (4.53, 1.008, 911), (5.59, 0.967, 1760), (6.42, 1.004, 1711), (7.90, 0.955, 4935),
    (8.08, 0.952, 2020), (9.54, 1.084, 1154), (10.90, 0.992, 8556), (11.09, 1.024, 4552), (12.34, 1.049, 86),
)
JUDGED = (  # 18 days later, in wind
    (3.73, 1.238, 473), (4.17, 1.152, 138), (11.73, 1.045, 127), (12.27, 0.881, 418), (13.32, 1.143, 364), (14.46, 1.243, 84),
    (15.64, 0.871, 88), (16.91, 1.219, 4256), (17.07, 1.209, 3442),
)
# fmt: on
STEP, MOST_OVERLAP, MOST_DRAG_M2 = 0.02, 1.0, 0.6


def ratios(
    speeds: tuple[tuple[float, float, int], ...], overlap: float, drag: float
) -> list[float]:
    """Return cruise over hover power of the model, at each speed."""
    rotors = multirotor(QUAD, wake_overlap=overlap, drag_area_m2=drag)
    powers_w = [rotors.power_w(QUAD.mass_kg, SEA_LEVEL_KG_M3, row[0], 0.0) for row in speeds]
    return [power_w / QUAD.model_w() for power_w in powers_w]


def rms(speeds: tuple[tuple[float, float, int], ...], overlap: float, drag: float) -> float:
    """Return the RMS error of the ratio over all samples."""
    pairs = zip(ratios(speeds, overlap, drag), speeds, strict=True)
    squares = sum(row[2] * (ratio - row[1]) ** 2 for ratio, row in pairs)
    return float((squares / sum(row[2] for row in speeds)) ** 0.5)


def hover_table() -> None:
    """Print published and modelled hover power."""
    print("hover                              kg  published W  model W  model/published")
    parts = []
    for row in (*MAKER, *MEASURED):
        parts.append(row.model_w() / row.published_w)
        print(
            f"{row.name:32s} {row.mass_kg:6.2f} {row.published_w:10.0f} {row.model_w():9.0f} {parts[-1]:12.2f}"
        )
    print(
        f"median {statistics.median(parts):.2f}, lowest {min(parts):.2f}, highest {max(parts):.2f} of {len(parts)}; none was fitted"
    )


def fit(overlaps: Iterable[float]) -> tuple[float, float]:
    """Return overlap and drag area in m2 with the least error on the first flight."""
    drags = [step * STEP for step in range(round(MOST_DRAG_M2 / STEP) + 1)]
    return min(product(overlaps, drags), key=lambda pair: rms(FITTED, *pair))


def cruise_table() -> None:
    """Fit the first flight; print the errors of all flights."""
    overlap, drag = fit(step * STEP for step in range(round(MOST_OVERLAP / STEP) + 1))
    alone, alone_drag = fit((0.0,))
    print(
        f"\ncruise over hover power of the quadrotor: wake_overlap {overlap:.2f} and drag area {drag:.2f} m2 fitted"
    )
    for name, rows in (("fitted", FITTED), ("judged", JUDGED)):
        without = rms(rows, alone, alone_drag)
        print(
            f"{name}: rms error {rms(rows, overlap, drag):.2f}; {without:.2f} with a drag area alone fitted"
        )
        for (speed, measured, _), ratio in zip(rows, ratios(rows, overlap, drag), strict=True):
            print(f"  {speed:5.1f} m/s  measured {measured:.2f}  model {ratio:.2f}")


def flights_table() -> None:
    """Fly every shipped scenario once with the first seed, and print the true course."""
    print(
        "\nflight          kg  s in all  mean W  most W  charge left %  lowest cell V  empty at s"
    )
    for name in scenario_names():
        scenario = load_scenario(name)
        world, truths = World(scenario, 1), []
        for t_s in range(int(world.duration_s) + 1):
            world.advance(t_s)
            truths.append(world.truth())
        vehicle, last = scenario.vehicle, truths[-1]
        mass_kg = 0.0 if vehicle is None else vehicle.mass_kg + vehicle.payload_kg
        flown_w = [truth.power_w for truth in truths if world.vehicle(truth.t_s).armed]
        low_v = min(min(truth.cells_v) for truth in truths)
        ended = "-" if last.ended_s is None else f"{last.ended_s:.0f}"
        print(f"{name:14s} {mass_kg:3.1f} {world.duration_s:9.0f} {statistics.fmean(flown_w):7.0f} {max(flown_w):7.0f}"
              f" {last.soc_frac * 100:14.0f} {low_v:14.2f} {ended:>11s}")  # fmt: skip


def main() -> None:
    """Print the three tables."""
    hover_table()
    cruise_table()
    flights_table()


if __name__ == "__main__":
    main()
