# SPDX-License-Identifier: Apache-2.0
"""Frames of a JBD board: requests, replies, fields. Pure functions; nothing raises for bytes.

A request is DD A5 command 00 checksum 77, a reply DD command status length data checksum 77. The
checksum is the two's complement of the sum of the bytes between the command and itself. Words are
big endian. Current is positive while discharging; the board has the opposite sign.

Source: github syssi/esphome-jbd-bms at 99cf7c1 (components/jbd_bms, docs/pdus), Apache-2.0, and
github patman15/aiobmsble (aiobmsble/bms/jbd_bms.py), Apache-2.0: facts, no code.
"""

from dataclasses import dataclass

BASIC, CELLS, HARDWARE = 0x03, 0x04, 0x05
READS = (BASIC, CELLS, HARDWARE)  # the only commands that are sent
MAX_FRAME = 7 + 0xFF
_START, _READ, _END, _OK = 0xDD, 0xA5, 0x77, 0x00
_HEAD, _TAIL = 4, 3  # bytes before and after the data
_BASIC_BYTES = 23  # before the temperatures
_SATURATED = (0x7FFF, -0x8000)
_ZERO_DEGC_RAW = 2731
_DEGC = (-50.0, 150.0)
_CELL_V = (0.5, 5.0)  # 0 is a tap without a cell
_MONTHS = 12
# Protection flags by their bit, as texts.
PROTECTIONS = (
    "cell over-voltage", "cell under-voltage", "pack over-voltage", "pack under-voltage",
    "over-temperature in charge", "under-temperature in charge", "over-temperature in discharge",
    "under-temperature in discharge", "over-current in charge", "over-current in discharge",
    "short circuit", "measuring chip", "transistors switched by software", "charge takes too long",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Basic:
    """The reply to BASIC; `None` is unknown."""

    voltage_v: float
    current_a: float | None
    remaining_mah: float
    rated_mah: float
    cycles: int
    date: tuple[int, int, int] | None
    alerts: tuple[str, ...]
    soc_pct: float | None
    cells: int
    temperatures_degc: tuple[float, ...]  # plausible ones


def checksum(data: bytes) -> int:
    """Checksum over the bytes between command and checksum."""
    return -sum(data) & 0xFFFF


def request(command: int) -> bytes:
    """A read request.

    Raises:
        ValueError: not one of `READS`; some others switch the transistors of the board.
    """
    if command not in READS:
        raise ValueError(f"0x{command:02x} is no read of this package: not sent")
    body = bytes((command, 0))
    return bytes((_START, _READ)) + body + checksum(body).to_bytes(2) + bytes((_END,))


def reply_to(command: int, received: bytes) -> bytes | None:
    """Data of the first valid reply to a command in received bytes; `None` without one.

    Bytes before it, damaged frames, and replies to other commands or with an error are skipped.
    """
    start = received.find(_START)
    while start >= 0:
        data = _data_at(received, start, command)
        if data is not None:
            return data
        start = received.find(_START, start + 1)
    return None


def _data_at(received: bytes, start: int, command: int) -> bytes | None:
    head = received[start : start + _HEAD]
    if len(head) < _HEAD or head[1] != command or head[2] != _OK:
        return None
    end = start + _HEAD + head[3]
    tail = received[end : end + _TAIL]
    if len(tail) < _TAIL or tail[2] != _END:
        return None
    body = received[start + 2 : end]
    return body[2:] if checksum(body) == int.from_bytes(tail[:2]) else None


def basic_of(data: bytes) -> Basic | None:
    """The fields of a reply to BASIC; `None` when it is too short."""
    if len(data) < _BASIC_BYTES:
        return None
    current_raw = int.from_bytes(data[2:4], signed=True)
    flags, soc_pct, sensors = _word(data, 16), data[19], data[22]
    ends = range(_BASIC_BYTES + 2, min(_BASIC_BYTES + 2 * sensors, len(data)) + 1, 2)
    degc = [(_word(data, end - 2) - _ZERO_DEGC_RAW) / 10.0 for end in ends]
    return Basic(
        voltage_v=_word(data, 0) / 100.0,
        current_a=None if current_raw in _SATURATED else -current_raw / 100.0 + 0.0,
        remaining_mah=_word(data, 4) * 10.0,
        rated_mah=_word(data, 6) * 10.0,
        cycles=_word(data, 8),
        date=_date(_word(data, 10)),
        alerts=tuple([f"jbd: {_protection(bit)}" for bit in range(16) if flags >> bit & 1]),
        soc_pct=float(soc_pct) if soc_pct <= 100 else None,
        cells=data[21],
        temperatures_degc=tuple([one for one in degc if _DEGC[0] <= one <= _DEGC[1]]),
    )


def cells_of(data: bytes) -> tuple[float | None, ...]:
    """Voltages of a reply to CELLS, in the order of the cells; `None` is not that of a cell."""
    volts = [_word(data, place) / 1000.0 for place in range(0, len(data) - 1, 2)]
    return tuple([v if _CELL_V[0] <= v <= _CELL_V[1] else None for v in volts])


def text_of(data: bytes) -> str:
    """Name of the board in a reply to HARDWARE."""
    return data.decode("ascii", "replace").strip("\0 ")


def _word(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 2])


def _protection(bit: int) -> str:
    return PROTECTIONS[bit] if bit < len(PROTECTIONS) else f"protection bit {bit}"


def _date(raw: int) -> tuple[int, int, int] | None:
    year, month, day = 2000 + (raw >> 9), raw >> 5 & 0xF, raw & 0x1F
    return (year, month, day) if 1 <= month <= _MONTHS and day >= 1 else None
