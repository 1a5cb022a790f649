# SPDX-License-Identifier: Apache-2.0
"""SMBus packet error code: CRC-8, polynomial x^8+x^2+x+1, over every byte of a transaction.

Covers the address bytes with their read/write bit and the count byte of a block, not the ACKs.
Source: System Management Bus specification 2.0, section 5.4; kernel `i2c_smbus_pec`.
"""

from collections.abc import Iterable

_POLYNOMIAL = 0x07


def _table() -> bytes:
    rows = bytearray()
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc << 1 ^ _POLYNOMIAL if crc & 0x80 else crc << 1) & 0xFF
        rows.append(crc)
    return bytes(rows)


TABLE = _table()


def pec(data: Iterable[int], start: int = 0) -> int:
    """CRC-8 of `data`, continued from `start`, the CRC of the bytes before it."""
    crc = start
    for byte in data:
        crc = TABLE[crc ^ byte]
    return crc


def read_prefix(address: int, command: int) -> int:
    """CRC-8 of the bytes before the data of a read: address+W, command, address+R."""
    return pec((address << 1, command, address << 1 | 1))
