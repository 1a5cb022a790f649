# SPDX-License-Identifier: Apache-2.0
"""MAVLink 2 frames of BATTERY_STATUS, packed by hand from the message definition.

Independent of pymavlink: fields in wire order (by falling size, extensions behind, in the order of
common.xml), trailing zero bytes cut, CRC-16/MCRF4XX over all but the magic, then CRC_EXTRA.
"""

import struct

BATTERY_STATUS = 147
CRC_EXTRA = 154
PAYLOAD = struct.Struct("<iih10HhBBBbiB4HBI")
UNUSED_MV = 0xFFFF


def x25(data: bytes) -> int:
    """Checksum of MAVLink, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return crc


def battery_status_frame(  # noqa: PLR0913 - the fields of the message
    *,
    cells_mv: tuple[int, ...],
    extended_mv: tuple[int, ...] = (),
    current_ca: int = -1,
    consumed_mah: int = -1,
    consumed_hj: int = -1,
    temperature_cdegc: int = 0x7FFF,
    remaining_pct: int = -1,
    remaining_s: int = 0,
    charge_state: int = 1,
    faults: int = 0,
    kind: int = 1,
    sequence: int = 0,
    component: int = 180,
) -> bytes:
    """A frame of system 1 with battery 0, function ALL."""
    payload = PAYLOAD.pack(
        consumed_mah,
        consumed_hj,
        temperature_cdegc,
        *cells_mv,
        *(UNUSED_MV,) * (10 - len(cells_mv)),
        current_ca,
        0,
        1,
        kind,
        remaining_pct,
        remaining_s,
        charge_state,
        *extended_mv,
        *(0,) * (4 - len(extended_mv)),
        0,
        faults,
    ).rstrip(b"\0")
    body = struct.pack("<5BBHB", len(payload), 0, 0, sequence, 1, component, BATTERY_STATUS, 0)
    body += payload
    return b"\xfd" + body + struct.pack("<H", x25(body + bytes([CRC_EXTRA])))
