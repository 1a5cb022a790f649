"""When each message of one battery is due. Seconds of the caller's clock."""

_AT_ONCE_S = float("-inf")
_NEVER_S = float("inf")


class MessageSchedule:
    """The messages of one battery, by number, each with a period; None: only when asked."""

    def __init__(self, periods_s: dict[int, float | None]) -> None:
        self.periods_s = periods_s
        self._due_s = dict.fromkeys(periods_s, _AT_ONCE_S)

    def due(self, number: int, now_s: float) -> bool:
        """Return whether a message is due now, and if so plan the next one.

        It stays on the beat, unless a whole beat was missed.
        """
        due_s, period_s = self._due_s[number], self.periods_s[number] or _NEVER_S
        if now_s < due_s:
            return False
        self._due_s[number] = due_s + period_s if now_s < due_s + period_s else now_s + period_s
        return True

    def ask(self, number: int) -> None:
        """Make a message due at once."""
        self._due_s[number] = _AT_ONCE_S

    def every(self, number: int, period_s: float | None) -> None:
        """Send a message with another period from now on."""
        self.periods_s[number] = period_s
        self.ask(number)
