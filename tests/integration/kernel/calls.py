# SPDX-License-Identifier: Apache-2.0
"""Calls of smbus2, the same for a kernel's adapter and for the stand-in.

Every way to read and write, what a gauge refuses, an absent address, with and without PEC. The
writes leave the gauge as it was.
"""

import errno
from typing import Any

from smbus2 import i2c_msg

from smartbattery.registers import ADDRESS

ABSENT = 0x2A
VOLTAGE, SERIAL, MANUFACTURER, MODE, UNKNOWN = 0x09, 0x1C, 0x20, 0x03, 0x70

# (name, arguments after the address), made at the gauge's address.
CALLS: tuple[tuple[Any, ...], ...] = (
    ("write_quick",),
    ("read_byte_data", 0x0D),
    ("read_word_data", VOLTAGE),
    ("read_word_data", SERIAL),
    ("read_word_data", UNKNOWN),
    ("read_block_data", MANUFACTURER),
    ("read_block_data", UNKNOWN),
    ("read_i2c_block_data", MANUFACTURER, 8),
    ("read_i2c_block_data", VOLTAGE, 4),
    ("read_i2c_block_data", UNKNOWN, 4),
    ("write_byte_data", UNKNOWN, 1),
    ("write_word_data", MODE, 0x8001),
    ("read_word_data", 0x0F),  # in 10 mWh now
    ("write_word_data", MODE, 0x6001),
    ("read_word_data", 0x0F),
    ("write_word_data", UNKNOWN, 1),
    ("write_block_data", UNKNOWN, [1, 2]),
    ("write_i2c_block_data", MODE, [0x01, 0x60]),
    ("write_i2c_block_data", UNKNOWN, [1, 2]),
    ("process_call", UNKNOWN, 1),
    ("raw", [VOLTAGE], 3),
    ("raw", [MANUFACTURER], 36),
    ("raw", [MODE, 0x01, 0x60], 0),
    ("raw", [UNKNOWN], 2),
)


def outcomes(bus: Any, *, pec: bool) -> dict[str, Any]:  # noqa: ANN401 - smbus2's, or like it
    """Outcome of each call on an open bus: a value, or the name of its errno."""
    if pec:
        bus.pec = 1
    ends = {f"{call}": _outcome(bus, ADDRESS, call) for call in CALLS}
    for call in (("write_quick",), ("read_word_data", VOLTAGE), ("raw", [VOLTAGE], 2)):
        ends[f"absent {call}"] = _outcome(bus, ABSENT, call)
    return ends


def _outcome(bus: Any, address: int, call: tuple[Any, ...]) -> Any:  # noqa: ANN401 - JSON
    name, *arguments = call
    try:
        if name == "raw":
            return _raw(bus, address, *arguments)
        return getattr(bus, name)(address, *arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _raw(bus: Any, address: int, tx: list[int], rx_len: int) -> list[int]:  # noqa: ANN401 - as above
    messages = [i2c_msg.write(address, tx)]
    if rx_len:
        messages.append(i2c_msg.read(address, rx_len))
    bus.i2c_rdwr(*messages)
    return list(bytes(messages[1])) if rx_len else []
