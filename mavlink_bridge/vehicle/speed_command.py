# SPDX-License-Identifier: Apache-2.0
"""Limits the speeds of ArduCopter and Rover by DO_CHANGE_SPEED, and restores them.

A speed is commanded only to a vehicle that is faster, so that a slower speed of the user is never
raised, at most three times in a mode, because the pilot may choose otherwise, and eight times a
minute, however often limits come and go. At the end, also
after a restart of this service, the vehicle's own parameter is commanded: a speed that a mission or
ground station had commanded before is not known. Each mode starts with its own speeds, so that a
change of the mode ends the limit.
Source: common.xml, MAV_CMD_DO_CHANGE_SPEED 178; GCS_MAVLink_Copter.cpp, ModeGuided and ModeAuto;
GCS_MAVLink_Rover.cpp, which denies a climb, and `set_desired_speed` of its modes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.background_jobs import Run, run_inline
from dronebms.core.report import ActionRequest
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_modes import SPEED_MODES
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import command, result_label
from mavlink_bridge.vehicle.parameter_limits import lowest
from mavlink_bridge.vehicle.saved_parameters import SavedParameters

_COMMAND = mavlink.MAV_CMD_DO_CHANGE_SPEED
_FASTER = 1.1  # times the limit: overshoot of the vehicle's controller
_RETRY_S = 10.0  # time to slow down
_ANSWER_S = 1.0
_TRIES = 3
# commands of one speed, to limit and to restore it
_BUDGET = 8
_BUDGET_S = 60.0
_THROTTLE_UNCHANGED = -1.0  # DO_CHANGE_SPEED.throttle
_MOST_M_S = 100.0  # of any vehicle


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """A speed that a command limits."""

    vehicle_class: str
    by: str  # field of an action
    measured: str  # field of the vehicle state
    kind: int  # SPEED_TYPE
    parameters: Mapping[str, float]  # the vehicle's own speed: parameter and its unit in m/s


_GROUND = MappingProxyType({"WP_SPD": 1.0, "WPNAV_SPEED": 0.01})
_CLIMB = MappingProxyType({"WP_SPD_UP": 1.0, "WPNAV_SPEED_UP": 0.01})
_ROVER_GROUND = MappingProxyType({"WP_SPEED": 1.0})
SPEEDS = (
    SpeedRow("ArduCopter", "speed_m_s", "ground_speed_m_s", 1, _GROUND),
    SpeedRow("ArduCopter", "climb_m_s", "climb_m_s", 2, _CLIMB),
    SpeedRow("ArduRover", "speed_m_s", "ground_speed_m_s", 1, _ROVER_GROUND),
)
# Of original values.
SPEEDS_KIND = ("speeds", MappingProxyType(dict.fromkeys([row.by for row in SPEEDS], _MOST_M_S)))


@dataclass(slots=True)
class _Phase:
    """Commands of one speed in one mode, either to limit or to restore it."""

    mode: str
    restores: bool
    due_s: float = -math.inf
    tries: int = 0
    ended: bool = False


class SpeedCommand:
    """Speeds of one vehicle. For one thread."""

    def __init__(self, parameters: Parameters, folder: Path, run: Run = run_inline) -> None:
        """Use the parameters of the vehicle, and a folder for its original speeds.

        Args:
            parameters: of the vehicle.
            folder: of the original speeds.
            run: does the jobs on the disk.
        """
        self._parameters = parameters
        self._saved = SavedParameters(folder, *SPEEDS_KIND, run)
        self._phases: dict[str, _Phase] = {}
        self._unanswered: tuple[_Phase, float] | None = None  # and the time of its command
        self._texts: list[str] = []
        self._commanded_s: dict[str, list[float]] = {}  # times of the commands in a minute

    @property
    def idle(self) -> bool:
        """Whether no speed has to be restored."""
        return not self._saved.held

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do on disk."""
        return self._saved.is_settled

    def take_texts(self) -> list[str]:
        """Texts for the pilot since the last call."""
        texts = self._texts
        self._texts = []
        return self._saved.take_texts() + texts

    def after_restart(self) -> None:
        """Command the speeds again: a restarted autopilot has its own."""
        self._phases.clear()
        self._unanswered = None

    def receive(self, answer: mavlink.MAVLink_command_ack_message) -> None:
        """Read an acknowledgement for this component."""
        if answer.command != _COMMAND or self._unanswered is None:
            return
        phase, _ = self._unanswered
        self._unanswered = None
        if answer.result == mavlink.MAV_RESULT_ACCEPTED:
            phase.ended = phase.restores
        else:
            self._texts.append(f"speed change refused: {result_label(answer.result)}")

    def unsent(self) -> None:
        """Take back the command of the last step, which the link did not accept."""
        if self._unanswered is None:
            return
        phase, _ = self._unanswered
        self._unanswered = None
        phase.tries = phase.tries - 1
        phase.due_s = -math.inf
        for by in (by for by, one in self._phases.items() if one is phase):
            self._commanded_s[by].pop()

    def step(
        self,
        requests: Sequence[ActionRequest],
        autopilot: Autopilot,
        vehicle: VehicleState,
        now_s: float,
    ) -> list[mavlink.MAVLink_message]:
        """At most one command to send now.

        Args:
            requests: REDUCE requests of all batteries.
            autopilot: of the vehicle, with a fresh heartbeat.
            vehicle: its state.
            now_s: time of the caller.
        """
        self._saved.step(autopilot, now_s)
        limits = {}
        own = [row for row in SPEEDS if row.vehicle_class == vehicle.vehicle_class]
        for row in own:
            if (speed_m_s := lowest(requests, row.by)) is not None:
                limits[row.by] = speed_m_s
        self._saved.drop(limits, now_s)
        self._saved.need(limits.keys(), now_s)
        rows = [row for row in own if row.by in limits or row.by in self._saved.held]
        if vehicle.mode is None or not rows:
            return []
        if vehicle.mode not in SPEED_MODES:
            if not self.idle:
                self._saved.discard("ended with the mode", now_s)
            return []
        if self._unanswered is not None and now_s - self._unanswered[1] < _ANSWER_S:
            return []
        self._unanswered = None
        for row in rows:
            due_m_s = self._due(row, limits.get(row.by), vehicle, now_s)
            if due_m_s is not None:
                self._unanswered = self._phases[row.by], now_s
                values = (row.kind, due_m_s, _THROTTLE_UNCHANGED)
                return [command(autopilot.system_id, _COMMAND, *values)]
        if not limits and all(self._phases[row.by].ended for row in rows):
            given_up = any(self._phases[row.by].tries > _TRIES for row in rows)
            self._saved.discard("not restored" if given_up else "restored", now_s)
        return []

    def _due(
        self, row: SpeedRow, limit: float | None, vehicle: VehicleState, now_s: float
    ) -> float | None:
        """Speed to command now; `None` if the vehicle is slow enough or no try is left."""
        mode = vehicle.mode or ""
        restores = limit is None
        phase = self._phases.get(row.by)
        if phase is None or (phase.mode, phase.restores) != (mode, restores):
            phase = self._phases[row.by] = _Phase(mode, restores)
            if row.by not in self._saved.values:
                self._parameters.read(*row.parameters)
        if phase.ended or now_s < phase.due_s:
            return None
        original = self._original_m_s(row)
        measured = getattr(vehicle, row.measured)
        slow = limit is not None and (measured is None or measured <= _FASTER * limit)
        if slow or original is None:
            return None
        recent_s = [t_s for t_s in self._commanded_s.get(row.by, ()) if now_s - t_s < _BUDGET_S]
        if len(recent_s) >= _BUDGET:
            return None
        self._saved.add({row.by: original})
        if not self._saved.save({row.by}, now_s):
            return None
        phase.due_s = now_s + (_ANSWER_S if restores else _RETRY_S)
        phase.tries += 1
        if phase.tries > _TRIES:
            phase.ended = True
            self._texts.append(f"speed change: vehicle does not comply, tries: {_TRIES}")
            return None
        self._commanded_s[row.by] = [*recent_s, now_s]
        return original if limit is None else limit

    def _original_m_s(self, row: SpeedRow) -> float | None:
        """Speed to restore; read from the vehicle while it is unknown.

        A command changes no parameter: a speed that the user has set meanwhile is restored.
        """
        values = self._parameters.values
        units = row.parameters
        speeds = [values[name] * unit_m_s for name, unit_m_s in units.items() if name in values]
        known = [speed_m_s for speed_m_s in speeds if 0.0 < speed_m_s <= _MOST_M_S]
        if known:
            return known[0]
        if row.by in self._saved.values:
            return self._saved.values[row.by]
        if not self._parameters.pending() & units.keys():
            self._parameters.read(*units)
        return None
