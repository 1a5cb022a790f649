# SPDX-License-Identifier: Apache-2.0
"""The buses of the service: several packs, blocked adapters, packs that are swapped, two services.

Only smbus2 is a stand-in, in front of virtual packs; MAVLink goes over loopback.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

import pytest
import smbus2
from pymavlink.dialects.v20 import common as mavlink

import dronebms.service.service as module
import smartbattery.device_lock
from dronebms.analysis.replay import reports as replayed
from dronebms.core.background_jobs import Worker
from dronebms.core.clock import Clock, SystemClock, VirtualClock
from dronebms.core.errors import ConfigError, InUseError
from dronebms.core.report import PackSummary, Report
from dronebms.core.toml_schema import validated
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.estimation.learning.pack_memory import BackgroundPackMemory
from dronebms.flightlogs import FlightOptions
from dronebms.health.database import PackHistory
from dronebms.health.pack_label import PackLabel
from dronebms.health.sink import PackHistorySink
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.monitoring.pipeline import Pipeline
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.recording.reading import read_records
from dronebms.recording.recorder import Recorder
from dronebms.recording.records import Start
from dronebms.service.checkpoint import BackgroundCheckpoint
from dronebms.service.config import Config
from dronebms.service.service import Service, serve
from dronebms.service.signals import Signals
from dronebms.telemetry import json_line
from dronebms.telemetry.status_socket import read_status
from mavlink_bridge.bridge import Bridge
from sim.emulator.world import open_virtual
from sim.plant.faults import parse_fault
from smartbattery.bus import Bus
from smartbattery.errors import NackError
from smartbattery.registers import ADDRESS
from tests.adapters import AdapterStandIn, MuxBoard
from tests.mavlink_bridge.loopback import WAIT_S

SPEED = 20.0  # of the clock, to wait less


@dataclass
class Socket:
    """A connector whose pack can be exchanged or removed."""

    pack: Bus | None
    threads: set[str] = field(default_factory=set)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass the transfer on to the pack, if there is one."""
        self.threads.add(threading.current_thread().name)
        if self.pack is None:
            raise NackError("no pack")
        return self.pack.transfer(address, tx, rx_len)


Plug = Callable[[dict[str, Bus]], None]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plug:
    """Function that connects buses to device paths; locks are not those of a real service."""
    monkeypatch.setattr(smartbattery.device_lock, "_FOLDER", tmp_path)

    def plugged(buses: dict[str, Bus]) -> None:
        monkeypatch.setattr(smbus2, "SMBus", lambda path: AdapterStandIn(buses[path]))

    return plugged


@pytest.fixture
def ground() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.0)
        yield receiver


def received(ground: socket.socket) -> list[str]:
    """Types of the messages received so far."""
    parser = mavlink.MAVLink(None)
    kinds: list[str] = []
    while True:
        try:
            messages = parser.parse_buffer(ground.recv(2000)) or ()
        except BlockingIOError:
            return kinds
        kinds += [message.get_type() for message in messages]


def config_of(text: str, ground: socket.socket) -> Config:
    url = f'[mavlink]\nurl = "udpout:127.0.0.1:{ground.getsockname()[1]}"\n'
    return validated(Config, text + url, "x.toml")


def pack(clock: Clock, seed: int, name: str = "hover") -> Bus:
    return open_virtual(name, clock, seed)[0]


def battery(bus: str, more: str = "") -> str:
    return f'[[battery]]\nbus = "{bus}"\n{more}\n'


def serial_of(report: Report) -> int | None:
    return report.snapshot.identity.serial


# ------------------------------------------------------------------------- several packs


