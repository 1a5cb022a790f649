"""The service's buses: several packs, adapters that hang, packs that come and go, and two services.

Stand-ins for smbus2 in front of virtual packs, our own code from there on; MAVLink over loopback.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import smbus2
from pymavlink.dialects.v20 import common as mavlink

import smartbattery.device_lock
from dronebms.analysis.replay import reports as replayed
from dronebms.core.clock import Clock, SystemClock, VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report
from dronebms.core.toml_schema import validated
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.flightlogs import FlightOptions
from dronebms.health.database import FILE, PackHistory, SqliteFile
from dronebms.monitoring.pipeline import Pipeline
from dronebms.recording.format import Start, read_records
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.service.config import Config
from dronebms.service.service import Service
from dronebms.telemetry import json_line
from sim.emulator.world import open_virtual
from sim.plant.faults import parse_fault
from smartbattery.bus import Bus
from smartbattery.errors import NackError
from smartbattery.registers import ADDRESS
from tests.adapters import AdapterStandIn, MuxBoard

SPEED = 20.0  # of the clock, to wait less


@dataclass
class Socket:
    """A plug: the pack that is in it may be another later, or none."""

    pack: Bus | None
    threads: set[str] = field(default_factory=set)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass on to whoever is plugged in."""
        self.threads.add(threading.current_thread().name)
        if self.pack is None:
            raise NackError("nobody")
        return self.pack.transfer(address, tx, rx_len)


Plug = Callable[[dict[str, Bus]], None]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plug:
    """Return what plugs buses in behind paths; locks are beside those of a real service."""
    monkeypatch.setattr(smartbattery.device_lock, "_FOLDER", tmp_path)

    def plugged(buses: dict[str, Bus]) -> None:
        monkeypatch.setattr(smbus2, "SMBus", lambda path: AdapterStandIn(buses[path]))

    return plugged


@pytest.fixture
def ground() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind(("127.0.0.1", 0))
        ears.settimeout(0.0)
        yield ears


def heard(ground: socket.socket) -> list[str]:
    """Return the kinds of the messages that have come by now."""
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


def test_two_packs_behind_a_multiplexer_are_told_apart_recorded_and_replayed(
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
            assert reports[-1].t_s < 20.0 * SPEED, "one pack is not heard"
    last = {report.index: report for report in reports if report.snapshot.voltage_v is not None}
    assert {index: serial_of(report) for index, report in last.items()} == {0: 2001, 1: 2002}
    assert len({report.snapshot.cells_v for report in last.values()}) == 2
    for report in reports:
        assert serial_of(report) in (None, 2001 + report.index)
    assert board.threads == {"bus /dev/i2c-1"}

    path = tmp_path / "runs" / "run-00001.rec"
    start = next(read_records(path))
    assert isinstance(start, Start)
    assert [told.gauge for told in start.batteries] == ["generic", "auto"]
    again = list(replayed(path, FlightOptions(), lambda _: None))
    assert [decided(report) for report in again] == [decided(report) for report in reports]


def decided(report: Report) -> dict[str, object]:
    """Return the line of a report without the sentences about what is not heard yet."""
    unsaid = ("trouble",) if report.snapshot.voltage_v is not None else ("trouble", "go")
    return json_line.line(report) | dict.fromkeys(unsaid)


def test_an_adapter_that_hangs_delays_neither_the_other_adapters_pack_nor_the_loop(
    plug: Plug, ground: socket.socket
) -> None:
    clock, let_go = SystemClock(), threading.Event()

    class Hanging:
        def transfer(self, _address: int, _tx: bytes, _rx_len: int) -> bytes:
            let_go.wait(3.0)
            raise NackError("nobody")

    good = Socket(pack(clock, 1))
    plug({"/dev/i2c-1": Hanging(), "/dev/i2c-2": good})
    text = battery("/dev/i2c-1") + battery("/dev/i2c-2") + battery("/dev/i2c-1", "address = 0x0c")
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, clock).reports()
        steps = [(next(live), next(live), next(live), clock.now_s()) for _ in range(20)]
        let_go.set()
    ended_s = [end_s for *_, end_s in steps]
    assert steps[-1][3] - steps[0][3] == pytest.approx(1.9, abs=0.3)
    assert max(b - a for a, b in pairwise(ended_s)) < 0.3
    assert {report.snapshot.voltage_v for report, *_ in steps} == {None}
    assert sum(report.snapshot.voltage_v is not None for _, report, *_ in steps) >= 15
    assert good.threads == {"bus /dev/i2c-2"}


