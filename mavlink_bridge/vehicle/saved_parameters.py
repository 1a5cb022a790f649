"""What a vehicle was set to before it was asked for less: on disk before anything is changed.

An autopilot keeps what is set over a restart, and a service can be killed; whatever happened, the
next start finds here what has to be put back. Values in the vehicle's own units.
"""

import json
import logging
from pathlib import Path

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.autopilot import Autopilot

_log = logging.getLogger(__name__)
_NAME = "vehicle-{}-{}-{}.json"  # HEARTBEAT.autopilot, system id, what is kept


def left_behind(folder: Path) -> bool:
    """Return whether an earlier run has left something to be put back on a vehicle."""
    return any(folder.glob(_NAME.format("*", "*", "*")))


class SavedParameters:
    """The old values of the vehicle that is heard, by name."""

    def __init__(self, folder: Path, what: str) -> None:
        """Keep what is meant by a word in a folder."""
        self.values: dict[str, float] = {}
        self._folder, self._what = folder, what
        self._path = folder  # a file of the vehicle that is heard

    def follow(self, autopilot: Autopilot) -> None:
        """Turn to another vehicle, and to what an earlier run has not put back on it."""
        name = _NAME.format(autopilot.kind, autopilot.system_id, self._what)
        path = self._folder / name
        if path != self._path:
            self._path, self.values = path, _read(path)

    def save(self, old: dict[str, float]) -> bool:
        """Return whether they are safe on disk, so that the vehicle may be changed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_writer(self._path) as file:
                json.dump(old, file)
        except (ConfigError, OSError) as error:
            _log.error("the vehicle's limits are left as they are: %s", error)
            return False
        self.values = old
        _log.warning("the vehicle is asked for less; before: %s", old)
        return True

    def forget(self) -> None:
        """Everything is as it was."""
        _log.warning("the limits of the vehicle are as before: %s", self.values)
        try:
            self._path.unlink()
        except OSError:
            pass  # it is read again at the next start, to no harm
        self.values = {}


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        _log.error("%s cannot be read, look at the vehicle's limits yourself: %s", path, error)
        return {}
