# SPDX-License-Identifier: Apache-2.0
"""Fault table of a virtual pack, its gauge and its bus, and the parser of `--fault`.

A row has a sentence, the site of the fault, its time (seconds of the flight), and in most cases a
size. The module of the site implements the fault; faults of the pack hold from the start.
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
    """Site of a fault."""

    WIRE = "wire"  # the bus
    GAUGE = "gauge"
    PACK = "pack"  # construction or charge of the pack: holds from the start
    FLIGHT = "flight"  # during the flight


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that is active for some time."""

    name: str
    site: FaultSite
    start_s: float
    duration_s: float | None  # None: to the end
    size: float
    unit: str  # of the size; empty: no size
    low: float  # range of sizes, ends included
    high: float
    sentence: str
    once: bool = False  # an event at its start, without a duration

    def active(self, t_s: float) -> bool:
        """Whether it is active at this time of the flight."""
        since_s = t_s - self.start_s
        return since_s >= 0 and (self.duration_s is None or since_s < self.duration_s)


# fmt: off
NACK           = Fault("nack",           FaultSite.WIRE,    60.0, None,   0.2, "frac",     0.0, 1.0, "this fraction of the transfers is refused")
BAD_PEC        = Fault("bad_pec",        FaultSite.WIRE,    60.0, None,  0.05, "frac",     0.0, 1.0, "in this fraction of the replies one bit of the last byte is wrong")
BIT_FLIPS      = Fault("bit_flips",      FaultSite.WIRE,    60.0, None, 0.001, "frac",     0.0, 1.0, "this fraction of the bits that the host reads is wrong")
STRETCH        = Fault("stretch",        FaultSite.WIRE,    60.0, None, 0.005, "s",        0.0, 1.0, "every transfer takes this much longer; beyond 0.035 s it times out")
STUCK          = Fault("stuck",          FaultSite.WIRE,   120.0,  8.0,   1.0, "",         0.0, 1.0, "the bus is held low")
UNPLUG         = Fault("unplug",         FaultSite.WIRE,   120.0, 20.0,   1.0, "",         0.0, 1.0, "the plug of the gauge is off")
WRONG_PACK     = Fault("wrong_pack",     FaultSite.WIRE,   120.0, None,   1.0, "",         0.0, 1.0, "another pack answers: one cell less, another chemistry, another serial number")
TWO_PACKS      = Fault("two_packs",      FaultSite.WIRE,   120.0, 20.0,   1.0, "",         0.0, 1.0, "a second pack of the same kind answers at the same time")
FFFF_CELLS     = Fault("ffff_cells",     FaultSite.GAUGE,   60.0, None,   0.1, "frac",     0.0, 1.0, "in this fraction of the measurements the second cell reads 0xFFFF")
FROZEN         = Fault("frozen",         FaultSite.GAUGE,  180.0, None,   1.0, "",         0.0, 1.0, "the values of the gauge do not change")
THERMISTOR     = Fault("thermistor",     FaultSite.GAUGE,   60.0, None,   1.0, "",         0.0, 1.0, "the wire of the thermistor is broken: it reads an implausibly low temperature")
CURRENT_OFFSET = Fault("current_offset", FaultSite.GAUGE,   60.0, None,   2.0, "A",       -inf, inf, "this current is added to every measurement, and counted")
GAUGE_RESET    = Fault("gauge_reset",    FaultSite.GAUGE,  120.0, None,   1.0, "",         0.0, 1.0, "the gauge resets and loses the charge counted since power-on", once=True)
WEAK_CELL      = Fault("weak_cell",      FaultSite.PACK,     0.0, None,  0.88, "frac",    0.05, 1.0, "the third cell has this fraction of its capacity and 1.5 times its resistance")
LOW_CHARGE     = Fault("low_charge",     FaultSite.PACK,     0.0, None,   0.4, "frac",    0.01, 1.0, "the pack was charged to this fraction")
LOST_STRING    = Fault("lost_string",    FaultSite.FLIGHT, 120.0, None,   1.0, "strings",  1.0, inf, "this number of parallel strings disconnects", once=True)
HOT_CELL       = Fault("hot_cell",       FaultSite.FLIGHT, 120.0, None,   0.4, "K/s",      0.0, inf, "the first cell heats up at this rate")
HIGH_CURRENT   = Fault("high_current",   FaultSite.FLIGHT, 180.0, 20.0,  1.25, "x",        0.0, inf, "the load is this multiple of the continuous rating of the chemistry")
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
    """Sizes of all active faults of a row; empty when none is active."""
    return [fault.size for fault in faults if fault.name == row.name and fault.active(t_s)]


def parse_fault(text: str) -> Fault:
    """The fault of an option: `NAME[=SIZE][@START_S[-END_S]]`.

    Raises:
        ConfigError: no such fault, time or size.
    """
    found = _TEXT.fullmatch(text)
    name = found["name"] if found else text
    if found is None or name not in _ROWS:
        near = difflib.get_close_matches(name, _ROWS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"fault {name!r} is not one of {', '.join(_ROWS)}{hint}")
    try:
        start_s, end_s, size = (_number(found[key]) for key in ("start", "end", "size"))
        duration_s = None if end_s is None or start_s is None else end_s - start_s
        return _changed(_ROWS[name], start_s, duration_s, size)
    except ValueError as error:
        raise ConfigError(f"fault {text!r}: {error}") from error


def _number(text: str | None) -> float | None:
    """The number of a text; `None` when there is no text.

    Raises:
        ValueError: the text is not a number.
    """
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a number, as in nack=0.2@60-120") from error


def _changed(
    row: Fault, start_s: float | None, duration_s: float | None, size: float | None
) -> Fault:
    """A row with another time or size; `None` leaves it.

    Raises:
        ValueError: impossible for this row.
    """
    if row.site is FaultSite.PACK and (start_s, duration_s) != (None, None):
        raise ValueError(f"{row.name} holds from the start and has no @START")
    if start_s is not None and not 0.0 <= start_s < inf:
        raise ValueError(f"the start is seconds from 0, as in {row.name}@90")
    if duration_s is not None and not 0.0 < duration_s < inf:
        raise ValueError(f"the end is seconds after the start, as in {row.name}@90-120")
    if row.once and duration_s is not None:
        raise ValueError(f"{row.name} happens once: no end")
    if size is not None:
        if not row.unit:
            raise ValueError(f"{row.name} has no size")
        is_whole = row.unit != LOST_STRING.unit or size.is_integer()
        if not (isfinite(size) and row.low <= size <= row.high and is_whole):
            raise ValueError(f"the size of {row.name} is {row.low:g} to {row.high:g} {row.unit}")
        row = replace(row, size=size)
    if start_s is not None:
        row = replace(row, start_s=start_s)
    return row if duration_s is None else replace(row, duration_s=duration_s)


class FaultSpec(Section):
    """A `[[fault]]` of a scenario; a missing key has the value of the row."""

    name: Annotated[str, one_of(_ROWS)]
    start_s: NotNegative | None = None
    duration_s: Positive | None = None
    size: Finite | None = None  # in the unit of the row

    @model_validator(mode="after")
    def _is_possible(self) -> "FaultSpec":
        self.fault()
        return self

    def fault(self) -> Fault:
        """The row with these values."""
        return _changed(_ROWS[self.name], self.start_s, self.duration_s, self.size)
