# SPDX-License-Identifier: Apache-2.0
"""Advisory lock on one gauge, so that two processes do not poll it at once.

A manufacturer-access read is a write and then a read: two readers receive each other's replies. The
kernel releases the lock when its process ends, however it ends.
"""

import fcntl
import os
import tempfile
from pathlib import Path

from smartbattery.errors import BusError, InUseError

_FOLDER = Path("/run/lock")
_READ_WRITE_ALL = 0o666
_NAME_BYTES = 200
_UNKNOWN = "another program"


class GaugeLock:
    """A lock that is held from construction until `close`.

    Args:
        bus_path: device of the adapter; a link to it counts as the same device.
        address: 7-bit.
        holder: name of this program, as another process reports it: "dronebms run".
        folder: of the lock files; for tests.

    Raises:
        InUseError: another process holds the lock; the sentence names it.
        BusError: the lock file cannot be created.
    """

    def __init__(
        self, bus_path: str, address: int, holder: str, folder: Path | None = None
    ) -> None:
        path = _lock_path(bus_path, address, folder)
        try:
            self._file = _opened(path)  # not truncated: it contains the name of the holder
        except OSError as error:
            raise BusError(f"{path} cannot be created: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            name = _holder(self._file)
            os.close(self._file)
            raise InUseError(f"{bus_path} address 0x{address:02x} is in use by {name}") from error
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{holder} (process {os.getpid()})\n".encode(), 0)
        except OSError:
            pass  # a full disk: the lock holds, without a name

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)


def lock_holder(bus_path: str, address: int, folder: Path | None = None) -> str | None:
    """Name of the program that has locked a gauge, `None` if none has. Locks nothing itself."""
    path = _lock_path(bus_path, address, folder)
    if not is_locked(path):
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return _UNKNOWN
    try:
        return _holder(file)
    finally:
        os.close(file)


def _holder(file: int) -> str:
    """Name in a lock file, in whose folder every user may write."""
    try:
        return os.read(file, _NAME_BYTES).decode(errors="replace").strip() or _UNKNOWN
    except OSError:
        return _UNKNOWN


def is_locked(path: Path) -> bool:
    """Whether a process has locked a file by flock(2). Source: proc_locks(5)."""
    try:
        inode = f":{path.stat().st_ino}"
        rows = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any("FLOCK" in row and inode in [f[-len(inode) :] for f in row.split()] for row in rows)


def _lock_path(bus_path: str, address: int, folder: Path | None) -> Path:
    place = folder or (_FOLDER if os.access(_FOLDER, os.W_OK) else Path(tempfile.gettempdir()))
    name = str(Path(bus_path).resolve()).strip("/").replace("/", "-")
    return place / f"smartbattery-{name}-{address:02x}.lock"


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # Without O_CREAT: kernels of Debian refuse it for a file of another user in /run/lock.
        return os.open(path, flags)
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT)
    os.fchmod(file, _READ_WRITE_ALL)  # whatever the umask: the next process may be another user's
    return file
