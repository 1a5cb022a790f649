# SPDX-License-Identifier: Apache-2.0
"""What a reply of a gauge carries: the numbers in it, where they are, and its PEC.

One reader for words, blocks and manufacturer-access reads of a gauge kind, so that a campaign can
record or change a quantity whatever transfer carries it. Library.
"""

from dataclasses import dataclass

from sim.plant.gauge_kinds import blocks_of, gauge_kind, words_of
from smartbattery import registers as sbs
from smartbattery.pec import pec, read_prefix
from smartbattery.profiles import AccessMethod, BlockRead
from smartbattery.registers import Register
from smartbattery.smbus import BLOCK_ACCESS

WORD_BYTES = 2
WHOLE_BYTES = 40  # longer than any reply
_COUNT_BYTES, _ECHO_BYTES = 1, 2


@dataclass(frozen=True, slots=True)
class WireNumber:
    """One number of a reply; `value = (raw * scale + zero) * 10^power`."""

    name: str  # field of the snapshot
    offset: int  # of its first byte in the reply
    size: int
    signed: bool
    scale: float
    zero: float
    scaled_by: sbs.ScaledBy = sbs.ScaledBy.NOTHING

    def raw(self, reply: bytes) -> int:
        """Number in a reply."""
        part = reply[self.offset : self.offset + self.size]
        return int.from_bytes(part, "little", signed=self.signed)

    def value(self, raw: int, power: int = 0) -> float:
        """Value of a number."""
        return (raw * self.scale + self.zero) * 10.0**power

    def written(self, reply: bytes, raw: int) -> bytes:
        """The reply with another number; it wraps as in a register."""
        part = (raw % (1 << 8 * self.size)).to_bytes(self.size, "little")
        return reply[: self.offset] + part + reply[self.offset + self.size :]


def _word(row: Register) -> WireNumber:
    return WireNumber(row.field, 0, WORD_BYTES, row.signed, row.scale, row.offset, row.scaled_by)


def _block(query: BlockRead) -> tuple[WireNumber, ...]:
    start = 0 if query.access is AccessMethod.RAW else _COUNT_BYTES
    start += _ECHO_BYTES if query.access is AccessMethod.MANUFACTURER else 0
    return tuple(
        WireNumber(f.name, start + f.offset, f.size, f.signed, f.scale, f.zero)
        for f in query.block.fields
    )


class WireReader:
    """Follows the transfers of a host to one gauge.

    Args:
        kind: name of the gauge kind.
        with_pec: whether its replies end in a PEC.
    """

    def __init__(self, kind: str, *, with_pec: bool) -> None:
        row = gauge_kind(kind)
        self._with_pec = with_pec
        self._words = {command: _word(word) for command, word in words_of(row).items()}
        self._blocks = {command: _block(query) for command, query in blocks_of(row).items()}
        self._raw = {c for c, q in blocks_of(row).items() if q.access is AccessMethod.RAW}
        profile = row.profile
        queries = (*profile.cells, *profile.extra, *profile.replaced)
        self._manufacturer = {
            query.command: _block(query)
            for query in queries
            if isinstance(query, BlockRead) and query.access is AccessMethod.MANUFACTURER
        }
        self._selector = -1

    def note(self, tx: bytes, rx_len: int) -> None:
        """Follow a transfer: a write of the host may select a block."""
        if not rx_len and tx[:1] == bytes((BLOCK_ACCESS,)) and len(tx) > WORD_BYTES + 1:
            self._selector = int.from_bytes(tx[2:4], "little")

    def numbers(self, tx: bytes) -> tuple[WireNumber, ...]:
        """Numbers in the reply to a read, none for a text or an unknown command."""
        if tx[0] == BLOCK_ACCESS:
            return self._manufacturer.get(self._selector, ())
        word = self._words.get(tx[0])
        return self._blocks.get(tx[0], ()) if word is None else (word,)

    def command_of(self, name: str) -> int | None:
        """Command of the word that carries a field, `None` for a block."""
        return next((c for c, number in self._words.items() if number.name == name), None)

    def length(self, tx: bytes, reply: bytes) -> int:
        """Bytes of a whole reply before its PEC."""
        if tx[0] in self._words:
            return WORD_BYTES
        if tx[0] in self._raw:
            return max(number.offset + number.size for number in self._blocks[tx[0]])
        return _COUNT_BYTES + reply[0]

    def sealed(self, tx: bytes, data: bytes) -> bytes:
        """A reply of these bytes, with the PEC of a gauge that sends one."""
        code = pec(data, read_prefix(sbs.ADDRESS, tx[0]))
        return data + bytes((code,)) if self._with_pec else data
