# SPDX-License-Identifier: Apache-2.0
"""Summary of a flight in sentences, and how good its predictions were in hindsight."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from dronebms.core.number_format import clock_text, duration
from dronebms.core.pack_data import PackData
from dronebms.core.report import Event, Report, Verdict

_WARM_UP_FRAC = 0.2  # of the flight: predictions before it are not rated
_SHORT_S = 30.0  # relative errors mean nothing in the last seconds


@dataclass(slots=True)
class Summary:
    """A sink that summarises the first battery of a flight."""

    first: Report | None = None
    last: Report | None = None
    lowest_v: float | None = None
    hottest_degc: float | None = None
    ended_s: float | None = None  # time of the cut-off
    events: list[Event] = field(default_factory=list)  # tripped limits
    predictions: list[tuple[float, float, float, float]] = field(default_factory=list)
    # Seconds in flight of each verdict.
    home_s: dict[Verdict, float] = field(default_factory=lambda: dict.fromkeys(Verdict, 0.0))
    mission_s: dict[Verdict, float] = field(default_factory=lambda: dict.fromkeys(Verdict, 0.0))

    def __call__(self, report: Report) -> None:
        """Add a step."""
        if report.index:
            return
        self.first = self.first or report
        since_s = report.t_s - (self.last or report).t_s
        self.last = report
        if report.vehicle.armed:
            self.home_s[report.estimate.home_verdict] += since_s
        if report.vehicle.flies_mission:
            self.mission_s[report.estimate.mission_verdict] += since_s
        lowest = report.snapshot.lowest_cell()
        if lowest is not None:
            self.lowest_v = lowest[1] if self.lowest_v is None else min(self.lowest_v, lowest[1])
        degc = report.snapshot.temperature_degc
        if degc is not None:
            self.hottest_degc = degc if self.hottest_degc is None else max(self.hottest_degc, degc)
        self.events += [event for event in report.status.events if event.tripped]
        left = report.estimate
        if left.remaining_high_s == 0 and self.ended_s is None:
            self.ended_s = report.t_s
        low_s = left.remaining_low_s
        median_s = left.remaining_s
        high_s = left.remaining_high_s
        if self.ended_s is None and low_s is not None and median_s is not None:
            high_s = median_s if high_s is None else high_s
            self.predictions.append((report.t_s, low_s, median_s, high_s))

    def lines(self, pack_data: PackData, name: str) -> list[str]:
        """The summary, a sentence a line."""
        if self.first is None or self.last is None:
            return [f"{name}: no data received"]
        capacity = "unknown" if pack_data.capacity_mah is None else f"{pack_data.capacity_mah:.0f}"
        lines = [
            f"{name}: {duration(self.last.t_s - self.first.t_s)}, "
            f"{pack_data.cells or 'unknown'} cells {pack_data.chemistry.name}, {capacity} mAh, "
            f"cut-off {pack_data.cutoff_v:g} V per cell"
        ]
        lines += [f"note: {note}" for note in pack_data.assumed()]
        used_mah = self.last.estimate.used_mah
        lines.append(
            f"used {'unknown' if used_mah is None else f'{used_mah:.0f} mAh'}"
            + ("" if self.lowest_v is None else f", weakest cell down to {self.lowest_v:.2f} V")
            + ("" if self.hottest_degc is None else f", up to {self.hottest_degc:.0f} degC")
        )
        lines += [f"{name.lower()} {shares}" for name, shares in self.verdicts()]
        lines += [f"{clock_text(e.t_s)} {e.text}" for e in self.events]
        lines.append(self.hindsight())
        return lines

    def verdicts(self) -> Iterator[tuple[str, str]]:
        """Name of each verdict that was known in flight, and its shares of that time."""
        for name, spent_s in (("Way home", self.home_s), ("Mission", self.mission_s)):
            total_s = sum(spent_s.values())
            if total_s > spent_s[Verdict.UNKNOWN]:
                shares = (f"{v.name} {100.0 * s / total_s:.0f} %" for v, s in spent_s.items() if s)
                yield name, f"{', '.join(shares)} of {duration(total_s)}"

    def hindsight(self) -> str:
        """Error of the predicted time to empty against the true cut-off, in a sentence."""
        if self.ended_s is None:
            return "cut-off not reached"
        start_s = self.predictions[0][0] if self.predictions else self.ended_s
        from_s = start_s + _WARM_UP_FRAC * (self.ended_s - start_s)
        rated = [
            (self.ended_s - t_s, low_s, median_s, high_s)
            for t_s, low_s, median_s, high_s in self.predictions
            if from_s <= t_s <= self.ended_s - _SHORT_S
        ]
        end = f"cut-off reached at {clock_text(self.ended_s)}"
        if not rated:
            return end
        error = sum(abs(median - true) / true for true, _, median, _ in rated) / len(rated)
        held = sum(low <= true <= high for true, low, _, high in rated) / len(rated)
        return (
            f"{end}; in hindsight the mean error of the time to empty was {100 * error:.0f} %, "
            f"and its 90 % interval contained the true value {100 * held:.0f} % of the time"
        )
