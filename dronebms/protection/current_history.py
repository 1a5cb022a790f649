# SPDX-License-Identifier: Apache-2.0
"""Current of the last minute in windows, by the charge that was drawn until each sample."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dronebms.protection.quantity_values import QuantityName

WINDOWS_S: Mapping[QuantityName, float] = MappingProxyType(
    {"current_2s_a": 2.0, "current_10s_a": 10.0, "current_60s_a": 60.0}
)
_SAME_S = 1e-9


@dataclass(frozen=True, slots=True)
class CurrentHistoryState:
    """Sample times and the ampere-seconds drawn until each."""

    times_s: tuple[float, ...] = ()
    drawn_as: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if a sample lacks its time or its charge."""
        if len(self.times_s) != len(self.drawn_as):
            raise ValueError("times_s and drawn_as differ in length")


class CurrentHistory:
    """Current of the last minute: means of windows and their remaining ampere-seconds."""

    def __init__(self, state: CurrentHistoryState = CurrentHistoryState()) -> None:
        self._t_s = list(state.times_s)
        self._as = list(state.drawn_as)

    def state(self) -> CurrentHistoryState:
        """State for a restart."""
        return CurrentHistoryState(tuple(self._t_s), tuple(self._as))

    def add(self, now_s: float, current_a: float | None) -> None:
        """Add the current since the previous sample; an unknown current clears the history."""
        if current_a is None:
            self._t_s = []
            self._as = []
            return
        drawn_as = self._as[-1] + current_a * (now_s - self._t_s[-1]) if self._as else 0.0
        self._t_s.append(now_s)
        self._as.append(drawn_as)
        if self._t_s[0] < now_s - 2 * WINDOWS_S["current_60s_a"]:
            old = bisect_right(self._t_s, now_s - WINDOWS_S["current_60s_a"]) - 1
            del self._t_s[:old], self._as[:old]

    def drawn_as(self, since_s: float) -> float:
        """Ampere-seconds drawn since a time, as far as the history reaches."""
        times = self._t_s
        if not times or since_s <= times[0]:
            return self._as[-1] - self._as[0] if times else 0.0
        after = bisect_right(times, since_s)
        if after == len(times):
            return 0.0
        before = after - 1
        span_s = times[after] - times[before]
        share = (since_s - times[before]) / span_s
        at_as = self._as[before] + share * (self._as[after] - self._as[before])
        return self._as[-1] - at_as

    def mean(self, now_s: float, span_s: float) -> float | None:
        """Mean current of the last `span_s` in amperes, `None` before the history spans it."""
        if not self._t_s or now_s - span_s < self._t_s[0] - _SAME_S:
            return None
        return self.drawn_as(now_s - span_s) / span_s
