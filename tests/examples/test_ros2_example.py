# SPDX-License-Identifier: Apache-2.0
"""examples/ros2_battery_state.py fills a BatteryState; ROS 2 itself is not run here.

pip has no rclpy and no sensor_msgs. The message is a stand-in with the fields and constants of
sensor_msgs/msg/BatteryState.msg of ros2/common_interfaces (commit 100d1e96), and nothing else, so
that a misspelt name is an error.
"""

import math
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dronebms.core import CHEMISTRIES, PackData, Report
from dronebms.protection.limits import every_limit
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.reports import a_report

PROGRAM = Path(__file__).parents[2] / "examples" / "ros2_battery_state.py"
# Values of the constants, in the order of BatteryState.msg.
STATUS = ("UNKNOWN", "CHARGING", "DISCHARGING", "NOT_CHARGING", "FULL")
HEALTH = (
    *("UNKNOWN", "GOOD", "OVERHEAT", "DEAD", "OVERVOLTAGE", "UNSPEC_FAILURE", "COLD"),
    *("WATCHDOG_TIMER_EXPIRE", "SAFETY_TIMER_EXPIRE"),
)
TECHNOLOGY = ("UNKNOWN", "NIMH", "LION", "LIPO", "LIFE", "NICD", "LIMN", "TERNARY")
FIELDS = (
    *("header", "voltage", "temperature", "current", "charge", "capacity", "design_capacity"),
    *("percentage", "power_supply_status", "power_supply_health", "power_supply_technology"),
    *("present", "cell_voltage", "cell_temperature", "location", "serial_number"),
)
CONSTANTS = {
    f"POWER_SUPPLY_{kind}_{name}": number
    for kind, names in (("STATUS", STATUS), ("HEALTH", HEALTH), ("TECHNOLOGY", TECHNOLOGY))
    for number, name in enumerate(names)
}
BatteryState: Any = type("BatteryState", (), {"__slots__": FIELDS, **CONSTANTS})
FLOATS = FIELDS[1:8]


def converted(report: Report) -> Any:  # noqa: ANN401 - the stand-in
    return runpy.run_path(str(PROGRAM))["filled"](BatteryState(), report)


def test_a_pack_under_load_is_converted() -> None:
    report = a_report(
        0.0, 1, voltage_v=11.9, cells_v=(4.0, None, 3.9), current_a=12.5, temperature_degc=25.0,
        soc_pct=80.0, remaining_mah=4000.0, full_mah=4900.0, identity=Identity(serial=77),
    )  # fmt: skip
    pack = PackData(CHEMISTRIES[0], cells=3, capacity_mah=5000.0)
    found = converted(replace(report, pack_data=pack))
    values = {name: getattr(found, name) for name in FLOATS}
    assert values == pytest.approx(
        {
            "voltage": 11.9,
            "temperature": 25.0,
            "current": -12.5,
            "charge": 4.0,
            "capacity": 4.9,
            "design_capacity": 5.0,
            "percentage": 0.8,
        }
    )
    assert (found.cell_voltage[0], found.cell_voltage[2]) == (4.0, 3.9)
    assert math.isnan(found.cell_voltage[1])
    assert len(found.cell_temperature) == 3
    assert all(math.isnan(value) for value in found.cell_temperature)
    assert (found.present, found.location, found.serial_number) == (True, "battery 2", "77")
    assert found.power_supply_status == STATUS.index("DISCHARGING")
    assert found.power_supply_health == HEALTH.index("GOOD")


def test_unknown_is_nan_and_never_a_number() -> None:
    report = a_report(0.0)
    snapshot = replace(
        report.snapshot, voltage_v=None, current_a=None, temperature_degc=None, cells_v=(),
        remaining_mah=None, full_mah=None, soc_pct=None, identity=Identity(),
    )  # fmt: skip
    estimate = replace(report.estimate, soc_pct=None)
    pack = replace(report.pack_data, capacity_mah=None)
    found = converted(replace(report, snapshot=snapshot, estimate=estimate, pack_data=pack))
    assert all(math.isnan(getattr(found, name)) for name in FLOATS)
    assert (found.present, found.serial_number, found.cell_voltage) == (False, "", [])
    assert found.power_supply_status == STATUS.index("UNKNOWN")
    assert found.power_supply_health == HEALTH.index("UNKNOWN")


@pytest.mark.parametrize(
    ("current_a", "status_raw", "status"),
    [
        (5.0, 0, "DISCHARGING"),
        (-5.0, 0, "CHARGING"),
        (-5.0, 1 << 5, "CHARGING"),
        (0.02, 0, "NOT_CHARGING"),
        (0.02, None, "NOT_CHARGING"),
        (0.0, 1 << 5, "FULL"),
    ],
)
def test_the_status_is_that_of_the_current(
    current_a: float, status_raw: int | None, status: str
) -> None:
    report = a_report(0.0)
    snapshot = replace(report.snapshot, current_a=current_a, status_raw=status_raw)
    found = converted(replace(report, snapshot=snapshot))
    assert found.power_supply_status == STATUS.index(status)


@pytest.mark.parametrize(
    ("active", "health"),
    [
        ((), "GOOD"),
        (("time_critical", "home_now"), "GOOD"),  # no matter of the pack's health
        (("hot_critical",), "OVERHEAT"),
        (("cold_emergency",), "COLD"),
        (("cell_high_critical",), "OVERVOLTAGE"),
        (("hot_critical", "failed"), "DEAD"),
        (("contradiction",), "UNSPEC_FAILURE"),
    ],
)
def test_the_health_is_that_of_the_tripped_limits(active: tuple[str, ...], health: str) -> None:
    report = a_report(0.0)
    found = converted(replace(report, status=replace(report.status, active=active)))
    assert found.power_supply_health == HEALTH.index(health)


def test_the_health_is_looked_up_by_limits_that_exist() -> None:
    rows = runpy.run_path(str(PROGRAM))["HEALTH"]
    assert {one for ids, _ in rows for one in ids} <= every_limit().keys()


def test_every_chemistry_has_a_technology() -> None:
    known = {}
    for chemistry in CHEMISTRIES:
        report = a_report(0.0)
        found = converted(replace(report, pack_data=replace(report.pack_data, chemistry=chemistry)))
        known[chemistry.name] = TECHNOLOGY[found.power_supply_technology]
    assert known == {"lipo": "LIPO", "lihv": "LIPO", "li-ion": "LION", "lifepo4": "LIFE"}


def test_the_program_has_at_most_80_lines_and_states_that_it_was_not_run() -> None:
    lines = PROGRAM.read_text().splitlines()
    assert len(lines) <= 80
    assert any("not run with ROS" in line for line in lines)
