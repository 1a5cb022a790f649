"""An advisory lock on one gauge, so that two programs do not ask it at once.

A manufacturer read is a write and then a read; two readers get each other's answers. The kernel
frees the lock when its process ends, however it ends.
"""

import fcntl
import os
import tempfile
from pathlib import Path

from smartbattery.errors import BusError

_FOLDER = Path("/run/lock")
_EVERYBODY = 0o666


class InUseError(BusError):
    """Another program has this gauge."""


class GaugeLock:
    """Held from its making until `close`.

    Args:
        bus_path: device of the adapter; links to it count as it.
        address: 7-bit.
        holder: what the other program is told, "dronebms run".
        folder: where lock files are; for tests.

    Raises:
        InUseError: somebody has it; the sentence says who.
        BusError: no lock file can be made.
    """

    def __init__(
        self, bus_path: str, address: int, holder: str, folder: Path | None = None
    ) -> None:
        place = folder or (_FOLDER if os.access(_FOLDER, os.W_OK) else Path(tempfile.gettempdir()))
        name = str(Path(bus_path).resolve()).strip("/").replace("/", "-")
        path = place / f"dronebms-{name}-{address:02x}.lock"
        try:
            self._file = _opened(path)  # not truncated: it says who has it
        except OSError as error:
            raise BusError(f"{path} cannot be made: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = os.read(self._file, 200).decode("utf-8", "replace").strip() or "another program"
            os.close(self._file)
            raise InUseError(f"{bus_path} address 0x{address:02x} is in use by {who}") from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{holder} (process {os.getpid()})\n".encode(), 0)

    def close(self) -> None:
        """Let others have it."""
        os.close(self._file)


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # Without O_CREAT: Debian's kernels refuse it for a file of another user in /run/lock.
        return os.open(path, flags)
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT)
    os.fchmod(file, _EVERYBODY)  # whatever the umask: any user may come second
    return file
