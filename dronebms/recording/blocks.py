# SPDX-License-Identifier: Apache-2.0
"""Blocks of a recording: mark, number, length and CRC-32 of the rest, which is compressed lines.

A file is a line of text, then blocks. They are numbered through a run and independent of each
other: a damaged one is found by its checksum, and the next one by its mark.
docs/recording.md describes every byte.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from dronebms.core.bounded_input import Window

MAGIC = b"dronebms-recording 2\n"  # the line of text
OLD_MAGIC = b"dronebms-recording 1\n"
_MARK = b"\xd5BMS"
_NEXT = re.compile(re.escape(_MARK))
_HEAD = struct.Struct("<4sIII")  # mark, number, length, CRC-32
_MAX_TEXT_BYTES = 1 << 23  # of a block; 0.8 s of a run have some 10 kB
_MAX_PACKED_BYTES = 1 << 20


def block_of(number: int, text: bytes) -> bytes:
    """Lines as a block."""
    packed = zlib.compress(text)
    return _HEAD.pack(_MARK, number, len(packed), zlib.crc32(packed)) + packed


def with_line(block: bytes, line: bytes) -> bytes:
    """A block with another line after its first one."""
    _, number, _, _ = _HEAD.unpack_from(block)
    first, rest = zlib.decompress(block[_HEAD.size :]).split(b"\n", 1)
    return block_of(number, first + b"\n" + line + rest)


def blocks_in(window: Window) -> Iterator[tuple[int, int, tuple[bytes, int] | None]]:
    """Place and number of each mark; text and end of its block, `None` if that is damaged."""
    place = window.find(_NEXT, 0)
    while place >= 0:
        end = place + 1
        block = None
        number = 0
        head = window.bytes_at(place, _HEAD.size)
        if len(head) == _HEAD.size:
            _, number, length, checksum = _HEAD.unpack(head)
            packed = window.bytes_at(place + _HEAD.size, min(length, _MAX_PACKED_BYTES))
            if len(packed) == length and zlib.crc32(packed) == checksum:
                text = _unpacked(packed)
                if text is not None:
                    end = place + _HEAD.size + length
                    block = text, end
        yield place, number, block
        place = window.find(_NEXT, end)


def _unpacked(packed: bytes) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else text
