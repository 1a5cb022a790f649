"""The Lua driver in a Lua 5.3 interpreter, with ArduPilot's rules for every call."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Severity
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.lua_driver import NO_GO_PREFIX
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.lua_host import (
    LuaHost,
    fields,
    needs_lua,
    sent,
    those,
)
from tests.mavlink_bridge.reports import a_report

pytestmark = needs_lua

DRIVER = Path(messages.__file__).parent / "ardupilot" / "dronebms.lua"
BEAT = [("BMS_LUA", 1.0), ("BMS_LIM", 0.0)]
LIMIT_PARAMETERS = {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}
OURS = {"MAV_SYSID": 1.0, "BATT_MONITOR": 29.0}


@pytest.fixture
def vehicle() -> Iterator[LuaHost]:
    with LuaHost(DRIVER, **OURS, **LIMIT_PARAMETERS) as made:
        assert those(made.start(), "text") == ["5 dronebms: driver 1 started"]
        made.run()
        yield made


def status(index: int = 0, **values: Any) -> mavlink.MAVLink_battery_status_message:  # noqa: ANN401 - see a_report
    return messages.battery_status(a_report(0.0, index, **values), battery_id=3)


def named(name: str, value: float) -> mavlink.MAVLink_named_value_float_message:
    return mavlink.MAVLink_named_value_float_message(0, name.encode(), value)


def verdicts(effects: list[str]) -> set[str]:
    return set(those(effects, "arming"))


# The battery.


def test_every_value_reaches_the_battery_monitor(vehicle: LuaHost) -> None:
    vehicle.receive(status())
    assert fields(vehicle.run()) == {
        "index": "0",
        "healthy": "true",
        "voltage": "23.55",
        "cell_count": "6",
        "cells": "3900,3910,3920,3930,3940,3950",
        "current_amps": "12.34",
        "consumed_mah": "1000",
        "consumed_wh": "20",
        "temperature": "25.12",
        "capacity_remaining_pct": "80",
    }


def test_unknown_values_are_not_set(vehicle: LuaHost) -> None:
    unknown: dict[str, Any] = dict.fromkeys(
        ("current_a", "temperature_degc", "remaining_mah", "soc_pct", "used_mah", "used_wh")
    )
    vehicle.receive(status(**unknown))
    assert set(fields(vehicle.run())) == {"index", "healthy", "voltage", "cell_count", "cells"}


def test_all_fourteen_cells_reach_the_battery_monitor(vehicle: LuaHost) -> None:
    cells = tuple(3.5 + number / 100 for number in range(14))
    vehicle.receive(status(cells_v=cells, voltage_v=sum(cells)))
    reported = fields(vehicle.run())
    assert reported["cells"] == ",".join(str(round(cell * 1000)) for cell in cells)
    assert float(reported["voltage"]) == pytest.approx(sum(cells), abs=0.001)


def test_a_pack_whose_cells_are_unknown_has_a_voltage_and_no_stale_cells(
    vehicle: LuaHost,
) -> None:
    vehicle.receive(status())
    vehicle.run()
    vehicle.receive(status(cells_v=(3.9, None, 3.9, 3.9, 3.9, 3.9)))
    reported = fields(vehicle.run())
    assert (reported["voltage"], reported["cells"]) == ("23.55", ",".join(["65535"] * 6))
    vehicle.receive(status(cells_v=(), voltage_v=80.5))
    assert fields(vehicle.run())["voltage"] == "80.5"


def test_a_battery_without_a_voltage_is_ignored(vehicle: LuaHost) -> None:
    vehicle.receive(status(cells_v=(), voltage_v=None))
    assert those(vehicle.run(), "battery") == []


def test_the_cycle_count_is_that_of_smart_battery_info(vehicle: LuaHost) -> None:
    report = a_report(cycles=212.0, identity=Identity(serial=7, date=(2025, 1, 2)))
    vehicle.receive(messages.smart_battery_info(report, battery_id=0))
    vehicle.receive(status())
    assert fields(vehicle.run())["cycle_count"] == "212"
    vehicle.receive(messages.smart_battery_info(a_report(), battery_id=0))
    vehicle.receive(status())
    assert fields(vehicle.run())["cycle_count"] == "212"


def test_several_batteries_go_to_several_monitors() -> None:
    with LuaHost(DRIVER, BATT2_MONITOR=29.0, BATT3_MONITOR=29.0, BMS_BATT=2.0,
                          SYSID_THISMAV=1.0) as vehicle:  # fmt: skip
        vehicle.start()
        vehicle.run()
        for index, pipeline in ((0, "1"), (1, "2")):
            vehicle.receive(status(index), component=180 + index)
            assert fields(vehicle.run())["index"] == pipeline
        vehicle.receive(status(2), component=182)
        assert those(vehicle.run(), "text") == ["4 dronebms: set BATT4_MONITOR to 29"]


def test_a_monitor_of_another_type_is_reported_once() -> None:
    with LuaHost(DRIVER, MAV_SYSID=1.0, BATT_MONITOR=4.0) as vehicle:
        vehicle.start()
        vehicle.run()
        warnings = []
        for _ in range(5):
            vehicle.receive(status())
            warnings += those(vehicle.run(), "text")
        assert warnings == ["4 dronebms: set BATT_MONITOR to 29"]


@pytest.mark.parametrize(
    ("system", "component"), [(2, 180), (1, 1), (1, 179), (1, 191), (255, 180)]
)
def test_messages_of_other_components_are_ignored(
    vehicle: LuaHost, system: int, component: int
) -> None:
    vehicle.receive(status(), component, system)
    effects = vehicle.run(0.1)
    assert those(effects, "battery") == []
    assert verdicts(effects) == {"failed no battery data"}


# Arming.


def test_arming_requires_fresh_data_of_a_good_battery(vehicle: LuaHost) -> None:
    assert verdicts(vehicle.run()) == {"failed no battery data"}
    vehicle.receive(status())
    assert verdicts(vehicle.run(3.0)) == {"passed"}
    assert verdicts(vehicle.run(0.2)) == {"failed battery 1: no data"}
    vehicle.receive(status())
    assert verdicts(vehicle.run()) == {"passed"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"fault_bits": 1 << 2}, "battery 1: cell failed"),
        ({"fault_bits": 1 << 4 | 1 << 30}, "battery 1: too hot"),
        ({"fault_bits": 1 << 31}, "battery 1: fault"),
        ({"severity": Severity.CRITICAL}, "battery 1: critical"),
        ({"severity": Severity.EMERGENCY}, "battery 1: emergency"),
    ],
)
def test_a_fault_or_critical_state_refuses_arming_with_its_reason(
    vehicle: LuaHost, values: dict[str, Any], reason: str
) -> None:
    vehicle.receive(status(**values))
    assert verdicts(vehicle.run()) == {f"failed {reason}"}
    vehicle.receive(status(severity=Severity.WARNING))
    assert verdicts(vehicle.run()) == {"passed"}


def test_a_fault_of_one_of_two_batteries_refuses_arming() -> None:
    with LuaHost(DRIVER, **OURS, BATT2_MONITOR=29.0) as vehicle:
        vehicle.start()
        vehicle.run()
        vehicle.receive(status())
        vehicle.receive(status(1, fault_bits=1), component=181)
        assert verdicts(vehicle.run()) == {"failed battery 2: deep discharge"}


def test_a_no_go_of_the_service_refuses_arming_with_its_reason(vehicle: LuaHost) -> None:
    vehicle.receive(status())
    vehicle.receive(named("BMS_NOGO", 1.0))
    assert verdicts(vehicle.run()) == {"failed no go"}
    reason = "battery 1: 95 % last 684 s of the 1200 s planned"
    for chunk in messages.chunks(NO_GO_PREFIX + reason, 4, 1):
        vehicle.receive(chunk)
    assert verdicts(vehicle.run()) == {f"failed {reason[:41]}"}
    vehicle.receive(named("BMS_NOGO", 0.0))
    assert verdicts(vehicle.run()) == {"passed"}


def test_the_arming_check_can_be_turned_off() -> None:
    with LuaHost(DRIVER, **OURS, BMS_VETO=0.0) as vehicle:
        vehicle.start()
        vehicle.receive(status(fault_bits=1))
        effects = vehicle.run(1.0)
        assert verdicts(effects) == set()
        assert len(those(effects, "battery")) == 1


# The current.


def flying(vehicle: LuaHost) -> None:
    vehicle.do("A 1")
    vehicle.receive(status())
    vehicle.run()


def test_the_current_is_limited_while_a_limit_is_requested(vehicle: LuaHost) -> None:
    flying(vehicle)
    vehicle.receive(named("BMS_AMAX", 30.0))
    effects = vehicle.run()
    assert those(effects, "param") == ["MOT_BAT_CURR_MAX 30.000", "MOT_BAT_CURR_TC 1.000"]
    assert those(effects, "text") == ["4 dronebms: current limited to 30 A"]
    vehicle.receive(named("BMS_AMAX", 25.0))
    assert those(vehicle.run(), "param") == ["MOT_BAT_CURR_MAX 25.000", "MOT_BAT_CURR_TC 1.000"]
    vehicle.receive(named("BMS_AMAX", 25.0))
    assert those(vehicle.run(2.9), "param") == []
    vehicle.receive(named("BMS_AMAX", 0.0))
    effects = vehicle.run()
    assert sorted(those(effects, "param")) == ["MOT_BAT_CURR_MAX 0.000", "MOT_BAT_CURR_TC 5.000"]


def test_three_seconds_of_silence_restore_the_limit(vehicle: LuaHost) -> None:
    flying(vehicle)
    vehicle.receive(named("BMS_AMAX", 30.0))
    vehicle.run(2.95)
    effects = vehicle.run(0.1)
    assert sorted(those(effects, "param")) == ["MOT_BAT_CURR_MAX 0.000", "MOT_BAT_CURR_TC 5.000"]
    assert those(vehicle.run(10.0), "param") == []
    vehicle.receive(named("BMS_AMAX", 28.0))
    assert those(vehicle.run(), "param")[0] == "MOT_BAT_CURR_MAX 28.000"


def test_a_limit_of_the_user_is_never_raised() -> None:
    with LuaHost(DRIVER, **OURS, MOT_BAT_CURR_MAX=20.0, MOT_BAT_CURR_TC=2.0) as vehicle:
        vehicle.start()
        flying(vehicle)
        vehicle.receive(named("BMS_AMAX", 30.0))
        assert those(vehicle.run(), "param")[0] == "MOT_BAT_CURR_MAX 20.000"
        effects = vehicle.run(4.0)
        assert "MOT_BAT_CURR_TC 2.000" in those(effects, "param")


@pytest.mark.parametrize("value", [-5.0, 0.0, float("nan"), float("-inf")])
def test_a_current_that_is_not_positive_limits_nothing(vehicle: LuaHost, value: float) -> None:
    flying(vehicle)
    vehicle.receive(named("BMS_AMAX", value))
    assert those(vehicle.run(1.0), "param") == []


def test_nothing_is_limited_on_the_ground(vehicle: LuaHost) -> None:
    vehicle.receive(named("BMS_AMAX", 30.0))
    assert those(vehicle.run(), "param") == []
    flying(vehicle)
    vehicle.do("A 0")
    assert sorted(those(vehicle.run(), "param")) == [
        "MOT_BAT_CURR_MAX 0.000",
        "MOT_BAT_CURR_TC 5.000",
    ]


def test_a_vehicle_without_the_parameter_is_reported_once() -> None:
    with LuaHost(DRIVER, **OURS) as vehicle:
        vehicle.start()
        flying(vehicle)
        vehicle.receive(named("BMS_AMAX", 30.0))
        texts = those(vehicle.run(1.0), "text")
        assert texts == ["4 dronebms: no MOT_BAT_CURR_MAX, no current limit"]


# Operation.


def test_the_driver_sends_its_state_each_second_on_the_link_of_the_service(
    vehicle: LuaHost,
) -> None:
    assert sent(vehicle.run(5.0)) == []
    vehicle.receive_frame(bytes(status().pack(mavlink.MAVLink(None, 1, 180))), chan=3)
    effects = vehicle.run(5.0)
    assert sent(effects) == BEAT * 5
    assert {line.split(" ")[0] for line in those(effects, "send")} == {"3"}
    vehicle.do("A 1")
    vehicle.receive(named("BMS_AMAX", 30.0))
    assert ("BMS_LIM", 30.0) in sent(vehicle.run(1.0))


def test_the_clock_may_wrap_around(vehicle: LuaHost) -> None:
    vehicle.now_ms = 2**32 - 2000
    vehicle.run()
    vehicle.receive(status())
    assert verdicts(vehicle.run(3.0)) == {"passed"}
    assert verdicts(vehicle.run(0.2)) == {"failed battery 1: no data"}


def test_random_payloads_do_not_stop_the_driver(vehicle: LuaHost) -> None:
    random = Random(3)  # noqa: S311 - junk
    for _ in range(500):
        number = random.choice([147, 370, 251, 253])
        payload = random.randbytes(random.randrange(64)).hex()
        vehicle.do(f"M 1 1 {random.randrange(180, 189)} {number} {payload}")
        effects = vehicle.run()
        assert those(effects, "E") == []
        assert not [text for text in those(effects, "text") if "lua:" in text], effects
    vehicle.receive(status())
    assert fields(vehicle.run())["voltage"] == "23.55"


def test_a_full_inbox_stays_within_the_instructions_of_a_run(
    vehicle: LuaHost,
) -> None:
    vehicle.do("A 1")
    cells = (4.0,) * 14
    for _ in range(25):
        vehicle.receive(status(cells_v=cells, voltage_v=56.0))
    assert those(vehicle.run(), "E") == []
    for component in range(180, 189):
        vehicle.receive(status(cells_v=cells, voltage_v=56.0), component)
        vehicle.receive(named("BMS_AMAX", 30.0), component)
    assert those(vehicle.run(1.0), "E") == []
    assert int(vehicle.do("C")[0]) < 8000


def test_the_driver_does_not_start_if_another_script_has_an_inbox() -> None:
    with LuaHost(DRIVER, **OURS) as vehicle:
        vehicle.do("I 2")
        effects = vehicle.start()
        assert those(effects, "text") == ["3 dronebms: not started: another script uses MAVLink"]
        assert effects[-1] == "end"


def test_a_later_init_of_another_script_is_reported_and_data_is_still_received(
    vehicle: LuaHost,
) -> None:
    vehicle.do("I 25")
    assert those(vehicle.run(1.1), "text") == ["4 dronebms: another script took the MAVLink inbox"]
    vehicle.receive(status())
    assert len(those(vehicle.run(), "battery")) == 1
    vehicle.do("I 1")
    assert those(vehicle.run(3.0), "E") == []


def test_the_driver_starts_again_when_scripting_is_restarted(vehicle: LuaHost) -> None:
    assert those(vehicle.do("R"), "text") == ["5 dronebms: driver 1 started"]
    vehicle.receive(status())
    effects = vehicle.run(1.5)
    assert len(those(effects, "battery")) == 1
    assert those(effects, "text") == []
