# SPDX-License-Identifier: Apache-2.0
"""The Lua driver in a Lua 5.3 interpreter, with ArduPilot's rules for every call."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Severity
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.driver_commands import NO_GO_PREFIX, VERSION, LuaDriver
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.lua_host import (
    LuaHost,
    acknowledged,
    fields,
    needs_lua,
    those,
)
from tests.mavlink_bridge.reports import a_report

pytestmark = needs_lua

DRIVER = Path(messages.__file__).parent / "ardupilot" / "dronebms.lua"
COMPUTER = 191
ACCEPTED, DENIED = 0, 2
OTHER_LINK, SAME_LINK = 1, 2
FIRST_ID = 3
LIMIT_PARAMETERS = {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}
OURS = {"MAV_SYSID": 1.0, "BATT_MONITOR": 29.0}


@pytest.fixture
def vehicle() -> Iterator[LuaHost]:
    with LuaHost(DRIVER, **OURS, **LIMIT_PARAMETERS) as made:
        assert those(made.start(), "text") == ["5 dronebms: driver 2 started"]
        made.run()
        serve(made)
        assert those(made.run(), "text") == ["5 dronebms: service 191 on link 1"]
        yield made


def status(index: int = 0, **values: Any) -> mavlink.MAVLink_battery_status_message:  # noqa: ANN401 - see a_report
    report = a_report(0.0, index, **values)
    return messages.battery_status(report, battery_id=FIRST_ID + index)


def a_verdict(batteries: int = 1, *, no_go: bool = False) -> mavlink.MAVLink_message:
    return LuaDriver().verdict(1, no_go=no_go, batteries=batteries, first_id=FIRST_ID)


def serve(vehicle: LuaHost, batteries: int = 1, *, no_go: bool = False) -> None:
    """Send the verdict that the service sends each second."""
    vehicle.receive(a_verdict(batteries, no_go=no_go), COMPUTER)


def limit(vehicle: LuaHost, max_a: float) -> None:
    vehicle.receive(LuaDriver().limit(1, max_a), COMPUTER)


def run_served(vehicle: LuaHost, seconds: float, batteries: int = 1) -> list[str]:
    """Run with the verdicts of the service, one a second."""
    effects = []
    for tenth in range(round(seconds * 10)):
        if tenth % 10 == 0:
            serve(vehicle, batteries)
        effects += vehicle.run(0.1)
    return effects


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


@pytest.mark.parametrize("cells_v", [(), (None,) * 6, (3.9, None, 3.9, 3.9, 3.9, 3.9)])
@pytest.mark.parametrize("voltage_v", [23.55, 4.2, 57.9, 80.5])
def test_a_pack_whose_cells_are_unknown_has_its_voltage_and_no_cells(
    vehicle: LuaHost, cells_v: tuple[float | None, ...], voltage_v: float
) -> None:
    """ArduPilot's BATTERY_STATUS then has the pack voltage; cells of 65535 mV would hide it."""
    vehicle.receive(status())
    assert fields(vehicle.run())["cell_count"] == "6"
    vehicle.receive(status(cells_v=cells_v, voltage_v=voltage_v))
    reported = fields(vehicle.run())
    assert float(reported["voltage"]) == voltage_v
    assert "65535" not in reported.get("cells", "")
    if voltage_v > 5.0:  # a lower one may be that of a single cell
        assert reported["cell_count"] == "0"
    vehicle.receive(status())
    assert fields(vehicle.run())["cell_count"] == "6"


def test_a_battery_without_a_voltage_is_ignored(vehicle: LuaHost) -> None:
    vehicle.receive(status(cells_v=(), voltage_v=None))
    assert those(vehicle.run(), "battery") == []


