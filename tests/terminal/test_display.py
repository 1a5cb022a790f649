# SPDX-License-Identifier: Apache-2.0
"""The display as text at four sizes, its terminal, and the plain output.

The screens in tests/data/screens are regenerated with DRONEBMS_DRAW_SCREENS=1; review them then.
"""

import difflib
import io
import os
import pty
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dronebms.core.clock import VirtualClock
from dronebms.core.number_format import age, duration, number
from dronebms.core.report import (
    CellState,
    Event,
    PackState,
    Report,
    Severity,
    Status,
    SupplyStatus,
    Verdict,
)
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, TelemetryLinkState, VehicleState
from dronebms.presentation.answers import home_answer, mission_answer
from dronebms.presentation.cells import weak_cell_reasons
from dronebms.presentation.phrases import headless_line
from dronebms.terminal.cell_lines import cell_lines
from dronebms.terminal.display import Display
from dronebms.terminal.glyphs import ASCII, UNICODE, Glyphs
from dronebms.terminal.layout import View, render
from dronebms.terminal.lines import Canvas, Frame
from dronebms.terminal.screen_reader import sentences
from smartbattery.snapshot import MAX_CELLS, Identity
from tests.scenes import (
    EVENTS,
    FLYING,
    FLYING_ESTIMATE,
    FLYING_VEHICLE,
    IN_TROUBLE,
    LABELS,
    LINK,
    MANY_CELLS,
    NOW_S,
    SCENES,
    SECOND,
    SILENT,
    at,
    snapshot_of,
)

SCREENS = Path(__file__).parents[1] / "data" / "screens"
SIZES = ((60, 20), (80, 24), (100, 30), (140, 40))


def screen_of(
    reports: Sequence[Report],
    events: Sequence[Event] = (),
    *,
    canvas: Canvas = Canvas(80, 24),  # noqa: B008 - frozen
    view: View = View(LINK, "00:12:31"),  # noqa: B008 - frozen
) -> list[str]:
    """Lines of a screen without colour."""
    console = Console(width=canvas.width, height=canvas.height, color_system=None)
    drawn = render(reports, events, canvas=canvas, view=view)
    return ["".join(part.text for part in line) for line in console.render_lines(drawn)]


def text_of(report: Report) -> str:
    return "\n".join(screen_of([report], canvas=Canvas(80, 24, ascii_only=True)))


