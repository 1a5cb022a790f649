# SPDX-License-Identifier: Apache-2.0
"""The parameter check finds wrong parameters, and sets these only."""

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import VirtualClock
from dronebms.core.errors import LinkError
from dronebms.core.report import ActionKind
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.vehicle.parameter_check import (
    HEAD,
    PARAMETER_REQUIREMENTS,
    Finding,
    ParameterCheck,
    VehicleUse,
    check_vehicle,
)
from tests.mavlink_bridge.autopilot import FakeAutopilot
from tests.mavlink_bridge.fake_vehicle import (
    ARDUPILOT,
    BLIMP,
    COPTER,
    PLANE,
    PX4,
    ROVER,
    SUB,
    VTOL,
    FakeVehicle,
)

FITTING = {
    "SCR_ENABLE": 1.0,
    "BATT_MONITOR": 29.0,
    "BATT_CAPACITY": 5100.0,
    "BATT_LOW_MAH": 1250.0,
    "BATT_CRT_MAH": 500.0,
    "BATT_FS_LOW_ACT": 2.0,
    "BATT_FS_CRT_ACT": 1.0,
    "ARMING_CHECK": 1.0,
}
FITTING_PX4 = {
    "BAT1_SOURCE": 1.0,
    "COM_LOW_BAT_ACT": 3.0,
    "COM_FLTT_LOW_ACT": 3.0,
    "CBRK_SUPPLY_CHK": 0.0,
    "COM_ARM_AUTH_REQ": 1.0,
    "COM_ARM_AUTH_ID": 1.0,
    "COM_ARM_AUTH_MET": 0.0,
}
V1_18, V1_17 = 1 << 24 | 18 << 16 | 255, 1 << 24 | 17 << 16 | 255
V4_6, V4_7_DEV, V4_7 = 4 << 24 | 6 << 16 | 255, 4 << 24 | 7 << 16, 4 << 24 | 7 << 16 | 255


class Beating(VirtualClock):
    """A clock that makes the vehicle send its heartbeats."""

    def __init__(self, vehicle: FakeVehicle) -> None:
        super().__init__()
        self._vehicle = vehicle

    def sleep_until(self, t_s: float) -> None:
        """Set the time, with a heartbeat in each second."""
        if int(t_s) > int(self.now_s()):
            self._vehicle.beat()
        super().sleep_until(t_s)


def px4(release: int = V1_18, /, **changes: float) -> FakeVehicle:
    vehicle = FakeVehicle(PX4, **(FITTING_PX4 | changes))
    vehicle.integers = set(vehicle.parameters)
    vehicle.release = release
    return vehicle


def checked(vehicle: FakeVehicle) -> ParameterCheck:
    vehicle.armed = False
    return ParameterCheck(vehicle, Beating(vehicle))


def wrong(findings: list[Finding]) -> dict[str, tuple[float | None, float | None]]:
    return {one.name: (one.found, one.default) for one in findings if not one.fits}


@pytest.mark.parametrize(
    "vehicle", [FakeVehicle(ARDUPILOT, **FITTING), px4()], ids=["ardupilot", "px4"]
)
def test_a_vehicle_that_fits_has_no_wrong_parameter(vehicle: FakeVehicle) -> None:
    findings = checked(vehicle).findings(5000.0)
    assert wrong(findings) == {}
    assert {one.name for one in findings} == set(vehicle.parameters)


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("SCR_ENABLE", 0, 1),
        ("BATT_MONITOR", 4, 29),
        ("BATT_CAPACITY", 3300, 5000),
        ("BATT_LOW_MAH", 0, 1250),
        ("BATT_CRT_MAH", 2000, 500),
        ("BATT_FS_LOW_ACT", 0, 2),
        ("BATT_FS_CRT_ACT", 5, 1),
        ("BATT_FS_CRT_ACT", 7, 1),
        ("ARMING_CHECK", 0, 1),
    ],
)
def test_each_wrong_value_is_found_and_set(name: str, value: float, default: float) -> None:
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | {name: float(value)}))
    check = checked(vehicle)
    findings = check.findings(5000.0)
    assert wrong(findings) == {name: (value, default)}
    assert check.set(findings) == [f"{name} set to {default}"]
    assert vehicle.parameters == FITTING | {name: default}
    assert wrong(check.findings(5000.0)) == {}


