# SPDX-License-Identifier: Apache-2.0
"""Flight logs as a table of numbers (.csv or .csv.gz).

A spike is a value, an empty field is unknown; a column whose usual values are in another unit is
rejected (`units.py`). Any content gives a log or one `FlightLogError` that names file, line and
column.
"""

import csv
import gzip
import math
import reprlib
import zlib
from array import array
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import closing
from pathlib import Path

from dronebms.core.bounded_input import BoundError, Lines
from dronebms.core.errors import FlightLogError
from dronebms.core.number_format import counted
from dronebms.flightlogs.flight_log import (
    COLUMNS,
    Columns,
    FlightLog,
    TimeLine,
    check_cells,
    notes_on,
    notes_on_times,
)
from dronebms.flightlogs.sidecar import (
    LOG_ENDINGS,
    NO_OPTIONS,
    FlightOptions,
    read_pack_data,
    sidecar_of,
)
from dronebms.flightlogs.units import check_units

_REQUIRED = ("t_s", "voltage_v", "current_a")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_KNOWN = {"t_s", *(row.name for row in COLUMNS)}


def read_csv_log(path: Path, options: FlightOptions = NO_OPTIONS) -> FlightLog:
    """Read a .csv or .csv.gz file and, if there is one, its .json sidecar.

    Raises:
        FlightLogError: the file, its sidecar or an option cannot be used, in one sentence.
    """
    name = stem_of(path)
    columns, samples = _read_table(path)
    notes = notes_on_times(columns["t_s"], samples, path)
    pack_data = read_pack_data(path, sidecar_of(path), options)
    check_cells(columns, pack_data.cells, path)
    check_units(columns, pack_data, path)
    return FlightLog(name, pack_data, columns, (*notes, *notes_on(columns, path)))


def stem_of(path: Path) -> str:
    """Name of the file without .csv or .csv.gz.

    Raises:
        FlightLogError: the name has another ending.
    """
    for ending in (".csv.gz", ".csv"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    endings = f"{', '.join(LOG_ENDINGS[:-1])} and {LOG_ENDINGS[-1]}"
    raise FlightLogError(f"{path} is not a recording, and its name ends in none of {endings}")


def _read_table(path: Path) -> tuple[Columns, int]:
    """Known columns, and the number of rows.

    The columns have one length; t_s is one of them and grows strictly.
    """
    rows = _rows(path)
    line, names = next(rows, (1, []))
    if not names:
        raise FlightLogError(f"{path} is empty")
    indices = _indices(names, f"{path}, line {line}")
    columns: dict[str, MutableSequence[float]] = {name: array("d") for name, _ in indices}
    times_s = columns["t_s"]
    timeline = TimeLine()
    samples = 0
    for line, row in rows:
        if len(row) != len(names):
            found = f"{counted(len(row), 'field')}, the header has {len(names)}"
            raise FlightLogError(f"{path}, line {line}: {found}")
        values = [_value(row[index], name, path, line) for name, index in indices]
        samples += 1
        if timeline.last_s == values[0]:  # the later row replaces the earlier one
            for column in columns.values():
                column.pop()
        try:
            timeline.add(values[0])
        except BoundError as error:
            raise FlightLogError(f"{path}, line {line}, column t_s: {error}") from error
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    if not times_s:
        raise FlightLogError(f"{path} has a header and no samples")
    return columns, samples


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (physical line on which it begins, fields) of each row that is not blank."""
    line = 1
    try:
        with closing(Lines(path)) as lines:
            reader = csv.reader(lines, strict=True)
            for row in reader:
                if row:
                    yield line, row
                lines.row_chars = 0
                line = reader.line_num + 1
    except BoundError as error:
        raise FlightLogError(f"{path}, line {line}: {error}") from error
    except csv.Error as error:
        raise FlightLogError(f"{path}, line {line}: not a row of fields: {error}") from error
    except EOFError as error:
        raise FlightLogError(f"{path}, line {line}: the compressed file is truncated") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise FlightLogError(f"{path}, line {line}: not gzip, or damaged") from error
    except OSError as error:
        raise FlightLogError(f"{path} cannot be read: {error.strerror or error}") from error


def _indices(names: Sequence[str], place: str) -> list[tuple[str, int]]:
    """(name, index in a row) of each known column, t_s first."""
    found: dict[str, int] = {}
    for index, name in enumerate(map(str.strip, names)):
        if name in found:
            raise FlightLogError(f"{place}: there are two columns {name}")
        if name in _KNOWN:
            found[name] = index
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        raise FlightLogError(f"{place}: {_without(missing, names)}")
    return [("t_s", found.pop("t_s")), *found.items()]


def _without(missing: Sequence[str], names: Sequence[str]) -> str:
    """Why a header has not the columns that are needed."""
    header = ",".join(names)
    if header.startswith("\x1f"):
        return "this is compressed: a name that ends in .csv.gz is needed"
    if "\0" in header or "\ufffd" in header:
        return "this is not UTF-8 text"
    lacks = f"the header has no {', no '.join(missing)}"
    for separator, spoken in _SEPARATORS.items():
        if set(_REQUIRED) <= {name.strip() for name in header.split(separator)}:
            return f"{lacks}: fields are separated by {spoken}, commas are needed"
    lower = {name.strip().lower(): name.strip() for name in names}
    other = [lower[name] for name in missing if name in lower]
    return f"{lacks}; it has {', '.join(other)}" if other else lacks


def _value(text: str, name: str, path: Path, line: int) -> float:
    """Number of a field, NaN for an empty one."""
    expected = "a number"
    try:
        value = float(text)
    except ValueError:
        if not text.strip() and name != "t_s":
            return math.nan
    else:
        if name == "armed" and value not in {0.0, 1.0}:
            expected = "0 or 1"
        elif math.isfinite(value):
            return value
    found = reprlib.repr(text)
    raise FlightLogError(f"{path}, line {line}, column {name}: {found} is not {expected}")
