# SPDX-License-Identifier: Apache-2.0
"""Ground stations' .tlog: before each MAVLink frame its time, in microseconds since 1970.

The stamps are the computer's date, which may be set while a log is written. After a step back or a
gap, the time since its boot that a vehicle sends gives the seconds that have passed; where none
sends it, a step back or of more than a day takes no time. Frames that are not used are passed by
their length; a damaged frame ends at the next stamp that a frame follows. Source: MAVLink
common.xml and the serialization page of mavlink.io.
"""

import re
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path

import numpy as np
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.bounded_input import Window, open_regular
from dronebms.core.errors import FlightLogError
from dronebms.flightlogs.flight_log import LONGEST_GAP_S, VEHICLE_COLUMNS
from dronebms.flightlogs.messages import BatteryLog, Damages, Topic
from mavlink_bridge.protocol.autopilot import RECEIVED_MESSAGES, Autopilot
from mavlink_bridge.protocol.battery_sample import BatterySample, sample_of, summary_of

_STAMP = struct.Struct(">Q")
_V1 = 0xFE
_V2 = 0xFD
_HEAD_BYTES = {_V1: 6, _V2: 10}  # before the payload; the id is its end
_ID_BYTES = {_V1: 1, _V2: 3}
_CHECKSUM_BYTES = 2
_NEXT = re.compile(b".{8}[\xfd\xfe]", re.DOTALL)
_SIGNED = 0x01
_SIGNATURE_BYTES = 13
_SYSTEM_TIME = 2
_SYS_STATUS = 1
_USED = {row.message_id for row in RECEIVED_MESSAGES} | {_SYSTEM_TIME, _SYS_STATUS}
_SUMMARY = -1  # in place of the id of a BATTERY_STATUS
_CELL_SLOTS = 14  # of BATTERY_STATUS
# Errors of pymavlink's decoder on damaged frames.
_BROKEN = (mavlink.MAVError, struct.error, ValueError, LookupError, TypeError)
_US_PER_S = 1e6
_USUAL_STEP_US = 5_000_000  # between two messages: a vehicle sends a heartbeat each second
_STAMP_ERROR_US = 1_000_000  # by which stamps and the vehicle's time differ without a step
_MAX_WAITING = 2000  # messages; a vehicle sends its time each second, or never


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


class _Vehicle:
    """Messages of one system: the state of its autopilot, and its batteries."""

    def __init__(self) -> None:
        self._autopilot = Autopilot()
        self._measured: set[tuple[int, int]] = set()  # batteries whose cells are measured
        self._with_volts: set[tuple[int, int]] = set()
        self._batteries: dict[tuple[int, int], _Rows] = {}  # by component and id
        self._summary: dict[tuple[int, int], _Rows] = {}

    def receive(self, message: mavlink.MAVLink_message, t_s: float) -> None:
        self._autopilot.receive(message, t_s)
        component = message.get_srcComponent()
        if message.get_type() == "BATTERY_STATUS":
            self._add(self._batteries, (component, message.id), sample_of(message), t_s)
        elif message.get_type() == "SYS_STATUS":
            self._add(self._summary, (component, _SUMMARY), summary_of(message), t_s)

    def _add(
        self,
        rows: dict[tuple[int, int], _Rows],
        source: tuple[int, int],
        sample: BatterySample,
        t_s: float,
    ) -> None:
        if sample.differ:
            self._measured.add(source)
        if sample.voltage_v is not None:
            self._with_volts.add(source)
        values = {
            "voltage_v": sample.voltage_v,
            "current_a": sample.current_a,
            "temperature_degc": sample.temperature_degc,
            "gauge_soc_pct": sample.soc_pct,
        }
        if source in self._measured:
            values |= {f"cell{k}_v": cell_v for k, cell_v in enumerate(sample.cells_v, 1)}
        state = asdict(self._autopilot.state(t_s))
        values |= {row.name: state[row.field] for row in VEHICLE_COLUMNS}
        known = {name: float(value) for name, value in values.items() if value is not None}
        rows.setdefault(source, _Rows()).add(t_s, {"voltage_v": nan, "current_a": nan} | known)

    @property
    def uid(self) -> str | None:
        """Unique id of the autopilot's board."""
        return self._autopilot.uid

    def batteries(self) -> Mapping[tuple[int, int], _Rows]:
        """Batteries by component and id.

        A component whose BATTERY_STATUS has no voltage, or that sends none, has that of its
        SYS_STATUS: ArduPilot up to 3.5 sends the voltage there alone.
        """
        measuring = {component for component, number in self._with_volts if number != _SUMMARY}
        summed = {component for component, number in self._with_volts if number == _SUMMARY}
        summed -= measuring
        found = {key: rows for key, rows in self._batteries.items() if key[0] not in summed}
        found |= {key: rows for key, rows in self._summary.items() if key[0] in summed}
        return found or self._summary


