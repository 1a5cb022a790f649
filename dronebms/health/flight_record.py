# SPDX-License-Identifier: Apache-2.0
"""Record of one flight of one pack; its fields are the columns of the pack history's one table.

Units are in the names; `None` is unknown. Lists are stored as JSON text, cells in their order.
"""

from dataclasses import dataclass

SCHEMA = 3  # version of the table below; a database with a higher one is rejected
FLYING = "flying"
LANDED = "landed"
LOST = "lost"  # the record ends in the air

List = tuple[float | None, ...]
Excursion = tuple[str, float, float | None]  # id of a limit, seconds tripped, worst value


# fmt: off
@dataclass(frozen=True, slots=True)
class FlightRecord:
    """One flight of one pack."""

    flight_id: str                 # the process that recorded it, battery, number: the key, in every database
    state: str                     # FLYING, LANDED or LOST
    pack: str                      # maker, device, date of manufacture and serial; or the pack_id
    sequence: int | None = None    # order within the vehicle's database; assigned by the first write
    serial: int | None = None
    chemistry: str = ""
    cells: int | None = None
    rated_mah: float | None = None
    started_unix_s: float | None = None  # seconds since 1970; None if the clock was not set
    flown_s: float | None = None   # from take-off until landing, or until the record ends
    armed_s: float | None = None
    used_mah: float | None = None
    start_pct: float | None = None
    end_pct: float | None = None
    gauge_cycles: float | None = None
    gauge_full_mah: float | None = None
    capacity_mah: float | None = None     # measured from this flight alone
    capacity_sd_frac: float | None = None  # its standard deviation without what all flights share
    relative_capacity: float | None = None  # of the rated one; compares flights of one pack
    resistance_mohm: float | None = None  # of the mean cell, likewise, at resistance_degc
    resistance_degc: float | None = None
    mean_degc: float | None = None        # in flight
    hottest_degc: float | None = None
    spread_rest_mv: float | None = None   # of the cells before take-off
    spread_load_mv: float | None = None   # mean in flight
    lowest_cell: int | None = None        # from 1: the cell with the lowest mean voltage in flight
    lowest_by_mv: float | None = None     # below the mean cell
    lowest_cell_v: float | None = None    # of any cell at any time
    error_pct: float | None = None        # mean error of the time to empty; None: the pack was not emptied
    full_h: float | None = None           # above 80 % since the previous flight, or since the start
    hot_s: float | None = None            # within 10 K of the hot limit, or above it
    drawn_ah: List = ()                   # by C rate: below 1, 2, 5, 10, and above
    cells_resistance: List = ()           # excess of each cell's resistance over the mean cell's, fraction
    cells_capacity: List = ()             # excess of each cell's capacity, fraction
    excursions: tuple[Excursion, ...] = ()
    vehicle: str | None = None     # configured name of the airframe, else the autopilot's uid
    above_90_h: float | None = None       # above 90 % since the previous flight, as full_h
    cell_deviations: List = ()            # times in flight that each cell left the mean of the others by more than 70 mV


COLUMN_TYPES: dict[object, str] = {  # SQL types that SQLite and PostgreSQL share
    int | None: "BIGINT", float | None: "DOUBLE PRECISION", str | None: "TEXT",
    str: "TEXT NOT NULL", List: "TEXT NOT NULL",
    tuple[Excursion, ...]: "TEXT NOT NULL", tuple[str, ...]: "TEXT NOT NULL",
}
# fmt: on
