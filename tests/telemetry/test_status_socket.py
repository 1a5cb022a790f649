# SPDX-License-Identifier: Apache-2.0
"""The status socket: reports to viewers, slow viewers, restarts of the service."""

import grp
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import MISSING, fields, replace
from itertools import pairwise
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import pytest
from pydantic import TypeAdapter

from dronebms.core.clock import SystemClock
from dronebms.core.errors import ConfigError, InUseError, LinkError
from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem, Place
from dronebms.core.report import Report
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.telemetry.status_socket import StatusServer, read_status
from tests.mavlink_bridge.loopback import WAIT_S

COMMAND = (sys.executable, "-m", "dronebms.cli")
# Fields of a report that no default stands for.
MADE = {row.name for row in fields(Report) if row.default is MISSING}


@pytest.fixture(scope="module")
def flight() -> list[Report]:
    """90 s with a weak cell and a gauge that stops answering."""
    options = SimOptions(speed=None, duration_s=90.0, faults=("weak_cell=0.3", "unplug@60"))
    with ExitStack() as stack:
        return list(Simulation(options, stack).reports())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StatusServer]:
    with closing(StatusServer(tmp_path / "s.sock")) as server:
        yield server


@contextmanager
def viewer(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(tmp_path / "s.sock"))
        connection.settimeout(0.0)
        yield connection


def received(connection: socket.socket) -> bytes:
    """Data received by now, with END if the connection was closed."""
    data = b""
    try:
        while piece := connection.recv(1 << 20):
            data += piece
    except BlockingIOError:
        return data
    return data + b"END"


