# SPDX-License-Identifier: Apache-2.0
"""A monitor of the autopilot as a source: frames as both flight stacks send them."""

from typing import Any

import pytest

from mavlink_bridge.protocol.vehicle_battery import MAX_AGE_S, SentReports, VehicleBattery
from smartbattery.snapshot import Snapshot
from tests.mavlink_bridge.protocol.test_battery_sample import status

CELLS = (4010, 4000, 3990, 4000)
PACK: dict[str, Any] = {"current_battery": 1234, "temperature": 2512, "battery_remaining": 80}
NO_REPORTS = SentReports()


def received(*rows: Any, cells: int = 4, sent: SentReports = NO_REPORTS) -> Snapshot:  # noqa: ANN401 - messages
    """Snapshot after messages, one a second."""
    battery = VehicleBattery(0, cells)
    for second, message in enumerate(rows):
        battery.receive(message, sent, float(second))
    return battery.poll(float(len(rows) - 1))


def test_a_power_module_gives_the_pack_alone_and_the_percentage_is_not_that_of_a_gauge() -> None:
    snapshot = received(status((16_000,), current_consumed=700, **PACK))
    assert snapshot == Snapshot(
        0.0, 16.0, 12.34, 25.12, identity=snapshot.identity, read_at_s=snapshot.read_at_s,
    )  # fmt: skip
    assert set(snapshot.read_at_s) == {"voltage_v", "current_a", "temperature_degc"}
    assert snapshot.identity.device == "monitor 0 of the vehicle"


def test_a_smart_battery_gives_its_cells_and_its_charge() -> None:
    snapshot = received(status(CELLS, **PACK))
    assert snapshot.cells_v == (4.01, 4.0, 3.99, 4.0)
    assert snapshot.voltage_v == pytest.approx(16.0)
    assert snapshot.soc_pct == 80.0


def test_a_divided_voltage_has_no_cells_until_two_differ() -> None:
    assert received(status((4000,) * 4, **PACK)).cells_v == ()
    assert received(status(CELLS), status((4000,) * 4)).cells_v == (4.0,) * 4


def test_a_simulated_px4_has_no_current() -> None:
    snapshot = received(status((16_000,), current_battery=-100))
    assert (snapshot.voltage_v, snapshot.current_a) == (16.0, None)


def test_the_largest_current_of_the_field_stands_for_more() -> None:
    snapshot = received(status(current_battery=10_000), status(current_battery=32_767))
    assert (snapshot.current_a, snapshot.beyond_a) == (None, 327.67)
    snapshot = received(status(current_battery=32_767), status(current_battery=10_000))
    assert (snapshot.current_a, snapshot.beyond_a) == (100.0, None)


def test_an_implausible_value_is_withheld_and_the_last_one_holds() -> None:
    snapshot = received(status(temperature=2000), status((500,), temperature=-9000))
    assert (snapshot.voltage_v, snapshot.temperature_degc) == (16.0, 20.0)
    assert snapshot.counts.withheld == 2
    assert (snapshot.age_s("voltage_v"), snapshot.trouble) == (1.0, None)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"current_battery": -1}, "current_a"),
        ({"current_battery": -100}, "current_a"),
        ({"current_battery": -32_768}, "current_a"),  # any larger charging current
        ({"current_battery": -32_767}, "current_a"),
        ({"temperature": 32_767}, "temperature_degc"),
        ({"battery_remaining": -1}, "soc_pct"),
        ({"battery_remaining": -128}, "soc_pct"),
    ],
)
def test_a_value_that_the_autopilot_reports_as_unknown_does_not_hold(
    fields: dict[str, int], name: str
) -> None:
    assert getattr(received(status(CELLS, **PACK)), name) is not None
    seen = received(status(CELLS, **PACK), status(CELLS, **(PACK | fields)))
    assert (getattr(seen, name), seen.beyond_a, seen.counts.withheld) == (None, None, 0)
    again = received(status(CELLS, **(PACK | fields)), status(CELLS, **PACK))
    assert getattr(again, name) is not None


def test_cells_and_voltage_of_different_messages_are_never_mixed() -> None:
    seen = received(status(CELLS, **PACK), status((16_000,), **PACK))
    assert (seen.voltage_v, seen.cells_v, seen.soc_pct) == (16.0, (None,) * 4, None)
    seen = received(status(CELLS, **PACK), status((), **PACK))
    assert (seen.voltage_v, seen.cells_v) == (None, (None,) * 4)
    assert seen.trouble == "monitor 0 of the vehicle reports no voltage"


def test_values_expire_and_the_reason_names_the_monitors_that_are_received() -> None:
    battery = VehicleBattery(1, 4)
    assert battery.poll(0.0).trouble == "no BATTERY_STATUS of monitor 1 of the vehicle"
    battery.receive(status(id=1), NO_REPORTS, 1.0)
    for monitor in (255, 0):
        battery.receive(status(id=monitor), NO_REPORTS, 2.0)
    assert battery.poll(1.0 + MAX_AGE_S).voltage_v == 16.0
    late = battery.poll(1.1 + MAX_AGE_S)
    assert late.voltage_v is None
    assert late.age_s("voltage_v") == pytest.approx(5.1)
    assert late.trouble == "no BATTERY_STATUS of monitor 1 of the vehicle (received: 0, 255)"


def test_a_monitor_without_a_pack_reports_no_voltage() -> None:
    assert received(status(())).trouble == "monitor 0 of the vehicle reports no voltage"


def test_another_number_of_cells_is_refused() -> None:
    snapshot = received(status(CELLS), cells=6)
    assert (snapshot.voltage_v, snapshot.cells_v) == (None, (None,) * 6)
    assert snapshot.trouble == "monitor 0 of the vehicle has 4 cells, 6 are configured"


@pytest.mark.parametrize("current_ca", [1234, -1])
def test_a_monitor_that_repeats_our_reports_is_no_source(current_ca: int) -> None:
    sent = SentReports()
    for second, mv in enumerate((16_000, 15_900, 15_800)):
        sent.add(status((mv,), current_battery=current_ca, id=3), float(second))
    echo = status((3976, 3976, 3974, 3974), current_battery=current_ca)
    snapshot = received(status((15_000,)), *[echo] * 7, sent=sent)
    assert snapshot.voltage_v is None
    assert snapshot.trouble == (
        "monitor 0 of the vehicle repeats the reports of this service: no source"
    )


@pytest.mark.parametrize(
    ("mv", "current_ca"), [(15_997, 1234), (16_000, 1236), (16_000, -1), (16_100, 1234)]
)
def test_a_monitor_that_measures_the_same_pack_is_a_source(mv: int, current_ca: int) -> None:
    sent = SentReports()
    sent.add(status((16_000,), current_battery=1234), 0.0)
    snapshot = received(status((mv,), current_battery=current_ca), sent=sent)
    assert snapshot.voltage_v == mv / 1000


def test_an_old_report_of_ours_is_no_echo() -> None:
    sent = SentReports()
    for mv, t_s in ((16_000, -MAX_AGE_S - 0.1), (15_000, 0.0)):
        sent.add(status((mv,)), t_s)
    assert received(status((16_000,)), sent=sent).voltage_v == 16.0
