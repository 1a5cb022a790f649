# SPDX-License-Identifier: Apache-2.0
"""Original values of vehicle parameters, on disk before a value is changed.

An autopilot stores a set parameter over a restart, and the service can be killed: the next start
restores the values in these files. Values are in the vehicle's own units.

A system id is no identity: most vehicles have 1. A file also has the unique id of the board, if the
autopilot sends one; its values are restored on that board alone, and are used once the id has been
received. The values of another board are put aside, and come back with it.

What a file has is set on the vehicle: a name that is not of its kind, or a value that no vehicle
has, is damage, and nothing of that file is set.

A file is a JSON object: `format` (1), `values` by parameter name and, since 0.2, `uid`. The format
only grows: later versions add keys and read every earlier file, also one without `format`, which
holds the values alone.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_bytes
from dronebms.core.disk import make_folder
from dronebms.core.errors import ConfigError
from mavlink_bridge.protocol.autopilot import Autopilot

_log = logging.getLogger(__name__)
_NAME = "vehicle-{}-{}-{}.json"  # HEARTBEAT.autopilot, system id, kind of values
_ASIDE = "vehicle-{}-{}-{}-of-{}.json"  # the same, and the unique id of another board
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class _File:
    """Content of a file."""

    values: dict[str, float]
    uid: str | None = None  # of the board; None: not known


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
        most: the names of this kind, and the greatest value of each; the least is 0.
    """

    def __init__(self, folder: Path, kind: str, most: Mapping[str, float]) -> None:
        self.values: dict[str, float] = {}
        self._folder = folder
        self._kind = kind
        self._most = most
        self._path = folder  # file of the followed vehicle
        self._uid: str | None = None  # of its board
        self._damaged = False
        self._is_doubtful = False  # the file is of another board, or this one's id is not known

    def follow(self, autopilot: Autopilot) -> None:
        """Load the values of the followed vehicle when it is another one than before."""
        address = autopilot.kind, autopilot.system_id, self._kind
        path = self._folder / _NAME.format(*address)
        uid = autopilot.uid
        if path == self._path and uid in (None, self._uid):
            return
        self._path = path
        self._uid = uid
        found = self._read(path)
        if uid is not None and found is not None:
            if found.uid not in (None, uid):
                self._put_aside(path.with_name(_ASIDE.format(*address, found.uid)), found)
            self._come_back(path.with_name(_ASIDE.format(*address, uid)))
            found = self._read(path)
        self._damaged = found is None
        found = found or _File({})
        self._is_doubtful = found.uid not in (None, uid)
        self.values = {} if self._is_doubtful else found.values

    def save(self, values: dict[str, float]) -> bool:
        """Write original values; return whether they are on disk, so that changes may follow."""
        if self._is_doubtful:
            return False
        try:
            make_folder(self._folder)
            if self._damaged:
                self._path.replace(self._path.with_suffix(".damaged"))
                self._damaged = False
            with atomic_writer(self._path) as file:
                json.dump({"format": _FORMAT, "values": values} | self._identity(), file)
        except (ConfigError, OSError) as error:
            _log.error("vehicle limits are not changed: %s", error)
            return False
        self.values = values
        _log.warning("changing vehicle limits; original values: %s", values)
        return True

    def discard(self, outcome: str) -> None:
        """Delete the values once nothing is to be restored any more; the log has the outcome."""
        _log.warning("vehicle limits %s: %s", outcome, self.values)
        try:
            self._path.unlink()
        except OSError:
            pass  # the next start restores the same values again
        self.values = {}

    def _read(self, path: Path) -> _File | None:
        """Content of a file, without values if there is none, `None` if it is damaged."""
        try:
            return _content_of(json.loads(read_bytes(path)), self._most)
        except FileNotFoundError:
            return _File({})
        except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
            _log.error("%s cannot be read; check the limits of the vehicle: %s", path, error)
            return None

    def _identity(self) -> dict[str, str]:
        return {} if self._uid is None else {"uid": self._uid}

    def _put_aside(self, aside: Path, found: _File) -> None:
        _log.error("limits of another board are not restored here: %s in %s", found.values, aside)
        self._move(self._path, aside)

    def _come_back(self, aside: Path) -> None:
        """Take up the values of this board, unless the file has newer ones."""
        if aside.exists() and not self._path.exists():
            self._move(aside, self._path)

    def _move(self, source: Path, target: Path) -> None:
        try:
            source.replace(target)
        except OSError as error:
            _log.error("%s cannot be moved: %s", source, error)


def _content_of(content: Any, most: Mapping[str, float]) -> _File:  # noqa: ANN401 - any JSON
    found = content
    uid = None
    if isinstance(content, dict) and "format" in content:
        found = content.get("values")
        uid = content.get("uid")
    if not isinstance(found, dict):
        raise TypeError("no values by name")
    values = {str(name): float(value) for name, value in found.items()}
    for name, value in values.items():
        if not 0.0 <= value <= most.get(name, -1.0):  # nan too
            raise ValueError(f"{name} {value:g} is not the value of a vehicle")
    if uid is not None and not (isinstance(uid, str) and uid.isalnum()):  # part of a file name
        raise TypeError("no unique id")
    return _File(values, uid)
