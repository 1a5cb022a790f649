# SPDX-License-Identifier: Apache-2.0
"""Original values of vehicle parameters, on disk before a value is changed.

An autopilot stores a set parameter over a restart, and the service can be killed: the next start
restores the values in these files. Values are in the vehicle's own units.

A file is a JSON object: `format` (1) and `values` by parameter name. The format only grows: later
versions add keys and read every earlier file, also one without `format`, which holds the values
alone.
"""

import json
import logging
import math
from pathlib import Path
from typing import Any

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_bytes
from dronebms.core.disk import make_folder
from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.autopilot import Autopilot

_log = logging.getLogger(__name__)
_NAME = "vehicle-{}-{}-{}.json"  # HEARTBEAT.autopilot, system id, kind of values
_FORMAT = 1


def left_behind(folder: Path) -> bool:
    """Whether an earlier run has left values to restore on a vehicle."""
    return any(folder.glob(_NAME.format("*", "*", "*")))


class SavedParameters:
    """Original values of the followed vehicle.

    Attributes:
        values: to be restored, by name.

    Args:
        folder: of the files.
        kind: of the values, a part of the file name.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.values: dict[str, float] = {}
        self._folder = folder
        self._kind = kind
        self._path = folder  # file of the followed vehicle
        self._damaged = False

    def follow(self, autopilot: Autopilot) -> None:
        """Load the values of the followed vehicle when it is another one than before."""
        path = self._folder / _NAME.format(autopilot.kind, autopilot.system_id, self._kind)
        if path == self._path:
            return
        self._path = path
        values = _read(path)
        self._damaged = values is None
        self.values = values or {}

    def save(self, values: dict[str, float]) -> bool:
        """Write original values; return whether they are on disk, so that changes may follow."""
        try:
            make_folder(self._folder)
            if self._damaged:
                self._path.replace(self._path.with_suffix(".damaged"))
                self._damaged = False
            with atomic_writer(self._path) as file:
                json.dump({"format": _FORMAT, "values": values}, file)
        except (ConfigError, OSError) as error:
            _log.error("vehicle limits are not changed: %s", error)
            return False
        self.values = values
        _log.warning("changing vehicle limits; original values: %s", values)
        return True

    def discard(self) -> None:
        """Delete the values once they are restored."""
        _log.warning("vehicle limits restored: %s", self.values)
        try:
            self._path.unlink()
        except OSError:
            pass  # the next start restores the same values again
        self.values = {}


def _read(path: Path) -> dict[str, float] | None:
    """Values of a file, empty if there is none, `None` if it is damaged."""
    try:
        return _values_of(json.loads(read_bytes(path)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        _log.error("%s cannot be read; check the limits of the vehicle: %s", path, error)
        return None


def _values_of(content: Any) -> dict[str, float]:  # noqa: ANN401 - any JSON
    found = content
    if isinstance(content, dict) and "format" in content:
        found = content.get("values")
    if not isinstance(found, dict):
        raise TypeError("no values by name")
    values = {str(name): float(value) for name, value in found.items()}
    if not all(map(math.isfinite, values.values())):
        raise ValueError("a value is not finite")
    return values
