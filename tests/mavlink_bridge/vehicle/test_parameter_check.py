"""What is found wrong with a vehicle's parameters, and that setting them sets these alone."""

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.core.errors import LinkError
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.protocol.flight_stacks import PARAMETER_REQUIREMENTS
from mavlink_bridge.vehicle.parameter_check import HEAD, Finding, ParameterCheck, check_vehicle
from tests.mavlink_bridge.autopilot import FakeAutopilot
from tests.mavlink_bridge.straw import ARDUPILOT, PX4, Straw

FITTING = {
    "SCR_ENABLE": 1.0,
    "BATT_MONITOR": 29.0,
    "BATT_CAPACITY": 5100.0,
    "BATT_LOW_MAH": 1250.0,
    "BATT_CRT_MAH": 500.0,
    "BATT_FS_LOW_ACT": 2.0,
    "BATT_FS_CRT_ACT": 1.0,
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


class Beating(VirtualClock):
    """A clock with which the vehicle's heart beats."""

    def __init__(self, vehicle: Straw) -> None:
        super().__init__()
        self._vehicle = vehicle

    def sleep_until(self, t_s: float) -> None:
        """Be there."""
        if int(t_s) > int(self.now_s()):
            self._vehicle.beat()
        super().sleep_until(t_s)


def px4(release: int = V1_18, /, **changes: float) -> Straw:
    vehicle = Straw(PX4, **(FITTING_PX4 | changes))
    vehicle.integers = set(vehicle.parameters)
    vehicle.release = release
    return vehicle


def checked(vehicle: Straw) -> ParameterCheck:
    vehicle.armed = False
    return ParameterCheck(vehicle, Beating(vehicle))


def wrong(findings: list[Finding]) -> dict[str, tuple[float | None, float | None]]:
    return {one.name: (one.found, one.good) for one in findings if not one.fits}


@pytest.mark.parametrize("vehicle", [Straw(ARDUPILOT, **FITTING), px4()], ids=["ardupilot", "px4"])
def test_a_vehicle_that_fits_has_nothing_wrong(vehicle: Straw) -> None:
    findings = checked(vehicle).findings(5000.0)
    assert wrong(findings) == {}
    assert {one.name for one in findings} == set(vehicle.parameters)


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("SCR_ENABLE", 0, 1),
        ("BATT_MONITOR", 4, 29),
        ("BATT_CAPACITY", 3300, 5000),
        ("BATT_LOW_MAH", 0, 1250),
        ("BATT_CRT_MAH", 2000, 500),
        ("BATT_FS_LOW_ACT", 0, 2),
        ("BATT_FS_CRT_ACT", 5, 1),
        ("BATT_FS_CRT_ACT", 7, 1),
    ],
)
def test_each_wrong_value_is_found_and_set(name: str, value: float, good: float) -> None:
    vehicle = Straw(ARDUPILOT, **(FITTING | {name: float(value)}))
    check = checked(vehicle)
    findings = check.findings(5000.0)
    assert wrong(findings) == {name: (value, good)}
    assert check.set(findings) == [f"{name} is {good} now"]
    assert vehicle.parameters == FITTING | {name: good}
    assert wrong(check.findings(5000.0)) == {}


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("BAT1_SOURCE", 0, 1),
        ("COM_LOW_BAT_ACT", 4, 3),
        ("COM_LOW_BAT_ACT", 0, 3),
        ("CBRK_SUPPLY_CHK", 894281, 0),
        ("COM_ARM_AUTH_ID", 10, 1),
        ("COM_ARM_AUTH_MET", 1, 0),
    ],
)
def test_integers_of_px4_are_read_and_set_as_such(name: str, value: float, good: float) -> None:
    vehicle = px4(**{name: float(value)})
    check = checked(vehicle)
    findings = check.findings(5000.0)
    assert wrong(findings) == {name: (value, good)}
    check.set(findings)
    assert vehicle.parameters[name] == good


def test_the_time_left_is_for_px4_from_1_18_on() -> None:
    for release, value, good in ((V1_17, 3.0, 0.0), (V1_18, 0.0, 3.0), (0, 3.0, 0.0)):
        findings = checked(px4(release, COM_FLTT_LOW_ACT=value)).findings(None)
        assert wrong(findings) == {"COM_FLTT_LOW_ACT": (value, good)}