def test_a_viewer_receives_reports_twice_a_second_and_events_at_once(
    server: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    data = b""
    with viewer(tmp_path) as connection:
        for report in flight:
            server(report)
            data += received(connection)
    lines = data.splitlines()
    for line in lines:
        assert MADE <= set(json.loads(line)) <= set(Report.__slots__)
    codec = TypeAdapter(Report)
    reports = [codec.validate_json(line) for line in lines]
    plain = [replace(report, vehicle=replace(report.vehicle, plan=None)) for report in flight]
    at_s = {report.t_s: report for report in plain}
    assert all(report == at_s[report.t_s] for report in reports)
    assert all(b.t_s - a.t_s <= 0.5 + 1e-6 for a, b in pairwise(reports))
    events = [report for report in plain if report.status.events]
    assert len(events) == 3
    assert [report for report in reports if report.status.events] == events
    assert len(reports) < 2 * 90 + len(events) + 3


def test_a_line_has_neither_unknown_values_nor_the_plan_of_the_vehicle(
    server: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    plan = FlightPlan(items=(MissionItem(ItemKind.WAYPOINT, Place(47.0, 8.0, 30.0)),) * 500)
    vehicle = replace(flight[-1].vehicle, plan=plan, mission_item=3)
    with viewer(tmp_path) as connection:
        server(replace(flight[-1], vehicle=vehicle))
        line = received(connection)
    assert len(line) < 10_000
    assert b"null" not in line
    shown = TypeAdapter(Report).validate_json(line)
    assert shown == replace(flight[-1], vehicle=replace(vehicle, plan=None))


def test_a_new_viewer_receives_the_newest_report_at_once(
    server: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    server(flight[0])
    with viewer(tmp_path) as connection:
        server(flight[1])  # 0.1 s later, nothing is due
        assert [json.loads(line)["t_s"] for line in received(connection).splitlines()] == [0.0]


def test_a_viewer_that_connects_between_two_batteries_receives_both_in_the_next_step(
    server: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    server(flight[0])
    with viewer(tmp_path) as connection:
        server(replace(flight[0], index=1))
        assert received(connection) == b""
        server(flight[1])
        rows = [json.loads(line) for line in received(connection).splitlines()]
    assert [(row["index"], row["t_s"]) for row in rows] == [(0, 0.0), (1, 0.0)]


def test_stalled_viewers_delay_no_other_and_are_disconnected_after_a_minute(
    server: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    with ExitStack() as stack:
        stuck = [stack.enter_context(viewer(tmp_path)) for _ in range(10)]
        good = stack.enter_context(viewer(tmp_path))
        slow = stack.enter_context(viewer(tmp_path))
        data = b""
        for lap in range(4):
            for index, report in enumerate(flight):
                # The viewers read in this thread: a server that waits for one waits for ever.
                server(replace(report, t_s=report.t_s + 91.0 * lap))
                data += received(good)
                if index % 450 == 449:  # a viewer that reads every 45 s
                    late = received(slow)
                    assert late.count(b"\n") > 30
                    assert not late.endswith(b"END")
        assert len(data.splitlines()) >= 4 * 2 * 90
        for connection in stuck:
            held = received(connection)
            assert held.endswith(b"END")
            assert len(held) < 1_000_000


def test_a_viewer_that_resumes_has_lost_the_oldest_lines(
    server: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    with viewer(tmp_path) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        half = len(flight) // 2
        for report in flight[:half] * 2:  # longer than the buffers, shorter than the stall limit
            server(report)
        data = b""
        for report in flight[half : half + 10]:
            data += received(connection)
            server(report)
        data += received(connection)
    times_s = [json.loads(line)["t_s"] for line in data.splitlines()]
    assert times_s[0] == 0.0
    assert times_s[-1] >= flight[half].t_s
    assert len(times_s) < 200


def test_the_socket_is_for_owner_and_group_and_removed_at_close(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.sock"
    with closing(StatusServer(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(InUseError, match="in use by another dronebms run"):
            StatusServer(path)
        assert path.is_socket()
    assert not path.exists()


def test_the_socket_of_a_dead_service_is_replaced(
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


def test_a_file_at_the_path_of_the_socket_is_not_changed(tmp_path: Path) -> None:
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


def test_status_continues_after_the_service_hangs_and_restarts(
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
            """Read lines until both batteries are known, or unknown for this reason."""
            so: set[int] = set()
            end_s = monotonic() + WAIT_S
            assert status.stdout is not None
            while so != {0, 1}:
                assert monotonic() < end_s
                row = json.loads(status.stdout.readline())
                assert (row["voltage_v"] is None) == (row["current_a"] is None)
                if (row["voltage_v"] is not None) is known and (known or row["trouble"] == why):
                    assert known or row["soc_pct"] is row["armed"] is None
                    states = ["service_absent"], ["service_silent"]
                    assert known or row["active"] == states["silent" in row["trouble"]]
                    so.add(row["battery"])

        until(known=True)
        first.send_signal(signal.SIGSTOP)
        until(known=False, why="the service is silent")
        first.send_signal(signal.SIGCONT)
        until(known=True)
        first.kill()
        until(known=False, why="no service is running, reconnecting")
        stack.enter_context(service(tmp_path))
        until(known=True)
        status.send_signal(signal.SIGINT)
        assert status.wait(WAIT_S) == 130


def test_a_line_without_end_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the viewer disconnects
            connection.sendall(b"x" * ((1 << 20) + (1 << 18)) + b"\n")

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(LinkError, match="the server is no dronebms service"):
            next(read_status(path, SystemClock()))
        thread.join()


@pytest.mark.parametrize("options", [(), ("--json",), ("--plain",)])
def test_without_a_service_status_is_code_1_and_one_sentence(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        (*COMMAND, "status", "--socket", str(tmp_path / "none"), *options),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"dronebms: no service at {tmp_path}/none: No such file or directory\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_the_group_gets_the_command_that_joins_it() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        path = Path(tempfile.mkdtemp()) / "s.sock"
        path.parent.chmod(0o755)
        listener.bind(str(path))
        path.chmod(0o660)
        os.chown(path, 0, grp.getgrnam("dialout").gr_gid)
        os.seteuid(65534)
        try:
            with pytest.raises(LinkError, match=f"^{path} is not for .* -aG dialout "):
                next(read_status(path, SystemClock()))
        finally:
            os.seteuid(0)
    shutil.rmtree(path.parent)


@contextmanager
def waiting_clients(path: Path) -> Iterator[None]:
    """As many clients as may wait for their connection."""
    with ExitStack() as stack:
        with suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.settimeout(0.0)
                client.connect(str(path))
        yield


def test_a_viewer_waits_for_its_connection_among_many(
    server: StatusServer, tmp_path: Path, flight: list[Report]
) -> None:
    def serve_late() -> None:
        sleep(0.3)
        for report in flight[:20]:
            server(report)
            sleep(0.05)

    path = tmp_path / "s.sock"
    with waiting_clients(path):
        thread = Thread(target=serve_late)
        thread.start()
        first = next(read_status(path, SystemClock()))
        thread.join(WAIT_S)
    assert first.index == flight[0].index


@pytest.mark.usefixtures("server")
def test_a_service_that_accepts_no_connection_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with waiting_clients(path), pytest.raises(LinkError, match="accepts no connection for 2 s"):
        next(read_status(path, SystemClock()))
