# SPDX-License-Identifier: Apache-2.0
"""docs/vehicles.md: no empty cell, each named test exists, and the code has what a cell claims."""

import re
from pathlib import Path

import pytest

from mavlink_bridge.protocol.vehicle_classes import class_named
from tests.test_safety_page import project_tests

PAGE = (Path(__file__).parents[1] / "docs" / "vehicles.md").read_text(encoding="utf-8")
SOURCES = ("SMBus gauge", "The autopilot's monitor", "DroneCAN battery", "Simulation")
ACTIONS = (
    *("BATTERY_STATUS", "arming refused", "warn", "ask for less", "return", "land", "way home"),
    "mission",
)
# Row of the page, and its class in mavlink_bridge/protocol/vehicle_classes.py.
VEHICLES = {
    "ArduCopter": "ArduCopter",
    "ArduPlane": "ArduPlane",
    "QuadPlane": "QuadPlane",
    "Rover": "ArduRover",
    "ArduSub": "ArduSub",
    "PX4 multicopter": "PX4 multirotor",
    "PX4 fixed wing": "PX4 fixed wing",
    "PX4 VTOL": "PX4 VTOL",
    "PX4 rover": "PX4 rover",
}
WORKS = re.compile(r"works, `test_\w+`(, `test_\w+`)*")
NOT_POSSIBLE = re.compile(r"not possible, because \S.*")


def cells_of(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def matrix() -> dict[tuple[str, str, str], str]:
    """Text of each cell by source, vehicle and action."""
    found: dict[tuple[str, str, str], str] = {}
    for section in PAGE.split("\n## ")[1:]:
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert cells_of(rows[0]) == ["vehicle", *ACTIONS], section[:40]
        (source,) = (name for name in SOURCES if section.startswith(name))
        for vehicle, *cells in map(cells_of, rows[2:]):
            assert len(cells) == len(ACTIONS), (source, vehicle)
            found |= {
                (source, vehicle, action): cell for action, cell in zip(ACTIONS, cells, strict=True)
            }
    return found


def test_every_cell_of_the_matrix_has_one_of_three_answers() -> None:
    cells = matrix()
    assert set(cells) == {(s, v, a) for s in SOURCES for v in VEHICLES for a in ACTIONS}
    wrong = {
        where: cell
        for where, cell in cells.items()
        if cell != "untested" and not WORKS.fullmatch(cell) and not NOT_POSSIBLE.fullmatch(cell)
    }
    assert wrong == {}


def test_every_test_that_the_matrix_names_exists() -> None:
    named = {name for cell in matrix().values() for name in re.findall(r"`(test_\w+)`", cell)}
    assert len(named) > 15
    assert named - project_tests() == set()


@pytest.mark.parametrize("vehicle", VEHICLES)
def test_an_action_is_possible_where_the_code_has_a_command_or_a_parameter(vehicle: str) -> None:
    row = class_named(VEHICLES[vehicle])
    assert row is not None
    possible = {"return": row.returns, "land": row.lands, "ask for less": row.reduces}
    for source in SOURCES:
        for action, means in possible.items():
            cell = matrix()[source, vehicle, action]
            assert cell.startswith("not possible") == (not means), (source, action, cell)


def test_the_files_that_the_page_names_exist() -> None:
    root = Path(__file__).parents[1]
    named = set(re.findall(r"`(tests/[\w/.]+)`", PAGE))
    assert named
    assert [name for name in named if not (root / name).exists()] == []
