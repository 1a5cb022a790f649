# SPDX-License-Identifier: Apache-2.0
"""What the page shows: the texts of the terminal, unknown values as dashes."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dronebms.core.report import Event, PackSummary, Report, Severity
from dronebms.presentation.trend import Point
from dronebms.terminal.layout import View, render
from dronebms.terminal.lines import Canvas
from dronebms.web.hub import MAX_VIEWERS, Cursor, Hub
from dronebms.web.page_state import blank, page_alarms, page_state, page_trends
from smartbattery.snapshot import Identity
from tests.scenes import (
    EVENTS,
    FLYING,
    IN_TROUBLE,
    MANY_CELLS,
    NOW_S,
    ON_MISSION,
    SECOND,
    SILENT,
    TURN_BACK_NOW,
    at,
    snapshot_of,
    trend_of,
)

ASSETS = Path(__file__).parents[2] / "dronebms" / "web" / "assets"
SCENES = {
    "flying": (FLYING,),
    "in trouble": (IN_TROUBLE,),
    "many cells": (MANY_CELLS,),
    "silent": (SILENT,),
    "on a mission": (ON_MISSION,),
    "turn back": (TURN_BACK_NOW,),
    "two": (IN_TROUBLE, SECOND),
    "a pack with a history": (
        replace(
            FLYING,
            history=PackSummary(
                "blue 1",
                ("survey", "winter"),
                34,
                "14.1 Ah (13.2-15.0), 88 % of rated",
                ("weak cell 3: capacity -12 % from the mean cell, since flight 20", "worn out"),
                "maintenance due: 50 of 50 flights",
            ),
        ),
    ),
    "one is late": (FLYING, replace(SECOND, t_s=NOW_S + 5.0)),
}


def texts_of(value: Any) -> list[str]:  # noqa: ANN401 - a tree of values
    if isinstance(value, dict):
        return [text for key, part in value.items() if key != "severity" for text in texts_of(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts_of(part)]
    return [value] if isinstance(value, str) else []


def on_the_terminal(reports: tuple[Report, ...]) -> str:
    """The text of a large screen, cells and overview, without runs of blanks."""
    console = Console(width=250, color_system=None)
    drawn = ""
    for report in reports:
        others = [other for other in reports if other is not report]
        for page in ("", "cells"):
            view = View("", "", page)
            shown = [report, *others] if not page else reports
            lines = console.render_lines(render(shown, canvas=Canvas(250, 80), view=view))
            drawn += "\n".join("".join(part.text for part in line) for line in lines) + "\n"
    return re.sub(r"\s+", " ", drawn)


@pytest.mark.parametrize("scene", SCENES)
def test_every_text_of_the_page_is_on_the_terminal_too(scene: str) -> None:
    reports = SCENES[scene]
    now_s = max(report.t_s for report in reports)
    state = page_state(reports)
    terminal = on_the_terminal(reports)
    marks_and_titles = {"", "state", "battery 1", "battery 2", "-:--"}
    for answer in state["answers"]:
        answer["why"] = answer["why"].partition(" (battery")[0]  # named after the first one shown
    for battery in state["batteries"]:
        battery["heading"] = battery["heading"].partition(" of 300")[0]  # a bar stands there
        left = next(report for report in reports if report.index == battery["index"])
        if left.estimate.remaining_s is not None:
            marks_and_titles.add(battery["left"])  # drawn in large digits
    state.pop("clock"), state.pop("age")
    missing = [
        text
        for text in texts_of(state)
        if text not in marks_and_titles
        and re.sub(r"\s+", " ", text) not in terminal
        and not re.fullmatch(r"[\d.]+ s ago", text)
    ]
    assert missing == [], now_s


def test_a_pack_has_its_name_and_its_history() -> None:
    (battery,) = page_state(SCENES["a pack with a history"])["batteries"]
    assert battery["name"].startswith("battery 1: blue 1, li")
    assert battery["history"].startswith(
        "34 flights; 14.1 Ah (13.2-15.0), 88 % of rated; maintenance"
    )
    assert battery["history"].endswith("weak cell 3: capacity -12 % from the mean cell, "
                                       "since flight 20; tags survey, winter")  # fmt: skip
    (battery,) = page_state(SCENES["flying"])["batteries"]
    assert battery["history"] == ""


def test_the_answers_come_first_and_unknown_is_a_dash() -> None:
    state = page_state([FLYING])
    assert [(row["label"], row["word"], row["severity"]) for row in state["answers"]] == [
        ("home", "YES", "ok"),
        ("limit", "low resting cell voltage", ""),
        ("state", "ok", "ok"),
    ]
    assert [row["why"] for row in state["answers"]] == [
        "7:24 to spare, 3:10 to fly home",
        "in 10:40 at this load",
        "no alarms",
    ]
    assert (state["clock"], state["age"]) == ("00:12:31", "0.2 s ago")
    silent = page_state([SILENT])
    assert [row["value"] for row in silent["batteries"][0]["readings"]] == [
        "- %", "- A", "- V", "- °C", "- A",
    ]  # fmt: skip
    assert silent["answers"][-1]["why"] == "no data received; the gauge does not answer"


def test_the_weakest_cell_is_marked_and_stale_values_too() -> None:
    cells = page_state([FLYING])["batteries"][0]["cells"]
    assert [cell["weakest"] for cell in cells] == [False, False, False, True, False, False]
    assert cells[3]["note"] == "<- weakest"
    cells = page_state([IN_TROUBLE])["batteries"][0]["cells"]
    assert (cells[2]["value"], cells[2]["share"]) == ("- V", None)
    assert cells[2]["note"] == "not received for 12 s"
    assert (cells[3]["age"], cells[3]["stale"]) == ("STALE 1.7 s", True)


@pytest.mark.parametrize("scene", SCENES)
def test_a_page_that_receives_nothing_shows_no_value(scene: str) -> None:
    state = blank(SCENES[scene])
    for battery in state["batteries"]:
        for key in ("index", "name", "history", "until"):  # of the pack, not of the flight
            del battery[key]
        for row in (*battery["readings"], *battery["cells"]):
            assert (row["share"], row["note"], row["age"]) == (None, "", "")
            row["label"] = ""
    shown = [re.sub(r"^battery \d$| \(battery 1\)", "", text) for text in texts_of(state)]
    assert not [text for text in shown if re.search(r"\d|YES|\bok\b", text)]
    assert state["answers"][0]["word"] in {"UNKNOWN", "on the ground"}


def test_foreign_text_is_one_printable_line() -> None:
    name = "<script>alert(1)</script>\n\x1b[2J\u202e"
    pack = replace(FLYING.snapshot, identity=Identity(device=name), trouble=f"gauge {name}")
    state = page_state([replace(FLYING, snapshot=pack)])
    alarms = page_alarms([Event(1.0, "hot", Severity.WARNING, tripped=True, text=name)])
    assert "<script>alert(1)</script>???[2J?" not in json.dumps(state)  # nothing is stripped ...
    for text in texts_of(state) + texts_of(alarms):
        assert text.isprintable()
    assert "<script>alert(1)</script>" in state["batteries"][0]["name"]  # ... or escaped twice


CELLS = st.lists(st.none() | st.floats(0.5, 5.0), max_size=20)


@settings(max_examples=50, deadline=None)
@given(CELLS, st.floats(0.0, 5000.0))
def test_every_state_is_json_without_nan(cells_v: list[float | None], age_s: float) -> None:
    report = replace(FLYING, snapshot=snapshot_of(cells_v, current_a=age_s, cell1_v=age_s))
    state = page_state([report, SECOND])
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert len(state["batteries"][0]["cells"]) == len(cells_v)


def test_the_charts_are_paths_within_their_field() -> None:
    voltage, current, left = page_trends(trend_of(*(NOW_S + t for t in range(100))).points())
    assert (voltage["label"], current["label"], left["label"]) == (
        "voltage", "current", "time left",
    )  # fmt: skip
    assert (voltage["band"], current["band"]) == ("", "")
    for chart in (voltage, current, left):
        assert re.fullmatch(r"M[\d L]+h0", chart["line"])
        numbers = [int(n) for n in re.findall(r"\d+", chart["line"].removesuffix("h0"))]
        assert (min(numbers[::2]), max(numbers[::2])) == (0, 600)
        assert all(0 <= y <= 100 for y in numbers[1::2])
    assert re.fullmatch(r"M[\d L]+Z", left["band"])


def test_a_gap_divides_a_line_and_unknown_has_none() -> None:
    points = [Point(0.0, 22.0), Point(1.0), Point(2.0, 21.0), Point(3.0, 21.0)]
    voltage, current, _ = page_trends(points)
    assert voltage["line"].count("M") == 2
    assert current["line"] == ""


# ---------------------------------------------------------------------- hub


def messages(piece: bytes) -> dict[str, Any]:
    found = re.findall(rb"event: (\w+)\ndata: (.*)\n\n", piece)
    return {kind.decode(): json.loads(data) for kind, data in found}


def test_a_new_viewer_gets_everything_then_what_changed() -> None:
    hub, cursor = Hub(), Cursor()
    hub.receive(FLYING)
    hub.join()
    first = messages(hub.take(cursor))
    assert set(first) == {"blank", "state", "alarms", "trend"}
    assert first["state"]["notice"] == ""
    assert hub.take(cursor) == b""
    hub.publish()
    hub.take(cursor)
    hub.publish()
    assert set(messages(hub.take(cursor))) == {"state"}
    hub.receive(replace(FLYING, status=replace(FLYING.status, events=EVENTS[:1])))
    alarms = messages(hub.take(cursor))["alarms"]
    assert [row["text"] for row in alarms] == [EVENTS[0].text]


def test_a_viewer_that_was_away_gets_the_newest_state_once() -> None:
    hub, slow = Hub(), Cursor()
    hub.join()
    hub.receive(at(NOW_S))
    hub.take(slow)
    for step in range(1, 7200):  # an hour
        hub.receive(at(NOW_S + 0.5 * step))
        if step % 100 == 0:
            hub.publish()
    hub.receive(at(NOW_S + 3600.0))
    hub.publish()
    piece = hub.take(slow)
    assert len(piece) < 40_000
    assert messages(piece)["state"]["clock"] == "01:12:31"


def test_without_viewers_nothing_is_encoded() -> None:
    hub, cursor = Hub(), Cursor()
    hub.receive(FLYING)
    before = hub.take(cursor)
    assert set(messages(before)) == {"alarms", "blank"}
    for _ in range(50):
        hub.receive(FLYING)
        hub.publish()
    assert hub.take(cursor) == b""


def test_a_service_that_cannot_be_read_is_a_notice() -> None:
    hub, cursor = Hub(), Cursor()
    hub.lose("no service at /run/x: No such file or directory")
    hub.join()
    state = messages(hub.take(cursor))["state"]
    text = "no service at /run/x: No such file or directory, reconnecting"
    assert state == {"notice": text}
    hub.receive(FLYING)
    hub.publish()
    assert messages(hub.take(cursor))["state"]["notice"] == ""


def test_alarms_are_bounded_and_name_their_battery() -> None:
    hub, cursor = Hub(), Cursor()
    hub.receive(FLYING)
    for _ in range(100):
        hub.receive(replace(SECOND, status=replace(SECOND.status, events=EVENTS)))
    alarms = messages(hub.take(cursor))["alarms"]
    assert len(alarms) == 50
    assert alarms[0] == {
        "time": "00:11:52", "severity": "ok", "mark": "●",
        "text": "battery 2: CLEARED: cell 4 3.60 V",
    }  # fmt: skip
    assert MAX_VIEWERS >= 10


# ---------------------------------------------------------------------- assets


def test_the_assets_are_small_and_refer_to_no_other_place() -> None:
    files = [path for path in ASSETS.iterdir() if path.is_file()]
    assert {path.name for path in files} == {"page.html", "page.css", "page.js", "icon.svg"}
    assert sum(path.stat().st_size for path in files) <= 60_000
    for path in files:
        text = path.read_text(encoding="utf-8")
        links = set(re.findall(r"\b\w+://[^\s\"')]+", text))
        assert links <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}, path
        assert "@import" not in text
        assert "//" not in re.sub(r"\w+://|^\s*//.*|\s// .*", "", text, flags=re.MULTILINE)


def test_the_script_sets_text_and_never_html() -> None:
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    unsafe = 'innerHTML outerHTML insertAdjacentHTML document.write eval Function( setTimeout("'
    assert [word for word in unsafe.split() if word in script] == []
    page = (ASSETS / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<(?:script|style)(?![^>]*\bsrc=)[^>]*>|\sstyle=|\son\w+=", page) == []
