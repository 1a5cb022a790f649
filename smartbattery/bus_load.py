# SPDX-License-Identifier: Apache-2.0
"""Bus time that polling a gauge takes, and its share of the bus.

Seconds at 100 kHz without clock stretching; adapters and slow gauges add to it.
Source: SMBus 2.0: nine clocks a byte, one for each START, repeated START and STOP, and 4.7 us
between STOP and START (tBUF).
"""

from dataclasses import dataclass

from smartbattery.gauge import ROUND_S, SERIAL_S
from smartbattery.profiles import AccessMethod, Profile, Query
from smartbattery.registers import MANUFACTURED, SERIAL, Register

CLOCK_HZ = 100_000.0
POLLS_HZ = 10.0
_BYTE_CLOCKS = 9
_BUS_FREE_S = 4.7e-6
_WORD_BYTES = 2
_SELECT_BYTES = 4  # command, count, selector
# Before the data: the count; the count and the echo of the selector.
_HEAD_BYTES = {AccessMethod.BLOCK: 1, AccessMethod.RAW: 0, AccessMethod.MANUFACTURER: 3}


@dataclass(frozen=True, slots=True)
class BusLoad:
    """Bus time that one gauge takes."""

    poll_s: float  # of the registers that every poll reads
    round_s: float  # of every register that is read repeatedly, once
    share_frac: float  # of the bus at `POLLS_HZ`


def write_s(sent: int, *, has_pec: bool) -> float:
    """Duration of a write of `sent` bytes, the command included."""
    return ((1 + sent + has_pec) * _BYTE_CLOCKS + 2) / CLOCK_HZ + _BUS_FREE_S


def read_s(received: int, *, has_pec: bool) -> float:
    """Duration of a read of `received` bytes: address, command, address, bytes."""
    return ((3 + received + has_pec) * _BYTE_CLOCKS + 3) / CLOCK_HZ + _BUS_FREE_S


def query_s(query: Query, *, has_pec: bool) -> float:
    """Duration of reading one register or block."""
    if isinstance(query, Register):
        return read_s(_WORD_BYTES, has_pec=has_pec)
    block_s = read_s(_HEAD_BYTES[query.access] + query.length, has_pec=has_pec)
    if query.access is not AccessMethod.MANUFACTURER:
        return block_s
    return write_s(_SELECT_BYTES, has_pec=has_pec) + block_s


def bus_load_of(profile: Profile, cells: int, *, has_pec: bool) -> BusLoad:
    """Bus time that `smartbattery.gauge` takes once it has identified a pack."""
    slow = profile.slow()
    poll_s = sum(query_s(query, has_pec=has_pec) for query in profile.fast(cells))
    slow_s = sum(query_s(query, has_pec=has_pec) for query in slow)
    # At this rate each poll also reads one of the slow registers; SERIAL_S apart the serial number
    # and ROUND_S apart the date, which distinguish packs.
    serial_s = query_s(SERIAL, has_pec=has_pec)
    date_s = query_s(MANUFACTURED, has_pec=has_pec)
    share_frac = (poll_s + slow_s / len(slow)) * POLLS_HZ + serial_s / SERIAL_S + date_s / ROUND_S
    return BusLoad(poll_s, poll_s + slow_s, share_frac)