@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("scene", SCENES)
def test_a_screen_is_the_reviewed_one(
    scene: str, size: tuple[int, int], *, ascii_only: bool
) -> None:
    shown = SCENES[scene]
    drawn = screen_of(
        shown.reports, shown.events, canvas=Canvas(*size, ascii_only), view=shown.view
    )
    kind = "ascii" if ascii_only else "unicode"
    path = SCREENS / f"{scene}_{size[0]}x{size[1]}_{kind}.txt"
    now = "".join(f"{line.rstrip()}\n" for line in drawn)
    if os.environ.get("DRONEBMS_DRAW_SCREENS"):
        path.write_text(now, encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    changes = difflib.unified_diff(before.splitlines(), now.splitlines(), path.name, "now")
    assert now == before, "\n".join(changes)


CELLS = st.lists(st.none() | st.floats(0.5, 5.0), max_size=MAX_CELLS)
AGES_S = st.dictionaries(st.integers(1, MAX_CELLS).map("cell{}_v".format), st.floats(0.0, 5000.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 60), st.sampled_from("au"), CELLS, AGES_S)
def test_a_screen_fills_its_canvas_exactly(
    width: int, height: int, kind: str, cells_v: list[float | None], ages: dict[str, float]
) -> None:
    report = replace(FLYING, snapshot=snapshot_of(cells_v, **ages))
    canvas = Canvas(width, height, kind == "a")
    drawn = screen_of([report, SECOND], EVENTS, canvas=canvas, view=SCENES["trends"].view)
    assert [cell_len(line) for line in drawn] == [width] * height
    assert kind == "u" or "".join(drawn).isascii()


def test_no_line_is_truncated_at_80_by_24() -> None:
    for scene in SCENES.values():
        assert "…" not in "".join(screen_of(scene.reports[:1], scene.events, view=scene.view))


def test_an_unknown_pack_shows_no_number() -> None:
    drawn = "\n".join(screen_of([SILENT], canvas=Canvas(140, 40), view=View(None, "00:12:31")))
    known = (
        r"battery 1:|4S|3\.00 V|00:12:31| [1-4] +- V"  # configured, and the numbers of the cells
    )
    assert not re.search(r"\d", re.sub(known, "", drawn)), drawn


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "* YES  7:24 to spare, 3:10 to fly home"),
        ({"turn_back_in_s": 40.0}, "i YES  turn back within 0:40, 3:10 to fly home"),
        ({"turn_back_in_s": None}, "* YES  7:24 to spare, 3:10 to fly home"),
        (
            {"home_verdict": Verdict.MARGINAL, "home_margin_s": 95.0},
            "! MARGINAL  turn back, 1:35 to spare, 3:10 to fly home",
        ),
        (
            {"home_verdict": Verdict.NO, "home_margin_s": -65.0},
            "# NO  short by 1:05, return now",
        ),
        (
            {"home_verdict": Verdict.NO, "home_margin_s": -65.0, "home_best_s": -1.0},
            "X NO  short by 1:05, return now",
        ),
        (
            {
                "home_verdict": Verdict.NO,
                "home_margin_s": -65.0,
                "alternate": "rally point 2",
                "alternate_by_return": False,
            },
            "# NO  short by 1:05, rally point 2 in reach, RTL goes home",
        ),
        (
            {"home_verdict": Verdict.UNKNOWN, "verdict_missing": "home position"},
            "home:  UNKNOWN  missing: home position",
        ),
        (
            {"home_verdict": Verdict.UNKNOWN, "remaining_s": None},
            "home:  UNKNOWN  missing: time left",
        ),
    ],
)
def test_the_way_home_has_one_verdict_and_its_times(changes: dict[str, Any], text: str) -> None:
    drawn = text_of(replace(FLYING, estimate=replace(FLYING_ESTIMATE, **changes)))
    assert text in drawn
    assert "mission" not in drawn


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"turn_back_in_s": 0.0}, "* YES  7:24 to spare, 3:10 to fly home"),
        ({"home_verdict": Verdict.MARGINAL}, "! MARGINAL  7:24 to spare, 3:10 to fly home"),
        (
            {"home_verdict": Verdict.NO, "home_margin_s": -65.0},
            "# NO  short by 1:05, 3:10 to fly home",
        ),
    ],
)
def test_a_vehicle_that_returns_is_not_asked_to(changes: dict[str, Any], text: str) -> None:
    returning = replace(FLYING_VEHICLE, mode="RTL")
    estimate = replace(FLYING_ESTIMATE, **changes)
    assert text in text_of(replace(FLYING, vehicle=returning, estimate=estimate))


@pytest.mark.parametrize(
    ("second", "supply", "text"),
    [
        ({"home_margin_s": 300.0}, None, "* YES  5:00 to spare, 3:10 to fly home (battery 2)"),
        ({"home_margin_s": None}, None, "* YES  7:24 to spare, 3:10 to fly home (battery 1)"),
        (
            {"home_verdict": Verdict.MARGINAL},
            None,
            "! MARGINAL  turn back, 7:24 to spare, 3:10 to fly home (battery 2)",
        ),
        (
            {"home_verdict": Verdict.MARGINAL},
            SupplyStatus(Severity.WARNING, (1,), home_verdict=Verdict.YES),
            "* YES  7:24 to spare, 3:10 to fly home (battery 1)",
        ),
        (
            {},
            SupplyStatus(Severity.WARNING, (1,), home_verdict=Verdict.NO),
            "# NO  battery 2 missing: load on the others",
        ),
        (
            {"home_verdict": Verdict.NO, "home_margin_s": -5.0},
            SupplyStatus(Severity.WARNING, (0, 1)),
            "# NO  short by 0:05, return now (battery 2)",
        ),
    ],
)
def test_the_way_home_of_several_batteries_is_that_of_the_worst(
    second: dict[str, Any], supply: SupplyStatus | None, text: str
) -> None:
    estimate = replace(FLYING_ESTIMATE, **second)
    reports = [replace(FLYING, supply=supply), replace(SECOND, estimate=estimate, supply=supply)]
    assert text in "\n".join(screen_of(reports, canvas=Canvas(80, 24, ascii_only=True)))


