"""The columns of a recorded flight that are read: where each goes and what is believable in it.

Believable values are those of the register rows, and of a vehicle those it can have; units are in
the names, current is positive while discharging. The format is in DESIGN.md, section 4.
"""

from dataclasses import dataclass

from smartbattery.registers import (
    CELLS,
    CURRENT,
    FULL,
    RELATIVE_SOC,
    REMAINING,
    TEMPERATURE,
    TIME_TO_EMPTY,
    VOLTAGE,
    Register,
)

MAX_CELLS = 24  # in series; the register row believes no higher pack voltage


@dataclass(frozen=True, slots=True)
class Column:
    """One column that is read: where its values go, and which of them are believable."""

    name: str
    field: str  # of Snapshot or VehicleState
    low: float  # ends included
    high: float


def _gauge(name: str, register: Register) -> Column:
    return Column(name, register.field, register.low, register.high)


# fmt: off
BATTERY_COLUMNS = (
    _gauge("voltage_v",             VOLTAGE),
    _gauge("current_a",             CURRENT),
    _gauge("temperature_degc",      TEMPERATURE),
    _gauge("gauge_soc_pct",         RELATIVE_SOC),
    _gauge("gauge_remaining_mah",   REMAINING),
    _gauge("gauge_full_mah",        FULL),
    _gauge("gauge_time_to_empty_s", TIME_TO_EMPTY),
)
VEHICLE_COLUMNS = (
    Column("armed",            "armed",                0.0,      1.0),
    Column("lat_deg",          "lat_deg",            -90.0,     90.0),
    Column("lon_deg",          "lon_deg",           -180.0,    180.0),
    Column("alt_m",            "alt_m",           -1_000.0, 20_000.0),
    Column("home_lat_deg",     "home_lat_deg",       -90.0,     90.0),
    Column("home_lon_deg",     "home_lon_deg",      -180.0,    180.0),
    Column("ground_speed_m_s", "ground_speed_m_s",     0.0,    200.0),
    Column("climb_m_s",        "climb_m_s",         -100.0,    100.0),
    Column("wind_m_s",         "wind_m_s",             0.0,    100.0),
    Column("wind_from_deg",    "wind_from_deg",        0.0,    360.0),
)
# fmt: on
CELL_COLUMNS = tuple(
    Column(f"cell{number}_v", f"cell{number}_v", CELLS[0].low, CELLS[0].high)
    for number in range(1, MAX_CELLS + 1)
)
COLUMNS = (*BATTERY_COLUMNS, *CELL_COLUMNS, *VEHICLE_COLUMNS)
