# SPDX-License-Identifier: Apache-2.0
"""Writes that a disk has: all of the bytes, and names that survive a power cut.

A write may take a part of its bytes, as before a full disk. A synced file survives a power cut, its
name only after its folder is synced too. Source: write(2), fsync(2).
"""

import errno
import os
from pathlib import Path

from dronebms.core.errors import ConfigError, OutputError

# Of the machine, while the name and place of the output are right (errno(3)).
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def is_of_the_disk(error: OSError) -> bool:
    """Whether the disk is full or fails; else the output is named wrong or not permitted."""
    return error.errno in _OF_THE_DISK


def not_written(path: Path, error: OSError) -> ConfigError:
    """The error of an output that cannot be written: an `OutputError` where the disk fails."""
    kind = OutputError if is_of_the_disk(error) else ConfigError
    return kind(f"{path} cannot be written: {error.strerror or error}")


def real_path(path: Path) -> Path:
    """The path with its symbolic links resolved; absolute only, where they lead in a circle."""
    try:
        return path.resolve()
    except RuntimeError:  # Python raises it for a circle, from 3.13 on it returns the path
        return path.absolute()


def may_be_there(path: Path) -> bool:
    """Whether a file is there or may be: what cannot be looked at is not known to be absent."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def write_all(file: int, data: bytes, at: int | None = None) -> None:
    """Write all of the data, at an offset or at the file's position; raises OSError."""
    rest = memoryview(data)
    while rest:
        taken = os.write(file, rest) if at is None else os.pwrite(file, rest, at)
        rest = rest[taken:]
        at = None if at is None else at + taken


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder survive a power cut; raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system has no such call, as some of networks
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, so that they survive a power cut; raises OSError."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError as error:
        if not folder.is_dir():
            text = os.strerror(errno.ENOTDIR)
            raise NotADirectoryError(errno.ENOTDIR, text, str(folder)) from error
    sync_folder(folder.parent)
