"""Many seeds of one simulated flight: how one is flown and judged, and the file of all of them.

Each is `app.Simulation` unchanged; nothing that is noted of it reaches it.
"""

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
from dronebms.core.clock import OncePerSecond, SystemClock
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

SETTLE_S = 60.0  # the estimate is judged from so long after take-off on
FAR_V, FAR_K, FAR_PCT, FAR_S = 0.1, 5.0, 10.0, 180.0  # from every limit an alarm is false
_END = (
    "lowest_cell_v", "resting_cell_v", "voltage_v", "soc_pct", "remaining_s", "remaining_low_s",
    "remaining_high_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is flown with every seed; what the rows of one file have in common."""

    scenario: str
    toml: str  # the scenario: another machine has no such file
    faults: tuple[str, ...]
    duration_s: float | None
    version: str


def read_campaign(name: str, faults: Sequence[str], duration_s: float | None) -> Campaign:
    """Return what a user wants flown.

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
    """Fly one seed until the pack's end, or until the flight is over."""
    if campaign.version != __version__:
        raise ConfigError(f"every machine needs the dronebms of the campaign, {campaign.version}")
    clock, row, second = SystemClock(), FlightOutcome(seed), OncePerSecond()
    answers: list[Estimate] = []
    with ExitStack() as stack:
        path = Path(stack.enter_context(TemporaryDirectory()), f"{campaign.scenario}.toml")
        path.write_text(campaign.toml, encoding="utf-8")
        options = SimOptions(str(path), seed, None, campaign.faults, campaign.duration_s)
        simulation = Simulation(options, stack)
        for report in simulation.reports():
            # The world has stood still if nothing was asked on the wire.
            simulation.world.advance(report.t_s)
            _note(row, report, simulation.world.truth())
            if second.due(report.t_s):
                answers.append(report.estimate)
            if row.pack_end_s is not None:
                _alarms(row, answers, row.pack_end_s)
                break
    row.wall_s = clock.now_s()
    return row


def _note(row: FlightOutcome, report: Report, truth: GroundTruth) -> None:
    """Take in a step; on the ground after the flight nothing is noted."""
    if report.vehicle.armed and row.takeoff_s is None:
        row.takeoff_s = report.t_s
    if row.takeoff_s is not None and not report.vehicle.armed:
        row.outcome = "landed"
        return
    row.pack_end_s, row.flown_s = truth.ended_s, report.t_s
    row.outcome = "flying" if truth.ended_s is None else "ended"
    row.lowest_cell_v = min(row.lowest_cell_v, *truth.cells_v)
    row.hottest_cell_degc = max(row.hottest_cell_degc, truth.temperature_degc)
    row.charge_left_pct = 100.0 * truth.soc_frac
    for event in report.status.events:
        alarm = event.limit_id
        if event.tripped and event.severity >= Severity.WARNING and alarm not in row.alarms:
            row.alarms[alarm] = report.t_s
            if _is_far(alarm, report.pack_data, truth):
                row.false_alarms.append(alarm)


def _is_far(alarm: str, pack_data: PackData, truth: GroundTruth) -> bool:
    """Return whether an alarm of charge, time, voltage or heat is far from every such limit."""
    limits = {limit.limit_id: limit for limit in default_limits(pack_data)}
    return (
        limits[alarm].quantity in (*_END, "temperature_degc")
        and min(truth.cells_v) > limits["cell_sag"].trip + FAR_V
        and 100.0 * truth.soc_frac > limits["charge_low"].trip + FAR_PCT
        and limits["cold"].trip + FAR_K < truth.temperature_degc < limits["hot"].trip - FAR_K
    )


def _alarms(row: FlightOutcome, answers: Sequence[Estimate], end_s: float) -> None:
    """Hold alarms and answers against the end that came; no answer counts as 0 and as outside."""
    row.false_alarms = [name for name in row.false_alarms if end_s - row.alarms[name] > FAR_S]
    row.warning_before_end_s = _before_end_s(row, end_s, Severity.WARNING)
    row.critical_before_end_s = _before_end_s(row, end_s, Severity.CRITICAL)
    from_s = (row.takeoff_s or 0.0) + SETTLE_S
    judged = [(x, end_s - x.t_s) for x in answers if from_s <= x.t_s < end_s]
    if judged:
        row.time_left_error_s = median(abs((x.remaining_s or 0.0) - left) for x, left in judged)
        row.time_left_inside_pct = 100.0 * fmean(
            (x.remaining_low_s or 0.0) <= left <= (x.remaining_high_s or 0.0) for x, left in judged
        )


def _before_end_s(row: FlightOutcome, end_s: float, severity: Severity) -> float | None:
    known = [(every_limit()[alarm], end_s - t_s) for alarm, t_s in row.alarms.items()]
    of_end = (s for limit, s in known if limit.quantity in _END and limit.severity >= severity)
    return max(of_end, default=None)


# ---------------------------------------------------------------------- many flights


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """Give so many processes of this machine; whoever leaves early does not wait for them.

    Raises:
        ConfigError: one of them was killed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core has its process: numpy starts no threads
    with ProcessPoolExecutor(jobs, get_context("spawn"), _leave_with_parent) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise ConfigError("a process that flew was killed; the same command goes on") from error
        except BaseException:
            for process in active_children():
                process.terminate()
            raise


def _leave_with_parent() -> None:
    """Let this process end with the one that started it, also when that is killed."""

    def follow() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os.kill(os.getpid(), SIGTERM)

    Thread(target=follow, daemon=True).start()


class ResultsFile:
    """The rows of a campaign by seed, in a file that a whole line at a time is appended to.

    Args:
        path: the file; what is in it already is not flown again.
        campaign: what is flown.
        say: told of a half-written last line, which is dropped.

    Raises:
        ConfigError: the file is not of this campaign, damaged, or cannot be read or written.
    """

    def __init__(self, path: Path, campaign: Campaign, say: Callable[[str], None]) -> None:
        self._path = path
        self._head = json.dumps(asdict(campaign)).encode() + b"\n"
        try:
            path.parent.stat()  # a folder that is not there is said before anything flies
            data = path.read_bytes() if path.exists() else b""
            head, *lines = (data or self._head).splitlines(keepends=True)
            if head != self._head:
                raise ConfigError(
                    f"{path} is not of this scenario, faults, duration and version; "
                    "name another file with --out"
                )
            if lines and not lines[-1].endswith(b"\n"):
                say(f"{path}: the last line is half-written and is dropped")
                os.truncate(path, len(data) - len(lines.pop()))
            rows = [OUTCOME_JSON.validate_json(line) for line in lines]
        except OSError as error:
            raise ConfigError(f"{path} cannot be used: {error.strerror}") from error
        except ValidationError as error:
            damaged = error.errors()[0]["input"]
            raise ConfigError(f"{path}: a line is damaged: {damaged!r:.80}") from error
        self.rows: dict[int, FlightOutcome] = {row.seed: row for row in rows}

    def add(self, row: FlightOutcome) -> None:
        """Keep a row, as it will be read again."""
        line = OUTCOME_JSON.dump_json(row) + b"\n"
        self.rows[row.seed] = OUTCOME_JSON.validate_json(line)
        try:
            with self._path.open("ab") as file:
                file.write(line if file.tell() else self._head + line)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}") from error