def test_several_batteries_on_the_ground_have_no_way_home() -> None:
    landed = replace(FLYING_VEHICLE, armed=False)
    reports = [replace(report, vehicle=landed) for report in (FLYING, SECOND)]
    assert " home:  on the ground " in "\n".join(screen_of(reports))


def test_a_landed_vehicle_has_no_way_home() -> None:
    landed = replace(FLYING, vehicle=replace(FLYING_VEHICLE, armed=False))
    assert " home:  on the ground " in text_of(landed)


FLOWN: dict[str, Any] = {
    "mission_verdict": Verdict.YES,
    "mission_s": 490.0,
    "mission_end_pct": 31.0,
    "mission_end_low_pct": 22.0,
    "mission_needs_mah": 14_100.0,
    "usable_mah": 14_000.0,
    "usable_low_mah": 13_200.0,
}


@pytest.mark.parametrize(
    ("changes", "vehicle", "text"),
    [
        ({}, FLYING_VEHICLE, "* YES  ends with 31 % (at least 22 %), 8:10 left"),
        (
            {"last_home_item": 9},
            FLYING_VEHICLE,
            "* YES  ends with 31 % (at least 22 %), 8:10 left, home up to item 9",
        ),
        (
            {"mission_verdict": Verdict.MARGINAL},
            FLYING_VEHICLE,
            "! MARGINAL  needs 14.1 Ah of 13.2 usable (5 %), 8:10 left",
        ),
        (
            {"mission_verdict": Verdict.NO, "last_home_item": 0},
            FLYING_VEHICLE,
            "# NO  needs 14.1 Ah of 14.0 usable, 8:10 left, home up to item 0",
        ),
        (
            {"mission_verdict": Verdict.NO},
            replace(FLYING_VEHICLE, armed=False),
            "NO  needs 14.1 Ah of 14.0 usable, 8:10 left",
        ),
        (
            {"mission_verdict": Verdict.UNKNOWN, "verdict_missing": "speed of missions"},
            FLYING_VEHICLE,
            "UNKNOWN  missing: speed of missions",
        ),
    ],
)
def test_the_mission_has_one_verdict_its_end_and_what_is_left(
    changes: dict[str, Any], vehicle: VehicleState, text: str
) -> None:
    estimate = replace(FLYING_ESTIMATE, **(FLOWN | changes))
    drawn = text_of(replace(FLYING, estimate=estimate, vehicle=vehicle))
    assert f" mission: {text}" in drawn
    assert "reaches 3.30 V on this mission" in drawn


VERDICTS = list(product(Verdict, Verdict))


@pytest.mark.parametrize("width", range(30, 81))
def test_a_text_that_is_cut_does_not_touch_the_one_at_the_end_of_its_line(width: int) -> None:
    drawn = "\n".join(screen_of([FLYING], canvas=Canvas(width, 24)))
    assert re.search(r"\d s ago", drawn)
    assert not re.search(r"[^\s\d.]\d+\.\d s ago|\S\d\d:\d\d:\d\d", drawn)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 20), (40, 12)])
@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
def test_a_verdict_is_readable_at_every_size_without_colour(
    width: int, height: int, *, ascii_only: bool
) -> None:
    for home, mission in VERDICTS:
        estimate = replace(
            FLYING_ESTIMATE, **(FLOWN | {"mission_verdict": mission}), home_verdict=home
        )
        report = replace(FLYING, estimate=estimate)
        drawn = screen_of([report], canvas=Canvas(width, height, ascii_only))
        assert len(drawn) == height
        assert re.search(rf"^ home: +(\S )?{home.name} ", drawn[1])
        if mission is not Verdict.UNKNOWN:
            assert re.search(rf"^ mission: \S {mission.name} ", drawn[2])


