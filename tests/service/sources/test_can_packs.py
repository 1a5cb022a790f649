# SPDX-License-Identifier: Apache-2.0
"""DroneCAN packs in the configuration and in a whole service."""

import builtins
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dronebms.analysis.replay import reports as replayed
from dronebms.cli.main import main
from dronebms.core.clock import VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report
from dronebms.core.toml_schema import validated
from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import CanFrame
from dronebms.flightlogs import FlightOptions
from dronebms.health.database import PackHistory
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.recording.gauge_tap import TappedSource
from dronebms.service.config import Config
from dronebms.service.config.battery_config import BatteryConfig, by_adapter
from dronebms.service.installation import refuse_unusable
from dronebms.service.machine import Wiring
from dronebms.service.service import Service
from dronebms.service.sources.can_packs import can_packs_of
from dronebms.simulation.sitl.rehearsal import VirtualMachine
from dronebms.telemetry import json_line
from sim.emulator.world import World, open_virtual
from smartbattery.bus import Bus
from smartbattery.gauge import Gauge
from smartbattery.snapshot import NO_GAUGE
from tests.dronecan.packs import AUX, INFO, NAN, frames, library_value
from tests.dronecan.wire import Wire, can_bus
from tests.mavlink_bridge.fake_vehicle import LOITER, FakeVehicle

if TYPE_CHECKING:
    from dronebms.dronecan.can_bus import CanBus

PACK = '[[battery]]\nbus = "dronecan:mcast:0#1"\n'
WIRED = '[[battery]]\nbus = "/dev/i2c-1"\n'
MCAST = CanUrl("mcast", "0")


def read(text: str) -> Config:
    return validated(Config, text, "c.toml")


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(text)
    return [line.removeprefix("c.toml: ") for line in str(refused.value).splitlines()]


def test_a_can_pack_is_a_battery_without_an_adapter() -> None:
    second = PACK.replace("#1", "#node42")
    config = read(PACK + WIRED + second)
    assert [battery.is_wired for battery in config.battery] == [False, True, False]
    assert [[index for index, _ in members] for members in by_adapter(config.battery)] == [[1]]
    assert [battery.place for battery in config.battery] == [
        "DroneCAN battery 1 on mcast:0",
        "/dev/i2c-1 address 0x0b",
        "DroneCAN node 42 on mcast:0",
    ]
    assert config.battery[0].can_pack() == CanPack(BatteryAddress(MCAST, 1))
    assert config.battery[1].can_pack() is None


def test_the_keys_of_a_can_pack_describe_what_its_maker_does_otherwise() -> None:
    keys = 'cells = 18\nnominal_v = 66.6\nreverse_current = ["BatteryInfo", "CBAT"]\nignore_status_flags = true\n'  # noqa: E501 - four keys
    (battery,) = read(PACK + keys).battery
    assert battery.can_pack() == CanPack(
        BatteryAddress(MCAST, 1), 18, 66.6, frozenset({1092, 20300}), ignore_flags=True
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PACK * 2, "battery.1 and battery.2: same DroneCAN battery 1 on mcast:0"),
        (PACK + PACK.replace("mcast:0", "mcast:00"), "battery.1 and battery.2: same DroneCAN"),
        (PACK + "address = 11\n", "battery.1: expected no address with a DroneCAN pack"),
        (PACK + 'gauge = "generic"\n', "battery.1: expected no gauge with a DroneCAN pack"),
        (WIRED + "nominal_v = 22.2\n", "battery.1: expected nominal_v with a DroneCAN pack alone"),
        (
            WIRED + "ignore_status_flags = true\n",
            "battery.1: expected ignore_status_flags with a DroneCAN pack alone",
        ),
        (PACK + "nominal_v = 22200\n", "battery.1.nominal_v: expected 2 to 150 V (in millivolts?"),
        (PACK + 'reverse_current = ["BatteryInfoAux"]\n', "battery.1.reverse_current.1: "),
        (PACK.replace("#1", ""), 'battery.1.bus: expected "dronecan:URL#ID"'),
        (PACK.replace("#1", "#300"), "battery.1.bus: expected a battery id from 0 to 255"),
        (PACK.replace("mcast:0", "can0"), "battery.1.bus: expected socketcan:INTERFACE"),
        (
            PACK.replace("mcast:0", "mavcan"),
            "[mavlink] url in addition to a bus dronecan:mavcan",
        ),
        (
            PACK.replace("mcast:0", "mavcan")
            + '[mavlink]\nurl = "udpout:127.0.0.1:14550"\nvehicle = "px4"\n',
            "a CAN bus of this computer: PX4 forwards none over MAVLink",
        ),
    ],
)
def test_a_can_pack_that_cannot_be_read_is_refused(text: str, complaint: str) -> None:
    (sentence,) = complaints(text)
    assert sentence.startswith(complaint)


