# SPDX-License-Identifier: Apache-2.0
"""The gauge: one request at a time over a port that does not block, values that expire.

Each poll takes the bytes that have arrived, and sends the next request once the last one is
answered or given up. Nothing waits, so that no clock is needed but the time of the poll.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from dronebms_jbd.frames import (
    BASIC,
    CELLS,
    HARDWARE,
    MAX_FRAME,
    Basic,
    basic_of,
    cells_of,
    reply_to,
    request,
    text_of,
)
from smartbattery import Identity, Snapshot
from smartbattery.snapshot import CELL_FIELDS, MAX_CELLS

ANSWER_S = 0.5  # without a reply the next request is sent
REOPEN_S = 1.0
HOLD_S = 2.0  # of a value, as of the registers of an SMBus gauge
_TURN = (BASIC, CELLS)
_Value = TypeVar("_Value")


class Port(Protocol):
    """What is used of `serial.Serial`."""

    def read(self, size: int) -> bytes:
        """Bytes that have arrived, none if there are none."""

    def write(self, data: bytes) -> int | None:
        """Send bytes."""

    def close(self) -> None:
        """Close the port."""


def open_serial(path: str, baud: int) -> Port:
    """Open a serial port that does not block.

    Raises:
        OSError: the port cannot be opened.
    """
    import serial  # noqa: PLC0415 - not before the first poll

    port: Port = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
    return port


class JbdGauge:
    """One board (`dronebms.core.PackageGauge`).

    Args:
        name: of the place, for people.
        open_port: opens the port; raises OSError.
    """

    def __init__(self, name: str, open_port: Callable[[], Port]) -> None:
        self._name = name
        self._open_port = open_port
        self._port: Port | None = None
        self._tried_s = float("-inf")
        self._received = b""
        self._asked: int | None = None  # the command that is not answered yet
        self._asked_s = float("-inf")
        self._turn = 0
        self._basic: tuple[Basic, float] | None = None
        self._cells: tuple[tuple[float | None, ...], float] | None = None
        self._device: str | None = None
        self._trouble = "no reply yet"

    def poll(self, now_s: float) -> Snapshot:
        """The values that hold at `now_s`; reads and sends without waiting."""
        try:
            self._exchange(now_s)
        except OSError as error:  # also serial.SerialException
            self._trouble = error.strerror or str(error)
            self.close()
        return self._snapshot(now_s)

    def close(self) -> None:
        """Close the port; the next poll opens it again."""
        port, self._port = self._port, None
        self._received, self._asked = b"", None
        if port is not None:
            port.close()

    def _exchange(self, now_s: float) -> None:
        if self._port is None:
            if now_s - self._tried_s < REOPEN_S:
                return
            self._tried_s = now_s
            self._port = self._open_port()
            self._trouble = "no reply"
        while more := self._port.read(MAX_FRAME):
            self._received = (self._received + more)[-2 * MAX_FRAME :]
        if self._asked is not None:
            data = reply_to(self._asked, self._received)
            if data is not None:
                self._store(self._asked, data, now_s)
                self._asked = None
        if self._asked is None or now_s - self._asked_s > ANSWER_S:
            self._ask(now_s)

    def _ask(self, now_s: float) -> None:
        command = HARDWARE if self._device is None and self._basic else _TURN[self._turn]
        if self._asked == HARDWARE:
            self._device = ""  # it has no name; it is not asked for again
            command = _TURN[self._turn]
        self._turn = (self._turn + 1) % len(_TURN)
        self._received = b""
        if self._port is not None:
            self._port.write(request(command))
        self._asked, self._asked_s = command, now_s

    def _store(self, command: int, data: bytes, now_s: float) -> None:
        if command == HARDWARE:
            self._device = text_of(data)
        elif command == CELLS:
            self._cells = cells_of(data), now_s
        elif (basic := basic_of(data)) is not None:
            self._basic = basic, now_s

    def _snapshot(self, now_s: float) -> Snapshot:
        basic, basic_s = _held(self._basic, now_s)
        cells_v, cells_s = _held(self._cells, now_s)
        if basic is None:
            return Snapshot(now_s, trouble=f"{self._name}: {self._trouble}")
        read_at_s = dict.fromkeys(("voltage_v", "current_a", "soc_pct"), basic_s)
        read_at_s |= dict.fromkeys(("temperature_degc", "remaining_mah", "cycles"), basic_s)
        doubts: tuple[str, ...] = ()
        count = min(basic.cells, MAX_CELLS)
        if cells_v is not None and len(cells_v) != basic.cells:
            doubts = (f"{len(cells_v)} cell voltages of {basic.cells} cells: rejected",)
            cells_v = None
        if cells_v is not None:
            read_at_s |= dict.fromkeys(CELL_FIELDS[:count], cells_s)
        return Snapshot(
            now_s,
            voltage_v=basic.voltage_v or None,
            current_a=basic.current_a,
            temperature_degc=max(basic.temperatures_degc, default=None),
            cells_v=(None,) * count if cells_v is None else cells_v[:count],
            soc_pct=basic.soc_pct,
            remaining_mah=basic.remaining_mah,
            cycles=float(basic.cycles),
            alerts=basic.alerts,
            identity=Identity(
                device=self._device or None,
                design_mah=basic.rated_mah or None,
                date=basic.date,
                cells=basic.cells or None,
            ),
            read_at_s=read_at_s,
            trouble=None if basic.voltage_v else f"{self._name}: the board reports 0 V",
            doubts=doubts,
        )


def _held(entry: tuple[_Value, float] | None, now_s: float) -> tuple[_Value | None, float]:
    """A value and its time; `None` when it has expired."""
    if entry is None or now_s - entry[1] > HOLD_S:
        return None, now_s
    return entry