@pytest.mark.parametrize(
    ("autopilot", "name", "fitting", "others"),
    [
        (ARDUPILOT, "SCR_ENABLE", (1,), (0, 2)),
        (ARDUPILOT, "BATT_MONITOR", (29,), (0, 28, 30)),
        (ARDUPILOT, "BATT_CAPACITY", (4750, 5250), (4749, 5251)),  # 5 % of 5000 mAh
        (ARDUPILOT, "BATT_LOW_MAH", (750, 3000), (749, 3001)),
        (ARDUPILOT, "BATT_CRT_MAH", (250, 1500), (249, 1501)),
        (ARDUPILOT, "ARMING_CHECK", (1, 2, 1 << 30), (0, -1)),
        (PX4, "BAT1_SOURCE", (1,), (0, 2, -1)),
        (PX4, "COM_LOW_BAT_ACT", (2, 3), (0, 1, 4)),
        (PX4, "COM_FLTT_LOW_ACT", (3,), (0, 2, 4)),
        (PX4, "CBRK_SUPPLY_CHK", (0,), (-1, 1, 894281)),
        (PX4, "COM_ARM_AUTH_REQ", (1,), (0, 2)),
        (PX4, "COM_ARM_AUTH_ID", (1,), (0, 2, 10)),
        (PX4, "COM_ARM_AUTH_MET", (0,), (-1, 1)),
    ],
)
def test_a_parameter_fits_within_its_range_alone(
    autopilot: int, name: str, fitting: tuple[int, ...], others: tuple[int, ...]
) -> None:
    for value in (*fitting, *others):
        own = {name: float(value)}
        vehicle = px4(**own) if autopilot == PX4 else FakeVehicle(ARDUPILOT, **(FITTING | own))
        assert set(wrong(checked(vehicle).findings(5000.0))) == (
            set() if value in fitting else {name}
        )


def test_the_check_presents_itself_once_a_second_and_waits_as_long_as_needed() -> None:
    vehicle = px4()
    vehicle.armed, vehicle.answers = False, False
    clock = Beating(vehicle)
    check = ParameterCheck(vehicle, clock)
    assert clock.now_s() == pytest.approx(4.0, abs=0.1)  # its heartbeat at 1 s, its release for 3 s
    check.findings(5000.0)
    assert clock.now_s() == pytest.approx(8.0, abs=0.1)  # four tries, one a second
    beats = [one for one in vehicle.received if one.get_type() == "HEARTBEAT"]
    assert len(beats) == 9  # at 0 s and after each second
    for one in beats:
        assert (one.get_srcSystem(), one.get_srcComponent()) == (
            1,
            mavlink.MAV_COMP_ID_ONBOARD_COMPUTER,
        )
        assert (one.type, one.autopilot) == (
            mavlink.MAV_TYPE_ONBOARD_CONTROLLER,
            mavlink.MAV_AUTOPILOT_INVALID,
        )
        assert (one.base_mode, one.custom_mode, one.system_status) == (
            0,
            0,
            mavlink.MAV_STATE_ACTIVE,
        )
    requests = [one for one in vehicle.received if one.get_type() == "COMMAND_LONG"]
    assert [(one.command, one.param1) for one in requests] == [(512, 148)]


# `_failsafe_priorities` and `handle_battery_failsafe` of each firmware of ArduPilot 4.7: actions
# that return, land, hold or surface, and the numbers set for a low and for a critical battery.
FAILSAFES = {
    COPTER: ({1, 2, 3, 4}, 2, 1),
    PLANE: ({1, 2, 4}, 1, 2),
    VTOL: ({1, 2, 4}, 1, 2),
    ROVER: ({1, 2, 3, 4}, 1, 2),
    SUB: ({3}, 3, 3),
    BLIMP: ({1}, 1, 1),
}


