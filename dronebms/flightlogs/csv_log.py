"""Flight logs as a table of numbers (.csv or .csv.gz).

Only the form is validated here: a spike is a value, an empty field is unknown. Any content gives a
log or one `FlightLogError` that names file, line and column.
"""

import csv
import gzip
import math
import reprlib
import zlib
from array import array
from collections.abc import Iterator, MutableSequence, Sequence
from pathlib import Path
from typing import TextIO

from dronebms.core.errors import FlightLogError
from dronebms.flightlogs.flight_log import COLUMNS, LONGEST_GAP_S, Columns, FlightLog, check_cells
from dronebms.flightlogs.sidecar import NO_OPTIONS, FlightOptions, read_pack_data

_REQUIRED = ("t_s", "voltage_v", "current_a")
_KNOWN = {"t_s", *(row.name for row in COLUMNS)}


def read_csv_log(path: Path, options: FlightOptions = NO_OPTIONS) -> FlightLog:
    """Read a .csv or .csv.gz file and, if there is one, its .json sidecar.

    Raises:
        FlightLogError: the file, its sidecar or an option cannot be used, in one sentence.
    """
    name = stem_of(path)
    columns = _read_table(path)
    pack_data = read_pack_data(path, path.with_name(f"{name}.json"), options)
    check_cells(columns, pack_data.cells, path)
    return FlightLog(name, pack_data, columns)


def stem_of(path: Path) -> str:
    """Name of the file without .csv or .csv.gz.

    Raises:
        FlightLogError: the name has another ending.
    """
    for ending in (".csv.gz", ".csv"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    endings = ".csv, .csv.gz, .bin, .ulg and .tlog"
    raise FlightLogError(f"{path} is not a recording, and its name ends in none of {endings}")


def _read_table(path: Path) -> Columns:
    """Known columns, all of one length; t_s is one of them and grows strictly."""
    rows = _rows(path)
    line, names = next(rows, (1, []))
    if not names:
        raise FlightLogError(f"{path} is empty")
    indices = _indices(names, f"{path}, line {line}")
    columns: dict[str, MutableSequence[float]] = {name: array("d") for name, _ in indices}
    times_s = columns["t_s"]
    for line, row in rows:
        if len(row) != len(names):
            found = f"{len(row)} fields, the header has {len(names)}"
            raise FlightLogError(f"{path}, line {line}: {found}")
        values = [_value(row[index], name, path, line) for name, index in indices]
        if times_s:
            _check_step(times_s[-1], values[0], path, line)
        if times_s and times_s[-1] == values[0]:  # the later row replaces the earlier one
            for column in columns.values():
                column.pop()
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    if not times_s:
        raise FlightLogError(f"{path} has a header and no samples")
    return columns


def _open(path: Path) -> TextIO:
    # Bytes that are not UTF-8 are replaced, not rejected: in a known column the replacement is not
    # a number, which names its line and column; in an unknown column it does no harm.
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
        header = ",".join(names)
        readable = "\0" not in header and "\ufffd" not in header
        lacks = f"the header has no {', no '.join(missing)}"
        raise FlightLogError(f"{place}: {lacks if readable else 'this is not UTF-8 text'}")
    return [("t_s", found.pop("t_s")), *found.items()]


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


def _check_step(before_s: float, t_s: float, path: Path, line: int) -> None:
    place = f"{path}, line {line}, column t_s"
    if t_s < before_s:
        raise FlightLogError(f"{place}: time decreases from {before_s} to {t_s}")
    if t_s - before_s > LONGEST_GAP_S:
        raise FlightLogError(f"{place}: more than a day between {before_s} and {t_s}")
