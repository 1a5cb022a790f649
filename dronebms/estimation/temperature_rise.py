"""How fast a pack warms under load, from a thermometer in steps of 0.1 K and a lag of its own."""

_SMOOTH_S = 15.0
_SPAN_S = 45.0  # a slope over less is the thermometer's steps


class TemperatureRise:
    """Follows the temperature of one flight; `degc_s` is its slope, 0 until it is known."""

    def __init__(self) -> None:
        self.degc_s = 0.0
        self._degc = self._last_s = 0.0
        self._from: tuple[float, float] | None = None

    def update(self, now_s: float, degc: float) -> None:
        """Take in a temperature in degC."""
        if self._from is None:
            self._from, self._degc, self._last_s = (now_s, degc), degc, now_s
            return
        self._degc += (degc - self._degc) * min((now_s - self._last_s) / _SMOOTH_S, 1.0)
        self._last_s = now_s
        since_s, since_degc = self._from
        if now_s - since_s > _SPAN_S:
            slope = (self._degc - since_degc) / (now_s - since_s)
            self.degc_s += (slope - self.degc_s) / 2
            self._from = (now_s, self._degc)
