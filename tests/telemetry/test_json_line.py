# SPDX-License-Identifier: Apache-2.0
"""The predictions contract: keys, rounding, valid JSON, and when a line is due."""

import json
import math
import re
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import OncePerSecond
from dronebms.core.pack_data import PackData
from dronebms.core.report import (
    CellState,
    Estimate,
    PackState,
    Report,
    Severity,
    Status,
    Verdict,
)
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.telemetry import json_line
from smartbattery.snapshot import Snapshot

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json.md"
CONTRACT = [
    "t_s", "soc_pct", "soh_pct", "remaining_s", "remaining_low_s", "remaining_high_s",
    "home_s", "home_reserve_s", "turn_back_in_s", "home_verdict", "mission_verdict",
    "verdict_missing", "mission_end_pct", "mission_end_low_pct", "resistance_ohm",
    "max_discharge_a", "max_discharge_2s_a", "max_discharge_30s_a", "asked_max_a",
    "limited_by", "severity", "active", "armed",
]  # fmt: skip


def report(
    estimate: Estimate | None = None,
    snapshot: Snapshot | None = None,
    status: Status | None = None,
    vehicle: VehicleState = UNKNOWN_VEHICLE,
) -> Report:
    return Report(
        t_s=12.5,
        index=0,
        pack_data=PackData(LIPO, cells=2),
        snapshot=snapshot or Snapshot(12.5),
        vehicle=vehicle,
        estimate=estimate or Estimate(12.5),
        status=status or Status(12.5),
    )


def test_the_keys_of_the_contract_come_first_in_its_order() -> None:
    assert list(json_line.line(report()))[: len(CONTRACT)] == CONTRACT


def test_every_key_stands_on_the_page_of_the_contract_and_no_other() -> None:
    line = json_line.line(report(Estimate(12.5, state=PackState(cells=(CellState(),)))))
    keys = {*line, *(row.name for row in fields(CellState))}
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    documented = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows)))
    documented |= set(
        re.findall(r"`(\w+)`", next(row for row in rows if row.startswith("| `cells`")))
    )
    assert documented == keys


def test_unknown_is_null_and_nothing_else_is() -> None:
    line = json.loads(json_line.text(report()))
    assert {key for key, value in line.items() if value is not None} == {
        "t_s", "severity", "active", "battery", "cells_v", "doubts", "go", "charger",
        "advice", "weakest", "cells", "home_verdict", "mission_verdict", "telemetry_links",
    }  # fmt: skip
    assert not any(line["weakest"].values())


