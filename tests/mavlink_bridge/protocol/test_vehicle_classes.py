# SPDX-License-Identifier: Apache-2.0
"""Commands of each class of vehicles, by the numbers of MAVLink and of each firmware."""

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from dronebms.core.report import ActionKind
from mavlink_bridge.protocol.flight_modes import FailsafeWatch, follows_by_itself
from mavlink_bridge.protocol.vehicle_classes import (
    VEHICLE_CLASSES,
    class_named,
    impossible_actions,
    vehicle_class,
)

ARDUPILOT, PX4 = mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA, mavlink.MAV_AUTOPILOT_PX4
RETURN, LAND, REDUCE = ActionKind.RETURN, ActionKind.LAND, ActionKind.REDUCE
TYPES = {
    "ArduCopter": (2, 3, 4, 13, 14, 15, 29, 35, 43),
    "ArduPlane": (1,),
    "QuadPlane": (19, 20, 21, 22, 23, 24, 25),
    "ArduRover": (10, 11),
    "ArduSub": (12,),
    "Blimp": (7,),
}
PX4_TYPES = {
    "PX4 multirotor": TYPES["ArduCopter"],
    "PX4 fixed wing": (1,),
    "PX4 VTOL": TYPES["QuadPlane"],
    "PX4 rover": (10, 11),
    "PX4 vehicle": (0, 5, 7, 8, 12, 16, 26),
}


def mode(number: int) -> tuple[int, tuple[float, ...]]:
    """DO_SET_MODE of ArduPilot."""
    return (mavlink.MAV_CMD_DO_SET_MODE, (1.0, float(number)))


NAV_RTL, NAV_LAND = (mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH, ()), (mavlink.MAV_CMD_NAV_LAND, ())
LAND_START = (mavlink.MAV_CMD_DO_LAND_START, ())
COMMANDS = {  # to return, to land
    "ArduCopter": ([NAV_RTL], [NAV_LAND]),
    "ArduPlane": (
        [mode(mavlink.PLANE_MODE_RTL)],
        [LAND_START, mode(mavlink.PLANE_MODE_AUTOLAND), mode(mavlink.PLANE_MODE_RTL)],
    ),
    "QuadPlane": (
        [mode(mavlink.PLANE_MODE_RTL)],
        [mode(mavlink.PLANE_MODE_QLAND), LAND_START, mode(mavlink.PLANE_MODE_RTL)],
    ),
    "ArduRover": ([NAV_RTL], [mode(mavlink.ROVER_MODE_HOLD)]),
    "ArduSub": ([], [mode(mavlink.SUB_MODE_SURFACE)]),
    "Blimp": ([mode(4)], [mode(0)]),
    "PX4 multirotor": ([NAV_RTL], [NAV_LAND]),
    "PX4 fixed wing": ([NAV_RTL], [NAV_LAND]),
    "PX4 VTOL": ([NAV_RTL], [NAV_LAND]),
    "PX4 rover": ([NAV_RTL], [(mavlink.MAV_CMD_DO_SET_MODE, (1.0, 4.0, 3.0))]),
    "PX4 vehicle": ([], []),
}
REDUCES = {
    "ArduCopter",
    "QuadPlane",
    "ArduRover",
    "ArduSub",
    "PX4 multirotor",
    "PX4 VTOL",
    "PX4 rover",
}


@pytest.mark.parametrize("kind", range(46))
@pytest.mark.parametrize(("autopilot", "table"), [(ARDUPILOT, TYPES), (PX4, PX4_TYPES)])
def test_the_class_of_each_type(
    autopilot: int, table: dict[str, tuple[int, ...]], kind: int
) -> None:
    found = vehicle_class(autopilot, kind)
    names = [name for name, types in table.items() if kind in types]
    if autopilot == PX4 and not names:
        names = ["PX4 vehicle"]
    assert (None if found is None else found.name) == next(iter(names), None)


