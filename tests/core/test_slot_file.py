# SPDX-License-Identifier: Apache-2.0
"""A file with four places: one write is lost at most, what is synced is never written to."""

import errno
import os
import struct
import threading
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from dronebms.core.slot_file import SlotFile, unread_reason
from tests.disks import files_limited_to
from tests.special_files import special_file

MARK, SLOT_BYTES = b"TEST", 64
NO_FILE = {"pipe": "not a regular file", "folder": "is a directory", "link": "symbolic links"}


def opened(path: Path, *, locks: bool = False) -> "closing[SlotFile]":
    return closing(SlotFile(path, MARK, SLOT_BYTES, locks=locks))


def wait_for(file: SlotFile) -> None:
    end_s = monotonic() + 30.0
    while file.is_syncing:
        assert monotonic() < end_s


def test_any_flipped_bit_loses_the_last_write_at_most(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x"
    with opened(path) as file:
        assert (file.read(), file.is_empty, file.marks()) == (None, True, [b""] * 4)
        for number in range(9):
            file.write(b"content %d" % number)
        assert (file.read(), file.is_empty, file.marks()) == (
            b"content 8",
            False,
            [MARK, MARK, b"", b""],
        )
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        path.write_bytes(torn)
        with opened(path) as file:
            assert file.read() in (b"content 8", b"content 7")


def test_a_run_after_the_first_one_overwrites_an_older_place(tmp_path: Path) -> None:
    for number in range(5):
        with opened(tmp_path / "x") as file:
            assert file.read() == (b"%d" % (number - 1) if number else None)
            file.write(b"%d" % number)


def test_a_torn_write_during_a_sync_loses_that_write_alone(tmp_path: Path) -> None:
    """With one content on the disk, one that is being synced and a newer one."""
    path = tmp_path / "x"
    with opened(path) as file:
        file._on_disk, file._syncing = None, None
        for number in range(4):
            file.write(b"%d" % number)
            if number == 0:
                file._on_disk = file._newest
            if number == 1:
                file._syncing, file._thread = (file._newest or 0, 2), threading.current_thread()
        file._thread = None
    data = path.read_bytes()
    numbers = {
        struct.unpack_from("<I", data, at + 4)[0]: at for at in range(0, len(data), SLOT_BYTES)
    }
    assert sorted(numbers) == [1, 2, 3, 4]
    torn = bytearray(data)
    torn[numbers[4] + 16] ^= 1
    path.write_bytes(torn)
    with opened(path) as file:
        assert file.read() == b"2"


def test_content_that_is_synced_is_whole_whatever_is_torn_later(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with opened(path) as file:
        file.start_sync()  # without content there is nothing to sync
        for number in range(7):
            if number == 3:
                file.start_sync()
                wait_for(file)
            file.write(b"content %d" % number)
        assert (file.number, file.number_on_disk, file.sync_error) == (7, 3, None)
    data = path.read_bytes()
    place = next(at for at in range(0, len(data), SLOT_BYTES) if b"content 2" in data[at : at + 64])
    torn = bytearray(len(data))  # of the rest nothing reached the disk
    torn[place : place + SLOT_BYTES] = data[place : place + SLOT_BYTES]
    path.write_bytes(torn)
    with opened(path) as file:
        assert file.read() == b"content 2"
        file.write(b"content 3")
        file.write(b"content 4")
        assert b"content 2" in path.read_bytes()
        assert file.read() == b"content 4"


def test_writing_goes_on_while_a_disk_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    with opened(tmp_path / "x") as file:
        file.write(b"synced")
        file.start_sync()
        wait_for(file)
        file.write(b"being synced")
        monkeypatch.setattr(os, "fdatasync", lambda _: os.read(read, 1))
        file.start_sync()
        for number in range(4):
            file.start_sync()  # one at a time
            file.write(b"content %d" % number)
        data = (tmp_path / "x").read_bytes()
        assert b"synced" in data[:SLOT_BYTES]
        assert b"being synced" in data
        assert b"content 3" in data
        os.write(write, b"x")
        wait_for(file)
        file.write(b"content 4")
        assert file.number_on_disk == 2
    os.close(read)
    os.close(write)


def test_a_sync_that_fails_is_known_and_the_synced_place_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with opened(tmp_path / "x") as file:
        file.write(b"synced")
        file.start_sync()
        wait_for(file)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", fail)
            file.write(b"not synced")
            file.start_sync()
            wait_for(file)
        for number in range(3):
            file.write(b"content %d" % number)
        assert str(file.sync_error) == "[Errno 5] Input/output error"
        assert file.number_on_disk == 1
        assert b"synced" in (tmp_path / "x").read_bytes()[:SLOT_BYTES]
        file.start_sync()
        wait_for(file)
        file.write(b"content 3")
        assert (file.sync_error, file.number_on_disk) == (None, 5)


def test_a_write_that_fails_leaves_the_newest_content(tmp_path: Path) -> None:
    with opened(tmp_path / "x") as file:
        file.write(b"first")
        for _ in range(2):
            with files_limited_to(SLOT_BYTES + 20), pytest.raises(OSError, match="too large"):
                file.write(b"longer than there is room")
        assert file.read() == b"first"
        file.write(b"second")
        assert file.read() == b"second"


def test_content_that_is_longer_than_a_place_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "x") as file:
        for body in (b"a", b"b" * (SLOT_BYTES - 16)):
            file.write(body)
        with pytest.raises(ValueError, match="49 bytes are too many"):
            file.write(b"c" * (SLOT_BYTES - 15))
        assert file.read() == b"b" * (SLOT_BYTES - 16)


def test_a_locked_file_and_one_of_others_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with opened(path, locks=True) as file:
        assert file.is_own
        with pytest.raises(BlockingIOError):
            SlotFile(path, MARK, SLOT_BYTES, locks=True)
        assert file.loss is None
        path.chmod(0o620)
        assert not file.is_own
        assert not file.is_deleted
        assert file.loss == "others could write it"
        with opened(path) as other:  # as on a file system without permissions
            assert other.loss is None
        path.unlink()
        assert file.loss == "it was deleted"
        path.touch()
        assert file.loss == "it was deleted"


def test_a_number_that_could_not_be_read_is_not_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    with opened(path) as file:
        for body in (b"a", b"b", b"c"):
            file.write(body)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with opened(path) as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", failing)
            for use in (file.read, lambda: file.write(b"d")):
                with pytest.raises(OSError, match="Input/output error"):
                    use()
        file.write(b"e")
        assert file.number == 4
    with opened(path) as file:
        assert file.read() == b"e"


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "link"
    if kind == "link":
        path.symlink_to(tmp_path / "x")
    else:
        path = special_file(tmp_path, kind)
    with pytest.raises(OSError, match=f"(?i){NO_FILE[kind]}"):
        SlotFile(path, MARK, SLOT_BYTES)
    assert unread_reason(path, (MARK,), SLOT_BYTES) == f"{path.name} cannot be read"
