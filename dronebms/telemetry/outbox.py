# SPDX-License-Identifier: Apache-2.0
"""Queue of outgoing messages on disk, the oldest first, until the broker acknowledges them.

A stored message survives a power cut. The size is limited: beyond it the oldest message that is no
alarm is dropped and counted. Beyond four times that size the oldest alarm is dropped and counted
too, so that a limit that trips for weeks does not fill the disk. Sizes in characters. For one
thread; raises sqlite3.Error.
"""

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

# The cache of 2 MB that SQLite has by default would fill with the queue.
_SCHEMA = """
PRAGMA cache_size = -256;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS message (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload TEXT NOT NULL,
  alarm INTEGER NOT NULL, size INTEGER GENERATED ALWAYS AS (length(topic) + length(payload))
);
"""
_DROP = """
DELETE FROM message WHERE alarm <= ? AND id > ? AND id IN (
  SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) AS newer FROM message)
  WHERE newer > ?
)
"""
_ALARM_SIZES = 4.0  # alarms may have so many times the maximum size
_LOW_WATER = 0.95  # of the maximum size, so that not every message drops another one


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish."""

    topic: str
    payload: str
    alarm: bool


class Outbox:
    """The queue in one file.

    Args:
        path: of the file; ":memory:" for none.
        max_size: of all messages.

    Raises:
        sqlite3.Error: the file cannot be used.
    """

    def __init__(self, path: str, max_size: float) -> None:
        self.dropped = 0
        self._max_size = max_size
        self._base = sqlite3.connect(path)
        try:
            self._base.executescript(_SCHEMA)
        except sqlite3.Error:
            self._base.close()
            raise

    def put(self, messages: Collection[Message], sent: int) -> None:
        """Store messages, all or none; messages up to number `sent` are not dropped."""
        rows = [(one.topic, one.payload, one.alarm) for one in messages]
        with self._base as base:
            base.executemany("INSERT INTO message (topic, payload, alarm) VALUES (?, ?, ?)", rows)
            (size,) = base.execute("SELECT total(size) FROM message").fetchone()
            for alarm, most in enumerate((self._max_size, _ALARM_SIZES * self._max_size)):
                if size > most:
                    found = base.execute(_DROP, (alarm, sent, _LOW_WATER * most))
                    self.dropped += found.rowcount

    def everything(self) -> list[Message]:
        """All messages, the oldest first."""
        rows = self._base.execute("SELECT topic, payload, alarm FROM message ORDER BY id")
        return [Message(topic, payload, bool(alarm)) for topic, payload, alarm in rows]

    def after(self, number: int, count: int) -> list[tuple[int, str, str]]:
        """(number, topic, payload) of messages after a number, the oldest first."""
        query = "SELECT id, topic, payload FROM message WHERE id > ? ORDER BY id LIMIT ?"
        return self._base.execute(query, (number, count)).fetchall()

    def delete(self, numbers: Iterable[int]) -> None:
        """Delete messages."""
        with self._base as base:
            base.executemany("DELETE FROM message WHERE id = ?", [(number,) for number in numbers])

    def close(self) -> None:
        """Close the file."""
        self._base.close()
