# SPDX-License-Identifier: Apache-2.0
"""What a technician should do with a pack after a flight: a table of tripped limits and values.

Each row names what was found and the least that follows from it; the gravest rules. It is advice
from one flight: an inspection decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dronebms.analysis.flight_comparison import Change
from dronebms.analysis.track import Track
from dronebms.core.report import Severity
from dronebms.protection.limits import limit_label


class Fitness(IntEnum):
    """Whether a pack is fit for its next flight; a higher number is worse."""

    FIT = 0
    CHECK = 1
    SERVICE = 2
    REPLACE = 3


SENTENCES = {
    Fitness.FIT: "Fit for the next flight once it is charged",
    Fitness.CHECK: "Check before the next flight",
    Fitness.SERVICE: "Service before the next flight",
    Fitness.REPLACE: "Take out of service",
}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A row: limits that have tripped, and what follows."""

    limits: tuple[str, ...]
    fitness: Fitness
    text: str


# fmt: off
RECOMMENDATIONS = (
    Recommendation(("failed",), Fitness.REPLACE, "The gauge has a permanent failure: do not charge or fly this pack."),
    Recommendation(("worn_out",), Fitness.REPLACE, "State of health at the end of life: replace the pack."),
    Recommendation(("cell_emergency",), Fitness.SERVICE, "A cell was far below its cut-off: measure each cell at rest, charge at a low current, and watch for heat or swelling."),
    Recommendation(("cell_high_critical", "cell_high_emergency"), Fitness.SERVICE, "A cell was above its full voltage: check charger and balancing."),
    Recommendation(("hot_critical", "hot_emergency", "fet_critical", "warming_critical", "heat_critical"), Fitness.SERVICE, "The pack overheated: look for swelling, check connectors and cooling, reduce the load."),
    Recommendation(("tripped", "charge_tripped"), Fitness.SERVICE, "The gauge's protection tripped: find the cause in its status (dronebms probe)."),
    Recommendation(("spread_rest", "charging_uneven"), Fitness.SERVICE, "The cells differ at rest: balance the pack; if they differ again, replace it."),
    Recommendation(("spread_load",), Fitness.SERVICE, "The cells differ under load: the weakest one resists more or holds less; watch it in the pack history."),
    Recommendation(("current_2s", "current_10s", "current_2s_emergency", "current_60s_critical"), Fitness.CHECK, "The current exceeded the pack's rating: reduce payload or power, or use a larger pack."),
    Recommendation(("contradiction", "implausible", "mismatch", "current_beyond"), Fitness.CHECK, "Readings of the gauge contradict each other: calibrate the gauge, compare pack and configuration."),
    Recommendation(("lost", "silent", "blind", "other_pack"), Fitness.CHECK, "The gauge was not received all the time: check wiring and connectors."),
    Recommendation(("cell_critical", "pack_low", "time_over"), Fitness.CHECK, "The pack reached its cut-off in flight: plan a shorter flight, and check each cell at rest."),
    Recommendation(("home_lost", "home_now", "mission_no", "charge_critical", "time_critical"), Fitness.CHECK, "The charge was hardly enough: plan a shorter flight or an earlier return."),
    Recommendation(("cold", "cold_critical", "cold_emergency", "charging_cold"), Fitness.FIT, "The pack was cold: warm it before take-off."),
    Recommendation(("worn",), Fitness.FIT, "The pack is worn: plan with its measured capacity."),
    Recommendation(("stored_full",), Fitness.FIT, "Store the pack at about half of its charge."),
)
# fmt: on


def verdict(track: Track, changes: Sequence[Change] = ()) -> tuple[str, list[str]]:
    """One sentence, and the recommendations behind it.

    Args:
        track: the flight of a battery.
        changes: of the pack since its earlier flights.
    """
    if track.worst is None:
        return "Unknown: no data received.", []
    rows = [row for row in RECOMMENDATIONS if any(limit in track.tripped for limit in row.limits)]
    worse = [change for change in changes if change.is_worse]
    fitness = max([row.fitness for row in rows], default=Fitness.FIT)
    reasons = [
        limit_label(limit)
        for row in rows
        if row.fitness == fitness > Fitness.FIT
        for limit in row.limits
        if limit in track.tripped
    ]
    if worse and fitness < Fitness.SERVICE:
        fitness = Fitness.SERVICE
        reasons = [f"{change.label.lower()} has changed" for change in worse]
    advice = [row.text for row in sorted(rows, key=lambda row: -row.fitness)]
    advice += [
        f"{change.label} {change.value:.{change.decimals}f} {change.unit} of usually "
        f"{change.earlier:.{change.decimals}f} {change.unit}: compare with the pack history."
        for change in worse
    ]
    charge_pct = track.column("estimate.soc_pct")
    known = charge_pct[~np.isnan(charge_pct)]
    if known.size:
        advice.append(f"Landed with {known[-1]:.0f} %: charge before the next flight.")
    if fitness == Fitness.FIT and track.worst >= Severity.CRITICAL:
        fitness = Fitness.CHECK
        reasons = [limit_label(limit) for limit in track.tripped]
    because = f": {', '.join(reasons)}" if reasons else ""
    return f"{SENTENCES[fitness]}{because}.", advice
