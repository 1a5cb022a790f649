"""Messages on disk until a broker has them, the oldest first: the queue of `mqtt.py`.

What waits is bounded: then the oldest that is no alarm is dropped, and counted; an alarm never is.
Sizes in characters. For one thread; sqlite3.Error is for the caller.
"""

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS message (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload TEXT NOT NULL,
  alarm INTEGER NOT NULL, size INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS report ON message (id) WHERE NOT alarm;
"""
_KEEP = 0.95  # of the size that is allowed, so that not every message drops one


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be told."""

    topic: str
    payload: str
    alarm: bool


class Outbox:
    """The queue in one file.

    Args:
        path: of the file; ":memory:" outlives nothing.
        most: size of what may wait.

    Raises:
        sqlite3.Error: it cannot be used.
    """

    def __init__(self, path: str, most: float) -> None:
        self.dropped = 0
        self._most = most
        self._base = sqlite3.connect(path)
        self._base.executescript(_SCHEMA)
        (self._size,) = self._base.execute("SELECT total(size) FROM message").fetchone()

    def put(self, messages: Collection[Message], sent: int) -> None:
        """Keep messages, all or none; what is sent up to a number is not dropped for them."""
        sizes = [len(one.topic) + len(one.payload) for one in messages]
        rows = [
            (one.topic, one.payload, one.alarm, size)
            for one, size in zip(messages, sizes, strict=True)
        ]
        with self._base:
            self._base.executemany(
                "INSERT INTO message (topic, payload, alarm, size) VALUES (?, ?, ?, ?)", rows
            )
        self._size += sum(sizes)
        if self._size > self._most:
            self._make_room(sent)

    def after(self, number: int, most: int) -> list[tuple[int, str, str]]:
        """Return (number, topic, payload) of those behind a number, the oldest first."""
        asked = "SELECT id, topic, payload FROM message WHERE id > ? ORDER BY id LIMIT ?"
        return self._base.execute(asked, (number, most)).fetchall()

    def done(self, numbers: Iterable[int]) -> None:
        """Forget messages."""
        gone = 0
        with self._base:
            for number in numbers:
                found = self._base.execute("SELECT size FROM message WHERE id = ?", (number,))
                gone += sum(size for (size,) in found.fetchall())
                self._base.execute("DELETE FROM message WHERE id = ?", (number,))
        self._size -= gone

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _make_room(self, sent: int) -> None:
        oldest = "SELECT id, size FROM message WHERE NOT alarm AND id > ? ORDER BY id"
        drop, left = [], self._size
        for number, size in self._base.execute(oldest, (sent,)):
            if left <= _KEEP * self._most:
                break
            drop.append(number)
            left -= size
        self.done(drop)
        self.dropped += len(drop)
