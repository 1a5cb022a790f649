"""What can go wrong with a virtual pack, its gauge and its wire, as rows.

Each has a sentence, the part it touches, when (seconds of the flight), and most have a size. What
a fault does is in the part that it touches; rows of the pack hold from the start.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from math import inf, isfinite
from typing import Annotated

from pydantic import model_validator

from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import Finite, NotNegative, Positive, Section, one_of


class FaultSite(Enum):
    """Where a fault sits."""

    WIRE = "wire"
    GAUGE = "gauge"
    PACK = "pack"  # how the pack is built or charged: holds from the start
    FLIGHT = "flight"  # while the pack is in use


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong for some time."""

    name: str
    site: FaultSite
    start_s: float
    duration_s: float | None  # None: it stays
    size: float
    unit: str  # of the size; empty: it has none
    low: float  # sizes that make sense, ends included
    high: float
    sentence: str
    once: bool = False  # happens at its start, and lasts no time

    def active(self, t_s: float) -> bool:
        """Return whether it is at work at this time of the flight."""
        since_s = t_s - self.start_s
        return since_s >= 0 and (self.duration_s is None or since_s < self.duration_s)


# fmt: off
NACK           = Fault("nack",           FaultSite.WIRE,    60.0, None,   0.2, "frac",     0.0, 1.0, "so many of the transfers are refused")
BAD_PEC        = Fault("bad_pec",        FaultSite.WIRE,    60.0, None,  0.05, "frac",     0.0, 1.0, "in so many of the replies one bit of the last byte is wrong")
BIT_FLIPS      = Fault("bit_flips",      FaultSite.WIRE,    60.0, None, 0.001, "frac",     0.0, 1.0, "so many of the bits that the host reads are wrong")
STRETCH        = Fault("stretch",        FaultSite.WIRE,    60.0, None, 0.005, "s",        0.0, 1.0, "every transfer takes so much longer; past 0.035 s it times out")
STUCK          = Fault("stuck",          FaultSite.WIRE,   120.0,  8.0,   1.0, "",         0.0, 1.0, "something holds the bus down")
UNPLUG         = Fault("unplug",         FaultSite.WIRE,   120.0, 20.0,   1.0, "",         0.0, 1.0, "the gauge's plug comes off")
WRONG_PACK     = Fault("wrong_pack",     FaultSite.WIRE,   120.0, None,   1.0, "",         0.0, 1.0, "another pack answers: a cell less, another chemistry, another serial")
TWO_PACKS      = Fault("two_packs",      FaultSite.WIRE,   120.0, 20.0,   1.0, "",         0.0, 1.0, "a second pack of the same kind answers at the same time")
FFFF_CELLS     = Fault("ffff_cells",     FaultSite.GAUGE,   60.0, None,   0.1, "frac",     0.0, 1.0, "in so many of the measurements the second cell is 0xFFFF")
FROZEN         = Fault("frozen",         FaultSite.GAUGE,  180.0, None,   1.0, "",         0.0, 1.0, "the gauge's values stand still")
THERMISTOR     = Fault("thermistor",     FaultSite.GAUGE,   60.0, None,   1.0, "",         0.0, 1.0, "the thermistor's wire is open: it reads as far too cold to be true")
CURRENT_OFFSET = Fault("current_offset", FaultSite.GAUGE,   60.0, None,   2.0, "A",       -inf, inf, "the gauge reads and counts so much too much current")
GAUGE_RESET    = Fault("gauge_reset",    FaultSite.GAUGE,  120.0, None,   1.0, "",         0.0, 1.0, "the gauge starts again, and forgets what was drawn", once=True)
WEAK_CELL      = Fault("weak_cell",      FaultSite.PACK,     0.0, None,  0.88, "frac",    0.05, 1.0, "the third cell holds so much of what it did, and resists half as much again")
LOW_CHARGE     = Fault("low_charge",     FaultSite.PACK,     0.0, None,   0.4, "frac",    0.01, 1.0, "the pack was charged so far only")
LOST_STRING    = Fault("lost_string",    FaultSite.FLIGHT, 120.0, None,   1.0, "strings",  1.0, inf, "so many of the parallel strings come off", once=True)
HOT_CELL       = Fault("hot_cell",       FaultSite.FLIGHT, 120.0, None,   0.4, "K/s",      0.0, inf, "the first cell heats itself so fast")
HIGH_CURRENT   = Fault("high_current",   FaultSite.FLIGHT, 180.0, 20.0,  1.25, "x",        0.0, inf, "the pack gives so many times what its chemistry may be asked for")
# fmt: on

