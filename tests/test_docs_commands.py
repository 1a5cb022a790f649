# SPDX-License-Identifier: Apache-2.0
"""Each command line that a page prints is accepted, and runs where it needs no hardware.

A line of a block is a command as a user copies it; a text between backquotes may also be the mere
name of a command or of one option.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dronebms.cli.commands import COMMANDS
from dronebms.cli.main import main
from dronebms.cli.options import PAGES, parser

ROOT = Path(__file__).parents[1]
FLIGHT = ROOT / "tests" / "data" / "flights" / "F13_Marquis2019_P04_1.csv.gz"
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
_COMMAND = r"(?:sudo )?(?:\S*/)?dronebms (?=[a-z-])"
_LINE = re.compile(rf"^(?: {{4,}}|\$ )?{_COMMAND}(.*)$", re.M)
_SPAN = re.compile(rf"`{_COMMAND}([^`\n]*)`")
_BLOCK = re.compile(r"^```\n(.*?)^```|((?:^ {4,}.*\n)+)", re.M | re.S)
# Words that stand for a value of the user, and a value.
_VALUES = {"N": "1", "[SERIAL]": "1001", "SERIAL": "1001"}
# Of a text between backquotes that names a command or an option, and is no whole command.
_A_NAME = ("are required: ", "expected one argument", " needs --")
# What a command reads or writes that a machine without a vehicle does not have.
_OUTSIDE = re.compile(
    r"/dev/|/etc/|serial:|udpin:|tcp:|HOST|URL|--scan|FILE\.toml|^--version|^status|^web|^init"
)
_SHORTER = {
    "sim": " --speed max --duration 2 --headless",
    "campaign": " --runs 1 --duration 2 --jobs 1",
    "packs": " --state-dir state",
}


def lines() -> Iterator[str]:
    """Arguments of each command in a block of code, without a comment."""
    for page in DOCUMENTS:
        for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
            for arguments in _LINE.findall(block[0]):
                yield shlex.join(shlex.split(arguments, comments=True))
    for command in PAGES:
        yield command.example.partition(". ")[0].removeprefix("dronebms ")


def spans() -> Iterator[str]:
    """Arguments of each command between backquotes."""
    for page in DOCUMENTS:
        yield from _SPAN.findall(page.read_text(encoding="utf-8"))


LINES = sorted(set(lines()))
SPANS = sorted(set(spans()))
ALONE = [line for line in LINES if not _OUTSIDE.search(line)]


def refusal(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the parser has against a command; nothing against one that it accepts."""
    words = [_VALUES.get(word, word) for word in shlex.split(arguments)]
    optional = [word.strip("[]") for word in words]
    try:
        parser(COMMANDS).parse_args(optional)
    except SystemExit as left:
        return capsys.readouterr().err if left.code else ""
    return ""


@pytest.mark.parametrize("line", LINES)
def test_each_line_of_a_block_is_accepted(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(line, capsys) == ""


@pytest.mark.parametrize("span", SPANS)
def test_each_command_between_backquotes_is_accepted(
    span: str, capsys: pytest.CaptureFixture[str]
) -> None:
    why = refusal(span, capsys)
    assert why == "" or any(name in why for name in _A_NAME)


def test_every_command_is_shown_by_a_page() -> None:
    shown = {line.split()[0] for line in (*LINES, *SPANS)}
    assert {page.name for page in PAGES} <= shown
    assert len(LINES) > 25


@pytest.mark.parametrize("line", ALONE)
def test_each_command_that_needs_no_hardware_runs_as_printed(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(FLIGHT, "flight.csv.gz")
    stem = FLIGHT.name.removesuffix(".csv.gz")
    shutil.copy(FLIGHT.with_name(f"{stem}.json"), "flight.json")
    command, *rest = shlex.split(line)
    shorter = shlex.split(_SHORTER.get(command, ""))
    if command == "packs":
        pack_id = rest[0] if rest[0] in {"1001", "blue 1"} else "any"
        added = ["--add", "flight.csv.gz", "--pack-id", pack_id]
        assert main([command, *shorter, *added]) == 0
        capsys.readouterr()
    before = set(tmp_path.iterdir())
    assert main([command, *rest, *shorter]) == 0
    assert capsys.readouterr().out or set(tmp_path.iterdir()) > before
