# SPDX-License-Identifier: Apache-2.0
"""Samples of one flight as the measurements take them: an array, and its means over some seconds.

Rows of about one per second, times growing, NaN unknown; current positive while discharging.
"""

from math import nan

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

T_S, VOLTS, AMPS, DEGC, USED_AH, CELLS = range(6)  # columns; cells to the end
BLOCK_S = 5.0


def block_means(samples: Array, cutoff_v: float, cells: int) -> tuple[Array, Array]:
    """(Means of blocks of time, voltage of the mean cell in each).

    Without unknown samples and those after the pack's cut-off. Without the cells the mean one
    includes plug and wires.
    """
    known = samples[~np.isnan(samples[:, [VOLTS, AMPS]]).any(axis=1)]
    ended = np.flatnonzero(known[:, VOLTS] < cutoff_v)
    known = known[: ended[0]] if len(ended) else known
    if not len(known):
        return known, known[:, VOLTS]
    starts = np.unique(known[:, T_S] // BLOCK_S, return_index=True)[1]
    counts = np.diff(np.append(starts, len(known)))
    blocks = np.asarray(np.add.reduceat(known, starts) / counts[:, None])
    mean_v = blocks[:, CELLS:].mean(axis=1) if blocks.shape[1] == CELLS + cells else np.array([nan])
    return blocks, blocks[:, VOLTS] / cells if np.isnan(mean_v).any() else mean_v
