# SPDX-License-Identifier: Apache-2.0
"""A test double of a network: autopilots that share a system id, each on several ways.

Each way of an autopilot is a channel of its own, with its count of frames; it delays, loses and
repeats them. A frame of the bridge reaches every autopilot that is there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pymavlink.dialects.v20 import common as mavlink

from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, FakeVehicle

LAT_DEG, LON_DEG, FIELD_M = -35.363262, 149.165237, 584.0
M_PER_DEG = 111_195.0
POSITION, VERSION = 33, 148
SET_INTERVAL, REQUEST = 511, 512


class Station(FakeVehicle):
    """One autopilot with what a real one sends: its time since boot, place, attitude and board.

    Attributes:
        start_s: time of its start, of the flight.
        north_m: place at the start of the flight; it flies east at `east_m_s`.
        is_busy: a ground station has requested SYSTEM_TIME and ATTITUDE on this link.
        has_uid: its board has a unique id.
    """

    def __init__(self, start_s: float, uid: int, **parameters: float) -> None:
        super().__init__(ARDUPILOT, **parameters)
        self.start_s, self.uid = start_s, uid
        self.north_m = self.height_m = self.east_m_s = 0.0
        self.has_position = True
        self.is_busy = self.is_there = True
        self.phase = 0  # of its messages, tenths of a second
        self._streams_position = False
        self._now_s = 0.0
        self._sent: list[Any] = []

    @property
    def since_boot_ms(self) -> int:
        """Time since its start."""
        return round((self._now_s - self.start_s) * 1000)

    def emit(self, message: Any) -> None:  # noqa: ANN401 - a message
        """Send a message by all ways."""
        self._sent.append(message)

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame of the bridge, unless it is starting."""
        return self.since_boot_ms <= 0 or super().send(data, now_s)

    def step(self, now_s: float) -> list[Any]:
        """Messages of a tenth of a second, and the answers to what was received."""
        self._now_s = now_s
        tick = round(now_s * 10) + self.phase
        if self.since_boot_ms > 0:
            if tick % 10 == 0 and self.sends_heartbeats:
                self.send_heartbeat()
            if tick % 10 == 3 and self.is_busy:
                self.emit(mavlink.MAVLink_system_time_message(0, self.since_boot_ms))
            if tick % 5 == 1 and self._streams_position:
                self.send_position()
            if tick % 2 == 0 and self.is_busy:
                self.emit(mavlink.MAVLink_attitude_message(self.since_boot_ms, *[0.0] * 6))
        sent, self._sent = self._sent, []
        return sent

    def send_position(self) -> None:
        """Send its place; without a fix 0."""
        east_m = self.east_m_s * self._now_s
        lat_deg = LAT_DEG + self.north_m / M_PER_DEG
        lon_deg = LON_DEG + east_m / (M_PER_DEG * math.cos(math.radians(LAT_DEG)))
        place = [round(lat_deg * 1e7), round(lon_deg * 1e7)] if self.has_position else [0, 0]
        alt_mm = round((FIELD_M + self.height_m) * 1000)
        self.emit(
            mavlink.MAVLink_global_position_int_message(
                self.since_boot_ms, *place, alt_mm, 0, 0, 0, 0, 0
            )
        )

    def restart(self, seconds: float, mode: int) -> None:
        """Restart: silent for a time, then with its clock at 0, and no stream."""
        self.start_s = self._now_s + seconds
        self.mode = mode
        self._streams_position = False

    def _execute(self, message: Any) -> None:  # noqa: ANN401 - a message
        if (message.command, message.param1) == (SET_INTERVAL, POSITION):
            self._streams_position = True
        elif (message.command, message.param1) == (REQUEST, POSITION):
            self.send_position()
        elif (message.command, message.param1) == (REQUEST, VERSION):
            zeros = [0] * 8
            uid2 = [*self.uid.to_bytes(8, "big"), *zeros, 0, 0]
            self.emit(
                mavlink.MAVLink_autopilot_version_message(
                    0, 0x04060000, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0, uid2
                )
            )
        else:
            super()._execute(message)


@dataclass
class Way:
    """A channel of an autopilot, and what becomes of its frames."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    lost: float = 0.0
    repeated: float = 0.0
    is_open: bool = True

    def __post_init__(self) -> None:
        self._codec = mavlink.MAVLink(None, 1, 1)

    def frame(self, message: Any) -> bytes:  # noqa: ANN401 - a message
        """Pack a message with the count of this channel."""
        self._codec.seq = (self._codec.seq + 1) % 256
        return bytes(message.pack(self._codec))


class Network:
    """The link of the bridge."""

    def __init__(self, seed: int, *stations: tuple[Station, Sequence[Way]]) -> None:
        self.stations = stations
        self.lost = 0.0  # of the frames of the bridge
        self.is_open, self.trouble = True, None
        self.received: list[Any] = []
        self._random = Random(seed)  # noqa: S311 - losses
        self._codec = mavlink.MAVLink(None, 1, 1)
        self._codec.robust_parsing = True
        self._under_way: list[tuple[float, bytes]] = []

    def beat(self) -> None:
        """Do nothing: `receive` sends what is due."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame to every autopilot that is there."""
        self.received.extend(self._codec.parse_buffer(data) or ())
        for station, _ in self.stations:
            if station.is_there and self._random.random() >= self.lost:
                station.send(data, now_s)
        return True

    def receive(self, now_s: float) -> list[bytes]:
        """Frames of all ways that arrive."""
        for station, ways in self.stations:
            for message in station.step(now_s):
                for way in ways:
                    self._carry(way, way.frame(message), now_s, sent=station.is_there)
        arrived = [frame for due_s, frame in self._under_way if due_s <= now_s]
        self._under_way = [one for one in self._under_way if one[0] > now_s]
        return arrived

    def _carry(self, way: Way, frame: bytes, now_s: float, *, sent: bool) -> None:
        for _ in range(1 + (self._random.random() < way.repeated)):
            delay_s = way.delay_s + self._random.uniform(0.0, way.jitter_s)
            lost = self._random.random() < way.lost
            if sent and way.is_open and not lost:
                self._under_way.append((now_s + delay_s, frame))
