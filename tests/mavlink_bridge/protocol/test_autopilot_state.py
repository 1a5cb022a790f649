# SPDX-License-Identifier: Apache-2.0
"""State of the vehicle in the messages of its autopilot: units, ages, and which message counts."""

import math
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.autopilot import Autopilot, uid_of, wind_of
from mavlink_bridge.protocol.wind_message import WindMessage

COPTER, PLANE, VTOL, ROVER = 2, 1, 20, 10
ARDUPILOT, PX4 = 3, 12


def received(message: Any, system: int = 1, component: int = 1) -> Any:  # noqa: ANN401 - messages
    """A message as it comes from a link."""
    message._header = mavlink.MAVLink_header(message.get_msgId(), 0, 0, 0, 0, system, component)
    message._header.srcSystem, message._header.srcComponent = system, component
    return message


def beat(
    *,
    armed: bool = False,
    kind: int = COPTER,
    autopilot: int = ARDUPILOT,
    mode: int = 4,
    status: int = 4,
) -> Any:  # noqa: ANN401 - a message
    base = 129 if armed else 1
    return mavlink.MAVLink_heartbeat_message(kind, autopilot, base, mode, status, 3)


class Bench:
    """An autopilot that is followed."""

    def __init__(self, system_id: int | None = None) -> None:
        self.autopilot = Autopilot(system_id)

    def at(self, now_s: float, *messages: Any, system: int = 1, component: int = 1) -> bool:  # noqa: ANN401 - messages
        """Messages come; whether the last one is of the followed autopilot."""
        found = False
        for message in messages:
            found = self.autopilot.receive(received(message, system, component), now_s)
        return found

    def state(self, now_s: float) -> VehicleState:
        """State at a time, with a heartbeat then."""
        self.at(now_s, beat())
        return self.autopilot.state(now_s)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.at(0.0, beat())
    return made


POSITION = mavlink.MAVLink_global_position_int_message(
    0, 473_977_420, -85_455_940, 488_123, 12_000, 300, -400, -250, 9000
)
HUD = mavlink.MAVLink_vfr_hud_message(21.0, 17.5, 90, 50, 100.0, -1.25)
HOME = mavlink.MAVLink_home_position_message(
    471_000_000, 81_000_000, 400_500, 0, 0, 0, [1, 0, 0, 0], 0, 0, 0
)


def test_a_position_is_in_degrees_metres_and_metres_per_second(bench: Bench) -> None:
    bench.at(0.0, POSITION, HOME)
    state = bench.autopilot.state(0.0)
    assert [state.lat_deg, state.lon_deg] == pytest.approx([47.397742, -8.545594])
    assert state.alt_m == pytest.approx(488.123)
    assert state.ground_speed_m_s == pytest.approx(5.0)
    assert state.climb_m_s == pytest.approx(2.5)  # vz is positive downwards
    assert [state.home_lat_deg, state.home_lon_deg] == pytest.approx([47.1, 8.1])
    assert state.home_alt_m == pytest.approx(400.5)


@pytest.mark.parametrize(
    ("lat", "lon", "known"),
    [
        (0, 0, False),  # before the first fix
        (0, 1, True),
        (1, 0, True),
        (900_000_000, 1_800_000_000, True),
        (-900_000_000, -1_800_000_000, True),
        (900_000_001, 0, False),
        (-900_000_001, 0, False),
        (0, 1_800_000_001, False),
        (0, -1_800_000_001, False),
        (2**31 - 1, 2**31 - 1, False),
    ],
)
def test_a_place_that_is_none_is_unknown_with_its_altitude_and_speed(
    bench: Bench, lat: int, lon: int, *, known: bool
) -> None:
    bench.at(0.0, mavlink.MAVLink_global_position_int_message(0, lat, lon, 5000, 0, 300, 400, 0, 0))
    bench.at(
        0.0, mavlink.MAVLink_home_position_message(lat, lon, 1, 0, 0, 0, [1, 0, 0, 0], 0, 0, 0)
    )
    state = bench.autopilot.state(0.0)
    found = (state.lat_deg, state.lon_deg, state.alt_m, state.home_alt_m, state.ground_speed_m_s)
    assert [one is not None for one in found] == [known] * 5


def test_without_a_position_the_speeds_are_those_of_the_display(bench: Bench) -> None:
    assert bench.autopilot.state(0.0).ground_speed_m_s is None
    bench.at(0.0, HUD)
    state = bench.autopilot.state(0.0)
    assert (state.ground_speed_m_s, state.climb_m_s) == (17.5, -1.25)
    bench.at(0.0, POSITION)
    assert bench.autopilot.state(0.0).ground_speed_m_s == pytest.approx(5.0)
    bench.at(0.5, mavlink.MAVLink_vfr_hud_message(0, math.nan, 0, 0, 0, math.inf))
    assert bench.state(3.4).climb_m_s is None  # the position is old by then


