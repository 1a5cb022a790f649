# SPDX-License-Identifier: Apache-2.0
"""Logs of autopilots as flight logs: ArduPilot .bin, PX4 .ulg, and .tlog of ground stations.

Every battery sample is a row, together with the cells and the vehicle's state logged since the row
before. Columns and units are in docs/flight_logs.md; a value that is not logged is an empty field.
Seconds are the autopilot's since its boot, in a .tlog since the first message. Any content gives a
log or one `FlightLogError`, within the bounds of `dronebms.core.bounded_input`.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dronebms.core.bounded_input import BoundError, open_regular
from dronebms.core.errors import FlightLogError
from dronebms.flightlogs import ardupilot_log, px4_log, telemetry_log
from dronebms.flightlogs.csv_log import read_csv_log
from dronebms.flightlogs.flight_log import (
    Columns,
    FlightLog,
    check_cells,
    notes_on,
    notes_on_times,
)
from dronebms.flightlogs.messages import BatteryLog, table
from dronebms.flightlogs.sidecar import FlightOptions, read_pack_data, sidecar_of
from dronebms.flightlogs.units import check_units

_READERS = {
    ".bin": (ardupilot_log.MAGIC, ardupilot_log.read),
    ".ulg": (px4_log.MAGIC, px4_log.read),
    ".tlog": (b"", telemetry_log.read),
}


def read_flight_log(path: Path, options: FlightOptions, battery: int = 0) -> FlightLog:
    """Read the log of an autopilot, or a table by `read_csv_log`.

    Args:
        path: the log; its ending selects the format.
        options: rated data of the pack that the user gives.
        battery: index of the vehicle's battery, from 0.

    Raises:
        FlightLogError: the log cannot be read, in one sentence.
    """
    if path.suffix.lower() not in _READERS:
        log = read_csv_log(path, options=options)
        if battery:
            raise FlightLogError(f"{path} is a table of one battery: omit --battery")
        return log
    found = _battery_log(path, battery)
    columns = _columns(path, found, battery)
    logged = dict(found.pack)
    cells = [int(name[4:-2]) for name in columns if name.startswith("cell")]
    if cells and max(cells) < found.cell_slots:
        logged["cells"] = max(cells)
    else:  # without cells there is no gauge: the percentage is counted from a parameter
        columns = {name: row for name, row in columns.items() if name != "gauge_soc_pct"}
    pack_data = read_pack_data(path, sidecar_of(path), options, logged)
    check_cells(columns, pack_data.cells, path, found.cell_slots)
    check_units(columns, pack_data, path)
    notes = (
        *_notes(path, found, battery),
        *notes_on_times(columns["t_s"], len(found.sample_times_s), path),
        *notes_on(columns, path),
    )
    return FlightLog(path.stem, pack_data, columns, notes, found.uid)


def _notes(path: Path, found: BatteryLog, battery: int) -> Iterator[str]:
    if len(found.batteries) > 1:
        yield f"{path.name} has samples of {_names(found)}; {found.batteries[battery]} is read"
    if found.divided:
        yield f"the cells in {path.name} are its pack voltage, divided: none is measured"


def _names(found: BatteryLog) -> str:
    return ", ".join(found.batteries[number] for number in sorted(found.batteries))


def _battery_log(path: Path, battery: int) -> BatteryLog:
    magic, read = _READERS[path.suffix.lower()]
    try:
        with open_regular(path) as file:
            begin = file.read(len(magic))
        if begin != magic:
            raise FlightLogError(f"{path} is not a {path.suffix} log, or its beginning is damaged")
        with np.errstate(all="ignore"):  # absurd numbers become NaN or infinite, and are left out
            found = read(path, battery)
    except OSError as error:
        raise FlightLogError(f"{path} cannot be read: {error.strerror or error}") from error
    except BoundError as error:
        raise FlightLogError(f"{path} cannot be read: {error}") from error
    if battery not in found.batteries:
        if not found.batteries:
            raise FlightLogError(f"{path} has no sample of a battery")
        others = f"it has samples of {_names(found)}"
        raise FlightLogError(f"{path} has no sample of battery {battery + 1}; {others}")
    return found


def _columns(path: Path, found: BatteryLog, battery: int) -> Columns:
    """Known columns, without those that have no value."""
    with np.errstate(all="ignore"):
        columns = table(found, path)
    if not len(columns["t_s"]):
        raise FlightLogError(f"{path} has no sample of battery {battery + 1} that can be read")
    return {
        name: array("d", column.tobytes())
        for name, column in columns.items()
        if name in {"voltage_v", "current_a"} or not np.isnan(column).all()
    }
