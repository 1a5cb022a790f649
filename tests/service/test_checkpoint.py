"""A restart in flight: what is gone on from, what is not, and a service that is killed for it."""

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from pymavlink.dialects.v20 import common as mavlink

import dronebms.service.checkpoint
import sim
from dronebms.core.clock import VirtualClock, boot_s
from dronebms.core.report import Action, ActionKind, Report, Severity
from dronebms.estimation.cell_fit import CellParameters
from dronebms.estimation.pack_memory import LearnedPack
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import LimitChange
from dronebms.protection.rules import Rules
from dronebms.service.checkpoint import Checkpoint, CheckpointFile
from sim.emulator.world import World, open_virtual
from sim.plant.faults import parse_fault
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

RULES = Rules((LimitChange("hot", trip=50.0),), (Action(Severity.WARNING, ActionKind.RETURN),))
FAULTS = ("weak_cell=0.5", "resistance")
WAIT_S = 20.0


class Flight:
    """A pack in flight, and runs that look at it one after the other."""

    def __init__(self, *faults: str, seed: int = 1) -> None:
        self.clock = VirtualClock()
        self.world: World
        self.bus, self.world = open_virtual(
            "survey", self.clock, seed, list(map(parse_fault, faults))
        )
        self.step = 0

    def pipeline(self, rules: Rules = RULES) -> Pipeline:
        """Return a new run's."""
        return Pipeline(Gauge(self.bus, ADDRESS, cells=6), self.world.pack_data(), rules=rules)

    def fly(self, pipeline: Pipeline, until_s: float) -> list[Report]:
        """Step until then."""
        reports = []
        while self.step < until_s * 10:
            t_s = self.step / 10
            self.clock.sleep_until(t_s)
            reports.append(pipeline.step(t_s, self.world.vehicle(t_s)))
            self.step += 1
        return reports


def through_a_file(path: Path, flight: Flight, memory: object) -> Any:  # noqa: ANN401 - as kept
    """Return what another process would get of what a run has kept."""
    with closing(CheckpointFile(path)) as keeper:
        keeper.step(flight.step / 10, lambda: memory)
    with closing(CheckpointFile(path)) as keeper:
        return keeper.state()


@pytest.mark.parametrize("killed_s", [5.0, 61.3, 200.0])
def test_a_run_that_goes_on_at_once_decides_as_if_it_had_never_stopped(
    tmp_path: Path, killed_s: float
) -> None:
    whole, cut = Flight("weak_cell=0.5"), Flight("weak_cell=0.5")
    uncut = whole.fly(whole.pipeline(), killed_s + 40.0)
    first = cut.pipeline()
    reports = cut.fly(first, killed_s)
    second = cut.pipeline()
    second.restore(through_a_file(tmp_path / "k", cut, first.state(cut.step / 10)))
    reports += cut.fly(second, killed_s + 40.0)
    # The new gauge reads everything once more; what was judged before the kill is the same, what
    # is said later differs by what the wire gave in another order.
    assert reports[: int(killed_s * 10)] == uncut[: int(killed_s * 10)]
    for ours, theirs in zip(reports[-200:], uncut[-200:], strict=True):
        assert ours.status.active == theirs.status.active
        assert ours.status.severity == theirs.status.severity
        assert ours.estimate.soc_pct == pytest.approx(theirs.estimate.soc_pct, abs=0.5)
        assert ours.estimate.remaining_s == pytest.approx(theirs.estimate.remaining_s, rel=0.05)
        assert ours.estimate.used_mah == pytest.approx(theirs.estimate.used_mah, rel=0.01, abs=2.0)
        assert [one.key for one in ours.requests] == [one.key for one in theirs.requests]


