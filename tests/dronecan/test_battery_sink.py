# SPDX-License-Identifier: Apache-2.0
"""Packs as batteries on a virtual bus, received by a node of the package `dronecan`."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import dronecan
import pytest

from dronebms.core.report import Report, ReportedCharge
from dronebms.core.vehicle_state import VehicleState
from dronebms.dronecan.battery_sink import BatterySink
from dronebms.dronecan.config import DronecanConfig
from dronebms.dronecan.unique_id import unique_id
from tests.dronecan.reports import IDENTITY, report_at
from tests.dronecan.wire import Wire, can_bus, library_node

CONFIG = {"url": "mcast:0", "node_id": 60, "battery_id": 4}
LEAST_PCT = 6


class Flight:
    """A sink on a bus with a foreign receiver."""

    def __init__(self, indices: tuple[int, ...] = (0,), **config: object) -> None:
        wire = Wire()
        self.bus, self.peer = can_bus(wire), library_node(wire, 7)
        options = DronecanConfig.model_validate(CONFIG | config)
        self.sink = BatterySink(self.bus, options, indices, (1, 2), LEAST_PCT)
        self.received: list[tuple[float, Any]] = []
        self.now_s = 0.0
        for name in ("uavcan", "ardupilot", "cuav"):
            kinds = getattr(dronecan, name).equipment.power
            for kind in ("BatteryInfo", "BatteryInfoAux", "CBAT"):
                if hasattr(kinds, kind):
                    self.peer.add_handler(getattr(kinds, kind), self._take)
        self.fly(3.0)  # until the node has its id
        self.received.clear()

    def _take(self, event: Any) -> None:  # noqa: ANN401 - an untyped package
        self.received.append((self.now_s, event))

    def fly(self, seconds: float, *reports: Report) -> None:
        """Ten steps a second with the same reports."""
        for _ in range(round(10 * seconds)):
            for report in reports:
                self.sink(replace(report, t_s=self.now_s))
            self.bus.step(self.now_s)
            self.peer.spin(0)
            self.now_s = round(self.now_s + 0.1, 6)

    def of(self, kind: str) -> list[Any]:
        """The received transfers of a data type."""
        return [event for _, event in self.received if str(event.message).startswith(_prefix(kind))]


def _prefix(kind: str) -> str:
    space = {"BatteryInfo": "uavcan", "BatteryInfoAux": "ardupilot", "CBAT": "cuav"}[kind]
    return f"{space}.equipment.power.{kind}("


@pytest.fixture
def flight() -> Flight:
    return Flight()


def test_info_is_sent_twice_and_aux_once_a_second_before_it(flight: Flight) -> None:
    flight.fly(10.0, report_at(0.0))

    assert len(flight.of("BatteryInfo")) == 20
    assert len(flight.of("BatteryInfoAux")) == 10
    assert flight.of("CBAT") == []
    first, second = (event for _, event in flight.received[:2])
    assert str(first.message).startswith(_prefix("BatteryInfoAux"))
    assert str(second.message).startswith(_prefix("BatteryInfo"))


@pytest.mark.parametrize("rate_hz", [1.0, 4.0, 10.0])
def test_the_rate_is_the_configured_one(rate_hz: float) -> None:
    flight = Flight(rate_hz=rate_hz)

    flight.fly(10.0, report_at(0.0))

    assert len(flight.of("BatteryInfo")) == pytest.approx(10 * rate_hz, rel=0.1)


def test_each_pack_is_a_node_with_a_battery_id_of_its_own() -> None:
    flight = Flight((0, 2))

    flight.fly(
        2.0, report_at(0.0, 77.4), report_at(0.0, 50.0, index=1), report_at(0.0, 33.0, index=2)
    )

    found = {
        (event.transfer.source_node_id, event.message.battery_id, event.message.state_of_charge_pct)
        for event in flight.of("BatteryInfo")
    }
    assert found == {(60, 4, 77), (61, 5, 33)}


def test_a_silent_pack_sends_nothing_while_the_other_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    flight = Flight((0, 1))
    silent = report_at(0.0)
    silent = replace(silent, snapshot=silent.snapshot.unknown(0.0, "no reading for 3 s"))

    flight.fly(10.0, silent, report_at(0.0, index=1))
    assert {event.message.battery_id for event in flight.of("BatteryInfo")} == {5}
    flight.fly(1.0, report_at(0.0), report_at(0.0, index=1))

    assert {event.message.battery_id for event in flight.of("BatteryInfo")} == {4, 5}
    lines = [one.message for one in caplog.records if "DroneCAN" in one.message]
    assert lines == [
        "battery 1: DroneCAN not sent: no voltage",
        "battery 1: DroneCAN sent again",
    ]


def test_a_hot_swap_keeps_node_and_battery_id_and_changes_serial_number_and_name(
    flight: Flight,
) -> None:
    flight.fly(3.0, report_at(0.0, 20.0))
    out = report_at(0.0)
    flight.fly(6.0, replace(out, snapshot=out.snapshot.unknown(0.0, "no gauge")))
    fresh = report_at(0.0, 99.0)
    identity = replace(IDENTITY, serial=815, device="P30 6S")
    flight.fly(3.0, replace(fresh, snapshot=replace(fresh.snapshot, identity=identity)))

    events = flight.of("BatteryInfo")
    assert {(e.transfer.source_node_id, e.message.battery_id) for e in events} == {(60, 4)}
    packs = [(e.message.model_instance_id, bytes(e.message.model_name)) for e in events]
    assert list(dict.fromkeys(packs)) == [(4711, b"Tattu P22 6S lipo"), (815, b"Tattu P30 6S lipo")]
    # Transfers are numbered on: a receiver that counts them misses none.
    numbers = [e.transfer.transfer_id for e in events]
    assert numbers == [number % 32 for number in range(len(numbers))]


# ---------------------------------------------------------------------- PX4


def test_cbat_is_sent_with_every_info_where_it_is_configured() -> None:
    flight = Flight(cbat=True)

    flight.fly(5.0, report_at(0.0))

    assert len(flight.of("CBAT")) == len(flight.of("BatteryInfo")) == 10


def test_px4_gets_no_battery_without_a_charge_which_it_would_take_for_full() -> None:
    flight = Flight(cbat=True)

    flight.fly(5.0, replace(report_at(0.0), reported=ReportedCharge()))

    assert flight.received == []


@pytest.mark.parametrize("armed", [True, False, None])
def test_px4_gets_no_charge_at_which_it_shuts_down_unless_it_is_armed(
    armed: bool | None,  # noqa: FBT001 - a table of cases
) -> None:
    flight = Flight(cbat=True)

    flight.fly(5.0, replace(report_at(0.0, LEAST_PCT - 0.5), vehicle=VehicleState(armed=armed)))

    assert bool(flight.received) is (armed is True)


def test_ardupilot_gets_an_unknown_charge_as_unknown() -> None:
    flight = Flight()

    flight.fly(5.0, replace(report_at(0.0), reported=ReportedCharge()))

    assert {event.message.state_of_charge_pct for event in flight.of("BatteryInfo")} == {127}


# ---------------------------------------------------------------------- unique id


def test_a_unique_id_stays_and_differs_by_node_and_machine(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("8c9d2f5e\n")
    other.write_text("8c9d2f5f\n")
    missing = tmp_path / "missing"

    ids = {
        unique_id(number, sources)
        for number in (0, 1)
        for sources in ((one,), (other,), (missing,))
    }

    assert len(ids) == 6
    assert {len(one) for one in ids} == {16}
    assert unique_id(0, (missing, one)) == unique_id(0, (one, other))
    assert b"8c9d2f5e" not in unique_id(0, (one,))