def read(path: Path, battery: int) -> BatteryLog:
    """Samples of one battery: they count by system, then by component, then by id."""
    vehicles: dict[int, _Vehicle] = {}
    for t_s, message in _flight_time(_messages(path)):
        vehicles.setdefault(message.get_srcSystem(), _Vehicle()).receive(message, t_s)
    if not vehicles:
        raise FlightLogError(f"{path} is not a .tlog log: it has no message of a vehicle")
    found = [
        (f"system {system}, component {component}, {_source(number)}", rows, vehicle.uid)
        for system, vehicle in sorted(vehicles.items())
        for (component, number), rows in sorted(vehicle.batteries().items())
    ]
    names = {k: f"battery {k + 1} ({place})" for k, (place, _, _) in enumerate(found)}
    topics = [
        Topic(
            np.asarray(rows.times_s),
            {name: np.asarray(column) for name, column in rows.columns.items()},
        )
        for _, rows, _ in found[battery : battery + 1]
    ]
    uid = next((uid for _, _, uid in found[battery : battery + 1]), None)
    return BatteryLog(topics, names, cell_slots=_CELL_SLOTS, uid=uid)


def _source(number: int) -> str:
    return "SYS_STATUS" if number == _SUMMARY else f"id {number}"


def _flight_time(
    stamped: Iterable[tuple[int, mavlink.MAVLink_message]],
) -> Iterator[tuple[float, mavlink.MAVLink_message]]:
    """Yield the seconds since the first message, and the message.

    A step that may be one of the computer's date waits for the next time since a vehicle's boot.
    """
    boots_us: dict[int, tuple[int, int]] = {}  # by system: time of the flight and since the boot
    waiting: list[tuple[int, mavlink.MAVLink_message]] = []  # step before each message
    last_us: int | None = None
    flight_us = 0

    def passed() -> Iterator[tuple[float, mavlink.MAVLink_message]]:
        nonlocal flight_us
        flight_us += _gap_us(waiting, boots_us, flight_us)
        for number, (step_us, message) in enumerate(waiting):
            flight_us += step_us if number and 0 <= step_us <= _USUAL_STEP_US else 0
            if boot_us := _boot_us(message):
                boots_us[message.get_srcSystem()] = flight_us, boot_us
            yield flight_us / _US_PER_S, message
        waiting.clear()

    for at_us, message in stamped:
        waiting.append((0 if last_us is None else at_us - last_us, message))
        last_us = at_us
        is_usual = 0 <= waiting[0][0] <= _USUAL_STEP_US
        has_boot = _boot_us(message) and message.get_srcSystem() in boots_us
        if is_usual or has_boot or not boots_us or len(waiting) == _MAX_WAITING:
            yield from passed()
    yield from passed()


def _gap_us(
    waiting: Sequence[tuple[int, mavlink.MAVLink_message]],
    boots_us: Mapping[int, tuple[int, int]],
    flight_us: int,
) -> int:
    """Time that passed before the first of the messages."""
    if not waiting:
        return 0
    step_us = waiting[0][0]
    later = waiting[1:]
    message = waiting[-1][1]
    boot_us = _boot_us(message)
    last = boots_us.get(message.get_srcSystem())
    if not 0 <= step_us <= _USUAL_STEP_US and boot_us and last and boot_us >= last[1]:
        gap_us = last[0] + boot_us - last[1] - flight_us
        gap_us -= sum(step for step, _ in later if 0 <= step <= _USUAL_STEP_US)
        if abs(gap_us - step_us) > _STAMP_ERROR_US:  # else the stamps are the finer ones
            return max(gap_us, 0)
    return step_us if 0 <= step_us <= LONGEST_GAP_S * _US_PER_S else 0


def _boot_us(message: mavlink.MAVLink_message) -> int:
    """Time since the boot of the message's vehicle; 0 without."""
    return int(getattr(message, "time_boot_ms", 0)) * 1000


def _messages(path: Path) -> Iterator[tuple[int, mavlink.MAVLink_message]]:
    """Yield the stamp, in microseconds, and the message of each frame that is used."""
    codec = mavlink.MAVLink(None)
    damages = Damages(path)
    place = 0
    with open_regular(path) as file:
        window = Window(file)
        while place >= 0 and (size := _frame_bytes(window, place)) is not None:
            begin = place + _STAMP.size
            message = None
            if size and _message_id(window, begin) in _USED:
                try:
                    message = codec.decode(bytearray(window.bytes_at(begin, size)))
                except _BROKEN:
                    damages.add()
            if message is None and not (size and _frame_bytes(window, begin + size) != 0):
                damages.add()
                place = window.find(_NEXT, place + 1)
            else:
                at_us = int(_STAMP.unpack(window.bytes_at(place, _STAMP.size))[0])
                place = begin + size
                if message is not None:
                    yield at_us, message


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
    """The id of a frame's message; -1 if the log ends in the head."""
    (mark,) = window.bytes_at(begin, 1)
    head = window.bytes_at(begin, _HEAD_BYTES[mark])
    if len(head) < _HEAD_BYTES[mark]:
        return -1
    return int.from_bytes(head[-_ID_BYTES[mark] :], "little")