def gone_on(tmp_path: Path, gap_s: float, **other: Any) -> tuple[Report, list[Report]]:  # noqa: ANN401 - options
    """Return the last report before a gap, and those of ten seconds after it."""
    flight = Flight()
    first = flight.pipeline()
    before = flight.fly(first, 120.0)[-1]
    memory = first.state(before.t_s)
    if "seed" in other:
        later = Flight(seed=other["seed"])
        flight.bus, flight.world, flight.clock = later.bus, later.world, later.clock
    second = flight.pipeline(other.get("rules", RULES))
    second.restore(through_a_file(tmp_path / "k", flight, memory))
    flight.step = int((120.0 + gap_s) * 10)
    return before, flight.fly(second, 130.0 + gap_s)


@pytest.mark.parametrize("gap_s", [0.5, 20.0, 59.0])
def test_the_same_pack_is_gone_on_with_after_up_to_a_minute(tmp_path: Path, gap_s: float) -> None:
    before, after = gone_on(tmp_path, gap_s)
    first = next(report for report in after if report.snapshot.voltage_v is not None)
    assert first.t_s - after[0].t_s < 1.0
    flown_pct = 0.065 * gap_s  # at 35 A of 16 Ah, and a little
    assert first.estimate.soc_pct is not None
    assert before.estimate.soc_pct is not None
    assert -0.5 < before.estimate.soc_pct - first.estimate.soc_pct < flown_pct + 1.0
    assert after[-1].estimate.used_mah is not None
    assert before.estimate.used_mah is not None
    assert after[-1].estimate.used_mah > before.estimate.used_mah
    assert before.estimate.remaining_s is not None
    expected_s = before.estimate.remaining_s - (after[-1].t_s - before.t_s)
    assert after[-1].estimate.remaining_s == pytest.approx(expected_s, rel=0.1)
    told_pct = [r.estimate.soc_pct for r in after if r.estimate.soc_pct is not None]
    assert max(told_pct) < before.estimate.soc_pct + 0.5 < 99.0  # never full again


@pytest.mark.parametrize(
    ("gap_s", "other"),
    [(61.0, {}), (5.0, {"seed": 7}), (5.0, {"rules": Rules()})],
    ids=["too late", "another pack", "another configuration"],
)
def test_otherwise_it_begins_anew(tmp_path: Path, gap_s: float, other: dict[str, Any]) -> None:
    before, after = gone_on(tmp_path, gap_s, **other)
    assert before.estimate.used_mah is not None
    assert before.estimate.used_mah > 300.0
    assert after[-1].estimate.used_mah is not None
    assert after[-1].estimate.used_mah < 200.0  # of ten seconds
    known = [r.estimate.soc_pct for r in after if r.estimate.soc_pct is not None]
    assert all(pct < 99.0 for pct in known) or other.get("seed")


@pytest.mark.parametrize("absent_s", [10.0, 70.0])
def test_a_pack_that_lost_power_while_the_computer_restarted_is_absent_until_it_is_recognised(
    tmp_path: Path, absent_s: float
) -> None:
    flight = Flight(f"unplug@120-{121 + absent_s:g}")  # nobody answers on the wire
    first = flight.pipeline()
    before = flight.fly(first, 120.0)[-1]
    second = flight.pipeline()
    second.restore(through_a_file(tmp_path / "k", flight, first.state(before.t_s)))
    flight.step += 10
    away = flight.fly(second, 121.0 + absent_s)
    assert {report.snapshot.voltage_v for report in away} == {None}
    assert {report.estimate.soc_pct for report in away} == {None}
    assert {report.estimate.remaining_s for report in away} == {None}
    back = flight.fly(second, 131.0 + absent_s)[-1]
    assert back.estimate.used_mah is not None
    assert before.estimate.used_mah is not None
    assert (back.estimate.used_mah > before.estimate.used_mah) is (absent_s < 60.0)


# ------------------------------------------------------------------------- the file


