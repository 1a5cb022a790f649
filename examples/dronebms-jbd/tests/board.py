# SPDX-License-Identifier: Apache-2.0
"""A board that answers requests with recorded frames, in memory."""

import json
from pathlib import Path
from typing import Any

from dronebms_jbd import frames

FRAMES: dict[str, Any] = json.loads((Path(__file__).parent / "frames.json").read_text())


def bytes_of(kind: str, index: int) -> bytes:
    """A recorded reply."""
    return bytes.fromhex(FRAMES[kind][index]["reply"])


RECORDED = {
    frames.BASIC: bytes_of("basic", 4),  # 2.87 A of discharge
    frames.CELLS: bytes_of("cells", 2),
    frames.HARDWARE: bytes_of("hardware", 0),
}


def reply(command: int, data: bytes, status: int = 0) -> bytes:
    """A reply with any data."""
    body = bytes((status, len(data))) + data
    return bytes((0xDD, command)) + body + frames.checksum(body).to_bytes(2) + b"\x77"


def basic(cells: int, voltage_v: float, current_raw: int = -1000, *degc: float) -> bytes:
    """A synthetic reply to BASIC."""
    head = round(voltage_v * 100).to_bytes(2) + current_raw.to_bytes(2, signed=True)
    capacities = (800).to_bytes(2) + (1000).to_bytes(2) + (7).to_bytes(2) + b"\x2c\x7c"
    rest = bytes(6) + bytes((0x20, 80, 3, cells, len(degc)))
    sensors = b"".join(round(one * 10 + 2731).to_bytes(2) for one in degc)
    return reply(frames.BASIC, head + capacities + rest + sensors)


class Board:
    """A port with a board behind it, which answers each request at once.

    Attributes:
        replies: by command.
        written: every request.
        silent: whether the board does not answer.
        gone: whether the port fails.
    """

    def __init__(self, replies: dict[int, bytes] | None = None) -> None:
        self.replies = dict(RECORDED if replies is None else replies)
        self.written: list[bytes] = []
        self.silent = self.gone = self.closed = False
        self.ahead = b""

    def read(self, size: int) -> bytes:
        """Take what has arrived."""
        self._fail()
        taken, self.ahead = self.ahead[:size], self.ahead[size:]
        return taken

    def write(self, data: bytes) -> int:
        """Receive a request."""
        self._fail()
        self.written.append(data)
        if not self.silent:
            self.ahead += self.replies.get(data[2], b"")
        return len(data)

    def close(self) -> None:
        """Close the port."""
        self.closed = True

    def _fail(self) -> None:
        if self.gone:
            raise OSError(5, "Input/output error")
