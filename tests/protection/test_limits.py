"""The protection table: rows that make sense for every pack, and changes that may be made."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dronebms.core.chemistry import CHEMISTRIES, LIPO, Chemistry
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Severity
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.protection.limits import (
    Limit,
    LimitChange,
    changed_limits,
    default_limits,
    every_limit,
)
from dronebms.protection.quantities import Quantities
from tests.looks import FACTS, look

ROWS = {row.limit_id: row for row in default_limits(FACTS)}
QUANTITIES = {
    *Quantities(FACTS).update(look(0.0), Estimate(0.0), UNKNOWN_VEHICLE),
    "limp_margin_a",
    "home_left_s",
}
QUANTITIES |= {"packs_missing", "modules_missing"}  # of several packs alone


def changed(*changes: LimitChange) -> dict[str, Limit]:
    return {row.limit_id: row for row in changed_limits(ROWS.values(), changes)}


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_every_row_can_trip_clear_and_say_so(chemistry: Chemistry) -> None:
    rows = default_limits(PackData(chemistry, cells=6, capacity_mah=5000.0))
    assert len({row.limit_id for row in rows}) == len(rows) == 65
    assert {row.quantity for row in rows} < QUANTITIES
    for row in rows:
        assert row.beyond(row.trip)
        assert row.recovered(row.clear)
        assert not row.recovered(row.trip)
        assert not row.beyond(row.clear)
        assert row.severity is not Severity.OK
        assert row.clear_s >= 2.0
        assert row.hold_s >= 1.0 or row.readings == 1
        assert "{" not in row.text.format(value=12.3, trip=4.5, cell=6, why="so")
        assert row.recovered(math.nan)
        assert not row.beyond(math.nan)


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


def test_severities_are_called_as_the_files_call_them() -> None:
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
    assert hot.text == ROWS["hot"].text
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


def test_a_change_of_a_row_that_this_pack_has_not_is_kept_for_another() -> None:
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
def test_the_table_as_shipped_contradicts_itself_nowhere(chemistry: Chemistry) -> None:
    pack_data = PackData(chemistry, cells=6, capacity_mah=5000.0, continuous_c=25.0, burst_c=50.0)
    rows = default_limits(pack_data)
    assert changed_limits(rows, [LimitChange(row.limit_id, trip=row.trip) for row in rows]) == rows
    tiers = [row.tier for row in rows if row.quantity == "lowest_cell_v"]
    assert tiers == ["recommended", "maximum", "safety"]


def test_what_a_maker_rates_a_pack_for_comes_before_what_is_usual() -> None:
    pack_data = PackData(LIPO, cells=6, capacity_mah=5000.0, continuous_c=25.0, burst_c=50.0)
    rows = {row.limit_id: row.trip for row in default_limits(pack_data)}
    found = [rows[key] for key in ("current_2s", "current_10s", "current_60s", "heat")]
    assert found == [375.0, 250.0, 125.0, 131.25]
