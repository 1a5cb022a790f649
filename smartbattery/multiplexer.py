# SPDX-License-Identifier: Apache-2.0
"""One channel of a TCA9548A-class multiplexer as a bus of its own.

Packs of one kind sit at one address (0x0B), so several need a multiplexer. Its control register
is one byte, a bit a channel; a new selection takes effect at the STOP.
Source: TI SCPS207 (TCA9548A), section 8.5.
"""

from collections.abc import Iterable

from smartbattery.bus import Bus
from smartbattery.errors import NackError

ADDRESSES = range(0x70, 0x78)
CHANNELS = range(8)
_NO_CHANNEL = b"\x00"


class MuxBus:
    """A bus behind a multiplexer; for the thread that owns the adapter.

    The channel is selected before every transfer: after a reset of the multiplexer, or a selection
    by another host, the values of one pack must never appear as those of another.

    Args:
        bus: the adapter.
        address: of the multiplexer.
        channel: 0..7.
        others: addresses of further multiplexers on the adapter; their channels are closed first,
            because the packs behind them have the same address.
    """

    def __init__(self, bus: Bus, address: int, channel: int, others: Iterable[int] = ()) -> None:
        if address not in ADDRESSES or channel not in CHANNELS:
            raise ValueError(f"no channel {channel} of a multiplexer at 0x{address:02x}")
        self._bus = bus
        self._address = address
        self._selection = bytes((1 << channel,))
        self._others = tuple(others)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Select the channel, then do the transfer; see `smartbattery.bus.Bus`."""
        for other in self._others:
            try:
                self._bus.transfer(other, _NO_CHANNEL, 0)
            except NackError:
                pass  # an absent multiplexer connects no pack
        self._bus.transfer(self._address, self._selection, 0)
        return self._bus.transfer(address, tx, rx_len)