@pytest.mark.parametrize("home", list(Verdict))
@pytest.mark.parametrize("mission", list(Verdict))
@pytest.mark.parametrize("margin_s", [-900.0, -0.5, 0.5, 900.0])
def test_the_sign_of_a_verdict_is_no_milder_than_its_limit(
    home: Verdict, mission: Verdict, margin_s: float
) -> None:
    least = {
        Verdict.YES: Severity.OK,
        Verdict.MARGINAL: Severity.WARNING,
        Verdict.NO: Severity.CRITICAL,
    }
    estimate = replace(
        FLYING_ESTIMATE,
        **(FLOWN | {"mission_verdict": mission}),
        home_verdict=home,
        home_margin_s=margin_s,
        home_best_s=margin_s,
    )
    report = replace(FLYING, estimate=estimate)
    assert (home_answer(report).severity or Severity.OK) >= least.get(home, Severity.OK)
    answer = mission_answer(report)
    if answer is not None:
        assert (answer.severity or Severity.OK) >= least.get(mission, Severity.OK)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status(NOW_S), "limit: none predicted "),
        (Status(NOW_S, limited_by="hot", labels=LABELS), "limit: pack hot "),
        (Status(NOW_S, limited_by="hot", limited_in_s=75.0, labels=LABELS), "pack hot in 1:15 "),
        (Status(NOW_S, limited_by="odd_one", limited_in_s=0.0), "limit: odd one now"),
        (
            Status(NOW_S, limited_by="hot", asked_max_a=45.0, labels=LABELS),
            "pack hot, commanded limit 45 A",
        ),
    ],
)
def test_the_next_limit_has_its_label_and_its_time(status: Status, text: str) -> None:
    assert text in text_of(replace(FLYING, status=status))


def test_the_next_limit_of_several_batteries_is_the_one_that_trips_first() -> None:
    soon = Status(NOW_S, limited_by="hot", limited_in_s=75.0, labels=LABELS)
    drawn = "\n".join(screen_of([FLYING, replace(SECOND, status=soon)]))
    assert " limit: pack hot in 1:15 at this load (battery 2) " in drawn
    drawn = "\n".join(screen_of([replace(FLYING, status=soon), SECOND]))
    assert " limit: pack hot in 1:15 at this load  " in drawn
    lost = replace(SILENT, index=0)
    assert " limit: low resting cell voltage in 10:40" in "\n".join(screen_of([lost, SECOND]))


def test_the_next_limit_of_a_battery_without_readings_is_unknown() -> None:
    assert "limit: unknown " in text_of(SILENT)
    gone = Status(NOW_S, Severity.WARNING, ("service_absent",))
    assert "limit: unknown " in text_of(replace(SILENT, status=gone))


def test_the_severity_is_a_word_and_a_symbol() -> None:
    for severity, mark in zip(Severity, "*i!#X", strict=True):
        drawn = text_of(replace(FLYING, status=Status(NOW_S, severity, ("silent",), labels=LABELS)))
        word = severity.label.upper() if severity > Severity.INFO else severity.label
        assert f"state: {mark} {word}  gauge silent" in drawn


def test_the_time_to_empty_has_its_interval_and_its_cut_off() -> None:
    drawn = text_of(FLYING)
    assert "12:40 left, 90 %: 10:55 - 14:10" in drawn
    assert "until cell 4 reaches 3.30 V at this load" in drawn
    assert "default cut-off" not in drawn
    assert "default cut-off" in text_of(MANY_CELLS)


def test_the_weakest_cell_is_marked_in_words() -> None:
    (marked,) = [line for line in text_of(FLYING).splitlines() if "<- weakest" in line]
    assert marked.split()[:3] == ["4", "3.71", "V"]
    assert "spread 37 mV" in text_of(FLYING)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("current", "STALE 1.4 s"),
        ("voltage", "0.2 s ago"),
        ("3", "- V  not received for 12 s"),
        ("4", "3.31 V  STALE 1.7 s"),
    ],
)
def test_a_stale_value_is_marked_with_its_age(label: str, text: str) -> None:
    (line,) = [line for line in text_of(IN_TROUBLE).splitlines() if line.split()[:1] == [label]]
    assert text in line


def test_a_current_above_its_limit_is_marked() -> None:
    assert "of 48 A for 30 s" in text_of(FLYING)
    assert "> 10 A for 30 s" in text_of(IN_TROUBLE)
    asked = replace(FLYING, status=Status(NOW_S, asked_max_a=15.0))
    assert "> 15 A commanded" in text_of(asked)


