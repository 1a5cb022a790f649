# SPDX-License-Identifier: Apache-2.0
"""SMBus reads of words, texts and blocks from one address, with PEC and retries.

If the gauge sends a PEC, a reply is accepted only if its PEC is valid. The only write on the bus is
the selector of a manufacturer-access read; `read_manufacturer` is the one place that sends it, and
sends only selectors of a fixed set that read.
"""

from dataclasses import dataclass

from smartbattery.bq40.selectors import READ_SELECTORS
from smartbattery.bus import Bus
from smartbattery.errors import (
    BusAbsentError,
    BusError,
    BusTimeoutError,
    IntegrityError,
    NackError,
    UnsupportedError,
)
from smartbattery.pec import TABLE, pec, read_prefix
from smartbattery.registers import MAX_BLOCK, PEC_VERSION, SPECIFICATION, VOLTAGE, version_of

_TEXT_ATTEMPTS = 2
_AGREEING = 2  # equal readings of SpecificationInfo that decide whether there is a PEC
_SPECIFICATION_READS = 6  # a single bit error must not disable PEC checking
_PRINTABLE = range(0x20, 0x7F)
_COMMANDS = tuple(bytes((command,)) for command in range(256))
_MAX_BYTES = 36  # of a block: the 34 bytes of a manufacturer read are more than SMBus allows
BLOCK_ACCESS = 0x44  # ManufacturerBlockAccess


@dataclass(slots=True)
class TransferCounts:
    """Transfers so far, and how many of them failed."""

    transfers: int = 0
    nacks: int = 0
    timeouts: int = 0
    pec_errors: int = 0