def test_the_cycle_count_is_that_of_smart_battery_info(vehicle: LuaHost) -> None:
    report = a_report(cycles=212.0, identity=Identity(serial=7, date=(2025, 1, 2)))
    vehicle.receive(messages.smart_battery_info(report, battery_id=FIRST_ID))
    vehicle.receive(status())
    assert fields(vehicle.run())["cycle_count"] == "212"
    vehicle.receive(messages.smart_battery_info(a_report(), battery_id=FIRST_ID))
    vehicle.receive(status())
    assert fields(vehicle.run())["cycle_count"] == "212"


def test_several_batteries_go_to_several_monitors() -> None:
    with LuaHost(DRIVER, BATT2_MONITOR=29.0, BATT3_MONITOR=29.0, BMS_BATT=2.0,
                          SYSID_THISMAV=1.0) as vehicle:  # fmt: skip
        vehicle.start()
        vehicle.run()
        serve(vehicle, batteries=3)
        vehicle.run()
        for index, pipeline in ((0, "1"), (1, "2")):
            vehicle.receive(status(index), component=180 + index)
            assert fields(vehicle.run())["index"] == pipeline
        vehicle.receive(status(2), component=181)
        assert those(vehicle.run(), "text") == ["4 dronebms: set BATT4_MONITOR to 29"]


def test_a_monitor_of_another_type_is_reported_once() -> None:
    with LuaHost(DRIVER, MAV_SYSID=1.0, BATT_MONITOR=4.0) as vehicle:
        vehicle.start()
        serve(vehicle)
        vehicle.run()
        warnings = []
        for _ in range(5):
            vehicle.receive(status())
            warnings += those(vehicle.run(), "text")
        assert warnings == ["4 dronebms: set BATT_MONITOR to 29"]


@pytest.mark.parametrize(
    ("system", "component"), [(2, 180), (1, 1), (1, 179), (1, 182), (1, 191), (255, 180)]
)
def test_messages_of_other_components_are_ignored(
    vehicle: LuaHost, system: int, component: int
) -> None:
    vehicle.receive(status(), component, system)
    effects = vehicle.run(0.1)
    assert those(effects, "battery") == []
    assert verdicts(effects) == {"failed battery 1: no data"}


@pytest.mark.parametrize("battery_id", [0, 2, 4, 255])
def test_batteries_with_other_ids_are_ignored(vehicle: LuaHost, battery_id: int) -> None:
    vehicle.receive(messages.battery_status(a_report(), battery_id=battery_id))
    assert those(vehicle.run(0.1), "battery") == []


# Arming.


def test_arming_requires_fresh_data_of_a_good_battery(vehicle: LuaHost) -> None:
    assert verdicts(vehicle.run()) == {"failed battery 1: no data"}
    vehicle.receive(status())
    assert verdicts(run_served(vehicle, 2.9)) == {"passed"}
    serve(vehicle)
    assert verdicts(vehicle.run(0.2)) == {"passed", "failed battery 1: no data"}
    vehicle.receive(status())
    assert verdicts(vehicle.run()) == {"passed"}


def test_arming_requires_a_verdict_of_the_service() -> None:
    with LuaHost(DRIVER, **OURS) as vehicle:
        vehicle.start()
        vehicle.receive(status())
        assert verdicts(vehicle.run(1.0)) == {"failed no service"}
        serve(vehicle, batteries=0)
        assert verdicts(vehicle.run()) == {"failed no battery data"}
        serve(vehicle, batteries=-1)  # the vehicle measures them
        assert verdicts(vehicle.run()) == {"passed"}
        vehicle.receive(a_verdict(-1, no_go=True), COMPUTER)
        assert verdicts(vehicle.run()) == {"failed no go"}
        serve(vehicle, batteries=0)
        assert verdicts(vehicle.run()) == {"failed no battery data"}
        serve(vehicle)
        vehicle.receive(status())
        assert verdicts(vehicle.run(2.9)) == {"passed"}
        vehicle.receive(status())
        assert verdicts(vehicle.run(1.0)) - {"passed"} == {"failed no service"}


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
        serve(vehicle, batteries=2)
        vehicle.receive(status())
        assert verdicts(vehicle.run()) == {"failed battery 2: no data"}
        vehicle.receive(status(1, fault_bits=1), component=181)
        assert verdicts(vehicle.run()) == {"failed battery 2: deep discharge"}


