# SPDX-License-Identifier: Apache-2.0
"""Draws docs/estimation.svg: `python benchmarks/plot_estimation.py FLIGHT... -o FILE.svg`.

For each flight the estimated time to empty from 10 s after take-off on, and the true one; left with nothing learned,
right after the other flights of the pack that were given before it. Needs matplotlib (extra `report`).
"""

import argparse
from pathlib import Path

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]  # an extra
import numpy as np

from benchmarks.estimate import Ours
from benchmarks.scoring import FIRST_S, read_folder, run
from dronebms.estimation.learning.pack_memory import PackMemoryInRam

_STEP = 10  # a point each ten seconds


def main() -> None:
    """Draw the given flights."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "estimation"  # the same file each time
    from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - after the backend

    flights = read_folder(options.paths)
    memory = PackMemoryInRam()
    figure, axes = plt.subplots(len(flights), 2, figsize=(9, 2.4 * len(flights)), squeeze=False)
    for judged, row in zip(flights, axes, strict=True):
        untaught = PackMemoryInRam()
        taught = Ours(judged, memory)
        for axis, known in zip(row, (untaught, memory), strict=True):
            ours = taught if known is memory else Ours(judged, known)
            rows, _ = run(judged, ours, lambda: 0.0, FIRST_S)
            t_s, true_s, low_s, middle_s, high_s = np.nan_to_num(rows[::_STEP]).T / 60.0
            axis.fill_between(t_s, low_s, high_s, alpha=0.25, label="5 % to 95 %", linewidth=0)
            axis.plot(t_s, middle_s, label="estimate")
            axis.plot(t_s, true_s, "k--", linewidth=1, label="true")
            axis.set_ylim(0, 2 * true_s[0])
            learned = "learned" if judged.pack in known.packs else "nothing learned"
            axis.set_title(f"{judged.flight.name}, {learned}", fontsize=8)
            axis.tick_params(labelsize=7)
        taught.land()
    axes[0][0].legend(fontsize=7)
    figure.supxlabel("minutes", fontsize=8)
    figure.supylabel("minutes left", fontsize=8)
    figure.tight_layout()
    figure.savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
