# SPDX-License-Identifier: Apache-2.0
"""A CAN adapter on a serial port that speaks SLCAN. Source: the SLCAN commands of lawicel.com."""

import errno
import fcntl
import os
import select
import termios
import tty

from dronebms.dronecan.frames import CanFrame, FrameFilter
from dronebms.dronecan.transports.transport import LOST, MAX_DATA

_OPEN = b"\rC\rS8\rO\r"  # close, 1 Mbit/s, open
_CLOSE = b"C\r"
_LINE_MAX = 64  # longer ones are no frames
_CHUNK_BYTES = 8192
_UNSENT_MAX = 2048
# "T", 8 digits, length
_ID_CHARS = 8
_HEAD_CHARS = 10


class SlcanTransport:
    """A USB or serial adapter that speaks SLCAN, at 1 Mbit/s on the bus.

    Args:
        path: of the port.
    """

    def __init__(self, path: str) -> None:
        self._filter = FrameFilter()
        self._received = b""
        self._unsent = _OPEN
        self._port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            tty.setraw(self._port)
            modes = termios.tcgetattr(self._port)
            modes[4] = modes[5] = termios.B3000000  # USB adapters ignore it
            termios.tcsetattr(self._port, termios.TCSANOW, modes)
            fcntl.ioctl(self._port, termios.TIOCEXCL)
            self._flush()
        except termios.error as error:
            os.close(self._port)
            raise OSError(errno.ENOTTY, "not a serial port") from error
        except OSError:
            os.close(self._port)
            raise

    def fileno(self) -> int:
        """Descriptor of the port."""
        return self._port

    def accept(self, frames: FrameFilter) -> None:
        """Set the frames that are not dropped."""
        self._filter = frames

    def receive(self) -> list[CanFrame]:
        """Frames of other senders."""
        self._flush()
        try:
            data = os.read(self._port, _CHUNK_BYTES)
        except BlockingIOError:
            return []
        if not data:
            self._raise_if_lost()
        *lines, rest = (self._received + data).split(b"\r")
        self._received = rest[-_LINE_MAX:]
        frames = (self._parsed(line) for line in lines)
        return [frame for frame in frames if frame is not None]

    def send(self, frame: CanFrame) -> bool:
        """Send a line; lines wait while the port is full."""
        self._flush()
        if len(self._unsent) > _UNSENT_MAX:
            return False
        self._unsent += b"T%08X%X%s\r" % (
            frame.can_id,
            len(frame.data),
            frame.data.hex().upper().encode(),
        )
        self._flush()
        return True

    def close(self) -> None:
        """Close the bus and the port; discards what waits."""
        try:
            termios.tcflush(self._port, termios.TCOFLUSH)
            os.write(self._port, _CLOSE)
        except (OSError, termios.error):
            pass  # the adapter is gone
        os.close(self._port)

    def _flush(self) -> None:
        if self._unsent:
            try:
                self._unsent = self._unsent[os.write(self._port, self._unsent) :]
            except BlockingIOError:
                pass

    def _raise_if_lost(self) -> None:
        poll = select.poll()
        poll.register(self._port, 0)  # hang-up and error are always reported
        if poll.poll(0):
            raise OSError(LOST, "the adapter was disconnected")

    def _parsed(self, line: bytes) -> CanFrame | None:
        """The frame of a line, `None` of any other line; a bell stands for an error."""
        line = line.lstrip(b"\x07\n")
        if line[:1] != b"T" or len(line) < _HEAD_CHARS:
            return None
        try:
            can_id = int(line[1 : 1 + _ID_CHARS], 16)
            length = int(line[1 + _ID_CHARS : _HEAD_CHARS], 16)
            data = bytes.fromhex(line[_HEAD_CHARS : _HEAD_CHARS + 2 * length].decode())
        except ValueError:
            return None
        whole = length <= MAX_DATA and len(data) == length
        return CanFrame(can_id, data) if whole and self._filter.accepts(can_id) else None