@pytest.mark.parametrize("vehicle_type", FAILSAFES)
@pytest.mark.parametrize("value", range(8))
def test_a_failsafe_action_fits_if_this_class_of_vehicles_carries_it_out(
    vehicle_type: int, value: int
) -> None:
    carried_out, low, critical = FAILSAFES[vehicle_type]
    both = {"BATT_FS_LOW_ACT": float(value), "BATT_FS_CRT_ACT": float(value)}
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | both))
    vehicle.vehicle_type = vehicle_type
    check = checked(vehicle)
    findings = check.findings(5000.0)
    defaults = {"BATT_FS_LOW_ACT": (value, low), "BATT_FS_CRT_ACT": (value, critical)}
    assert wrong(findings) == ({} if value in carried_out else defaults)
    check.set(findings)
    assert {int(vehicle.parameters[name]) for name in both} <= carried_out
    assert wrong(check.findings(5000.0)) == {}


def test_a_number_that_does_not_fit_within_its_range_is_named() -> None:
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | {"BATT_FS_LOW_ACT": 3.0}))
    vehicle.vehicle_type = PLANE
    rows = {one.name: str(one) for one in checked(vehicle).findings(5000.0)}
    assert "1 to 4, not 3" in rows["BATT_FS_LOW_ACT"]
    assert rows["BATT_FS_LOW_ACT"].startswith("wrong")


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("BAT1_SOURCE", 0, 1),
        ("COM_LOW_BAT_ACT", 4, 3),
        ("COM_LOW_BAT_ACT", 0, 3),
        ("CBRK_SUPPLY_CHK", 894281, 0),
        ("COM_ARM_AUTH_ID", 10, 1),
        ("COM_ARM_AUTH_MET", 1, 0),
    ],
)
def test_integers_of_px4_are_read_and_set_as_integers(
    name: str, value: float, default: float
) -> None:
    vehicle = px4(**{name: float(value)})
    check = checked(vehicle)
    findings = check.findings(5000.0)
    assert wrong(findings) == {name: (value, default)}
    check.set(findings)
    assert vehicle.parameters[name] == default


def test_the_time_to_empty_is_used_by_px4_from_1_18_on() -> None:
    for release, value, default in ((V1_17, 3.0, 0.0), (V1_18, 0.0, 3.0), (0, 3.0, 0.0)):
        findings = checked(px4(release, COM_FLTT_LOW_ACT=value)).findings(None)
        assert wrong(findings) == {"COM_FLTT_LOW_ACT": (value, default)}


@pytest.mark.parametrize(
    ("release", "name", "value", "found"),
    [
        (V4_6, "ARMING_CHECK", 0.0, {"ARMING_CHECK": (0.0, 1)}),
        (V4_7_DEV, "ARMING_CHECK", 0.0, {"ARMING_CHECK": (0.0, 1)}),
        (V4_7_DEV, "ARMING_SKIPCHK", -1.0, {"ARMING_SKIPCHK": (-1.0, 0)}),
        (V4_7, "ARMING_SKIPCHK", -1.0, {"ARMING_SKIPCHK": (-1.0, 0)}),
        (V4_6, "ARMING_CHECK", 448.0, {}),  # some of the checks
        (V4_7, "ARMING_SKIPCHK", 1280.0, {}),
    ],
)
def test_arming_checks_that_are_all_off_are_found_under_either_name(
    release: int, name: str, value: float, found: dict[str, tuple[float, float]]
) -> None:
    others = {one: fits for one, fits in FITTING.items() if one != "ARMING_CHECK"}
    vehicle = FakeVehicle(ARDUPILOT, **others, **{name: value})
    vehicle.release = release
    check = checked(vehicle)
    findings = check.findings(5000.0)
    assert wrong(findings) == found
    assert {one.name for one in findings} == {*others, name}
    check.set(findings)
    assert wrong(check.findings(5000.0)) == {}


