# SPDX-License-Identifier: Apache-2.0
"""Plausible thresholds: every default is one, for every chemistry and number of cells."""

from dataclasses import replace

import pytest

from dronebms.core.chemistry import CHEMISTRIES, LIPO, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.core.report import Severity
from dronebms.protection.limits import default_limits, every_limit
from dronebms.protection.quantity_values import QuantityName
from dronebms.protection.trip_ranges import (
    TRIP_RANGES,
    implausible_clear,
    implausible_limits,
    implausible_trip,
    sound_values,
    too_mild,
)

PACKS = [
    PackData(chemistry, cells=cells, capacity_mah=capacity_mah)
    for chemistry in CHEMISTRIES
    for cells, capacity_mah in ((None, None), (1, 300.0), (3, 850.0), (6, 16e3), (14, 60e3))
]


def test_every_quantity_of_the_table_has_a_range() -> None:
    assert {row.quantity for row in every_limit().values()} == set(TRIP_RANGES)


@pytest.mark.parametrize("pack_data", PACKS, ids=lambda one: f"{one.chemistry.name}-{one.cells}S")
def test_no_default_is_implausible(pack_data: PackData) -> None:
    limits = default_limits(pack_data)
    for row in limits:
        assert implausible_trip(row.limit_id, row.trip) is None, row
        assert implausible_clear(row.limit_id, row.clear) is None, row
    assert list(implausible_limits(limits, pack_data)) == []


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_a_milli_is_never_plausible_where_the_whole_unit_is(chemistry: Chemistry) -> None:
    pack_data = PackData(chemistry, cells=6, capacity_mah=16_000.0)
    for row in default_limits(pack_data):
        if row.quantity.endswith("_v") and row.quantity != "charge_above_v":
            wrong = implausible_trip(row.limit_id, 1000.0 * row.trip)
            assert wrong is not None
            assert f"then write {row.trip:.5g})" in wrong


# Least and greatest threshold that makes sense for some pack or vehicle.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("resting_cell_v", "lowest_cell_v", "highest_cell_v"), (1.5, 4.8)),
    "voltage_v": (1.5, 32 * 4.8),  # the most cells of any source
    **dict.fromkeys(("spread_rest_v", "spread_load_v", "spread_charge_v"), (0.005, 1.0)),
    **dict.fromkeys(("temperature_degc", "charging_degc"), (-40.0, 100.0)),
    "fet_degc": (0.0, 175.0),
    "warming_k": (0.5, 100.0),
    "silence_s": (1.0, 60.0),
    "blind_s": (1.0, 300.0),
    **dict.fromkeys(
        (
            "doubts", "disputes", "other_pack", "mismatches", "stop_alarm", "hot_alarm", "alerts",
            "tripped", "charge_tripped", "failed", "packs_missing", "modules_missing", "alternates",
        ),
        (1.0, 16.0),
    ),
    **dict.fromkeys(
        ("beyond_a", "current_2s_a", "current_10s_a", "current_60s_a", "heat_a", "charge_a"),
        (0.01, 5000.0),
    ),
    **dict.fromkeys(("soc_pct", "soh_pct"), (1.0, 99.0)),
    **dict.fromkeys(("remaining_s", "remaining_low_s", "remaining_high_s"), (5.0, 7200.0)),
    **dict.fromkeys(
        ("turn_back_in_s", "home_reserve_s", "home_margin_s", "home_best_s"), (-600.0, 7200.0)
    ),
    "mission_risk": (1.0, 2.0),
    "limp_margin_a": (-200.0, 500.0),
    **dict.fromkeys(("stored_s", "charge_s"), (600.0, 2_592_000.0)),  # ten minutes to 30 days
    "charge_request_frac": (1.0, 3.0),
    "charge_above_v": (0.01, 5.0),
    "idle_mah": (5.0, 655_340.0),
}  # fmt: skip
LIMIT_OF = {row.quantity: row.limit_id for row in every_limit().values()}


@pytest.mark.parametrize("quantity", sorted(TRIP_RANGES))
def test_a_threshold_is_plausible_from_the_least_to_the_greatest_value(
    quantity: QuantityName,
) -> None:
    least, most = RANGES[quantity]
    limit_id = LIMIT_OF[quantity]
    for value in (least, (least + most) / 2, most):
        assert implausible_trip(limit_id, value) is None
        assert implausible_clear(limit_id, value) is None
    step = 1e-6 * max(abs(least), abs(most), 1.0)
    for value in (least - step, most + step):
        wrong = implausible_trip(limit_id, value)
        assert wrong is not None
        assert wrong.startswith(f"{least:g} to {most:g}")
        assert (implausible_clear(limit_id, value) is None) == (value == 0.0)
    assert implausible_clear(limit_id, 0.0) is None  # the end of every count and duration


