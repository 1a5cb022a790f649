"""Makes ArduCopter fly and climb more slowly, by command, where its mode takes one.

A speed is commanded only to a vehicle that is seen to be faster, so that nobody's slower speed is
ever raised, and at most three times in a mode, because a pilot may want it otherwise. What it goes
back to at the end, also after a restart of this service, is the vehicle's own parameter: a speed
that a mission or ground station had commanded before is not known. Every mode begins with its own
speeds, so that whatever leaves the mode ends it too.
Metres per second, seconds of the caller's clock.
Source: common.xml, MAV_CMD_DO_CHANGE_SPEED 178; GCS_MAVLink_Copter.cpp, ModeGuided and ModeAuto.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ActionRequest
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID, SPEED_MODES, SPEEDS, SpeedRow
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import command
from mavlink_bridge.vehicle.parameter_limits import least
from mavlink_bridge.vehicle.saved_parameters import SavedParameters

_COMMAND = mavlink.MAV_CMD_DO_CHANGE_SPEED
_FASTER = 1.1  # times what is asked: what it overshoots by itself is no disobedience
_AGAIN_S = 10.0  # that it has for slowing down before it is told again
_ANSWER_S = 1.0
_TRIES = 3
_AS_IT_IS = -1.0  # DO_CHANGE_SPEED.throttle


@dataclass(slots=True)
class _Turn:
    """What was told of one speed, in one mode and to one end."""

    phase: tuple[str, bool]  # the mode, and whether it is put back
    due_s: float = -math.inf
    tries: int = 0
    over: bool = False


class SpeedCommand:
    """One vehicle's speeds. For one thread."""

    def __init__(self, parameters: Parameters, folder: Path) -> None:
        """Use the vehicle's parameters, and a folder to keep its own speeds in."""
        self._parameters = parameters
        self._kept = SavedParameters(folder, "speeds")
        self._turns: dict[str, _Turn] = {}
        self._waiting: tuple[_Turn, float] | None = None  # for an answer, since when
        self._words: list[str] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is changed that has to be put back."""
        return not self._kept.values

    def words(self) -> list[str]:
        """Return what is to be said, once."""
        words, self._words = self._words, []
        return words

    def receive(self, answer: mavlink.MAVLink_command_ack_message) -> None:
        """Take the answer to a command of ours."""
        if answer.command != _COMMAND or self._waiting is None:
            return
        (turn, _), self._waiting = self._waiting, None
        if answer.result == mavlink.MAV_RESULT_ACCEPTED:
            turn.over = turn.phase[1]
        else:
            self._words.append(f"the vehicle refuses another speed, result {answer.result}")

    def step(
        self,
        wanted: Sequence[ActionRequest],
        autopilot: Autopilot,
        vehicle: VehicleState,
        now_s: float,
    ) -> list[mavlink.MAVLink_message]:
        """Return the one command that is to be sent now, or nothing.

        Args:
            wanted: the reductions, of all batteries.
            autopilot: the vehicle, which is heard.
            vehicle: its state.
            now_s: the caller's time.
        """
        self._kept.follow(autopilot)
        limits = {}
        for row in SPEEDS if autopilot.kind == ARDUPILOT_ID else ():
            if (speed_m_s := least(wanted, row.by)) is not None:
                limits[row.by] = speed_m_s
        rows = [row for row in SPEEDS if row.by in limits or row.by in self._kept.values]
        if vehicle.mode is None or not rows:
            return []
        if vehicle.mode not in SPEED_MODES:
            if not self.idle:
                self._kept.forget()
            return []
        if self._waiting is not None and now_s - self._waiting[1] < _ANSWER_S:
            return []
        self._waiting = None
        for row in rows:
            speed_m_s = self._due(row, limits.get(row.by), vehicle, now_s)
            if speed_m_s is not None:
                self._waiting = self._turns[row.by], now_s
                return [command(autopilot.system_id, _COMMAND, row.kind, speed_m_s, _AS_IT_IS)]
        if not limits and all(self._turns[row.by].over for row in rows):
            self._kept.forget()
        return []

    def _due(
        self, row: SpeedRow, asked: float | None, vehicle: VehicleState, now_s: float
    ) -> float | None:
        """Return what to command now, None while it is as it should be or was told enough."""
        phase = vehicle.mode or "", asked is None
        turn = self._turns.get(row.by)
        if turn is None or turn.phase != phase:
            turn = self._turns[row.by] = _Turn(phase)
            if row.by not in self._kept.values:
                self._parameters.read(*row.names)
        if turn.over or now_s < turn.due_s:
            return None
        own, flown = self._own_m_s(row), getattr(vehicle, row.flown)
        slow = asked is not None and (flown is None or flown <= _FASTER * asked)
        if slow or own is None:
            return None
        turn.due_s = now_s + (_ANSWER_S if asked is None else _AGAIN_S)
        kept = self._kept.values
        if row.by not in kept and not self._kept.save(kept | {row.by: own}):
            return None
        turn.tries += 1
        if turn.tries > _TRIES:
            turn.over = True
            self._words.append("the vehicle does not take another speed and is told no more")
            return None
        return own if asked is None else asked

    def _own_m_s(self, row: SpeedRow) -> float | None:
        """Return what it goes back to; while that is unknown, it is read."""
        if row.by in self._kept.values:
            return self._kept.values[row.by]
        values = self._parameters.values
        known = [values[name] * unit_m_s for name, unit_m_s in row.names.items() if name in values]
        if not known and not self._parameters.waiting() & row.names.keys():
            self._parameters.read(*row.names)
        return known[0] if known else None
