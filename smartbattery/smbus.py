"""SMBus words and blocks with their PEC, over raw transfers to one address; counts what it costs.

Reads only. A gauge that sends a PEC is believed by it alone. A manufacturer-access read begins with
a write on the wire: `manufacturer` is the one place that lets such a write out, and it knows a
fixed set of selectors that read.
"""

from dataclasses import dataclass

from smartbattery.bq40.selectors import READ_SELECTORS
from smartbattery.bus import Bus
from smartbattery.errors import (
    BusAbsentError,
    BusTimeoutError,
    IntegrityError,
    NackError,
    UnsupportedError,
)
from smartbattery.pec import TABLE, pec, read_prefix
from smartbattery.registers import MAX_BLOCK, PEC_VERSION, SPECIFICATION, VOLTAGE, version_of

_ATTEMPTS = 2  # the second mends a flipped bit; a busy gauge is asked again at the next poll
_AGREEING = 2  # readings of SpecificationInfo that must be equal before it decides anything
_LOOKS = 6  # at SpecificationInfo: a flipped bit must not talk a gauge out of its PEC
_PRINTABLE = range(0x20, 0x7F)
_COMMANDS = tuple(bytes((command,)) for command in range(256))
_MOST_BYTES = 36  # of a block: 34 of a manufacturer read are more than SMBus allows
BLOCK_ACCESS = 0x44  # ManufacturerBlockAccess


@dataclass(slots=True)
class TransferCounts:
    """What the wire has cost so far."""

    transfers: int = 0
    nacks: int = 0
    timeouts: int = 0
    pec_errors: int = 0


class SmbusDevice:
    """One address on a bus.

    Attributes:
        has_pec: whether replies end in a PEC that is checked; see `detect_pec`.
        counts: grows with every transfer.
    """

    def __init__(self, bus: Bus, address: int) -> None:
        self.has_pec = False
        self.counts = TransferCounts()
        self._bus = bus
        self._address = address
        self._prefix = [read_prefix(address, command) for command in range(256)]

    def read_word(self, command: int) -> int:
        """Return one word 0..65535.

        Raises:
            BusError: it did not happen, `NackError` and `IntegrityError` twice in a row.
            IntegrityError: what came is not a word with its PEC.
        """
        try:
            return self._read_word(command)
        except (NackError, IntegrityError):
            return self._read_word(command)

    def read_text(self, command: int) -> str | None:
        """Return a text block, None when the gauge has none or sends no text.

        Raises:
            BusError: the bus does not work at all.
        """
        for _ in range(_ATTEMPTS):
            try:
                data = self._read_text_block(command)
            except (NackError, IntegrityError, UnsupportedError):
                continue
            data = data.split(b"\0")[0]  # some packs fill up with zeros, or forget to clean up
            if all(byte in _PRINTABLE for byte in data):
                return data.decode("ascii").strip() or None
        return None

    def read_block(self, command: int, length: int) -> bytes:
        """Return the bytes of a block of about `length`.

        Raises:
            BusError: it did not happen.
            IntegrityError: what came is not a block with its PEC.
        """
        reply = self._transfer(command, 1 + length + self.has_pec)
        if not 0 < reply[0] <= _MOST_BYTES:
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
        """Return `length` bytes that come without a count.

        Raises:
            BusError: it did not happen.
            IntegrityError: the PEC is wrong.
        """
        reply = self._transfer(command, length + self.has_pec)
        if self.has_pec and pec(reply[:length], self._prefix[command]) != reply[length]:
            raise self._wrong_pec(command, reply)
        return reply[:length]

    def read_manufacturer(self, selector: int, length: int) -> bytes:
        """Return the data of a manufacturer-access read, without the echo of its selector.

        Raises:
            UnsupportedError: the selector does not read, or is not known to; nothing was sent.
            BusError: it did not happen.
            IntegrityError: the answer is not whole, or is to another question: somebody else
                reads this gauge too.
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
                f"{self._at(BLOCK_ACCESS)}: asked for 0x{selector:04x}, got {data[:2].hex()}"
            )
        return data[2:]

    def detect_pec(self) -> int | None:
        """Return SpecificationInfo and learn from it whether the gauge sends a PEC.

        The byte after the word decides, not the Version field: some packs claim a PEC and send
        none. A gauge that refuses SpecificationInfo each time (None) counts as one without.

        Raises:
            BusError: nobody answers.
            IntegrityError: no two readings agree, or they say what no gauge says.
        """
        self.has_pec = False
        seen: list[tuple[int, bool]] = []
        for _ in range(_LOOKS):
            try:
                raw, good = self._with_code(SPECIFICATION.command)
                # One word's code may be the 0xFF of a released line by chance; two words' are not.
                good = good and self._with_code(VOLTAGE.command)[1]
            except NackError:
                self._transfer(VOLTAGE.command, 2)  # nobody there at all: raises
                continue
            seen.append((raw, good))
            if seen.count((raw, True)) == _AGREEING:
                self.has_pec = True
                return raw
        if not seen:
            return None
        raw = max(seen, key=seen.count)[0]
        without = not any(good for _, good in seen) and seen.count((raw, False)) >= _AGREEING
        if without and version_of(raw) <= PEC_VERSION:
            return raw
        words = ", ".join(f"0x{raw:04x}" for raw, _ in seen)
        raise IntegrityError(f"{self._at(SPECIFICATION.command)}: not to be believed: {words}")

    # ------------------------------------------------------------------ bytes

    def _read_word(self, command: int) -> int:
        if not self.has_pec:
            low, high = self._transfer(command, 2)
            return low | high << 8
        low, high, code = reply = self._transfer(command, 3)
        if TABLE[TABLE[self._prefix[command] ^ low] ^ high] != code:
            raise self._wrong_pec(command, reply)
        return low | high << 8

    def _with_code(self, command: int) -> tuple[int, bool]:
        """Return a word and whether a right PEC follows it."""
        low, high, code = self._transfer(command, 3)
        return low | high << 8, pec((low, high), self._prefix[command]) == code

    def _read_text_block(self, command: int) -> bytes:
        # The count is asked first: adapters want to know how many bytes to clock.
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
        except NackError:
            self.counts.nacks += 1
            raise
        except (BusTimeoutError, BusAbsentError) as error:
            self.counts.timeouts += 1
            if isinstance(error, BusAbsentError) or command == VOLTAGE.command:
                raise
            # An adapter (CP2112) may say so of a refused command: then Voltage answers.
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
