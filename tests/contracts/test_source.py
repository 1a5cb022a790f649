# SPDX-License-Identifier: Apache-2.0
"""Contract of every source of snapshots."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import Clock, SystemClock, VirtualClock
from dronebms.core.pack_data import PackData
from dronebms.core.report import Source
from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.bus_battery import BusBattery
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import CanFrame
from dronebms.flightlogs import FlightOptions, FlightSource, read_csv_log
from dronebms.recording.gauge_tap import PlayedGauge, SteppedGauge, TappedGauge, TappedSource
from dronebms.recording.records import Recorded
from dronebms.service.sources.bus_threads import BusThread, PolledGauge
from mavlink_bridge.protocol.vehicle_battery import SentReports, VehicleBattery
from sim.emulator.world import World, open_virtual
from sim.source_contract import ContractError, check_silence, check_snapshot, check_snapshots
from smartbattery.bus import Bus
from smartbattery.bus_trace import Transfer
from smartbattery.gauge import Gauge
from smartbattery.gauge_state import GaugeState
from smartbattery.registers import ADDRESS
from smartbattery.snapshot import Snapshot
from tests.dronecan.packs import AUX, GAUGE, GAUGE_AUX, INFO, frames, library_value
from tests.dronecan.wire import Wire, can_bus
from tests.mavlink_bridge.protocol.test_battery_sample import status as battery_status

END_S = 20.0
Polls = list[tuple[float, tuple[Transfer, ...]]]


def nothing(*_: object) -> None:
    """Discard a poll."""


def virtual_bus() -> tuple[Bus, World, VirtualClock]:
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1)
    return bus, world, clock


class Stepped:
    """A source, and the clock of its virtual bus."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self.is_threaded = isinstance(source, PolledGauge)
        self._clock = clock

    def poll(self, now_s: float) -> Snapshot:
        """Advance the clock and poll."""
        self._clock.sleep_until(now_s)
        return self._source.poll(now_s)


def gauge() -> Stepped:
    bus, _, clock = virtual_bus()
    return Stepped(Gauge(bus), clock)


def stepped() -> Stepped:
    bus, _, clock = virtual_bus()
    return Stepped(SteppedGauge(TappedGauge(bus, ADDRESS, 6), 0, nothing), clock)


class Played:
    """A recorded gauge, played step by step."""

    def __init__(self) -> None:
        bus, world, clock = virtual_bus()
        polls: Polls = []

        def store(
            _index: int, now_s: float, transfers: Sequence[Transfer], _known: GaugeState
        ) -> None:
            polls.append((now_s, tuple(transfers)))

        source = SteppedGauge(TappedGauge(bus, ADDRESS, 6), 0, store)
        for step in range(int(END_S * 2)):
            clock.sleep_until(step / 2)
            source.poll(step / 2)
        self._ahead = polls
        self._gauge = PlayedGauge(Recorded(world.pack_data(), ADDRESS))

    def poll(self, now_s: float) -> Snapshot:
        """Play the polls until now."""
        while self._ahead and self._ahead[0][0] <= now_s:
            self._gauge.play(*self._ahead.pop(0))
        return self._gauge.poll(now_s)


def log(tmp_path: Path) -> FlightSource:
    rows = "".join(f"{step / 2},24.0,10.0,20.0\n" for step in range(int(END_S * 2)))
    path = tmp_path / "flight.csv"
    path.write_text("t_s,voltage_v,current_a,temperature_degc\n" + rows)
    return FlightSource(read_csv_log(path, options=FlightOptions(cells=6, chemistry="lipo")))


class Monitored:
    """A monitor of an autopilot that sends each second."""

    def __init__(self) -> None:
        self._battery = VehicleBattery(0, 6)
        self._source = TappedSource(self._battery, 0, nothing)
        self._due_s = 0.0

    def poll(self, now_s: float) -> Snapshot:
        """Receive what is due and poll."""
        while self._due_s <= min(now_s, END_S):
            status = battery_status((24_000,), current_battery=1000)
            self._battery.receive(status, SentReports(), self._due_s)
            self._due_s += 1.0
        return self._source.poll(now_s)


