# SPDX-License-Identifier: Apache-2.0
"""Ground truth of a simulated flight, and the end of discharge of its pack."""

from collections import deque
from dataclasses import dataclass

END_MEAN_S = 5.0  # end of discharge: the mean of the weakest cell over this time at the cut-off,
END_DIP_V = 0.25  # or one step so far below it


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """True state of a pack at one time."""

    t_s: float
    power_w: float  # at the terminals
    voltage_v: float
    current_a: float
    cells_v: tuple[float, ...]
    charge_frac: tuple[float, ...]  # of each cell's own capacity
    soc_frac: float  # of the emptiest cell
    temperature_degc: float  # of the hottest cell
    drawn_mah: float
    overloaded: bool  # the pack could not supply the power of the load
    ended_s: float | None  # time of the end of discharge


class EndOfDischarge:
    """Rule for the end of discharge, one voltage of the weakest cell a step."""

    def __init__(self, cutoff_v: float, step_s: float) -> None:
        self._cutoff_v = cutoff_v
        self._window: deque[float] = deque(maxlen=round(END_MEAN_S / step_s))
        self._sum_v = 0.0

    def reached(self, weakest_v: float) -> bool:
        """Whether the end is reached, with the weakest cell of the next step."""
        window = self._window
        full = len(window) == window.maxlen
        self._sum_v += weakest_v - (window[0] if full else 0.0)
        window.append(weakest_v)
        if weakest_v <= self._cutoff_v - END_DIP_V:
            return True
        return len(window) == window.maxlen and self._sum_v <= self._cutoff_v * len(window)
