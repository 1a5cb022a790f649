# SPDX-License-Identifier: Apache-2.0
"""An open CAN bus, whatever carries its frames.

A transport exists from its opening to the loss of the bus; `can_bus.py` opens the next one.
Methods raise OSError when the bus is lost. Classic extended data frames alone are carried.
"""

import errno
from typing import Protocol

from dronebms.dronecan.frames import CanFrame, FrameFilter

MAX_READS = 512  # frames of a call; a flood must not keep the caller
# bits of linux/can.h
EXTENDED = 0x80000000
REMOTE = 0x40000000
ERROR = 0x20000000
ID = 0x1FFFFFFF
MAX_DATA = 8
LOST = errno.ENODEV  # errno of a bus that is gone


class Transport(Protocol):
    """An open bus. Every method but `close` may raise OSError."""

    def fileno(self) -> int:
        """Descriptor that becomes readable with a frame."""

    def accept(self, frames: FrameFilter) -> None:
        """Set the frames that `receive` returns."""

    def receive(self) -> list[CanFrame]:
        """Accepted frames since the last call, a bounded number."""

    def send(self, frame: CanFrame) -> bool:
        """Send a frame; return False if there is no room for it."""

    def close(self) -> None:
        """Close the bus."""
