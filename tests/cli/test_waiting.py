# SPDX-License-Identifier: Apache-2.0
"""A command that waits for a vehicle shows that on a terminal, and nothing in a pipe."""

import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WAITS = {
    "check": "comparing the parameters of a vehicle on {}",
    "sitl": "waiting for a vehicle on {}, 30 s at most",
}


def started(command: str, folder: Path, stderr: int) -> tuple[subprocess.Popen[bytes], str]:
    """A command that waits for a vehicle, and its text."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        url = f"udpin:127.0.0.1:{free.getsockname()[1]}"
    text = f'[[battery]]\nbus = "sim:survey"\n[mavlink]\nurl = "{url}"\n'
    (folder / "c.toml").write_text(text)
    words = [sys.executable, "-m", "dronebms.cli", command, "--vehicle", url]
    words += ["-c", "c.toml"] if command == "check" else ["--headless"]
    running = subprocess.Popen(  # noqa: S603 - our own program
        words, cwd=folder, stdout=subprocess.DEVNULL, stderr=stderr,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(stderr)
    return running, WAITS[command].format(url)


@pytest.mark.parametrize("command", WAITS)
def test_a_wait_for_a_vehicle_is_shown_on_a_terminal(command: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    running, waits = started(command, tmp_path, theirs)
    with running:
        shown = ""
        while waits not in shown:
            shown += os.read(ours, 4096).decode()  # an OSError when the command has ended
        running.send_signal(signal.SIGINT)
    os.close(ours)
    assert running.returncode == 130


def test_a_wait_for_a_vehicle_is_silent_in_a_pipe(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    running, _ = started("check", tmp_path, writer)
    with running, os.fdopen(reader) as pipe:
        ended = pipe.read()
    assert ended.startswith("dronebms: no heartbeat of a vehicle within 10 s: ")
    assert ended.count("\n") == 1
    assert running.returncode == 2
