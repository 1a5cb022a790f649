"""Writes the Lua driver for ArduPilot to where a user wants it.

The first line holds the SHA-256 of the rest, so that a driver that was changed by hand is told from
an older one of ours, and is not overwritten by mistake.
"""

import hashlib
from pathlib import Path

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError

NAME = "dronebms.lua"
_SHIPPED = Path(__file__).parent / "ardupilot" / NAME
_MARK = "-- as shipped, SHA-256 of what follows: "


def write_script(folder: Path, *, force: bool = False) -> Path:
    """Write the driver into a folder and return its path.

    Raises:
        ConfigError: it cannot be written, or is there already, changed, and `force` is not set.
    """
    path = folder / NAME
    try:
        old = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        old = ""
    except OSError as error:
        raise ConfigError(f"{path} cannot be replaced: {error.strerror}") from error
    mark, _, rest = old.partition("\n")
    if old and mark != _marked(rest) and not force:
        raise ConfigError(f"{path} was changed since it was written; --force replaces it")
    driver = _SHIPPED.read_text(encoding="utf-8")
    with atomic_writer(path) as file:
        file.write(f"{_marked(driver)}\n{driver}")
    return path


def _marked(text: str) -> str:
    return _MARK + hashlib.sha256(text.encode()).hexdigest()
