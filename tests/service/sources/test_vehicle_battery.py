# SPDX-License-Identifier: Apache-2.0
"""A pack without a gauge: the battery monitor of the vehicle is the source of the service."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dronebms.analysis.replay import reports as replayed
from dronebms.core.clock import VirtualClock
from dronebms.core.report import Report
from dronebms.core.toml_schema import validated
from dronebms.flightlogs import FlightOptions
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.service.config import Config
from dronebms.service.service import Service
from dronebms.simulation.sitl.rehearsal import VirtualMachine
from dronebms.telemetry import json_line
from sim.emulator.world import open_virtual
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, LOITER, PX4, PX4_RTL, RTL, FakeVehicle
from tests.mavlink_bridge.protocol.test_battery_sample import status

MEASURED = '[[battery]]\nbus = "mavlink:0"\ncells = 6\ncapacity_mah = 16000\n'
GAUGE = '[[battery]]\nbus = "/dev/i2c-1"\n'
LINK = '[mavlink]\nurl = "udpout:127.0.0.1:14550"\n'
RETURN = '[[action]]\non = "charge_low"\ndo = "return"\n[[limit]]\nid = "charge_low"\ntrip = 52.0\nclear = 60.0\n'  # fmt: skip  # noqa: E501 - two rows
GAP_S = 3.0
PX4_LOITER = 4 << 16 | 3 << 24


class Flight:
    """A service and a vehicle whose power module measures a virtual pack; take-off at 20 s."""

    def __init__(self, text: str, autopilot: int = ARDUPILOT) -> None:
        self.config = validated(Config, text + LINK, "c.toml")
        self.vehicle = FakeVehicle(autopilot)
        self.vehicle.armed = False
        self.vehicle.mode = LOITER if autopilot == ARDUPILOT else PX4_LOITER
        self.clock = VirtualClock()
        self.bus, self.world = open_virtual("half_full", self.clock)
        self.has_current = True
        self.repeats_ours = False

    def run(self, seconds: float, parts: dict[str, object] | None = None) -> list[Report]:
        """Reports of a run of the service, which restores the parts; `parts` are then its own."""
        with ExitStack() as stack:
            machine = VirtualMachine(self.vehicle, [self.bus] * len(self.config.battery))
            service = Service(self.config, stack, self.clock, machine)
            service.restore(parts or {})
            reports = list(service.reports(self._ticks(seconds)))
            self.parts = json.loads(json.dumps(service.state(self.clock.now_s())))
        return reports

    def sent(self, kind: str) -> list[Any]:
        """Messages of a kind that the service has sent."""
        return [message for message in self.vehicle.received if message.get_type() == kind]

    def _ticks(self, seconds: float) -> Iterator[float]:
        start_s = self.clock.now_s() + GAP_S
        for tick in range(round(seconds * 10)):
            self.clock.sleep_until(start_s + tick / 10)
            self.world.advance(self.clock.now_s())
            self.vehicle.armed = self.clock.now_s() > 20.0
            if tick % 10 == 0:
                self.vehicle.beat()
            if tick % 5 == 0:
                self._measure()
            yield self.clock.now_s()

    def _measure(self) -> None:
        truth, ours = self.world.truth(), self.sent("BATTERY_STATUS")
        if self.repeats_ours:
            if ours:
                self.vehicle.emit(
                    status(tuple(ours[-1].voltages), current_battery=ours[-1].current_battery)
                )
            return
        current_ca = round(truth.current_a * 100) if self.has_current else -1
        measured = status(
            (round(truth.voltage_v * 1000),), current_battery=current_ca, battery_remaining=99
        )
        self.vehicle.emit(measured)


def lines_of(reports: Iterator[Report] | list[Report]) -> list[str]:
    return [json_line.text(report) for report in reports]


@pytest.mark.parametrize("autopilot", [ARDUPILOT, PX4])
def test_a_flight_on_a_power_module_has_minutes_and_its_action_returns(autopilot: int) -> None:
    flight = Flight(MEASURED + RETURN, autopilot)
    reports = flight.run(200.0)
    last, truth = reports[-1], flight.world.truth()
    assert last.snapshot.voltage_v == pytest.approx(truth.voltage_v, abs=0.05)
    assert (last.snapshot.cells_v, last.snapshot.soc_pct) == ((), None)
    assert last.estimate.soc_pct == pytest.approx(100 * truth.soc_frac, abs=8.0)
    low_s, high_s = last.estimate.remaining_low_s, last.estimate.remaining_high_s
    assert low_s is not None
    assert high_s is not None
    assert 0.0 < low_s < high_s
    assert [number for number, *_ in flight.vehicle.commands] == [20]
    assert flight.vehicle.mode == (RTL if autopilot == ARDUPILOT else PX4_RTL)


def test_what_the_vehicle_measures_is_not_reported_back_but_announced() -> None:
    flight = Flight(MEASURED + RETURN)
    flight.run(100.0)
    kinds = {message.get_type() for message in flight.vehicle.received}
    assert not {"BATTERY_STATUS", "SMART_BATTERY_INFO"} & kinds
    assert {message.get_srcComponent() for message in flight.vehicle.received} == {191}
    texts = [message.text for message in flight.sent("STATUSTEXT")]
    assert any("charge" in text for text in texts)
    (verdict, *_) = [
        m for m in flight.sent("COMMAND_LONG") if m.command == 31_014 and m.param2 == 1
    ]
    assert (verdict.param4, verdict.param5) == (-1, -1)


def test_without_a_current_the_time_is_unknown() -> None:
    flight = Flight(MEASURED)
    flight.has_current = False
    last = flight.run(60.0)[-1]
    assert last.snapshot.voltage_v is not None
    assert (last.snapshot.current_a, last.estimate.remaining_s) == (None, None)


def test_a_silent_monitor_trips_the_limit_of_silence() -> None:
    flight = Flight(MEASURED)
    flight.run(40.0)
    flight.repeats_ours = True  # and there is nothing to repeat
    reports = flight.run(15.0, flight.parts)
    assert "silent" in reports[-1].status.active
    assert reports[-1].snapshot.trouble == "no BATTERY_STATUS of monitor 0 of the vehicle"


def test_a_temperature_that_is_not_measured_is_no_reason_against_a_take_off() -> None:
    assert Flight(MEASURED).run(15.0)[-1].preflight.go


def test_a_restart_in_flight_continues_with_the_same_pack() -> None:
    flight = Flight(MEASURED)
    before = flight.run(100.0)[-1].estimate
    reports = flight.run(10.0, flight.parts)
    after = next(one for one in reports if one.snapshot.voltage_v is not None).estimate
    assert before.used_mah is not None
    assert after.used_mah is not None
    assert after.used_mah >= before.used_mah > 500.0


@pytest.mark.parametrize(("pack_id", "packs"), [('pack_id = "blue 1"\n', ["blue 1"]), ("", [])])
def test_a_pack_with_a_name_has_a_history(tmp_path: Path, pack_id: str, packs: list[str]) -> None:
    flight = Flight(MEASURED + pack_id + f'[state]\ndir = "{tmp_path}"\n')
    before = flight.world.truth().soc_frac
    flight.run(320.0)
    history = SqliteFile(tmp_path / FILE, writes=False)
    flights = history.run("SELECT pack, flown_s, used_mah, cells FROM flight")
    assert [pack for pack, *_ in flights] == packs
    used_mah = (before - flight.world.truth().soc_frac) * 16000.0
    for _, flown_s, mah, cells in flights:
        assert (flown_s, cells) == (pytest.approx(300.0, abs=5.0), 6)
        assert mah == pytest.approx(used_mah, rel=0.1)
    assert [path.stem for path in (tmp_path / "learned").glob("*.json")] == packs


def test_a_run_is_recorded_and_replays_to_the_same_lines(tmp_path: Path) -> None:
    flight = Flight(f'{MEASURED}[recording]\ndir = "{tmp_path}"\n')
    live = lines_of(flight.run(60.0))
    (path,) = tmp_path.glob("*.rec")
    assert lines_of(replayed(path, FlightOptions(), lambda _: None)) == live


def test_a_monitor_that_is_fed_by_the_service_is_refused() -> None:
    flight = Flight(GAUGE + MEASURED)
    flight.repeats_ours = True
    reports = flight.run(60.0)
    assert reports[-2].snapshot.voltage_v is not None
    assert reports[-1].snapshot.voltage_v is None
    assert reports[-1].snapshot.trouble == (
        "monitor 0 of the vehicle repeats the reports of this service: no source"
    )
    assert not any(one.snapshot.voltage_v for one in reports if one.index == 1)


def test_of_a_gauge_and_a_monitor_the_gauge_alone_is_reported() -> None:
    flight = Flight(MEASURED + GAUGE)
    flight.run(30.0)
    assert {(m.get_srcComponent(), m.id) for m in flight.sent("BATTERY_STATUS")} == {(180, 1)}
    assert {m.param4 for m in flight.sent("COMMAND_LONG") if m.command == 31_014} == {1.0}
