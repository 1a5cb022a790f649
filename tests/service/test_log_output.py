# SPDX-License-Identifier: Apache-2.0
"""The log of the service: a line per event, in the format of its reader, repetitions suppressed."""

import json
import logging
import os
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.service import log_output
from dronebms.service.log_output import JsonFormatter, RepeatFilter, TextFormatter
from tests.mavlink_bridge.loopback import WAIT_S


def record(
    text: str, *args: object, level: int = logging.WARNING, **extra: object
) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"msg": text, "args": args, "levelno": level, "name": "x", **extra}
    )
    made.levelname = logging.getLevelName(level)
    return made


def test_repeated_messages_are_suppressed_and_counted() -> None:
    clock = VirtualClock()
    repeats, line = RepeatFilter(clock), TextFormatter(journal=False)
    lines: list[str] = []
    times_s = [step / 10 for step in range(600)] + [90.0]  # a minute of it, and once more
    for step, t_s in enumerate(times_s):
        clock.sleep_until(t_s)
        again = record("battery %d does not answer: %s", 1, f"try {step}")
        if repeats.filter(again):
            lines.append(line.format(again))
    assert lines[:5] == [f"WARNING battery 1 does not answer: try {step}" for step in range(5)]
    assert len(lines) in (10, 11, 12)
    assert lines[-1].startswith("WARNING battery 1 does not answer: try 600 (")
    assert lines[-1].endswith(" suppressed)")
    assert sum(int(text.split("(")[1].split()[0]) for text in lines[5:]) == 601 - len(lines)


def test_another_battery_or_limit_is_no_repetition() -> None:
    repeats = RepeatFilter(VirtualClock())
    for battery in range(3):
        for limit in ("hot", "silent"):
            for event in ("tripped", "cleared"):
                event_record = record("%s", "x", battery=battery, limit=limit, event=event)
                assert [repeats.filter(event_record) for _ in range(6)] == [True] * 5 + [False]
    assert repeats.filter(record("battery %d: x", 1))
    assert [repeats.filter(record("battery %d: x", 2)) for _ in range(6)].count(True) == 5


def test_two_texts_without_a_format_of_their_own_are_no_repetition() -> None:
    repeats = RepeatFilter(VirtualClock())
    for text in ("RETURN: LOW: cell 3 3.42 V", "LAND: link does not accept it", "pilot: LOITER"):
        for form in ("%s", "%s: %s"):
            args = ("udpin:0.0.0.0:14550", text) if form == "%s: %s" else (text,)
            assert [repeats.filter(record(form, *args)) for _ in range(6)] == [True] * 5 + [False]
    numbers = [repeats.filter(record("%s", f"cell {one} 3.{one:02} V")) for one in range(10)]
    assert numbers == [True] * 5 + [False] * 5


def test_what_is_remembered_of_messages_is_bounded() -> None:
    """A number in a message, such as a count, makes each one another message."""
    repeats = RepeatFilter(VirtualClock())
    for count in range(5000):
        assert repeats.filter(record("%d messages dropped", count))
        repeats.filter(record("battery %d does not answer", 1))
    assert len(repeats._allowances) == 500
    assert not repeats.filter(record("battery %d does not answer", 1))  # in use, so still known


def test_lines_that_are_not_read_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()
    monkeypatch.setattr(log_output, "_MOST_LINES", 3)
    monkeypatch.setattr(log_output._Lines, "_write", lambda _: started.set())
    lines = log_output._Lines()
    assert started.wait(10.0)
    for count in range(10):
        lines.emit(record("line %d", count))
    queued = [lines._lines.get() for _ in range(lines._lines.qsize())]
    assert queued == [b"line 0\n", b"line 1\n", b"line 2\n"]
    lines.emit(record("line %d", 10))
    assert lines._lines.get() == b"7 lines of the log are lost: its reader had stopped\n"
    assert lines._lines.get() == b"line 10\n"
    lines.close()


def test_an_exception_and_a_text_of_several_lines_are_one_line_for_the_journal() -> None:
    with pytest.raises(ValueError, match="odd") as caught:
        int("odd")
    broken = record(
        "a sink failed\nand continues",
        level=logging.ERROR,
        exc_info=(caught.type, caught.value, caught.tb),
    )
    text = TextFormatter(journal=True).format(broken)
    assert text.startswith("<3>a sink failed | and continues | Traceback")
    assert text.endswith("| ValueError: invalid literal for int() with base 10: 'odd'")
    assert "\n" not in text


def test_a_json_line_has_time_level_battery_limit_and_event() -> None:
    event_record = record("battery %d hot", 2, battery=1, limit="hot", event="tripped")
    row = json.loads(JsonFormatter().format(event_record))
    at = datetime.fromisoformat(row.pop("time"))
    assert abs(at.timestamp() - event_record.created) < 0.002
    assert at.tzname() == "UTC"
    assert row == {
        "level": "warning",
        "text": "battery 2 hot",
        "battery": 1,
        "limit": "hot",
        "event": "tripped",
        "logger": "x",
    }


@pytest.mark.parametrize("created", [0.0, 12.5, 1e9])
def test_a_json_line_has_no_time_while_the_clock_is_not_set(created: float) -> None:
    early = record("started")
    early.created = created
    assert json.loads(JsonFormatter().format(early))["time"] is None


STARTED = (
    "from dronebms.core import clock; from dronebms.service import log_output; "
    "log_output.start(clock.SystemClock(), as_json=False); "
)


def run(code: str, **where: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]  # noqa: S603 - our own code; the options are ours too
        (sys.executable, "-c", "import logging; " + STARTED + code), text=True, **where
    )


def test_priorities_are_written_for_the_journal_only(tmp_path: Path) -> None:
    for journal, lines in ((True, "<6>one\n<3>two\n"), (False, "INFO one\nERROR two\n")):
        with (tmp_path / "log").open("w+") as log:
            stat = os.fstat(log.fileno())
            stream = f"{stat.st_dev}:{stat.st_ino + (not journal)}"
            code = "logging.info('one'); logging.error('two')"
            with run(code, stderr=log, env=os.environ | {"JOURNAL_STREAM": stream}) as process:
                assert process.wait(WAIT_S) == 0
            log.seek(0)
            assert log.read() == lines


def test_a_log_without_a_reader_blocks_nothing() -> None:
    code = "[logging.info('a' * 999 + str(line)) for line in range(1000)]; print('done')"
    with run(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"  # ten times what a pipe holds
        assert process.wait(WAIT_S) == 0  # and it ends
        assert process.stderr is not None
        first = process.stderr.readline()
    assert first == f"INFO {'a' * 999}0\n"


def test_a_closed_stderr_does_not_write_into_another_file(tmp_path: Path) -> None:
    code = f"file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() == 2; " + STARTED
    shell = ("sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable)
    code = f"import logging; {code}logging.error('lost'); logging.shutdown()"
    assert subprocess.run((*shell, code), check=False).returncode == 0  # noqa: S603 - our own code
    assert (tmp_path / "file").read_text() == ""
