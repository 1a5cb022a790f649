"""Moved."""

from dataclasses import dataclass, field

from dronebms.core.format import clock_text, duration
from dronebms.core.pack_data import PackData
from dronebms.core.report import Event, Report

_WARM_UP_FRAC = 0.2  # of the flight: hindsight judges what comes after


_SHORT_S = 30.0  # errors in per cent mean nothing in the last seconds


@dataclass(slots=True)
class Summary:
    """What a person wants to know after a flight."""

    first: Report | None = None
    last: Report | None = None
    lowest_v: float | None = None
    hottest_degc: float | None = None
    ended_s: float | None = None
    events: list[Event] = field(default_factory=list)
    answers: list[tuple[float, float, float, float]] = field(default_factory=list)

    def __call__(self, report: Report) -> None:
        """Take in a step; the first battery's."""
        if report.index:
            return
        self.first = self.first or report
        self.last = report
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
        low_s, median_s, high_s = left.remaining_low_s, left.remaining_s, left.remaining_high_s
        if self.ended_s is None and low_s is not None and median_s is not None:
            high_s = median_s if high_s is None else high_s
            self.answers.append((report.t_s, low_s, median_s, high_s))

    def lines(self, pack_data: PackData, name: str) -> list[str]:
        """Return the summary, a sentence a line."""
        if self.first is None or self.last is None:
            return [f"{name}: nothing was heard"]
        capacity = "unknown" if pack_data.capacity_mah is None else f"{pack_data.capacity_mah:.0f}"
        lines = [
            f"{name}: {duration(self.last.t_s - self.first.t_s)}, "
            f"{pack_data.cells or 'unknown'} cells "
            f"{pack_data.chemistry.name}, {capacity} mAh, empty at {pack_data.cutoff_v:g} V a cell"
        ]
        lines += [f"note: {note}" for note in pack_data.assumed()]
        used_mah = self.last.estimate.used_mah
        lines.append(
            f"used {'unknown' if used_mah is None else f'{used_mah:.0f} mAh'}"
            + ("" if self.lowest_v is None else f", weakest cell down to {self.lowest_v:.2f} V")
            + ("" if self.hottest_degc is None else f", up to {self.hottest_degc:.0f} degC")
        )
        lines += [f"{clock_text(e.t_s)} {e.severity.label}: {e.text}" for e in self.events]
        lines.append(self.hindsight())
        return lines

    def hindsight(self) -> str:
        """Return how good the time left was, in a sentence."""
        if self.ended_s is None:
            return "the pack did not reach its end"
        start_s = self.answers[0][0] if self.answers else self.ended_s
        from_s = start_s + _WARM_UP_FRAC * (self.ended_s - start_s)
        judged = [
            (self.ended_s - t_s, low_s, median_s, high_s)
            for t_s, low_s, median_s, high_s in self.answers
            if from_s <= t_s <= self.ended_s - _SHORT_S
        ]
        end = f"the pack reached its end at {clock_text(self.ended_s)}"
        if not judged:
            return end
        error = sum(abs(median - true) / true for true, _, median, _ in judged) / len(judged)
        held = sum(low <= true <= high for true, low, _, high in judged) / len(judged)
        return (
            f"{end}; seen from there, the time left was off by {100 * error:.0f} % on average "
            f"and inside its interval {100 * held:.0f} % of the time"
        )
