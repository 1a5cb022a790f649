# SPDX-License-Identifier: Apache-2.0
"""Installation of the Lua driver for ArduPilot into a folder.

The first line of an installed driver holds the SHA-256 of the rest. A driver that a user has
edited is thereby distinguished from an older release and is not overwritten by mistake.
"""

import hashlib
from pathlib import Path

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.errors import ConfigError

NAME = "dronebms.lua"
_SHIPPED = Path(__file__).parent / "ardupilot" / NAME
_MARK = "-- as shipped, SHA-256 of what follows: "


def write_script(folder: Path, *, force: bool = False) -> Path:
    """Write the driver into a folder; return its path.

    Raises:
        ConfigError: it cannot be written, or an edited driver is there and `force` is not set.
    """
    path = folder / NAME
    try:
        old = read_bytes(path).decode(errors="replace")
    except FileNotFoundError:
        old = ""
    except (OSError, BoundError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path} cannot be replaced: {reason}") from error
    mark, _, rest = old.partition("\n")
    if old and mark != _marked(rest) and not force:
        raise ConfigError(f"{path} was edited after installation; --force replaces it")
    driver = _SHIPPED.read_text(encoding="utf-8")
    with atomic_writer(path) as file:
        file.write(f"{_marked(driver)}\n{driver}")
    return path


def _marked(text: str) -> str:
    return _MARK + hashlib.sha256(text.encode()).hexdigest()
