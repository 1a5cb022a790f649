# SPDX-License-Identifier: Apache-2.0
"""Replay of a flight log or a recording through the pipeline, as fast as possible."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from dronebms.analysis.read_only_memory import ReplayedMemory
from dronebms.analysis.summary import Summary
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.clock import OncePerSecond
from dronebms.core.errors import ConfigError, FlightLogError, RecordingError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report
from dronebms.estimation.learning.learned_pack import Keys
from dronebms.estimation.learning.pack_memory import PackMemory, recall
from dronebms.flightlogs import (
    NO_OPTIONS,
    FlightLog,
    FlightOptions,
    FlightSource,
    read_csv_log,
    refuse_output,
    resolution_of,
)
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Pipeline, restore_parts
from dronebms.recording.gauge_tap import PlayedGauge
from dronebms.recording.reading import Progress, Warn, is_recording, read_records
from dronebms.recording.records import Poll, Shown, Start, Step
from dronebms.telemetry import json_line
from smartbattery.snapshot import UNIDENTIFIED

ReadFlight = Callable[[Path, FlightOptions], FlightLog]
_log = logging.getLogger(__name__)


def reports(
    path: Path,
    options: FlightOptions,
    progress: Progress,
    warn: Warn = _log.warning,
    read: ReadFlight = read_csv_log,
    packs: PackMemory | None = None,
) -> Iterator[Report]:
    """Yield every step of a flight log or a recording.

    Args:
        path: flight log or recording.
        options: pack data of a flight log; a recording contains its own.
        progress: receives the share that is done, 0..1.
        warn: receives a sentence for each part that cannot be read.
        read: reader of flight logs.
        packs: pack memory to load, and to update at the end. Without it a recording uses the pack
            memory that its run loaded.

    Raises:
        ConfigError: options for a recording.
        FlightLogError: the flight log cannot be read.
        RecordingError: the recording is damaged.
    """
    if is_recording(path):
        if options != NO_OPTIONS:
            raise ConfigError(f"{path} is a recording and contains its pack data: omit the options")
        yield from _recorded(path, progress, warn, packs)
        return
    flight = read(path, options)
    source = FlightSource(flight)
    if packs is not None:  # a damaged pack memory is reported before the flight, not after
        recall(packs, flight_keys(flight.pack_data), _raise)
    pipeline = Pipeline(source, flight.pack_data, packs=packs)
    pipeline.resolution = resolution_of(flight)
    first_s = flight.columns["t_s"][0]
    last_s = flight.columns["t_s"][-1]
    for t_s in source.ticks():
        yield pipeline.step(t_s, source.vehicle(t_s))
        progress((t_s - first_s) / max(last_s - first_s, 1e-9))
    pipeline.store_learned()


def flight_keys(pack_data: PackData) -> Keys:
    """Names under which a flight log is remembered."""
    return Keys(pack_data.pack_id, pack_data.model_key(UNIDENTIFIED), pack_data.vehicle)


def _raise(error: ConfigError) -> None:
    raise error


def _recorded(
    path: Path, progress: Progress, warn: Warn, packs: PackMemory | None
) -> Iterator[Report]:
    records = read_records(path, progress, warn)
    start = next(records)
    if not isinstance(start, Start):
        raise RecordingError(f"{path} does not begin with a start record")
    rules = start.rules
    gauges = [PlayedGauge(battery) for battery in start.batteries]
    memories = [ReplayedMemory(battery.recalled) for battery in start.batteries]
    pipelines = [
        Pipeline(gauge, battery.pack_data, index=index, rules=rules, packs=packs or memories[index])
        for index, (gauge, battery) in enumerate(zip(gauges, start.batteries, strict=True))
    ]
    supply = Supply(pipelines, start.topology)
    for record in records:
        if isinstance(record, Start):
            _restore_gauges(record, gauges, memories)
            if record.restart is not None and packs is None:
                restore_parts(pipelines, record.restart)
            if record.rules != rules:
                rules = record.rules
                for pipeline in pipelines:
                    pipeline.use(rules)
        elif isinstance(record, Step):
            yield from supply.step(record.t_s, record.vehicle)
        else:
            _play(path, record, gauges)
    for pipeline in pipelines:
        pipeline.store_learned()


def _play(path: Path, record: Poll | Shown, gauges: Sequence[PlayedGauge]) -> None:
    if not 0 <= record.index < len(gauges):
        number = record.index + 1
        raise RecordingError(f"{path}: battery {number} is not in the start record")
    if isinstance(record, Poll):
        gauges[record.index].play(record.t_s, record.transfers)
    else:
        gauges[record.index].show(record.snapshot)


def _restore_gauges(
    start: Start, gauges: Sequence[PlayedGauge], memories: Sequence[ReplayedMemory]
) -> None:
    for gauge, memory, battery in zip(gauges, memories, start.batteries, strict=False):
        gauge.restore(battery.known)
        memory.recalled = battery.recalled


def replay(path: Path, flown: Iterable[Report], out: str | None) -> list[str]:
    """Step through a flight, write its predictions, and return the summary.

    Args:
        path: flight log or recording.
        flown: its `reports`.
        out: file of the predictions, `-` for stdout, None for none.

    Raises:
        FlightLogError: the flight cannot be read.
        RecordingError: the recording is damaged.
        ConfigError: `out` cannot be written. After an error there is no file of that name.
    """
    if out is not None and out != "-":
        refuse_output(Path(out), path)
    summary = Summary()
    due = OncePerSecond()
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
        raise FlightLogError(f"{path} contains no step of a flight")
    return summary.lines(summary.last.pack_data, path.name)