@pytest.mark.parametrize("autopilot", [None, 0, 8, 4, 13])
def test_another_autopilot_has_no_class(autopilot: int | None) -> None:
    assert vehicle_class(autopilot, 2) is None
    reason = f"no action on autopilot {autopilot}, type 2"
    assert impossible_actions(autopilot, 2) == dict.fromkeys((REDUCE, RETURN, LAND), reason)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_class_has_its_commands_in_their_order(name: str) -> None:
    row = class_named(name)
    assert row is not None
    for do, expected in zip((RETURN, LAND), COMMANDS[name], strict=True):
        assert [(one.number, one.values) for one in row.commands(do)] == expected
    assert row.reduces == (name in REDUCES)
    kind = row.types[0] if row.types else 0
    lacking = {do: f"{name} has no {do.label}" for do in (RETURN, LAND) if not row.commands(do)}
    if name not in REDUCES:
        lacking[REDUCE] = f"{name} has no reduce"
    assert impossible_actions(row.autopilot, kind) == lacking


def test_every_class_is_found_by_its_name() -> None:
    assert [row.name for row in VEHICLE_CLASSES] == [*COMMANDS]
    assert class_named(None) is None
    assert class_named("ArduBoat") is None


@pytest.mark.parametrize(
    ("flight_mode", "q_enable", "name"),
    [
        (None, None, "ArduPlane"),
        ("AUTO", 0.0, "ArduPlane"),
        ("AUTO", 1.0, "QuadPlane"),
        ("AUTO", 2.0, "QuadPlane"),
        *[(one, None, "QuadPlane") for one in ("QSTABILIZE", "QHOVER", "QLOITER", "QLAND", "QRTL")],
        *[(one, 0.0, "QuadPlane") for one in ("QAUTOTUNE", "QACRO")],
        ("LOITER_ALT_QLAND", None, "ArduPlane"),
        ("AUTOLAND", None, "ArduPlane"),
    ],
)
def test_a_quadplane_is_known_by_its_modes_and_its_parameter(
    flight_mode: str | None, q_enable: float | None, name: str
) -> None:
    found = vehicle_class(ARDUPILOT, 1, mode=flight_mode, q_enable=q_enable)
    assert found is not None
    assert found.name == name
    other = vehicle_class(ARDUPILOT, 2, mode=flight_mode, q_enable=q_enable)
    assert other is not None
    assert other.name == "ArduCopter"


@pytest.mark.parametrize(
    ("firmware", "before", "later", "follows"),
    [
        ("ArduCopter", "AUTO", "LAND", True),
        ("ArduCopter", "AUTO", "LOITER", False),
        ("ArduCopter", "RTL", "LAND", True),
        ("ArduCopter", "LAND", "RTL", False),
        ("ArduCopter", "SMART_RTL", "LAND", True),  # by way of RTL, or directly
        ("ArduCopter", "BRAKE", "ALT_HOLD", True),
        ("ArduCopter", "AUTOTUNE", "STABILIZE", False),
        ("ArduCopter", "FLIP", "SPORT", True),  # any mode
        ("ArduCopter", "AUTO_RTL", "AUTO", True),
        ("ArduCopter", "POSHOLD", "AVOID_ADSB", True),
        ("ArduPlane", "CRUISE", "THERMAL", True),
        ("ArduPlane", "CRUISE", "RTL", False),  # what follows THERMAL does so directly alone
        ("ArduPlane", "TAKEOFF", "LOITER", True),
        ("ArduPlane", "AUTO", "QLAND", True),
        ("ArduPlane", "RTL", "QLAND", True),
        ("ArduPlane", "GUIDED", "RTL", False),
        ("ArduPlane", "QRTL", "QLAND", True),
        ("ArduRover", "AUTO", "MANUAL", True),
        ("ArduRover", "DOCK", "HOLD", True),
        ("ArduRover", "SMART_RTL", "HOLD", True),
        ("ArduRover", "HOLD", "MANUAL", False),
        ("ArduSub", "SURFACE", "ALT_HOLD", True),
        ("ArduSub", "AUTO", "MANUAL", False),
        ("PX4", "TAKEOFF", "LOITER", True),
        ("PX4", "MISSION", "LOITER", True),
        ("PX4", "MISSION", "DESCEND", True),  # by way of LAND
        ("PX4", "RTL", "DESCEND", True),
        ("PX4", "LAND", "RTL", False),
        ("PX4", "POSCTL", "LOITER", False),
        (None, "AUTO", "LAND", True),
        (None, "MISSION", "LAND", True),
        (None, "DOCK", "HOLD", False),
    ],
)
def test_a_mode_may_follow_by_itself(
    firmware: str | None, before: str, later: str, *, follows: bool
) -> None:
    assert follows_by_itself(before, later, firmware) is follows


