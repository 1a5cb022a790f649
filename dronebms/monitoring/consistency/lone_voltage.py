# SPDX-License-Identifier: Apache-2.0
"""The voltage of a pack whose cells are not known: a step that no pack makes is rejected.

No other reading has the pack's voltage, but what a charged pack can lose from one reading to the
next is bounded. A cell that fails takes its own share, a little more if the others drive it in
reverse; a load takes less than half, and the current shows it. A voltage that has lost more while
the current stands is none of the pack's, and stays rejected until it is back. Not of a pack that is
nearly empty: its limits have tripped, and its cells may fail together. Volts, amperes, seconds.
"""

from dataclasses import dataclass

from dronebms.core.pack_data import PackData
from dronebms.monitoring.consistency.pack_and_cells import highest_cell_v

_CELLS = 1.3  # of the pack: one that fails, in reverse at a third of its voltage
_LOAD_FRAC = 0.45  # of the voltage: more than any load takes, also in the cold
_OHMS = 5.0  # times those of a new pack: a worn one in the cold
_MOST_GAP_S = 5.5  # between readings that are compared


@dataclass(frozen=True, slots=True)
class PackReading:
    """A pack's voltage and current; None: unknown."""

    t_s: float
    pack_v: float
    current_a: float | None


@dataclass(frozen=True, slots=True)
class LoneVoltage:
    """The last reading that was the pack's, and whether later ones are rejected."""

    last: PackReading | None = None
    is_rejected: bool = False

    def added(self, newest: PackReading, pack_data: PackData) -> "LoneVoltage":
        """State after a reading; nothing is rejected of an unknown number of cells."""
        last = self.last
        cells = pack_data.cells
        if last is None or cells is None:
            return LoneVoltage(newest)
        loss_frac = max(_CELLS / cells, _LOAD_FRAC)
        lost_v = last.pack_v - newest.pack_v
        if self.is_rejected:
            return self if lost_v > loss_frac / 2.0 * last.pack_v else LoneVoltage(newest)
        steps = lost_v > loss_frac * last.pack_v and newest.t_s - last.t_s <= _MOST_GAP_S
        high_v = highest_cell_v(pack_data.chemistry)  # above it the last reading was wrong
        is_charged = pack_data.low_v < last.pack_v / cells <= high_v
        if not steps or not is_charged or last.current_a is None or newest.current_a is None:
            return LoneVoltage(newest)
        ohm = _OHMS * cells * pack_data.chemistry.new_cell_ohm(pack_data.capacity_ah)
        by_load_v = (newest.current_a - last.current_a) * ohm
        is_rejected = by_load_v < lost_v / 2.0
        return LoneVoltage(last if is_rejected else newest, is_rejected)
