# SPDX-License-Identifier: Apache-2.0
"""Reports -> what the page shows: ready texts and places, as plain data.

The page has no wording of its own: the texts are those of the terminal. Every text from outside is
one printable line; the page shows it as text, never as HTML.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from dronebms.core.number_format import age, clock_text, duration, printable
from dronebms.core.report import Estimate, Event, Report, Severity, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.presentation.answers import (
    Answer,
    autopilot_answer,
    home_answers,
    limit_answer,
    mission_answer,
    state_answer,
    time_left,
)
from dronebms.presentation.cells import cells_heading, mean_cell_v
from dronebms.presentation.phrases import MARKS, expired, pack_history, pack_name
from dronebms.presentation.readings import (
    Age,
    Reading,
    cell_reading,
    max_current,
    readings,
)
from dronebms.presentation.trend import Chart, Place, Point, charts

Data: TypeAlias = dict[str, Any]  # what `json.dumps` takes

# of a chart's coordinates
_WIDTH = 600
_HEIGHT = 100


def page_state(reports: Sequence[Report], link: str | None = "") -> Data:
    """The state of all batteries at the time of the newest report.

    Args:
        reports: the newest of each battery, in their order; at least one.
        link: URL of the autopilot's link; None: no link, "": unknown.
    """
    now_s = max(report.t_s for report in reports)
    shown = [expired(report, now_s) for report in reports]
    mission = mission_answer(shown[0])
    limit = limit_answer(shown)
    ages_s = [
        age_s for report in shown if (age_s := report.snapshot.age_s("voltage_v")) is not None
    ]
    states = [_state(report, now_s, named=len(shown) > 1) for report in shown]
    return {
        "clock": clock_text(now_s),
        "age": f"{age(max(ages_s))} ago" if ages_s else "",
        "answers": [
            _answer("home", home_answers(shown)),
            *([] if mission is None else [_answer("mission", mission)]),
            _answer("limit", replace(limit, why=limit.why.removeprefix(",").strip())),
            *states,
        ],
        "batteries": [_battery(report, now_s, link) for report in shown],
    }


def blank(reports: Sequence[Report]) -> Data:
    """The same state without values, for a page that receives nothing."""
    now_s = max((report.t_s for report in reports), default=0.0)
    emptied = [
        replace(
            report,
            t_s=now_s,
            snapshot=replace(report.snapshot.unknown(now_s, ""), trouble=None),
            vehicle=UNKNOWN_VEHICLE,
            estimate=Estimate(now_s),
            status=Status(now_s),
            supply=None,
        )
        for report in reports
    ]
    unknown = page_state(emptied)
    for battery in unknown["batteries"]:
        for row in (*battery["readings"], *battery["cells"]):
            row["note"] = row["age"] = ""  # why a value is unknown is on top of the page
    return unknown | {"clock": "", "age": ""}


def page_alarms(events: Iterable[Event]) -> list[Data]:
    """Tripped and cleared limits, the newest first."""
    rows = []
    for event in events:
        severity = event.severity if event.tripped else Severity.OK
        rows.append(
            {
                "time": clock_text(event.t_s),
                "severity": severity.label,
                "mark": MARKS[severity],
                "text": printable(event.text),
            }
        )
    return rows[::-1]


def page_trends(points: Sequence[Point]) -> list[Data]:
    """Charts of one battery: texts, and paths of SVG in a field of 600 by 100."""
    return [_chart(chart) for chart in charts(points)]


# ---------------------------------------------------------------------- parts


def _state(report: Report, now_s: float, *, named: bool) -> Data:
    answer = state_answer(report, now_s)
    trouble = report.snapshot.trouble
    why = answer.why if trouble is None else f"{answer.why}; {trouble}"
    label = f"battery {report.index + 1}" if named else "state"
    return _answer(label, replace(answer, why=why))


def _answer(label: str, answer: Answer) -> Data:
    severity = answer.severity
    return {
        "label": label,
        "word": printable(answer.word),
        "why": printable(answer.why),
        "severity": "" if severity is None else severity.label,
        "mark": "" if severity is None else MARKS[severity],
    }


def _battery(report: Report, now_s: float, link: str | None) -> Data:
    mean_v = mean_cell_v(report)
    cells = range(len(report.snapshot.cells_v))
    autopilot = autopilot_answer(report, now_s, link)
    left, until, default = time_left(report)
    left_s = report.estimate.remaining_s
    return {
        "index": report.index,
        "name": pack_name(report),
        "history": pack_history(report),
        "left": "-:--" if left_s is None else duration(left_s),
        "interval": left,
        "until": until,
        "default": default,
        "readings": [
            *(_reading(row) for row in readings(report, now_s, degrees="°C", ohms="mΩ")),
            _reading(max_current(report)),
        ],
        "autopilot": printable(", ".join(part for part in (autopilot.word, autopilot.why) if part)),
        "heading": cells_heading(report, now_s),
        "cells": [_cell(report, index, now_s, mean_v) for index in cells],
        "doubts": [printable(text) for text in report.snapshot.doubts],
    }


def _reading(row: Reading) -> Data:
    return {"label": row.label, "value": row.value, "note": row.note} | _bar(row.share, row.age)


def _cell(report: Report, index: int, now_s: float, mean_v: float | None) -> Data:
    cell = cell_reading(report, index, now_s, mean_v=mean_v)
    row = {"label": cell.number, "value": cell.value.strip(), "note": cell.note or cell.mark}
    return row | _bar(cell.share, cell.age) | {"weakest": bool(cell.mark)}


def _bar(share: float | None, shown: Age | None) -> Data:
    return {
        "share": None if share is None else round(min(max(share, 0.0), 1.0), 3),
        "age": "" if shown is None else shown.text,
        "stale": shown is not None and shown.stale,
    }


def _chart(chart: Chart) -> Data:
    line = ""
    band = ""
    for run in _runs(chart.places):
        points = "L".join(f"{_x(place)} {_y(place.y)}" for place in run)
        line += f"M{points}h0"  # h0: a single point is a dot
        edges = [place for place in run if place.low is not None and place.high is not None]
        if edges:
            upper = "L".join(f"{_x(place)} {_y(place.high)}" for place in edges)
            lower = "L".join(f"{_x(place)} {_y(place.low)}" for place in reversed(edges))
            band += f"M{upper}L{lower}Z"
    return {
        "label": chart.label,
        "bottom": chart.bottom,
        "top": chart.top,
        "span": chart.span,
        "line": line,
        "band": band,
    }


def _runs(places: Sequence[Place]) -> list[list[Place]]:
    """The places in pieces without a gap."""
    runs: list[list[Place]] = [[]]
    for place in places:
        if place.y is None:
            runs.append([])
        else:
            runs[-1].append(place)
    return [run for run in runs if run]


def _x(place: Place) -> int:
    return round(place.x * _WIDTH)


def _y(share: float | None) -> int:
    return round((1.0 - (share or 0.0)) * _HEIGHT)
