# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes: a temporary file in the same directory, renamed when it is complete.

After a power cut the file is whole too: the one that was there, or the one that was written. A
file that grows appears with its first data. A temporary file that a kill has left is removed by the
next write of its file; one that a running process writes is locked, and stays.

A device or a pipe (/dev/null, a shell's `>(...)`) cannot be replaced and is written directly.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path

from dronebms.core.disk import not_written, real_path, sync_folder, write_all
from dronebms.core.errors import ConfigError

_STEM_CHARACTERS = 40  # of the name in the temporary name: a file name may have 255 bytes
_RANDOM_BYTES = 4
# Beginnings of a recording of a run, and of one of a probe.
RECORDED_RUN = b"dronebms-recording"
RECORDED_PROBE = b"dronebms-probe"
# Beginnings of files that no output replaces: a database (pack history, queue), a recording.
_RECORDED = (b"SQLite format 3\0", RECORDED_RUN, RECORDED_PROBE)
PART = ".part"  # ends a temporary name


@contextmanager
def atomic_writer(path: Path, *, is_recording: bool = False) -> Iterator[TextIOWrapper]:
    """Open a UTF-8 text file (its `.buffer` takes bytes) that becomes `path` when the block ends.

    After any exception `path` is unchanged and the temporary file is removed; if only the sync of
    its folder fails, `path` is the new file, and a power cut may bring the old one back. An
    existing file keeps its permissions, a new one gets the default ones; a symbolic link stays one.

    Args:
        path: of the file.
        is_recording: whether a recording is written, which may replace one.

    Raises:
        ConfigError: the file cannot be written: no such directory, no permission, or a database or
            a recording is there.
        OutputError: the disk is full or fails.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("w", encoding="utf-8", newline="\n") as stream:
                yield stream
        else:
            if not is_recording and _is_recorded(path):
                raise ConfigError(f"{path} cannot be written: it is a database or a recording")
            with _renamed_to(real_path(path)) as file:
                yield file
    except BrokenPipeError:
        raise  # the reader of a pipe has closed it: the command line handles that
    except OSError as error:
        raise not_written(path, error) from error


@contextmanager
def _renamed_to(path: Path) -> Iterator[TextIOWrapper]:
    if path.is_dir():
        raise ConfigError(f"{path} cannot be written: it is a directory")
    if path.is_symlink():
        raise ConfigError(f"{path} cannot be written: {os.strerror(errno.ELOOP)}")
    part, raw = _new_part(path)
    try:
        with TextIOWrapper(BufferedWriter(raw), encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, part)
            part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        _remove(part)
        raise


def _is_recorded(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, _RECORDED))).startswith(_RECORDED)
    except OSError:
        return False  # none is there, or writing raises


def created(path: Path, data: bytes) -> FileIO:
    """Create a file that appears under its name when its first data is on the disk.

    No kill and no power cut leaves it empty. It is open for reading and writing, unbuffered.

    Raises:
        FileExistsError: there is one of that name.
        OSError: it cannot be written; nothing is left of it.
    """
    if path.exists() or path.is_symlink():  # a rename would replace a link that leads nowhere
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    part, file = _new_part(path)
    try:
        write_all(file.fileno(), data)
        os.fdatasync(file.fileno())
        part.rename(path)
        try:
            sync_folder(path.parent)
        except OSError:
            _remove(path)
            raise
    except BaseException:
        file.close()
        _remove(part)
        raise
    return file


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # the error that made it superfluous is the one to raise


def _part_start(path: Path) -> str:
    """First characters of the temporary names of a file."""
    return f".{path.stem[:_STEM_CHARACTERS]}-"


def _new_part(path: Path) -> tuple[Path, FileIO]:
    """A temporary file, locked until it is closed."""
    _remove_left_parts(path)
    while True:
        part = path.with_name(f"{_part_start(path)}{secrets.token_hex(_RANDOM_BYTES)}{PART}")
        file = part.open("x+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks, where none is removed either
        if part.exists():  # else it was taken for left before it was locked
            return part, file
        file.close()


def _remove_left_parts(path: Path) -> None:
    """Remove the temporary files of a path that no running process writes."""
    start = _part_start(path)
    length = len(start) + 2 * _RANDOM_BYTES + len(PART)
    try:
        for part in path.parent.iterdir():
            name = part.name
            if name.startswith(start) and name.endswith(PART) and len(name) == length:
                _remove_unless_locked(part)
    except OSError:
        pass  # a folder that cannot be listed, or was deleted


def _remove_unless_locked(part: Path) -> None:
    try:
        handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # of another user
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.unlink()
    except OSError:
        pass  # a running process writes it
    finally:
        os.close(handle)
