"""Whether the vehicle should be armed with these batteries, and whom that is told.

PX4 asks (COM_ARM_AUTH_REQ) and is answered; ArduPilot's driver script is told each second; people
are told the reason as a text when it has held for a moment, and whenever it is the answer.
Times on the caller's clock.
Source: PX4 ArmAuthorization.cpp; common.xml, MAV_CMD_ARM_AUTHORIZATION_REQUEST 3001.
"""

from typing import TYPE_CHECKING

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.flight_stacks import SCRIPT_NO_GO
from mavlink_bridge.vehicle.command_protocol import acknowledgement

if TYPE_CHECKING:
    from dronebms.core.report import Report

_HOLD_S = 2.0
_SAID_S = 10.0  # between two texts
_AGAIN_S = 1.0
_AUTHORIZED_S = 5  # PX4 arms within it
_OPENING = "no go: "  # by which the script knows the text


class ArmingCheck:
    """The verdict over all batteries."""

    def __init__(self) -> None:
        self._reasons: dict[int, str | None] = {}
        self._since: tuple[str | None, float] = (None, 0.0)
        self._said: tuple[str | None, float] = (None, -_SAID_S)
        self._told_s: float | None = None

    def judge(self, report: "Report", withheld: str | None) -> None:
        """Take what is known of one battery, and why the vehicle is not told of it."""
        verdict = report.preflight
        reason = withheld if verdict.go else "; ".join(verdict.reasons)
        self._reasons[report.index] = reason and f"battery {report.index + 1}, {reason}"

    def reason(self) -> str | None:
        """Return why not, None when it may be armed."""
        if not self._reasons:
            return f"{_OPENING}no battery has been heard"
        known = [reason for reason in self._reasons.values() if reason is not None]
        return f"{_OPENING}{known[0]}" if known else None

    def answer(
        self, message: mavlink.MAVLink_message
    ) -> tuple[mavlink.MAVLink_command_ack_message, str | None]:
        """Return the answer to PX4, which asks whether it may arm, and what to say to people."""
        reason = self.reason()
        if reason is None:
            answer = acknowledgement(message, mavlink.MAV_RESULT_ACCEPTED)
            answer.result_param2 = _AUTHORIZED_S
        else:
            # PX4 reads the reason from the field for progress: NONE is "it is said as a text".
            none = mavlink.MAV_ARM_AUTH_DENIED_REASON_NONE
            answer = acknowledgement(message, mavlink.MAV_RESULT_DENIED, progress=none)
        return answer, reason

    def tell(
        self, now_s: float
    ) -> tuple[mavlink.MAVLink_named_value_float_message | None, str | None]:
        """Return what to tell a disarmed vehicle's script now, and people."""
        reason, text, message = self.reason(), None, None
        if reason != self._since[0]:
            self._since = (reason, now_s)
        lasting = now_s - self._since[1] >= _HOLD_S and now_s - self._said[1] >= _SAID_S
        if reason != self._said[0] and lasting:
            self._said, text = (reason, now_s), reason
        if self._told_s is None or now_s - self._told_s >= _AGAIN_S:
            self._told_s = now_s
            message = mavlink.MAVLink_named_value_float_message(
                0, SCRIPT_NO_GO.encode(), float(reason is not None)
            )
        return message, text
