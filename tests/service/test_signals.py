# SPDX-License-Identifier: Apache-2.0
"""Signals and streams of the process: terminal lost, nohup, reload, closed descriptors."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.mavlink_bridge.loopback import WAIT_S

CONFIG = '[[battery]]\nbus = "sim:hover"\n[mavlink]\nurl = "udpout:127.0.0.1:9"\n'
COMMAND = (sys.executable, "-m", "dronebms.cli", "run", "-c")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Configuration and log."""
    config, log = tmp_path / "c.toml", tmp_path / "log"
    config.write_text(f'{CONFIG}[state]\ndir = "{tmp_path}/state"\n')
    log.touch()
    return config, log


def logged(log: Path, text: str) -> str:
    end_s = monotonic() + WAIT_S
    while text not in log.read_text():
        assert monotonic() < end_s, log.read_text()
        sleep(0.05)
    return log.read_text()


def ended(process: "subprocess.Popen[bytes]") -> int:
    try:
        return process.wait(WAIT_S)
    finally:
        process.kill()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    for file in (ours, theirs):
        try:
            os.close(file)
        except OSError:
            pass


@contextmanager
def started(
    command: tuple[str, ...],
    log: Path,
    **options: Any,  # noqa: ANN401 - of Popen
) -> "Iterator[subprocess.Popen[bytes]]":
    with (
        log.open("w") as stream,
        subprocess.Popen(command, stderr=stream, **options) as process,  # noqa: S603 - our own command
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def by_hand(
    config: Path, log: Path, terminal: tuple[int, int], *, ignored: bool = False
) -> "Iterator[subprocess.Popen[bytes]]":
    """A run in a terminal of its own, whose log goes to a file."""

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(terminal[1], termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

    command = (*COMMAND, str(config))
    with started(command, log, stdin=terminal[1], preexec_fn=take_terminal) as process:
        os.close(terminal[1])
        yield process


def test_a_lost_terminal_ends_a_run_by_hand_as_sigterm_does(
    files: tuple[Path, Path], terminal: tuple[int, int]
) -> None:
    config, log = files
    with by_hand(config, log, terminal) as process:
        logged(log, "sending MAVLink to")
        os.close(terminal[0])  # the terminal window is closed, or the SSH session is lost
        assert ended(process) == 0
    assert "the configuration" not in log.read_text()
    assert "Traceback" not in log.read_text()
    with started((*COMMAND, str(config)), log) as later:
        logged(log, "sending MAVLink to")  # the first one holds nothing any more
        later.terminate()


def test_a_run_under_nohup_outlives_its_terminal(
    files: tuple[Path, Path], terminal: tuple[int, int]
) -> None:
    config, log = files
    with by_hand(config, log, terminal, ignored=True) as process:
        logged(log, "sending MAVLink to")
        os.close(terminal[0])
        os.kill(process.pid, signal.SIGHUP)
        sleep(1.0)
        assert process.poll() is None
        process.terminate()
        assert ended(process) == 0
    assert "limits, actions and charger" not in log.read_text()


def test_without_a_terminal_sighup_reloads_and_whatever_is_wrong_is_held(
    files: tuple[Path, Path],
) -> None:
    config, log = files
    with started((*COMMAND, str(config)), log, start_new_session=True) as process:
        logged(log, "sending MAVLink to")
        text = config.read_text()
        config.write_text(text + '[[limit]]\nid = "cell_sag"\nseverity = ["critical"]\n')
        process.send_signal(signal.SIGHUP)
        logged(log, "ERROR the configuration is not changed: ")
        config.unlink()
        process.send_signal(signal.SIGHUP)
        logged(log, "cannot be read: No such file")
        config.write_text(text + '[[limit]]\nid = "cell_sag"\ntrip = 3.3\n')
        process.send_signal(signal.SIGHUP)
        logged(log, "limits, actions and charger are those of")
        assert process.poll() is None
        process.terminate()
        assert ended(process) == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_closed_standard_streams_end_nothing_and_no_file_takes_their_numbers(
    files: tuple[Path, Path], closed: tuple[int, ...]
) -> None:
    config, _ = files
    shut = " ".join(f"{file}{'<' if file == 0 else '>'}&-" for file in closed)
    command = ("sh", "-c", f'exec "$@" {shut}', "sh", *COMMAND, str(config))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
    kept = config.parent / "state" / "run.kept"
    end_s = monotonic() + WAIT_S
    while not (kept.exists() and kept.stat().st_size):
        assert process.poll() is None
        assert monotonic() < end_s
        sleep(0.05)
    names = {file: os.readlink(f"/proc/{process.pid}/fd/{file}") for file in closed}  # noqa: PTH115
    assert set(names.values()) == {os.devnull}
    process.terminate()
    assert ended(process) == 0


def test_a_link_that_cannot_be_opened_is_logged_and_never_as_sending(
    files: tuple[Path, Path],
) -> None:
    config, log = files
    config.write_text(CONFIG.replace("udpout:127.0.0.1:9", "serial:/dev/ttyNONE:57600"))
    with started((*COMMAND, str(config)), log) as process:
        logged(log, "WARNING MAVLink: serial:/dev/ttyNONE:57600: no such port; retrying")
        sleep(1.0)
        process.terminate()
    assert "sending" not in log.read_text()
    assert log.read_text().count("MAVLink: ") == 1


@pytest.mark.slow
def test_a_stopped_process_blames_neither_the_gauge_nor_the_link(files: tuple[Path, Path]) -> None:
    """SIGSTOP for longer than every limit of silence (3 s and 10 s)."""
    config, log = files
    with started((*COMMAND, str(config)), log) as process:
        logged(log, "GO: ")
        process.send_signal(signal.SIGSTOP)
        sleep(12.0)
        process.send_signal(signal.SIGCONT)
        sleep(5.0)
        process.terminate()
        assert ended(process) == 0
    text = log.read_text()
    assert "no gauge data" not in text
    assert "WARNING: " not in text
    assert "CRITICAL: " not in text
