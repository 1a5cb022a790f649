# SPDX-License-Identifier: Apache-2.0
"""The service as a process: MAVLink over a real socket, recordings, exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import SystemClock
from dronebms.core.errors import DroneBmsError
from dronebms.core.toml_schema import validated
from dronebms.recording.reading import read_records
from dronebms.recording.records import Poll, Start, Step
from dronebms.service.config import Config
from dronebms.service.service import Service
from tests.mavlink_bridge.loopback import WAIT_S

COMMAND = (sys.executable, "-m", "dronebms.cli", "run", "-c")
VIRTUAL = '[[battery]]\nbus = "sim:survey"\n'
NO_BUS = f"i2c-{os.getpid()}"  # unique to this run, as the lock is named after it
ABSENT = f'[[battery]]\nbus = "/dev/{NO_BUS}"\n'


@dataclass
class Ground:
    """A ground station's end of a link, read by pymavlink."""

    socket: socket.socket
    messages: list[mavlink.MAVLink_message] = field(default_factory=list)

    def listen_until(self, done: Callable[[], bool]) -> None:
        """Receive messages until a condition holds."""
        parser = mavlink.MAVLink(None)
        end_s = monotonic() + WAIT_S
        while not done():
            assert monotonic() < end_s, f"not in {WAIT_S} s, received {self.counts()}"
            try:
                self.messages += parser.parse_buffer(self.socket.recv(2000)) or ()
            except TimeoutError:
                continue

    def counts(self) -> Counter[tuple[str, int]]:
        """Number of received messages by (message, component)."""
        return Counter((m.get_type(), m.get_srcComponent()) for m in self.messages)

    def received(self, kind: str, component: int = 180, times: int = 1) -> Callable[[], bool]:
        """Condition: a message was received this many times."""
        return lambda: self.counts()[kind, component] >= times


@pytest.fixture
def ground() -> Iterator[Ground]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        yield Ground(receiver)


@pytest.fixture(scope="module", autouse=True)
def leave_no_lock() -> Iterator[None]:
    yield
    for folder in ("/run/lock", tempfile.gettempdir()):
        for path in Path(folder).glob(f"smartbattery-dev-{NO_BUS}-*.lock"):
            path.unlink()


