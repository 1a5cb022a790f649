"""The passport's one table: a row a flight of a pack; its fields are the columns, for every database.

Units are in the names; `None` is unknown. Lists are kept as JSON text, cells in their order.
"""

from dataclasses import dataclass

SCHEMA = 1  # of the table below; a database with a higher one is left alone
FLYING, LANDED, LOST = "flying", "landed", "lost"  # lost: the record ends in the air

List = tuple[float | None, ...]
Excursion = tuple[str, float, float | None]  # limit, seconds beyond it, the worst value


# fmt: off
@dataclass(frozen=True, slots=True)
class FlightRecord:
    """One flight of one pack."""

    flight_id: str                 # the run that wrote it, battery, number: the key, in every database
    state: str                     # FLYING, LANDED or LOST
    pack: str                      # who it is: maker, device, date of manufacture, serial; or the pack_id
    sequence: int | None = None    # order within the vehicle's database; given when it is first written
    serial: int | None = None
    chemistry: str = ""
    cells: int | None = None
    rated_mah: float | None = None
    started_unix_s: float | None = None  # seconds since 1970, when the clock was believable
    flown_s: float | None = None   # from take-off until landing, or until the record ends
    armed_s: float | None = None
    used_mah: float | None = None
    start_pct: float | None = None
    end_pct: float | None = None
    gauge_cycles: float | None = None
    gauge_full_mah: float | None = None
    capacity_mah: float | None = None     # measured from this flight alone
    resistance_mohm: float | None = None  # of the mean cell, likewise, at resistance_degc
    resistance_degc: float | None = None
    mean_degc: float | None = None        # while flying
    hottest_degc: float | None = None
    spread_rest_mv: float | None = None   # of the cells before take-off
    spread_load_mv: float | None = None   # mean while flying
    lowest_cell: int | None = None        # from 1: the one that was lowest on the mean while flying
    lowest_by_mv: float | None = None     # below the mean cell
    lowest_cell_v: float | None = None    # of any cell at any time
    error_pct: float | None = None        # of the time left, seen from the pack's end; None: it was not reached
    full_h: float | None = None           # kept above 80 % since the flight before, or since the start
    hot_s: float | None = None            # 10 K or less below too hot
    drawn_ah: List = ()                   # by bands of C: below 1, 2, 5, 10, and above
    cells_resistance: List = ()           # by how much each resists more than the mean cell, fraction
    cells_capacity: List = ()             # by how much each holds more
    excursions: tuple[Excursion, ...] = ()


COLUMN_TYPES: dict[object, str] = {  # every database here knows these words
    int | None: "BIGINT", float | None: "DOUBLE PRECISION", str: "TEXT NOT NULL", List: "TEXT NOT NULL",
    tuple[Excursion, ...]: "TEXT NOT NULL",
}
# fmt: on