@pytest.mark.parametrize(
    ("quantity", "value", "meant"),
    [
        ("lowest_cell_v", 3300.0, "millivolts? then write 3.3"),
        ("spread_load_v", 100.0, "millivolts? then write 0.1"),
        ("temperature_degc", 333.15, "kelvin? then write 60"),
        ("temperature_degc", 3331.5, "0.1 kelvin, as the gauge sends it? then write 60"),
        ("temperature_degc", 140.0, "degrees Fahrenheit? then write 60"),
        ("fet_degc", 373.15, "kelvin? then write 100"),
        ("fet_degc", 3731.5, "0.1 kelvin, as the gauge sends it? then write 100"),
        ("current_10s_a", 60_000.0, "milliamperes? then write 60"),
        ("soc_pct", 0.15, "a fraction? then write 15"),
        ("remaining_s", 2.0, "minutes? then write 120"),
        ("remaining_s", 120_000.0, "milliseconds? then write 120"),
        ("home_reserve_s", 30_000.0, "milliseconds? then write 30"),
        ("silence_s", 2000.0, "milliseconds? then write 2"),
        ("blind_s", 10_000.0, "milliseconds? then write 10"),
        ("stored_s", 24.0, "hours? then write 86400"),
        ("stored_s", 0.5, "hours? then write 1800"),
        ("charge_request_frac", 110.0, "percent? then write 1.1"),
        ("charge_above_v", 250.0, "millivolts? then write 0.25"),
        ("idle_mah", 1.6, "ampere-hours? then write 1600"),
        ("limp_margin_a", 2000.0, "milliamperes? then write 2"),
    ],
)
def test_the_unit_that_was_meant_is_named(quantity: QuantityName, value: float, meant: str) -> None:
    wrong = implausible_trip(LIMIT_OF[quantity], value)
    assert wrong is not None
    assert f"(in {meant})" in wrong


SIX = PackData(LIPO, cells=6, capacity_mah=10_000.0, hover_a=20.0)


def complaints(limit_id: str, trip: float, pack_data: PackData = SIX) -> list[str]:
    """Sentences about one limit with another threshold."""
    rows = [row for row in default_limits(pack_data) if row.limit_id == limit_id]
    moved = [replace(row, trip=trip, clear=trip + row.clear - row.trip) for row in rows]
    return list(implausible_limits(moved, pack_data))


@pytest.mark.parametrize(
    ("limit_id", "least", "most"),
    [
        ("cell_critical", LIPO.ocv_v[0] - 0.8, None),
        ("pack_low", 6 * (LIPO.ocv_v[0] - 0.8), None),
        ("current_10s", 0.2, 8000.0),  # 0.02 to 800 C of 10 Ah
        ("charging_fast", 0.2, 8000.0),
    ],
)
def test_a_threshold_of_a_pack_has_a_narrower_range(
    limit_id: str, least: float, most: float | None
) -> None:
    assert complaints(limit_id, least) == []
    (sentence,) = complaints(limit_id, least - 1e-3)
    assert sentence.startswith(f"limit {limit_id!r}: expected trip of {least:g} to")
    if most is not None:
        assert complaints(limit_id, most) == []
        assert len(complaints(limit_id, most + 1.0)) == 1


def test_a_threshold_of_one_cell_for_the_pack_is_named() -> None:
    (sentence,) = complaints("pack_low", 3.3)
    assert "volts of a cell? then write 19.8" in sentence
    assert "V of 6 cells" in sentence


@pytest.mark.parametrize(
    ("limit_id", "at_v", "state"),
    [
        ("cell_critical", LIPO.ocv_v[10], "half full"),
        ("cell_high", LIPO.ocv_v[-1], "full"),
    ],
)
def test_a_limit_that_a_sound_pack_trips_is_named_with_its_state(
    limit_id: str, at_v: float, state: str
) -> None:
    rising = state == "full"
    assert complaints(limit_id, at_v + (0.001 if rising else -0.001)) == []
    (sentence,) = complaints(limit_id, at_v)
    assert sentence == (
        f"limit {limit_id!r} trips at {at_v:g}: a sound {state} lipo pack at rest has {at_v:.4g}"
    )


def test_a_sound_pack_is_at_room_temperature_full_or_half_full() -> None:
    full, half = sound_values(SIX)["full"], sound_values(SIX)["half full"]
    for values, cell_v in ((full, LIPO.ocv_v[-1]), (half, LIPO.ocv_v[10])):
        assert {values[name] for name in ("resting_cell_v", "lowest_cell_v", "highest_cell_v")} == {
            cell_v
        }
        assert values["voltage_v"] == pytest.approx(6 * cell_v)
        assert (values["temperature_degc"], values["fet_degc"]) == (25.0, 25.0)
        assert (values["soh_pct"], values["silence_s"], values["blind_s"]) == (100.0, 0.0, 0.0)
    assert full["soc_pct"] == 100.0
    assert full["remaining_s"] == full["remaining_low_s"] == 1800.0  # 10 Ah at 20 A
    assert "soc_pct" not in half
    assert "remaining_s" not in half
    unknown = sound_values(PackData(LIPO))["full"]
    assert "voltage_v" not in unknown
    assert "remaining_s" not in unknown


@pytest.mark.parametrize("severity", list(Severity))
def test_a_critical_limit_may_become_a_warning_and_no_less(severity: Severity) -> None:
    for row in every_limit().values():
        hides = row.severity >= Severity.CRITICAL and severity in (Severity.OK, Severity.INFO)
        assert too_mild(row, severity) == hides
