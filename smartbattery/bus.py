# SPDX-License-Identifier: Apache-2.0
"""The boundary between drivers and adapters: one raw transfer on an SMBus.

PEC, words and blocks live above it, so that every adapter runs the same code and the virtual gauge
is exact to the byte.
"""

from typing import Protocol


class Bus(Protocol):
    """A bus with devices on it. Implementations: hardware, virtual, recording, playback."""

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Write `tx` to a 7-bit `address`, then read `rx_len` bytes after a repeated start.

        With `rx_len` 0 the transfer is a write alone.

        Returns:
            Exactly `rx_len` bytes as they were received, without any check.

        Raises:
            BusError: the transfer did not happen; `NackError`, `BusTimeoutError` and
                `BusAbsentError` are more specific.
            UnsupportedError: the adapter cannot do raw transfers.
        """
