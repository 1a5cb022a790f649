# SPDX-License-Identifier: Apache-2.0
"""What the flights of a pack show, as texts: findings, capacity, maintenance, and a summary."""

from collections.abc import Sequence
from datetime import UTC, datetime

from dronebms.core.number_format import DASH
from dronebms.core.report import PackSummary
from dronebms.health.ageing_trend import LEAST_FLIGHTS, AgeingForecast, forecast_ageing
from dronebms.health.capacity import pack_capacity
from dronebms.health.flight_record import FLYING, FlightRecord
from dronebms.health.pack_label import PackLabel, Use, maintenance, use_since_maintenance

_FAR = 1000  # flights: horizon of the forecast
_DAY_S = 86_400.0


def findings(flights: Sequence[FlightRecord], forecast: AgeingForecast) -> list[str]:
    """Findings about a pack, the worst first."""
    found = []
    weak = forecast.weak
    if weak is not None:
        sign = "-" if weak.what == "capacity" else "+"
        by = f"{weak.what} {sign}{weak.by:.0%} from the mean cell"
        found.append(f"weak cell {weak.cell}: {by}, since flight {weak.since}")
    if forecast.left:
        found.append(_end(forecast.left, flights, forecast.days_per_flight))
    for quantity, trend in (("capacity", forecast.capacity), ("resistance", forecast.resistance)):
        if trend is not None and trend.changed is not None:
            found.append(f"{quantity} ages faster since flight {trend.changed}")
    if not forecast.is_ordered:
        undated = sum(flight.started_unix_s is None for flight in flights)
        of = f"{undated} of {len(flights)} have no date"
        found.append(f"no forecast: order of the flights unknown, {of}")
    elif not forecast.left:
        count = sum(flight.relative_capacity is not None for flight in flights)
        found.append(f"no forecast: {count} of {LEAST_FLIGHTS} flights with a measured capacity")
    return found


def _end(left: Sequence[float | None], flights: Sequence[FlightRecord], days: float | None) -> str:
    low, middle, high = (_FAR if n is None else min(n, _FAR) for n in left)
    if low == _FAR:
        return f"not worn out within {_FAR} flights"
    if high == 0:
        return "worn out"
    median, most = (f"{n:.0f}" if n < _FAR else f"more than {_FAR}" for n in (middle, high))
    text = f"worn out in {median} flights (90 %: {low:.0f} to {most})"
    last_s = flights[-1].started_unix_s
    if days is None or last_s is None or middle == _FAR:
        return text
    return f"{text}; about {day_text(last_s + days * middle * _DAY_S)}"


def day_text(unix_s: float | None) -> str:
    """Date, a dash if it is unknown."""
    return DASH if unix_s is None else f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d}"


def capacity_text(flights: Sequence[FlightRecord]) -> str:
    """Capacity of a pack with its 90 % interval, and its share of the rated one."""
    known = pack_capacity(flights)
    if known is None:
        return DASH
    ah, low_ah, high_ah = (mah / 1000.0 for mah in (known.mah, known.low_mah, known.high_mah))
    return f"{ah:.1f} Ah ({low_ah:.1f}-{high_ah:.1f}), {100.0 * known.rated_frac:.0f} % of rated"


def maintenance_text(label: PackLabel, use: Use) -> str:
    """The bounds of use until the next maintenance, the reached ones first."""
    dues = sorted(maintenance(label, use), key=lambda due: not due.is_reached)
    return "; ".join(due.text for due in dues)


def summary(
    label: PackLabel,
    flights: Sequence[FlightRecord],
    now_s: float | None,
    *,
    is_ordered: bool = True,
) -> PackSummary:
    """What a screen shows of a pack.

    Args:
        label: of the pack.
        flights: of the pack, in their order; one in progress does not count.
        now_s: date, seconds since 1970; `None` if the clock is not set: no days are counted.
        is_ordered: whether their order is known.
    """
    flown = [flight for flight in flights if flight.state != FLYING]
    due = maintenance_text(label, use_since_maintenance(label, flown, now_s))
    forecast = forecast_ageing(flown, is_ordered=is_ordered)
    return PackSummary(
        name=label.name,
        tags=label.tags,
        flights=len(flown),
        capacity=capacity_text(flown) if pack_capacity(flown) is not None else None,
        findings=tuple(findings(flown, forecast)) if flown else (),
        maintenance=f"maintenance {due}" if due else None,
    )