def test_an_unknown_capacity_is_not_set() -> None:
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | {"BATT_CAPACITY": 0.0, "BATT_LOW_MAH": 0.0}))
    check = checked(vehicle)
    findings = check.findings(None)
    assert wrong(findings) == {"BATT_CAPACITY": (0.0, None), "BATT_LOW_MAH": (0.0, None)}
    assert check.set(findings) == []
    assert vehicle.parameters["BATT_CAPACITY"] == 0.0


def test_a_parameter_that_the_vehicle_does_not_have_is_absent_and_not_set() -> None:
    vehicle = FakeVehicle(ARDUPILOT, **{k: v for k, v in FITTING.items() if k != "SCR_ENABLE"})
    check = checked(vehicle)
    findings = check.findings(5000.0)
    assert wrong(findings) == {"SCR_ENABLE": (None, None)}
    assert "absent" in str(findings[0])
    assert check.set(findings) == []


def test_no_parameter_of_an_armed_vehicle_is_set() -> None:
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | {"BATT_MONITOR": 4.0}))
    check = checked(vehicle)
    findings = check.findings(5000.0)
    vehicle.armed = True
    check.findings(5000.0)
    vehicle.beat()
    check.findings(5000.0)
    with pytest.raises(LinkError, match="the vehicle is armed"):
        check.set(findings)
    assert vehicle.parameters["BATT_MONITOR"] == 4.0


def test_a_value_that_the_vehicle_does_not_accept_is_reported() -> None:
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | {"BATT_MONITOR": 4.0}))
    check = checked(vehicle)
    findings = check.findings(5000.0)
    vehicle.answers = False
    assert check.set(findings) == ["BATT_MONITOR could not be set to 29"]


def test_a_silent_link_and_an_unknown_flight_stack_are_link_errors() -> None:
    vehicle = FakeVehicle(ARDUPILOT)
    vehicle.sends_heartbeats = False
    with pytest.raises(
        LinkError, match="no heartbeat of a vehicle within 10 s: no data on the link"
    ):
        checked(vehicle)
    with pytest.raises(LinkError, match="neither ArduPilot nor PX4"):
        checked(FakeVehicle(0))


def test_a_vehicle_of_another_system_is_named() -> None:
    vehicle = FakeVehicle(ARDUPILOT)
    with pytest.raises(LinkError) as caught:
        ParameterCheck(vehicle, Beating(vehicle), system_id=7)
    assert str(caught.value) == (
        "no heartbeat of a vehicle within 10 s: system_id is 7, autopilots are received from 1"
    )


def test_a_range_without_an_end_is_at_least_its_start() -> None:
    findings = checked(FakeVehicle(ARDUPILOT, **FITTING)).findings(5000.0)
    required = {one.name: one.required for one in findings}
    assert required["ARMING_CHECK"] == "at least 1"
    assert not any("inf" in text for text in required.values())


def test_parameters_of_another_vehicle_are_ignored() -> None:
    vehicle = FakeVehicle(ARDUPILOT, **FITTING)
    check = checked(vehicle)
    other = mavlink.MAVLink_param_value_message(b"BATT_MONITOR", 4.0, 9, 1, 0)
    vehicle._out.append(bytes(other.pack(mavlink.MAVLink(None, 9, 1))))
    assert wrong(check.findings(5000.0)) == {}


def test_the_table_can_be_read_in_80_columns_up_to_the_reason() -> None:
    finding = checked(FakeVehicle(ARDUPILOT, **FITTING)).findings(5000.0)[2]
    assert str(finding) == (
        "ok    BATT_CAPACITY         5100  4750 to 5250  "
        "capacity from which the used charge is subtracted"
    )
    assert HEAD.index("reason") == str(finding).index("capacity from")


def test_no_requirement_stops_the_motors() -> None:
    for row in PARAMETER_REQUIREMENTS:
        if row.name in ("BATT_FS_LOW_ACT", "BATT_FS_CRT_ACT"):
            assert row.most < 5
        if row.name == "COM_LOW_BAT_ACT":
            assert row.most < 4
        assert row.fits(row.default, row.least, row.most)


