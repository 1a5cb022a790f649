# SPDX-License-Identifier: Apache-2.0
"""Original values of vehicle parameters: read once before the first limit, restored at its end.

They are in memory for the life of the limit. A limited value is never read as an original one:
while saving fails, the saving alone is tried again.

An autopilot stores a set parameter over a restart, and the service can be killed: the values are on
disk (`saved_file`) before a parameter is changed, and the next start restores them. A file that is
lost while a limit holds is written again.

A file that cannot be read is no absent one: a value of the vehicle may be a limited one. None is
read as an original one, and nothing is limited by it, until the file can be read or is gone.

The disk is used by jobs, one at a time, so that no older content replaces a newer one. Until a job
is done, nothing is known to be saved.
"""

import logging
import math
from collections.abc import Callable, Collection, Mapping, Set
from pathlib import Path
from typing import TypeVar

from dronebms.core.background_jobs import Run, run_inline
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.vehicle.saved_file import Loaded, SavedFile

_RETRY_S = 10.0  # after a failure
_LOOK_S = 10.0  # for a file that was lost
_SLOW_S = 3.0  # of a job, until the log and the pilot have it
_ID_S = 5.0  # of a limit that is due, in which a board sends its id
_NO_VEHICLE = (None, -1, "")
_NO_LIMIT = "no reduce: original limits cannot be saved"
_NOT_SAVED = "reduce: original limits are not saved"
_UNKNOWN = "original limits unknown: vehicle may be limited"
_NO_REDUCE = "no reduce: original limits cannot be read"
_NO_ID = "no reduce: board has not sent its id"
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class SavedParameters:
    """Original values of the followed vehicle. For one thread.

    Attributes:
        values: original values by name.
        held: names whose limit may be in force, so that their values are to be restored.
        loaded: names whose limit is of an earlier run, and whose present value is not known yet.
        is_known: whether it is known what earlier runs have left on this board: until then a
            value of the vehicle may be a limited one.

    Args:
        folder: of the files.
        kind: of the values, a part of the file name.
        most: the names of this kind, and the greatest value of each; the least is 0.
        run: does the jobs on the disk.
    """

    def __init__(
        self, folder: Path, kind: str, most: Mapping[str, float], run: Run = run_inline
    ) -> None:
        self.values: dict[str, float] = {}
        self.held: set[str] = set()
        self.loaded: set[str] = set()
        self.is_known = False
        self._folder = folder
        self._kind = kind
        self._most = most
        self._run = run
        self._file = SavedFile(folder, _NO_VEHICLE, None, most)  # of the followed vehicle
        self._is_loaded = True
        self._stored: dict[str, float] = {}  # content of the file, as last known
        self._proven: set[str] = set()  # names whose values were on disk before their limit
        self._open: Callable[[float], bool] | None = None  # takes the result of the open job
        self._begun_s = -math.inf  # of the open job
        self._looked_s = -math.inf  # when the file last had its content
        self._failed_s = -math.inf
        self._trouble: str | None = None  # as logged
        self._text: str | None = None  # last one of this trouble
        self._unread: str | None = None  # trouble of the file that was to be loaded
        self._refused_s: float | None = None  # when a limit became due that is not set
        self._refusal: str | None = None  # its text
        self._texts: list[str] = []

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do on disk."""
        return self._open is None and self.values == self._stored

    def take_texts(self) -> list[str]:
        """Texts for the pilot since the last call."""
        texts = self._texts
        self._texts = []
        return texts

    def step(self, autopilot: Autopilot, now_s: float) -> None:
        """Follow a vehicle, and do on disk what is due."""
        self._follow(autopilot)
        self._work(now_s)
        if self._open is not None and now_s - self._begun_s > _SLOW_S:
            self._note("the disk is too slow")

    def need(self, names: Set[str], now_s: float) -> None:
        """Note which limits are due; the pilot gets once why there is none."""
        refusal = None
        if self.is_known or names <= self.values.keys():
            self._refused_s = None
        else:
            self._refused_s = now_s if self._refused_s is None else self._refused_s
            if self._unread is not None:
                refusal = _NO_REDUCE
            elif self._is_loaded and now_s - self._refused_s >= _ID_S:
                refusal = _NO_ID
        if refusal is not None and refusal != self._refusal:
            self._texts.append(refusal)
        self._refusal = refusal

    def add(self, values: Mapping[str, float]) -> None:
        """Take original values that were read before the first limit; known ones stay.

        None is taken before it is known what earlier runs have left.
        """
        if self.is_known:
            self.values = {**values, **self.values}

    def replace(self, name: str, value: float) -> None:
        """Replace an original value by the one that the user has set meanwhile."""
        self.values = self.values | {name: value}

    def hold(self, names: Collection[str]) -> None:
        """Note that a limit of these names, which ends by itself, may be in force."""
        self.held.update(self.values.keys() & names)

    def save(self, names: Set[str], now_s: float) -> bool | None:
        """Whether the values of these names are on disk, so that a limit may follow.

        Returns:
            `None` while that is not known; False if it failed: it is tried again.
        """
        if names <= self._proven:
            return True
        self._work(now_s)
        if all(
            name in self.values and self._stored.get(name) == self.values[name] for name in names
        ):
            _log.warning("changing vehicle limits; original values: %s", self.values)
            self._proven.update(names)
            self.held.update(names)
            return True
        return None if self._open is not None else False

    def drop(self, but: Collection[str], now_s: float) -> None:
        """Drop the values that no limit has followed, but for some names."""
        unused = self.values.keys() - self.held - {*but}
        if unused:
            self.values = {name: v for name, v in self.values.items() if name not in unused}
            self._work(now_s)

    def discard(self, outcome: str, now_s: float) -> None:
        """Delete the values once nothing is to be restored any more; the log has the outcome."""
        if self.values:
            _log.warning("vehicle limits %s: %s", outcome, self.values)
        self._forget()
        self._work(now_s)

    def _forget(self) -> None:
        self.values = {}
        self.held = set()
        self.loaded = set()
        self._proven = set()

    def _follow(self, autopilot: Autopilot) -> None:
        """Load the values of the followed vehicle when it is another one than before."""
        vehicle = autopilot.kind, autopilot.system_id, self._kind
        uid = autopilot.uid
        before = self._file
        if before.vehicle == vehicle and uid in (None, before.uid):
            return
        if before.vehicle != vehicle or before.uid is not None:
            if self.held:
                _log.error("another vehicle is followed; not restored: %s", self.values)
            self._forget()
        self._file = SavedFile(self._folder, vehicle, uid, self._most)
        self._failed_s = -math.inf
        self._unread = None
        self._is_loaded = False
        self.is_known = False

    def _work(self, now_s: float) -> None:
        """Take the result of a job, and begin the one that is due."""
        while self._open is None or self._open(now_s):
            self._open = None
            file = self._file
            if now_s - self._failed_s < _RETRY_S:
                return
            if not self._is_loaded:
                self._begin(file.load, self._take_loaded, now_s)
            elif self._is_due(now_s):
                values = dict(self.values)
                self._begin(
                    lambda: (values, file.store(values)),  # noqa: B023 - of this round
                    self._take_stored,
                    now_s,
                )
            else:
                return

    def _is_due(self, now_s: float) -> bool:
        """Whether the file is to be written, or looked for."""
        if self.values != self._stored:
            return True
        return bool(self.values) and now_s - self._looked_s >= _LOOK_S

    def _begin(
        self, job: Callable[[], _Result], take: Callable[[_Result, float], None], now_s: float
    ) -> None:
        self._begun_s = now_s
        file = self._file
        future = self._run(job)

        def taken(now_s: float) -> bool:
            """Take the result, unless another vehicle is followed; return whether it is done."""
            if not future.done():
                return False
            result = future.result()
            if file is self._file:
                take(result, now_s)
            return True

        self._open = taken

    def _take_loaded(self, loaded: Loaded, now_s: float) -> None:
        self._note(None)
        self._note_unread(loaded.trouble)
        self._is_loaded = loaded.trouble is None
        self.is_known = loaded.is_known
        found = dict(loaded.values)
        self._stored = found
        if not self._is_loaded:
            self._failed_s = now_s
            return
        if not self.is_known:
            text = (
                "%s may be of another board: nothing is limited until the id of this one is known"
            )
            _log.warning(text, self._file.path)
        self._looked_s = now_s
        self.loaded.update(found.keys() - self.values.keys())
        self.values = {**found, **self.values}
        self.held.update(found)
        self._proven.update(found)

    def _take_stored(self, result: tuple[dict[str, float], str | None], now_s: float) -> None:
        values, trouble = result
        if trouble is None:
            self._stored = values
            self._looked_s = now_s
        else:
            self._failed_s = now_s
        self._note(trouble)

    def _note_unread(self, trouble: str | None) -> None:
        """Log a change of the trouble of loading; the pilot gets that there is one."""
        if trouble is not None and self._unread is None:
            self._texts.append(_UNKNOWN)
        if trouble == self._unread:
            return
        self._unread = trouble
        if trouble is None:
            _log.warning("original vehicle limits can be read again: %s", self._file.path)
        else:
            text = (
                "original vehicle limits unknown: %s; check the vehicle's, then move the file: %s"
            )
            _log.error(text, trouble, self._file.path)

    def _note(self, trouble: str | None) -> None:
        """Log a change of the trouble; the pilot gets its effect once."""
        effect = None
        if trouble is not None and (self.values or not self._is_loaded):
            effect = _NOT_SAVED if self.held else _NO_LIMIT
        if effect is not None and effect != self._text:
            self._texts.append(effect)
        self._text = effect
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            _log.warning("the disk takes original vehicle limits again")
        else:
            _log.error("original vehicle limits are not stored: %s", trouble)
