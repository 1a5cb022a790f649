# SPDX-License-Identifier: Apache-2.0
"""Several packs as one supply: shares, sums, missing and outvoted packs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dronebms.core.chemistry import LIFEPO4
from dronebms.core.pack_data import PARALLEL, SERIES, TOPOLOGIES
from dronebms.core.report import Estimate, Report, Severity, Status, SupplyStatus, Verdict
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.monitoring.multi_pack import Supply
from dronebms.protection.quantities import mismatches
from smartbattery.snapshot import UNIDENTIFIED
from tests.snapshots import FACTS, look


def pack(
    index: int, current_a: float | None, most_a: float | None = 60.0, cell_v: float = 3.8
) -> Report:
    estimate = Estimate(0.0, max_discharge_a=most_a, remaining_s=600.0 + index)
    return Report(
        0.0, index, FACTS, look(0.0, cell_v, current_a), UNKNOWN_VEHICLE, estimate, Status(0.0)
    )


def silent_pack(report: Report) -> Report:
    return replace(report, snapshot=replace(report.snapshot, voltage_v=None, current_a=None))


def together(reports: Sequence[Report], topology: str = PARALLEL) -> SupplyStatus:
    return Supply((), topology).combined(reports)


def test_packs_side_by_side_give_as_much_as_the_first_of_them_allows() -> None:
    whole = together([pack(0, 30.0, 60.0), pack(1, 10.0, 60.0)])
    # The first carries three quarters: its 60 A are reached at 80 A in all, not at 120 A.
    assert whole.max_discharge_a == pytest.approx(80.0)
    assert (whole.current_a, whole.remaining_s) == (40.0, 600.0)
    assert (whole.severity, whole.missing) == (Severity.OK, ())
    at_rest = together([pack(0, 0.1, 60.0), pack(1, 0.0, 50.0)])
    assert at_rest.max_discharge_a == pytest.approx(100.0)  # without load the shares are equal


def test_a_lost_pack_takes_effect_in_the_same_step() -> None:
    packs = [pack(0, 20.0), pack(1, 20.0), pack(2, 20.0)]
    whole = together(packs)
    assert whole.max_discharge_a == pytest.approx(180.0)
    assert whole.remaining_s == 600.0
    less = together([packs[0], silent_pack(packs[1]), packs[2]])
    assert less.missing == (1,)
    assert less.severity is Severity.WARNING
    assert less.max_discharge_a == pytest.approx(120.0)
    assert less.remaining_s == pytest.approx(400.0)  # the load of three on two
    none = together([silent_pack(one) for one in packs])
    assert (none.severity, none.max_discharge_a) == (Severity.CRITICAL, None)


def test_in_series_the_weakest_limits_and_a_missing_one_leaves_no_current() -> None:
    packs = [pack(0, 20.0, 60.0), pack(1, 20.0, 45.0)]
    whole = together(packs, SERIES)
    assert (whole.current_a, whole.max_discharge_a, whole.remaining_s) == (20.0, 45.0, 600.0)
    lost = together([packs[0], silent_pack(packs[1])], SERIES)
    assert (lost.severity, lost.missing) == (Severity.CRITICAL, (1,))
    assert (lost.max_discharge_a, lost.remaining_s, lost.current_a) == (None, None, None)


def judged(
    index: int, home: Verdict, mission: Verdict = Verdict.UNKNOWN, margin_s: float = 250.0
) -> Report:
    """A pack with verdicts: 600 s left, of which the 5 % bound is 500 s."""
    one = pack(index, 20.0)
    estimate = replace(
        one.estimate,
        remaining_s=600.0,
        remaining_low_s=500.0,
        home_verdict=home,
        home_margin_s=margin_s,
        home_reserve_s=margin_s - 80.0,
        mission_verdict=mission,
        mission_needs_mah=3000.0,
        usable_mah=5000.0,
        usable_low_mah=4000.0,
    )
    return replace(one, estimate=estimate)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ((Verdict.YES, Verdict.YES), Verdict.YES),
        ((Verdict.YES, Verdict.MARGINAL), Verdict.MARGINAL),
        ((Verdict.NO, Verdict.MARGINAL), Verdict.NO),
        ((Verdict.YES, Verdict.UNKNOWN), Verdict.UNKNOWN),
        ((Verdict.UNKNOWN, Verdict.MARGINAL), Verdict.MARGINAL),
        ((Verdict.UNKNOWN, Verdict.NO), Verdict.NO),
    ],
)
def test_the_verdict_of_a_supply_is_the_worst_of_its_packs(
    verdicts: tuple[Verdict, ...], worst: Verdict, topology: str
) -> None:
    whole = together([judged(k, v, v) for k, v in enumerate(verdicts)], topology)
    assert (whole.home_verdict, whole.mission_verdict) == (worst, worst)


def test_a_lost_pack_worsens_the_verdict_in_the_same_step() -> None:
    for margin_s, verdict in ((500.0, Verdict.YES), (305.0, Verdict.MARGINAL), (250.0, Verdict.NO)):
        packs = [judged(k, Verdict.YES, Verdict.YES, margin_s) for k in range(2)]
        assert together(packs).home_verdict is Verdict.YES
        # The one that is left carries the load of both: half of its 600 s are lost.
        less = together([packs[0], silent_pack(packs[1])])
        assert less.home_verdict is verdict
        assert less.mission_verdict is Verdict.NO  # 6 Ah of 5 usable
    halved = [judged(0, Verdict.NO), silent_pack(judged(1, Verdict.NO))]
    assert together(halved, SERIES).home_verdict is (Verdict.UNKNOWN)


def test_of_three_the_one_with_another_voltage_is_rejected() -> None:
    packs = [pack(0, 20.0), pack(1, 20.0, cell_v=3.3), pack(2, 20.0)]
    assert together(packs).missing == (1,)
    assert together(packs, SERIES).missing == ()  # in series voltages differ
    assert together(packs[:2]).missing == ()  # of two, the wrong one is unknown
    assert together([pack(k, 20.0, cell_v=3.8 + 0.02 * k) for k in range(3)]).missing == ()


@pytest.mark.parametrize(
    "cells_v",
    [(3.8, 3.8, 3.3, 3.3), (3.8, 3.8, 3.8, 3.3, 3.3, 3.3), (3.2, 3.5, 3.8)],
    ids=["two against two", "three against three", "each another"],
)
def test_without_a_majority_no_pack_is_rejected(cells_v: tuple[float, ...]) -> None:
    packs = [pack(k, 20.0, cell_v=v) for k, v in enumerate(cells_v)]
    assert together(packs).missing == ()


def test_a_majority_rejects_two_of_five() -> None:
    packs = [pack(k, 20.0, cell_v=v) for k, v in enumerate((3.8, 3.3, 3.8, 3.3, 3.8))]
    assert together(packs).missing == (1, 3)


def test_a_value_that_one_pack_lacks_is_unknown_for_the_supply() -> None:
    whole = together([pack(0, 20.0), pack(1, 20.0, None)])
    assert whole.max_discharge_a is None
    silent = pack(1, None)
    assert together([pack(0, 20.0), silent]).current_a is None
    ended = replace(pack(1, 20.0), estimate=Estimate(0.0))
    assert together([pack(0, 20.0), ended]).remaining_s is None
    assert together([]).severity is Severity.CRITICAL


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("loads_a", [(20.0, None), (None, 20.0), (None, None)])
def test_an_unknown_current_of_one_pack_is_no_share_of_zero(
    loads_a: tuple[float | None, float | None], topology: str
) -> None:
    """The pack carries its part all the same: the others are not limited as if alone."""
    packs = [pack(0, loads_a[0]), pack(1, loads_a[1], 50.0)]
    asked = [
        replace(one, status=replace(one.status, asked_max_a=asked_a, asked_by="cell_critical"))
        for one, asked_a in zip(packs, (45.0, 30.0), strict=True)
    ]
    whole, times = together(asked, topology), 2.0 if topology == PARALLEL else 1.0
    assert (whole.max_discharge_a, whole.asked_max_a) == (times * 50.0, times * 30.0)
    assert whole.current_a is None


def test_the_limit_of_one_pack_limits_the_supply_by_its_share() -> None:
    asked = replace(
        pack(0, 30.0), status=Status(0.0, Severity.CRITICAL, ("hot",), asked_max_a=27.0)
    )
    whole = together([asked, pack(1, 10.0)])
    assert whole.asked_max_a == pytest.approx(36.0)
    assert whole.severity is Severity.CRITICAL
    assert together([pack(0, 30.0), pack(1, 10.0)]).asked_max_a is None
    assert together([asked, pack(1, 30.0)], SERIES).asked_max_a == 27.0


@given(
    st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 90.0)), min_size=2, max_size=4),
    st.data(),
    st.sampled_from(TOPOLOGIES),
)
def test_losing_a_pack_never_improves_the_supply(
    shown: list[tuple[float, float]], data: st.DataObject, topology: str
) -> None:
    packs = [pack(k, 20.0, most_a) for k, (_, most_a) in enumerate(shown)]
    index = data.draw(st.integers(0, len(packs) - 1))
    before = together(packs, topology)
    after = together([silent_pack(one) if one.index == index else one for one in packs], topology)
    assert after.severity > before.severity
    assert (after.remaining_s or 0.0) <= (before.remaining_s or 0.0)
    if topology == PARALLEL and after.max_discharge_a is not None:
        assert before.max_discharge_a is not None
        others = min(one.estimate.max_discharge_a or 0.0 for one in packs if one.index != index)
        assert after.max_discharge_a == pytest.approx((len(packs) - 1) * others)


@pytest.mark.parametrize(
    ("reported", "found"),
    [
        ({}, ()),
        ({"cells": 6, "design_mah": 5500.0, "chemistry": "LiP"}, ()),
        ({"cells": 5}, ("5 cells, not 6",)),
        ({"design_mah": 6100.0}, ("6100 mAh, not 5000",)),
        ({"chemistry": "LION"}, ()),  # as many a LiPo reports
        ({"chemistry": "LiFe"}, ("LiFe, not lipo",)),
        ({"cells": 4, "chemistry": "LIFEPO4"}, ("4 cells, not 6", "LIFEPO4, not lipo")),
    ],
)
def test_differences_from_the_configured_pack_are_listed(
    reported: dict[str, object], found: tuple[str, ...]
) -> None:
    identity = replace(UNIDENTIFIED, **reported)  # type: ignore[arg-type]  # by name
    assert mismatches(identity, FACTS) == found
    assert "LiFe," not in str(mismatches(identity, replace(FACTS, chemistry=LIFEPO4)))


@pytest.mark.parametrize("topology", [PARALLEL, SERIES])
def test_packs_that_allow_no_current_to_limp_home_allow_none_together(topology: str) -> None:
    reports = [pack(0, 20.0), pack(1, 20.0)]
    reports = [replace(r, status=replace(r.status, limp_home_a=0.0)) for r in reports]
    assert together(reports, topology).limp_home_a == 0.0
