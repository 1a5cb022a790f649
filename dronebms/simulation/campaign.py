# SPDX-License-Identifier: Apache-2.0
"""Monte Carlo campaign: one simulated flight with many seeds, and the file of their outcomes.

Each flight is `Simulation` unchanged; the evaluation has no effect on it.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from signal import SIGTERM
from statistics import fmean, median
from tempfile import TemporaryDirectory
from threading import Thread

from pydantic import ValidationError

from dronebms import __version__
from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.clock import OncePerSecond, SystemClock
from dronebms.core.disk import not_written
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Report, Severity
from dronebms.core.toml_schema import read_text
from dronebms.protection.limits import default_limits, every_limit
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.simulation.statistics import OUTCOME_JSON, FlightOutcome
from sim.plant.faults import parse_fault
from sim.plant.ground_truth import GroundTruth
from sim.plant.scenario import load_scenario, scenario_names

SETTLE_S = 60.0  # after take-off, before the estimate is evaluated
# Distances of the truth from every limit at which an alarm is false, and before the end.
FAR_V = 0.1
FAR_K = 5.0
FAR_PCT = 10.0
FAR_S = 180.0
_MOST_BYTES = 1 << 28  # of the outcomes: half a million flights
_END_QUANTITIES = (
    "lowest_cell_v", "resting_cell_v", "voltage_v", "soc_pct", "remaining_s", "remaining_low_s",
    "remaining_high_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Campaign:
    """Flight of every seed; the first line of the outcomes' file."""

    scenario: str
    toml: str  # text of the scenario, as another machine has no such file
    faults: tuple[str, ...]
    duration_s: float | None
    version: str


def read_campaign(name: str, faults: Sequence[str], duration_s: float | None) -> Campaign:
    """Read a scenario by name or path and check the faults.

    Raises:
        ConfigError: no such scenario or fault.
    """
    load_scenario(name)
    for fault in faults:
        parse_fault(fault)
    shipped = resources.files("sim").joinpath("scenarios", f"{name}.toml")
    path = Path(str(shipped)) if name in scenario_names() else Path(name)
    return Campaign(path.stem, read_text(path), tuple(faults), duration_s, __version__)


# ---------------------------------------------------------------------- one flight


def fly(campaign: Campaign, seed: int) -> FlightOutcome:
    """Fly one seed until the pack is empty or the flight has ended."""
    if campaign.version != __version__:
        raise ConfigError(f"every machine needs the dronebms of the campaign, {campaign.version}")
    clock = SystemClock()
    second = OncePerSecond()
    outcome = FlightOutcome(seed)
    estimates: list[Estimate] = []
    with ExitStack() as stack:
        path = Path(stack.enter_context(TemporaryDirectory()), f"{campaign.scenario}.toml")
        path.write_text(campaign.toml, encoding="utf-8")
        options = SimOptions(str(path), seed, None, campaign.faults, campaign.duration_s)
        simulation = Simulation(options, stack)
        for report in simulation.reports():
            # Without bus traffic the world has not advanced.
            simulation.world.advance(report.t_s)
            _evaluate(outcome, report, simulation.world.truth())
            if second.due(report.t_s):
                estimates.append(report.estimate)
            if outcome.pack_end_s is not None:
                _compare(outcome, estimates, outcome.pack_end_s)
                break
    outcome.wall_s = clock.now_s()
    return outcome


def _evaluate(outcome: FlightOutcome, report: Report, truth: GroundTruth) -> None:
    """Update the outcome with a step; steps after the landing are ignored."""
    if report.vehicle.armed and outcome.takeoff_s is None:
        outcome.takeoff_s = report.t_s
    if outcome.takeoff_s is not None and not report.vehicle.armed:
        outcome.outcome = "landed"
        return
    outcome.pack_end_s, outcome.flown_s = truth.ended_s, report.t_s
    outcome.outcome = "flying" if truth.ended_s is None else "ended"
    outcome.lowest_cell_v = min(outcome.lowest_cell_v, *truth.cells_v)
    outcome.hottest_cell_degc = max(outcome.hottest_cell_degc, truth.temperature_degc)
    outcome.charge_left_pct = 100.0 * truth.soc_frac
    for event in report.status.events:
        alarm = event.limit_id
        if event.tripped and event.severity >= Severity.WARNING and alarm not in outcome.alarms:
            outcome.alarms[alarm] = report.t_s
            if _is_far(alarm, report.pack_data, truth):
                outcome.false_alarms.append(alarm)


