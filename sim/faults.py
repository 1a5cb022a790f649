"""What can go wrong with a virtual pack, its gauge and its wire, as rows.

Each has a sentence, the part it touches, and when: seconds of the flight. What a fault does is
in the part that it touches; rows of the pack hold from the start.
"""

import difflib
from dataclasses import dataclass, replace
from enum import Enum

from dronebms.errors import ConfigError


class Part(Enum):
    """Where a fault sits."""

    WIRE = "wire"
    GAUGE = "gauge"
    PACK = "pack"  # how the pack is built or charged: holds from the start
    FLIGHT = "flight"  # while the pack is in use


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong for some time."""

    name: str
    part: Part
    start_s: float
    duration_s: float | None  # None: it stays
    sentence: str

    def active(self, t_s: float) -> bool:
        """Return whether it is at work at this time of the flight."""
        since_s = t_s - self.start_s
        return since_s >= 0 and (self.duration_s is None or since_s < self.duration_s)


# fmt: off
NACK         = Fault("nack",         Part.WIRE,    60.0, None, "one transfer in five is refused")
BAD_PEC      = Fault("bad_pec",      Part.WIRE,    60.0, None, "one reply in twenty is flawed")
STUCK        = Fault("stuck",        Part.WIRE,   120.0,  8.0, "something holds the bus down")
UNPLUG       = Fault("unplug",       Part.WIRE,   120.0, 20.0, "the gauge's plug comes off")
FFFF_CELLS   = Fault("ffff_cells",   Part.GAUGE,   60.0, None, "the second cell often reads 0xFFFF")
FROZEN       = Fault("frozen",       Part.GAUGE,  180.0, None, "the gauge's values stand still")
WEAK_CELL    = Fault("weak_cell",    Part.PACK,     0.0, None, "the third cell is worn out")
LOW_CHARGE   = Fault("low_charge",   Part.PACK,     0.0, None, "the pack was charged to 40 % only")
HOT_CELL     = Fault("hot_cell",     Part.FLIGHT, 120.0, None, "the first cell heats itself")
HIGH_CURRENT = Fault("high_current", Part.FLIGHT, 180.0, 20.0, "the pack gives more than it may")
# fmt: on

FAULTS = (
    NACK, BAD_PEC, STUCK, UNPLUG, FFFF_CELLS, FROZEN, WEAK_CELL, LOW_CHARGE, HOT_CELL, HIGH_CURRENT,
)  # fmt: skip

NACK_FRAC = 0.2  # of transfers: busy writing its flash
BAD_PEC_FRAC = 0.05  # of replies
FFFF_FRAC = 0.1  # of the gauge's measurements
FFFF_CELL = 1  # cells count from 0
WEAK_CELL_INDEX = 2
WEAK_CAPACITY_FRAC = 0.88
WEAK_RESISTANCE = 1.5
LOW_CHARGE_FRAC = 0.4
HOT_CELL_INDEX = 0
HOT_CELL_K_S = 0.2
HIGH_CURRENT_OF_CONTINUOUS = 1.25  # of what the chemistry may be asked for


def parse_fault(text: str) -> Fault:
    """Return the fault that an option names: `NAME`, or `NAME@START_S`.

    Raises:
        ConfigError: no such fault, or no such start.
    """
    name, moved, start = text.partition("@")
    rows = {row.name: row for row in FAULTS}
    row = rows.get(name)
    if row is None:
        near = difflib.get_close_matches(name, rows, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"fault {name!r} is not one of {', '.join(rows)}{hint}")
    if not moved:
        return row
    if row.part is Part.PACK:
        raise ConfigError(f"fault {name} holds from the start and takes no @START_S")
    try:
        start_s = float(start)
    except ValueError:
        start_s = -1.0
    if not 0.0 <= start_s < float("inf"):
        raise ConfigError(f"fault {text!r}: the start is seconds from 0, as in {name}@90")
    return replace(row, start_s=start_s)
