# SPDX-License-Identifier: Apache-2.0
"""A flight against the earlier flights of its pack in the pack history."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from dronebms.health.flight_record import FlightRecord

# fmt: off
_ROWS: tuple[tuple[str, str, str, int, bool | None], ...] = (  # field, label, unit, decimals, grows
    ("used_mah",          "Charge used",              "mAh",  0, None),
    ("flown_s",           "Time flown",               "s",    0, None),
    ("capacity_mah",      "Capacity",                 "mAh",  0, False),
    ("relative_capacity", "Relative capacity",        "",     2, False),
    ("resistance_mohm",   "Resistance of a cell",     "mohm", 2, True),
    ("spread_rest_mv",    "Cell spread at rest",      "mV",   0, None),
    ("spread_load_mv",    "Cell spread under load",   "mV",   0, True),
    ("hottest_degc",      "Highest temperature",      "degC", 0, None),
    ("lowest_cell_v",     "Lowest cell",              "V",    2, None),
    ("end_pct",           "State of charge, landing", "%",    0, None),
)
# fmt: on
_LEAST_FLIGHTS = 3  # earlier ones: a median of fewer is no usual value
# Against the median of the earlier flights, from which a pack is checked.
_GROWN = 1.3  # resistance or spread
_LOST = 0.85  # capacity
_SAME_DEGC = 10.0  # by which temperatures may differ for resistances to compare


@dataclass(frozen=True, slots=True)
class Change:
    """A value of this flight and the median of the earlier flights of the pack."""

    label: str
    unit: str
    decimals: int
    value: float
    earlier: float
    grows: bool | None = None  # whether more of it is worse; None: neither

    @property
    def is_worse(self) -> bool:
        """Whether the pack has changed for the worse by more than flights differ."""
        if self.grows is None or self.earlier <= 0:
            return False
        share = self.value / self.earlier
        return share >= _GROWN if self.grows else share <= _LOST


def compare(flight: FlightRecord, earlier: Sequence[FlightRecord]) -> list[Change]:
    """Values of a flight and the medians of earlier ones, where there are three or more.

    Args:
        flight: the flight.
        earlier: the other flights of its pack.
    """
    changes = []
    for field, label, unit, decimals, grows in _ROWS:
        value = getattr(flight, field)
        rows = _warm_as(flight, earlier) if field == "resistance_mohm" else earlier
        known = [v for row in rows if (v := getattr(row, field)) is not None]
        if value is not None and len(known) >= _LEAST_FLIGHTS:
            changes.append(Change(label, unit, decimals, value, median(known), grows))
    return changes


def _warm_as(flight: FlightRecord, earlier: Sequence[FlightRecord]) -> list[FlightRecord]:
    """The flights whose resistance was measured at about the same temperature."""
    degc = flight.resistance_degc
    return [
        row
        for row in earlier
        if degc is not None
        and row.resistance_degc is not None
        and abs(row.resistance_degc - degc) <= _SAME_DEGC
    ]
