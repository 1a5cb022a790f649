# SPDX-License-Identifier: Apache-2.0
"""The cells of a pack next to each other: the weakest one and why it is weak, and their spread.

Cells count from 0 here, and from 1 in texts.
"""

from dronebms.core.number_format import age
from dronebms.core.report import Report
from dronebms.presentation.phrases import age_s_of

_MILLI = 1000.0
_APART_V = 0.005 - 1e-9  # a gauge counts in millivolts, and two cells tremble by one each
WIDE_SPREAD_MV = 300.0  # the default limits warn at it under load
# Reasons for a weak cell: field of its state, sign, least share of the difference to the median.
_WEAK_REASONS = (
    ("soc_pct", -1.0, 0.05, "low SoC"),
    ("capacity_mah", -1.0, 0.03, "low capacity"),
    ("resistance_ohm", 1.0, 0.1, "high resistance"),
)


def weakest_cell(report: Report) -> int | None:
    """Cell that is below all others by more than noise, from 0."""
    known = sorted((v, k) for k, v in enumerate(report.snapshot.cells_v) if v is not None)
    apart = len(known) > 1 and known[1][0] - known[0][0] >= _APART_V
    return known[0][1] if apart else None


def weak_cell_reasons(report: Report, index: int) -> str:
    """Estimated states in which a cell is worse than the median cell; "" if there are none."""
    cells = report.estimate.state.cells
    found = []
    for name, sign, least_frac, reason in _WEAK_REASONS:
        known = sorted(v for cell in cells if (v := getattr(cell, name)) is not None)
        own = getattr(cells[index], name) if index < len(cells) else None
        if own is not None and (median := known[len(known) // 2]) > 0.0:
            found += [reason] if sign * (own / median - 1.0) >= least_frac else []
    return f": {', '.join(found)}" if found else ""


def spread_mv(report: Report) -> float | None:
    """Difference between the highest and the lowest cell, `None` without any."""
    known_v = report.snapshot.known_cells_v()
    return (max(known_v) - min(known_v)) * _MILLI if known_v else None


def mean_cell_v(report: Report) -> float | None:
    """Mean of the known cells, `None` without any."""
    known_v = report.snapshot.known_cells_v()
    return sum(known_v) / len(known_v) if known_v else None


def cells_heading(report: Report, now_s: float, bar: str = "") -> str:
    """Spread of the cells, age of the oldest, and the range of the bars.

    Args:
        report: the newest.
        now_s: time of the screen.
        bar: the spread as a part of `WIDE_SPREAD_MV`, drawn as text.
    """
    pack_data = report.pack_data
    cells_v = report.snapshot.cells_v
    apart_mv = spread_mv(report)
    if apart_mv is None:
        return "cells: none received"
    count = len(report.snapshot.known_cells_v())
    known = "" if count == len(cells_v) else f", {count} known"
    bars = f"bars {pack_data.cutoff_v:.2f}-{pack_data.chemistry.full_cell_v:.2f} V"
    ages_s = [age_s_of(report, f"cell{index + 1}_v", now_s) for index in range(len(cells_v))]
    oldest_s = max((age_s for age_s in ages_s if age_s is not None), default=None)
    oldest = "" if oldest_s is None else f", oldest {age(oldest_s)}"
    wide = f"{bar} of {WIDE_SPREAD_MV:.0f}" if bar else f"of {WIDE_SPREAD_MV:.0f} mV"
    return f"cells: spread {apart_mv:.0f} mV {wide}{known}{oldest}, {bars}"