@pytest.mark.parametrize(
    ("vehicle", "link", "text"),
    [
        (FLYING_VEHICLE, LINK, f"heartbeat 0.4 s ago, armed, AUTO, {LINK}"),
        (UNKNOWN_VEHICLE, LINK, f"no heartbeat, {LINK}"),
        (UNKNOWN_VEHICLE, None, "no heartbeat, no link"),
        (UNKNOWN_VEHICLE, "", "-  no heartbeat "),
        (
            VehicleState(
                telemetry_links=(TelemetryLinkState("a"), TelemetryLinkState("b", "b: x"))
            ),
            "",
            "-  no heartbeat, b: x ",
        ),
        (replace(FLYING_VEHICLE, heartbeat_age_s=7.0), "", "no heartbeat for 7.0 s"),
        (
            VehicleState(heartbeat_age_s=1.0),
            "",
            "heartbeat 1.0 s ago, arming unknown, mode unknown",
        ),
    ],
)
def test_the_autopilot_line_has_heartbeat_mode_and_link(
    vehicle: VehicleState, link: str | None, text: str
) -> None:
    drawn = screen_of([replace(FLYING, vehicle=vehicle)], view=View(link))
    (line,) = [line for line in drawn if line.startswith(" autopilot")]
    assert text in line


@pytest.mark.parametrize(
    ("weak", "reasons"),
    [
        (CellState(soc_pct=70.0, capacity_mah=9900.0, resistance_ohm=0.01), ": low SoC"),
        (CellState(soc_pct=78.0, capacity_mah=8000.0, resistance_ohm=0.011), ": low capacity"),
        (CellState(soc_pct=80.0, capacity_mah=9900.0, resistance_ohm=0.02), ": high resistance"),
        (
            CellState(soc_pct=80.0, capacity_mah=8000.0, resistance_ohm=0.015),
            ": low capacity, high resistance",
        ),
        (CellState(soc_pct=79.0, capacity_mah=9900.0, resistance_ohm=0.0105), ""),
        (CellState(), ""),
    ],
)
def test_the_reasons_for_a_weak_cell_are_named(weak: CellState, reasons: str) -> None:
    alike = CellState(soc_pct=80.0, capacity_mah=10000.0, resistance_ohm=0.01)
    state = PackState(cells=(alike, alike, alike, weak, alike, alike))
    report = replace(FLYING, estimate=replace(FLYING.estimate, state=state))
    assert weak_cell_reasons(report, 3) == reasons
    assert weak_cell_reasons(report, 0) == ""
    assert weak_cell_reasons(FLYING, 3) == ""
    frame = Frame(NOW_S, 80, 24, ASCII, None, Text(""), ())
    lines = [str(line) for line in cell_lines(report, 6, frame, exact=True)]
    assert [("<- weakest" + reasons in line) for line in lines] == [False] * 3 + [True] + [
        False
    ] * 2
    assert all(len(line) == 80 for line in lines)


def test_cells_that_do_not_fit_are_counted_as_missing() -> None:
    many = [replace(MANY_CELLS, index=index) for index in range(4)]
    page = View(LINK, "", "cells")
    assert "more cells than fit" in screen_of(many, view=page)[-1]
    assert "more cells" not in "".join(screen_of(many, canvas=Canvas(140, 60), view=page))


def test_a_battery_without_reports_shows_no_stale_value() -> None:
    late = replace(SECOND, t_s=NOW_S + 5.0)
    drawn = "\n".join(screen_of([FLYING, late]))
    assert "STALE  no report for 5.0 s" in drawn
    assert "12:40 left, 90 %" not in drawn
    assert "3.71 V  " not in drawn.split("cells:")[1]
    (line,) = [line for line in screen_of([late, FLYING]) if "battery 1 " in line]
    assert "STALE, no report for 5.0 s  - V" in line


def test_the_newest_events_are_shown_with_their_times() -> None:
    drawn = screen_of([FLYING], EVENTS)
    assert drawn[-2].startswith(" 00:11:40  ▲ LOW: cell 4 3.48 V <= 3.50 V")
    assert drawn[-1].startswith(" 00:11:52  ● CLEARED: cell 4 3.60 V")
    assert "HIGH: pack 51 degC" in "".join(screen_of([FLYING], EVENTS, canvas=Canvas(80, 30)))


def test_control_characters_of_a_device_name_do_not_reach_the_terminal() -> None:
    odd = replace(FLYING.snapshot, identity=Identity(device="\x1b[2Jé\n"))
    drawn = screen_of([replace(FLYING, snapshot=odd)], canvas=Canvas(80, 24, ascii_only=True))
    assert drawn[0].startswith(" battery 1: lipo 6S 16000 mAh ?[2J??")