def test_a_no_go_of_the_service_refuses_arming_with_its_reason(vehicle: LuaHost) -> None:
    vehicle.receive(status())
    serve(vehicle, no_go=True)
    assert verdicts(vehicle.run()) == {"failed no go"}
    reason = "battery 1: 95 % last 684 s of the 1200 s planned"
    for chunk in messages.chunks(NO_GO_PREFIX + reason, 4, 1):
        vehicle.receive(chunk, COMPUTER)
    assert verdicts(vehicle.run()) == {f"failed {reason[:41]}"}
    serve(vehicle)
    assert verdicts(vehicle.run()) == {"passed"}


def test_the_arming_check_can_be_turned_off() -> None:
    with LuaHost(DRIVER, **OURS, BMS_VETO=0.0) as vehicle:
        vehicle.start()
        serve(vehicle)
        vehicle.receive(status(fault_bits=1))
        effects = vehicle.run(1.0)
        assert verdicts(effects) == set()
        assert len(those(effects, "battery")) == 1


# The current.


def flying(vehicle: LuaHost) -> None:
    vehicle.do("A 1")
    serve(vehicle)
    vehicle.receive(status())
    vehicle.run()


def test_the_current_is_limited_while_a_limit_is_requested(vehicle: LuaHost) -> None:
    flying(vehicle)
    limit(vehicle, 30.0)
    effects = vehicle.run()
    assert those(effects, "param") == ["MOT_BAT_CURR_MAX 30.000", "MOT_BAT_CURR_TC 1.000"]
    assert those(effects, "text") == ["4 dronebms: current limited to 30 A"]
    limit(vehicle, 25.0)
    assert those(vehicle.run(), "param") == ["MOT_BAT_CURR_MAX 25.000", "MOT_BAT_CURR_TC 1.000"]
    limit(vehicle, 25.0)
    assert those(vehicle.run(2.9), "param") == []
    limit(vehicle, 0.0)
    effects = vehicle.run()
    assert sorted(those(effects, "param")) == ["MOT_BAT_CURR_MAX 0.000", "MOT_BAT_CURR_TC 5.000"]


@pytest.mark.parametrize("own_a", [0.0, 20.0])
def test_the_lift_motors_of_a_quadplane_are_limited_and_restored(own_a: float) -> None:
    own = {"Q_M_BAT_CURR_MAX": own_a, "Q_M_BAT_CURR_TC": 5.0}
    with LuaHost(DRIVER, **OURS, **own) as vehicle:
        vehicle.start()
        flying(vehicle)
        limit(vehicle, 30.0)
        expected = min(30.0, own_a or 30.0)
        effects = those(vehicle.run(), "param")
        assert effects == [f"Q_M_BAT_CURR_MAX {expected:.3f}", "Q_M_BAT_CURR_TC 1.000"]
        effects = those(vehicle.run(4.0), "param")
        assert sorted(effects) == [f"Q_M_BAT_CURR_MAX {own_a:.3f}", "Q_M_BAT_CURR_TC 5.000"]


def test_three_seconds_of_silence_restore_the_limit(vehicle: LuaHost) -> None:
    flying(vehicle)
    limit(vehicle, 30.0)
    vehicle.run(2.95)
    effects = vehicle.run(0.1)
    assert sorted(those(effects, "param")) == ["MOT_BAT_CURR_MAX 0.000", "MOT_BAT_CURR_TC 5.000"]
    assert those(vehicle.run(10.0), "param") == []
    limit(vehicle, 28.0)
    assert those(vehicle.run(), "param")[0] == "MOT_BAT_CURR_MAX 28.000"