def test_an_unknown_capacity_is_not_guessed() -> None:
    vehicle = Straw(ARDUPILOT, **(FITTING | {"BATT_CAPACITY": 0.0, "BATT_LOW_MAH": 0.0}))
    check = checked(vehicle)
    findings = check.findings(None)
    assert wrong(findings) == {"BATT_CAPACITY": (0.0, None), "BATT_LOW_MAH": (0.0, None)}
    assert check.set(findings) == []
    assert vehicle.parameters["BATT_CAPACITY"] == 0.0


def test_what_the_vehicle_does_not_have_is_absent_and_not_set() -> None:
    vehicle = Straw(ARDUPILOT, **{k: v for k, v in FITTING.items() if k != "SCR_ENABLE"})
    check = checked(vehicle)
    findings = check.findings(5000.0)
    assert wrong(findings) == {"SCR_ENABLE": (None, None)}
    assert "absent" in str(findings[0])
    assert check.set(findings) == []


def test_an_armed_vehicle_is_left_as_it_is() -> None:
    vehicle = Straw(ARDUPILOT, **(FITTING | {"BATT_MONITOR": 4.0}))
    check = checked(vehicle)
    findings = check.findings(5000.0)
    vehicle.armed = True
    check.findings(5000.0)
    vehicle.beat()
    check.findings(5000.0)
    with pytest.raises(LinkError, match="the vehicle is armed"):
        check.set(findings)
    assert vehicle.parameters["BATT_MONITOR"] == 4.0


def test_a_value_that_the_vehicle_does_not_take_is_said() -> None:
    vehicle = Straw(ARDUPILOT, **(FITTING | {"BATT_MONITOR": 4.0}))
    check = checked(vehicle)
    findings = check.findings(5000.0)
    vehicle.talks = False
    assert check.set(findings) == ["BATT_MONITOR could not be set to 29"]


def test_a_silent_link_and_a_stranger_are_sentences() -> None:
    vehicle = Straw(ARDUPILOT)
    vehicle.beats = False
    with pytest.raises(LinkError, match="no vehicle is heard: the link is silent"):
        checked(vehicle)
    with pytest.raises(LinkError, match="neither ArduPilot nor PX4"):
        checked(Straw(0))


def test_the_table_can_be_read_in_80_columns_up_to_the_reason() -> None:
    finding = checked(Straw(ARDUPILOT, **FITTING)).findings(5000.0)[2]
    assert str(finding) == (
        "ok    BATT_CAPACITY         5100  4750 to 5250  "
        "low and critical charge are counted down from a full pack"
    )
    assert HEAD.index("why") == str(finding).index("low and")


def test_no_wish_ever_stops_the_motors() -> None:
    for row in PARAMETER_REQUIREMENTS:
        if row.name in ("BATT_FS_LOW_ACT", "BATT_FS_CRT_ACT"):
            assert row.most < 5
        if row.name == "COM_LOW_BAT_ACT":
            assert row.most < 4
        assert row.least <= row.good <= row.most


def test_the_check_of_a_configuration_is_a_table_and_a_verdict() -> None:
    autopilot = FakeAutopilot()
    clock = VirtualClock()
    with pytest.raises(LinkError, match="no vehicle is heard"):
        check_vehicle(MavlinkConfig(), None, autopilot.url, clock)
    assert clock.now_s() >= 10.0
    with pytest.raises(LinkError, match="expected udpout"):
        check_vehicle(MavlinkConfig(), None, "pigeon:1", clock)
    autopilot.close()


@pytest.mark.parametrize(("capacity_mah", "fits"), [(5100.0, True), (3000.0, False)])
def test_a_configuration_is_compared_and_set(
    monkeypatch: pytest.MonkeyPatch, capacity_mah: float, *, fits: bool
) -> None:
    vehicle = Straw(ARDUPILOT, **(FITTING | {"BATT_CAPACITY": capacity_mah}))
    vehicle.armed = False
    monkeypatch.setattr("mavlink_bridge.vehicle.parameter_check.open_link", lambda _url: vehicle)
    lines, fitted = check_vehicle(MavlinkConfig(), 5000.0, "", Beating(vehicle))
    assert (lines[0], len(lines), fitted) == (HEAD, 1 + len(FITTING), fits)
    lines, fitted = check_vehicle(MavlinkConfig(), 5000.0, "", Beating(vehicle), set_wrong=True)
    assert fitted
    assert ("BATT_CAPACITY is 5000 now" in lines) is not fits
    assert lines[-1].startswith("restart the vehicle")
