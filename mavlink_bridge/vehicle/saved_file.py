# SPDX-License-Identifier: Apache-2.0
"""File with original values of a vehicle: one kind of values of one vehicle.

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
from dronebms.core.disk import make_folder, sync_folder
from dronebms.core.errors import ConfigError

_log = logging.getLogger(__name__)
_NAME = "vehicle-{}-{}-{}.json"  # HEARTBEAT.autopilot, system id, kind of values
_ASIDE = "vehicle-{}-{}-{}-of-{}.json"  # the same, and the unique id of another board
_FORMAT = 1
_DAMAGE = (ValueError, TypeError, OverflowError, RecursionError)


def left_behind(folder: Path) -> bool:
    """Whether an earlier run has left values to restore on a vehicle."""
    return any(folder.glob(_NAME.format("*", "*", "*")))


@dataclass(frozen=True, slots=True)
class _Content:
    """Content of a file."""

    values: dict[str, float]
    uid: str | None = None  # of the board; None: not known


@dataclass(frozen=True, slots=True)
class SavedFile:
    """The file of a vehicle. Its methods wait for the disk, and raise no error of it.

    Attributes:
        folder: of the file.
        vehicle: HEARTBEAT.autopilot, system id, kind of values.
        uid: of the board; `None`: not known.
        most: the names of this kind, and the greatest value of each; the least is 0.
    """

    folder: Path
    vehicle: tuple[int | None, int, str]
    uid: str | None
    most: Mapping[str, float]

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.folder / _NAME.format(*self.vehicle)

    def load(self) -> dict[str, float] | None:
        """Values to restore; `None` if they are of another board, or this one's id is not known."""
        found = self._read()
        if self.uid is not None and found is not None:
            if found.uid not in (None, self.uid):
                self._put_aside(found)
            self._come_back()
            found = self._read()
        if found is None:
            return {}
        return found.values if found.uid in (None, self.uid) else None

    def store(self, values: Mapping[str, float]) -> str | None:
        """Let the file have these values, and without any be none; return what failed."""
        try:
            if values:
                self._write(_Content(dict(values), self.uid))
            else:
                self._delete()
        except (ConfigError, OSError) as error:
            return str(error)
        return None

    def _write(self, content: _Content) -> None:
        make_folder(self.folder)
        try:
            found = self._content()
        except _DAMAGE:
            self.path.replace(self.path.with_suffix(".damaged"))
            found = _Content({})
        if found == content:
            return
        if found.uid not in (None, self.uid):
            if self.uid is None:
                raise ConfigError(f"{self.path} is of another board")
            self.path.replace(self._aside(found.uid))
        with atomic_writer(self.path) as file:
            identity = {} if self.uid is None else {"uid": self.uid}
            json.dump({"format": _FORMAT, "values": content.values} | identity, file)

    def _delete(self) -> None:
        """Delete the file, unless it is damaged or of another board."""
        try:
            if self._content().uid not in (None, self.uid):
                return
        except _DAMAGE:
            return
        try:
            self.path.unlink()
            sync_folder(self.folder)  # else a power cut brings the file back
        except FileNotFoundError:
            pass

    def _read(self) -> _Content | None:
        """Content of the file, `None` if it is damaged."""
        try:
            return self._content()
        except (OSError, *_DAMAGE) as error:
            _log.error("%s cannot be read; check the limits of the vehicle: %s", self.path, error)
            return None

    def _content(self) -> _Content:
        """Content of the file, without values if there is none; raises what its damage raises."""
        try:
            return _content_of(json.loads(read_bytes(self.path)), self.most)
        except FileNotFoundError:
            return _Content({})

    def _aside(self, uid: str | None) -> Path:
        return self.path.with_name(_ASIDE.format(*self.vehicle, uid))

    def _put_aside(self, found: _Content) -> None:
        aside = self._aside(found.uid)
        _log.error("limits of another board are not restored here: %s in %s", found.values, aside)
        try:
            self.path.replace(aside)
        except OSError as error:
            _log.error("%s cannot be moved: %s", self.path, error)

    def _come_back(self) -> None:
        """Take up the values of this board, unless the file has newer ones."""
        aside = self._aside(self.uid)
        try:
            if aside.exists() and not self.path.exists():
                aside.replace(self.path)
        except OSError as error:
            _log.error("%s cannot be moved: %s", aside, error)


def _content_of(content: Any, most: Mapping[str, float]) -> _Content:  # noqa: ANN401 - any JSON
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
    return _Content(values, uid)