def test_a_limit_of_the_user_is_never_raised() -> None:
    with LuaHost(DRIVER, **OURS, MOT_BAT_CURR_MAX=20.0, MOT_BAT_CURR_TC=2.0) as vehicle:
        vehicle.start()
        flying(vehicle)
        limit(vehicle, 30.0)
        assert those(vehicle.run(), "param")[0] == "MOT_BAT_CURR_MAX 20.000"
        effects = vehicle.run(4.0)
        assert "MOT_BAT_CURR_TC 2.000" in those(effects, "param")


def test_a_limit_that_the_user_changes_is_set_again_and_restored_to_the_new_value() -> None:
    with LuaHost(DRIVER, **OURS, MOT_BAT_CURR_MAX=80.0, MOT_BAT_CURR_TC=5.0) as vehicle:
        vehicle.start()
        flying(vehicle)
        limit(vehicle, 30.0)
        vehicle.run()
        vehicle.do("P MOT_BAT_CURR_MAX 60")
        limited = ["MOT_BAT_CURR_MAX 30.000", "MOT_BAT_CURR_TC 1.000"]
        assert those(vehicle.run(), "param") == limited
        vehicle.do("P MOT_BAT_CURR_MAX 20")  # never raised
        vehicle.do("P MOT_BAT_CURR_TC 2")
        assert those(vehicle.run(), "param") == ["MOT_BAT_CURR_MAX 20.000", limited[1]]
        assert those(vehicle.run(1.0), "param") == []
        vehicle.do("P MOT_BAT_CURR_MAX 70")
        limit(vehicle, 0.0)
        effects = sorted(those(vehicle.run(), "param"))
        assert effects == ["MOT_BAT_CURR_MAX 70.000", "MOT_BAT_CURR_TC 2.000"]
        limit(vehicle, 30.0)
        assert those(vehicle.run(), "param") == limited


@pytest.mark.parametrize("value", [-5.0, 0.0, float("nan"), float("-inf")])
def test_a_current_that_is_not_positive_limits_nothing(vehicle: LuaHost, value: float) -> None:
    flying(vehicle)
    limit(vehicle, value)
    assert those(vehicle.run(1.0), "param") == []


def test_nothing_is_limited_on_the_ground(vehicle: LuaHost) -> None:
    limit(vehicle, 30.0)
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
        limit(vehicle, 30.0)
        texts = those(vehicle.run(1.0), "text")
        assert texts == ["4 dronebms: no MOT_BAT_CURR_MAX, no current limit"]


# The service.


def test_every_command_of_the_service_is_acknowledged_to_it_on_its_link() -> None:
    with LuaHost(DRIVER, **OURS) as vehicle:
        vehicle.start()
        assert acknowledged(vehicle.run(5.0)) == []
        vehicle.receive(a_verdict(), 55, chan=3)
        vehicle.receive(LuaDriver().limit(1, 30.0), 55, chan=3)
        effects = vehicle.run(1.0)
        assert acknowledged(effects) == [(ACCEPTED, VERSION, 0, 1, 55)] * 2
        assert {line.split(" ")[0] for line in those(effects, "send")} == {"3"}


@pytest.mark.parametrize("version", [0.0, 1.0, 3.0, float("nan"), float("inf")])
def test_a_service_of_another_version_is_denied_and_reported_once(version: float) -> None:
    with LuaHost(DRIVER, **OURS) as vehicle:
        vehicle.start()
        message = a_verdict()
        message.param1 = version
        effects = []
        for _ in range(5):
            vehicle.receive(message, COMPUTER)
            vehicle.receive(status())
            effects += vehicle.run(0.5)
        assert acknowledged(effects) == [(DENIED, VERSION, 0, 1, COMPUTER)] * 5
        assert len(those(effects, "text")) == 1
        assert "update one" in those(effects, "text")[0]
        assert those(effects, "battery") == []
        assert verdicts(effects) == {"failed no service"}


@pytest.mark.parametrize(
    ("field", "value"), [("command", 31010), ("target_system", 2), ("target_component", 191)]
)
def test_other_commands_are_left_to_others(vehicle: LuaHost, field: str, value: int) -> None:
    message = a_verdict(no_go=True)
    setattr(message, field, value)
    vehicle.receive(message, COMPUTER)
    assert acknowledged(vehicle.run()) == []


