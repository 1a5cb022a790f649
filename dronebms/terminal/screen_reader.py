"""What the display shows as sentences for a screen reader: each only when it has become another.

Numbers are rounded as people say them, so that a reading which trembles does not chatter.
Minutes are cut, not rounded: one that is not full is not promised. Unknown is said to be unknown.
"""

from dronebms.core.report import Event, Report
from dronebms.terminal import phrases

_MINUTE_S, _MINUTES_FROM_S, _STEP_S = 60, 120.0, 10
_PERCENT, _STEP_PCT = 100.0, 5


def sentences(report: Report, weakest: int | None) -> tuple[str, ...]:
    """Return what is to be said of a battery, the most urgent first; each place has its subject.

    Args:
        report: the newest.
        weakest: the cell to be named, from 0; None when none stands out.
    """
    estimate, status, snapshot = report.estimate, report.status, report.snapshot
    _, home, _ = phrases.home_answer(report)
    if home == "yes" and estimate.turn_back_in_s is not None:
        home += f", turn back within {_minutes(estimate.turn_back_in_s)}"
    limit = "none known"
    if status.limited_by is not None:
        when = f" in {_minutes(status.limited_in_s)}" if status.limited_in_s else ""
        limit = f"{phrases.limit_label(status.limited_by)}{when}"
    limit_a, amps, cell = phrases.binding_allowance(report)[0], "unknown", "no cell is heard"
    if snapshot.lowest_cell() is not None:
        cell = "no cell stands out" if weakest is None else f"weakest cell is {weakest + 1}"
    if snapshot.current_a is not None and limit_a:
        share = round(_PERCENT / _STEP_PCT * snapshot.current_a / limit_a) * _STEP_PCT
        amps = f"{share} percent of what the pack can give"
    return (
        f"state {phrases.verdict(report)}",
        f"home {home}",
        _time_left(report),
        f"next limit {limit}",
        f"charge {_whole(estimate.soc_pct, 'percent')}",
        cell,
        f"current {amps}",
        f"temperature {_whole(snapshot.temperature_degc, 'degrees')}",
        f"flight controller {_autopilot(report)}",
    )


def event_sentence(event: Event) -> str:
    """Return what tripped or cleared."""
    return f"{event.severity.label if event.tripped else 'cleared'}: {event.text}"


def _time_left(report: Report) -> str:
    estimate = report.estimate
    low_s, high_s = estimate.remaining_low_s, estimate.remaining_high_s
    if estimate.remaining_s is None:
        return "time left unknown"
    sure = ""
    if low_s is not None and high_s is not None:
        sure = f", between {_minutes(low_s)} and {_minutes(high_s)}"
    return f"{_minutes(estimate.remaining_s)} left{sure}"


def _minutes(seconds: float) -> str:
    if seconds >= _MINUTES_FROM_S:
        return f"{int(seconds) // _MINUTE_S} minutes"
    return f"{max(int(seconds), 0) // _STEP_S * _STEP_S} seconds"


def _whole(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.0f} {unit}"


def _autopilot(report: Report) -> str:
    vehicle = report.vehicle
    if vehicle.heartbeat_age_s is None or vehicle.heartbeat_age_s > phrases.SILENT_S:
        return "not heard"
    armed = {True: "armed", False: "disarmed", None: "arming unknown"}[vehicle.armed]
    return f"{armed}, {vehicle.mode or 'mode unknown'}"
