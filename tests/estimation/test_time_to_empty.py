# SPDX-License-Identifier: Apache-2.0
"""Bounds of the time to empty: what is known of the pack and of its gauge decides how low."""

from dataclasses import replace

import numpy as np
import pytest

from dronebms.core.chemistry import LIPO
from dronebms.estimation.cell.cell_estimate import CellEstimate
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import CellModel
from dronebms.estimation.end_samples import end_samples
from dronebms.estimation.gauge_fusion import GaugeEvidence
from dronebms.estimation.learning.interval_adaptation import NOT_ADAPTED
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.time_to_empty import RemainingTime, TimeToEmpty

CUTOFF_V = 3.3
LOAD = LoadAhead(power_w=1000.0, power_sd=0.1, ripple_frac=0.05, least_w=1000.0, most_w=1000.0)
LATE_S = 600.0


def cell() -> CellEstimate:
    """A LiPo cell at 3.9 V that nothing is known of."""
    fit = CellFit(CellModel(LIPO, 20.0, rated=True))
    fit.start(3.9, 0.0, None)
    return fit.estimate()


def under(*, is_unknown: bool, wrong: float = 0.0, loaded_s: float = LATE_S) -> RemainingTime:
    """Time to empty of six such cells whose gauge is wrong with a probability."""
    load = replace(LOAD, loaded_s=loaded_s)
    stage = TimeToEmpty(
        CUTOFF_V, adaptation=NOT_ADAPTED, began_with_gauge=False, is_unknown=is_unknown
    )
    return stage.under(load, 6, cell(), cell(), GaugeEvidence(wrong=wrong))


@pytest.mark.parametrize(("is_unknown", "broken"), [(True, 0.1), (False, 0.05)])
def test_the_lower_bound_of_an_unknown_pack_leaves_out_more_of_the_samples(
    *, is_unknown: bool, broken: float
) -> None:
    ends_s = end_samples(cell(), CUTOFF_V, LOAD, 6).ends_s
    found = under(is_unknown=is_unknown)
    for bound_s, share in ((found.low_s, broken), (found.median_s, 0.5), (found.high_s, 0.95)):
        assert np.mean(ends_s < bound_s) == pytest.approx(share, abs=1.0 / len(ends_s))


def test_in_the_first_minute_an_unknown_pack_has_the_bound_of_a_known_one() -> None:
    known_s, bounds_s = under(is_unknown=False).low_s, [
        under(is_unknown=True, loaded_s=loaded_s).low_s for loaded_s in (10.0, 60.0, 90.0, LATE_S)
    ]  # fmt: skip
    assert bounds_s[:2] == [known_s, known_s]
    assert known_s < bounds_s[2] < bounds_s[3]


def test_behind_a_gauge_that_may_be_wrong_an_unknown_pack_has_the_bound_of_a_known_one() -> None:
    sure = under(is_unknown=True)
    doubts = [under(is_unknown=True, wrong=wrong) for wrong in (0.04, 0.06, 0.08, 0.1, 0.3)]
    bounds_s = [doubt.low_s for doubt in doubts]
    assert bounds_s[0] == sure.low_s
    assert bounds_s == sorted(bounds_s, reverse=True)
    assert bounds_s[-1] == pytest.approx(under(is_unknown=False, wrong=0.3).low_s)
    assert bounds_s[-1] < sure.low_s
    medians_s = [doubt.median_s for doubt in doubts]
    assert medians_s == pytest.approx([sure.median_s] * len(doubts))