def _is_far(alarm: str, pack_data: PackData, truth: GroundTruth) -> bool:
    """Whether the truth is far from every limit of charge, time, voltage and temperature."""
    limits = {limit.limit_id: limit for limit in default_limits(pack_data)}
    return (
        limits[alarm].quantity in (*_END_QUANTITIES, "temperature_degc")
        and min(truth.cells_v) > limits["cell_sag"].trip + FAR_V
        and 100.0 * truth.soc_frac > limits["charge_low"].trip + FAR_PCT
        and limits["cold"].trip + FAR_K < truth.temperature_degc < limits["hot"].trip - FAR_K
    )


def _compare(outcome: FlightOutcome, estimates: Sequence[Estimate], end_s: float) -> None:
    """Compare alarms and estimates with the true end; an unknown time counts as 0 and outside."""
    outcome.false_alarms = [
        name for name in outcome.false_alarms if end_s - outcome.alarms[name] > FAR_S
    ]
    outcome.warning_before_end_s = _before_end_s(outcome, end_s, Severity.WARNING)
    outcome.critical_before_end_s = _before_end_s(outcome, end_s, Severity.CRITICAL)
    from_s = (outcome.takeoff_s or 0.0) + SETTLE_S
    compared = [(x, end_s - x.t_s) for x in estimates if from_s <= x.t_s < end_s]
    if compared:
        outcome.time_left_error_s = median(
            abs((x.remaining_s or 0.0) - left) for x, left in compared
        )
        outcome.time_left_inside_pct = 100.0 * fmean(
            (x.remaining_low_s or 0.0) <= left <= (x.remaining_high_s or 0.0)
            for x, left in compared
        )


def _before_end_s(outcome: FlightOutcome, end_s: float, severity: Severity) -> float | None:
    known = [(every_limit()[alarm], end_s - t_s) for alarm, t_s in outcome.alarms.items()]
    of_end = (
        s for limit, s in known if limit.quantity in _END_QUANTITIES and limit.severity >= severity
    )
    return max(of_end, default=None)


# ---------------------------------------------------------------------- many flights


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """A pool of `jobs` processes; an exception in the block terminates them.

    Raises:
        ConfigError: a process was killed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core has its process: numpy starts no threads
    with ProcessPoolExecutor(jobs, get_context("spawn"), _end_with_parent) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            text = "a process of a flight was killed; the same command continues"
            raise ConfigError(text) from error
        except BaseException:
            for process in active_children():
                process.terminate()
            raise


def _end_with_parent() -> None:
    """Terminate this process when its parent ends, also when the parent is killed."""

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os.kill(os.getpid(), SIGTERM)

    Thread(target=wait, daemon=True).start()


class ResultsFile:
    """Outcomes of a campaign by seed, in a file with one appended line each.

    Args:
        path: the file; seeds in it are not flown again.
        campaign: the flight; the file's first line.
        warn: receives the warning about an incomplete last line, which is dropped.

    Raises:
        ConfigError: the file is of another campaign, damaged, or cannot be read or written.
    """

    def __init__(self, path: Path, campaign: Campaign, warn: Callable[[str], None]) -> None:
        self._path = path
        self._head = json.dumps(asdict(campaign)).encode() + b"\n"
        try:
            # A missing folder or permission is an error before the first flight.
            path.parent.stat()
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if path.exists() and not path.is_file() and not path.is_dir():
                raise ConfigError(f"{path} cannot be used: it is not a file")
            data = read_bytes(path, _MOST_BYTES) if path.exists() else b""
            head, *lines = (data or self._head).splitlines(keepends=True)
            if head != self._head:
                raise ConfigError(
                    f"{path} is not of this scenario, faults, duration and version; "
                    "name another file with --out"
                )
            if lines and not lines[-1].endswith(b"\n"):
                warn(f"{path}: the last line is incomplete and is dropped")
                os.truncate(path, len(data) - len(lines.pop()))
            rows = [OUTCOME_JSON.validate_json(line) for line in lines]
        except OSError as error:
            raise ConfigError(f"{path} cannot be used: {error.strerror}") from error
        except BoundError as error:
            raise ConfigError(f"{path} cannot be used: {error}") from error
        except ValidationError as error:
            damaged = error.errors()[0]["input"]
            raise ConfigError(f"{path}: a line is damaged: {damaged!r:.80}") from error
        self.rows: dict[int, FlightOutcome] = {row.seed: row for row in rows}

    def add(self, row: FlightOutcome) -> None:
        """Append an outcome, rounded as the file has it."""
        line = OUTCOME_JSON.dump_json(row) + b"\n"
        self.rows[row.seed] = OUTCOME_JSON.validate_json(line)
        try:
            with self._path.open("ab") as file:
                is_new = not file.seek(0, os.SEEK_END)
                file.write(self._head + line if is_new else line)
        except OSError as error:
            raise not_written(self._path, error) from error
