"""The service's log: one line an event on stderr, as text, for the journal, or as JSON.

Whoever logs never waits: a thread writes, so that a terminal that is held up, or a journal that
stands still, does not hold up the loop. A message that comes again and again is let through five
times, then once in ten seconds, and says how many like it were held back. Seconds.
Source: sd-daemon(3) for the priorities, systemd.exec(5) for JOURNAL_STREAM.
"""

import json
import logging
import os
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue

from dronebms.core.clock import Clock

_FIELDS = ("battery", "limit", "event")  # of the JSON line, from `extra`
_BURST, _EACH_S = 5.0, 10.0
_STDERR = 2
_LAST_WORDS_S = 1.0  # at the end, for what is still to be written
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


def start(clock: Clock, *, as_json: bool) -> None:
    """Log to stderr from now on, in the way of the journal when it is what reads it."""
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
    held: int = 0


class RepeatFilter(logging.Filter):
    """Holds back what repeats itself; an event of another battery or limit is no repeat."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._allowances: dict[tuple[object, ...], _Allowance] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to let a record through; it is told how many like it were not."""
        # Whole numbers in a message are a battery or a process; others are values of the moment.
        args = record.args if isinstance(record.args, tuple) else ()
        which = (getattr(record, name, None) for name in _FIELDS)
        key = (record.msg, *which, *(arg for arg in args if isinstance(arg, int)))
        now_s = self._clock.now_s()
        known = self._allowances.setdefault(key, _Allowance(_BURST, now_s))
        known.left = min(known.left + (now_s - known.at_s) / _EACH_S, _BURST)
        known.at_s = now_s
        if known.left < 1.0:
            known.held += 1
            return False
        record.held_back, known.held = known.held, 0
        known.left -= 1.0
        return True


class TextFormatter(logging.Formatter):
    """One line of text; the journal is told the priority by the number in front."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, with its exception, as one line."""
        held = getattr(record, "held_back", 0)
        lines = record.getMessage().splitlines()
        lines[-1:] = [f"{lines[-1]} ({held} like it held back)"] if held else lines[-1:]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        mark = f"<{_PRIORITIES.get(record.levelno, 7)}>" if self._journal else record.levelname
        return f"{mark}{'' if self._journal else ' '}{' | '.join(line.strip() for line in lines)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; `time` is the machine's date, in UTC."""
        row: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
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
    """Hands lines to a thread that writes them."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line."""
        self._lines.put(self.format(record).encode("utf-8", "backslashreplace") + b"\n")

    def close(self) -> None:
        """Let what is queued be written, for a moment."""
        self._lines.put(None)
        self._thread.join(_LAST_WORDS_S)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                os.write(_STDERR, line)
            except OSError:
                pass  # nobody reads it any more: no reason to stop
