"""The table of a recorded flight (.csv or .csv.gz) -> columns of numbers.

Only the form is judged here: a spike is a value, an empty field is unknown. Whatever the bytes
are, the answer is columns or one `FlightLogError` that names file, line and column.
Units are in the column names; current is positive while discharging; `flightrows` has them.
"""

import csv
import gzip
import math
import reprlib
import zlib
from array import array
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from pathlib import Path
from typing import TextIO

from dronebms.core.errors import FlightLogError
from dronebms.flightlogs.columns import CELL_COLUMNS, COLUMNS

# NaN is an empty field, here and only here: a million rows of None would not fit in memory.
Columns = Mapping[str, Sequence[float]]

_LONGEST_GAP_S = 86_400.0  # longer: the logger's clock was set, or t_s is not in seconds
_REQUIRED = ("t_s", "voltage_v", "current_a")
_READ = {"t_s", *(row.name for row in COLUMNS)}


def stem_of(path: Path) -> str:
    """Return the name of a flight without its ending.

    Raises:
        FlightError: the name has another ending.
    """
    for ending in (".csv.gz", ".csv"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    endings = ".csv, .csv.gz, .bin, .ulg and .tlog"
    raise FlightLogError(f"{path} is no recording, and its name ends in none of {endings}")


def read_table(path: Path) -> Columns:
    """Return the columns that are known, all of one length; t_s, among them, only grows.

    Raises:
        FlightError: the file cannot be read or is not such a table.
    """
    rows = _rows(path)
    line, names = next(rows, (1, []))
    if not names:
        raise FlightLogError(f"{path} is empty")
    wanted = _wanted(names, f"{path}, line {line}")
    columns: dict[str, MutableSequence[float]] = {name: array("d") for name, _ in wanted}
    times_s = columns["t_s"]
    for line, row in rows:
        if len(row) != len(names):
            found = f"{len(row)} fields, the header has {len(names)}"
            raise FlightLogError(f"{path}, line {line}: {found}")
        values = [_value(row[index], name, path, line) for name, index in wanted]
        if times_s:
            _check_step(times_s[-1], values[0], path, line)
        if times_s and times_s[-1] == values[0]:  # the later row wins
            for column in columns.values():
                column.pop()
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    if not times_s:
        raise FlightLogError(f"{path} has a header and no samples")
    return columns


def check_cells(columns: Columns, cells: int | None, path: Path) -> None:
    """Compare the cell columns with the number of cells; a cell between others may be missing.

    Raises:
        FlightError: they speak of another pack.
    """
    numbers = [number for number, row in enumerate(CELL_COLUMNS, 1) if row.name in columns]
    if numbers and numbers[-1] != cells:
        raise FlightLogError(
            f"{path}: the cell columns end with cell{numbers[-1]}_v, "
            f"and the pack is said to have {cells} cells"
        )


def _open(path: Path) -> TextIO:
    # What is not UTF-8 is replaced, not refused: in a column that is read it is no number, which
    # names its line and column; in the others it does not matter.
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (physical line on which it begins, fields) of each row that is not blank."""
    line = 1
    try:
        with _open(path) as text:
            reader = csv.reader(text, strict=True)
            for row in reader:
                if row:
                    yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise FlightLogError(f"{path}, line {line}: this is no row of fields: {error}") from error
    except EOFError as error:
        raise FlightLogError(
            f"{path}, line {line}: the compressed file is cut short here"
        ) from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise FlightLogError(f"{path}, line {line}: not gzip, or damaged") from error
    except OSError as error:
        raise FlightLogError(f"{path} cannot be read: {error.strerror or error}") from error


def _wanted(names: Sequence[str], place: str) -> list[tuple[str, int]]:
    """Return (name, index in a row) of the columns that are read, t_s first."""
    found: dict[str, int] = {}
    for index, name in enumerate(map(str.strip, names)):
        if name in found:
            raise FlightLogError(f"{place}: there are two columns {name}")
        if name in _READ:
            found[name] = index
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        header = ",".join(names)
        readable = "\0" not in header and "\ufffd" not in header
        lacks = f"the header has no {', no '.join(missing)}"
        raise FlightLogError(f"{place}: {lacks if readable else 'this is not UTF-8 text'}")
    return [("t_s", found.pop("t_s")), *found.items()]


def _value(text: str, name: str, path: Path, line: int) -> float:
    """Return the number of a field, NaN for an empty one."""
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
    raise FlightLogError(
        f"{path}, line {line}, column {name}: {reprlib.repr(text)} is not {expected}"
    )


def _check_step(before_s: float, t_s: float, path: Path, line: int) -> None:
    place = f"{path}, line {line}, column t_s"
    if t_s < before_s:
        raise FlightLogError(f"{place}: time goes back from {before_s} to {t_s}")
    if t_s - before_s > _LONGEST_GAP_S:
        raise FlightLogError(f"{place}: more than a day lies between {before_s} and {t_s}")
