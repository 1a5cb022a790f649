"""What reading a gauge costs on the wire, from bytes: how much of the bus a host takes.

Seconds, at 100 kHz without clock stretching; adapters and slow gauges add to it.
Source: SMBus 2.0: nine clocks a byte, one for each START, repeated START and STOP, and 4.7 us
between STOP and START (tBUF).
"""

from dataclasses import dataclass

from smartbattery.gauge import SERIAL_S
from smartbattery.profiles import AccessMethod, Profile, Query
from smartbattery.registers import SERIAL, Register

CLOCK_HZ = 100_000.0
POLLS_HZ = 10.0
_BYTE_CLOCKS = 9
_FREE_S = 4.7e-6
_WORD_BYTES = 2
_SELECT_BYTES = 4  # command, count, selector
_HEAD_BYTES = {
    AccessMethod.BLOCK: 1,
    AccessMethod.RAW: 0,
    AccessMethod.MANUFACTURER: 3,
}  # count, echo of the selector


@dataclass(frozen=True, slots=True)
class BusLoad:
    """The wire time that one gauge takes."""

    poll_s: float  # what every poll reads
    round_s: float  # everything that is read over and over, once
    share_frac: float  # of the bus at `POLLS_HZ`


def write_s(sent: int, *, has_pec: bool) -> float:
    """Return how long a write of so many bytes takes, the command among them."""
    return ((1 + sent + has_pec) * _BYTE_CLOCKS + 2) / CLOCK_HZ + _FREE_S


def read_s(received: int, *, has_pec: bool) -> float:
    """Return how long a read of so many bytes takes: address, command, address, bytes."""
    return ((3 + received + has_pec) * _BYTE_CLOCKS + 3) / CLOCK_HZ + _FREE_S


def query_s(ask: Query, *, has_pec: bool) -> float:
    """Return how long a register or block takes."""
    if isinstance(ask, Register):
        return read_s(_WORD_BYTES, has_pec=has_pec)
    reading_s = read_s(_HEAD_BYTES[ask.access] + ask.length, has_pec=has_pec)
    if ask.access is not AccessMethod.MANUFACTURER:
        return reading_s
    return write_s(_SELECT_BYTES, has_pec=has_pec) + reading_s


def bus_load_of(profile: Profile, cells: int, *, has_pec: bool) -> BusLoad:
    """Return what `smartbattery.gauge` takes of the wire once it has identified a pack."""
    slow = profile.slow()
    poll_s = sum(query_s(ask, has_pec=has_pec) for ask in profile.fast(cells))
    slow_s = sum(query_s(ask, has_pec=has_pec) for ask in slow)
    # At this pace each poll also asks one of the slow ones, and now and then who it is.
    who_s = query_s(SERIAL, has_pec=has_pec)
    share_frac = (poll_s + slow_s / len(slow)) * POLLS_HZ + who_s / SERIAL_S
    return BusLoad(poll_s, poll_s + slow_s, share_frac)