def test_before_the_first_report_the_screen_waits() -> None:
    assert screen_of([])[0].strip() == "waiting for the battery"


# Texts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0:00"), (59.99, "0:59"), (760, "12:40"), (3723.5, "1:02:03"), (-65, "1:05")],
)
def test_durations_are_truncated_to_whole_seconds(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_ages_and_numbers_have_their_units() -> None:
    texts = [age(seconds) for seconds in (-0.1, 0.04, 9.94, 9.96, 99.4, 125.0)]
    assert texts == ["0.0 s", "0.0 s", "9.9 s", "10 s", "99 s", "2:05"]
    assert [number(value, "A", 1) for value in (None, -0.04, -1.25)] == ["- A", "0.0 A", "-1.2 A"]


def test_the_headless_line_has_the_same_values() -> None:
    assert headless_line(FLYING) == (
        "t=00:12:31  22.42 V  18.4 A  3.71 V cell 4  82 %  left 12:40 (10:55-14:10)  ok"
    )
    assert headless_line(SILENT) == (
        "t=00:12:31  - V  - A  - V cell -  - %  left -  unknown (the gauge does not answer)"
    )
    assert headless_line(IN_TROUBLE).endswith(
        "left 1:00 (0:35-1:30)  critical: cell voltage at cut-off, low resting cell voltage"
    )


@given(st.floats(-1.0, 2.0), st.integers(0, 100), st.sampled_from([ASCII, UNICODE]))
def test_a_bar_has_its_width_and_grows(share: float, width: int, glyphs: Glyphs) -> None:
    less, more = glyphs.bar(share, width), glyphs.bar(share + 0.1, width)
    assert len(less) == len(more) == width
    assert less.count(glyphs.rest) >= more.count(glyphs.rest)


# The terminal


@dataclass
class Terminal:
    """Emulation of the few sequences that the display sends."""

    width: int
    height: int

    def shown(self, sent: str) -> list[str]:
        """Lines after all of this was sent."""
        rows = [[" "] * self.width for _ in range(self.height)]
        x = y = 0
        for move_y, move_x, home, other, text in re.findall(
            r"\x1b\[(\d+);(\d+)H|(\x1b\[H)|(\x1b\[[?\d;]*[a-zA-Z])|([^\x1b]+)", sent
        ):
            if move_y:
                x, y = int(move_x) - 1, int(move_y) - 1
            elif home:
                x = y = 0
            elif not other:
                assert x + len(text) <= self.width, "text beyond the right edge"
                rows[y][x : x + len(text)] = text
                x += len(text)
        return ["".join(row) for row in rows]


def console_of(file: IO[str], **environ: str) -> Console:
    return Console(
        file=file,
        width=80,
        height=24,
        force_terminal=True,
        legacy_windows=False,
        _environ={"TERM": "xterm-256color"} | environ,
    )


def test_only_changes_are_sent_and_the_screen_is_complete() -> None:
    file, clock = io.StringIO(), VirtualClock()
    sizes: list[int] = []
    with Display(clock, console=console_of(file), link=lambda: LINK) as screen:
        for step in range(150):
            clock.sleep_until(step * 0.5)
            screen(at(NOW_S + step * 0.5))
            sizes.append(len(file.getvalue().encode()))
            if step % 30 == 7:
                drawn = render([at(NOW_S + step * 0.5)], canvas=Canvas(80, 24), view=View(LINK))
                lines = Console(width=80, color_system=None).render_lines(drawn)
                whole = ["".join(part.text for part in line) for line in lines]
                assert Terminal(80, 24).shown(file.getvalue())[1:] == whole[1:]
    assert sizes[-1] / 75.0 < 2000.0  # bytes a second
    assert sizes[-1] - sizes[-2] < sizes[0] / 2


def test_the_display_draws_twice_a_second_of_the_viewers_clock() -> None:
    file, clock = io.StringIO(), VirtualClock()
    drawn = []
    with Display(clock, console=console_of(file)) as screen:
        for step in range(21):  # two seconds
            clock.sleep_until(step * 0.1)
            before = len(file.getvalue())
            screen(at(NOW_S + step))
            drawn.append(len(file.getvalue()) > before)
    assert sum(drawn) == 5


def test_drawing_costs_little() -> None:
    clock = VirtualClock()
    reports = [at(NOW_S + step * 0.5) for step in range(40)]
    with Display(clock, console=console_of(io.StringIO())) as screen:
        started_s = time.process_time()
        for step, report in enumerate(reports):
            clock.sleep_until(step * 0.5)
            screen(report)
        cost_s = (time.process_time() - started_s) / len(reports)
    assert cost_s < 0.015  # twice a second: 3 % of a core


def test_a_resized_terminal_gets_a_complete_screen() -> None:
    file, clock = io.StringIO(), VirtualClock()
    console = console_of(file)
    with Display(clock, console=console) as screen:
        screen(FLYING)
        before = len(file.getvalue())
        console.size = (100, 30)
        clock.sleep_until(1.0)
        screen(FLYING)
        sent = file.getvalue()[before:]
    assert (
        Terminal(100, 30).shown(sent)[1:]
        == screen_of([FLYING], canvas=Canvas(100, 30), view=View(""))[1:]
    )


def test_labels_are_dim_and_values_are_not() -> None:
    file = io.StringIO()
    with Display(VirtualClock(), console=console_of(file)) as screen:
        screen(FLYING)
    assert "\x1b[2m  1  \x1b[0m\x1b[1m3.74 V  \x1b[0m█" in file.getvalue()
    assert "\x1b[0muntil cell 4 reaches" in file.getvalue()


def test_no_color_disables_colours() -> None:
    def codes(**environ: str) -> set[str]:
        file = io.StringIO()
        with Display(VirtualClock(), console=console_of(file, **environ)) as screen:
            screen(IN_TROUBLE)
        found = re.findall(r"\x1b\[([\d;]*)m", file.getvalue())
        return {code for codes in found for code in codes.split(";")}

    assert codes(NO_COLOR="1") <= {"", "0", "1", "2", "7"}
    assert codes() & {"31", "33", "35"}


@pytest.mark.parametrize("why", ["asked", "dumb", "pipe"])
def test_plain_output_writes_only_changes(why: str) -> None:
    file, clock = io.StringIO(), VirtualClock()
    console = console_of(file, TERM="dumb") if why == "dumb" else console_of(file)
    console = Console(file=file, _environ={}) if why == "pipe" else console
    hot = replace(FLYING, snapshot=replace(FLYING.snapshot, temperature_degc=33.0))
    with Display(clock, console=console, plain=why == "asked") as screen:
        for step in range(20):
            clock.sleep_until(step * 0.25)
            screen(FLYING if step < 10 else hot)
    assert file.getvalue() == (
        "12:31 battery 1: state ok, home yes, 7 minutes to spare, mission none, 12 minutes left, "
        "between 10 minutes and 14 minutes, next limit low resting cell voltage in 10 minutes, "
        "state of charge 82 percent, weakest cell 4, current 40 percent of the limit, "
        "temperature 32 degrees, autopilot armed, AUTO.\n12:31 battery 1: temperature 33 degrees.\n"
    )


@pytest.mark.parametrize(
    ("changes", "armed", "spoken"),
    [
        ({"home_verdict": Verdict.MARGINAL}, True, "home marginal, 7 minutes to spare"),
        (
            {"home_verdict": Verdict.NO, "home_margin_s": -25.0},
            True,
            "home no, short by 20 seconds",
        ),
        ({"home_margin_s": None}, True, "home yes"),
        ({"home_verdict": Verdict.UNKNOWN}, True, "home unknown, missing: time left"),
        ({}, False, "home on the ground"),
        ({"home_verdict": Verdict.UNKNOWN}, False, "home on the ground"),
        (FLOWN, True, "mission yes"),
        (FLOWN | {"mission_verdict": Verdict.NO}, True, "mission no"),
    ],
)
def test_a_screen_reader_gets_the_verdicts(
    changes: dict[str, Any],
    armed: bool,  # noqa: FBT001 - a parameter
    spoken: str,
) -> None:
    changes = {"remaining_s": None} | changes if "UNKNOWN" in str(changes) else changes
    vehicle = replace(FLYING_VEHICLE, armed=armed)
    report = replace(FLYING, estimate=replace(FLYING_ESTIMATE, **changes), vehicle=vehicle)
    assert spoken in sentences(report, None)


def test_the_weakest_cell_is_named_after_two_seconds() -> None:
    file, clock = io.StringIO(), VirtualClock()
    cells_v = (3.9, 3.9, 3.9, 3.9, 3.9, 3.9)
    with Display(clock, console=console_of(file), plain=True) as screen:
        for step in range(40):
            clock.sleep_until(step * 1.0)
            mv = (0, 3, -2)[step % 3]  # noise: each is the lowest at times
            by_mv = 50 if step >= 30 or step == 20 else mv
            changed_v = (3.9 - by_mv / 1000, 3.899, *cells_v[2:])
            screen(replace(FLYING, snapshot=replace(FLYING.snapshot, cells_v=changed_v)))
    lines = file.getvalue().splitlines()
    assert "no weak cell" in lines[0]
    assert lines[1:] == ["12:31 battery 1: weakest cell 1."]


def test_plain_output_writes_alarms_at_once_and_lost_values_as_unknown() -> None:
    file, clock = io.StringIO(), VirtualClock()
    alarmed = replace(SECOND, status=Status(NOW_S, events=EVENTS[1:]), t_s=NOW_S + 3.0)
    with Display(clock, console=console_of(file), plain=True) as screen:
        screen(FLYING)
        clock.sleep_until(0.1)
        screen(alarmed)
        written = file.getvalue().splitlines()
        clock.sleep_until(1.0)
        screen(alarmed)
    assert written[1:] == [
        "12:34 battery 2: LOW: cell 4 3.48 V <= 3.50 V.",
        "12:34 battery 2: CLEARED: cell 4 3.60 V.",
    ]
    late = file.getvalue().splitlines()[-2]
    assert late.startswith("12:31 battery 1: state unknown (no reading for 3 s), home")
    assert "flight time left unknown, next limit unknown, state of charge unknown, cells" in late


def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    latin = io.TextIOWrapper(raw, encoding="iso-8859-1", write_through=True)
    with Display(VirtualClock(), console=console_of(latin)) as screen:
        screen(FLYING)
    assert raw.getvalue().isascii()
    monkeypatch.setenv("LC_ALL", "C")
    file = io.StringIO()
    with Display(VirtualClock(), console=console_of(file)) as screen:
        screen(FLYING)
    assert file.getvalue().isascii()


def rung(
    reports: Sequence[Report],
    *,
    bell: bool = True,
    plain: bool = False,
    console: Console | None = None,
) -> list[int]:
    """Places of the reports at which the terminal's bell rang."""
    file = io.StringIO()
    console = console or console_of(file)
    console.file = file
    rings = []
    with Display(VirtualClock(), console=console, bell=bell, plain=plain) as screen:
        for report in reports:
            before = file.getvalue().count("\a")
            screen(report)
            rings.append(file.getvalue().count("\a") - before)
    assert set(rings) <= {0, 1}
    return [place for place, count in enumerate(rings) if count]


@pytest.mark.parametrize("plain", [False, True])
def test_the_bell_rings_once_when_the_severity_rises_to_a_warning_or_above(*, plain: bool) -> None:
    def pack(index: int, severity: Severity) -> Report:
        return replace(FLYING, index=index, status=Status(NOW_S, severity))

    flown = [
        *(pack(0, severity) for severity in Severity),  # rings at 2, 3 and 4
        pack(0, Severity.EMERGENCY),
        pack(0, Severity.WARNING),
        pack(0, Severity.CRITICAL),  # 7
        pack(1, Severity.WARNING),  # milder than the other battery
        pack(1, Severity.EMERGENCY),  # 9
        pack(0, Severity.OK),
        pack(0, Severity.EMERGENCY),
        pack(1, Severity.OK),
        pack(0, Severity.OK),
        pack(0, Severity.WARNING),  # 14
    ]
    assert rung(flown, plain=plain) == [2, 3, 4, 7, 9, 14]
    assert rung(flown, bell=False, plain=plain) == []


def test_no_bell_is_written_to_a_pipe() -> None:
    pipe = Console(file=io.StringIO(), _environ={})
    assert rung([FLYING, IN_TROUBLE], console=pipe) == []


def test_a_closed_terminal_is_no_error() -> None:
    ours, theirs = pty.openpty()
    file = os.fdopen(theirs, "w", encoding="utf-8")
    with Display(VirtualClock(), console=console_of(file)):
        os.close(ours)
    with suppress(OSError):
        file.close()
    assert file.closed
