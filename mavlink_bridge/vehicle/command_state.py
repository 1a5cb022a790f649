# SPDX-License-Identifier: Apache-2.0
"""State machine of a mode command: sent, accepted, obeyed, or overridden by a pilot.

Input are the heartbeats and acknowledgements of the autopilot, each with its time. A change of the
mode is the autopilot's own if the table of flight modes lets the mode follow, or if a failsafe has
chosen it; every other change is a pilot's, on a remote control or at a ground station.

| phase                          | event                                           | next       |
|--------------------------------|-------------------------------------------------|------------|
| SENT, UNANSWERED, REFUSED      | acknowledged: accepted                          | ACCEPTED   |
| SENT, UNANSWERED               | acknowledged: refused                           | REFUSED    |
| SENT                           | the former mode, SETTLE_S after it was sent     | UNANSWERED |
| SENT to LAPSED, but for OBEYED | mode complies                                   | OBEYED     |
| ACCEPTED                       | mode complies, or follows the commanded one     | OBEYED     |
| OBEYED                         | own change to a mode that complies or follows   | OBEYED     |
| OBEYED                         | any change to a landing, also a pilot's         | OBEYED     |
| OBEYED, ACCEPTED               | another own change                              | LAPSED     |
| UNOBEYED, SENT, LAPSED         | own change                                      | the same   |
| SENT, ACCEPTED, OBEYED, LAPSED | pilot's change                                  | OVERRIDDEN |
| UNOBEYED                       | pilot's change (nothing was obeyed)             | the same   |
| ACCEPTED                       | the former mode, SETTLE_S after the answer      | OVERRIDDEN |
| ACCEPTED                       | the former mode, by a failsafe                  | LAPSED     |
| UNANSWERED, REFUSED            | its event is over                               | ENDED      |
| ENDED                          | its event goes on, as after a restart           | UNANSWERED |
| UNOBEYED, SENT, LAPSED         | command repeated                                | SENT       |
| all                            | vehicle disarmed                                | no command |
| all but OVERRIDDEN for 2 s     | autopilot restarted                             | no command |

UNOBEYED are UNANSWERED, REFUSED and ENDED: a pilot cannot override what has had no effect. If the
vehicle has obeyed an earlier command of ours, a pilot overrides that: then there is no ENDED, and
UNANSWERED and REFUSED become OVERRIDDEN as SENT does.
OVERRIDDEN ends with disarming alone: a pilot who has taken over sees what the vehicle flies over,
and keeps the command also when a more urgent action is requested. The alarms continue.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import ActionKey, ActionKind
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.flight_modes import (
    EVASIVE_MODES,
    action_of_mode,
    follows_by_itself,
)
from mavlink_bridge.protocol.vehicle_classes import class_named

HEARTBEAT_MAX_AGE_S = 2.0
# In which a heartbeat may show the former mode though the command was accepted: PX4 acknowledges
# before it changes the mode, and sends one heartbeat a second; two of them.
SETTLE_S = 2.5
UNKNOWN_MODE = "unknown mode"  # a number in a heartbeat that no table has
RESTART_SEEN_S = 2.0  # from the first heartbeat after a restart until its clock is received


class Phase(StrEnum):
    """Phase of the last mode command."""

    SENT = "sent"  # no evidence yet
    UNANSWERED = "unanswered"  # neither an answer nor the mode: lost, or not carried out
    ACCEPTED = "accepted"  # acknowledged; no heartbeat has shown the mode
    REFUSED = "refused"  # by the last of its commands, or the next one is due
    OBEYED = "obeyed"  # a heartbeat has shown the mode
    LAPSED = "lapsed"  # the autopilot has left the mode by itself
    OVERRIDDEN = "overridden"  # a pilot has chosen another mode since
    ENDED = "ended"  # unanswered or refused until its event was over


UNOBEYED = frozenset((Phase.UNANSWERED, Phase.REFUSED, Phase.ENDED))


@dataclass(frozen=True, slots=True)
class SentCommand:
    """The last mode command. Plain data, part of `BridgeState`."""

    key: ActionKey
    do: ActionKind
    t_s: float
    mode_before: str
    tries: int = 1
    phase: Phase = Phase.SENT
    earlier: tuple[ActionKey, ...] = ()  # last event of each row that has had its command, sorted
    means: int = 0  # index of the command among those of the vehicle's class
    modes: tuple[str, ...] = ()  # in which the vehicle complies, besides those as urgent
    mode: str | None = None  # last seen; None: mode_before
    mode_by_failsafe: bool = False  # a failsafe had chosen the mode last seen
    accepted_s: float = 0.0
    overridden_s: float = 0.0
    recent_s: tuple[tuple[int, float], ...] = ()  # kind and time of the commands in a minute
    obeyed_before: bool = False  # an earlier command of ours was, and no pilot has overridden it

    @property
    def obeyed(self) -> bool:
        """Whether a heartbeat has shown the mode, and nothing has changed it since."""
        return self.phase is Phase.OBEYED

    @property
    def overridden(self) -> bool:
        """Whether a pilot has chosen another mode since."""
        return self.phase is Phase.OVERRIDDEN

    def acknowledged(self, result: int, now_s: float, *, last: bool = True) -> "SentCommand":
        """Copy after an answer to this command.

        Args:
            result: MAV_RESULT.
            now_s: time of the answer.
            last: whether the class of the vehicle has no other command for this action.
        """
        if result == mavlink.MAV_RESULT_IN_PROGRESS:
            return self
        if result == mavlink.MAV_RESULT_ACCEPTED:
            waiting = self.phase in (Phase.SENT, Phase.UNANSWERED, Phase.REFUSED)
            return replace(self, phase=Phase.ACCEPTED, accepted_s=now_s) if waiting else self
        if self.phase not in (Phase.SENT, Phase.UNANSWERED):
            return self
        return replace(self, phase=Phase.REFUSED, means=0 if last else self.means + 1)

    def updated(self, vehicle: VehicleState, now_s: float) -> "SentCommand | None":
        """Copy after the last heartbeat; `None` once the vehicle is disarmed.

        A heartbeat may be read several times; one that is too old is not read, nor is one that
        claims a disarmed vehicle while others do not.
        """
        if vehicle.armed is not True:
            return None if vehicle.armed is False else self
        age_s = vehicle.heartbeat_age_s
        mode = vehicle.mode or UNKNOWN_MODE
        if age_s is None or age_s > HEARTBEAT_MAX_AGE_S:
            return self
        # What follows a command may be its effect; what follows the commanded mode is none.
        unread = vehicle.mode is None and self.phase is not Phase.OBEYED
        if unread and (self.mode or self.mode_before) != UNKNOWN_MODE:
            return self
        phase = self._after_heartbeat(vehicle, mode, now_s - age_s)
        by_failsafe = vehicle.failsafe is True
        if (phase, mode, by_failsafe) == (self.phase, self.mode, self.mode_by_failsafe):
            return self
        began = phase is Phase.OVERRIDDEN and not self.overridden
        return replace(
            self,
            phase=phase,
            mode=mode,
            mode_by_failsafe=by_failsafe,
            overridden_s=now_s if began else self.overridden_s,
        )

    def by_event(self, *, active: bool) -> "SentCommand":
        """Copy by whether its event goes on: what was not obeyed at its end never will be.

        Before the first report after a restart, and while actions are off, no event is active.
        """
        if active:
            return replace(self, phase=Phase.UNANSWERED) if self.phase is Phase.ENDED else self
        unobeyed = self.phase in (Phase.UNANSWERED, Phase.REFUSED) and not self.obeyed_before
        return replace(self, phase=Phase.ENDED) if unobeyed else self

    def after_restart(self, now_s: float) -> "SentCommand | None":
        """Copy after a restart of the autopilot: it has forgotten the mode, a pilot has not.

        A mode that has changed just before was the restart's: heartbeats may come first.
        """
        chosen = self.overridden and now_s - self.overridden_s >= RESTART_SEEN_S
        return self if chosen else None

    def complies(self, mode: str) -> bool:
        """Whether a vehicle in this mode does what was commanded."""
        answered = self.phase in (Phase.ACCEPTED, Phase.OBEYED)
        commanded = mode in self.modes and (answered or mode != self.mode_before)
        return commanded or action_of_mode(mode) >= self.do

    def _after_heartbeat(self, vehicle: VehicleState, mode: str, heartbeat_s: float) -> Phase:
        if self.overridden or self.phase is Phase.ENDED:
            return self.phase
        before = self.mode_before if self.mode is None else self.mode
        if mode == before and not self.complies(mode):
            return self._after_former_mode(vehicle, heartbeat_s)
        # Nothing is more urgent than a landing: no command of ours could replace it.
        lands = action_of_mode(mode) is ActionKind.LAND
        if mode == before or (self.complies(mode) and (lands or not self.obeyed)):
            return Phase.OBEYED
        if self._is_choice(before, mode, vehicle):
            idle = self.phase in UNOBEYED and not self.obeyed_before
            return self.phase if idle else Phase.OVERRIDDEN
        if self.phase not in (Phase.ACCEPTED, Phase.OBEYED):
            return self.phase
        own_mode = not vehicle.failsafe and mode not in EVASIVE_MODES
        follows = own_mode and self._follows_commanded(before, mode, vehicle)
        return Phase.OBEYED if follows or self.complies(mode) else Phase.LAPSED

    def _after_former_mode(self, vehicle: VehicleState, heartbeat_s: float) -> Phase:
        """Phase after a heartbeat that shows no change of the mode."""
        if self.phase is Phase.SENT and heartbeat_s >= self.t_s + SETTLE_S:
            return Phase.UNANSWERED
        if self.phase is not Phase.ACCEPTED or heartbeat_s < self.accepted_s + SETTLE_S:
            return self.phase
        return Phase.LAPSED if vehicle.failsafe else Phase.OVERRIDDEN

    def _is_choice(self, before: str, mode: str, vehicle: VehicleState) -> bool:
        """Whether a pilot has changed the mode, and not the autopilot itself."""
        if vehicle.failsafe or follows_by_itself(before, mode, _firmware(vehicle)):
            return False
        failsafe_ended = self.mode_by_failsafe and mode == self.mode_before
        if failsafe_ended and self.phase is Phase.SENT:
            return False
        return not self._follows_commanded(before, mode, vehicle)

    def _follows_commanded(self, before: str, mode: str, vehicle: VehicleState) -> bool:
        """Whether the mode follows the commanded one, which may have been missed."""
        commanded = (before,) if self.obeyed else self.modes
        answered = self.phase in (Phase.ACCEPTED, Phase.OBEYED)
        firmware = _firmware(vehicle)
        return answered and any(follows_by_itself(one, mode, firmware) for one in commanded)


def _firmware(vehicle: VehicleState) -> str | None:
    row = class_named(vehicle.vehicle_class)
    return None if row is None else row.firmware
