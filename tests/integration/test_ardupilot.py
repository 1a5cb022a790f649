# SPDX-License-Identifier: Apache-2.0
"""A simulated ArduCopter with our battery: its failsafes, our commands, the Lua driver.

Each test is one flight of a minute or two of vehicle time. The parts of the service are the real
ones, over a real link; only the readings of the pack are given.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dronebms.core.report import Action, ActionKind, Severity, Verdict
from dronebms.core.toml_schema import validated
from dronebms.service.config import Config
from mavlink_bridge.vehicle.battery_id import BatteryAddress
from mavlink_bridge.vehicle.parameter_check import VehicleUse, check_vehicle
from mavlink_bridge.vehicle.saved_file import left_behind
from smartbattery.snapshot import Identity
from tests.integration.companion import Service, check_arming, guarded
from tests.integration.copter import (
    GUIDED,
    LAND,
    LOITER,
    RTL,
    STABILIZE,
    Copter,
    copter_in,
    needs_copter,
)
from tests.integration.process import Process

pytestmark = needs_copter

CONFIG = '[[battery]]\nbus = "sim:survey"\ncapacity_mah = 5000\n'


@pytest.fixture
def copter(tmp_path: Path) -> Iterator[Copter]:
    folder = tmp_path / "copter"
    folder.mkdir()
    yield from copter_in(folder)


@pytest.fixture
def plain_copter(tmp_path: Path) -> Iterator[Copter]:
    folder = tmp_path / "copter"
    folder.mkdir()
    yield from copter_in(folder, parameters="", script=False)


@pytest.fixture
def smbus_copter(tmp_path: Path) -> Iterator[Copter]:
    folder = tmp_path / "copter"
    folder.mkdir()
    yield from copter_in(folder, parameters="BATT_MONITOR 7\nBATT_I2C_BUS 3\n", script=False)


def test_arming_battery_data_and_the_low_charge_failsafe(copter: Copter) -> None:
    service = Service(copter)
    check_arming(copter, service)
    copter.take_off()

    theirs, ours = copter.last[1, 0], copter.last[180, 2]
    assert (180, 0) not in copter.last
    assert sum(theirs.voltages[:3]) == pytest.approx(sum(ours.voltages[:3]), abs=150)
    assert theirs.current_battery > 1000
    assert theirs.current_consumed == pytest.approx(0.191 * 5000, abs=1.0)
    assert (theirs.temperature, theirs.battery_remaining) == (2512, 80)
    assert copter.last["SYS_STATUS"].voltage_battery == pytest.approx(12300 - 30 * 28, abs=300)

    service.values["soc_pct"] = 24.0  # 1200 mAh, below BATT_LOW_MAH
    took_s = copter.until(lambda: copter.mode == RTL, 10.0, "its own RTL")
    assert took_s < 3.0
    assert any("Battery 1 is low" in text for text in copter.texts)


def test_a_reset_after_a_hot_swap_lets_the_vehicle_arm_again(copter: Copter) -> None:
    service = Service(copter, batteries=(BatteryAddress(reset_monitor=1),))
    service.values["identity"] = Identity(serial=7)
    copter.wait_ready()
    copter.take_off(10.0)
    service.values["soc_pct"] = 24.0  # below BATT_LOW_MAH
    copter.until(lambda: copter.mode == RTL, 10.0, "its own RTL")
    copter.until(lambda: not copter.armed, 120.0, "on the ground")
    service.values |= {"soc_pct": 97.0, "cells_v": (4.1,) * 3, "voltage_v": 12.3}
    copter.fly(10.0)  # the same pack: nothing is reset
    assert copter.command(400, 1) != 0
    assert any("Battery failsafe" in text for text in copter.texts), copter.texts
    service.values["identity"] = Identity(serial=8)
    copter.until(lambda: "battery monitor 1 was reset" in copter.texts, 10.0, "the reset")
    assert copter.command(176, 1, GUIDED) == 0
    copter.until(lambda: copter.command(400, 1) == 0, 20.0, "armed")


def test_a_monitor_with_a_gauge_of_its_own_refuses_a_reset(smbus_copter: Copter) -> None:
    copter = smbus_copter
    service = Service(copter, batteries=(BatteryAddress(reset_monitor=1),))
    service.values["identity"] = Identity(serial=7)
    copter.fly(20.0)
    service.values["identity"] = Identity(serial=8)
    text = "battery monitor 1 not reset: failed"
    copter.until(lambda: text in copter.texts, 10.0, "the refusal")
    copter.fly(10.0)
    assert copter.texts.count(text) == 1


def test_arming_is_refused_while_the_pack_does_not_last_for_the_mission(copter: Copter) -> None:
    service = Service(copter)
    copter.wait_ready()
    service.values |= {
        "mission_verdict": Verdict.NO,
        "mission_needs_mah": 14_100.0,
        "usable_mah": 12_800.0,
    }
    copter.fly(5.0)
    assert copter.command(400, 1) != 0
    assert not copter.armed
    assert any("mission needs 14.1 Ah of 12.8" in text for text in copter.texts), copter.texts
    service.values |= {"mission_verdict": Verdict.YES, "usable_mah": 15_000.0}
    copter.take_off(5.0)
    assert copter.armed


def test_a_service_restarted_in_flight_sends_within_three_seconds(copter: Copter) -> None:
    service = Service(copter)
    copter.wait_ready()
    copter.take_off(10.0)
    service.crash()
    copter.fly(1.0)
    del copter.last[180, 2]
    service = Service(copter)
    assert copter.until(lambda: (180, 2) in copter.last, 10.0, "our battery") <= 3.0
    assert (180, 0) not in copter.last
    assert not any("missing" in text for text in copter.texts)


def test_a_weak_cell_returns_the_vehicle_and_the_pilot_may_choose_another_mode(
    copter: Copter, tmp_path: Path
) -> None:
    home = Action("cell_sag", ActionKind.RETURN, hold_s=1.0)
    pack = guarded(copter, tmp_path, home, Action("cell_emergency", ActionKind.LAND, hold_s=0.0))
    copter.wait_ready()
    copter.take_off(30.0)
    copter.fly(3.0)
    assert copter.mode != RTL
    pack.weak_v = 3.36
    took_s = copter.until(lambda: copter.mode == RTL, 15.0, "our RTL")
    assert took_s < 3.0 + 1.0 + 2.0  # debounce of the limit and of the action, and transport
    returned = "RETURN: low cell voltage under load"
    copter.until(
        lambda: any(returned in text for text in copter.texts), 5.0, "the text of the return"
    )

    assert copter.command(176, 1, LOITER) == 0
    copter.until(lambda: copter.mode == LOITER, 5.0, "the pilot's mode")
    copter.fly(10.0)
    assert copter.mode == LOITER
    assert any("RETURN: pilot has chosen another mode" in text for text in copter.texts)


def test_a_collapsing_cell_lands_the_vehicle(copter: Copter, tmp_path: Path) -> None:
    pack = guarded(copter, tmp_path, Action("cell_emergency", ActionKind.LAND, hold_s=0.0))
    copter.wait_ready()
    copter.take_off(10.0)
    pack.weak_v = 3.0
    assert copter.until(lambda: copter.mode == LAND, 10.0, "our landing") < 5.0
    copter.until(lambda: not copter.armed, 60.0, "on the ground")


def climbing_a(copter: Copter, seconds: float = 6.0) -> float:
    """Mean current at the end of a climb at full throttle."""
    drawn: list[float] = []
    end_s = copter.clock.now_s() + seconds

    def climb() -> bool:
        copter.throttle(2000)
        if copter.clock.now_s() > end_s - 0.4 * seconds:
            drawn.append(copter.last[1, 1].current_battery / 100)
        return copter.clock.now_s() >= end_s

    copter.until(climb, seconds + 30.0, "climb")
    return sum(drawn) / len(drawn)


def test_the_governor_limits_the_current_and_the_driver_restores_it_after_a_crash(
    copter: Copter, tmp_path: Path
) -> None:
    service = Service(copter, tmp_path)
    copter.wait_ready()
    before = copter.parameter("MOT_BAT_CURR_MAX"), copter.parameter("MOT_BAT_CURR_TC")
    copter.take_off(10.0)
    copter.throttle(1500)
    assert copter.command(176, 1, STABILIZE) == 0
    free_a = climbing_a(copter)
    service.max_a = 40.0
    copter.fly(2.0)
    assert copter.parameter("MOT_BAT_CURR_MAX") == 40.0
    limited_a = climbing_a(copter)
    assert free_a > 50.0
    assert limited_a < 44.0
    service.crash()
    copter.fly(4.0)
    after = copter.parameter("MOT_BAT_CURR_MAX"), copter.parameter("MOT_BAT_CURR_TC")
    assert after == before
    assert climbing_a(copter) == pytest.approx(free_a, rel=0.1)


def test_without_the_driver_parameters_are_set_and_restored_by_the_next_start(
    plain_copter: Copter, tmp_path: Path
) -> None:
    copter = plain_copter
    service = Service(copter, tmp_path)
    copter.wait_ready()
    copter.set("MOT_BAT_CURR_MAX", 90.0)
    copter.take_off(10.0)
    service.max_a = 40.0
    copter.until(lambda: copter.parameter("MOT_BAT_CURR_MAX") == 40.0, 10.0, "lowered")
    assert copter.parameter("MOT_BAT_CURR_TC") == 1.0
    service.crash()
    copter.fly(5.0)
    assert copter.parameter("MOT_BAT_CURR_MAX") == 40.0  # no program restores it
    service = Service(copter, tmp_path)
    took_s = copter.until(lambda: copter.parameter("MOT_BAT_CURR_MAX") == 90.0, 20.0, "restored")
    assert took_s < 5.0
    assert copter.parameter("MOT_BAT_CURR_TC") == 5.0
    service.max_a = 45.0
    copter.until(lambda: copter.parameter("MOT_BAT_CURR_MAX") == 45.0, 10.0, "lowered again")
    copter.each = lambda _now_s: None
    assert service.bridge.vehicle_control is not None
    service.bridge.restore_parameters(copter.clock)
    assert service.bridge.vehicle_control.idle
    copter.fly(0.5)  # reads the messages received meanwhile
    assert copter.parameter("MOT_BAT_CURR_MAX") == 90.0


@pytest.mark.parametrize("vehicle", ["copter", "plain_copter"])  # with and without the driver
def test_a_change_of_the_user_outlives_a_limit(
    request: pytest.FixtureRequest, vehicle: str, tmp_path: Path
) -> None:
    copter: Copter = request.getfixturevalue(vehicle)
    service = Service(copter, tmp_path)
    copter.wait_ready()
    copter.set("MOT_BAT_CURR_MAX", 90.0)
    copter.take_off(10.0)
    service.max_a = 40.0
    copter.until(lambda: copter.parameter("MOT_BAT_CURR_MAX") == 40.0, 10.0, "lowered")
    copter.set("MOT_BAT_CURR_MAX", 70.0)
    copter.fly(1.0)
    copter.until(lambda: copter.parameter("MOT_BAT_CURR_MAX") == 40.0, 10.0, "lowered again")
    service.max_a = None
    copter.until(lambda: copter.parameter("MOT_BAT_CURR_MAX") == 70.0, 20.0, "restored")
    copter.until(lambda: not left_behind(tmp_path), 20.0, "no file left")
    copter.fly(3.0)
    found = copter.parameter("MOT_BAT_CURR_MAX"), copter.parameter("MOT_BAT_CURR_TC")
    assert found == (70.0, 5.0)


def test_the_check_finds_and_sets_wrong_parameters(plain_copter: Copter) -> None:
    copter = plain_copter
    copter.wait_ready()
    config = validated(Config, CONFIG, "x.toml")
    url = f"udpin:127.0.0.1:{copter.companion}"
    lines, fits = check_vehicle(config.vehicle_link, VehicleUse(5000.0), url, copter.clock)
    assert not fits
    lines, fits = check_vehicle(
        config.vehicle_link, VehicleUse(5000.0), url, copter.clock, set_wrong=True
    )
    assert "BATT_MONITOR set to 29" in lines
    assert "SCR_ENABLE set to 1" in lines
    assert "restart" in lines[-1]
    copter.restart()
    lines, fits = check_vehicle(config.vehicle_link, VehicleUse(5000.0), url, copter.clock)
    assert fits, lines


def away(copter: Copter, speed_m_s: float) -> None:
    """Send the vehicle far away; wait until it is fast."""
    copter.go_away(2000.0)
    copter.until(lambda: copter.ground_m_s > speed_m_s, 30.0, "fast")


SLOWER = Action(Severity.WARNING, ActionKind.REDUCE, speed_m_s=3.0, climb_m_s=1.0)


def test_the_speed_is_limited_and_restored(copter: Copter, tmp_path: Path) -> None:
    service = Service(copter, tmp_path)
    copter.wait_ready()
    copter.take_off(20.0)
    away(copter, 9.0)
    service.action, service.max_a = SLOWER, 60.0
    took_s = copter.until(lambda: copter.ground_m_s < 3.3, 20.0, "slow")
    assert took_s < 10.0
    copter.fly(15.0)
    assert 2.5 < copter.ground_m_s < 3.5
    service.max_a = None
    copter.until(lambda: copter.ground_m_s > 9.0, 20.0, "its own speed")
    assert not left_behind(tmp_path)

    service.max_a = 60.0
    copter.until(lambda: copter.ground_m_s < 3.3, 20.0, "slow again")
    service.crash()
    copter.fly(10.0)
    assert copter.ground_m_s < 3.5  # no program restores it
    Service(copter, tmp_path)
    copter.until(lambda: copter.ground_m_s > 9.0, 20.0, "its own speed again")
    copter.until(lambda: not left_behind(tmp_path), 5.0, "no file left")
    assert not any("refused" in text for text in copter.texts), copter.texts


def test_a_mode_without_speed_commands_gets_none(copter: Copter, tmp_path: Path) -> None:
    service = Service(copter, tmp_path)
    copter.wait_ready()
    copter.take_off(20.0)
    away(copter, 9.0)
    assert copter.command(176, 1, LOITER) == 0
    service.action, service.max_a = SLOWER, 60.0
    copter.fly(5.0)
    assert not any("refused" in text for text in copter.texts), copter.texts
    assert not [*tmp_path.glob("*speeds*")]


REDUCES = '[[action]]\non = "governor"\ndo = "reduce"\nhold_s = 0.0\n'


@pytest.fixture
def slow_copter(tmp_path: Path) -> Iterator[Copter]:
    """A vehicle in real time at most, like the service in its own process."""
    folder = tmp_path / "copter"
    folder.mkdir()
    yield from copter_in(folder, speedup=1.0)


def test_the_driver_restores_a_limit_after_kill_9_of_the_service(
    slow_copter: Copter, tmp_path: Path
) -> None:
    copter = slow_copter
    service = Process(tmp_path, copter.companion, REDUCES)
    copter.closing.callback(service.close)
    copter.wait_ready()

    def limit() -> tuple[float | None, float | None]:
        return copter.parameter("MOT_BAT_CURR_MAX"), copter.parameter("MOT_BAT_CURR_TC")

    before = limit()
    assert before == (0.0, 5.0)
    copter.take_off(10.0)
    for _ in range(2):
        copter.until(lambda: limit() == (19.0, 1.0), 200.0, "limited")
        service.kill()
        took_s = copter.until(lambda: limit() == before, 10.0, "restored")
        assert took_s < 4.5  # the driver waits 3 s for a request
        assert copter.armed
        assert copter.height_m > 5.0
        for key in ((180, 2), (180, "HEARTBEAT")):
            copter.last.pop(key, None)
        service.start(REDUCES)
        # The time that Python takes to start depends on this machine.
        copter.until(lambda: (180, "HEARTBEAT") in copter.last, 200.0, "the service")
        assert copter.until(lambda: (180, 2) in copter.last, 10.0, "our battery") <= 3.0
    assert service.end() == 0
    copter.until(lambda: limit() == before, 60.0, "restored")


def test_without_the_driver_the_next_start_restores_a_limit_after_kill_9(
    plain_copter: Copter, tmp_path: Path
) -> None:
    copter = plain_copter
    copter.wait_ready()
    copter.set("MOT_BAT_CURR_MAX", 90.0)
    service = Process(tmp_path, copter.companion, REDUCES)
    copter.closing.callback(service.close)
    copter.take_off(10.0)

    def is_limited() -> bool:
        now_a = copter.parameter("MOT_BAT_CURR_MAX")
        return now_a == pytest.approx(19.0, rel=0.03)  # smaller changes are not written

    copter.until(is_limited, 200.0, "limited")
    service.kill()
    copter.fly(10.0)
    copter.until(is_limited, 10.0, "still limited: no program restores it")
    assert left_behind(service.state)
    service.start("")  # a configuration without actions
    copter.until(lambda: copter.parameter("MOT_BAT_CURR_MAX") == 90.0, 400.0, "restored")
    assert copter.parameter("MOT_BAT_CURR_TC") == 5.0
    copter.until(lambda: not left_behind(service.state), 100.0, "no file left")
    assert service.end() == 0
