# SPDX-License-Identifier: Apache-2.0
"""No text from outside controls a terminal, a log, a table, a page, a plot or a MAVLink text."""

import csv
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dronebms.cli.exit_codes import print_stderr, print_stdout
from dronebms.cli.main import main
from dronebms.core.number_format import PrintableFormatter, csv_field, printable
from dronebms.presentation.phrases import pack_name
from dronebms.service.log_output import JsonFormatter, TextFormatter
from mavlink_bridge.protocol import messages
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.reports import a_report

PAYLOADS = (
    "\x1b[31mred", "\x1b]0;title\x07", "\x1bP0;1|17/ab\x1b\\", "\x9b31m", "a\rb", "a\nb", "a\x00b",
    "\x7f\x08\x08", "\u202egpj.exe", "\u2066x\u2069", "\u2028x", "\x85x", "\udc80", "\ufffe",
    "[red]x[/]", "[/x]", "[bold", "{0.__class__}", "{trip.update.__globals__}", "%s%n%d",
    "$\\frac{$", "=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1+1",
    "<script>alert(1)</script>", "\"'><b>",
)  # fmt: skip
# C0, C1, line ends, directions, and what is no character.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe]")


def console(text: str) -> str:
    file = StringIO()
    Console(file=file, markup=False, highlight=False, force_terminal=False).print(printable(text))
    return file.getvalue().rstrip("\n")


def logged(formatter: logging.Formatter) -> Callable[[str], str]:
    def line(text: str) -> str:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "pack %s", (text,), None)
        return formatter.format(record)

    return line


SINKS: dict[str, Callable[[str], str]] = {
    "console": console,
    "log": logged(TextFormatter(journal=True)),
    "log of a command": logged(PrintableFormatter()),
    "JSON log": logged(JsonFormatter()),
    "STATUSTEXT": lambda text: b"".join(
        one.text if isinstance(one.text, bytes) else one.text.encode("latin-1")
        for one in messages.chunks(text, 3, 1)
    ).decode("latin-1"),
    "CSV": lambda text: str(csv_field(text)),
}


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
@pytest.mark.parametrize("sink", SINKS)
def test_no_payload_reaches_a_sink_as_it_is(sink: str, payload: str) -> None:
    shown = SINKS[sink](payload)
    assert not CONTROLS.search(shown)
    if sink == "STATUSTEXT":
        assert shown.isascii()
    if sink == "CSV":
        (row,) = csv.reader([shown])
        assert row == [] or row[0].lstrip()[:1] not in set("=+-@\t\r")


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_stderr_and_stdout_have_our_line_ends_alone(
    payload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_stderr(payload)
    print_stdout(payload)
    shown = capsys.readouterr()
    assert not CONTROLS.search((shown.err + shown.out).replace("\n", ""))


NAMES = [payload.replace("/", "_").replace("\0", "") for payload in PAYLOADS]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_file_name_or_key_reaches_stderr_as_it_is(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / f"{name}.toml"
    key = json.dumps(name.encode("utf-8", "replace").decode())
    config.write_text(f"{key} = 1\n", encoding="utf-8", errors="replace")
    for words in (
        ["check", "-c", str(config)],
        ["check", "-c", str(tmp_path / f"none{name}")],
        ["replay", str(tmp_path / f"{name}.csv")],
        ["replay", str(tmp_path / f"{name}.bin")],
        ["packs", name, "--state-dir", str(tmp_path)],
        ["sim", "--flight", f"x{name}"],
        ["sim", "--fault", name],
        ["replay", "--cells", name, "x.csv"],
    ):
        try:
            code = main(words)
        except SystemExit as done:
            code = int(str(done.code))
        assert code == 2, words
        shown = capsys.readouterr()
        assert not CONTROLS.search((shown.err + shown.out).replace("\n", "")), words


def on_a_terminal(*words: str) -> str:
    """What a command writes to a terminal on its stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "dronebms.cli", *words],
        stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    ) as running:  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # the terminal was closed
            pass
        code = running.wait()
    os.close(ours)
    assert code == 0, shown
    return shown.decode()


def test_a_progress_bar_shows_a_name_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "[red]x[_] [bold.csv"
    path.write_text("t_s,voltage_v,current_a\n" + "".join(f"{k},15,1\n" for k in range(20)))
    shown = on_a_terminal("replay", str(path), "--cells", "4", "--chemistry", "lipo")
    assert "[red]x[_] [bold.csv" in shown


def test_a_pack_is_named_in_printable_characters() -> None:
    for payload in PAYLOADS:
        made = a_report(identity=Identity(manufacturer=payload, device=payload))
        assert not CONTROLS.search(pack_name(made))
        info = messages.smart_battery_info(made, battery_id=0)
        name = info.device_name
        shown = name if isinstance(name, str) else name.decode("ascii")
        assert not CONTROLS.search(shown.rstrip("\0"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_name_that_the_encoding_of_a_terminal_has_not_is_shown_escaped(
    encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "f\udcff \u0142\u00fc.csv"
    rows = (f"{t},{16 - 0.01 * t:.2f},{12 + t % 3},25" for t in range(60))
    path.write_text("\n".join(("t_s,voltage_v,current_a,temperature_degc", *rows)))
    pack = ("--cells", "4", "--chemistry", "lipo", "--pack-id", "P\u0142")
    for command in (["replay", str(path)], ["packs", "--state-dir", "s", "--add", str(path)]):
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "dronebms.cli", *command, *pack],
            cwd=tmp_path,
            env=os.environ
            | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        shown = "\u0142".encode(encoding, "backslashreplace")
        assert shown in done.stdout
