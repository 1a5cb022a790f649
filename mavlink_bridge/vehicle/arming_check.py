# SPDX-License-Identifier: Apache-2.0
"""Go or no-go for arming, sent to the autopilot and to people.

PX4 requests an authorisation (COM_ARM_AUTH_REQ) and gets an answer; ArduPilot's Lua driver gets the
verdict each second; a text for each reason is sent once it has held for a moment, and with a denied
authorisation. The driver and a ground station show the newest text: the most important reason is
the last one, with the number of the others.
Source: PX4 ArmAuthorization.cpp; common.xml, MAV_CMD_ARM_AUTHORIZATION_REQUEST 3001.
"""

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Report
from mavlink_bridge.protocol.driver_commands import NO_GO_PREFIX
from mavlink_bridge.vehicle.command_protocol import acknowledgement

_HOLD_S = 2.0
_TEXT_PERIOD_S = 10.0
_AUTHORIZED_S = 5  # in which PX4 arms
_MOST_OTHERS = 4  # reasons with a text of their own: other texts wait for them
_GO = ""


class ArmingCheck:
    """Verdict on all batteries, and when it was last sent."""

    def __init__(self) -> None:
        self._reasons: dict[int, tuple[str, ...]] = {}  # no-go, by index of the battery
        self._temporary: set[int] = set()  # those that end by themselves within seconds
        self._evaluated = False
        self._since: dict[str, float] = {}  # of each text that holds now
        self._sent: tuple[tuple[str, ...], float] = ((), -_TEXT_PERIOD_S)
        self._denied: tuple[tuple[str, ...], float] = ((), -_TEXT_PERIOD_S)

    def update(self, report: Report, withheld: str | None) -> None:
        """Replace the verdict of one battery.

        Args:
            report: of the battery.
            withheld: reason why its BATTERY_STATUS is not sent, `None` if it is sent.
        """
        index = report.index
        verdict = report.preflight
        reasons = verdict.reasons
        self._evaluated = True
        if verdict.go and withheld is not None:
            reasons = (withheld,)
        self._reasons.pop(index, None)
        self._temporary.discard(index)
        if reasons:
            self._reasons[index] = tuple([f"battery {index + 1}: {reason}" for reason in reasons])
            if verdict.temporary and withheld is None:
                self._temporary.add(index)

    def texts(self) -> tuple[str, ...]:
        """Reasons against arming, the most important one first; empty for go."""
        if not self._evaluated:
            return (f"{NO_GO_PREFIX}no battery data",)
        # A reason that lasts comes first; then the first battery.
        order = sorted(self._reasons, key=lambda k: (k in self._temporary, k))
        reasons = [reason for index in order for reason in self._reasons[index]]
        if len(reasons) > 1:
            reasons[0] += f" (+{len(reasons) - 1})"
        return tuple([f"{NO_GO_PREFIX}{reason}" for reason in reasons[: 1 + _MOST_OTHERS]])

    @property
    def go(self) -> bool:
        """Whether there is no reason against arming."""
        return self._evaluated and not self._reasons

    @property
    def temporary(self) -> bool:
        """Whether every reason ends by itself within seconds."""
        return self._evaluated and self._temporary == set(self._reasons)

    def answer(
        self, message: mavlink.MAVLink_message, now_s: float
    ) -> tuple[mavlink.MAVLink_command_ack_message, list[str]]:
        """Answer to an authorisation request of PX4, and the reasons of a denial for people.

        The first one comes with each denial, the others every ten seconds and when they change.
        """
        if self.go:
            answer = acknowledgement(message, mavlink.MAV_RESULT_ACCEPTED)
            answer.result_param2 = _AUTHORIZED_S
            return answer, []
        # PX4 reads the reason from the progress field; NONE refers to a text.
        none = mavlink.MAV_ARM_AUTH_DENIED_REASON_NONE
        denied = mavlink.MAV_RESULT_DENIED
        result = mavlink.MAV_RESULT_TEMPORARILY_REJECTED if self.temporary else denied
        first, *others = self.texts()
        known, sent_s = self._denied
        if tuple(others) == known and now_s - sent_s < _TEXT_PERIOD_S:
            others = []
        else:
            self._denied = (tuple(others), now_s)
        return acknowledgement(message, result, progress=none), [*reversed(others), first]

    def due_texts(self, now_s: float) -> list[str]:
        """Texts for people about a disarmed vehicle that are due now: the reasons that are new."""
        texts = self.texts() or (_GO,)
        self._since = {text: self._since.get(text, now_s) for text in texts}
        held = tuple([text for text in texts if now_s - self._since[text] >= _HOLD_S])
        sent, sent_s = self._sent
        if not held or held == sent or now_s - sent_s < _TEXT_PERIOD_S:
            return []
        due = [text for text in reversed(held) if text != _GO and text not in sent]
        self._sent = (held, now_s if due else sent_s)
        return due