class OnCanBus:
    """A pack of a CAN bus that sends each second."""

    def __init__(self) -> None:
        self._wire = Wire()
        self._bus = can_bus(self._wire)
        pack = BusBattery(CanPack(BatteryAddress(CanUrl("mcast", "0"), 1)), self._bus)
        self._source = TappedSource(pack, 0, nothing)
        self._bus.step(0.0)
        self._due_s = 0.0

    def poll(self, now_s: float) -> Snapshot:
        """Receive what is due and poll."""
        while self._due_s <= min(now_s, END_S):
            for name, fields in ((INFO, GAUGE), (AUX, GAUGE_AUX)):
                for one in frames(library_value(name, fields)):
                    self._wire.send(CanFrame(*one))
            self._bus.step(self._due_s)
            self._due_s += 1.0
        return self._source.poll(now_s)


@pytest.fixture(params=["gauge", "stepped", "played", "log", "monitor", "can", "thread"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    makers: dict[str, Callable[[], Source]] = {
        "gauge": gauge,
        "stepped": stepped,
        "played": Played,
        "log": lambda: log(tmp_path),
        "monitor": Monitored,
        "can": OnCanBus,
    }
    if request.param in makers:
        yield makers[request.param]()
        return
    clock = SystemClock(speed=50.0)
    bus, _ = open_virtual("survey", clock, 1)
    polled = PolledGauge(TappedGauge(bus, ADDRESS, 6), 0, nothing)
    thread = BusThread("sim", [polled], clock, 0.1)
    yield Stepped(polled, clock)
    thread.close()


def test_every_snapshot_keeps_the_contract(source: Source) -> None:
    # A thread may have polled since the loop took its time: up to 0.2 s of real time.
    ahead_s = 10.0 if isinstance(source, Stepped) and source.is_threaded else 0.0
    times_s = [step / 2 for step in range(int(END_S * 2))]
    for snapshot in check_snapshots(source, times_s, ahead_s=ahead_s):
        assert snapshot.voltage_v is not None
        assert 20.0 < snapshot.voltage_v < 26.0
        age_s = snapshot.age_s("voltage_v")
        assert age_s is not None
        assert -ahead_s <= age_s <= 5.0


def test_long_after_the_last_value_every_value_is_unknown_and_the_trouble_is_reported(
    tmp_path: Path,
) -> None:
    sources: tuple[Source, ...] = (Played(), log(tmp_path), Monitored(), OnCanBus())
    for source in sources:
        for step in range(int(END_S * 2)):
            source.poll(step / 2)
        check_silence(source, END_S)


def broken(**changes: object) -> Snapshot:
    sound = Snapshot(1.0, voltage_v=24.0, read_at_s={"voltage_v": 0.5}, cells_v=(4.0,) * 6)
    return replace(sound, **changes)  # type: ignore[arg-type]  # values of a foreign package


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"t_s": 2.0}, "t_s is the time of the poll"),
        ({"voltage_v": float("nan")}, "voltage_v is 1 to 150"),
        ({"voltage_v": 24_000.0}, "voltage_v is 1 to 150"),
        ({"current_a": "12"}, "current_a is a number or None"),
        ({"current_a": True}, "current_a is a number or None"),
        ({"cells_v": (4.0, 0.0)}, "cell2_v is 0.5 to 5"),
        ({"cells_v": [4.0, 4.0]}, "cells_v is a tuple"),
        ({"cells_v": (4.0,) * 33}, "a pack has 32 cells at most"),
        ({"read_at_s": {"voltage_v": 1.5}}, "voltage_v is not read in the future"),
        ({"read_at_s": {}}, "read_at_s has the time of the voltage"),
        ({"trouble": "none"}, "with a voltage there is no trouble"),
        ({"voltage_v": None}, "trouble states why there is no voltage"),
    ],
)
def test_a_snapshot_that_breaks_a_rule_is_named(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ContractError, match=rule):
        check_snapshot(broken(**changes), 1.0)
    check_snapshot(broken(), 1.0)


def test_a_device_without_a_voltage_and_one_that_never_falls_silent_break_the_contract() -> None:
    with pytest.raises(ContractError, match="a device that answers gives a voltage"):
        check_snapshots(PlayedGauge(Recorded(PackData(LIPO), ADDRESS)), [])
    with pytest.raises(ContractError, match="voltage_v of a silent device is unknown"):
        check_silence(gauge(), END_S)
