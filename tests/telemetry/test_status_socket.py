"""The stream of a service: what viewers get, and what viewers that misbehave cannot do."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread
from time import monotonic

import pytest
from pydantic import TypeAdapter

from dronebms.core.clock import SystemClock
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.report import Report
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.telemetry.status_socket import StatusServer, read_status

COMMAND = (sys.executable, "-m", "dronebms.cli")
WAIT_S = 20.0


@pytest.fixture(scope="module")
def flight() -> list[Report]:
    """Return a minute and a half in which a cell gives way and the gauge falls silent."""
    told = SimOptions(speed=None, duration_s=90.0, faults=("weak_cell=0.3", "unplug@60"))
    with ExitStack() as stack:
        return list(Simulation(told, stack).reports())


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[StatusServer]:
    with closing(StatusServer(tmp_path / "s.sock")) as stream:
        yield stream


@contextmanager
def viewer(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.connect(str(tmp_path / "s.sock"))
        wire.settimeout(0.0)
        yield wire


def taken(wire: socket.socket) -> bytes:
    """Return what has come by now, until the end if it has been closed."""
    data = b""
    try:
        while piece := wire.recv(1 << 20):
            data += piece
    except BlockingIOError:
        return data
    return data + b"END"


def test_a_viewer_gets_each_report_whole_twice_a_second_and_at_once_with_an_event(
    stream: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    data = b""
    with viewer(tmp_path) as wire:
        for report in flight:
            stream(report)
            data += taken(wire)
    lines = data.splitlines()
    assert all(set(json.loads(line)) == set(Report.__slots__) for line in lines)
    # The reading half is pydantic's, the judges are the values themselves.
    codec = TypeAdapter(Report)
    told = [codec.validate_json(line) for line in lines]
    at_s = {report.t_s: report for report in flight}
    assert all(report == at_s[report.t_s] for report in told)
    assert all(b.t_s - a.t_s <= 0.5 + 1e-6 for a, b in pairwise(told))
    events = [report for report in flight if report.status.events]
    assert len(events) == 3
    assert [report for report in told if report.status.events] == events
    assert len(told) < 2 * 90 + len(events) + 3


def test_whoever_comes_sees_at_once_what_was_told_last(
    stream: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    stream(flight[0])
    with viewer(tmp_path) as wire:
        stream(flight[1])  # 0.1 s later, nothing is due
        assert [json.loads(line)["t_s"] for line in taken(wire).splitlines()] == [0.0]


def test_stuck_viewers_cost_nobody_a_line_and_are_sent_away_after_a_minute(
    stream: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    with ExitStack() as stack:
        stuck = [stack.enter_context(viewer(tmp_path)) for _ in range(10)]
        good = stack.enter_context(viewer(tmp_path))
        seldom = stack.enter_context(viewer(tmp_path))
        data = b""
        for lap in range(4):
            for index, report in enumerate(flight):
                # Whatever waits for a viewer would wait for ever: it reads here, or not at all.
                stream(replace(report, t_s=report.t_s + 91.0 * lap))
                data += taken(good)
                if index % 450 == 449:  # some hold their output up for three quarters of a minute
                    late = taken(seldom)
                    assert late.count(b"\n") > 30
                    assert not late.endswith(b"END")
        assert len(data.splitlines()) >= 4 * 2 * 90
        for wire in stuck:
            held = taken(wire)
            assert held.endswith(b"END")
            assert len(held) < 1_000_000


def test_a_viewer_that_wakes_up_has_lost_the_oldest_lines_and_gets_the_newest_whole(
    stream: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    with viewer(tmp_path) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        half = len(flight) // 2
        for report in flight[:half] * 2:  # longer than the buffers, shorter than hopeless
            stream(report)
        data = b""
        for report in flight[half : half + 10]:
            data += taken(wire)
            stream(report)
        data += taken(wire)
    times_s = [json.loads(line)["t_s"] for line in data.splitlines()]
    assert times_s[0] == 0.0
    assert times_s[-1] >= flight[half].t_s
    assert len(times_s) < 200


def test_the_socket_is_for_owner_and_group_and_goes_with_its_service(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    with closing(StatusServer(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(ConfigError, match="served by another dronebms run"):
            StatusServer(path)
        assert path.is_socket()
    assert not path.exists()


def test_the_socket_of_a_dead_service_is_replaced_and_its_successors_is_left(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.sock"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    first = StatusServer(path)
    path.unlink()
    with closing(StatusServer(path)):
        first.close()
        assert path.is_socket()


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is no socket"):
        StatusServer(path)
    assert path.read_text() == "mine"


# ------------------------------------------------------------------------- as processes


@contextmanager
def service(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    path = tmp_path / "c.toml"
    path.write_text(
        '[[battery]]\nbus = "sim:survey"\n[[battery]]\nbus = "sim:hover"\n'
        f'[mavlink]\nurl = "udpout:127.0.0.1:9"\n[status]\nsocket = "{tmp_path}/s.sock"\n'
    )
    with subprocess.Popen(  # noqa: S603 - our own command
        (*COMMAND, "run", "-c", str(path)), stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path) -> None:
    end_s = monotonic() + WAIT_S
    while not path.exists():
        assert monotonic() < end_s
        os.sched_yield()


def test_status_goes_on_over_a_service_that_hangs_is_killed_and_comes_back(
    tmp_path: Path,
) -> None:
    sock = tmp_path / "s.sock"
    with ExitStack() as stack:
        first = stack.enter_context(service(tmp_path))
        wait_for(sock)
        status = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - our own command
                (*COMMAND, "status", "--json", "--socket", str(sock)), stdout=subprocess.PIPE
            )
        )
        stack.callback(status.kill)
        assert status.stdout is not None

        def until(known: bool, why: str | None = None) -> None:  # noqa: FBT001 - reads well
            """Read lines until both batteries are known, or are not, for this reason."""
            so: set[int] = set()
            end_s = monotonic() + WAIT_S
            assert status.stdout is not None
            while so != {0, 1}:
                assert monotonic() < end_s
                row = json.loads(status.stdout.readline())
                assert (row["voltage_v"] is None) == (row["current_a"] is None)
                if (row["voltage_v"] is not None) is known and (known or row["trouble"] == why):
                    assert known or row["soc_pct"] is row["armed"] is None
                    assert known or row["active"] == ["silent"]
                    so.add(row["battery"])

        until(known=True)
        first.send_signal(signal.SIGSTOP)
        until(known=False, why="the service is silent")
        first.send_signal(signal.SIGCONT)
        until(known=True)
        first.kill()
        until(known=False, why="no service is running, waiting")
        stack.enter_context(service(tmp_path))
        until(known=True)
        status.send_signal(signal.SIGINT)
        assert status.wait(WAIT_S) == 130


def test_what_sends_no_end_of_a_line_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"

    def talk(ears: socket.socket) -> None:
        wire, _ = ears.accept()
        with wire, suppress(OSError):  # the viewer has gone, as it should
            wire.sendall(b"x" * ((1 << 20) + (1 << 18)) + b"\n")

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ears:
        ears.bind(str(path))
        ears.listen()
        talking = Thread(target=talk, args=(ears,))
        talking.start()
        with pytest.raises(LinkError, match="does not send what dronebms does"):
            next(read_status(path, SystemClock()))
        talking.join()


@pytest.mark.parametrize("options", [(), ("--json",), ("--plain",)])
def test_without_a_service_status_is_code_1_and_a_sentence(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        (*COMMAND, "status", "--socket", str(tmp_path / "none"), *options),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"dronebms: no service is found at {tmp_path}/none: No such file or directory\n"
    )
