"""Asks a vehicle to draw less, and sees to it that what was changed is put back.

ArduPilot's driver script limits the current itself, in memory, for as long as it is asked; where it
does not run, and on PX4, parameters are set, which the autopilot keeps over a restart. So their
values are on disk before the first change, and put back when nothing is asked for any more, at exit
and at the next start. No limit that a user has set is ever raised.
Amperes, metres per second, seconds of the caller's clock.
Source: AP_MotorsMulticopter.cpp `get_current_limit_max_throttle`; PX4 mc_pos_control parameters.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ActionRequest
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import (
    ARDUPILOT_ID,
    LIMIT_PARAMETERS,
    SCRIPT_HEARTBEAT,
    SCRIPT_LIMIT,
)
from mavlink_bridge.protocol.parameters import Parameters, same
from mavlink_bridge.vehicle.saved_parameters import SavedParameters

_ASK_S = 0.5
_SCRIPT_AGE_S = 3.0  # of its last word
_SCRIPT_BACK_S = 1.0  # by then it has put its limit back
_AGAIN_S = 10.0
_STEP_SHARE = 0.03  # a smaller change is not worth a write to the autopilot's memory


class ParameterLimiter:
    """One vehicle's limits. For one thread."""

    def __init__(self, parameters: Parameters, folder: Path) -> None:
        """Use the vehicle's parameters, and a folder to keep their old values in."""
        self._parameters = parameters
        self._kept = SavedParameters(folder, "limits")
        self._read_s: float | None = None
        self._ended_s: float | None = None
        self._script_s: float | None = None
        self._asked_s = -_ASK_S

    @property
    def idle(self) -> bool:
        """Whether nothing is changed that has to be put back."""
        return not self._kept.values

    def receive(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        """Take a message of the autopilot: the script's heartbeat is among them."""
        if message.get_type() == "NAMED_VALUE_FLOAT" and message.name == SCRIPT_HEARTBEAT:
            self._script_s = now_s

    def step(
        self, wanted: Sequence[ActionRequest], autopilot: Autopilot, now_s: float
    ) -> list[mavlink.MAVLink_message]:
        """Ask for less while something is wanted, else put back; return what to ask the script.

        Args:
            wanted: the reductions, of all batteries.
            autopilot: the vehicle, which is heard.
            now_s: the caller's time.
        """
        self._kept.follow(autopilot)
        values = _limits(wanted, autopilot.kind)
        scripted = self._script_s is not None and now_s - self._script_s <= _SCRIPT_AGE_S
        if not values:
            return [] if self.idle else self._put_back(now_s, scripted=scripted)
        self._ended_s = None
        if self.idle and not self._tried_to_remember(values, now_s):
            return []
        # The script remembers by itself: where nothing can be written, it still limits.
        if scripted and autopilot.kind == ARDUPILOT_ID:
            return self._ask(values["MOT_BAT_CURR_MAX"], now_s)
        for name in self._kept.values.keys() & values.keys():
            self._lower(name, values[name])
        return []

    def _tried_to_remember(self, values: dict[str, float], now_s: float) -> bool:
        """Read the values of now and put them on disk; return True once that is over."""
        if self._read_s is None or now_s - self._read_s >= _AGAIN_S:
            self._read_s = now_s
            self._parameters.read(*values)
        if self._parameters.waiting() & values.keys():
            return False
        found = {name: self._parameters.values.pop(name, math.nan) for name in values}
        old = {name: value for name, value in found.items() if math.isfinite(value)}
        if old and self._kept.save(old):
            self._read_s = None
        return True

    def _lower(self, name: str, value: float) -> None:
        old, now = self._kept.values[name], self._parameters.values.get(name)
        value = min(value, old) if old > 0 else value
        if now is None or abs(now - value) > _STEP_SHARE * value:
            self._parameters.set(name, value)

    def _ask(self, max_a: float, now_s: float) -> list[mavlink.MAVLink_message]:
        if now_s - self._asked_s < _ASK_S:
            return []
        self._asked_s = now_s
        return [mavlink.MAVLink_named_value_float_message(0, SCRIPT_LIMIT.encode(), max_a)]

    def _put_back(self, now_s: float, *, scripted: bool) -> list[mavlink.MAVLink_message]:
        if self._ended_s is None:
            self._ended_s, self._read_s = now_s, None
        if scripted and now_s - self._ended_s < _SCRIPT_BACK_S:
            return self._ask(0.0, now_s)
        if self._read_s is None or now_s - self._read_s >= _AGAIN_S:
            self._read_s = now_s
            self._parameters.read(*self._kept.values)
        left = False
        for name, value in self._kept.values.items():
            now = self._parameters.values.get(name)
            left |= now is None or not same(now, value)
            if now is not None and not same(now, value):
                self._parameters.set(name, value)
        if not left:
            self._kept.forget()
            self._read_s = None
        return []


def _limits(wanted: Sequence[ActionRequest], autopilot: int | None) -> dict[str, float]:
    """Return what each parameter may be at most."""
    return {
        row.name: asked if row.value is None else row.value
        for row in LIMIT_PARAMETERS
        if row.autopilot == autopilot and (asked := least(wanted, row.by)) is not None
    }


def least(wanted: Sequence[ActionRequest], by: str) -> float | None:
    """Return the least above 0 that any battery asks for: of `max_a`, or a speed of its action."""
    asked = [one.max_a if by == "max_a" else getattr(one.action, by) for one in wanted]
    return min((value for value in asked if value is not None and value > 0), default=None)