LANDING = mavlink.MAVLink_extended_sys_state_message(0, 4)
CURRENT = mavlink.MAVLink_mission_current_message(3)
AIR = mavlink.MAVLink_wind_cov_message(0, 3.0, 4.0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("message", "field", "age_s"),
    [
        (POSITION, "lat_deg", 3.0),
        (POSITION, "climb_m_s", 3.0),
        (HUD, "ground_speed_m_s", 3.0),
        (LANDING, "landing", 3.0),
        (CURRENT, "mission_item", 5.0),
        (AIR, "wind_m_s", 10.0),
        (WindMessage(90.0, 5.0, 0.0), "wind_m_s", 10.0),
    ],
)
def test_a_value_is_known_for_the_time_of_its_message(
    bench: Bench,
    message: Any,  # noqa: ANN401 - a message
    field: str,
    age_s: float,
) -> None:
    bench.at(0.0, message)
    for now_s, known in ((age_s - 0.01, True), (age_s, True), (age_s + 0.01, False)):
        for second in range(int(now_s)):
            bench.at(float(second), beat())
        assert (getattr(bench.state(now_s), field) is not None) == known


def test_home_and_the_version_do_not_expire(bench: Bench) -> None:
    zeros = [0] * 8
    bench.at(
        0.0,
        HOME,
        mavlink.MAVLink_autopilot_version_message(
            0, 4 << 24 | 6 << 16 | 255, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0x1234
        ),
    )
    state = bench.state(1e6)
    assert state.home_alt_m == pytest.approx(400.5)
    assert bench.autopilot.release == (4, 6, 255)
    assert state.uid == "0000000000001234"


@pytest.mark.parametrize(
    ("raw", "uid"), [(b"", None), (bytes(8), None), (b"\x00\x01\x00", "0001"), (b"\xab", "ab")]
)
def test_a_uid_is_hexadecimal_without_zeros_at_its_end(raw: bytes, uid: str | None) -> None:
    assert uid_of(raw) == uid


def test_a_heartbeat_holds_for_two_seconds(bench: Bench) -> None:
    bench.at(10.0, beat(armed=True))
    for now_s, fresh in ((10.0, True), (12.0, True), (12.01, False)):
        state = bench.autopilot.state(now_s)
        assert (state.mode, state.armed) == (("GUIDED", True) if fresh else (None, None))
        assert state.heartbeat_age_s == pytest.approx(now_s - 10.0)
        assert (bench.autopilot.online_since_s(now_s) is not None) == fresh
        assert (state.vehicle_class is not None) == fresh
    assert Autopilot().state(0.0) == VehicleState()


@pytest.mark.parametrize(("pause_s", "since_s"), [(3.0, 10.0), (3.1, 13.1)])
def test_a_pause_of_three_seconds_begins_the_time_on_line_again(
    pause_s: float, since_s: float
) -> None:
    bench = Bench()
    bench.at(10.0, beat())
    bench.at(10.0 + pause_s, beat())
    assert bench.autopilot.online_since_s(10.0 + pause_s) == pytest.approx(since_s)


def armed_after(bench: Bench, beats: list[tuple[float, bool]]) -> bool | None:
    for now_s, armed in beats:
        bench.at(now_s, beat(armed=armed))
    return bench.autopilot.state(beats[-1][0]).armed


@pytest.mark.parametrize(
    ("beats", "armed"),
    [
        ([(0.0, False)], False),
        ([(0.0, True)], True),
        ([(0.0, True), (1.0, False)], None),
        ([(0.0, True), (1.0, False), (2.0, False), (3.9, False)], None),
        ([(0.0, True), (1.0, False), (2.0, False), (3.0, False), (4.0, False)], False),
        ([(0.0, True), (1.0, False), (2.0, True), (3.0, False), (5.0, False)], None),
        ([(0.0, True), (1.0, False), (3.0, False), (4.0, False)], False),  # a pause of two seconds
        ([(0.0, True), (1.0, False), (3.1, False), (4.1, False)], None),  # a longer one
        ([(0.0, True), (1.0, False), (3.1, False), (5.0, False), (6.2, False)], False),
    ],
)
def test_a_flight_ends_when_all_heartbeats_of_three_seconds_are_disarmed(
    beats: list[tuple[float, bool]], *, armed: bool | None
) -> None:
    assert armed_after(Bench(), beats) is armed


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        ({"kind": PLANE}, True),
        ({"autopilot": PX4}, True),
        ({"mode": 5}, None),
        ({"status": 5}, None),
    ],
)
def test_another_firmware_or_type_is_taken_after_three_seconds_of_it_alone(
    other: dict[str, Any], *, taken: bool | None
) -> None:
    bench = Bench()
    bench.at(0.0, beat())
    found = [bench.at(now_s, beat(**other)) for now_s in (1.0, 2.0, 3.9, 4.0, 5.0)]
    assert found == ([False, False, False, True, True] if taken else [True] * 5)
    bench = Bench()
    bench.at(0.0, beat())
    for now_s in (1.0, 2.0):
        bench.at(now_s, beat(**other))
    assert bench.at(2.5, beat())
    assert bench.at(5.0, beat(**other)) == (taken is None)
    assert (bench.autopilot.vehicle_type, bench.autopilot.kind) == (COPTER, ARDUPILOT)


