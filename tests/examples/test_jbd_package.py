# SPDX-License-Identifier: Apache-2.0
"""The worked package of examples/dronebms-jbd: discovered, checked and run as a user does."""

import json
import os
import pty
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dronebms.core.gauge_package import schemes
from dronebms.service.config import read_config
from dronebms.service.installation import refuse_unusable
from dronebms.service.sources.gauge_packages import package_of, trouble_of
from tests.cli.test_run import COMMAND, Ground, service, stopped

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "dronebms-jbd"
FRAMES = json.loads((PACKAGE / "tests" / "frames.json").read_text())
REPLIES = {
    0x03: bytes.fromhex(FRAMES["basic"][4]["reply"]),
    0x04: bytes.fromhex(FRAMES["cells"][2]["reply"]),
    0x05: bytes.fromhex(FRAMES["hardware"][0]["reply"]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the package as `pip install --editable` does: its source and metadata on the path."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "dronebms_jbd-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (group,) = project["entry-points"]
    rows = [f"{name} = {value}" for name, value in project["entry-points"][group].items()]
    (info / "entry_points.txt").write_text("\n".join((f"[{group}]", *rows, "")))
    paths = [str(info.parent), str(PACKAGE / "src")]
    for path in paths:
        monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, str(ROOT)]))
    return tmp_path


@pytest.fixture
def port() -> Iterator[str]:
    """A pseudo terminal with a board behind it that answers with recorded frames."""
    board, terminal = pty.openpty()

    def answer() -> None:
        received = b""
        while True:
            try:
                received += os.read(board, 64)
            except OSError:  # the terminal is closed
                return
            while len(received) >= 7:
                request, received = received[:7], received[7:]
                os.write(board, REPLIES[request[2]])

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield os.ttyname(terminal)
    os.close(terminal)
    os.close(board)
    thread.join(5.0)


def test_its_own_tests_pass(folder: Path) -> None:
    ran = subprocess.run(  # noqa: S603 - our own command
        (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE / "tests")),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


def test_its_entry_point_is_discovered_and_its_configuration_is_valid(folder: Path) -> None:
    assert "jbd" in schemes()
    assert package_of("jbd:/dev/ttyUSB0").name == "dronebms-jbd 0.1.0"
    path = folder / "dronebms.toml"
    path.write_text('[[battery]]\nbus = "jbd:/dev/ttyNone"\nchemistry = "li-ion"\ncells = 24\n')
    config = read_config(path)
    refuse_unusable(config)
    trouble = trouble_of(config.battery[0].bus)
    assert trouble is not None
    assert trouble[0] == "/dev/ttyNone: no such port"


@pytest.mark.parametrize(
    ("bus", "code", "texts"),
    [
        ("jbd:{port}", 0, ("jbd:{port}", "gauge of dronebms-jbd 0.1.0")),
        ("jbd:/dev/ttyNone", 1, ("/dev/ttyNone: no such port", "/dev/serial/by-id")),
        ("jbd:COM3", 2, ('jbd:COM3: expected "jbd:/dev/ttyUSB0" or "jbd:/dev/ttyUSB0@115200"',)),
    ],
)
def test_check_names_it_and_what_will_not_work(
    folder: Path, port: str, bus: str, code: int, texts: tuple[str, ...]
) -> None:
    path = folder / "dronebms.toml"
    path.write_text(f'[[battery]]\nbus = "{bus.format(port=port)}"\ncapacity_mah = 5000\n')
    ran = subprocess.run(  # noqa: S603 - our own command
        (*COMMAND[:3], "check", "-c", str(path)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    for text in texts:
        assert text.format(port=port) in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_run_reads_the_board_and_its_recording_replays_without_the_package(
    folder: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        ground = Ground(receiver)
        text = f'[[battery]]\nbus = "jbd:{port}"\ncapacity_mah = 5000\n'
        text += f'[recording]\ndir = "{folder}/runs"\n'
        with service(folder, text, ground) as process:
            ground.listen_until(lambda: any(cells_of(one) for one in ground.messages))
            log = stopped(process)
    assert "battery 1: gauge of dronebms-jbd 0.1.0" in log
    status = [one for one in ground.messages if cells_of(one)][-1]
    assert cells_of(status) == [3430, 3425, 3432, 3417]
    assert status.current_battery == 287
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (recording,) = (folder / "runs").glob("*.rec")
    replayed = subprocess.run(  # noqa: S603 - our own command
        (*COMMAND[:3], "replay", str(recording), "--out", "-"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert replayed.returncode == 0, replayed.stderr
    lines = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert lines[-1]["cells_v"] == [3.43, 3.425, 3.432, 3.417]


def cells_of(message: object) -> list[int]:
    voltages = getattr(message, "voltages", None) or []
    cells = [mv for mv in voltages if mv != 0xFFFF]
    return cells if len(cells) == 4 else []
