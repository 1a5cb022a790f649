"""Files that are whole or not there: written beside their place and renamed once they are safe.

A device or a pipe (/dev/null, a shell's `>(...)`) has nothing to be renamed over and is written
as it comes.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from dronebms.core.errors import ConfigError

_STEM_CHARACTERS = 40  # of the name that is kept: a file name may have 255 bytes


@contextmanager
def atomic_writer(path: Path) -> Iterator[TextIOWrapper]:
    """Give a UTF-8 text file (its `.buffer` takes bytes) that becomes `path` when the block ends.

    After any exception `path` is what it was before and nothing lies beside it. An existing file
    keeps its permissions, a new one gets the usual ones; a symbolic link stays one.

    Raises:
        ConfigError: the file cannot be written: no such directory, no right, no space.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("w", encoding="utf-8", newline="\n") as stream:
                yield stream
        else:
            with _renamed_to(path.resolve()) as file:
                yield file
    except BrokenPipeError:
        raise  # who reads has gone: the command line's matter
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _renamed_to(path: Path) -> Iterator[TextIOWrapper]:
    if path.is_dir():
        raise ConfigError(f"{path} cannot be written: it is a directory")
    beside = path.with_name(f".{path.stem[:_STEM_CHARACTERS]}-{secrets.token_hex(4)}.part")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:
        try:
            beside.unlink(missing_ok=True)
        except OSError:
            pass
        raise