def test_heartbeats_of_another_type_that_pause_begin_again() -> None:
    bench = Bench()
    bench.at(0.0, beat())
    assert [bench.at(t_s, beat(kind=PLANE)) for t_s in (1.0, 3.0, 5.1, 7.0, 8.0, 8.1)] == [
        *(False, False, False, False, False, True)
    ]
    bench = Bench()
    bench.at(0.0, beat())
    # Two kinds in turn: none of them alone.
    found = [bench.at(float(t_s), beat(kind=PLANE + 9 * (t_s % 2))) for t_s in range(1, 12)]
    assert not any(found)


@pytest.mark.parametrize(
    ("kind", "follows"),
    [
        *(
            (kind, True)
            for kind in (0, 1, 2, 3, 4, 7, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 25, 29, 35)
        ),
        *(
            (kind, False)
            for kind in (5, 6, 18, 26, 27, 30, 31, 32, 33, 34, 36, 37, 38, 39, 40, 41, 42)
        ),
        (43, True),
    ],
)
def test_an_antenna_tracker_a_camera_or_a_battery_is_no_vehicle(
    kind: int, *, follows: bool
) -> None:
    bench = Bench()
    assert bench.at(0.0, beat(kind=kind)) == follows
    assert (bench.autopilot.followed is not None) == follows


@pytest.mark.parametrize(
    ("system", "component", "autopilot", "follows"),
    [(1, 1, 3, True), (0, 1, 3, False), (1, 2, 3, False), (1, 1, 8, False), (250, 1, 12, True)],
)
def test_the_first_autopilot_is_followed(
    system: int, component: int, autopilot: int, *, follows: bool
) -> None:
    bench = Bench()
    assert bench.at(0.0, beat(autopilot=autopilot), system=system, component=component) == follows
    assert bench.autopilot.followed == (system if follows else None)
    assert bench.autopilot.system_id == (system if follows else 1)


def test_another_system_is_counted_and_ignored() -> None:
    bench = Bench()
    assert not bench.at(0.0, POSITION)  # before a heartbeat
    bench.at(0.0, beat(), system=7)
    for _ in range(3):
        assert not bench.at(1.0, beat(armed=True), system=9)
    assert not bench.at(1.0, POSITION, system=9)
    assert bench.autopilot.others == {9: 3}
    assert (bench.autopilot.system_id, bench.autopilot.last_armed) == (7, False)
    assert bench.autopilot.state(1.0).lat_deg is None
    configured = Bench(9)
    assert not configured.at(0.0, beat(), system=7)
    assert configured.autopilot.kind is None
    assert configured.at(0.0, beat(), system=9)


@pytest.mark.parametrize(
    ("landed", "airborne", "landing"),
    [(0, None, None), (1, False, False), (2, True, False), (3, True, False), (4, True, True)],
)
def test_the_landed_state_is_read(
    bench: Bench, landed: int, *, airborne: bool | None, landing: bool | None
) -> None:
    assert bench.autopilot.airborne(0.0) is None
    bench.at(0.0, mavlink.MAVLink_extended_sys_state_message(0, landed))
    assert bench.autopilot.airborne(0.0) is airborne
    on_ground = None if airborne is None else not airborne
    assert bench.autopilot.state(0.0).on_ground is on_ground
    assert bench.autopilot.state(3.1).on_ground is None
    assert bench.autopilot.state(0.0).landing is landing


@pytest.mark.parametrize(
    ("kind", "vtol_state", "on_wing"),
    [
        *((COPTER, vtol, False) for vtol in (None, 0, 3, 4)),
        (PLANE, None, None), (PLANE, 0, True), (PLANE, 3, False), (PLANE, 4, True),
        (VTOL, None, None), (VTOL, 0, None), (VTOL, 1, False), (VTOL, 3, False), (VTOL, 4, True),
    ],
)  # fmt: skip
def test_a_wing_carries_a_plane_and_a_vtol_in_forward_flight(
    kind: int, vtol_state: int | None, *, on_wing: bool | None
) -> None:
    bench = Bench()
    bench.at(0.0, beat(kind=kind))
    if vtol_state is not None:
        bench.at(0.0, mavlink.MAVLink_extended_sys_state_message(vtol_state, 2))
    assert bench.autopilot.state(0.0).on_wing is on_wing


