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
  alarm INTEGER NOT NULL, size INTEGER GENERATED ALWAYS AS (length(topic) + length(payload))
);
"""
_DROP = """
DELETE FROM message WHERE NOT alarm AND id > ? AND id IN (
  SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) AS newer FROM message)
  WHERE newer > ?
)
"""
_LEFT = 0.95  # of the size that is allowed, so that not every message drops one


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

    def put(self, messages: Collection[Message], sent: int) -> None:
        """Keep messages, all or none; what is sent up to a number is not dropped for them."""
        rows = [(one.topic, one.payload, one.alarm) for one in messages]
        with self._base as base:
            base.executemany("INSERT INTO message (topic, payload, alarm) VALUES (?, ?, ?)", rows)
            (size,) = base.execute("SELECT total(size) FROM message").fetchone()
            if size > self._most:
                self.dropped += base.execute(_DROP, (sent, _LEFT * self._most)).rowcount

    def after(self, number: int, most: int) -> list[tuple[int, str, str]]:
        """Return (number, topic, payload) of those behind a number, the oldest first."""
        asked = "SELECT id, topic, payload FROM message WHERE id > ? ORDER BY id LIMIT ?"
        return self._base.execute(asked, (number, most)).fetchall()

    def done(self, numbers: Iterable[int]) -> None:
        """Forget messages."""
        with self._base as base:
            base.executemany("DELETE FROM message WHERE id = ?", [(number,) for number in numbers])

    def close(self) -> None:
        """Close the file."""
        self._base.close()