# ------------------------------------------------------------------------- coming and going


def test_a_pack_that_is_absent_is_neither_empty_nor_told_and_comes_back_as_it_was(
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
            kinds = heard(ground)
            if name != "absent" or report.t_s > 34.0:  # what was read holds for 2 s
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
    assert 0 < before.soc_pct - after.soc_pct < 10  # the vehicle flew on meanwhile
    assert before.used_mah is not None
    assert after.used_mah is not None
    assert after.used_mah > before.used_mah


def flown(second_seed: int, *, gap_s: float) -> list[Report]:
    """Return what is told of a pack that is pulled out after 60 s, and one is plugged in later."""
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
def test_the_same_pack_plugged_in_again_is_estimated_on(gap_s: float) -> None:
    reports = flown(1, gap_s=gap_s)
    before, after = reports[595], reports[-1]
    assert serial_of(before) == serial_of(after) == 2001
    assert before.estimate.remaining_s is not None
    assert after.estimate.remaining_s is not None
    # Two minutes later, by a model that held the load it knew: within a third.
    gone_s = before.estimate.remaining_s - after.estimate.remaining_s
    assert abs(gone_s - 120.0) < before.estimate.remaining_s / 3
    assert (after.estimate.used_mah or 0) > 1.5 * (before.estimate.used_mah or 0) > 0
    assert min(r.estimate.soc_pct for r in reports if r.estimate.soc_pct is not None) > 50


@pytest.mark.parametrize("gap_s", [3.0, 25.0, 90.0])
def test_another_pack_is_estimated_from_its_own_beginning(gap_s: float) -> None:
    reports = flown(7, gap_s=gap_s)
    before, after = reports[595], reports[-1]
    assert (serial_of(before), serial_of(after)) == (2001, 2007)
    drawn_mah = sum(r.snapshot.current_a or 0 for r in reports if serial_of(r) == 2007) / 36
    assert after.estimate.used_mah == pytest.approx(drawn_mah, rel=0.02)


@pytest.mark.parametrize("second_seed", [1, 7])
def test_nothing_is_known_of_a_pack_while_none_is_there(second_seed: int) -> None:
    for report in flown(second_seed, gap_s=25.0)[630:849]:
        assert report.snapshot.voltage_v is None
        assert report.snapshot.soc_pct is None
        assert report.snapshot.current_a is None
        assert "nobody" in str(report.snapshot.trouble)
        assert report.estimate.remaining_s != 0.0


# ------------------------------------------------------------------------- the watchdog


class Hanging:
    """An adapter that a driver holds from some transfer on, for the time of a test."""

    def __init__(self, pack: Bus, good: int) -> None:
        self.pack, self.good, self.let_go = pack, good, threading.Event()

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass on, or hang."""
        self.good -= 1
        if self.good < 0:
            self.let_go.wait(20.0)
            raise NackError("held")
        return self.pack.transfer(address, tx, rx_len)


@pytest.mark.parametrize(
    ("good", "fed"),
    [(300, False), (0, True)],
    ids=["hangs in flight", "hangs from the start"],
)
def test_the_watchdog_is_fed_unless_a_gauge_that_was_heard_is_asked_no_more(
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
        hanging.let_go.set()
    assert [is_stuck for t_s, is_stuck in stuck if t_s < 10.0] == [False] * sum(
        t_s < 10.0 for t_s, _ in stuck
    )
    assert stuck[-1][0] > 25.0
    assert stuck[-1][1] is not fed


# ------------------------------------------------------------------------- two services


def test_a_pack_of_another_service_is_refused_before_anything_is_opened(
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
        # Another channel is another pack, but who turns the multiplexer gets the first one's.
        with ExitStack() as other, pytest.raises(ConfigError, match="0x0b is in use by dronebms"):
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
        for path in Path(folder).glob(f"dronebms-dev-{name}-*.lock"):
            path.unlink()


def service(tmp_path: Path, no_bus: str, more: str = "") -> "subprocess.Popen[str]":
    path = tmp_path / "dronebms.toml"
    path.write_text(battery(f"/dev/{no_bus}") + f'[mavlink]\nurl = "udpout:127.0.0.1:9"\n{more}')
    return subprocess.Popen(  # noqa: S603 - our own command
        (sys.executable, "-m", "dronebms.cli", "run", "-c", str(path)),
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_run_on_the_same_pack_ends_with_2_and_a_sentence(
    tmp_path: Path, no_bus: str
) -> None:
    with service(tmp_path, no_bus) as first:
        assert first.stderr is not None
        try:
            assert any("telling" in line for line in first.stderr)
            with service(tmp_path, no_bus) as second:
                _, said = second.communicate(timeout=20.0)
            assert second.returncode == 2
            assert said == (
                f"dronebms: /dev/{no_bus} address 0x0b is in use by dronebms run "
                f"(process {first.pid})\n"
            )
        finally:
            first.kill()
    with service(tmp_path, no_bus) as third:  # the first one was killed, and left nothing behind
        assert third.stderr is not None
        assert any("telling" in line for line in third.stderr)
        third.terminate()
    assert third.returncode == 0


def test_a_second_run_on_the_same_state_ends_with_2_and_a_sentence(
    tmp_path: Path, no_bus: str
) -> None:
    kept = f'[state]\ndir = "{tmp_path}/state"\n'
    with service(tmp_path, no_bus, kept) as first:
        assert first.stderr is not None
        assert any("telling" in line for line in first.stderr)
        with service(tmp_path, no_bus, kept) as second:
            _, said = second.communicate(timeout=20.0)
        first.kill()
    assert second.returncode == 2
    assert said == f"dronebms: {tmp_path}/state/run.kept is in use by another dronebms run\n"


def test_a_folder_that_takes_no_recording_does_not_keep_the_pack_unguarded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = '[[battery]]\nbus = "sim:survey"\n[recording]\ndir = "/proc/none"\n'
    with ExitStack() as stack:
        reports = Service(validated(Config, text, "c.toml"), stack, SystemClock(SPEED)).reports()
        heard = next(report for report in reports if report.snapshot.voltage_v is not None)
    assert heard.snapshot.voltage_v == pytest.approx(25.1, abs=0.2)
    assert "nothing is recorded in /proc/none" in caplog.text


def test_a_service_that_cannot_start_leaves_no_empty_recording(tmp_path: Path) -> None:
    text = f'[[battery]]\nbus = "sim:nowhere"\n[recording]\ndir = "{tmp_path}"\n'
    with ExitStack() as stack, pytest.raises(ConfigError, match="nowhere"):
        Service(validated(Config, text, "c.toml"), stack, SystemClock())
    assert list(tmp_path.iterdir()) == []


def test_the_service_keeps_a_passport_where_a_state_is_kept(
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


def test_a_damaged_passport_does_not_keep_the_service_from_starting(
    ground: socket.socket, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(b"once upon a time " * 100)
    text = f'[[battery]]\nbus = "sim:hover"\n[state]\ndir = "{tmp_path}"\n'
    with ExitStack() as stack:
        live = Service(config_of(text, ground), stack, SystemClock(SPEED)).reports()
        while next(live).snapshot.voltage_v is None:
            pass
    assert (tmp_path / FILE).read_bytes() == b"once upon a time " * 100
