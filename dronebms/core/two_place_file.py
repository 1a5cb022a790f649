"""A small file with two places that are written alternately: if one is torn, the other is whole.

Each place has a head with a number and a CRC-32. Nothing is renamed, allocated or synced, so that
the kernel writes the file every half minute and an SD card hardly notices. The content survives the
end of the process, however it ends; a power cut may lose it.
"""

import fcntl
import os
import stat
import struct
import zlib
from pathlib import Path

_HEAD = struct.Struct("<4sIII")  # mark, number, length, CRC-32 that starts with the number


class TwoPlaceFile:
    """An open file. For one thread.

    Args:
        path: of the file; its folder is created, and a symbolic link is not followed.
        mark: four bytes of its format.
        place_bytes: size of a place.
        locks: whether one process alone may use it.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, mark: bytes, place_bytes: int, *, locks: bool = False) -> None:
        self._path, self._mark, self._place_bytes = path, mark, place_bytes
        self._number = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        try:
            if locks:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise

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
        """Whether the path is no longer this file."""
        try:
            return self._path.stat().st_ino != os.fstat(self._file).st_ino
        except FileNotFoundError:
            return True

    def marks(self) -> list[bytes]:
        """First four bytes of each place."""
        return [os.pread(self._file, 4, place * self._place_bytes) for place in range(2)]

    def read(self) -> bytes | None:
        """Content of the newest whole place; `None` without one.

        Raises:
            OSError: the file cannot be read.
        """
        bodies: list[tuple[int, bytes]] = []
        for place in range(2):
            data = os.pread(self._file, self._place_bytes, place * self._place_bytes)
            if len(data) < _HEAD.size:
                continue
            mark, number, length, checksum = _HEAD.unpack_from(data)
            body = data[_HEAD.size : _HEAD.size + length]
            if mark == self._mark and len(body) == length and zlib.crc32(body, number) == checksum:
                bodies.append((number, body))
        if not bodies:
            return None
        self._number, newest = max(bodies)
        return newest

    def write(self, body: bytes) -> None:
        """Write to the place of the older content.

        Raises:
            OSError: the file cannot be written.
            ValueError: the content is longer than a place.
        """
        if _HEAD.size + len(body) > self._place_bytes:
            raise ValueError(f"{len(body)} bytes are too many")
        self._number += 1
        head = _HEAD.pack(self._mark, self._number, len(body), zlib.crc32(body, self._number))
        os.pwrite(self._file, head + body, self._number % 2 * self._place_bytes)

    def close(self) -> None:
        """Close the file; its content stays."""
        os.close(self._file)