# A second sender.


def test_a_battery_on_another_link_is_ignored_and_reported_and_refuses_arming(
    vehicle: LuaHost,
) -> None:
    vehicle.receive(status())
    assert verdicts(vehicle.run()) == {"passed"}
    for _ in range(20):
        vehicle.receive(status(cells_v=(), voltage_v=9.0), chan=2, sender="forger")
    effects = run_served(vehicle, 1.0)
    assert those(effects, "battery") == []
    assert those(effects, "text") == ["4 dronebms: second sender of 180 on link 2"]
    assert verdicts(effects) == {"failed second sender of a battery"}
    serve(vehicle)
    assert acknowledged(vehicle.run()) == [(ACCEPTED, VERSION, OTHER_LINK, 1, COMPUTER)]
    for _ in range(10):
        vehicle.receive(status())
        run_served(vehicle, 1.0)
    vehicle.receive(status())
    assert verdicts(vehicle.run()) == {"passed"}


@pytest.mark.parametrize(("component", "chan"), [(191, 2), (190, 1), (55, 0), (180, 1)])
def test_a_second_service_is_denied_and_reported(
    vehicle: LuaHost, component: int, chan: int
) -> None:
    flying(vehicle)
    vehicle.receive(LuaDriver().limit(1, 1.0), component, chan=chan, sender="forger")
    effects = vehicle.run(0.2)
    assert those(effects, "param") == []
    assert (DENIED, VERSION, OTHER_LINK, 1, component) in acknowledged(effects)
    assert those(effects, "text") == [f"4 dronebms: second sender of {component} on link {chan}"]


def test_our_own_frames_that_come_back_on_another_link_are_no_second_sender(
    vehicle: LuaHost,
) -> None:
    codec = mavlink.MAVLink(None, 1, 180)
    late: list[bytes] = []
    effects = []
    for _ in range(100):
        late.append(bytes(status().pack(codec)))
        codec.seq = (codec.seq + 1) % 256
        vehicle.receive_frame(late[-1], chan=1)
        for chan in (1, 2):
            vehicle.receive_frame(late[max(len(late) - 3, 0)], chan=chan)
        effects += run_served(vehicle, 0.1)
    assert those(effects, "text") == []
    assert len(those(effects, "battery")) == 100


def test_another_program_with_the_component_of_the_service_does_not_refuse_arming(
    vehicle: LuaHost,
) -> None:
    effects: list[str] = []
    for _ in range(20):
        vehicle.receive(status())
        for chan in (1, 2):
            vehicle.receive(messages.chunks("hello", 6, 0)[0], 191, chan=chan, sender=f"{chan}")
        effects = run_served(vehicle, 0.5)
    assert verdicts(effects) == {"passed"}


def test_a_second_sender_on_the_same_link_is_noticed_by_its_sequence_numbers(
    vehicle: LuaHost,
) -> None:
    effects = []
    for _ in range(10):
        vehicle.receive(status())
        vehicle.receive(status(voltage_v=9.0), sender="forger")
        vehicle.receive(status(voltage_v=9.0), sender="forger")
        effects += run_served(vehicle, 0.5)
    assert "4 dronebms: second sender of 180 on link 1" in those(effects, "text")
    assert acknowledged(effects)[-1] == (ACCEPTED, VERSION, SAME_LINK, 1, COMPUTER)


def test_lost_frames_and_restarts_of_the_service_are_no_second_sender(vehicle: LuaHost) -> None:
    random = Random(2)  # noqa: S311 - losses
    effects = []
    for second in range(300):
        run = f"run {second // 60}"
        for _ in range(4):
            vehicle.receive(status(), sender=run)
        if random.random() < 0.3:
            vehicle._codecs[1, 180, run].seq += random.randrange(120)
            vehicle._codecs[1, 180, run].seq %= 256
        effects += run_served(vehicle, 1.0)
    assert those(effects, "text") == []
    assert {warnings for _, _, warnings, _, _ in acknowledged(effects)} == {0}


