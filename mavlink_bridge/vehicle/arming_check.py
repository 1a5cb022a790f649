# SPDX-License-Identifier: Apache-2.0
"""Go or no-go for arming, sent to the autopilot and to people.

PX4 requests an authorisation (COM_ARM_AUTH_REQ) and gets an answer; ArduPilot's Lua driver gets the
verdict each second; a text states the reason once it has held for a moment, and with each
denied authorisation.
Source: PX4 ArmAuthorization.cpp; common.xml, MAV_CMD_ARM_AUTHORIZATION_REQUEST 3001.
"""

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Report
from mavlink_bridge.protocol.driver_commands import NO_GO_PREFIX
from mavlink_bridge.vehicle.command_protocol import acknowledgement

_HOLD_S = 2.0
_TEXT_PERIOD_S = 10.0
_AUTHORIZED_S = 5  # in which PX4 arms


class ArmingCheck:
    """Verdict on all batteries, and when it was last sent."""

    def __init__(self) -> None:
        self._reasons: dict[int, str] = {}  # no-go, by index of the battery
        self._temporary: set[int] = set()  # those that end by themselves within seconds
        self._evaluated = False
        self._since: tuple[str | None, float] = (None, 0.0)
        self._sent_text: tuple[str | None, float] = (None, -_TEXT_PERIOD_S)

    def update(self, report: Report, withheld: str | None) -> None:
        """Replace the verdict of one battery.

        Args:
            report: of the battery.
            withheld: reason why its BATTERY_STATUS is not sent, `None` if it is sent.
        """
        index, verdict, reason = report.index, report.preflight, withheld
        self._evaluated = True
        if not verdict.go:
            first, *others = verdict.reasons
            reason = f"{first} (+{len(others)})" if others else first
        self._reasons.pop(index, None)
        self._temporary.discard(index)
        if reason is not None:
            self._reasons[index] = f"battery {index + 1}: {reason}"
            if verdict.temporary and withheld is None:
                self._temporary.add(index)

    def reason(self) -> str | None:
        """Reason against arming, `None` for go."""
        if not self._evaluated:
            return f"{NO_GO_PREFIX}no battery data"
        # A reason that lasts comes first; then the first battery.
        index = min(self._reasons, key=lambda k: (k in self._temporary, k), default=None)
        return None if index is None else f"{NO_GO_PREFIX}{self._reasons[index]}"

    @property
    def temporary(self) -> bool:
        """Whether every reason ends by itself within seconds."""
        return self._evaluated and self._temporary == set(self._reasons)

    def answer(
        self, message: mavlink.MAVLink_message
    ) -> tuple[mavlink.MAVLink_command_ack_message, str | None]:
        """Answer to an authorisation request of PX4, and the reason of a denial for people."""
        reason = self.reason()
        if reason is None:
            answer = acknowledgement(message, mavlink.MAV_RESULT_ACCEPTED)
            answer.result_param2 = _AUTHORIZED_S
        else:
            # PX4 reads the reason from the progress field; NONE refers to a text.
            none = mavlink.MAV_ARM_AUTH_DENIED_REASON_NONE
            denied = mavlink.MAV_RESULT_DENIED
            result = mavlink.MAV_RESULT_TEMPORARILY_REJECTED if self.temporary else denied
            answer = acknowledgement(message, result, progress=none)
        return answer, reason

    def due_text(self, now_s: float) -> str | None:
        """Text for people about a disarmed vehicle, if one is due now."""
        reason = self.reason()
        if reason != self._since[0]:
            self._since = (reason, now_s)
        held = now_s - self._since[1] >= _HOLD_S
        if not held or reason == self._sent_text[0] or now_s - self._sent_text[1] < _TEXT_PERIOD_S:
            return None
        self._sent_text = (reason, now_s)
        return reason