class SmbusDevice:
    """A device at one address of a bus.

    Attributes:
        has_pec: whether replies end in a PEC that is checked; see `detect_pec`.
        counts: transfers and failures; they only grow.
    """

    def __init__(self, bus: Bus, address: int) -> None:
        self.has_pec = False
        self.counts = TransferCounts()
        self._bus = bus
        self._address = address
        self._prefix = [read_prefix(address, command) for command in range(256)]

    def read_word(self, command: int) -> int:
        """Read a word, 0..65535, with one retry.

        Raises:
            BusError: no reply; `NackError` when both attempts were refused.
            IntegrityError: the retry also failed its check.
        """
        try:
            return self._read_word(command)
        except (NackError, IntegrityError):
            return self._read_word(command)

    def read_text(self, command: int) -> str | None:
        """Read a text block; `None` when the gauge has none or sends no text.

        Raises:
            BusError: the bus does not work at all.
        """
        for _ in range(_TEXT_ATTEMPTS):
            try:
                data = self._read_text_block(command)
            except (NackError, IntegrityError, UnsupportedError):
                continue
            data = data.split(b"\0")[0]  # some packs pad with zeros, or send old bytes behind them
            if all(byte in _PRINTABLE for byte in data):
                return data.decode("ascii").strip() or None
        return None

    def read_block(self, command: int, length: int) -> bytes:
        """Read a block of about `length` bytes.

        Raises:
            BusError: no reply.
            IntegrityError: the reply is not a block with a valid PEC.
        """
        reply = self._transfer(command, 1 + length + self.has_pec)
        if not 0 < reply[0] <= _MAX_BYTES:
            raise IntegrityError(f"{self._at(command)}: a block of {reply[0]} bytes")
        if reply[0] > length:
            reply = self._transfer(command, 1 + reply[0] + self.has_pec)
        end = 1 + reply[0]
        if len(reply) < end + self.has_pec:
            raise IntegrityError(f"{self._at(command)}: a block that changes its length")
        if self.has_pec and pec(reply[:end], self._prefix[command]) != reply[end]:
            raise self._wrong_pec(command, reply)
        return reply[1:end]

    def read_raw(self, command: int, length: int) -> bytes:
        """Read `length` bytes that are sent without a count.

        Raises:
            BusError: no reply.
            IntegrityError: the PEC is wrong.
        """
        reply = self._transfer(command, length + self.has_pec)
        if self.has_pec and pec(reply[:length], self._prefix[command]) != reply[length]:
            raise self._wrong_pec(command, reply)
        return reply[:length]

    def read_manufacturer(self, selector: int, length: int) -> bytes:
        """Read manufacturer data, without the echo of its selector.

        Raises:
            UnsupportedError: the selector is not one of `READ_SELECTORS`; nothing was sent.
            BusError: no reply.
            IntegrityError: the reply is incomplete, or belongs to another selector because another
                host reads this gauge at the same time.
        """
        if selector not in READ_SELECTORS:
            raise UnsupportedError(f"0x{selector:04x} is not a manufacturer-access read: not sent")
        select = bytes((2, selector & 0xFF, selector >> 8))
        if self.has_pec:
            select += bytes((pec((self._address << 1, BLOCK_ACCESS, *select)),))
        self._transfer(BLOCK_ACCESS, 0, select)
        data = self.read_block(BLOCK_ACCESS, 2 + length)
        if int.from_bytes(data[:2], "little") != selector:
            raise IntegrityError(
                f"{self._at(BLOCK_ACCESS)}: selected 0x{selector:04x}, received {data[:2].hex()}"
            )
        return data[2:]

    def detect_pec(self) -> int | None:
        """Read SpecificationInfo and detect whether the gauge sends a PEC.

        The byte after the word decides, not the Version field: some packs claim a PEC and send
        none.

        Returns:
            SpecificationInfo; `None` when the gauge refuses every read of it: it then counts as a
            gauge without PEC.

        Raises:
            BusError: no reply.
            IntegrityError: no two readings agree, or the word is not possible.
        """
        self.has_pec = False
        seen: list[tuple[int, bool]] = []
        for _ in range(_SPECIFICATION_READS):
            try:
                raw, valid = self._read_with_pec(SPECIFICATION.command)
                # The 0xFF of a released line may equal the PEC of one word by chance, not of two.
                valid = valid and self._read_with_pec(VOLTAGE.command)[1]
            except NackError:
                self._transfer(VOLTAGE.command, 2)  # raises when the gauge is absent
                continue
            seen.append((raw, valid))
            if seen.count((raw, True)) == _AGREEING:
                self.has_pec = True
                return raw
        if not seen:
            return None
        raw = max(seen, key=seen.count)[0]
        without = not any(valid for _, valid in seen) and seen.count((raw, False)) >= _AGREEING
        if without and version_of(raw) <= PEC_VERSION:
            return raw
        words = ", ".join(f"0x{raw:04x}" for raw, _ in seen)
        raise IntegrityError(f"{self._at(SPECIFICATION.command)}: readings contradict: {words}")

    # ------------------------------------------------------------------ bytes

    def _read_word(self, command: int) -> int:
        if not self.has_pec:
            low, high = self._transfer(command, 2)
            return low | high << 8
        low, high, code = reply = self._transfer(command, 3)
        if TABLE[TABLE[self._prefix[command] ^ low] ^ high] != code:
            raise self._wrong_pec(command, reply)
        return low | high << 8

    def _read_with_pec(self, command: int) -> tuple[int, bool]:
        """Read a word, and whether a valid PEC follows it."""
        low, high, code = self._transfer(command, 3)
        return low | high << 8, pec((low, high), self._prefix[command]) == code

    def _read_text_block(self, command: int) -> bytes:
        # The count is read first: an adapter needs the number of bytes before a read.
        count = self._transfer(command, 1)[0]
        if not 0 < count <= MAX_BLOCK:
            raise IntegrityError(f"{self._at(command)}: a block of {count} bytes")
        reply = self._transfer(command, count + 2 if self.has_pec else count + 1)
        if reply[0] != count:
            raise IntegrityError(f"{self._at(command)}: a block of {count}, then {reply[0]} bytes")
        if self.has_pec and pec(reply[:-1], self._prefix[command]) != reply[-1]:
            raise self._wrong_pec(command, reply)
        return reply[1 : count + 1]

    def _transfer(self, command: int, length: int, sent: bytes = b"") -> bytes:
        self.counts.transfers += 1
        try:
            reply = self._bus.transfer(self._address, _COMMANDS[command] + sent, length)
        except (NackError, BusAbsentError) as error:
            self.counts.nacks += isinstance(error, NackError)
            raise
        except BusError as error:
            self.counts.timeouts += isinstance(error, BusTimeoutError)
            if command == VOLTAGE.command:
                raise
            # Some adapters (CP2112) report a refused command as a timeout, others as an error that
            # has no kind: then Voltage answers.
            self._transfer(VOLTAGE.command, 2)
            raise NackError(str(error)) from error
        if len(reply) != length:
            raise IntegrityError(f"{self._at(command)}: {len(reply)} bytes instead of {length}")
        return reply

    def _wrong_pec(self, command: int, reply: bytes) -> IntegrityError:
        self.counts.pec_errors += 1
        return IntegrityError(f"{self._at(command)}: wrong PEC: {reply.hex(' ')}")

    def _at(self, command: int) -> str:
        return f"address 0x{self._address:02x} command 0x{command:02x}"
