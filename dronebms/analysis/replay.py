"""A flight from a file through the estimator and the judge, as fast as they go."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError, FlightError, RecordingError
from dronebms.core.pack_data import BatteryFacts
from dronebms.estimation.pack_memory import LearnedPacks, Recollection
from dronebms.flightlogs.sidecar import NO_OPTIONS, FlightOptions
from dronebms.flightlogs.source import Flight, FlightSource, read_flight
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Monitor, Report
from dronebms.protection.alarms import Event
from dronebms.recording.format import Kept, Poll, Progress, Start, Tell, is_recording, read_records
from dronebms.recording.gauge_tap import PlayedGauge
from dronebms.service.checkpoint import gone_on_from
from dronebms.telemetry import json_line
from dronebms.telemetry.json_line import EachSecond
from dronebms.terminal.phrases import clock_text, duration

ReadFlight = Callable[[Path, FlightOptions], Flight]
_log = logging.getLogger(__name__)
_WARM_UP_FRAC = 0.2  # of the flight: hindsight judges what comes after
_SHORT_S = 30.0  # errors in per cent mean nothing in the last seconds


def reports(
    path: Path,
    options: FlightOptions,
    progress: Progress,
    tell: Tell = _log.warning,
    read: ReadFlight = read_flight,
    packs: LearnedPacks | None = None,
) -> Iterator[Report]:
    """Yield every step of a flight or a recording; `tell` is told what is missing of one.

    Flights are read by `read`; `packs` are recalled, and learned at the end. Without them a
    recording recalls what its run recalled.

    Raises:
        FlightError: the flight cannot be read.
        RecordingError: the recording is damaged.
    """
    if is_recording(path):
        if options != NO_OPTIONS:
            why = "is a recording and knows its pack: options on it are for flights"
            raise ConfigError(f"{path} {why}")
        yield from _recorded(path, progress, tell, packs)
        return
    flight = read(path, options)
    source = FlightSource(flight)
    if packs is not None and flight.facts.pack_id is not None:
        packs.load(flight.facts.pack_id)  # what is damaged is told before the flight, not after
    monitor = Monitor(source, flight.facts, packs=packs)
    first_s, last_s = flight.columns["t_s"][0], flight.columns["t_s"][-1]
    for t_s in source.ticks():
        yield monitor.step(t_s, source.vehicle(t_s))
        progress((t_s - first_s) / max(last_s - first_s, 1e-9))
    monitor.learn()


def _recorded(
    path: Path, progress: Progress, tell: Tell, packs: LearnedPacks | None
) -> Iterator[Report]:
    records = read_records(path, progress, tell)
    start = next(records)
    if not isinstance(start, Start):
        raise RecordingError(f"{path} does not begin with a start")
    rules = start.rules
    gauges = [PlayedGauge(battery) for battery in start.batteries]
    told = [Recollection(battery.recalled) for battery in start.batteries]
    monitors = [
        Monitor(gauge, battery.facts, index=index, rules=rules, packs=packs or told[index])
        for index, (gauge, battery) in enumerate(zip(gauges, start.batteries, strict=True))
    ]
    supply = Supply(monitors, start.topology)
    for record in records:
        if isinstance(record, Start):
            _know(record, gauges, told)
            if record.kept is not None and packs is None:
                _go_on(monitors, record.kept)
            if record.rules != rules:
                rules = record.rules
                for monitor in monitors:
                    monitor.use(rules)
        elif isinstance(record, Poll):
            if not 0 <= record.index < len(gauges):
                number = record.index + 1
                raise RecordingError(f"{path}: battery {number} is not one of those in it")
            gauges[record.index].play(record.t_s, record.transfers)
        else:
            yield from supply.step(record.t_s, record.vehicle)
    for monitor in monitors:
        monitor.learn()


def _know(start: Start, gauges: Sequence[PlayedGauge], told: Sequence[Recollection]) -> None:
    for gauge, memory, battery in zip(gauges, told, start.batteries, strict=False):
        gauge.go_on(battery.known)
        memory.told = battery.recalled


def _go_on(monitors: Sequence[Monitor], kept: Kept) -> None:
    for monitor, memory in zip(monitors, gone_on_from(kept), strict=False):
        monitor.go_on(memory)


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

    def lines(self, facts: BatteryFacts, name: str) -> list[str]:
        """Return the summary, a sentence a line."""
        if self.first is None or self.last is None:
            return [f"{name}: nothing was heard"]
        capacity = "unknown" if facts.capacity_mah is None else f"{facts.capacity_mah:.0f}"
        lines = [
            f"{name}: {duration(self.last.t_s - self.first.t_s)}, {facts.cells or 'unknown'} cells "
            f"{facts.chemistry.name}, {capacity} mAh, empty at {facts.cutoff_v:g} V a cell"
        ]
        lines += [f"note: {note}" for note in facts.assumed()]
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


def replay(path: Path, flown: Iterable[Report], out: str | None) -> list[str]:
    """Step through a flight, write its predictions, return the summary.

    Args:
        path: flight or recording.
        flown: its `reports`.
        out: where the predictions go: a file, `-` for stdout, None for nowhere.

    Raises:
        FlightError, RecordingError, ConfigError: what cannot be read or written; nothing is
            left under the final name then.
    """
    if out is not None and Path(out).exists() and path.exists() and path.samefile(out):
        raise ConfigError(f"{out} is the flight itself and is not overwritten")
    summary, due = Summary(), EachSecond()
    with ExitStack() as stack:
        file = None
        if out is not None:
            file = sys.stdout if out == "-" else stack.enter_context(atomic_writer(Path(out)))
        second = False
        for report in flown:
            if report.index == 0:
                second = due.due(report.t_s)
                summary(report)
            if second and file is not None:
                file.write(json_line.text(report) + "\n")
    if summary.last is None:
        raise FlightError(f"{path} holds no step of a flight")
    return summary.lines(summary.last.facts, path.name)
