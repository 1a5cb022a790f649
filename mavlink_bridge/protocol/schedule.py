# SPDX-License-Identifier: Apache-2.0
"""Send times of the messages of one battery, in seconds of the caller's clock."""

_AT_ONCE_S = float("-inf")
_NEVER_S = float("inf")


class MessageSchedule:
    """Period of each message id; `None` sends a message only on request."""

    def __init__(self, periods_s: dict[int, float | None]) -> None:
        self.periods_s = periods_s
        self._due_s = {
            message_id: _NEVER_S if period_s is None else _AT_ONCE_S
            for message_id, period_s in periods_s.items()
        }

    def due(self, message_id: int, now_s: float) -> bool:
        """Whether a message is due now; if so, schedules the next one.

        Send times stay on multiples of the period, unless a whole period was missed.
        """
        due_s = self._due_s[message_id]
        period_s = self.periods_s[message_id] or _NEVER_S
        if now_s < due_s:
            return False
        next_s = due_s + period_s
        self._due_s[message_id] = next_s if now_s < next_s else now_s + period_s
        return True

    def send_now(self, message_id: int) -> None:
        """Make a message due at once."""
        self._due_s[message_id] = _AT_ONCE_S

    def set_period(self, message_id: int, period_s: float | None) -> None:
        """Change the period; the next message is due at once, without a period on request."""
        self.periods_s[message_id] = period_s
        self._due_s[message_id] = _NEVER_S if period_s is None else _AT_ONCE_S
