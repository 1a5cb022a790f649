"""What is said of a fit, and between two forecasts: time that counts down, charge that is shown.

Seconds, per cent, ohms of a pack. Latched where flight controllers latch.
"""

import math
from dataclasses import dataclass

import numpy as np

from dronebms.estimation.cell_fit import CellFit
from dronebms.estimation.cell_model import (
    CAPACITY,
    CURVE_FROM,
    CURVE_STEPS,
    FAST,
    KNOTS,
    CircuitState,
)
from dronebms.estimation.pack_memory import LearnedPack

MAX_STEP_GAP_S = 3.0
_UNKNOWN_RESISTANCE_SD = 0.3
_UNKNOWN_HEALTH_SD = 0.06
_RISES_S = 4.0
_NOT_YET_S = 1.0  # the upper bound stays above zero until the end has come
_RECOVER_PCT_S = 0.1  # how fast the charge shown may rise while discharging


@dataclass(frozen=True, slots=True)
class RemainingTime:
    """Seconds until the end: median, and bounds that are wrong one time in twenty each."""

    low_s: float
    median_s: float
    high_s: float

    def after(self, since_s: float) -> "RemainingTime":
        """Return what is left some seconds later.

        Between forecasts the clock counts; in a gap nobody knows how fast, so the bounds part.
        """
        lost = since_s >= MAX_STEP_GAP_S
        median_s = max(self.median_s - since_s, 0.0)
        low_s = max(self.low_s - (2 if lost else 1) * since_s, 0.0)
        high_s = self.high_s - (0.0 if lost else since_s)
        return RemainingTime(min(low_s, median_s), median_s, max(high_s, median_s, _NOT_YET_S))

    def followed_by(self, new: "RemainingTime", since_s: float) -> "RemainingTime":
        """Return a forecast after this one: bad news is told at once, good news little by little.

        The fit is renewed every ten seconds; a rise in one step is seldom what the pack did.
        """
        share, told = since_s / (_RISES_S + since_s), self.after(since_s)
        median_s = min(new.median_s, told.median_s + share * (new.median_s - told.median_s))
        low_s = min(new.low_s, told.low_s + share * (new.low_s - told.low_s))
        return RemainingTime(min(low_s, median_s), median_s, new.high_s)


ENDED = RemainingTime(0.0, 0.0, 0.0)


class ShownCharge:
    """The charge in per cent, which under load falls at once and rises slowly.

    Flight controllers latch on the lowest value they are told.
    """

    def __init__(self) -> None:
        self._pct: float | None = None
        self._at_s = 0.0

    def pct(self, now_s: float, charge_frac: float, *, loaded: bool) -> float:
        """Return what is shown of a charge."""
        pct = min(max(charge_frac * 100.0, 0.0), 100.0)
        if self._pct is not None and loaded:
            pct = min(pct, self._pct + _RECOVER_PCT_S * (now_s - self._at_s))
        self._pct, self._at_s = pct, now_s
        return pct


def charge_at(cell: CellFit, open_v: float) -> float:
    """Return the charge, a fraction, at which a cell at rest has a voltage."""
    table_v = cell.model.curves(cell.x[KNOTS:])
    return CURVE_FROM + float(np.searchsorted(table_v, open_v)) / CURVE_STEPS


def resistance_ohm(cell: CellFit, now: CircuitState, cells: int) -> float | None:
    """Return the resistance of a pack after some 20 s of load, None until it is known."""
    known = cell.P[FAST, FAST] < _UNKNOWN_RESISTANCE_SD**2
    return cells * (now.ohms[0] + now.ohms[1]) if known else None


def health_pct(cell: CellFit, learned: LearnedPack | None) -> float | None:
    """Return capacity against the rated one; less when resistance grew since flight one."""
    if cell.P[CAPACITY, CAPACITY] > _UNKNOWN_HEALTH_SD**2:
        return None
    health = math.exp(float(cell.x[CAPACITY]))
    if learned is not None and cell.P[FAST, FAST] < _UNKNOWN_RESISTANCE_SD**2:
        health = min(health, 2 - math.exp(float(cell.x[FAST]) - learned.first_fast))
    return 100.0 * min(max(health, 0.0), 1.0)
