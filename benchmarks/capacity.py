# SPDX-License-Identifier: Apache-2.0
"""Judges the capacity of the pack history: `python benchmarks/capacity.py FOLDER...`.

Flights with a known capacity (`scoring.true_capacity_mah`), as `dronebms packs --add` records them. Prints for
each group how many flights have a figure, its error, how often its 90 % interval holds the truth and how wide it
is: by one flight, and by all flights of a pack. A flight below 15 degC of a laboratory is not judged: what a cold
cell gave is not its capacity.

    --flights   also print every flight
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.scoring import is_laboratory, true_capacity_mah
from dronebms.core.report import Estimate, Report, Status
from dronebms.flightlogs import FlightSource, read_csv_log
from dronebms.health.capacity import PackCapacity, pack_capacity
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import LOST, FlightRecord
from dronebms.monitoring.consistency import ConsistencyCheck
from dronebms.monitoring.plausibility import PlausibilityCheck

COLD_DEGC = 15.0


@dataclass(frozen=True)
class Case:
    """One flight."""

    name: str
    record: FlightRecord
    true_mah: float


def record_of(path: Path) -> FlightRecord | None:
    """Return the record of a flight, without the estimate of the time to empty."""
    flight = read_csv_log(path)
    source, detector = FlightSource(flight), FlightDetector(flight.name)
    plausible, physics = PlausibilityCheck(), ConsistencyCheck()
    found = []
    for t_s in source.ticks():
        checked = plausible.check(source.poll(t_s), flight.pack_data)
        snapshot = physics.check(checked, flight.pack_data)
        vehicle, estimate, status = source.vehicle(t_s), Estimate(t_s), Status(t_s)
        report = Report(t_s, 0, flight.pack_data, snapshot, vehicle, estimate, status)
        found.append(detector.update(report))
    records = [row for row in (*found, detector.record(LOST)) if row is not None]
    return records[0] if records else None


def read(folder: Path) -> list[Case]:
    """Return the flights of a folder whose capacity is known."""
    cases = []
    for path in sorted(folder.glob("*.csv*")):
        true_mah = true_capacity_mah(path)
        record = None if true_mah is None else record_of(path)
        if record is None or true_mah is None:
            continue
        if is_laboratory(path) and (record.mean_degc or 0.0) < COLD_DEGC:
            continue
        cases.append(Case(path.name.partition(".")[0], record, true_mah))
    return cases


def line(name: str, found: list[tuple[PackCapacity | None, float]]) -> str:
    """Return a row of the table; pairs of a figure and the true one in mAh."""
    known = [(one, true_mah) for one, true_mah in found if one is not None]
    if not known:
        return f"| {name} | 0 of {len(found)} | - | - | - | - |"
    errors = np.array([one.mah / true_mah - 1.0 for one, true_mah in known])
    held = np.mean([one.low_mah <= true_mah <= one.high_mah for one, true_mah in known])
    width = np.mean([(one.high_mah - one.low_mah) / one.mah for one, _ in known])
    return (
        f"| {name} | {len(known)} of {len(found)} | {100 * np.abs(errors).mean():.0f} | "
        f"{100 * np.abs(errors).max():.0f} | {100 * held:.0f} | {100 * width:.0f} |"
    )


def main() -> None:
    """Judge the given folders."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--flights", action="store_true")
    options = parser.parse_args()
    print("| flights | with a figure | mean error % | largest % | interval holds % | width % |")
    print("|---|---|---|---|---|---|")
    for folder in options.folders:
        cases = read(folder)
        single = [(pack_capacity([case.record]), case.true_mah) for case in cases]
        print(line(f"{folder.name}, one flight", single))
        packs: dict[str, list[Case]] = {}
        for case in cases:
            packs.setdefault(case.record.pack, []).append(case)
        whole = [
            (pack_capacity([case.record for case in flown]), flown[-1].true_mah)
            for flown in packs.values()
        ]
        print(line(f"{folder.name}, all flights of a pack", whole), flush=True)
        if options.flights:
            for case, (found, true_mah) in zip(cases, single, strict=True):
                text = (
                    "-"
                    if found is None
                    else f"{found.mah:.0f} ({found.low_mah:.0f}-{found.high_mah:.0f})"
                )
                print(f"    {case.name:28s} true {true_mah:.0f} mAh, {text}")


if __name__ == "__main__":
    main()
