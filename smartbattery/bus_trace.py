"""Transfers as values: written down while they happen, and played back in their order.

A recording holds what was asked and what came, errors too, so that a driver sees the same bytes
again and decides the same.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from smartbattery import errors
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, BusError, IntegrityError

# By name, because a recording outlives the program that made it.
_ERRORS: dict[str, type[BatteryError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type)
}


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer: `reply` when it happened, `error` and its sentence when it did not."""

    address: int
    tx: bytes
    rx_len: int
    reply: bytes | None
    error: str = ""
    text: str = ""

    def to_json(self) -> list[object]:
        """Return a short list of numbers and hex."""
        if self.reply is not None:
            return [self.address, self.tx.hex(), self.rx_len, self.reply.hex()]
        return [self.address, self.tx.hex(), self.rx_len, None, self.error, self.text]

    @classmethod
    def from_json(cls, row: object) -> "Transfer":
        """Read what `to_json` wrote.

        Raises:
            IntegrityError: it is not that.
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
    """A bus that hands every transfer to `sink` after it happened or failed."""

    def __init__(self, bus: Bus, sink: Callable[[Transfer], None]) -> None:
        self._bus = bus
        self._sink = sink

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass the transfer on; see `smartbattery.bus.Bus`."""
        try:
            reply = self._bus.transfer(address, tx, rx_len)
        except BatteryError as error:
            self._sink(Transfer(address, tx, rx_len, None, type(error).__name__, str(error)))
            raise
        self._sink(Transfer(address, tx, rx_len, reply))
        return reply


class PlaybackBus:
    """A bus that answers from recorded transfers, in their order."""

    def __init__(self, transfers: Iterable[Transfer] = ()) -> None:
        self._ahead = deque(transfers)

    def load(self, transfers: Iterable[Transfer]) -> None:
        """Answer from these now; what was left of others is no answer to anything."""
        self._ahead = deque(transfers)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Answer as recorded; see `smartbattery.bus.Bus`.

        Raises:
            BusError: also when something else is asked than was recorded, or nothing is left.
        """
        if not self._ahead:
            raise BusError("the recording ends here")
        wanted = self._ahead[0]
        if (wanted.address, wanted.tx, wanted.rx_len) != (address, tx, rx_len):
            raise BusError(
                f"the recording has a read of 0x{wanted.address:02x} {wanted.tx.hex()} "
                f"where 0x{address:02x} {tx.hex()} is asked"
            )
        self._ahead.popleft()
        if wanted.reply is None:
            raise _ERRORS[wanted.error](wanted.text)
        return wanted.reply