@contextmanager
def service(
    tmp_path: Path, text: str, ground: Ground | None = None, *options: str
) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path / "dronebms.toml"
    if ground is not None:
        text += f'[mavlink]\nurl = "udpout:127.0.0.1:{ground.socket.getsockname()[1]}"\n'
    path.write_text(text)
    with subprocess.Popen(  # noqa: S603 - our own command
        (*COMMAND, str(path), *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    """Stop a service as an operator does; return its log."""
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == (0 if number is signal.SIGTERM else 130)
    assert out == ""
    assert "Traceback" not in err
    return err


def test_the_service_reports_records_and_stops(tmp_path: Path, ground: Ground) -> None:
    text = f'{VIRTUAL}[recording]\ndir = "{tmp_path}/runs/of/today"\n'
    with service(tmp_path, text, ground) as process:
        ground.listen_until(ground.received("BATTERY_STATUS", times=4))
        ground.listen_until(ground.received("HEARTBEAT"))
        err = stopped(process)
    assert "battery 1: sim:survey address 0x0b" in err
    status = [m for m in ground.messages if m.get_type() == "BATTERY_STATUS"][-1]
    assert sum(mv for mv in status.voltages if mv != 0xFFFF) == pytest.approx(25_140, abs=60)
    assert status.voltages.count(0xFFFF) == 4
    assert 95 <= status.battery_remaining <= 100
    assert status.charge_state == mavlink.MAV_BATTERY_CHARGE_STATE_OK
    assert (status.id, status.get_srcSystem()) == (0, 1)

    path = tmp_path / "runs/of/today/run-00001.rec"
    replayed = subprocess.run(  # noqa: S603 - our own command
        (*COMMAND[:3], "replay", str(path), "--out", "-"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert replayed.returncode == 0, replayed.stderr
    lines = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert len(lines) >= 1
    assert lines[-1]["voltage_v"] == pytest.approx(25.14, abs=0.06)


def test_a_killed_run_leaves_a_readable_recording(tmp_path: Path, ground: Ground) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "run-00041.rec").write_text("an older one")
    (runs / "run-old.rec").write_text("another file")
    with service(tmp_path, f'{VIRTUAL}[recording]\ndir = "{runs}"\n', ground) as process:
        ground.listen_until(
            ground.received("BATTERY_STATUS", times=2)
        )  # the first step is recorded
        process.kill()
    assert sorted(path.name for path in runs.iterdir()) == [
        ".boot",
        "incidents",
        "run-00041.rec",
        "run-00042.rec",
        "run-old.rec",
    ]
    assert (runs / "run-00041.rec").read_text() == "an older one"
    records = list(read_records(runs / "run-00042.rec"))
    assert {type(record) for record in records} == {Start, Poll, Step}


def test_a_missing_bus_is_logged_once_and_no_battery_is_reported(
    tmp_path: Path, ground: Ground
) -> None:
    with service(tmp_path, ABSENT, ground, "--log", "json") as process:
        ground.listen_until(ground.received("STATUSTEXT"))  # silent for three seconds
        assert process.stderr is not None
        err = ""
        while "silent" not in err:  # the log has it a moment later
            err += process.stderr.readline()
        assert process.poll() is None
        err += stopped(process)
    assert ground.counts()["HEARTBEAT", 180] >= 3
    assert ground.counts()["BATTERY_STATUS", 180] == 0
    rows = [json.loads(line) for line in err.splitlines()]
    warnings = [row["text"] for row in rows if row["level"] == "warning"]
    assert warnings[0].startswith(f"battery 1 does not answer: /dev/{NO_BUS} does not exist (")
    assert warnings[1] == "battery 1 WARNING: no gauge data for 3 s"
    # The verdict settles after 3 s too: before or after the signal that ends the service.
    assert [text for text in warnings[2:] if not text.startswith("battery 1 NO-GO: ")] == []
    assert len(warnings) <= 3
    (text,) = [m for m in ground.messages if m.get_type() == "STATUSTEXT"]
    assert text.severity == mavlink.MAV_SEVERITY_WARNING
    assert text.text == "WARNING: no gauge data for 3 s"


def test_two_batteries_are_two_components_and_independent(tmp_path: Path, ground: Ground) -> None:
    with service(tmp_path, VIRTUAL + ABSENT, ground) as process:
        ground.listen_until(ground.received("BATTERY_STATUS", times=2))
        ground.listen_until(ground.received("HEARTBEAT", 181))
        stopped(process)
    assert ground.counts()["BATTERY_STATUS", 181] == 0


def test_two_packs_have_different_ids(tmp_path: Path, ground: Ground) -> None:
    hover = VIRTUAL.replace("survey", "hover")
    with service(tmp_path, VIRTUAL + hover, ground) as process:
        ground.listen_until(ground.received("BATTERY_STATUS"))
        ground.listen_until(ground.received("BATTERY_STATUS", 181))
        stopped(process)
    ids = {
        (m.get_srcComponent(), m.id) for m in ground.messages if m.get_type() == "BATTERY_STATUS"
    }
    assert ids == {(180, 0), (181, 1)}


def test_control_c_is_code_130(tmp_path: Path, ground: Ground) -> None:
    with service(tmp_path, VIRTUAL, ground) as process:
        ground.listen_until(ground.received("HEARTBEAT"))
        stopped(process, signal.SIGINT)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f'{VIRTUAL}[[limit]]\nid = "hot"\nclear = 90.0\n', "'hot': clear 90 must be below trip"),
        (
            '[[battery]]\nbus = "sim:nowhere"\n',
            r"battery\.1\.bus: 'nowhere' is not a scenario \(bq40, ",
        ),
        (f'{VIRTUAL}[mavlink]\nurl = "pigeon:1"\n', "mavlink.url: expected udpout:"),
    ],
)
def test_a_configuration_error_is_raised_before_the_service_runs(text: str, error: str) -> None:
    with ExitStack() as stack, pytest.raises(DroneBmsError, match=error):
        Service(validated(Config, text, "x.toml"), stack, SystemClock())


def test_an_invalid_configuration_is_code_2_with_a_sentence_per_error(tmp_path: Path) -> None:
    with service(tmp_path, f"{ABSENT}cels = 1\n[mavlink]\nsystem_id = 0\n") as process:
        out, err = process.communicate(timeout=WAIT_S)
    path = tmp_path / "dronebms.toml"
    assert (process.returncode, out) == (2, "")
    assert err.splitlines() == [
        f"dronebms: {path}: battery.1.cels is not a known key; the nearest is cells",
        f"dronebms: {path}: mavlink.system_id: expected greater than or equal to 1, not 0",
    ]
