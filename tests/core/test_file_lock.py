# SPDX-License-Identifier: Apache-2.0
"""Locks of files: one holder, free with the process, and unknown is no refusal."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dronebms.core.file_lock import is_in_use, locked
from dronebms.core.slot_file import SlotFile

HOLD = """
import os, sys, time
from dronebms.core.file_lock import locked
print(locked(os.open(sys.argv[1], os.O_RDWR)), flush=True)
time.sleep(600)
"""
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def test_a_file_is_in_use_until_its_process_ends_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    assert not is_in_use(path)
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own code
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert is_in_use(path)
        with path.open("rb") as file:
            assert not locked(file.fileno())
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_in_use(path)
        with path.open("rb") as file:
            assert locked(file.fileno())


def test_a_file_that_is_not_there_or_no_file_is_not_in_use(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("nothing", "pipe", "link", "."):
        assert not is_in_use(tmp_path / name)


@pytest.mark.parametrize("code", NO_LOCKS)
def test_a_file_system_without_locks_refuses_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(_file: object, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "x"
    with closing(SlotFile(path, b"TEST", 100, locks=True)) as file:
        file.write(b"content")
        assert not is_in_use(path)
    with closing(SlotFile(path, b"TEST", 100, locks=True)) as file:
        assert file.read() == b"content"
