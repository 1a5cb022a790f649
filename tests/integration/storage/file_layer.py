# SPDX-License-Identifier: Apache-2.0
"""The library of `file_layer.c`: built, armed in a process that has it, its log read."""

import ctypes
import functools
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

COMPILER = "cc"
_SOURCE = Path(__file__).with_name("file_layer.c")
_HEAD = struct.Struct("<IIIIQq")


class Fault(IntEnum):
    """How a call fails."""

    NONE = 0
    ENOSPC = 1
    EIO = 2
    EINTR = 3
    SHORT = 4  # a write takes half of the bytes
    FULL = 5  # this call and all later ones: ENOSPC


class Call(IntEnum):
    """What a record of the log is about."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4  # of a file or a folder
    RENAME = 5
    UNLINK = 6
    MKDIR = 7
    MARK = 8  # a promise of the program, by its number
    FAULT = 9  # the call that failed, by its number


@dataclass(frozen=True, slots=True)
class Record:
    """A successful call that changed a file, a promise, or the failed call."""

    call: Call
    inode: int
    number: int  # offset of a write, size of a truncation, number of a promise or of a call
    path: str
    other: str  # the other name of a renaming
    data: bytes


def library(folder: Path) -> Path:
    """Compile the library into a folder.

    Raises:
        FileNotFoundError: there is no compiler.
        CalledProcessError: it refuses the source.
    """
    path = folder / "file_layer.so"
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise FileNotFoundError(f"no {COMPILER} here: install gcc")
    command = (compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, _SOURCE)
    subprocess.run(command, check=True)  # noqa: S603 - the compiler of this machine
    return path


@functools.cache
def _layer() -> ctypes.CDLL:
    """The library in this process.

    Raises:
        AttributeError: it was not loaded by LD_PRELOAD.
    """
    layer = ctypes.CDLL(None)
    layer.file_layer_arm.argtypes = ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long, ctypes.c_int
    layer.file_layer_mark.argtypes = (ctypes.c_int64,)
    layer.file_layer_count.restype = ctypes.c_long
    return layer


def arm(folder: Path, log: Path | None, nth: int = 0, fault: Fault = Fault.NONE) -> None:
    """Let call number `nth` below a folder fail; log the others."""
    _layer().file_layer_arm(bytes(folder), b"" if log is None else bytes(log), nth, fault)


def disarm() -> int:
    """End it; return how many calls were counted."""
    _layer().file_layer_disarm()
    return int(_layer().file_layer_count())


def promise(number: int) -> None:
    """Note that the program has promised state `number`."""
    _layer().file_layer_mark(number)


def read_log(path: Path) -> Iterator[Record]:
    """The records of a log."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        call, *sizes, inode, number = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        name, other, content = parts
        yield Record(Call(call), inode, number, name.decode(), other.decode(), content)
