# SPDX-License-Identifier: Apache-2.0
"""Panels of a flight's plots: the columns of their curves and the labels of these.

A column is named by the path of its value in a `Report`; `actual` is the true time to empty, known
in hindsight.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. Without curves it shows cells, or spans of time, by its name."""

    name: str
    unit: str = ""
    curves: tuple[tuple[str, str], ...] = ()  # column, label
    band: tuple[str, ...] = ()  # columns of the low and the high bound
    scale: float = 1.0  # factor from the columns to `unit`


CELLS = "Cells"
SPANS = "Modes and alarms"
ACTUAL = "actual"
# fmt: off
PANELS = (
    Panel("Pack voltage",    "V",    (("snapshot.voltage_v", "pack"),)),
    Panel(CELLS,             "V"),
    Panel("Current",         "A",    (("snapshot.current_a", "drawn"), ("estimate.max_discharge_2s_a", "max 2 s"), ("estimate.max_discharge_a", "max 10 s"),
                                      ("estimate.max_discharge_30s_a", "max 30 s"), ("status.asked_max_a", "commanded limit"))),
    Panel("Temperature",     "degC", (("snapshot.temperature_degc", "pack"),)),
    Panel("State of charge", "%",    (("estimate.soc_pct", "weakest cell"), ("snapshot.soc_pct", "gauge"))),
    Panel("Time to empty",   "min",  (("estimate.remaining_s", "predicted"), (ACTUAL, "actual")), ("estimate.remaining_low_s", "estimate.remaining_high_s"), 1 / 60),
    Panel("Way home",        "min",  (("estimate.home_s", "flight home"), ("estimate.remaining_low_s", "time left, 5 %")), scale=1 / 60),
    Panel("Resistance",      "mohm", (("estimate.resistance_ohm", "pack"),), scale=1000.0),
    Panel(SPANS),
)
# Panels whose extremes are in the summary, and decimals.
EXTREMES = (("Pack voltage", 2), ("Current", 1), ("Temperature", 0), ("State of charge", 0))
# fmt: on
COLUMNS = tuple(
    path for panel in PANELS for path in (*dict(panel.curves), *panel.band) if path != ACTUAL
)