ACTIVE, CRITICAL, EMERGENCY = 4, 5, 6


def chosen(autopilot: int, beats: list[tuple[float, int, str]]) -> list[bool]:
    watch, found = FailsafeWatch(), []
    for now_s, status, name in beats:
        watch = watch.after(autopilot, status, name, now_s)
        found.append(watch.chosen)
    return found


@pytest.mark.parametrize(
    ("beats", "found"),
    [
        # The mode and the status change together, or within 1.5 s in either order.
        ([(0, ACTIVE, "GUIDED"), (1, CRITICAL, "RTL"), (2, CRITICAL, "RTL")], [False, True, True]),
        (
            [(0, ACTIVE, "GUIDED"), (1, CRITICAL, "GUIDED"), (2, CRITICAL, "RTL")],
            [False, False, True],
        ),
        ([(0, ACTIVE, "GUIDED"), (1, ACTIVE, "RTL"), (2, CRITICAL, "RTL")], [False, False, True]),
        (
            [(0, ACTIVE, "GUIDED"), (1, CRITICAL, "GUIDED"), (2.5, CRITICAL, "RTL")],
            [False, False, True],
        ),
        ([(0, ACTIVE, "GUIDED"), (1, CRITICAL, "GUIDED"), (2.6, CRITICAL, "RTL")], [False] * 3),
        ([(0, ACTIVE, "GUIDED"), (1, ACTIVE, "RTL"), (2.6, CRITICAL, "RTL")], [False] * 3),
        # It stays chosen while the mode and the status stay.
        (
            [
                (0, ACTIVE, "AUTO"),
                (1, CRITICAL, "RTL"),
                (9, CRITICAL, "RTL"),
                (10, CRITICAL, "LAND"),
            ],
            [False, True, True, False],
        ),
        ([(0, ACTIVE, "AUTO"), (1, CRITICAL, "RTL"), (2, ACTIVE, "RTL")], [False, True, False]),
        # A mode of the pilot, whatever the status.
        ([(0, ACTIVE, "AUTO"), (1, CRITICAL, "LOITER")], [False, False]),
        # Landing sequence and short failsafe of a plane.
        ([(0, ACTIVE, "CRUISE"), (1, CRITICAL, "AUTO")], [False, True]),
        ([(0, ACTIVE, "CRUISE"), (1, CRITICAL, "CIRCLE")], [False, True]),
        # The first heartbeat alone shows what may be one.
        ([(0, CRITICAL, "RTL")], [True]),
        ([(0, CRITICAL, "AUTO")], [False]),
        ([(0, EMERGENCY, "LOITER"), (1, EMERGENCY, "LOITER")], [True, True]),
    ],
)
def test_a_failsafe_of_ardupilot_chose_the_mode_that_began_when_the_status_rose(
    beats: list[tuple[float, int, str]], found: list[bool]
) -> None:
    assert chosen(ARDUPILOT, beats) == found


def test_a_failsafe_of_px4_is_that_of_each_heartbeat() -> None:
    beats = [
        (0.0, ACTIVE, "MISSION"),
        (1.0, CRITICAL, "MISSION"),
        (9.0, CRITICAL, "RTL"),
        (10.0, CRITICAL, "POSCTL"),
    ]
    assert chosen(PX4, beats) == [False, False, True, False]


def test_a_mode_begins_with_its_first_heartbeat() -> None:
    watch = FailsafeWatch()
    starts = []
    for now_s, name in ((0.0, "AUTO"), (1.0, "AUTO"), (2.0, "RTL"), (3.0, "RTL"), (4.0, "AUTO")):
        watch = watch.after(ARDUPILOT, ACTIVE, name, now_s)
        starts.append(watch.mode_s)
    assert starts == [0.0, 0.0, 2.0, 2.0, 4.0]