FAULTS = (
    NACK, BAD_PEC, BIT_FLIPS, STRETCH, STUCK, UNPLUG, WRONG_PACK, TWO_PACKS,
    FFFF_CELLS, FROZEN, THERMISTOR, CURRENT_OFFSET, GAUGE_RESET,
    WEAK_CELL, LOW_CHARGE, LOST_STRING, HOT_CELL, HIGH_CURRENT,
)  # fmt: skip

FFFF_CELL = 1  # cells count from 0
WEAK_CELL_INDEX = 2
WEAK_RESISTANCE = 1.5
HOT_CELL_INDEX = 0
_ROWS = {row.name: row for row in FAULTS}
_TEXT = re.compile(
    r"(?P<name>[^=@]*)(=(?P<size>[^@]*))?(@(?P<start>[^-]*)(?P<until>-(?P<end>.*))?)?"
)


def active_sizes(faults: Iterable[Fault], row: Fault, t_s: float) -> list[float]:
    """Return the sizes of all faults of a row that are at work; empty when none is."""
    return [fault.size for fault in faults if fault.name == row.name and fault.active(t_s)]


def parse_fault(text: str) -> Fault:
    """Return the fault that an option names: `NAME[=SIZE][@START_S[-END_S]]`.

    Raises:
        ConfigError: no such fault, time or size.
    """
    found = _TEXT.fullmatch(text)
    name = found["name"] if found else text
    if found is None or name not in _ROWS:
        near = difflib.get_close_matches(name, _ROWS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"fault {name!r} is not one of {', '.join(_ROWS)}{hint}")
    start_s, end_s, size = (_number(found[key]) for key in ("start", "end", "size"))
    duration_s = None if end_s is None or start_s is None else end_s - start_s
    try:
        return _changed(_ROWS[name], start_s, duration_s, size)
    except ValueError as error:
        raise ConfigError(f"fault {text!r}: {error}") from error


def _number(text: str | None) -> float | None:
    """Return a number, NaN when it is none, None when there is no text."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return float("nan")


def _changed(
    row: Fault, start_s: float | None, duration_s: float | None, size: float | None
) -> Fault:
    """Return a row at another time or of another size; None leaves it.

    Raises:
        ValueError: not for this row.
    """
    if row.site is FaultSite.PACK and (start_s, duration_s) != (None, None):
        raise ValueError(f"{row.name} holds from the start and takes no time")
    if start_s is not None and not 0.0 <= start_s < inf:
        raise ValueError(f"the start is seconds from 0, as in {row.name}@90")
    if duration_s is not None and not 0.0 < duration_s < inf:
        raise ValueError(f"the end is seconds after the start, as in {row.name}@90-120")
    if row.once and duration_s is not None:
        raise ValueError(f"{row.name} happens once and takes no end")
    if size is not None:
        if not row.unit:
            raise ValueError(f"{row.name} takes no size")
        is_whole = row.unit != LOST_STRING.unit or size.is_integer()
        if not (isfinite(size) and row.low <= size <= row.high and is_whole):
            raise ValueError(f"the size of {row.name} is {row.low:g} to {row.high:g} {row.unit}")
        row = replace(row, size=size)
    if start_s is not None:
        row = replace(row, start_s=start_s)
    return row if duration_s is None else replace(row, duration_s=duration_s)


class FaultSpec(Section):
    """A `[[fault]]` of a scenario; what is left out is the row's."""

    name: Annotated[str, one_of(_ROWS)]
    start_s: NotNegative | None = None
    duration_s: Positive | None = None
    size: Finite | None = None  # in the unit of the row

    @model_validator(mode="after")
    def _is_possible(self) -> "FaultSpec":
        self.fault()
        return self

    def fault(self) -> Fault:
        """Return the row, changed."""
        return _changed(_ROWS[self.name], self.start_s, self.duration_s, self.size)