def test_two_packs_behind_a_multiplexer_are_distinguished_recorded_and_replayed(
    plug: Plug, ground: socket.socket, tmp_path: Path
) -> None:
    clock = SystemClock(SPEED)
    board = Socket(MuxBoard({(0x70, 0): pack(clock, 1), (0x71, 3): pack(clock, 2)}))
    plug({"/dev/i2c-1": board})
    text = battery("/dev/i2c-1", 'mux_address = 0x70\nmux_channel = 0\ngauge = "generic"')
    text += battery("/dev/i2c-1", "mux_address = 0x71\nmux_channel = 3")
    text += f'[recording]\ndir = "{tmp_path}/runs"\n'
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, clock).reports()
        reports: list[Report] = []
        known: Counter[int] = Counter()
        while min(known[0], known[1]) < 60:
            reports += (next(live), next(live))
            known.update(r.index for r in reports[-2:] if r.snapshot.voltage_v is not None)
            assert reports[-1].t_s < 20.0 * SPEED, "one pack does not answer"
    last = {report.index: report for report in reports if report.snapshot.voltage_v is not None}
    assert {index: serial_of(report) for index, report in last.items()} == {0: 2001, 1: 2002}
    # Two full packs may have equal readings at one moment, not at all.
    by_pack = [[r.snapshot.cells_v for r in reports if r.index == index] for index in (0, 1)]
    assert by_pack[0] != by_pack[1]
    for report in reports:
        assert serial_of(report) in (None, 2001 + report.index)
    assert board.threads == {"bus /dev/i2c-1"}

    path = tmp_path / "runs" / "run-00001.rec"
    start = next(read_records(path))
    assert isinstance(start, Start)
    assert [recorded.gauge for recorded in start.batteries] == ["generic", "auto"]
    again = list(replayed(path, FlightOptions(), lambda _: None))
    assert [decisions(report) for report in again] == [decisions(report) for report in reports]


def decisions(report: Report) -> dict[str, object]:
    """Predictions of a report, without the sentences about missing values."""
    texts = ("trouble",) if report.snapshot.voltage_v is not None else ("trouble", "go")
    return json_line.line(report) | dict.fromkeys(texts)


def test_a_blocked_adapter_delays_neither_the_loop_nor_the_pack_of_another_adapter(
    plug: Plug, ground: socket.socket
) -> None:
    clock, released, answered = SystemClock(), threading.Event(), []

    class Hanging:
        def transfer(self, _address: int, _tx: bytes, _rx_len: int) -> bytes:
            answered.append(released.wait(WAIT_S))
            raise NackError("no pack")

    good = Socket(pack(clock, 1))
    plug({"/dev/i2c-1": Hanging(), "/dev/i2c-2": good})
    text = battery("/dev/i2c-1") + battery("/dev/i2c-2") + battery("/dev/i2c-1", "address = 0x0c")
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, clock).reports()
        steps = [(next(live), next(live), next(live))]
        while sum(report.snapshot.voltage_v is not None for _, report, _ in steps) < 15:
            steps.append((next(live), next(live), next(live)))
            assert clock.now_s() < WAIT_S
        assert answered == []  # the adapter is blocked all the time
        released.set()
    assert {report.snapshot.voltage_v for report, *_ in steps} == {None}
    assert good.threads == {"bus /dev/i2c-2"}


# ------------------------------------------------------------------------- coming and going


def test_an_absent_pack_is_not_reported_as_empty_and_continues_when_it_is_back(
    plug: Plug, ground: socket.socket
) -> None:
    clock = SystemClock(SPEED / 2)
    bus, _ = open_virtual("hover", clock, 1, [parse_fault("unplug@30")])  # for 20 s
    plug({"/dev/i2c-1": bus})
    messages: dict[str, list[str]] = {"flying": [], "absent": [], "back": []}
    seen: dict[str, Report] = {}
    with ExitStack() as stack:
        live = Service(config_of(battery("/dev/i2c-1"), ground), stack, clock).reports()
        for report in live:
            if report.t_s > 70.0:
                break
            name = "flying" if report.t_s < 30 else "absent" if report.t_s < 50 else "back"
            kinds = received(ground)
            if name != "absent" or report.t_s > 34.0:  # a reading is valid for 2 s
                messages[name] += kinds
            if name == "absent" and report.t_s > 34.0:
                assert report.snapshot.voltage_v is None
                assert all(cell_v is None for cell_v in report.snapshot.cells_v)
                assert "no answer" in str(report.snapshot.trouble)
                assert not {"pack_low", "charge_critical", "time_critical"} & {
                    *report.status.active
                }
                assert report.estimate.remaining_s != 0.0
            if report.snapshot.voltage_v is not None or name == "absent":
                seen[name] = report
    assert "BATTERY_STATUS" in messages["flying"]
    assert "BATTERY_STATUS" not in messages["absent"]
    assert "HEARTBEAT" in messages["absent"]
    assert "BATTERY_STATUS" in messages["back"]
    before, after = seen["flying"].estimate, seen["back"].estimate
    assert before.soc_pct is not None
    assert after.soc_pct is not None
    assert 0 < before.soc_pct - after.soc_pct < 10  # the vehicle has flown meanwhile
    assert before.used_mah is not None
    assert after.used_mah is not None
    assert after.used_mah > before.used_mah