def test_a_line_has_the_values_of_the_stages_rounded() -> None:
    line = json_line.line(
        report(
            Estimate(
                12.5,
                soc_pct=61.23456,
                remaining_s=300.04,
                remaining_low_s=200.0,
                remaining_high_s=420.16,
                resistance_ohm=0.0123456,
                max_discharge_2s_a=99.999,
                home_reserve_s=-0.04,
                home_margin_s=95.26,
                home_best_s=300.0,
                home_verdict=Verdict.MARGINAL,
                mission_verdict=Verdict.NO,
                verdict_missing="wind",
                mission_s=600.04,
                mission_end_pct=-1.234,
                mission_end_low_pct=-9.876,
                mission_needs_mah=14_100.04,
                usable_mah=14_000.0,
                usable_low_mah=13_200.0,
                last_home_item=9,
                alternate="rally point 2",
                alternate_by_return=False,
            ),
            Snapshot(
                12.5,
                voltage_v=7.4004,
                current_a=-1.23456,
                cells_v=(3.7, None),
                read_at_s={"voltage_v": 12.25},
            ),
            Status(12.5, Severity.WARNING, ("cell_low",), "cell_low", 30.04, asked_max_a=20.0),
            VehicleState(armed=True),
        )
    )
    expected = {
        "t_s": 12.5, "soc_pct": 61.23, "remaining_s": 300.0, "remaining_low_s": 200.0,
        "remaining_high_s": 420.2, "resistance_ohm": 0.012346, "max_discharge_2s_a": 100.0,
        "voltage_v": 7.4, "current_a": -1.23, "cells_v": [3.7, None], "age_s": 0.2,
        "severity": "warning", "active": ["cell_low"], "limited_by": "cell_low",
        "limited_in_s": 30.0, "asked_max_a": 20.0, "armed": True, "max_discharge_a": None,
        "home_margin_s": 95.3, "home_best_s": 300.0, "home_verdict": "marginal",
        "mission_verdict": "no", "verdict_missing": "wind", "mission_s": 600.0,
        "mission_end_pct": -1.23, "mission_end_low_pct": -9.88, "mission_needs_mah": 14_100.0,
        "usable_mah": 14_000.0, "usable_low_mah": 13_200.0, "last_home_item": 9,
        "alternate": "rally point 2", "alternate_by_return": False,
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    assert '"home_reserve_s":0.0,' in json_line.text(report(Estimate(1.0, home_reserve_s=-0.04)))


def test_a_line_is_one_line_without_spaces_between_its_keys() -> None:
    line = json_line.text(report(snapshot=Snapshot(12.5, trouble='a "b"\nc')))
    assert "\n" not in line
    assert line.startswith('{"t_s":12.5,"soc_pct":null,')


numbers = st.none() | st.floats()


@given(numbers, numbers, numbers)
def test_low_never_exceeds_the_median_nor_the_median_high(
    low_s: float | None, median_s: float | None, high_s: float | None
) -> None:
    estimate = Estimate(0.0, remaining_s=median_s, remaining_low_s=low_s, remaining_high_s=high_s)
    line = json.loads(json_line.text(report(estimate)), parse_constant=refuse)
    keys = ("remaining_low_s", "remaining_s", "remaining_high_s")
    known = [line[key] for key in keys if line[key] is not None]
    assert all(less <= more for less, more in pairwise(known))
    assert (line["remaining_s"] is not None) == (median_s is not None and math.isfinite(median_s))
    assert known == [] or line["remaining_s"] is not None


@given(st.data())
def test_every_number_gives_valid_json(data: st.DataObject) -> None:
    def drawn(kind: type) -> dict[str, float | None]:
        return {f.name: data.draw(numbers) for f in fields(kind) if f.type == float | None}

    cell = CellState(**drawn(CellState))
    state = PackState(cell, data.draw(numbers), data.draw(numbers), (cell, CellState()))
    numbered = drawn(Estimate)
    estimate = replace(Estimate(0.0), **numbered, state=state)  # type: ignore[arg-type]  # not t_s
    snapshot = Snapshot(
        0.0,
        voltage_v=data.draw(numbers),
        current_a=data.draw(numbers),
        cells_v=tuple(data.draw(st.lists(numbers, max_size=3))),
    )
    line = json.loads(json_line.text(report(estimate, snapshot)), parse_constant=refuse)
    plain = set(numbered) - {"remaining_s", "remaining_low_s", "remaining_high_s"}
    assert len(plain & set(CONTRACT)) == 11
    for key in plain & line.keys():
        value = getattr(estimate, key)
        assert (line[key] is None) == (value is None or not math.isfinite(value))


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


# When a line is due.


def due(times_s: list[float]) -> list[float]:
    each_second = OncePerSecond()
    return [t_s for t_s in times_s if each_second.due(t_s)]


def test_a_line_is_due_at_the_first_sample_at_or_after_each_whole_second_since_the_first() -> None:
    assert due([0.3, 0.9, 1.2, 1.3, 1.9, 2.4, 2.5, 3.3]) == [0.3, 1.3, 2.4, 3.3]


def test_a_second_is_counted_with_inexact_fractions() -> None:
    tenths = [0.3 + index / 10 for index in range(101)]
    assert due(tenths) == tenths[::10]


def test_a_jump_over_several_seconds_has_one_line() -> None:
    assert due([0.0, 4.7, 4.9, 5.0, 5.0, 5.9]) == [0.0, 4.7, 5.0]


@given(st.lists(st.integers(0, 5000), max_size=60), st.integers(-10_000, 2_000_000_000_000))
def test_every_second_with_a_sample_has_one_line(since_ms: list[int], first_ms: int) -> None:
    times_ms = [0, *sorted(since_ms)]
    lines = due([(first_ms + ms) / 1000 for ms in times_ms])
    firsts: dict[int, int] = {}
    for ms in times_ms:
        firsts.setdefault(ms // 1000, ms)
    assert lines == [(first_ms + ms) / 1000 for ms in firsts.values()]
