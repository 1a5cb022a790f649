"""Packs what the loop has done into blocks of a recording, and knows when an incident is over.

Seconds of the loop's clock.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dronebms.core.errors import ConfigError
from dronebms.core.report import Event, Severity
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.pack_memory import RecalledPack
from dronebms.protection.rules import Rules
from dronebms.recording.format import MAGIC, Kept, Poll, Start, Step, block_of, text_of
from smartbattery.bus_trace import Transfer
from smartbattery.gauge_state import GaugeState

BLOCK_S = 0.8  # what a kill may cost; with the sync below a second for a power cut
START_S = 30.0  # what damage may cost
BEFORE_S, AFTER_S = 60.0, 30.0  # of an alarm, in its capsule
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Incident:
    """An alarm, and when its capsule is full."""

    t_s: float
    why: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Block:
    """What is written at once."""

    data: bytes
    t_s: float
    is_start: bool = False  # a file may begin with it
    ended: Incident | None = None  # its capsule ends with this block


class Store(Protocol):
    """Where blocks go; neither call raises for a bad disk, nor waits for one."""

    def take(self, block: Block) -> None:
        """Keep a block."""
        ...

    def close(self) -> None:
        """Finish what was taken."""
        ...


class Recorder:
    """Packs what the loop has done into blocks.

    Args:
        store: where they go.
        start: what is recorded.
    """

    def __init__(self, store: Store, start: Start) -> None:
        self._store, self._start = store, start
        self._lines = [text_of(start)]
        self._number = 0
        self._block_s: float | None = None  # when the last block ended
        self._started_s = 0.0
        self._is_start = True
        self._incident: Incident | None = None

    def polled(
        self, index: int, now_s: float, transfers: Sequence[Transfer], known: GaugeState
    ) -> None:
        """Record what one poll of a battery did on the wire, and what its gauge knows then."""
        self._change(index, known=known)
        self._lines.append(text_of(Poll(index, now_s, tuple(transfers))))

    def recalled(self, index: int, recalled: RecalledPack | None) -> None:
        """Record what came back when a pack was recalled, if that is news; before the step."""
        if recalled is not self._start.batteries[index].recalled:
            self._change(index, recalled=recalled)
            self.begin()

    def stepped(self, now_s: float, vehicle: VehicleState, events: Iterable[Event] = ()) -> None:
        """Record that the loop stepped, and what has tripped; hand over a block once it is due."""
        self._lines.append(text_of(Step(now_s, vehicle)))
        for event in events:
            if event.tripped and event.severity >= Severity.WARNING:
                old = self._incident or Incident(now_s, event.limit_id, 0.0)
                self._incident = replace(old, until_s=now_s + AFTER_S)
        ended = self._incident is not None and now_s >= self._incident.until_s
        if self._block_s is None:  # at once, so that the file is there
            self._started_s = now_s
        if ended or self._block_s is None or now_s - self._block_s >= BLOCK_S:
            self._hand_over(now_s, ended=ended)

    def use(self, rules: Rules) -> None:
        """Record that batteries are judged by other rules from now on."""
        self._start = replace(self._start, rules=rules)
        self.begin()

    def begin(self, kept: Kept | None = None) -> None:
        """Record what is needed from here on; before the first step what a run goes on from."""
        self._lines.append(text_of(replace(self._start, t_s=self._block_s, kept=kept)))

    def close(self) -> None:
        """Hand over the rest, and finish the store."""
        if self._block_s is not None:
            self._hand_over(self._block_s, ended=True)
        self._store.close()

    def _change(self, index: int, **news: Any) -> None:  # noqa: ANN401 - of any field
        old = self._start.batteries
        batteries = (*old[:index], replace(old[index], **news), *old[index + 1 :])
        self._start = replace(self._start, batteries=batteries)

    def _hand_over(self, now_s: float, *, ended: bool) -> None:
        data = block_of(self._number, b"".join(self._lines))
        self._store.take(Block(data, now_s, self._is_start, self._incident if ended else None))
        self._incident = None if ended else self._incident
        self._number, self._block_s = self._number + 1, now_s
        self._is_start = now_s - self._started_s >= START_S
        self._lines = []
        if self._is_start:
            self._started_s = now_s
            self._lines.append(text_of(replace(self._start, t_s=now_s)))


class GrowingFile:
    """A recording that is appended to; raises `OSError` as it comes."""

    def __init__(self, path: Path, began_s: float) -> None:
        self._file = path.open("xb", buffering=0)
        self.path, self.began_s, self.size = path, began_s, 0

    def append(self, data: bytes) -> None:
        """Write all of it; `size` counts what was written whole."""
        whole = rest = data if self.size else MAGIC + data
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(whole)

    def sync(self) -> None:
        """Return once it outlives a power cut."""
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Close it, whatever the disk says."""
        try:
            self._file.close()
        except OSError:
            pass


class SingleFile:
    """A `Store`: one file, written as blocks come, for a flight that has no power cuts.

    Raises:
        ConfigError: the file exists already or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: GrowingFile | None = GrowingFile(path, 0.0)
        except FileExistsError as error:
            raise ConfigError(f"{path} exists already; recordings are never overwritten") from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error

    def take(self, block: Block) -> None:
        """Write a block; a full disk stops the recording, not the flight."""
        if self._file is None:
            return
        try:
            self._file.append(block.data)
        except OSError as error:
            _log.error("recording to %s has stopped: %s", self._file.path, error.strerror)
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None
