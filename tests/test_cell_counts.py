# SPDX-License-Identifier: Apache-2.0
"""Every place that carries cells carries any number of them, or states that it cannot."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report
from dronebms.flightlogs import FlightOptions, FlightSource, read_csv_log
from dronebms.recording.records import Shown, record_of, text_of
from dronebms.service.config.battery_config import BatteryConfig
from dronebms.telemetry import json_line
from dronebms.telemetry.openmetrics import _samples
from dronebms.terminal.layout import View, render
from dronebms.terminal.lines import Canvas
from mavlink_bridge.protocol.battery_sample import sample_of
from mavlink_bridge.protocol.messages import CELLS_MAX, battery_status
from smartbattery.snapshot import MAX_CELLS, Snapshot
from tests.mavlink_bridge.consumers import ground_station, px4
from tests.scenes import LINK
from tests.snapshots import look, watched

COUNTS = range(1, MAX_CELLS + 1)
EVERY = pytest.mark.parametrize("cells", COUNTS)
NOT_A_CELL_MV = 5000


def seen(t_s: float, cells: int) -> Snapshot:
    """Cells of different voltages; the last one is the weakest, and below every limit."""
    volts = [3.9 + 0.001 * k for k in range(cells - 1)]
    snapshot = look(t_s, cells=cells)
    return replace(snapshot, cells_v=(*volts, 3.1), voltage_v=sum(volts) + 3.1)


@cache
def reports_of(cells: int) -> list[Report]:
    """Some seconds of flight."""
    facts = PackData(LIPO, cells=cells, capacity_mah=5000.0)
    return watched([seen(step / 2, cells) for step in range(20)], facts)


def report_of(cells: int) -> Report:
    return reports_of(cells)[-1]


@EVERY
def test_the_weakest_cell_of_any_pack_is_judged(cells: int) -> None:
    report = report_of(cells)
    assert report.snapshot.cells_v == seen(9.5, cells).cells_v
    assert report.snapshot.lowest_cell() == (cells - 1, 3.1)
    texts = [event.text for one in reports_of(cells) for event in one.status.events]
    assert any(f"cell {cells} 3.10 V <= " in text for text in texts)


@EVERY
def test_a_configuration_a_line_and_the_metrics_carry_every_cell(cells: int) -> None:
    assert BatteryConfig(bus="mavlink:0", cells=cells).pack_data().cells == cells
    line = json_line.line(report_of(cells))
    assert line["cells_v"] == [round(v, 3) for v in seen(9.5, cells).cells_v if v is not None]
    shown = [labels for name, labels, _ in _samples(report_of(cells), 9.5) if name == "cell_volts"]
    assert shown == [(str(number),) for number in range(1, cells + 1)]


@EVERY
def test_a_recording_carries_every_cell(cells: int) -> None:
    shown = Shown(0, seen(1.0, cells))
    assert record_of(text_of(shown), "here") == shown


@EVERY
def test_a_flight_carries_every_cell(tmp_path: Path, cells: int) -> None:
    rows = [seen(t_s, cells) for t_s in range(3)]
    names = ("t_s", "voltage_v", "current_a", *(f"cell{k + 1}_v" for k in range(cells)))
    lines = [(s.t_s, s.voltage_v, s.current_a, *s.cells_v) for s in rows]
    path = tmp_path / "flight.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in (names, *lines)))
    source = FlightSource(read_csv_log(path, options=FlightOptions(cells=cells, chemistry="lipo")))
    assert source.poll(2.0).cells_v == rows[2].cells_v


@pytest.mark.parametrize("cells_max", [10, CELLS_MAX])
@EVERY
def test_mavlink_carries_every_cell_or_the_voltage_of_the_pack(cells: int, cells_max: int) -> None:
    snapshot = seen(9.5, cells)
    message = battery_status(report_of(cells), cells_max=cells_max)
    assert ground_station(message).voltage_v == pytest.approx(snapshot.voltage_v, abs=0.02)
    if cells_max == 10:
        assert px4(message).voltage_v == pytest.approx(snapshot.voltage_v, abs=0.02)
    sent_mv = [mv for mv in message.voltages if mv != 0xFFFF]
    sent_mv += [mv for mv in message.voltages_ext if mv]
    if cells <= cells_max:
        assert len(sent_mv) == cells
        assert min(sent_mv) == 3100
    else:
        # A part of the cells would be another pack voltage, and might lack the weakest one.
        assert max(sent_mv) > NOT_A_CELL_MV
        assert sample_of(message).cells_v == ()


@EVERY
def test_a_stale_cell_of_any_pack_is_marked(cells: int) -> None:
    report = report_of(cells)
    read_at_s = {**report.snapshot.read_at_s, f"cell{cells}_v": 8.0}
    late = replace(report, snapshot=replace(report.snapshot, read_at_s=read_at_s))
    console = Console(width=140, height=40, color_system=None)
    view = View(LINK, "", "cells")
    drawn = render([late], (), canvas=Canvas(140, 40), view=view)
    lines = ["".join(part.text for part in line) for line in console.render_lines(drawn)]
    assert sum("STALE" in line for line in lines) == 1


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
@EVERY
def test_a_screen_shows_the_weakest_cell_of_any_pack(cells: int, width: int, height: int) -> None:
    console = Console(width=width, height=height, color_system=None)
    for page in ("", "cells"):
        view = View(LINK, "", page)
        drawn = render([report_of(cells)], (), canvas=Canvas(width, height), view=view)
        lines = ["".join(part.text for part in line) for line in console.render_lines(drawn)]
        assert any(f" {cells:>2}  3.10" in line for line in lines)
        if page == "":
            assert any("no alarms" in line for line in lines)  # the newest event has its line
