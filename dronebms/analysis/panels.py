"""What is plotted of a flight: a row for each panel, the columns of its curves and their names.

A column is named by where its value stands in a `Report`; `actual` is the time that was really
left, known in hindsight. Units stand beside; `scale` makes them of the column's.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. Without curves it shows cells or alarms, as it is called."""

    name: str
    unit: str = ""
    curves: tuple[tuple[str, str], ...] = ()
    band: tuple[str, ...] = ()  # low and high
    scale: float = 1.0  # what values are multiplied with


CELLS, ALARMS, ACTUAL = "Cells", "Alarms", "actual"
# fmt: off
PANELS = (
    Panel("Pack voltage", "V",    (("snapshot.voltage_v", "pack"),)),
    Panel(CELLS,          "V"),
    Panel("Current",      "A",    (("snapshot.current_a", "drawn"), ("estimate.max_discharge_2s_a", "can give 2 s"), ("estimate.max_discharge_a", "10 s"),
                                   ("estimate.max_discharge_30s_a", "30 s"), ("status.asked_max_a", "asked for"))),
    Panel("Temperature",  "degC", (("snapshot.temperature_degc", "pack"),)),
    Panel("Charge",       "%",    (("estimate.soc_pct", "weakest cell"), ("snapshot.soc_pct", "the gauge says"))),
    Panel("Time left",    "min",  (("estimate.remaining_s", "predicted"), (ACTUAL, "actual")), ("estimate.remaining_low_s", "estimate.remaining_high_s"), 1 / 60),
    Panel(ALARMS),
)
# What the summary tells the least and the greatest of: panels, and decimals.
EXTREMES = (("Pack voltage", 2), ("Current", 1), ("Temperature", 0), ("Charge", 0))
# fmt: on
COLUMNS = tuple(
    path for panel in PANELS for path in (*dict(panel.curves), *panel.band) if path != ACTUAL
)
