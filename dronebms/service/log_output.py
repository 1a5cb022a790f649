# SPDX-License-Identifier: Apache-2.0
"""The log of the service: one line per event on stderr, as text, for the journal, or as JSON.

Logging is non-blocking: a thread drains a queue, so that a stopped terminal or journal does not
stop the loop. A message that repeats is passed five times, then once in ten seconds with the number
of those suppressed in between. What is remembered of messages, and the lines that a stopped reader
leaves in the queue, are bounded. Seconds.
Source: sd-daemon(3) for the priorities, systemd.exec(5) for JOURNAL_STREAM.
"""

import json
import logging
import os
import re
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue

from dronebms.core.clock import Clock, known_date
from dronebms.core.disk import write_all
from dronebms.core.number_format import printable

_PLACE = re.compile(r"%[-0-9.]*[a-z]")  # of a value in a format
_NUMBER = re.compile("[0-9]+")
_FIELDS = ("battery", "limit", "event")  # of the JSON line, from `extra`
_BURST = 5.0
_EACH_S = 10.0
_MOST_KINDS = 500  # of messages whose repetitions are counted
_MOST_LINES = 10_000  # in the queue
_STDERR = 2
_DRAIN_S = 1.0  # at the end, for the lines in the queue
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


def start(clock: Clock, *, as_json: bool) -> None:
    """Log to stderr from now on, with priorities if the journal reads it."""
    if sys.stderr is None:  # closed: its number may by now be a recording's
        logging.disable()
        return
    handler = _Lines()
    handler.addFilter(RepeatFilter(clock))
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(journal=_is_journal()))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _is_journal() -> bool:
    stat = os.fstat(_STDERR)
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


@dataclass(slots=True)
class _Allowance:
    left: float
    at_s: float
    suppressed: int = 0


class RepeatFilter(logging.Filter):
    """Suppresses repeated messages; an event of another battery or limit is not a repetition."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._allowances: dict[tuple[object, ...], _Allowance] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to pass a record; sets its `held_back`, the number of those suppressed before."""
        # Whole numbers in a message are a battery or a process; others are values of the moment.
        args = record.args if isinstance(record.args, tuple) else ()
        which = (getattr(record, name, None) for name in _FIELDS)
        key = (_kind_of(record), *which, *(arg for arg in args if isinstance(arg, int)))
        now_s = self._clock.now_s()
        known = self._allowances.pop(key, None) or _Allowance(_BURST, now_s)
        self._allowances[key] = known  # the last one: the first is the one that is longest unused
        if len(self._allowances) > _MOST_KINDS:
            del self._allowances[next(iter(self._allowances))]
        known.left = min(known.left + (now_s - known.at_s) / _EACH_S, _BURST)
        known.at_s = now_s
        if known.left < 1.0:
            known.suppressed += 1
            return False
        record.held_back = known.suppressed
        known.suppressed = 0
        known.left -= 1.0
        return True


def _kind_of(record: logging.LogRecord) -> str:
    """Message without the values of the moment: the format, or of one without words the text."""
    message = str(record.msg)
    if any(letter.isalpha() for letter in _PLACE.sub("", message)):
        return message
    return _NUMBER.sub("#", record.getMessage())


class TextFormatter(logging.Formatter):
    """One line of text; for the journal it starts with the priority."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """The record, with its exception, as one line."""
        text = record.getMessage().rstrip()
        suppressed = getattr(record, "held_back", 0)
        if suppressed:
            text += f" ({suppressed} suppressed)"
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        priority = _PRIORITIES.get(record.levelno, 7)  # 7: debug
        mark = f"<{priority}>" if self._journal else f"{record.levelname} "
        return mark + " | ".join(printable(line.strip()) for line in text.splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; `time` is the date in UTC, `None` while the clock is not set."""
        date_s = known_date(record.created)
        date = None if date_s is None else datetime.fromtimestamp(date_s, UTC)
        row: dict[str, object] = {
            "time": None if date is None else date.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "text": record.getMessage(),
        }
        row |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if getattr(record, "held_back", 0):
            row["held_back"] = getattr(record, "held_back", 0)
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row | {"logger": record.name})


class _Lines(logging.Handler):
    """Passes lines to a thread that writes them.

    Unlike `logging.handlers.QueueListener` it ends within a time limit if stderr is stuck.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._lost = 0  # lines since the queue was full
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line; none while the queue is full."""
        if self._lines.qsize() >= _MOST_LINES:
            self._lost += 1
            return
        if self._lost:
            lost = self._lost
            self._lost = 0
            text = f"{lost} lines of the log are lost: its reader had stopped"
            note = logging.LogRecord(record.name, logging.WARNING, "", 0, text, None, None)
            self._lines.put(self.format(note).encode() + b"\n")
        self._lines.put(self.format(record).encode("utf-8", "backslashreplace") + b"\n")

    def close(self) -> None:
        """Write the lines in the queue, within the time limit."""
        self._lines.put(None)
        self._thread.join(_DRAIN_S)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                write_all(_STDERR, line)
            except OSError:
                pass  # a reader that has gone is no reason to stop
