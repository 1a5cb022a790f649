# SPDX-License-Identifier: Apache-2.0
"""Discharges of single cells in laboratories: `python -m benchmarks.laboratory FOLDER`.

Of the flights in a folder those of one cell in series, without a gauge and with nothing learned: the error
of the median, how often the 90 % interval holds, its width and its score as in `scoring.py`, for
each discharge, the mean over each cell's discharges, and the mean over all.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.baselines import Px4
from benchmarks.estimate import Make, Ours, fly, without_gauge
from benchmarks.scoring import Score, mean_of, read_folder

FIGURES = {"error": 100.0, "cover": 100.0, "width": 100.0, "winkler_s": 1.0, "danger": 100.0}


def row(name: str, scores: Sequence[Score]) -> str:
    """Return the mean figures of some discharges as a row of the table."""
    figures = [f"{factor * mean_of(scores, field):.0f}" for field, factor in FIGURES.items()]
    return "| " + " | ".join((name, *figures)) + " |"


def main() -> None:
    """Judge the laboratory discharges of a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--discharges", action="store_true", help="also print each discharge")
    options = parser.parse_args()
    flights = [
        replace(judged, looks=tuple(map(without_gauge, judged.looks)))
        for judged in read_folder([options.folder])
        if judged.flight.pack_data.cells == 1
    ]
    predictors: dict[str, Make] = {
        "dronebms, nothing learned": lambda judged: Ours(judged, None),
        "PX4 lib/battery": Px4,
    }
    for name, make in predictors.items():
        scores = fly(flights, make)
        print(
            f"{name}\n| | error % | 90 % holds % | width % | interval score s | dangerous % |\n|---|---|---|---|---|---|"
        )
        for each in scores if options.discharges else ():
            print(row(each.name, [each]))
        for pack in dict.fromkeys(each.pack for each in scores):
            print(row(pack, [each for each in scores if each.pack == pack]))
        print(row(f"all {len(scores)}", scores), flush=True)


if __name__ == "__main__":
    main()
