# SPDX-License-Identifier: Apache-2.0
"""Files from outside, read within bounds: no content makes a reader allocate or work without end.

Every bound is far above the largest legal file of its kind; an input that exceeds one is refused in
one sentence with the bound. A reader never asks for more than its bound, so that a device, a pipe
and a compressed file obey it as a regular file does.
"""

import errno
import gzip
import io
import os
import re
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_TEXT_BYTES = 1 << 20  # of a TOML or JSON file; the largest shipped one has 20 kB
MAX_LINE_CHARS = 1 << 16  # of a table: every column there is, with 17 digits, has 1,200
MAX_BLANK_LINES = 10_000  # of a table
MAX_LINES = 4_000_000  # of a table
MAX_ROWS = 2_000_000  # of a flight: 11 hours at 50 Hz, 55 hours at 10 Hz
MAX_EXPANSION = 200  # of a compressed table: a flight has 4 to 20, 45 constant columns 98
_EXPANDED_BYTES = 1 << 20  # from which on the expansion is judged
MAX_FILE_BYTES = 4 << 30  # of an autopilot's log: a day at full rate has less
_CHUNK_BYTES = 1 << 20
_MARK_BYTES = 16
_WAIT_S = 10.0  # for the writer of a pipe


class BoundError(ValueError):
    """An input exceeds a bound; the text names the bound."""


def read_bytes(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Content of a file, a device or a pipe.

    Raises:
        OSError: the file cannot be read.
        BoundError: it is longer than `max_bytes`, or a pipe without data for 10 s.
    """
    with open(path, "rb", 0, opener=_without_waiting) as file:
        data = b""
        while len(data) <= max_bytes:
            if not select.select([file], [], [], _WAIT_S)[0]:
                raise BoundError(f"a pipe without data for {_WAIT_S:g} s")
            part = file.read(max_bytes + 1 - len(data))
            if part == b"":
                return data
            data += part or b""
    raise BoundError(f"more than {max_bytes} bytes")


def read_stored(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Content of a file of the program's own, which is a regular one: nothing waits for a pipe.

    Raises:
        OSError: the file cannot be read, or is a device, a pipe or a socket.
        BoundError: it is longer than `max_bytes`.
    """
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise BoundError(f"more than {max_bytes} bytes")
    return data


def open_regular(path: Path) -> BinaryIO:
    """Open a file that is read more than once, or longer than the bound of `read_bytes`.

    Raises:
        OSError: it cannot be read, or is a device, a pipe or a socket.
    """
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise not_regular(path)
    return path.open("rb")


def not_regular(path: Path) -> OSError:
    """The error of a device, a pipe or a socket in the place of a file."""
    return OSError(errno.EINVAL, "not a regular file", str(path))


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe without a writer would hold up the program otherwise."""
    return os.open(path, flags | os.O_NONBLOCK)


class Lines:
    """Iterator of the lines of a text file, which is decompressed if its name ends in .gz.

    Attributes:
        row_chars: characters since the user of the lines last set it to 0.

    Raises:
        OSError, EOFError, zlib.error: the file cannot be read or is damaged.
        BoundError: a line, all lines since `row_chars` was 0, the number of lines or the
            expansion of a compressed file exceeds its bound.
    """

    def __init__(self, path: Path) -> None:
        self.row_chars = 0
        self._raw = open_regular(path)
        self._is_packed = path.name.lower().endswith(".gz")
        stream: BinaryIO | gzip.GzipFile = self._raw
        if self._is_packed:
            stream = gzip.GzipFile(fileobj=self._raw)
        # Bytes that are not UTF-8 are replaced, not rejected: in a known column the replacement is
        # not a number, which names its line and column; in an unknown column it does no harm.
        self._text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._raw.close()

    def __iter__(self) -> Iterator[str]:
        chars = blank = 0
        for number in range(MAX_LINES + 1):
            line = self._text.readline(MAX_LINE_CHARS + 1)
            if not line:
                return
            if number == MAX_LINES:
                raise BoundError(f"more than {MAX_LINES} lines")
            blank += line.isspace()
            if blank > MAX_BLANK_LINES:
                raise BoundError(f"more than {MAX_BLANK_LINES} blank lines")
            chars += len(line)
            self.row_chars += len(line)
            if self.row_chars > MAX_LINE_CHARS:
                raise BoundError(f"longer than {MAX_LINE_CHARS} characters")
            if self._is_packed and chars > _EXPANDED_BYTES:
                self._check_expansion(chars)
            yield line

    def _check_expansion(self, chars: int) -> None:
        if chars > MAX_EXPANSION * self._raw.seek(0, os.SEEK_CUR):
            raise BoundError(f"compressed to less than 1/{MAX_EXPANSION}")


class Window:
    """A binary file by places, of which about a megabyte is in memory.

    Places are read in growing order, apart from the bytes that `find` has passed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begin = 0  # place of the first byte in memory
        self._data = b""
        self._is_end = False

    def bytes_at(self, place: int, count: int) -> bytes:
        """Bytes from a place on; fewer than `count` at the end of the file.

        Raises:
            OSError: the file cannot be read.
            BoundError: the place is beyond the bound of a file.
        """
        begin = place - self._begin
        if begin + count > len(self._data) and not self._is_end:
            self._read(begin, count)
            begin = 0
        return self._data[begin : begin + count]

    def find(self, mark: re.Pattern[bytes], place: int) -> int:
        """Place of the next mark, of 16 bytes at most, from `place` on; -1 if there is none."""
        while True:
            block = self.bytes_at(place, _CHUNK_BYTES)
            found = mark.search(block)
            if found is not None:
                return place + found.start()
            if len(block) < _CHUNK_BYTES:
                return -1
            place += len(block) - _MARK_BYTES + 1

    def _read(self, begin: int, count: int) -> None:
        skipped = begin - len(self._data)
        while skipped > 0 and (part := self._file.read(min(skipped, _CHUNK_BYTES))):
            skipped -= len(part)
        parts = [self._data[begin:]]
        self._begin += begin
        if self._begin > MAX_FILE_BYTES:
            raise BoundError(f"more than {MAX_FILE_BYTES} bytes")
        missing = max(count, _CHUNK_BYTES) - len(parts[0])
        while missing > 0:
            part = self._file.read(missing)
            if not part:
                self._is_end = True
                break
            parts.append(part)
            missing -= len(part)
        self._data = b"".join(parts)