def flown(second_seed: int, *, gap_s: float) -> list[Report]:
    """Reports of a pack that is unplugged after 60 s; later it or another one is plugged in."""
    clock = VirtualClock()
    first, second = pack(clock, 1), pack(clock, second_seed)
    wire = Socket(first)
    source = SteppedGauge(TappedGauge(wire, ADDRESS, None), 0, lambda *_: None)
    pipeline = Pipeline(source, open_virtual("hover", clock, 1)[1].pack_data())
    reports = []
    for step in range(1800):
        t_s = step / 10
        clock.sleep_until(t_s)
        if t_s >= 60.0:
            wire.pack = None
        if t_s >= 60.0 + gap_s:
            wire.pack = first if second_seed == 1 else second
        reports.append(pipeline.step(t_s, UNKNOWN_VEHICLE))
    return reports


@pytest.mark.parametrize("gap_s", [3.0, 25.0, 90.0])
def test_the_estimate_of_a_pack_continues_when_it_is_plugged_in_again(gap_s: float) -> None:
    reports = flown(1, gap_s=gap_s)
    before, after = reports[595], reports[-1]
    assert serial_of(before) == serial_of(after) == 2001
    assert before.estimate.remaining_s is not None
    assert after.estimate.remaining_s is not None
    # Two minutes later, by a model that assumed the last load: within a third.
    gone_s = before.estimate.remaining_s - after.estimate.remaining_s
    assert abs(gone_s - 120.0) < before.estimate.remaining_s / 3
    assert (after.estimate.used_mah or 0) > 1.5 * (before.estimate.used_mah or 0) > 0
    assert min(r.estimate.soc_pct for r in reports if r.estimate.soc_pct is not None) > 50


@pytest.mark.parametrize("gap_s", [3.0, 25.0, 90.0])
def test_the_estimate_of_another_pack_starts_without_history(gap_s: float) -> None:
    reports = flown(7, gap_s=gap_s)
    before, after = reports[595], reports[-1]
    assert (serial_of(before), serial_of(after)) == (2001, 2007)
    drawn_mah = sum(r.snapshot.current_a or 0 for r in reports if serial_of(r) == 2007) / 36
    assert after.estimate.used_mah == pytest.approx(drawn_mah, rel=0.02)


@pytest.mark.parametrize("second_seed", [1, 7])
def test_an_absent_pack_has_no_values(second_seed: int) -> None:
    for report in flown(second_seed, gap_s=25.0)[630:849]:
        assert report.snapshot.voltage_v is None
        assert report.snapshot.soc_pct is None
        assert report.snapshot.current_a is None
        assert "no pack" in str(report.snapshot.trouble)
        assert report.estimate.remaining_s != 0.0


# ------------------------------------------------------------------------- the watchdog