def test_the_link_of_the_service_can_be_configured() -> None:
    with LuaHost(DRIVER, **OURS, BMS_LINK=2.0) as vehicle:
        vehicle.start()
        vehicle.receive(a_verdict(), COMPUTER, chan=1)
        effects = vehicle.run()
        assert those(effects, "text") == ["4 dronebms: service on link 1, not BMS_LINK 2"]
        assert acknowledged(effects) == [(DENIED, VERSION, 0, 1, COMPUTER)]
        vehicle.receive(a_verdict(), COMPUTER, chan=2)
        assert those(vehicle.run(), "text") == ["5 dronebms: service 191 on link 2"]


def test_the_first_service_stays_however_long_it_is_silent(vehicle: LuaHost) -> None:
    vehicle.run(60.0)
    vehicle.receive(a_verdict(), COMPUTER, chan=2, sender="forger")
    assert acknowledged(vehicle.run())[0][0] == DENIED
    serve(vehicle)
    assert acknowledged(vehicle.run())[0][0] == ACCEPTED


# Operation.


def test_the_clock_may_wrap_around(vehicle: LuaHost) -> None:
    vehicle.now_ms = 2**32 - 2000
    serve(vehicle)
    vehicle.run()
    vehicle.receive(status())
    assert verdicts(run_served(vehicle, 2.9)) == {"passed"}
    serve(vehicle)
    assert "failed battery 1: no data" in verdicts(vehicle.run(0.2))


def test_random_payloads_do_not_stop_the_driver(vehicle: LuaHost) -> None:
    random = Random(3)  # noqa: S311 - junk
    for _ in range(500):
        number = random.choice([147, 370, 76, 253])
        payload = random.randbytes(random.randrange(64)).hex()
        component, sequence = random.choice([180, 181, 191, 42]), random.randrange(256)
        vehicle.do(f"M 1 1 {component} {number} {sequence} {payload}")
        effects = vehicle.run()
        assert those(effects, "E") == []
        assert not [text for text in those(effects, "text") if "lua:" in text], effects
    serve(vehicle)
    vehicle.receive(status())
    assert fields(vehicle.run())["voltage"] == "23.55"


def test_random_commands_do_not_stop_the_driver(vehicle: LuaHost) -> None:
    random = Random(4)  # noqa: S311 - junk
    values = [0.0, 1.0, 2.0, -1.0, 1e30, 254.0, float("nan"), float("inf"), -float("inf")]
    for _ in range(500):
        message = a_verdict()
        for name in ("param1", "param2", "param3", "param4", "param5"):
            setattr(message, name, random.choice(values))
        message.param1 = random.choice([VERSION, *values])
        vehicle.receive(message, COMPUTER)
        vehicle.receive(status())
        effects = vehicle.run()
        assert those(effects, "E") == []
        assert not [text for text in those(effects, "text") if "lua:" in text], effects


def test_a_full_inbox_stays_within_the_instructions_of_a_run(
    vehicle: LuaHost,
) -> None:
    vehicle.do("A 1")
    cells = (4.0,) * 14
    for _ in range(25):
        vehicle.receive(status(cells_v=cells, voltage_v=56.0))
    assert those(vehicle.run(), "E") == []
    serve(vehicle, batteries=9)
    for index in range(9):
        vehicle.receive(status(index, cells_v=cells, voltage_v=56.0), min(180 + index, 181))
        vehicle.receive(LuaDriver().limit(1, 30.0), COMPUTER)
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
    assert those(vehicle.do("R"), "text") == ["5 dronebms: driver 2 started"]
    serve(vehicle)
    vehicle.receive(status())
    effects = vehicle.run(1.5)
    assert len(those(effects, "battery")) == 1
    assert those(effects, "text") == ["5 dronebms: service 191 on link 1"]
