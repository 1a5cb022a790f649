# SPDX-License-Identifier: Apache-2.0
"""Bus trace: transfers recorded as values, and played back in their order.

A trace holds the bytes of every transfer, and its error if it failed, so that a driver receives the
same bytes again and decides the same.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from smartbattery import errors
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, BusAbsentError, IntegrityError

# By name, because a recording outlives the version of the program that wrote it.
_ERRORS: dict[str, type[BatteryError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type)
}


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer: `reply` if it happened, else `error` and its sentence."""

    address: int
    tx: bytes
    rx_len: int
    reply: bytes | None
    error: str = ""
    text: str = ""

    def to_json(self) -> list[object]:
        """A short list of numbers and hex."""
        if self.reply is not None:
            return [self.address, self.tx.hex(), self.rx_len, self.reply.hex()]
        return [self.address, self.tx.hex(), self.rx_len, None, self.error, self.text]

    @classmethod
    def from_json(cls, row: object) -> "Transfer":
        """The inverse of `to_json`.

        Raises:
            IntegrityError: the row is not a transfer.
        """
        try:
            match row:
                case [int(address), str(tx), int(rx_len), str(reply)]:
                    return cls(address, bytes.fromhex(tx), rx_len, bytes.fromhex(reply))
                case [int(address), str(tx), int(rx_len), None, str(kind), str(text)]:
                    if kind in _ERRORS:
                        return cls(address, bytes.fromhex(tx), rx_len, None, kind, text)
        except ValueError:
            pass
        raise IntegrityError(f"not a transfer: {row!r:.80}")


class RecordingBus:
    """A bus that passes every transfer to `sink` after it happened or failed."""

    def __init__(self, bus: Bus, sink: Callable[[Transfer], None]) -> None:
        self._bus = bus
        self._sink = sink

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do the transfer; see `smartbattery.bus.Bus`."""
        try:
            reply = self._bus.transfer(address, tx, rx_len)
        except BatteryError as error:
            self._sink(Transfer(address, tx, rx_len, None, type(error).__name__, str(error)))
            raise
        self._sink(Transfer(address, tx, rx_len, reply))
        return reply


class PlaybackBus:
    """A bus that replies with recorded transfers, in their order."""

    def __init__(self, transfers: Iterable[Transfer] = ()) -> None:
        self._ahead = deque(transfers)

    def load(self, transfers: Iterable[Transfer]) -> None:
        """Replace the transfers; those left over are discarded."""
        self._ahead = deque(transfers)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply as recorded; see `smartbattery.bus.Bus`.

        Raises:
            BatteryError: as recorded; `BusAbsentError` also when the transfer differs from the
                recorded one, or none is left.
        """
        if not self._ahead:
            raise BusAbsentError("the recording ends here")
        recorded = self._ahead[0]
        if (recorded.address, recorded.tx, recorded.rx_len) != (address, tx, rx_len):
            raise BusAbsentError(
                f"the recording has a transfer of 0x{recorded.address:02x} {recorded.tx.hex()} "
                f"in place of 0x{address:02x} {tx.hex()}"
            )
        self._ahead.popleft()
        if recorded.reply is None:
            raise _ERRORS[recorded.error](recorded.text)
        return recorded.reply
