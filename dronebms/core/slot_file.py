# SPDX-License-Identifier: Apache-2.0
"""A small file with four slots: the newest content, one on the disk, one being synced, one free.

Each slot has a head with a number and a CRC-32, so that a torn one is recognised. A write is not
synced: the kernel writes it every half minute, an SD card hardly notices, and the loop does not
wait. The content survives the end of the process, however it ends. `start_sync` makes the newest
content survive a power cut too; its slot is not written until another one is on the disk.
"""

import errno
import os
import stat
import struct
import threading
import zlib
from pathlib import Path

from dronebms.core.bounded_input import not_regular
from dronebms.core.disk import make_folder, sync_folder, write_all
from dronebms.core.file_lock import locked

_HEAD = struct.Struct("<4sIII")  # mark, number, length, CRC-32 that starts with the number
_SLOTS = 4
_SYNC_S = 3.0  # that closing waits for a disk


class SlotFile:
    """An open file. For one thread.

    Attributes:
        number: of the newest content; it grows by one with each.
        number_on_disk: of the newest content that survives a power cut.
        sync_error: why the last `start_sync` failed; `None` if it did not.

    Args:
        path: of the file; its folder is created, and a symbolic link is not followed.
        mark: four bytes of its format.
        slot_bytes: size of a slot.
        locks: whether one process alone may use it.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, mark: bytes, slot_bytes: int, *, locks: bool = False) -> None:
        self._path = path
        self._mark = mark
        self._slot_bytes = slot_bytes
        self.number = 0
        self.number_on_disk = 0
        self.sync_error: OSError | None = None
        self._is_read = False
        self._newest: int | None = None  # slot of the newest content
        self._on_disk: int | None = None  # slot of a content that is synced
        self._syncing: tuple[int, int] | None = None  # slot and number that a thread syncs
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None  # in the thread
        make_folder(path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            self.close()
            raise not_regular(path)
        if locks and not locked(self._file):
            self.close()
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path))
        self._was_own = self.is_own

    @property
    def is_own(self) -> bool:
        """Whether no other user can write it."""
        status = os.fstat(self._file)
        others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        return status.st_uid == os.geteuid() and not others

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet."""
        return os.fstat(self._file).st_size == 0

    @property
    def is_deleted(self) -> bool:
        """Whether the path is no longer this file: it was deleted, or another one is there."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return True

    @property
    def loss(self) -> str | None:
        """Why a new file has to take the place of this one; `None` while it is the user's own.

        A file system without permissions has no file that is the user's own: none is replaced.
        """
        if self.is_deleted:
            return "it was deleted"
        return "others could write it" if self._was_own and not self.is_own else None

    @property
    def is_syncing(self) -> bool:
        """Whether `start_sync` is not done yet."""
        return self._thread is not None and self._thread.is_alive()

    def marks(self) -> list[bytes]:
        """First four bytes of each slot."""
        return [os.pread(self._file, 4, slot * self._slot_bytes) for slot in range(_SLOTS)]

    def read(self) -> bytes | None:
        """Content of the newest whole slot; `None` without one.

        Raises:
            OSError: the file cannot be read.
        """
        found = _whole_slots(self._file, self._mark, self._slot_bytes)
        self._is_read = True  # else a write would begin with a number that the file has passed
        if not found:
            return None
        self.number, self._newest, newest = max(found)
        # Which slot an earlier run has synced is unknown: the newest is, before the next write.
        self._on_disk = min(found)[1]
        try:
            os.fdatasync(self._file)
        except OSError as error:
            self.sync_error = error
        else:
            self._on_disk = self._newest
            self.number_on_disk = self.number
        return newest

    def write(self, body: bytes) -> None:
        """Write to a slot that is neither on the disk, nor being synced, nor the newest.

        The numbers continue those of the file, also of one that took the place of another.

        Raises:
            OSError: the file cannot be written; the next content goes to the same slot.
            ValueError: the content is longer than a slot.
        """
        if _HEAD.size + len(body) > self._slot_bytes:
            raise ValueError(f"{len(body)} bytes are too many")
        if not self._is_read:
            self.read()
        self._take_sync()
        used = {self._on_disk, self._newest, None if self._syncing is None else self._syncing[0]}
        slot = min(set(range(_SLOTS)) - used)
        number = self.number + 1
        head = _HEAD.pack(self._mark, number, len(body), zlib.crc32(body, number))
        write_all(self._file, head + body, slot * self._slot_bytes)
        self.number = number
        self._newest = slot

    def start_sync(self) -> None:
        """Make the newest content survive a power cut, in a thread, unless one is busy."""
        self._take_sync()
        if self._syncing is None and self._newest is not None:
            self._syncing = self._newest, self.number
            self._thread = threading.Thread(target=self._sync, name="sync", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Close the file; its content stays."""
        if self._thread is not None:
            self._thread.join(_SYNC_S)
        os.close(self._file)

    def _take_sync(self) -> None:
        """Take the result of a sync that has ended."""
        if self._syncing is None or self.is_syncing:
            return
        self.sync_error = self._error
        self._error = None
        if self.sync_error is None:
            self._on_disk, self.number_on_disk = self._syncing
        self._syncing = None

    def _sync(self) -> None:
        try:
            os.fdatasync(self._file)
            sync_folder(self._path.parent)
        except OSError as error:
            self._error = error


