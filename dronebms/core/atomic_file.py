# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes: a temporary file in the same directory, renamed when it is complete.

After a power cut the file is whole too: the one that was there, or the one that was written.

A device or a pipe (/dev/null, a shell's `>(...)`) cannot be replaced and is written directly.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from dronebms.core.disk import sync_folder
from dronebms.core.errors import ConfigError

_STEM_CHARACTERS = 40  # of the name in the temporary name: a file name may have 255 bytes


@contextmanager
def atomic_writer(path: Path) -> Iterator[TextIOWrapper]:
    """Open a UTF-8 text file (its `.buffer` takes bytes) that becomes `path` when the block ends.

    After any exception `path` is unchanged and the temporary file is removed; if only the sync of
    its folder fails, `path` is the new file, and a power cut may bring the old one back. An
    existing file keeps its permissions, a new one gets the default ones; a symbolic link stays one.

    Raises:
        ConfigError: the file cannot be written: no such directory, no permission, no space.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("w", encoding="utf-8", newline="\n") as stream:
                yield stream
        else:
            with _renamed_to(path.resolve()) as file:
                yield file
    except BrokenPipeError:
        raise  # the reader of a pipe has closed it: the command line handles that
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _renamed_to(path: Path) -> Iterator[TextIOWrapper]:
    if path.is_dir():
        raise ConfigError(f"{path} cannot be written: it is a directory")
    part = path.with_name(f".{path.stem[:_STEM_CHARACTERS]}-{secrets.token_hex(4)}.part")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, part)
        part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass
        raise
