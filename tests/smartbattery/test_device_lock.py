# SPDX-License-Identifier: Apache-2.0
"""Who has locked a gauge, without locking anything."""

import fcntl
import os
from pathlib import Path

import pytest

from smartbattery.device_lock import GaugeLock, is_locked, lock_holder
from smartbattery.errors import InUseError
from tests.disks import files_limited_to

BUS = "/dev/i2c-none"


def test_the_holder_of_a_gauge_is_named_while_it_holds_it(tmp_path: Path) -> None:
    assert lock_holder(BUS, 0x0B, tmp_path) is None
    lock = GaugeLock(BUS, 0x0B, "dronebms run", tmp_path)
    assert lock_holder(BUS, 0x0B, tmp_path) == f"dronebms run (process {os.getpid()})"
    assert lock_holder(BUS, 0x0C, tmp_path) is None
    (path,) = tmp_path.iterdir()
    path.write_text("")
    assert lock_holder(BUS, 0x0B, tmp_path) == "another program"
    lock.close()
    assert lock_holder(BUS, 0x0B, tmp_path) is None
    assert not is_locked(tmp_path / "none")


def test_a_lock_on_a_full_disk_holds_without_a_name(tmp_path: Path) -> None:
    with files_limited_to(0):
        lock = GaugeLock(BUS, 0x0B, "dronebms run", tmp_path)
    assert lock_holder(BUS, 0x0B, tmp_path) == "another program"
    with pytest.raises(InUseError, match="is in use by another program"):
        GaugeLock(BUS, 0x0B, "dronebms probe", tmp_path)
    lock.close()


def test_a_lock_that_cannot_be_read_has_a_holder_without_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "smartbattery-dev-i2c-none-0b.lock"
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert lock_holder(BUS, 0x0B, tmp_path) == "another program"
    os.close(held)


def test_a_link_in_the_place_of_a_lock_is_not_read(tmp_path: Path) -> None:
    """Every user may write in the folder of the lock files."""
    (tmp_path / "secret").write_text("name of a secret")
    (tmp_path / "smartbattery-dev-i2c-none-0b.lock").symlink_to(tmp_path / "secret")
    held = os.open(tmp_path / "secret", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert lock_holder(BUS, 0x0B, tmp_path) == "another program"
    os.close(held)
