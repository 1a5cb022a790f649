# SPDX-License-Identifier: Apache-2.0
"""docs/hardware_reports.md: each row names tests that exist; its commands are valid."""

import re
from pathlib import Path

import pytest

from dronebms.cli.commands import COMMANDS
from dronebms.cli.main import main
from dronebms.cli.options import parser
from tests.test_safety_page import project_tests

PAGE = (Path(__file__).parents[1] / "docs" / "hardware_reports.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """Cells of each row of the table of interfaces."""
    table = PAGE.partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


def test_each_interface_names_tests_that_exist_and_what_was_never_tried() -> None:
    assert len(rows()) > 10
    existing = project_tests()
    for interface, tried, tests, never in rows():
        named = re.findall(r"`(test_\w+)`", tests)
        assert tried, interface
        assert never, interface
        assert named, interface
        assert [name for name in named if name not in existing] == [], interface


def test_the_commands_of_a_report_are_those_of_the_program() -> None:
    block = re.findall(r"^    dronebms (probe .*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    assert len(block) == 3
    for words in block:
        assert parser(COMMANDS).parse_args(words.split()).bus in {None, "/dev/i2c-1"}


def test_a_recording_of_a_pack_is_played_back_and_has_what_the_page_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pack.rec"
    assert main(["probe", "--bus", "sim:survey", "--record", str(path)]) == 0
    shown = capsys.readouterr().out
    assert main(["probe", "--bus", str(path)]) == 0
    assert capsys.readouterr().out == shown
    first, *transfers = path.read_text().splitlines()[1:]
    assert first == '["sim:survey", 11, "auto"]'
    assert all(re.match(r'\[11, "[0-9a-f]*", \d+, ', line) for line in transfers)
    assert len(transfers) > 50
