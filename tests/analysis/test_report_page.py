# SPDX-License-Identifier: Apache-2.0
"""The report page and the plots of a flight: contents, size, escaping and errors."""

import gzip
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dronebms.analysis.panels import PANELS
from dronebms.analysis.plots import _ends, picture, stack
from dronebms.analysis.report_page import Flown, page
from dronebms.analysis.track import Track, tracks
from dronebms.cli.main import main
from dronebms.core.report import Event, Report, Severity, Status
from smartbattery.snapshot import Identity
from tests.scenes import FLYING, FLYING_ESTIMATE, snapshot_of

FLIGHT = Path(__file__).parents[1] / "data" / "flights" / "F13_Marquis2019_P04_1.csv.gz"
SIDE = '{"cells": 4, "chemistry": "lipo", "capacity_mah": 5000}'


@pytest.fixture(autouse=True)
def _quantities() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class ParsedPage(HTMLParser):
    """Texts and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.alternatives: list[str] = []  # the plots in words
        self.scripts: list[str] = []
        self._place = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Store the name."""
        self.tags.append(tag)
        self._place = (
            (dict(attrs).get("class") or tag) if tag in {"details", "script"} else self._place
        )
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        if tag in {"details", "script"}:
            self._place = ""

    def handle_data(self, data: str) -> None:
        """Store the text."""
        if self._place == "script":
            self.scripts[-1] += data
        elif self._place == "described" and data.strip() != "The plots in words" and data.strip():
            self.alternatives.append(data.strip())
        else:
            self.texts.append(data.strip())


def flown(seconds: float, period_s: float = 1.0, cells: int = 6) -> Iterator[Report]:
    """Yield a pack that falls from 4.2 V per cell, with an alarm from 100 s to 200 s."""
    for step in range(round(seconds / period_s)):
        t_s = step * period_s
        share = t_s / seconds
        active = ("cell_low",) if 100.0 <= t_s < 200.0 else ()
        severity = Severity.WARNING if active else Severity.OK
        event = Event(t_s, "cell_low", severity, tripped=True, text="LOW: cell 2")
        yield replace(
            FLYING,
            t_s=t_s,
            snapshot=replace(
                snapshot_of([4.2 - share - 0.001 * k + 0.1 * (step % 2) for k in range(cells)]),
                t_s=t_s,
                current_a=20.0 + step % 7,
                temperature_degc=20.0 + 10.0 * share,
            ),
            estimate=replace(FLYING_ESTIMATE, t_s=t_s, remaining_s=seconds - t_s),
            status=Status(t_s, severity, active, events=(event,) if t_s == 100.0 else ()),
        )


def written(track: Track) -> ParsedPage:
    return ParsedPage(page("flight", [Flown(track, stack(track))]))


def test_the_page_contains_summary_limits_and_plots() -> None:
    (track,) = tracks(flown(300.0))
    shown = written(track)
    text = " | ".join(filter(None, shown.texts))
    assert "battery 1: lipo 6S 16000 mAh BatMon6 serial 4711" in text
    assert "Fit for the next flight once it is charged. | Landed with " in text
    assert "Serial number | 4711 | Flight | 4:59, from 00:00:00 | Used | 2870 mAh, - Wh" in text
    assert "Current | 20.0 A to 26.0 A | Temperature | 20 degC to 30 degC" in text
    assert "Cell 1 | 3.21 V to 4.30 V" in text
    assert "low resting cell voltage | 1 x | 1:39 | 00:01:40 LOW: cell 2" in text
    assert "Remarks | Name | Date | Signature" in text
    assert "\u2610 fit to fly" in text
    assert [text.split(",")[0].split(":")[0] for text in shown.alternatives] == [
        panel.name for panel in PANELS
    ]
    assert "drawn 20 to 25, least 20, greatest 26" in shown.alternatives[2]
    assert shown.alternatives[-1] == "Modes and alarms: armed; mode AUTO; low resting cell voltage"


