"""The autopilot's parameters: read and set, repeated until it answers or has been asked enough.

ArduPilot carries every parameter as a float, PX4 puts the bits of an integer into the float's
place; values here are plain numbers. Times on the caller's clock. Nothing is sent here: `due` says
what to send.
Source: mavlink.io, the parameter protocol, "Parameter encoding"; PX4 mavlink_parameters.cpp.
"""

import math
import struct

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT

_AGAIN_S = 1.0
_TRIES = 4
_FLOAT32_SHARE = 1e-6  # what a float of 32 bits keeps of a number
_BITS = {mavlink.MAV_PARAM_TYPE_INT32: "<i", mavlink.MAV_PARAM_TYPE_UINT32: "<I"}


def same(one: float, other: float) -> bool:
    """Return whether two values are one value on the wire."""
    return math.isclose(one, other, rel_tol=_FLOAT32_SHARE, abs_tol=_FLOAT32_SHARE)


class Parameters:
    """What is known of them, and what is wanted; asked again after `again_s`."""

    def __init__(self, again_s: float = _AGAIN_S) -> None:
        self._again_s = again_s
        self.values: dict[str, float] = {}
        self._types: dict[str, int] = {}
        self._reads: set[str] = set()
        self._sets: dict[str, float] = {}
        self._tried: dict[str, tuple[int, float]] = {}  # how often, when last

    def read(self, *names: str) -> None:
        """Want to know them afresh, and no longer to set them."""
        for name in names:
            self.values.pop(name, None)
            self._sets.pop(name, None)
            self._reads.add(name)
            self._tried.pop(name, None)

    def set(self, name: str, value: float) -> None:
        """Want it to have a value."""
        if name not in self._sets or not same(self._sets[name], value):
            self._sets[name] = value
            self._tried.pop(name, None)

    def forget(self) -> None:
        """Know no value any more and ask afresh, as after a reboot; types stay what they are."""
        self.values.clear()
        self._tried.clear()

    def waiting(self) -> frozenset[str]:
        """Return what is wanted and may still be answered."""
        wanted = {*self._reads, *self._sets}
        return frozenset(name for name in wanted if self._tried.get(name, (0, 0.0))[0] <= _TRIES)

    def receive(self, message: mavlink.MAVLink_message, *, bytewise: bool) -> None:
        """Take a message of the autopilot; `bytewise` as PX4 sends integers."""
        if message.get_type() != "PARAM_VALUE":
            return
        name, value = message.param_id, message.param_value
        if bytewise and message.param_type in _BITS:
            (value,) = struct.unpack(_BITS[message.param_type], struct.pack("<f", value))
        self.values[name], self._types[name] = value, message.param_type
        self._reads.discard(name)
        if name in self._sets and same(self._sets[name], value):
            del self._sets[name]

    def due(self, system: int, now_s: float, *, bytewise: bool) -> list[mavlink.MAVLink_message]:
        """Return what to send now to the autopilot of a system."""
        messages = []
        for name in sorted(self.waiting()):
            times, last_s = self._tried.get(name, (0, -math.inf))
            if now_s - last_s < self._again_s:
                continue
            self._tried[name] = (times + 1, now_s)
            if times < _TRIES:
                messages.append(self._message(name, system, bytewise=bytewise))
        return messages

    def _message(self, name: str, system: int, *, bytewise: bool) -> mavlink.MAVLink_message:
        target, coded = (system, AUTOPILOT_COMPONENT), name.encode()
        kind = self._types.get(name)  # a parameter is set with the type that it was told with
        if kind is None or name not in self._sets:
            return mavlink.MAVLink_param_request_read_message(*target, coded, -1)
        value = self._sets[name]
        if bytewise and kind in _BITS:
            (value,) = struct.unpack("<f", struct.pack(_BITS[kind], round(value)))
        return mavlink.MAVLink_param_set_message(*target, coded, value, kind)
