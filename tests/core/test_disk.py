# SPDX-License-Identifier: Apache-2.0
"""Writes that a disk has: whole, and with names that survive a power cut."""

import errno
import os
from pathlib import Path

import pytest

from dronebms.core import disk
from dronebms.core.atomic_file import atomic_writer


def test_a_write_that_takes_a_part_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:3]))
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:3], at))
    with (tmp_path / "x").open("wb", buffering=0) as file:
        disk.write_all(file.fileno(), b"0123456789")
        disk.write_all(file.fileno(), b"abcdefgh", 5)
        disk.write_all(file.fileno(), b"")
    assert (tmp_path / "x").read_bytes() == b"01234abcdefgh"


def test_each_folder_that_is_made_is_synced_in_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", synced.append)
    for _ in range(2):
        disk.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError):
            disk.make_folder(path)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_syncs_no_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if code == errno.EINVAL:
        disk.sync_folder(tmp_path)
    else:
        with pytest.raises(OSError, match="Input/output error"):
            disk.sync_folder(tmp_path)


def test_the_name_of_an_atomic_file_is_synced_after_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, str | None]] = []
    place, sync = tmp_path / "x", os.fsync

    def fsync(file: int) -> None:
        is_folder = os.path.samestat(os.fstat(file), tmp_path.stat())
        synced.append((is_folder, place.read_text() if place.exists() else None))
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_writer(place) as file:
        file.write("content")
    assert synced == [(False, None), (True, "content")]
