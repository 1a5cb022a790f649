# SPDX-License-Identifier: Apache-2.0
"""Monte Carlo campaign: one simulated flight with many seeds, each compared with the truth.

Each flight is `Simulation` unchanged; the evaluation has no effect on it.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from dronebms import __version__
from dronebms.core.clock import OncePerSecond, SystemClock
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Report, Severity
from dronebms.core.toml_schema import read_text
from dronebms.protection.limits import default_limits, every_limit
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.simulation.statistics import FlightOutcome
from sim.plant.faults import parse_fault
from sim.plant.ground_truth import GroundTruth
from sim.plant.scenario import load_scenario, scenario_names

SETTLE_S = 60.0  # after take-off, before the estimate is evaluated
# Distances of the truth from every limit at which an alarm is false, and before the end.
FAR_V = 0.1
FAR_K = 5.0
FAR_PCT = 10.0
FAR_S = 180.0
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
    outcome.pack_end_s = truth.ended_s
    outcome.flown_s = report.t_s
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