def own_file(
    path: Path, mark: bytes, slot_bytes: int, *, locks: bool = False
) -> tuple[SlotFile, bool]:
    """Open a file; a new one takes the place of one that other users can write.

    Returns:
        The file, and whether it is a new one in that place.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be opened, or not be replaced.
    """
    file = SlotFile(path, mark, slot_bytes, locks=locks)
    if file.is_own:
        return file, False
    file.close()
    path.unlink()
    return SlotFile(path, mark, slot_bytes, locks=locks), True


def _whole_slots(file: int, mark: bytes, slot_bytes: int) -> list[tuple[int, int, bytes]]:
    """Number, slot and body of each slot that is whole; raises OSError."""
    found: list[tuple[int, int, bytes]] = []
    for slot in range(_SLOTS):
        data = os.pread(file, slot_bytes, slot * slot_bytes)
        if len(data) < _HEAD.size:
            continue
        its_mark, number, length, checksum = _HEAD.unpack_from(data)
        body = data[_HEAD.size : _HEAD.size + length]
        if its_mark == mark and len(body) == length and zlib.crc32(body, number) == checksum:
            found.append((number, slot, body))
    return found


def damage(path: Path) -> str:
    """Why a file without a whole slot is not used."""
    return f"{path.name} is damaged"


def unreadable(path: Path) -> str:
    """Why a file that may be there is not used, if it cannot be opened or read."""
    return f"{path.name} cannot be read"


def exposure(path: Path) -> str:
    """Why a file that other users can write is not used."""
    return f"others could write {path.name}"


def unread_reason(path: Path, marks: tuple[bytes, ...], slot_bytes: int) -> str | None:
    """Why a run would not use the content of a file; `None` if it would, or without a file.

    It is the file of the user who has the folder. A file that this user cannot read is not judged.
    """
    try:
        status = path.lstat()
        owner = path.parent.stat().st_uid
        if not stat.S_ISREG(status.st_mode):  # a link too, which is not followed
            return unreadable(path)
        if status.st_uid != owner or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return exposure(path)
        is_unread = all(_is_damaged(path, mark, slot_bytes) for mark in marks)
    except OSError:
        return None
    return damage(path) if is_unread else None


def _is_damaged(path: Path, mark: bytes, slot_bytes: int) -> bool:
    """Whether a file that is not empty has no whole slot; it is read alone, without its lock."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.fstat(file).st_size > 0 and not _whole_slots(file, mark, slot_bytes)
    finally:
        os.close(file)