@pytest.mark.parametrize(
    ("seq", "state", "item"),
    [(3, 0, 3), (0, 3, 0), (3, 1, None), (0xFFFF, 3, None), (0xFFFE, 3, 0xFFFE)],
)
def test_the_item_that_is_flown_to(bench: Bench, seq: int, state: int, item: int | None) -> None:
    assert bench.autopilot.state(0.0).mission_item is None
    bench.at(0.0, mavlink.MAVLink_mission_current_message(seq, 5, state, 1))
    assert bench.autopilot.state(0.0).mission_item == item


@pytest.mark.parametrize(
    ("message", "wind_m_s", "from_deg"),
    [
        (mavlink.MAVLink_wind_cov_message(0, 5.0, 0.0, 0, 0, 0, 0, 0, 0), 5.0, 180.0),  # to north
        (mavlink.MAVLink_wind_cov_message(0, -5.0, 0.0, 0, 0, 0, 0, 0, 0), 5.0, 0.0),
        (mavlink.MAVLink_wind_cov_message(0, 0.0, 5.0, 0, 0, 0, 0, 0, 0), 5.0, 270.0),
        (mavlink.MAVLink_wind_cov_message(0, 3.0, -4.0, 0, 0, 0, 0, 0, 0), 5.0, 126.87),
        (mavlink.MAVLink_wind_cov_message(0, math.nan, 4.0, 0, 0, 0, 0, 0, 0), None, None),
        (mavlink.MAVLink_wind_cov_message(0, 3.0, math.inf, 0, 0, 0, 0, 0, 0), None, None),
        (WindMessage(270.0, 6.0, 1.0), 6.0, 270.0),
        (WindMessage(-90.0, 6.0, 1.0), 6.0, 270.0),
        (WindMessage(361.0, 6.0, 1.0), 6.0, 1.0),
        (WindMessage(90.0, 0.0, 0.0), None, None),  # no estimate yet
        (WindMessage(90.0, -1.0, 0.0), None, None),
        (WindMessage(math.nan, 6.0, 0.0), None, None),
        (WindMessage(90.0, math.nan, 0.0), None, None),
    ],
)
def test_the_wind_is_a_speed_and_where_it_comes_from(
    bench: Bench,
    message: Any,  # noqa: ANN401 - a message
    wind_m_s: float | None,
    from_deg: float | None,
) -> None:
    bench.at(0.0, message)
    state = bench.autopilot.state(0.0)
    expected = [
        None if one is None else pytest.approx(one, abs=0.01) for one in (wind_m_s, from_deg)
    ]
    assert [state.wind_m_s, state.wind_from_deg] == expected


def test_the_wind_of_a_velocity() -> None:
    assert wind_of(0.0, -2.0) == pytest.approx((2.0, 90.0))


@pytest.mark.parametrize(("status", "terminated"), [(3, False), (5, False), (6, True), (8, True)])
def test_a_termination_is_more_than_critical(status: int, *, terminated: bool) -> None:
    bench = Bench()
    bench.at(0.0, beat(status=status))
    assert bench.autopilot.state(0.0).terminated is terminated


def test_the_age_of_a_mode_counts_from_its_first_heartbeat(bench: Bench) -> None:
    for now_s, mode in ((1.0, 4), (2.0, 5), (3.0, 5)):
        bench.at(now_s, beat(mode=mode))
    assert (bench.autopilot.state(3.5).mode, bench.autopilot.state(3.5).mode_age_s) == (
        "LOITER",
        1.5,
    )


def test_the_first_version_stays_until_a_restart(bench: Bench) -> None:
    zeros = [0] * 8

    def version(minor: int) -> Any:  # noqa: ANN401 - a message
        release = 4 << 24 | minor << 16 | 255
        return mavlink.MAVLink_autopilot_version_message(
            0, release, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0
        )

    bench.at(0.0, version(6), HOME, POSITION)
    bench.at(1.0, version(7))
    assert bench.autopilot.release == (4, 6, 255)
    assert bench.autopilot.restarts == 0
    for now_s, boot_ms in ((1.0, 90_000), (2.0, 100), (2.1, 200)):
        bench.at(now_s, mavlink.MAVLink_system_time_message(0, boot_ms))
    assert bench.autopilot.restarts == 1
    assert bench.autopilot.release is None
    state = bench.autopilot.state(1.9)
    assert (state.home_alt_m, state.lat_deg) == (None, None)
    assert bench.autopilot.online_since_s(1.9) == 2.1
    bench.at(2.2, version(7))
    assert bench.autopilot.release == (4, 7, 255)
