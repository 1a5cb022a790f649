# SPDX-License-Identifier: Apache-2.0
"""Reports of a pack in flight, in trouble and silent, for the tests of the display."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dronebms.core.chemistry import LI_ION, LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Event, Report, Severity, Status, Verdict
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.presentation.trend import Trend, charts
from dronebms.protection.limits import every_limit
from dronebms.terminal.layout import View
from smartbattery.snapshot import Identity, Snapshot

NOW_S = 751.3
LABELS = {limit_id: row.label for limit_id, row in every_limit().items()}
LINK = "udpout:127.0.0.1:14550"

FLYING_VEHICLE = VehicleState(
    armed=True,
    mode="AUTO",
    lat_deg=47.4,
    lon_deg=8.5,
    alt_m=500.0,
    home_lat_deg=47.41,
    home_lon_deg=8.51,
    home_alt_m=450.0,
    heartbeat_age_s=0.4,
)
FLYING_ESTIMATE = Estimate(
    NOW_S,
    soc_pct=82.0,
    soh_pct=97.0,
    remaining_s=760.0,
    remaining_low_s=655.0,
    remaining_high_s=850.0,
    home_s=190.0,
    home_reserve_s=290.0,
    home_margin_s=444.0,
    home_best_s=640.0,
    turn_back_in_s=380.0,
    home_verdict=Verdict.YES,
    resistance_ohm=0.042,
    max_discharge_a=64.0,
    max_discharge_2s_a=92.0,
    max_discharge_30s_a=48.0,
    used_mah=2870.0,
)
CELLS_V = (3.742, 3.745, 3.739, 3.708, 3.741, 3.744)


def snapshot_of(cells_v: Sequence[float | None], **ages_s: float) -> Snapshot:
    """Snapshot with these cells; the age of some values is given."""
    ages = {"voltage_v": 0.2, "current_a": 0.2, "temperature_degc": 3.1}
    ages |= {f"cell{k + 1}_v": 0.4 for k in range(len(cells_v))}
    return Snapshot(
        NOW_S,
        voltage_v=22.419,
        current_a=18.43,
        temperature_degc=31.5,
        cells_v=tuple(cells_v),
        identity=Identity(serial=4711, device="BatMon6"),
        read_at_s={name: NOW_S - age_s for name, age_s in (ages | ages_s).items()},
    )


FLYING = Report(
    NOW_S,
    0,
    PackData(LIPO, cells=6, capacity_mah=16000.0, cutoff_cell_v=3.3),
    snapshot_of(CELLS_V),
    FLYING_VEHICLE,
    FLYING_ESTIMATE,
    Status(NOW_S, limited_by="cell_low", limited_in_s=640.0, labels=LABELS),
)
SECOND = replace(FLYING, index=1)
SILENT = Report(
    NOW_S,
    0,
    PackData(LI_ION),
    Snapshot(NOW_S, cells_v=(None,) * 4, trouble="the gauge does not answer"),
    UNKNOWN_VEHICLE,
    Estimate(NOW_S),
    Status(NOW_S),
)
IN_TROUBLE = replace(
    FLYING,
    snapshot=snapshot_of(
        (3.42, 3.40, None, 3.31, 3.45, 3.40), current_a=1.4, cell3_v=12.0, cell4_v=1.7
    ),
    estimate=replace(
        FLYING_ESTIMATE,
        soc_pct=12.0,
        remaining_s=60.0,
        remaining_low_s=35.0,
        remaining_high_s=90.0,
        home_reserve_s=-160.0,
        home_margin_s=-140.0,
        home_best_s=20.0,
        turn_back_in_s=0.0,
        home_verdict=Verdict.NO,
        max_discharge_a=14.0,
        max_discharge_2s_a=22.0,
        max_discharge_30s_a=10.0,
    ),
    status=Status(
        NOW_S,
        Severity.CRITICAL,
        ("cell_critical", "cell_low"),
        "cell_critical",
        0.0,
        12.0,
        labels=LABELS,
    ),
)
MANY_CELLS = replace(
    FLYING,
    pack_data=PackData(LIPO, cells=14, capacity_mah=22000.0),
    snapshot=snapshot_of([3.74 - 0.003 * (k % 5) for k in range(13)] + [3.69]),
)
EVENTS = (
    Event(612.0, "hot", Severity.WARNING, tripped=True, text="HIGH: pack 51 degC >= 50 degC"),
    Event(700.2, "cell_low", Severity.WARNING, tripped=True, text="LOW: cell 4 3.48 V <= 3.50 V"),
    Event(712.9, "cell_low", Severity.WARNING, tripped=False, text="CLEARED: cell 4 3.60 V"),
)
TURN_BACK_NOW = replace(
    FLYING,
    estimate=replace(
        FLYING_ESTIMATE,
        home_reserve_s=-100.0,
        home_margin_s=-8.0,
        home_best_s=95.0,
        turn_back_in_s=0.0,
        home_verdict=Verdict.NO,
        alternate="rally point 2",
        alternate_by_return=True,
    ),
    status=Status(
        NOW_S,
        Severity.CRITICAL,
        ("home_now", "alternate"),
        "cell_sag",
        130.0,
        trips_in_s={"cell_sag": 130.0, "time_low": 410.0, "cell_critical": 505.0, "hot": 90.0},
        labels=LABELS,
    ),
)
ON_MISSION = replace(
    FLYING,
    estimate=replace(
        FLYING_ESTIMATE,
        home_reserve_s=-20.0,
        home_margin_s=95.0,
        turn_back_in_s=0.0,
        home_verdict=Verdict.MARGINAL,
        mission_verdict=Verdict.YES,
        mission_s=490.0,
        mission_end_pct=31.0,
        mission_end_low_pct=22.0,
        last_home_item=9,
    ),
    status=Status(
        NOW_S,
        Severity.WARNING,
        ("home_turn",),
        "home_turn",
        0.0,
        trips_in_s={"home_now": 95.0},
        labels=LABELS,
    ),
)


FLYING_VIEW = View(LINK, "h: help  00:12:31")
PAUSED = View(LINK, "PAUSED for 0:12, new alarms: 2, p: resume", is_loud=True)


def at(t_s: float) -> Report:
    """Report at a later time of the flight, with noise on its readings."""
    since_s = t_s - NOW_S
    noise_steps = round(since_s * 7919) % 11 - 5
    cells_v = [v - since_s * 0.001 + noise_steps * 0.002 for v in CELLS_V]
    snapshot = replace(
        snapshot_of(cells_v),
        t_s=t_s,
        voltage_v=sum(cells_v),
        current_a=18.4 + 0.3 * noise_steps,
        read_at_s={name: at_s + since_s for name, at_s in FLYING.snapshot.read_at_s.items()},
    )
    estimate = replace(
        FLYING_ESTIMATE,
        t_s=t_s,
        remaining_s=760.0 - since_s + noise_steps,
        remaining_low_s=655.0 - since_s + noise_steps,
        turn_back_in_s=380.0 - since_s + noise_steps,
        used_mah=2870.0 + 5.1 * since_s,
    )
    return replace(FLYING, t_s=t_s, snapshot=snapshot, estimate=estimate)


def trend_of(*times_s: float) -> Trend:
    """Trend of the reports at these times of the flight."""
    trend = Trend()
    for t_s in times_s:
        trend.add(at(t_s))
    return trend


TREND = trend_of(*(NOW_S - 300.0 + 0.5 * step for step in range(600)))


@dataclass(frozen=True)
class Scene:
    """Reports, events and view of one screen."""

    reports: tuple[Report, ...] = (FLYING,)
    events: tuple[Event, ...] = EVENTS
    view: View = FLYING_VIEW


SCENES = {
    "flying": Scene(),
    "in_trouble": Scene((IN_TROUBLE, SECOND)),
    "many_cells": Scene((MANY_CELLS, SECOND), ()),
    "silent": Scene((SILENT,), (), View(None, "00:12:31")),
    "turn_back_now": Scene((TURN_BACK_NOW,)),
    "on_mission": Scene((ON_MISSION,)),
    "paused": Scene(view=PAUSED),
    "cells": Scene(
        (IN_TROUBLE, replace(MANY_CELLS, index=1)), view=View(LINK, "00:12:31", "cells")
    ),
    "log": Scene(events=EVENTS * 12, view=View(LINK, "00:12:31", "log")),
    "trends": Scene(view=replace(FLYING_VIEW, charts=charts(TREND.points()))),
    "help": Scene(view=View(LINK, "00:12:31", "help")),
}
