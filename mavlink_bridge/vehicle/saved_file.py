# SPDX-License-Identifier: Apache-2.0
"""File with original values of a vehicle: one kind of values of one vehicle.

A system id is no identity: most vehicles have 1. A file also has the unique id of the board, if the
autopilot sends one; its values are restored on that board alone, and are used once the id has been
received. The values of another board are put aside, and come back with it.

What a file has is set on the vehicle: a name that is not of its kind, or a value that no vehicle
has, is damage, and nothing of that file is set.

A file that is there and cannot be read is no absent one: an earlier run has left a limit, and its
original values are unknown. It stays as it is until the user has set the vehicle's limits and moved
the file. One that is damaged while its values are in memory is put aside under a name of its own.

A file is a JSON object: `format` (1), `values` by parameter name and, since 0.2, `uid`. The format
only grows: later versions add keys and read every earlier file, also one without `format`, which
holds the values alone.
"""

import json
import logging
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.bounded_input import read_stored
from dronebms.core.disk import make_folder, may_be_there, sync_folder
from dronebms.core.errors import ConfigError

_log = logging.getLogger(__name__)
_NAME = "vehicle-{}-{}-{}.json"  # HEARTBEAT.autopilot, system id, kind of values
_ASIDE = "vehicle-{}-{}-{}-of-{}.json"  # the same, and the unique id of another board
_FORMAT = 1
_MOST_DAMAGED = 9  # files that are put aside
_DAMAGE = (ValueError, TypeError, OverflowError, RecursionError)


def left_behind(folder: Path) -> bool:
    """Whether an earlier run has left values to restore on a vehicle."""
    return any(folder.glob(_NAME.format("*", "*", "*")))


@dataclass(frozen=True, slots=True)
class UnreadFile:
    """A file that a run could not read, and why."""

    path: Path
    reason: str
    is_denied: bool = False  # by its permissions


def unread_files(folder: Path, kinds: Mapping[str, Mapping[str, float]]) -> Iterator[UnreadFile]:
    """Files of a folder that a run could not read.

    The run is that of the user who has the folder. A file that only this user cannot read is not
    judged.

    Args:
        folder: of the files.
        kinds: of the values, each with its names and the greatest value of each.
    """
    for kind, most in kinds.items():
        for path in sorted(folder.glob(_NAME.format("*", "*", f"{kind}*"))):
            try:
                if _is_readable_by_owner(path):
                    _content_of(json.loads(read_stored(path)), most)
                else:
                    yield UnreadFile(
                        path, f"{path.name} cannot be read: no permission", is_denied=True
                    )
            except (FileNotFoundError, PermissionError):
                pass
            except OSError as error:
                trouble = (error.strerror or str(error)).lower()
                yield UnreadFile(path, f"{path.name} cannot be read: {trouble}")
            except _DAMAGE:
                yield UnreadFile(path, f"{path.name} is damaged")


def _is_readable_by_owner(path: Path) -> bool:
    """Whether the user who has the folder may read a file; raises OSError."""
    status = path.stat()
    folder = path.parent.stat()
    bits = stat.S_IROTH
    if status.st_uid == folder.st_uid:
        bits = stat.S_IRUSR
    elif status.st_gid == folder.st_gid:
        bits = stat.S_IRGRP
    return folder.st_uid == 0 or bool(status.st_mode & bits)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What earlier runs have left on a board.

    Attributes:
        values: to restore.
        is_known: whether these are all; else a value of the vehicle may be a limited one.
        trouble: why the file cannot be read; `None` if it can.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    is_known: bool = True
    trouble: str | None = None


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

    def load(self) -> Loaded:
        """What earlier runs have left; not known while this board's id is not, if there is one."""
        try:
            found = self._content()
            if self.uid is not None:
                if found.uid not in (None, self.uid):
                    self._put_aside(found)
                self._come_back()
                found = self._content()
        except OSError as error:
            return Loaded(is_known=False, trouble=f"{self.path.name} cannot be read: {error}")
        except _DAMAGE as error:
            return Loaded(is_known=False, trouble=f"{self.path.name} is damaged: {error}")
        is_known = found.uid in (None, self.uid) and not (found == _Content({}) and self._is_open())
        return Loaded(found.values if is_known else {}, is_known)

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
            self._put_damage_aside()
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

    def _content(self) -> _Content:
        """Content of the file, without values if there is none; raises what its damage raises."""
        if not may_be_there(self.path):
            return _Content({})
        return _content_of(json.loads(read_stored(self.path)), self.most)

    def _is_open(self) -> bool:
        """Whether this may be a board whose values are aside, because its id is not known."""
        asides = self.folder.glob(_ASIDE.format(*self.vehicle, "*"))
        return self.uid is None and any(asides)

    def _aside(self, uid: str | None) -> Path:
        return self.path.with_name(_ASIDE.format(*self.vehicle, uid))

    def _put_damage_aside(self) -> None:
        """Rename the file to a name that is free."""
        endings = ["damaged"] + [f"damaged{number}" for number in range(2, _MOST_DAMAGED + 1)]
        names = [self.path.with_suffix(f".{ending}") for ending in endings]
        free = [name for name in names if not may_be_there(name)]
        if not free:
            raise ConfigError(f"{self.path} is damaged, as {_MOST_DAMAGED} files before it")
        self.path.replace(free[0])

    def _put_aside(self, found: _Content) -> None:
        aside = self._aside(found.uid)
        self.path.replace(aside)
        _log.error("limits of another board are not restored here: %s in %s", found.values, aside)

    def _come_back(self) -> None:
        """Take up the values of this board, unless the file has newer ones."""
        aside = self._aside(self.uid)
        if may_be_there(aside) and not may_be_there(self.path):
            aside.replace(self.path)


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