def test_a_pack_behind_the_autopilot_is_reached_over_its_link() -> None:
    config = read(PACK.replace("mcast:0", "mavcan") + LINK)
    assert config.battery[0].place == "DroneCAN battery 1 on mavcan"


@pytest.mark.parametrize(
    ("section", "bus"),
    [
        ("battery_id = 1\n", "#1"),
        ("battery_id = 0\n", "#0"),
        ("node_id = 42\nbattery_id = 7\n", "#node42"),
    ],
)
def test_what_the_service_sends_to_the_bus_is_no_source(section: str, bus: str) -> None:
    text = PACK.replace("#1", bus) + WIRED + '[dronecan]\nurl = "mcast:0"\n' + section
    (sentence,) = complaints(text)
    assert sentence.startswith("battery.1: another id than ")
    assert sentence.endswith("on mcast:0, which [dronecan] sends itself")
    assert read(text.replace('"mcast:0"', '"mcast:1"')).battery[0].can
    assert read(text.replace(bus, "#99")).battery[0].can


def test_check_looks_at_the_bus_of_each_pack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(PACK.replace("mcast:0", "socketcan:nocan9") + LINK)
    assert main(["check", "-c", str(path)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "fails battery 1: socketcan:nocan9: there is no interface nocan9" in out


def test_a_pack_without_the_package_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name == "dronebms.dronecan.can_bus":
            raise ModuleNotFoundError("No module named 'dronecan'", name="dronecan")
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"a CAN bus needs dronecan: .*dronecan"):
        refuse_unusable(read(PACK))


def test_probe_reads_gauges_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--bus", "dronecan:socketcan:can0#1"]) == 2
    assert capsys.readouterr().err == (
        "dronebms: probe reads gauges on SMBus; run and status show a DroneCAN pack\n"
    )


# ---------------------------------------------------------------------- whole flights


class CanMachine(VirtualMachine):
    """A vehicle, and packs on a virtual wire."""

    def __init__(self, vehicle: FakeVehicle, wire: Wire, count: int) -> None:
        super().__init__(vehicle, [open_virtual("half_full", VirtualClock())[0]] * count)
        self._wire = wire
        self.buses: list[CanBus] = []

    def sources(  # type: ignore[override]  # other packs than virtual ones
        self, batteries: Sequence[BatteryConfig], wiring: Wiring
    ) -> dict[int, TappedSource]:
        """The packs of the wire."""
        self.buses = [can_bus(self._wire)]
        return can_packs_of(batteries, lambda _: self.buses[0], wiring.on_snapshot)


class Adapter:
    """A foreign node that sends the readings of the gauge of a virtual pack."""

    def __init__(self, bus: Bus, battery_id: int = 1, node: int = 42, serial: int = 4711) -> None:
        self._gauge = Gauge(bus)
        self._wire_ids = battery_id, node
        self.serial = serial
        self.changes: dict[str, object] = {}
        self._sent = 0

    def messages(self, now_s: float) -> list[CanFrame]:
        """Frames of what is due."""
        battery_id, node = self._wire_ids
        read = self._gauge.poll(now_s)
        if read.voltage_v is None or read.current_a is None or read.remaining_mah is None:
            return []
        info = {
            "temperature": 273.15 + (read.temperature_degc or 20.0), "voltage": read.voltage_v,
            "current": read.current_a, "battery_id": battery_id,
            "remaining_capacity_wh": read.remaining_mah / 1000.0 * NOMINAL_V,
            "full_charge_capacity_wh": (read.full_mah or 0.0) / 1000.0 * NOMINAL_V,
            "state_of_charge_pct": round(read.soc_pct or 0.0), "state_of_charge_pct_stdev": 2,
            "model_instance_id": self.serial, "model_name": b"Maker Pack 6S", "status_flags": 1,
        } | self.changes  # fmt: skip
        cells = tuple(v or NAN for v in read.cells_v)
        aux = {"voltage_cell": cells, "nominal_voltage": NOMINAL_V, "battery_id": battery_id}
        rows = [(AUX, aux), (INFO, info)] if self._sent % 2 == 0 else [(INFO, info)]
        self._sent += 1
        return [
            CanFrame(*one)
            for name, fields in rows
            for one in frames(library_value(name, fields), node, self._sent % 32)
        ]


class Flight:
    """A service whose packs are on a CAN bus; take-off at 20 s."""

    def __init__(
        self, text: str = PACK, more: str = "", *, scenario: str = "half_full", packs: int = 1
    ) -> None:
        self.config = read(text + RATED + LINK + more)
        self.vehicle = FakeVehicle()
        self.vehicle.armed = False
        self.vehicle.mode = LOITER
        self.clock = VirtualClock()
        self.worlds: list[World] = []
        self.adapters: list[Adapter] = []
        for number in range(1, packs + 1):
            bus, world = open_virtual(scenario, self.clock, seed=number)
            self.worlds.append(world)
            self.adapters.append(Adapter(bus, number, 40 + number, 4710 + number))
        self.wire = Wire()
        self.silent: set[int] = set()  # indices of adapters
        self.takes_off_s = 20.0
        self.each: Callable[[float], None] = lambda _: None

    def run(self, seconds: float, parts: dict[str, object] | None = None) -> list[Report]:
        """Reports of a run of the service, which restores the parts; `parts` are then its own."""
        with ExitStack() as stack:
            machine = CanMachine(self.vehicle, self.wire, len(self.config.battery))
            service = Service(self.config, stack, self.clock, machine)
            service.restore(parts or {})
            reports = list(service.reports(self._ticks(seconds, machine)))
            self.recalled = [pipeline.recalled for pipeline in service._pipelines]
            self.parts = json.loads(json.dumps(service.state(self.clock.now_s())))
        return reports

    def sent(self, kind: str) -> list[Any]:
        """Messages of a kind that the service has sent."""
        return [message for message in self.vehicle.received if message.get_type() == kind]

    def _ticks(self, seconds: float, machine: CanMachine) -> Iterator[float]:
        start_s = self.clock.now_s() + GAP_S
        for tick in range(round(seconds * 10)):
            self.clock.sleep_until(start_s + tick / 10)
            now_s = self.clock.now_s()
            for world in self.worlds:
                world.advance(now_s)
            self.vehicle.armed = now_s > self.takes_off_s
            if tick % 10 == 0:
                self.vehicle.beat()
            self.each(now_s)
            if tick % 5 == 0:
                for index, adapter in enumerate(self.adapters):
                    for frame in () if index in self.silent else adapter.messages(now_s):
                        self.wire.send(frame)
            machine.buses[0].step(now_s)
            yield now_s


RATED = "cells = 6\ncapacity_mah = 16000\n"
LINK = '[mavlink]\nurl = "udpout:127.0.0.1:14550"\n'
GAP_S = 0.3
NOMINAL_V = 22.2


def lines_of(reports: Iterable[Report]) -> list[str]:
    return [json_line.text(report) for report in reports]


def test_a_flight_on_a_can_pack_is_measured_estimated_and_reported() -> None:
    flight = Flight()
    last = flight.run(90.0)[-1]
    truth = flight.worlds[0].truth()
    assert last.snapshot.voltage_v == pytest.approx(truth.voltage_v, abs=0.1)
    assert last.snapshot.cells_v == pytest.approx(truth.cells_v, abs=0.02)
    assert last.estimate.soc_pct == pytest.approx(100 * truth.soc_frac, abs=8.0)
    assert last.estimate.remaining_s is not None
    assert (last.snapshot.identity.serial, last.snapshot.identity.device) == (4711, "Maker Pack 6S")
    assert last.status.severity == 0
    status = flight.sent("BATTERY_STATUS")[-1]
    assert status.voltages[0] == pytest.approx(1000 * (last.snapshot.cells_v[0] or 0), abs=30)


def test_two_packs_of_one_bus_fly_together() -> None:
    flight = Flight(PACK + RATED + PACK.replace("#1", "#2"), packs=2)
    reports = flight.run(40.0)
    serials = {(one.index, one.snapshot.identity.serial) for one in reports[-2:]}
    assert serials == {(0, 4711), (1, 4712)}
    assert {one.snapshot.voltage_v is not None for one in reports[-2:]} == {True}
    assert {message.id for message in flight.sent("BATTERY_STATUS")} == {0, 1}


def test_a_run_is_recorded_and_replays_to_the_same_lines(tmp_path: Path) -> None:
    flight = Flight(more=f'[recording]\ndir = "{tmp_path}"\n')
    live = lines_of(flight.run(40.0))
    (path,) = tmp_path.glob("*.rec")
    assert lines_of(replayed(path, FlightOptions(), lambda _: None)) == live


def test_a_flight_enters_the_history_of_its_pack(tmp_path: Path) -> None:
    flight = Flight(more=f'[state]\ndir = "{tmp_path}"\n')
    flight.run(60.0)
    (row,) = PackHistory(SqliteFile(tmp_path / FILE, writes=False), writes=False).flights()
    assert (row.pack, row.serial) == ("Maker Pack 6S 4711", 4711)


def test_what_was_learned_of_a_pack_is_looked_up_with_its_first_value(tmp_path: Path) -> None:
    flight = Flight(more=f'[state]\ndir = "{tmp_path}"\n')
    flight.run(10.0)
    (recalled,) = flight.recalled
    assert recalled is not None
    assert recalled.keys.pack == "Maker Pack 6S 4711"


def test_a_restart_in_flight_continues_with_the_same_pack() -> None:
    flight = Flight()
    before = flight.run(80.0)[-1].estimate
    reports = flight.run(15.0, flight.parts)
    after = reports[-1].estimate
    assert before.used_mah is not None
    assert after.used_mah is not None
    assert after.used_mah >= before.used_mah > 300.0


def test_silence_trips_its_limits_and_a_node_that_restarts_clears_them() -> None:
    flight = Flight()
    flight.run(40.0)
    flight.silent = {0}
    reports = flight.run(16.0, flight.parts)
    assert "lost" in reports[-1].status.active
    assert reports[-1].snapshot.trouble == "no battery 1 on mcast:0"
    flight.silent = set()
    reports = flight.run(25.0, flight.parts)
    assert reports[-1].status.severity == 0
    assert reports[-1].snapshot.identity.connection == 0


def test_a_current_of_the_other_sign_is_rejected_and_the_sentence_shows_it() -> None:
    flight = Flight()
    flight.each = lambda _: flight.adapters[0].changes.update(current=-30.0)
    last = flight.run(100.0)[-1]
    assert last.snapshot.current_a is None
    assert any(one.startswith("current -30.0 A") for one in last.snapshot.doubts)
    assert "implausible" in last.status.active


def test_status_flags_are_alerts_unless_the_maker_uses_them_otherwise() -> None:
    texts = []
    for keys in ("", "ignore_status_flags = true\n"):
        flight = Flight(PACK + keys)
        flight.adapters[0].changes["status_flags"] = 1 | 32 | 256
        reports = flight.run(15.0)
        texts.append([event.text for one in reports for event in one.status.events])
    assert texts == [["WARNING: gauge alert: overload; BMS error"], []]


def test_a_second_node_with_the_id_is_a_doubt_and_no_go() -> None:
    flight = Flight()
    bus, _ = open_virtual("half_full", flight.clock, seed=9)
    flight.adapters.append(Adapter(bus, 1, 77, 9999))
    last = flight.run(30.0)[-1]
    assert last.snapshot.identity.serial == 4711
    assert last.snapshot.voltage_v is not None
    assert last.snapshot.doubts == ("battery 1 sent by node 77 too: unused",)
    assert "implausible" in last.status.active


def test_a_pack_that_is_swapped_on_the_ground_is_another_one() -> None:
    flight = Flight()
    flight.takes_off_s = 1e9
    flight.run(20.0)
    bus, _ = open_virtual("survey", flight.clock, seed=5)
    flight.adapters.append(Adapter(bus, 1, 77, 9999))
    flight.silent = {0}
    last = flight.run(30.0, flight.parts)[-1]
    assert last.snapshot.identity.serial == 9999


def test_in_flight_another_pack_that_answers_is_refused() -> None:
    flight = Flight()

    def swap(now_s: float) -> None:
        flight.adapters[0].serial = 4711 if now_s < 60.0 else 9999

    flight.each = swap
    reports = flight.run(80.0)
    before = next(one for one in reversed(reports) if one.t_s < 59.0)
    assert before.snapshot.voltage_v is not None
    assert reports[-1].snapshot.other_pack == "serial 9999, not 4711"
    assert reports[-1].snapshot.voltage_v is None


def test_in_flight_a_second_node_with_the_id_does_not_replace_the_pack_that_is_silent() -> None:
    flight = Flight()
    bus, _ = open_virtual("half_full", flight.clock, seed=9)
    flight.adapters.append(Adapter(bus, 1, 77, 9999))

    def fall_silent(now_s: float) -> None:
        flight.silent = {0} if now_s > 50.0 else set()

    flight.each = fall_silent
    reports = flight.run(75.0)
    assert {one.snapshot.identity.serial for one in reports if one.t_s > 10.0} == {4711}
    last = reports[-1]
    assert (last.snapshot.voltage_v, last.snapshot.other_pack) == (None, "serial 9999, not 4711")
    assert "lost" in last.status.active


def test_in_a_rehearsal_the_pack_is_a_virtual_one() -> None:
    flight = Flight(scenario="survey")
    last = wired_flight(flight, 10.0)[-1]
    assert last.snapshot.voltage_v is not None
    assert last.snapshot.identity.gauge != NO_GAUGE


@pytest.mark.slow
def test_the_time_left_is_that_of_the_same_flight_by_smbus() -> None:
    flight = Flight(scenario="survey")
    wired = Flight(WIRED, scenario="survey")
    by_can = {round(one.t_s, 1): one.estimate for one in flight.run(600.0)}
    wired_reports = wired_flight(wired, 600.0)
    compared = within = 0
    for one in wired_reports:
        low_s, high_s = one.estimate.remaining_low_s, one.estimate.remaining_high_s
        can = by_can[round(one.t_s, 1)]
        if low_s is None or high_s is None or one.t_s < 60.0:
            continue
        compared += 1
        within += can.remaining_s is not None and low_s <= can.remaining_s <= high_s
    assert compared > 3000
    assert within / compared > 0.99


def wired_flight(flight: Flight, seconds: float) -> list[Report]:
    """The same flight with the gauge on SMBus."""
    bus, world = open_virtual("survey", flight.clock, seed=1)

    def ticks() -> Iterator[float]:
        start_s = flight.clock.now_s() + GAP_S
        for tick in range(round(seconds * 10)):
            flight.clock.sleep_until(start_s + tick / 10)
            world.advance(flight.clock.now_s())
            flight.vehicle.armed = flight.clock.now_s() > flight.takes_off_s
            if tick % 10 == 0:
                flight.vehicle.beat()
            yield flight.clock.now_s()

    with ExitStack() as stack:
        machine = VirtualMachine(flight.vehicle, [bus])
        service = Service(flight.config, stack, flight.clock, machine)
        return list(service.reports(ticks()))