def test_whatever_is_torn_the_newest_whole_state_is_read(tmp_path: Path) -> None:
    path = tmp_path / "k"
    with closing(CheckpointFile(path)) as keeper:
        for second in range(4):
            keeper.step(float(second), lambda second=second: {"second": second})  # type: ignore[misc]
    data, chance = path.read_bytes(), random.Random(1)  # noqa: S311 - places to damage
    places = [place for place in range(len(data)) if data.startswith(b"DBK1", place)]
    newest, oldest = places  # the fourth is where the second was, before the third
    for place, rest in ((newest, 2), (oldest, 3)):
        for _ in range(50):
            torn = bytearray(data)
            torn[place + chance.randrange(60)] ^= 1 << chance.randrange(8)
            path.write_bytes(torn)
            with closing(CheckpointFile(path)) as keeper:
                assert keeper.state() == {"second": rest}
    for size in (0, 1, 19, 100, oldest, oldest + 19, len(data) - 1):
        path.write_bytes(data[:size])
        with closing(CheckpointFile(path)) as keeper:
            assert keeper.state() == ({"second": 3} if size >= oldest else None)


@pytest.mark.parametrize("why", ["another boot", "another program", "late", "of the future"])
def test_what_proves_nothing_is_not_gone_on_from(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        keeper.step(100.0, lambda: "state")
    if why == "another boot":
        (tmp_path / "id").write_text("another")
        monkeypatch.setattr(dronebms.service.checkpoint, "_BOOT_ID", tmp_path / "id")
    elif why == "another program":
        monkeypatch.setattr(dronebms.service.checkpoint, "_program", lambda: "another")
    else:
        now_s, moved_s = boot_s(), 61.0 if why == "late" else -5.0
        monkeypatch.setattr(dronebms.service.checkpoint, "boot_s", lambda: now_s + moved_s)
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        assert keeper.state() is None
        assert keeper.start_s == 0.0


def test_a_state_that_brings_every_run_down_is_given_up(tmp_path: Path) -> None:
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        keeper.step(0.0, lambda: "poison")
    lives = []
    for _ in range(5):  # each falls over before it has kept anything
        with closing(CheckpointFile(tmp_path / "k")) as keeper:
            lives.append(keeper.state())
    assert lives == ["poison"] * 3 + [None] * 2


def test_nothing_is_believed_of_a_file_that_others_may_write(tmp_path: Path) -> None:
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        keeper.step(0.0, lambda: "state")
    (tmp_path / "k").chmod(0o666)
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        assert keeper.state() is None


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("subprocess", "run"),
        ("os", "system"),
        ("builtins", "eval"),
        ("dronebms.service.external_program", "subprocess.run"),  # through a module of ours
        (
            "dronebms.service.external_program",
            "RecoveryProgram",
        ),  # one is called, and runs what it was given
        ("dronebms.recording.format", "zlib"),
        ("dronebms.monitoring.pipeline", "replace"),  # of somebody else, though a stage imports it
        ("dronebms.monitoring.pipeline", "Estimator"),  # has another home
        ("dronebms.monitoring.pipeline", "Monitor.step"),
        ("dronebms.protection.limits", "default_limits"),  # a function
        ("dronebms.service", "serve"),
        ("dronebms.core.atomic_file", "atomic_writer"),
        ("smartbattery.linux_bus", "LinuxBus"),
        ("numpy", "load"),
        ("numpy", "frombuffer"),
        ("collections", "namedtuple"),
    ],
)
@pytest.mark.parametrize(
    "proto", [b"c%b\n%b\n.", b"\x80\x04\x8c%c%b\x8c%c%b\x93."], ids=["old", "new"]
)
def test_nothing_but_a_stage_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, module: str, name: str, proto: bytes
) -> None:
    told = module.encode(), name.encode()
    state = proto % (
        told if proto.startswith(b"c") else (len(told[0]), told[0], len(told[1]), told[1])
    )
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        keeper.step(0.0, lambda: None)
        keeper._write(Checkpoint(keeper._program, keeper._boot_id, boot_s(), 0.0, state))
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        assert keeper.state() is None
    assert f"begins anew: what is kept cannot be read: {module}.{name} is not kept" in caplog.text


