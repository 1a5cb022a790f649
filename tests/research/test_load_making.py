# SPDX-License-Identifier: Apache-2.0
"""The load of computed flights (research/making.py)."""

import numpy as np
import pytest

from research import making


@pytest.mark.parametrize("lasts_s", [4500, 4500.0])
def test_a_load_hovers_on_average_and_never_stops_in_the_air(lasts_s: float) -> None:
    t_s, watts, takeoff_s = making.load(np.random.default_rng(3), 100.0, lasts_s)
    flying_w = watts[t_s > takeoff_s + 1]
    assert flying_w.min() > 40.0
    assert 85.0 < flying_w.mean() < 115.0
    assert len(np.unique(flying_w)) > 4000  # gusts