class Hanging:
    """An adapter that blocks after some transfers, for the time of a test."""

    def __init__(self, pack: Bus, good: int) -> None:
        self.pack, self.good, self.released = pack, good, threading.Event()

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass the transfer on, or block."""
        self.good -= 1
        if self.good < 0:
            self.released.wait(20.0)
            raise NackError("held")
        return self.pack.transfer(address, tx, rx_len)


@pytest.mark.parametrize(
    ("good", "fed"),
    [(300, False), (0, True)],
    ids=["hangs in flight", "hangs from the start"],
)
def test_the_watchdog_is_fed_unless_a_gauge_that_has_answered_is_not_polled_any_more(
    plug: Plug,
    ground: socket.socket,
    good: int,
    fed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    clock = SystemClock(SPEED)
    hanging = Hanging(pack(clock, 1), good)
    plug({"/dev/i2c-1": hanging, "/dev/i2c-2": Socket(None)})  # the other one is unplugged
    with ExitStack() as stack:
        text = battery("/dev/i2c-1") + battery("/dev/i2c-2")
        service = Service(config_of(text, ground), stack, clock)
        stuck = [(report.t_s, service.is_stuck(report.t_s)) for report, _ in
                 zip(service.reports(), range(600), strict=False)]  # fmt: skip
        hanging.released.set()
    assert [is_stuck for t_s, is_stuck in stuck if t_s < 10.0] == [False] * sum(
        t_s < 10.0 for t_s, _ in stuck
    )
    assert stuck[-1][0] > 25.0
    assert stuck[-1][1] is not fed


# ------------------------------------------------------------------------- two services


def test_a_pack_of_another_service_is_rejected_before_anything_is_opened(
    plug: Plug, ground: socket.socket, tmp_path: Path
) -> None:
    clock = SystemClock(SPEED)
    board = MuxBoard({(0x70, 0): pack(clock, 1), (0x70, 1): pack(clock, 2)})
    plug({"/dev/i2c-1": board})
    first, second = (
        battery("/dev/i2c-1", f"mux_address = 0x70\nmux_channel = {channel}")
        for channel in range(2)
    )
    recorded = second + f'[recording]\ndir = "{tmp_path}/runs"\n'
    with ExitStack() as stack:
        Service(config_of(first, ground), stack, clock)
        # Another channel is another pack, but switching the multiplexer would disturb the first.
        with ExitStack() as other, pytest.raises(InUseError, match="0x0b is in use by dronebms"):
            Service(config_of(recorded, ground), other, clock)
        assert not (tmp_path / "runs").exists()
        with ExitStack() as other:
            elsewhere = battery("/dev/i2c-1", "address = 0x0c")
            Service(config_of(elsewhere, ground), other, clock)
    with ExitStack() as stack:
        Service(config_of(second, ground), stack, clock)


@pytest.fixture
def no_bus() -> Iterator[str]:
    name = f"i2c-9{os.getpid()}"
    yield name
    for folder in ("/run/lock", tempfile.gettempdir()):
        for path in Path(folder).glob(f"smartbattery-dev-{name}-*.lock"):
            path.unlink()


def service(tmp_path: Path, no_bus: str, more: str = "") -> "subprocess.Popen[str]":
    path = tmp_path / "dronebms.toml"
    path.write_text(battery(f"/dev/{no_bus}") + f'[mavlink]\nurl = "udpout:127.0.0.1:9"\n{more}')
    return subprocess.Popen(  # noqa: S603 - our own command
        (sys.executable, "-m", "dronebms.cli", "run", "-c", str(path)),
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_run_on_the_same_pack_ends_with_75_and_a_sentence(
    tmp_path: Path, no_bus: str
) -> None:
    with service(tmp_path, no_bus) as first:
        assert first.stderr is not None
        try:
            assert any("MAVLink to" in line for line in first.stderr)
            with service(tmp_path, no_bus) as second:
                _, stderr = second.communicate(timeout=WAIT_S)
            assert second.returncode == 75
            assert stderr == (
                f"dronebms: /dev/{no_bus} address 0x0b is in use by dronebms run "
                f"(process {first.pid})\n"
            )
        finally:
            first.kill()
    with service(tmp_path, no_bus) as third:  # a killed run leaves no lock
        assert third.stderr is not None
        assert any("MAVLink to" in line for line in third.stderr)
        third.terminate()
    assert third.returncode == 0


def test_a_second_run_on_the_same_state_ends_with_75_and_a_sentence(
    tmp_path: Path, no_bus: str
) -> None:
    state = f'[state]\ndir = "{tmp_path}/state"\n'
    with service(tmp_path, no_bus, state) as first:
        assert first.stderr is not None
        assert any("MAVLink to" in line for line in first.stderr)
        with service(tmp_path, no_bus, state) as second:
            _, stderr = second.communicate(timeout=WAIT_S)
        first.kill()
    assert second.returncode == 75
    assert stderr == f"dronebms: {tmp_path}/state/run.kept is in use by another dronebms run\n"


def test_a_run_of_another_file_waits_for_the_restart_of_one_that_crashed(
    tmp_path: Path, no_bus: str
) -> None:
    state = f'[state]\ndir = "{tmp_path}/state"\n'
    (tmp_path / "other").mkdir()
    with service(tmp_path, no_bus, state) as first:
        assert first.stderr is not None
        assert any("no gauge data" in line for line in first.stderr)  # 3 s: stored by then
        first.kill()
    with service(tmp_path / "other", no_bus, state) as other:
        _, stderr = other.communicate(timeout=WAIT_S)
    assert other.returncode == 75
    assert stderr == (
        f"dronebms: {tmp_path}/state/run.kept belongs to the run of {tmp_path}/dronebms.toml, "
        "which may restart: another configuration can use it 30 s after the end of that run\n"
    )
    with service(tmp_path, no_bus, state) as again:
        assert again.stderr is not None
        assert any("MAVLink to" in line for line in again.stderr)
        again.send_signal(signal.SIGINT)
    with service(tmp_path / "other", no_bus, state) as other:  # its user has ended the first one
        assert other.stderr is not None
        assert any("MAVLink to" in line for line in other.stderr)
        other.kill()


def test_a_recording_folder_that_cannot_be_written_does_not_stop_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = '[[battery]]\nbus = "sim:survey"\n[recording]\ndir = "/proc/none"\n'
    with ExitStack() as stack:
        reports = Service(validated(Config, text, "c.toml"), stack, SystemClock(SPEED)).reports()
        first = next(report for report in reports if report.snapshot.voltage_v is not None)
    assert first.snapshot.voltage_v == pytest.approx(25.1, abs=0.2)
    assert "recording in /proc/none is interrupted: No such file or directory" in caplog.text


def test_a_service_continues_the_commands_of_an_earlier_run(
    ground: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f'[[battery]]\nbus = "sim:survey"\n[recording]\ndir = "{tmp_path}"\n'
    config = config_of(text, ground)
    flown: dict[str, object] = {"in_flight": True, "followed": 4}
    restored = flown | {"last_command": None, "first_battery_id": 7}
    restored |= {"vehicle_battery_ids": [0, 3], "acting_enabled": False}

    def vehicle_after(**changes: object) -> object:
        with ExitStack() as stack:
            first = Service(config, stack, SystemClock(SPEED)).state(0.0)
            vehicle = {"format": 5, "state": restored}
            second = Service(config, stack, SystemClock(SPEED))
            second.restore(first | {"vehicle": vehicle} | changes)
            return second.state(0.0)["vehicle"]

    assert vehicle_after() == {"format": 5, "state": restored}
    new = restored | {"first_battery_id": None, "acting_enabled": True}
    new |= {"in_flight": False, "followed": None, "vehicle_battery_ids": []}
    assert vehicle_after(vehicle={"format": 99}) == {"format": 5, "state": new}
    assert "state of the bridge is not restored: format 99, not 5" in caplog.text
    with ExitStack() as stack:  # of another boot: the latches alone
        service = Service(config, stack, SystemClock(SPEED))
        service.restore({"latches": {"format": 1, "state": {"packs": {"a pack": ["failed"]}}}})
        service.restore({})
        assert service.state(0.0)["latches"] == {
            "format": 1,
            "state": {"packs": {"a pack": ["failed"]}},
        }


def test_a_service_that_cannot_start_leaves_no_empty_recording(tmp_path: Path) -> None:
    text = f'[[battery]]\nbus = "sim:nowhere"\n[recording]\ndir = "{tmp_path}"\n'
    with ExitStack() as stack, pytest.raises(ConfigError, match="nowhere"):
        Service(validated(Config, text, "c.toml"), stack, SystemClock())
    assert list(tmp_path.iterdir()) == []


def test_a_service_with_a_state_folder_stores_the_pack_history(
    ground: socket.socket, tmp_path: Path
) -> None:
    text = f'[[battery]]\nbus = "sim:hover"\n[state]\ndir = "{tmp_path}/state"\n'
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, SystemClock(SPEED)).reports()
        while next(live).t_s < 60.0:
            pass
    database = SqliteFile(tmp_path / "state" / FILE, writes=False)
    (row,) = PackHistory(database, writes=False).flights()
    assert row.serial == 2001
    assert row.flown_s is not None
    assert row.flown_s > 30.0


def test_a_viewer_receives_the_name_and_the_history_of_the_pack(
    ground: socket.socket, tmp_path: Path
) -> None:
    where = tmp_path / "s"
    text = f'[[battery]]\nbus = "sim:hover"\n[state]\ndir = "{tmp_path}/state"\n'
    text += f'[status]\nsocket = "{where}"\n'
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, SystemClock(SPEED)).reports()
        while next(live).t_s < 60.0:
            pass
    store = PackHistory(SqliteFile(tmp_path / "state" / FILE, writes=True), writes=True)
    (flight,) = store.flights()
    store.put_label(PackLabel(flight.pack, "blue 1"))
    found: list[PackSummary] = []

    def view() -> None:
        reports = read_status(where, SystemClock())
        found.extend(islice((one.history for one in reports if one.history is not None), 1))

    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, SystemClock()).reports()
        next(live)
        viewer = threading.Thread(target=view, daemon=True)
        viewer.start()
        while viewer.is_alive() and next(live).t_s < 30.0:
            pass
    assert [(one.name, one.flights) for one in found] == [("blue 1", 1)]


def test_a_damaged_pack_history_does_not_stop_the_service(
    ground: socket.socket, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(b"once upon a time " * 100)
    text = f'[[battery]]\nbus = "sim:hover"\n[state]\ndir = "{tmp_path}"\n'
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, SystemClock(SPEED)).reports()
        while next(live).snapshot.voltage_v is None:
            pass
    assert (tmp_path / FILE).read_bytes() == b"once upon a time " * 100


def test_a_signal_ends_the_service_between_two_steps_and_a_second_one_at_once() -> None:
    ended: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    earlier = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, lambda number, _: ended.append(number))
        signals = Signals()
        signals.collect_stops()
        stops = signals.stops
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stops, ended) == ([signal.SIGTERM], [])
        os.kill(os.getpid(), signal.SIGINT)
        assert ended == [signal.SIGINT]
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


class StoppedClock(SystemClock):
    """The clock of a process that was stopped: every thread sees the same gap at once."""

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self.gap_s = 0.0

    def now_s(self) -> float:
        """Time, with the absence."""
        return super().now_s() + self.gap_s


def test_an_absence_of_the_process_blames_nothing_and_its_recording_replays_to_the_same(
    plug: Plug, ground: socket.socket, tmp_path: Path
) -> None:
    clock = StoppedClock(1.0)
    plug({"/dev/i2c-1": pack(clock, 1)})
    text = battery("/dev/i2c-1") + f'[recording]\ndir = "{tmp_path}/runs"\n'
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, clock).reports()
        reports: list[Report] = []
        for gap_s in (12.0, 45.0, 0.0):
            known = 0
            while known < 25:
                reports.append(next(live))
                known += reports[-1].snapshot.voltage_v is not None
            clock.gap_s += gap_s
    gaps_s = [after.t_s - before.t_s for before, after in pairwise(reports)]
    assert sorted(gaps_s)[-2:] == pytest.approx([12.3, 45.3], abs=0.5)
    assert [event.text for report in reports for event in report.status.events] == []
    (path,) = (tmp_path / "runs").glob("*.rec")
    again = list(replayed(path, FlightOptions(), lambda _: None))
    assert [decisions(report) for report in again] == [decisions(report) for report in reports]


def test_the_vehicle_is_restored_before_anything_waits_for_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has stalled takes more of the end than systemd grants."""
    closed: list[str] = []

    def noted(kind: type, method: str) -> None:
        before = getattr(kind, method)

        def note(*args: object) -> None:
            closed.append(kind.__name__)
            before(*args)

        monkeypatch.setattr(kind, method, note)

    noted(Bridge, "restore_parameters")
    waiting = (BackgroundCheckpoint, Recorder, PackHistorySink, BackgroundPackMemory, Worker)
    for kind in waiting:
        noted(kind, "close")
    monkeypatch.setattr(Service, "reports", lambda _: ())
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of the tests stay
    monkeypatch.setattr(module, "limit_garbage", lambda: None)
    path = tmp_path / "c.toml"
    path.write_text(
        '[[battery]]\nbus = "sim:hover"\n[mavlink]\nurl = "udpout:127.0.0.1:9"\n'
        f'[state]\ndir = "{tmp_path}/state"\n[recording]\ndir = "{tmp_path}/recordings"\n'
        '[[action]]\non = "governor"\ndo = "reduce"\n'
    )
    with ExitStack() as stack:
        serve(path, stack)
    assert closed[0] == "Bridge"
    assert closed[-1] == "Worker"
    assert set(closed) == {"Bridge", *(kind.__name__ for kind in waiting)}