def test_an_action_that_the_vehicle_does_not_have_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surfaces = {"BATT_FS_LOW_ACT": 3.0, "BATT_FS_CRT_ACT": 3.0}
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | surfaces))
    vehicle.vehicle_type = SUB
    monkeypatch.setattr("mavlink_bridge.vehicle.parameter_check.open_link", lambda _url: vehicle)
    kinds = (ActionKind.RETURN, ActionKind.LAND)
    lines, fits = check_vehicle(MavlinkConfig(), VehicleUse(5000.0, kinds), "", Beating(vehicle))
    assert lines[-1] == "wrong [[action]]: ArduSub has no return"
    assert not fits
    lines, fits = check_vehicle(
        MavlinkConfig(), VehicleUse(5000.0, kinds[1:]), "", Beating(vehicle)
    )
    assert lines[0] == HEAD
    assert fits


def test_the_check_fails_without_a_vehicle_or_a_valid_link() -> None:
    autopilot = FakeAutopilot()
    clock = VirtualClock()
    with pytest.raises(LinkError, match="no heartbeat of a vehicle"):
        check_vehicle(MavlinkConfig(), VehicleUse(None), autopilot.url, clock)
    assert clock.now_s() >= 10.0
    with pytest.raises(LinkError, match="expected udpout"):
        check_vehicle(MavlinkConfig(), VehicleUse(None), "pigeon:1", clock)
    autopilot.close()


@pytest.mark.parametrize(
    ("autopilot", "release", "fitting", "fed"),
    [
        (ARDUPILOT, V4_6, FITTING, {"SCR_ENABLE", "BATT_MONITOR"}),
        (PX4, V1_17, FITTING_PX4, {"BAT1_SOURCE", "COM_FLTT_LOW_ACT"}),
        (PX4, V1_18, FITTING_PX4, {"BAT1_SOURCE", "COM_FLTT_LOW_ACT"}),
    ],
)
def test_a_vehicle_that_measures_its_battery_keeps_its_monitor(
    monkeypatch: pytest.MonkeyPatch,
    autopilot: int,
    release: int,
    fitting: dict[str, float],
    fed: set[str],
) -> None:
    vehicle = FakeVehicle(autopilot, **fitting | dict.fromkeys(fed, 0.0))
    vehicle.armed, vehicle.release = False, release
    monkeypatch.setattr("mavlink_bridge.vehicle.parameter_check.open_link", lambda _: vehicle)
    use = VehicleUse(5000.0, feeds=False)
    lines, fits = check_vehicle(MavlinkConfig(), use, "", Beating(vehicle), set_wrong=True)
    assert fits
    assert not any(name in line for name in fed for line in lines)
    assert all(vehicle.parameters[name] == 0.0 for name in fed)


@pytest.mark.parametrize(("capacity_mah", "fits"), [(5100.0, True), (3000.0, False)])
def test_the_check_returns_a_table_and_a_verdict_and_sets_wrong_values(
    monkeypatch: pytest.MonkeyPatch, capacity_mah: float, *, fits: bool
) -> None:
    vehicle = FakeVehicle(ARDUPILOT, **(FITTING | {"BATT_CAPACITY": capacity_mah}))
    vehicle.armed = False
    monkeypatch.setattr("mavlink_bridge.vehicle.parameter_check.open_link", lambda _url: vehicle)
    lines, fitted = check_vehicle(MavlinkConfig(), VehicleUse(5000.0), "", Beating(vehicle))
    assert (lines[0], len(lines), fitted) == (HEAD, 1 + len(FITTING), fits)
    lines, fitted = check_vehicle(
        MavlinkConfig(), VehicleUse(5000.0), "", Beating(vehicle), set_wrong=True
    )
    assert fitted
    assert ("BATT_CAPACITY set to 5000" in lines) is not fits
    assert lines[-1].startswith("restart the vehicle")
