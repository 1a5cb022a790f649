# SPDX-License-Identifier: Apache-2.0
"""The table of limits: rows for every pack, configured changes, and texts."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.chemistry import CHEMISTRIES, LIPO, Chemistry
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Severity
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.protection import limits
from dronebms.protection.limits import (
    Limit,
    LimitChange,
    changed_limits,
    default_limits,
    every_limit,
    limit_label,
)
from dronebms.protection.quantities import Quantities
from dronebms.protection.quantity_values import NOT_APPLICABLE
from tests.mutable_classes import mutable_classes
from tests.snapshots import FACTS, look

ROWS = {row.limit_id: row for row in default_limits(FACTS)}
QUANTITIES = {
    *Quantities(FACTS).update(look(0.0), Estimate(0.0), UNKNOWN_VEHICLE),
    "limp_margin_a",
}
QUANTITIES |= {"packs_missing", "modules_missing"}  # of several packs alone


def changed(*changes: LimitChange) -> dict[str, Limit]:
    return {row.limit_id: row for row in changed_limits(ROWS.values(), changes)}


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_every_row_can_trip_and_clear(chemistry: Chemistry) -> None:
    rows = default_limits(PackData(chemistry, cells=6, capacity_mah=5000.0))
    assert len({row.limit_id for row in rows}) == len(rows) == 70
    assert {row.quantity for row in rows} < QUANTITIES
    for row in rows:
        assert row.beyond(row.trip)
        assert row.recovered(row.clear)
        assert not row.recovered(row.trip)
        assert not row.beyond(row.clear)
        assert row.severity is not Severity.OK
        assert row.clear_s >= 2.0
        assert row.hold_s >= 1.0 or row.readings == 1
        assert row.recovered(NOT_APPLICABLE)
        assert not row.beyond(NOT_APPLICABLE)


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_of_rows_on_one_quantity_the_worse_trips_later(chemistry: Chemistry) -> None:
    rows = default_limits(PackData(chemistry, cells=6, capacity_mah=5000.0))
    for mild in rows:
        for grave in rows:
            same = (mild.quantity, mild.rising) == (grave.quantity, grave.rising)
            if same and mild.severity < grave.severity:
                assert mild.beyond(grave.trip), f"{grave.limit_id} before {mild.limit_id}"


def test_the_users_cut_off_moves_every_row_of_the_cells() -> None:
    rows = {
        row.limit_id: row.trip for row in default_limits(PackData(LIPO, cells=4, cutoff_cell_v=3.5))
    }
    assert rows["cell_critical"] == 3.5
    assert rows["cell_low"] == pytest.approx(3.8)
    assert rows["cell_sag"] == pytest.approx(3.7)
    assert rows["cell_emergency"] == pytest.approx(3.3)
    assert rows["pack_low"] == 14.0


def test_rows_that_would_be_a_guess_are_left_out() -> None:
    unknown = {row.limit_id for row in default_limits(PackData(LIPO))}
    known = {row.limit_id: row.quantity for row in ROWS.values() if row.limit_id not in unknown}
    assert set(known.values()) == {
        "voltage_v", "current_2s_a", "current_10s_a", "current_60s_a", "heat_a", "charge_a",
        "idle_mah",
    }  # fmt: skip
    assert every_limit().keys() == ROWS.keys()


def test_severities_have_the_names_of_the_files() -> None:
    labels = [severity.label for severity in sorted(Severity)]
    assert labels == ["ok", "info", "warning", "critical", "emergency"]


# ---------------------------------------------------------------------- changes


def test_nothing_changes_without_a_change() -> None:
    assert changed() == ROWS
    assert changed(LimitChange("hot")) == ROWS


def test_a_change_changes_its_row_and_no_other() -> None:
    change = LimitChange("hot", 55.0, 50.0, 7.0, 8.0, Severity.CRITICAL)
    rows = changed(change)
    hot = rows.pop("hot")
    assert (hot.trip, hot.clear, hot.hold_s, hot.clear_s) == (55.0, 50.0, 7.0, 8.0)
    assert hot.severity is Severity.CRITICAL
    assert hot.trip_text == ROWS["hot"].trip_text
    assert rows == {key: row for key, row in ROWS.items() if key != "hot"}


def test_the_order_of_the_table_stays() -> None:
    assert list(changed(LimitChange("charge_low", trip=30.0))) == list(ROWS)


@given(
    limit_id=st.sampled_from(sorted(ROWS)),
    trip=st.floats(-1000, 1000, allow_nan=False),
)
def test_a_trip_alone_moves_clear_along(limit_id: str, trip: float) -> None:
    before = ROWS[limit_id]
    (after,) = changed_limits([before], [LimitChange(limit_id, trip=trip)])
    assert after.trip == trip
    assert after.clear - after.trip == pytest.approx(before.clear - before.trip)
    assert after.rising is before.rising


@pytest.mark.parametrize("limit_id", sorted(ROWS))
def test_a_row_that_could_never_clear_is_refused(limit_id: str) -> None:
    row = ROWS[limit_id]
    worse = row.trip + (1.0 if row.rising else -1.0)
    side = "below" if row.rising else "above"
    for clear in (row.trip, worse):
        with pytest.raises(ConfigError, match=f"'{limit_id}': clear .* must be {side} trip"):
            changed(LimitChange(limit_id, clear=clear))
    with pytest.raises(ConfigError, match=side):
        changed(LimitChange(limit_id, trip=5.0, clear=6.0 if row.rising else 4.0))


def test_a_change_of_a_row_that_this_pack_lacks_is_ignored() -> None:
    rows = default_limits(PackData(LIPO))
    assert changed_limits(rows, [LimitChange("current_60s", trip=10.0)]) == rows


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (LimitChange("hot", trip=61.0), "'hot_critical' is critical and trips at 60, before 'hot'"),
        (LimitChange("cell_sag", trip=3.2), "'cell_critical' .* at 3.3, before 'cell_sag'"),
        (LimitChange("cell_critical", trip=3.0), "'cell_emergency'"),
        (LimitChange("charge_critical", trip=15.0, clear=16.0), "before 'charge_low'"),
        (LimitChange("current_10s", trip=160.0), "above 'current_2s' with 150 A over a shorter"),
        (LimitChange("current_60s", trip=101.0), "above 'current_10s'|before 'current_60s'"),
    ],
)
def test_rows_that_contradict_each_other_are_refused_with_the_reason(
    change: LimitChange, why: str
) -> None:
    if change.limit_id == "charge_critical":
        assert changed(change)  # both at once is no contradiction
        change = LimitChange("charge_critical", trip=16.0)
    with pytest.raises(ConfigError, match=why):
        changed(change)


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_the_default_table_has_no_contradiction(chemistry: Chemistry) -> None:
    pack_data = PackData(chemistry, cells=6, capacity_mah=5000.0, continuous_c=25.0, burst_c=50.0)
    rows = default_limits(pack_data)
    assert changed_limits(rows, [LimitChange(row.limit_id, trip=row.trip) for row in rows]) == rows
    tiers = [row.severity for row in rows if row.quantity == "lowest_cell_v"]
    assert tiers == [Severity.WARNING, Severity.CRITICAL, Severity.EMERGENCY]


def test_a_configured_rating_replaces_the_chemistrys() -> None:
    pack_data = PackData(LIPO, cells=6, capacity_mah=5000.0, continuous_c=25.0, burst_c=50.0)
    rows = {row.limit_id: row.trip for row in default_limits(pack_data)}
    found = [rows[key] for key in ("current_2s", "current_10s", "current_60s", "heat")]
    assert found == [375.0, 250.0, 125.0, 131.25]


# ---------------------------------------------------------------------- texts

STATUSTEXT_BYTES = 50
# The gauge's own sentences may be longer.
GAUGE_REASONS = {
    "implausible", "contradiction", "mismatch", "alert", "tripped", "charge_tripped", "failed",
}  # fmt: skip
REASONS = {
    "blind": "current/temperature/cells",
    "pack_missing": "2, 3",
    "module_missing": "2, 3",
    "home_turn": "turn back: 1234 s to spare",
    "alternate": "rally point 12 in reach, RTL goes there",
    "mission_marginal": "needs 123.4 of 123.3 Ah (5 %)",
    "mission_no": "needs 123.4 of 123.3 Ah",
}
SIGNED = {"warming_k", "limp_margin_a"}
LARGE_PACK = PackData(LIPO, cells=14, capacity_mah=30_000.0)
LARGE = {row.limit_id: row for row in default_limits(LARGE_PACK)}


def values_near(row: Limit) -> list[float]:
    """Values at which the row may trip or clear."""
    signed = row.quantity.startswith("current_") or row.quantity in SIGNED
    below = [row.trip - 60.0, -0.004] if signed or row.quantity.endswith(("_s", "_degc")) else []
    return [row.trip, row.clear, 1.3 * row.trip, 0.0, *below]


@pytest.mark.parametrize("limit_id", sorted(LARGE))
@pytest.mark.parametrize("tripped", [True, False], ids=["trips", "clears"])
def test_a_pilot_text_fits_one_statustext_and_reads_well(limit_id: str, tripped: bool) -> None:  # noqa: FBT001 - a parameter
    for row in (ROWS[limit_id], LARGE[limit_id]):
        for value in values_near(row):
            text = row.text(value, tripped=tripped, cell=14, reason=REASONS.get(limit_id, ""))
            assert len(text.encode("ascii")) <= STATUSTEXT_BYTES, text
            assert not re.search(r"-\d+ (s|h)\b|-0(\.0*)?\b", text), text
            assert not re.search(r"[_{}]", text)
            assert limit_id not in text.lower().split()[1:] or limit_id in row.label, text
            state = text.split(": ")[0]
            assert state == (row.state if tripped else "CLEARED")


def test_a_pilot_text_has_state_quantity_value_and_limit_in_this_order() -> None:
    texts = {
        "cell_sag": (3.42, "LOW: cell 3 3.42 V <= 3.50 V under load"),
        "current_60s_critical": (120.4, "CRITICAL: 60 s mean 120 A >= 65 A"),
        "hot": (52.0, "HIGH: pack 52 degC >= 50 degC"),
        "cold": (-0.3, "LOW: pack 0 degC <= 0 degC"),
        "time_critical": (-0.0, "CRITICAL: flight time left 0 s <= 60 s"),
        "home_soon": (60.0, "INFO: turn back within 60 s"),
        "home_turn": (0.0, "WARNING: home marginal, temperature"),
        "home_now": (-8.0, "CRITICAL: home NO, 8 s short, return now"),
        "home_lost": (-8.0, "EMERGENCY: home out of reach, 8 s short (95 %)"),
        "limp_home": (-3.2, "CRITICAL: available current 3 A below limp-home"),
        "heat": (63.1, "HIGH: thermal load 63.1 A >= 52.5 A"),
        "stored_full": (86_400.0, "INFO: above 80 % SoC for 24 h, store at 50 %"),
        "charging_long": (14_400.0, "HIGH: charging for 4.0 h >= 4.0 h"),
        "blind": (10.0, "WARNING: temperature unknown 10 s"),
    }
    for limit_id, (value, text) in texts.items():
        assert ROWS[limit_id].text(value, tripped=True, cell=3, reason="temperature") == text
    cleared = {
        "cell_sag": (3.6, "CLEARED: cell 3 3.60 V"),
        "current_60s": (23.0, "CLEARED: 60 s mean 23 A"),
        "silent": (0.0, "CLEARED: gauge data received"),
    }
    for limit_id, (value, text) in cleared.items():
        assert ROWS[limit_id].text(value, tripped=False, cell=3) == text
    charging = ROWS["charging_cold"].text(NOT_APPLICABLE, tripped=False)
    assert charging == "CLEARED: charging temperature"


@pytest.mark.parametrize("limit_id", sorted(GAUGE_REASONS))
def test_a_text_with_the_gauges_reasons_fits_but_for_the_reasons(limit_id: str) -> None:
    row = ROWS[limit_id]
    text = row.text(1.0, tripped=True, reason="REASON")
    assert text.endswith("REASON")
    assert len(text) <= STATUSTEXT_BYTES - len("CUV") + len("REASON")


def test_a_configured_severity_is_the_state_of_the_text() -> None:
    row = changed(LimitChange("idle", severity=Severity.EMERGENCY))
    assert row["idle"].state == "EMERGENCY"


def test_every_limit_has_a_label_of_its_own() -> None:
    labels = [row.label for row in ROWS.values()]
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 32 and "_" not in label for label in labels)
    assert limit_label("cell_critical") == "cell voltage at cut-off"
    assert limit_label("of_another_version") == "of another version"


# ---------------------------------------------------------------------- what users read


def published() -> dict[str, list[str]]:
    """Cells of each row of docs/reference/limits.md, which is for a pack of six lipo cells."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"
    rows = [
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    return {cells[0].strip("`"): cells[1:] for cells in (row[2:-2].split(" | ") for row in rows)}


def number(text: str) -> float:
    """The number of a published value: `temperature_degc` >= 75 degC."""
    found = re.search(r"(?:[<>]= |^)(-?[0-9 ]*[0-9](?:[.][0-9]+)?)", text)
    assert found is not None, text
    return float(found[1].replace(" ", ""))


def test_every_limit_has_the_thresholds_and_times_that_its_users_read() -> None:
    for limit_id, (severity, _, trips, hold, clears, clear, bits) in published().items():
        row = ROWS[limit_id]
        assert severity == row.severity.label, limit_id
        assert f"`{row.quantity}`" in trips, limit_id
        assert (">=" in trips) == row.rising, limit_id
        assert number(trips) == pytest.approx(row.trip, abs=1e-9), limit_id
        assert (number(hold), number(clear)) == (row.hold_s, row.clear_s), limit_id
        assert (clears == "latched in flight") == row.latch, limit_id
        if not row.latch:
            assert number(clears) == pytest.approx(row.clear, abs=1e-9), limit_id
        assert int(bits.strip() or 0) == row.fault_bits, limit_id


def test_the_published_limits_are_all_there_are() -> None:
    assert set(published()) == set(ROWS)


@pytest.mark.parametrize(
    ("bit", "fault"),
    [
        (limits.DEEP_DISCHARGE, mavlink.MAV_BATTERY_FAULT_DEEP_DISCHARGE),
        (limits.CELL_FAIL, mavlink.MAV_BATTERY_FAULT_CELL_FAIL),
        (limits.OVER_CURRENT, mavlink.MAV_BATTERY_FAULT_OVER_CURRENT),
        (limits.OVER_TEMPERATURE, mavlink.MAV_BATTERY_FAULT_OVER_TEMPERATURE),
        (limits.UNDER_TEMPERATURE, mavlink.MAV_BATTERY_FAULT_UNDER_TEMPERATURE),
        (limits.INCOMPATIBLE, mavlink.BATTERY_FAULT_INCOMPATIBLE_CELLS_CONFIGURATION),
    ],
)
def test_a_fault_bit_is_mavlinks(bit: int, fault: int) -> None:
    assert bit == fault


def test_nothing_but_the_row_of_an_alarm_changes_after_it_was_made() -> None:
    assert mutable_classes("dronebms.protection") == {"LimitRow"}