def test_the_same_flight_gives_the_same_bytes(tmp_path: Path) -> None:
    for command, ending in (("report", "html"), ("plot", "svg")):
        files = [tmp_path / f"{name}.{ending}" for name in "ab"]
        for file in files:
            assert main([command, str(FLIGHT), "-o", str(file)]) == 0
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_page_has_no_date_of_a_clock_that_was_not_set(tmp_path: Path) -> None:
    flight, out = tmp_path / "f.csv", tmp_path / "report.html"
    flight.write_bytes(gzip.decompress(FLIGHT.read_bytes()))
    flight.with_suffix(".json").write_bytes(
        FLIGHT.with_name("F13_Marquis2019_P04_1.json").read_bytes()
    )
    os.utime(flight, (40.0, 40.0))
    assert main(["report", str(flight), "-o", str(out)]) == 0
    texts = ParsedPage(out.read_text(encoding="utf-8")).texts
    assert "unknown date: the clock was not set" in texts
    os.utime(flight, (1.8e9, 1.8e9))
    assert main(["report", str(flight), "-o", str(out)]) == 0
    assert "2027-01-15 08:00 UTC" in ParsedPage(out.read_text(encoding="utf-8")).texts


def test_the_page_is_self_contained_and_escapes_names(tmp_path: Path) -> None:
    flight = tmp_path / "<script>&'.csv"
    flight.write_bytes(gzip.decompress(FLIGHT.read_bytes()))
    flight.with_suffix(".json").write_bytes(
        FLIGHT.with_name("F13_Marquis2019_P04_1.json").read_bytes()
    )
    out = tmp_path / "report.html"
    assert main(["report", str(flight), "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    shown = ParsedPage(text)
    assert "Flight report: <script>&'.csv" in shown.texts
    assert not {"link", "img", "iframe", "object", "base"} & set(shown.tags)
    assert len(shown.scripts) == 2  # data of one battery, and the page's own
    assert len(shown.scripts[1].encode()) < 30_000
    assert not re.findall(r"(?:src|href)=\"(?!#)|url\((?!#)|@import", text)
    odd = replace(FLYING, snapshot=replace(FLYING.snapshot, identity=_named("<b>\x1b[2J</b>$x")))
    assert "battery 1: lipo 6S 16000 mAh <b>?[2J</b>$x" in written(tracks([odd])[0]).texts


def _named(device: str) -> Identity:
    return replace(FLYING.snapshot.identity, device=device, serial=None)


def test_a_quantity_that_was_not_recorded_is_marked(tmp_path: Path) -> None:
    flight = tmp_path / "bare.csv"
    flight.write_text("t_s,voltage_v,current_a\n0,16.0,\n1,15.9,\n", encoding="utf-8")
    flight.with_suffix(".json").write_text(SIDE, encoding="utf-8")
    out = tmp_path / "bare.html"
    assert main(["report", str(flight), "-o", str(out)]) == 0
    shown = ParsedPage(out.read_text(encoding="utf-8"))
    missing = [text.split(":")[0] for text in shown.alternatives if "not recorded" in text]
    assert missing == [
        "Cells, V",
        "Current, A",
        "Temperature, degC",
        "State of charge, %",
        "Time to empty, min",
        "Way home, min",
        "Resistance, mohm",
    ]
    assert shown.texts.count("not recorded") == 3  # rows of the summary
    assert main(["plot", str(flight), "-o", str(tmp_path / "bare.png")]) == 0


def test_each_battery_has_its_section() -> None:
    second = (replace(report, index=1) for report in flown(60.0, cells=4))
    both = [report for pair in zip(flown(60.0), second, strict=True) for report in pair]
    found = tracks(both)
    shown = ParsedPage(page("two", [Flown(track, stack(track)) for track in found]))
    assert [text for text in shown.texts if text.startswith("battery")] == [
        f"battery {k}: lipo 6S 16000 mAh BatMon6 serial 4711" for k in (1, 2)
    ]
    assert len(found[1].cells()) == 4
    assert len(shown.alternatives) == 2 * len(PANELS)
    drawn = picture(found, "svg").decode()
    for k in (1, 2):
        assert f">battery {k}: lipo 6S 16000 mAh BatMon6 serial 4711<" in drawn
    assert drawn.count(">mode AUTO<") == 2
    assert picture(found[:1], "png").startswith(b"\x89PNG")


def test_a_damaged_recording_is_reported_on_its_page(tmp_path: Path) -> None:
    recording, out = tmp_path / "torn.rec", tmp_path / "torn.html"
    flown_to = ["--speed", "max", "--duration", "60", "--json", "--record", str(recording)]
    assert main(["sim", *flown_to]) == 0
    torn = bytearray(recording.read_bytes())
    torn[len(torn) // 2] ^= 0xFF
    recording.write_bytes(torn)
    assert main(["report", str(recording), "-o", str(out)]) == 1
    assert any(text.startswith("Missing: ") for text in ParsedPage(out.read_text("utf-8")).texts)


@pytest.mark.parametrize(("log", "cells"), [("arducopter.bin", 4), ("px4.ulg", 3)])
def test_an_autopilot_log_has_its_page(log: str, cells: int, tmp_path: Path) -> None:
    out = tmp_path / "log.html"
    options = ["--cells", str(cells), "--chemistry", "lipo", "-o", str(out)]
    assert main(["report", str(FLIGHT.parents[1] / "logs" / log), *options]) == 0
    shown = ParsedPage(out.read_text(encoding="utf-8"))
    assert f"Flight report: {log}" in shown.texts
    assert shown.alternatives[0].startswith("Pack voltage, V: pack ")
    assert ("not recorded" in shown.alternatives[3]) == log.endswith("bin")  # no temperature


def test_every_alarm_has_room_for_its_label() -> None:
    (track,) = tracks(flown(60.0))
    track.tripped = {f"limit_{k}": [[0.0, 10.0]] for k in range(40)}
    for drawn in (stack(track).wide, stack(track).narrow):
        rows = [float(y) for y in re.findall(r'y="([\d.]+)" transform[^>]*>limit \d+<', drawn)]
        assert len(rows) == 40
        assert min(b - a for a, b in itertools.pairwise(rows)) > 10.5


@pytest.mark.slow
def test_an_hour_at_ten_samples_per_second_stays_small() -> None:
    (track,) = tracks(flown(3600.0, 0.1, cells=14))
    assert len(track.t_s) == 36_000
    assert len(page("hour", [Flown(track, stack(track))]).encode()) < 2_000_000


def test_a_peak_of_one_sample_and_a_gap_are_drawn() -> None:
    (track,) = tracks(flown(3600.0, cells=1))
    values = np.full(3600, 5.0)
    values[1234], values[1299], values[2000:2100] = 9.0, 1.0, np.nan
    minutes, least, greatest = _ends(track, values)
    assert len(minutes) <= 401
    assert (np.nanmin(least), np.nanmax(greatest)) == (1.0, 9.0)
    assert minutes[np.nanargmax(greatest)] == pytest.approx(1234 / 60.0, abs=0.15)
    gap = minutes[np.isnan(least)]
    assert (gap[0], gap[-1]) == pytest.approx((33.4, 34.8), abs=0.2)


@pytest.mark.parametrize("command", ["report", "plot"])
def test_an_output_may_be_a_pipe_of_any_name(
    command: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    flight = tmp_path / "flight.csv"
    flight.write_text("t_s,voltage_v,current_a\n0,16.0,1.0\n1,16.0,1.0\n", encoding="utf-8")
    flight.with_suffix(".json").write_text(SIDE, encoding="utf-8")
    read, write = os.pipe()
    found: list[bytes] = []

    def take() -> None:
        with os.fdopen(read, "rb") as pipe:
            found.append(pipe.read())

    reader = threading.Thread(target=take)
    reader.start()
    try:
        assert main([command, str(flight), "-o", f"/dev/fd/{write}"]) == 0
    finally:
        os.close(write)
        reader.join()
    assert found[0].startswith({"report": b"<!doctype html>", "plot": b"\x89PNG"}[command])
    assert capsysbinary.readouterr().err == b""


@pytest.mark.parametrize(
    ("command", "out", "text"),
    [
        ("plot", "x.pdf", "must end in .png or .svg"),
        ("plot", "x", "must end in .png or .svg"),
        ("report", "x.pdf", "must end in .html or .htm (print the page in a browser for a PDF)"),
        ("report", "x", "must end in .html or .htm"),
        ("report", "no/such/x.html", "cannot be written"),
        ("plot", "no/such/x.png", "cannot be written"),
        ("report", "flight.csv", "is the flight itself and is not overwritten"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_sentence(
    command: str, out: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flight = tmp_path / "flight.csv"
    flight.write_text("t_s,voltage_v,current_a\n0,16.0,1.0\n", encoding="utf-8")
    flight.with_suffix(".json").write_text(SIDE, encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    assert main([command, str(flight), "-o", str(tmp_path / out)]) == 2
    assert text in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_is_checked_before_the_flight_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out, text in (("x.pdf", "must end in"), ("no/such/x.html", "cannot be written")):
        assert main(["report", str(tmp_path / "none.csv"), "-o", str(tmp_path / out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert text in line


def test_the_page_goes_to_stdout_for_a_dash(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "dronebms.cli", "report", str(FLIGHT), "-o", "-")
    page = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True).stdout  # noqa: S603 - our own
    assert page.startswith(b"<!")
    assert page.rstrip().endswith(b"</html>")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_missing_library_is_one_sentence_with_the_extra(library: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; from dronebms.cli.main import main; "
        f"sys.exit(main(['report', {str(FLIGHT)!r}, '-o', 'x.html']))"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        (sys.executable, "-c", code), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    start = f"dronebms: report needs {library}: {sys.executable} -m pip install "
    assert done.stderr.startswith(start)
    assert f"'{library}>=" in done.stderr.lower()
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_every_cell_has_a_colour_and_dash_of_its_own() -> None:
    (track,) = tracks(flown(60.0, cells=24))
    lines = re.findall(
        r'<path d="[^"]*" clip-path="[^"]*" style="fill: none; ([^"]*)"', stack(track).wide
    )
    strokes = {
        (re.search(r"stroke: (#\w+)", style), re.search(r"stroke-dasharray: [^;]*", style))
        for style in lines
    }
    found = {(a and a[1], b and b[0]) for a, b in strokes}
    assert len([one for one in found if one[0] is not None]) >= 24


def test_ids_of_a_page_are_unique_and_found() -> None:
    (track,) = tracks(flown(60.0))
    second = tracks(replace(report, index=1) for report in flown(60.0))
    text = page("two", [Flown(one, stack(one)) for one in (track, *second)])
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 8
    used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)
    assert {a or b for a, b in used} <= set(ids)


def test_the_data_of_the_script_are_those_of_the_flight() -> None:
    (track,) = tracks(flown(300.0))
    data = json.loads(stack(track).data)
    curves = {curve["label"]: curve["v"] for curve in data["curves"]}
    assert len(data["minutes"]) == len(curves["Current, drawn"]) <= 401
    assert curves["Current, drawn"][:3] == pytest.approx([20.0, 21.0, 22.0])
    assert curves["cell 6"][-1] == pytest.approx(track.column("cell 6")[-1], abs=0.06)
    assert [name for name, _ in data["spans"]] == ["armed", "mode AUTO", "low resting cell voltage"]
    assert data["spans"][2][1] == [[pytest.approx(100 / 60), pytest.approx(199 / 60)]]
    assert [text for _, text in data["marks"]] == ["armed", "mode AUTO", "disarmed"]


def test_a_name_in_the_data_cannot_end_the_script() -> None:
    (track,) = tracks(flown(60.0))
    track.phases = {"mode </script><b>": [[0.0, 10.0]]}
    shown = written(track)
    assert "b" not in shown.tags
    assert json.loads(shown.scripts[0])["spans"][0][0] == "mode </script><b>"