def test_what_a_pack_was_known_for_is_kept_too(tmp_path: Path) -> None:
    cells = CellParameters((1.0, 2.0), ((1.0, 0.5), (0.5, 1.0)))
    learned = LearnedPack(cells, 0.5, None, 0.0, 5000.0, 3)
    known = (learned, np.zeros((3, 4)).T, np.float64(1.5), np.arange(12.0).reshape(3, 4)[:, ::2])
    back = through_a_file(tmp_path / "k", Flight(), known)
    assert [str(one) for one in back] == [str(one) for one in known]


def test_a_whole_look_at_a_pack_is_kept_with_its_read_only_parts(tmp_path: Path) -> None:
    flight = Flight()
    look = flight.fly(flight.pipeline(), 2.0)[-1].snapshot
    empty = replace(look, read_at_s=MappingProxyType({}))
    assert through_a_file(tmp_path / "k", flight, (look, empty)) == (look, empty)


def test_what_cannot_be_kept_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(CheckpointFile(tmp_path / "k")) as keeper, socket.socket() as unkept:
        keeper.step(0.0, lambda: "state")
        keeper.step(1.0, lambda: unkept)
    assert "cannot be kept" in caplog.text
    with closing(CheckpointFile(tmp_path / "k")) as keeper:
        assert keeper.state() == "state"


def test_a_folder_that_cannot_be_written_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with closing(CheckpointFile(Path("/proc/none/k"))) as keeper:
        keeper.step(0.0, lambda: "state")
        assert keeper.state() is None
    assert "a restart will begin anew" in caplog.text


# ------------------------------------------------------------------------- as a process


@pytest.fixture
def ground() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ears:
        ears.bind(("127.0.0.1", 0))
        ears.settimeout(0.2)
        yield ears


@contextmanager
def service(folder: Path, ground: socket.socket) -> Iterator["subprocess.Popen[bytes]"]:
    path, flight = folder / "c.toml", folder / "flight.toml"
    hover = (Path(sim.__file__).parent / "scenarios" / "hover.toml").read_text()
    flight.write_text(hover.replace("duration_s = 20.0", "duration_s = 0.2", 1))  # in the air soon
    path.write_text(
        f'[[battery]]\nbus = "sim:{flight}"\n[state]\ndir = "{folder}/state"\n[mavlink]\n'
        f'url = "udpout:127.0.0.1:{ground.getsockname()[1]}"\n'
    )
    while select.select([ground], [], [], 0)[0]:
        ground.recv(2000)  # of a life before: it would be taken for this one's
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(  # noqa: S603 - our own command
            (sys.executable, "-m", "dronebms.cli", "run", "--log", "json", "-c", str(path)),
            stderr=log,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def statuses(ground: socket.socket, count: int, kind: str = "BATTERY_STATUS") -> list[Any]:
    """Return so many messages of a kind that come from now on."""
    parser = mavlink.MAVLink(None)
    found: list[Any] = []
    end_s = monotonic() + WAIT_S
    while len(found) < count:
        assert monotonic() < end_s
        try:
            messages = parser.parse_buffer(ground.recv(2000)) or ()
        except TimeoutError:
            continue
        found += [m for m in messages if m.get_type() == kind]
    return found


def test_a_service_that_is_killed_again_and_again_counts_on(
    tmp_path: Path, ground: socket.socket
) -> None:
    chance, used_mah = random.Random(), [0]  # noqa: S311 - moments
    for life in range(3):
        with service(tmp_path, ground) as process:
            statuses(ground, 1, "HEARTBEAT")
            began_s = monotonic()
            seen = statuses(ground, 1)
            assert monotonic() - began_s < (1.0 if life else 3.0)  # it knows the vehicle's ids
            seen += statuses(ground, 2 + chance.randrange(2))
            end_s = monotonic() + chance.random()
            while monotonic() < end_s:
                os.sched_yield()
            process.send_signal(signal.SIGKILL)
        used = [m.current_consumed for m in seen]
        assert min(used) >= used_mah[-1] - 1, (life, used, used_mah)
        used_mah.append(max(used))
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sum("goes on after" in row["text"] for row in rows) == 2
    assert used_mah == sorted(used_mah)
    assert used_mah[-1] > used_mah[1]
