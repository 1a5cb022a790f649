# SPDX-License-Identifier: Apache-2.0
"""Client of the MAVLink parameter protocol: reads and sets, each with retries.

ArduPilot sends every parameter as a float; PX4 sends the bits of an integer in the float. Values
here are plain numbers; a value that is no number, or that was never requested, is ignored. This
module sends nothing: `due` returns the messages to send.
Source: mavlink.io, the parameter protocol, "Parameter encoding"; PX4 mavlink_parameters.cpp.
"""

import math
import struct

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT

_RETRY_S = 1.0
_TRIES = 4
_FLOAT32_FRAC = 1e-6  # resolution of a 32 bit float
_BITS = {mavlink.MAV_PARAM_TYPE_INT32: "<i", mavlink.MAV_PARAM_TYPE_UINT32: "<I"}


def same(one: float, other: float) -> bool:
    """Whether two values are equal on the wire."""
    return math.isclose(one, other, rel_tol=_FLOAT32_FRAC, abs_tol=_FLOAT32_FRAC)


class Parameters:
    """Known values and pending requests of one vehicle.

    Attributes:
        values: by name, as last received.
    """

    def __init__(self, retry_s: float = _RETRY_S) -> None:
        self._retry_s = retry_s
        self.values: dict[str, float] = {}
        self._types: dict[str, int] = {}
        self._names: set[str] = set()  # ever requested
        self._reads: set[str] = set()
        self._sets: dict[str, float] = {}
        self._tried: dict[str, tuple[int, float]] = {}  # tries, time of the last one

    def read(self, *names: str) -> None:
        """Discard these values, cancel their sets and request them."""
        for name in names:
            self.values.pop(name, None)
            self._sets.pop(name, None)
            self._names.add(name)
            self._reads.add(name)
            self._tried.pop(name, None)

    def refresh(self, *names: str) -> None:
        """Request values again; known ones stay, also without an answer, and sets go on."""
        for name in names:
            self._names.add(name)
            if name not in self._sets:
                self._reads.add(name)
                self._tried.pop(name, None)

    def set(self, name: str, value: float) -> None:
        """Request a new value."""
        self._names.add(name)
        if name not in self._sets or not same(self._sets[name], value):
            self._sets[name] = value
            self._tried.pop(name, None)

    def discard_values(self) -> None:
        """Discard all values and types and repeat the requests, as after a reboot.

        Another firmware may have started, with another type for the same name.
        """
        self.values.clear()
        self._types.clear()
        self._tried.clear()

    def pending(self) -> frozenset[str]:
        """Names of the requests that have tries left, or whose last try may be answered."""
        names = {*self._reads, *self._sets}
        return frozenset(name for name in names if self._tried.get(name, (0, 0.0))[0] <= _TRIES)

    def requested(self) -> frozenset[str]:
        """Names of all requests without an answer, also those that have no try left."""
        return frozenset((*self._reads, *self._sets))

    def receive(self, message: mavlink.MAVLink_message, *, bytewise: bool) -> None:
        """Read a message of the autopilot; `bytewise`: integers as PX4 sends them."""
        if message.get_type() != "PARAM_VALUE" or message.param_id not in self._names:
            return
        name = message.param_id
        value = message.param_value
        if bytewise and message.param_type in _BITS:
            (value,) = struct.unpack(_BITS[message.param_type], struct.pack("<f", value))
        if not math.isfinite(value):
            return
        self.values[name] = value
        self._types[name] = message.param_type
        self._reads.discard(name)
        if name in self._sets and same(self._sets[name], value):
            del self._sets[name]

    def due(self, system: int, now_s: float, *, bytewise: bool) -> list[mavlink.MAVLink_message]:
        """Messages to send now to the autopilot of a system."""
        messages = []
        for name in sorted(self.pending()):
            tries, last_s = self._tried.get(name, (0, -math.inf))
            if now_s - last_s < self._retry_s:
                continue
            self._tried[name] = (tries + 1, now_s)
            if tries < _TRIES:
                messages.append(self._message(name, system, bytewise=bytewise))
            elif name in self.values and name not in self._sets:
                self._reads.discard(name)
        return messages

    def _message(self, name: str, system: int, *, bytewise: bool) -> mavlink.MAVLink_message:
        target = (system, AUTOPILOT_COMPONENT)
        coded = name.encode()
        kind = self._types.get(name)  # a set needs the type that the autopilot has sent
        if kind is None or name not in self._sets:
            return mavlink.MAVLink_param_request_read_message(*target, coded, -1)
        value = self._sets[name]
        if bytewise and kind in _BITS:
            (value,) = struct.unpack("<f", struct.pack(_BITS[kind], round(value)))
        return mavlink.MAVLink_param_set_message(*target, coded, value, kind)
