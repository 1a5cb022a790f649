"""Ground stations' .tlog: before each MAVLink frame its time, in microseconds since 1970.

The stamps are the computer's date. Where it was set (a step back, or of more than a day), the
seconds of the flight continue without the step. Frames that are not used are passed by their
length; a damaged frame ends at the next stamp that a frame follows. Source: MAVLink common.xml and
the serialization page of mavlink.io.
"""

import re
import struct
from array import array
from collections.abc import Iterator, MutableSequence
from dataclasses import asdict
from math import nan
from pathlib import Path

import numpy as np
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.bounded_input import Window, open_regular
from dronebms.core.errors import FlightLogError
from dronebms.flightlogs.flight_log import LONGEST_GAP_S, VEHICLE_COLUMNS
from dronebms.flightlogs.messages import MAX_DAMAGES, Topic
from mavlink_bridge.protocol.autopilot import RECEIVED_MESSAGES, Autopilot
from mavlink_bridge.protocol.battery_sample import sample_of

_STAMP = struct.Struct(">Q")
_V1, _V2 = 0xFE, 0xFD
_HEAD_BYTES = {_V1: 6, _V2: 10}  # before the payload
_CHECKSUM_BYTES = 2
_NEXT = re.compile(b".{8}[\xfd\xfe]", re.DOTALL)
_SIGNED, _SIGNATURE_BYTES = 0x01, 13
_USED = frozenset(row.message_id for row in RECEIVED_MESSAGES)
# Errors of pymavlink's decoder on damaged frames.
_BROKEN = (mavlink.MAVError, struct.error, ValueError, LookupError, TypeError)
_US_PER_S = 1e6


class _Rows:
    """Rows with empty fields, by columns."""

    def __init__(self) -> None:
        self.times_s = array("d")
        self.columns: dict[str, MutableSequence[float]] = {}

    def add(self, t_s: float, row: dict[str, float]) -> None:
        """Append a row."""
        for name in row.keys() - self.columns.keys():
            self.columns[name] = array("d", [nan]) * len(self.times_s)
        self.times_s.append(t_s)
        for name, column in self.columns.items():
            column.append(row.get(name, nan))


def read(path: Path, battery: int, _logged: dict[str, object]) -> list[Topic]:
    """Samples of one source of BATTERY_STATUS, by component, then by id."""
    sources: dict[tuple[int, int], _Rows] = {}
    measured: set[tuple[int, int]] = set()
    autopilot = Autopilot()
    for t_s, message in _messages(path):
        autopilot.receive(message, t_s)
        if message.get_type() == "BATTERY_STATUS":
            state = asdict(autopilot.state(t_s))
            names = (row.name for row in VEHICLE_COLUMNS if state[row.field] is not None)
            row = _sample(message, measured) | {name: float(state[name]) for name in names}
            sources.setdefault((message.get_srcComponent(), message.id), _Rows()).add(t_s, row)
    chosen = sorted(sources)[battery : battery + 1]
    return [
        Topic(
            np.asarray(sources[source].times_s),
            {name: np.asarray(column) for name, column in sources[source].columns.items()},
        )
        for source in chosen
    ]


def _messages(path: Path) -> Iterator[tuple[float, mavlink.MAVLink_message]]:
    """Yield the seconds since the first frame and the message of each frame that is used."""
    codec = mavlink.MAVLink(None)
    damages = place = 0
    last_us: int | None = None
    flight_us = 0
    with open_regular(path) as file:
        window = Window(file)
        while place >= 0 and (size := _frame_bytes(window, place)) is not None:
            begin = place + _STAMP.size
            message = None
            if size and _message_id(window, begin) in _USED:
                try:
                    message = codec.decode(bytearray(window.bytes_at(begin, size)))
                except _BROKEN:
                    damages += 1
            if message is None and not (size and _frame_bytes(window, begin + size) != 0):
                damages += 1
                place = window.find(_NEXT, place + 1)
            else:
                at_us = int(_STAMP.unpack(window.bytes_at(place, _STAMP.size))[0])
                step_us = 0 if last_us is None else at_us - last_us
                last_us = at_us
                flight_us += step_us if 0 <= step_us <= LONGEST_GAP_S * _US_PER_S else 0
                place = begin + size
            if message is not None:
                yield flight_us / _US_PER_S, message
            if damages > MAX_DAMAGES:
                raise FlightLogError(f"{path} is damaged at more than {MAX_DAMAGES} places")


def _frame_bytes(window: Window, place: int) -> int | None:
    """Bytes of the frame after a stamp; 0 if there is none, `None` at the end of the log."""
    head = window.bytes_at(place, _STAMP.size + 3)[_STAMP.size :]
    if len(head) < 3:  # noqa: PLR2004 - mark, length, flags
        return None
    if head[0] not in _HEAD_BYTES:
        return 0
    signed = head[0] == _V2 and head[2] & _SIGNED
    size = _HEAD_BYTES[head[0]] + head[1] + _CHECKSUM_BYTES
    return size + (_SIGNATURE_BYTES if signed else 0)


def _message_id(window: Window, begin: int) -> int:
    head = window.bytes_at(begin, _HEAD_BYTES[_V2])
    return head[5] if head[0] == _V1 else int.from_bytes(head[7:10], "little")


def _sample(message: mavlink.MAVLink_message, measured: set[tuple[int, int]]) -> dict[str, float]:
    """Battery sample, with cells once those of its source are known to be `measured`."""
    source, sample = (message.get_srcComponent(), message.id), sample_of(message)
    if sample.differ:
        measured.add(source)
    known = {
        "voltage_v": sample.voltage_v,
        "current_a": sample.current_a,
        "temperature_degc": sample.temperature_degc,
        "gauge_soc_pct": sample.soc_pct,
    }
    cells_v = sample.cells_v if source in measured else ()
    return {name: nan if value is None else value for name, value in known.items()} | {
        f"cell{k}_v": cell_v for k, cell_v in enumerate(cells_v, 1)
    }
