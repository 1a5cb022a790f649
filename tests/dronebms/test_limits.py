"""The protection table: rows that make sense for every pack, and changes that may be made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dronebms.battery import BatteryFacts
from dronebms.chemistry import CHEMISTRIES, LIPO, Chemistry
from dronebms.errors import ConfigError
from dronebms.limits import (
    Limit,
    LimitChange,
    Severity,
    changed_limits,
    default_limits,
    every_limit,
)
from dronebms.protection import QUANTITIES
from tests.looks import FACTS

ROWS = {row.limit_id: row for row in default_limits(FACTS)}
WINDOWS = {"current_2s_a", "current_10s_a", "current_60s_a"}


def changed(*changes: LimitChange) -> dict[str, Limit]:
    return {row.limit_id: row for row in changed_limits(ROWS.values(), changes)}


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_every_row_can_trip_clear_and_say_so(chemistry: Chemistry) -> None:
    rows = default_limits(BatteryFacts(chemistry, cells=6, capacity_mah=5000.0))
    assert len({row.limit_id for row in rows}) == len(rows) == 18
    for row in rows:
        assert row.what in QUANTITIES or row.what in {"silence_s", *WINDOWS}
        assert row.beyond(row.trip)
        assert row.recovered(row.clear)
        assert not row.recovered(row.trip)
        assert not row.beyond(row.clear)
        assert row.severity in {Severity.WARNING, Severity.CRITICAL, Severity.EMERGENCY}
        assert row.clear_s >= 2.0
        words = row.text.format(value=12.3, trip=4.5, cell=6)
        assert "{" not in words
        assert "12" in words


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_of_rows_on_one_quantity_the_worse_trips_later(chemistry: Chemistry) -> None:
    rows = default_limits(BatteryFacts(chemistry, cells=6, capacity_mah=5000.0))
    for mild in rows:
        for grave in rows:
            same = (mild.what, mild.rising) == (grave.what, grave.rising)
            if same and mild.severity < grave.severity:
                assert mild.beyond(grave.trip), f"{grave.limit_id} before {mild.limit_id}"


def test_the_users_cut_off_moves_every_row_of_the_cells() -> None:
    rows = {
        row.limit_id: row.trip
        for row in default_limits(BatteryFacts(LIPO, cells=4, cutoff_cell_v=3.5))
    }
    assert rows["cell_critical"] == 3.5
    assert rows["cell_low"] == pytest.approx(3.7)
    assert rows["cell_emergency"] == pytest.approx(3.3)
    assert rows["pack_low"] == 14.0


def test_rows_that_would_be_a_guess_are_left_out() -> None:
    unknown = {row.limit_id for row in default_limits(BatteryFacts(LIPO))}
    assert ROWS.keys() - unknown == {"pack_low", "current_2s", "current_10s", "current_60s"}
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
    before, after = ROWS[limit_id], changed(LimitChange(limit_id, trip=trip))[limit_id]
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
    rows = default_limits(BatteryFacts(LIPO))
    assert changed_limits(rows, [LimitChange("current_60s", trip=10.0)]) == rows
