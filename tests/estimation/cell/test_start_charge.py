# SPDX-License-Identifier: Apache-2.0
"""The charge at the start: by the voltage, and by a gauge as far as the voltage allows it."""

from itertools import pairwise

import numpy as np
import pytest

from dronebms.core.chemistry import LI_ION
from dronebms.estimation.cell.cell_model import CellModel
from dronebms.estimation.cell.start_charge import (
    REFUTED,
    STRAINED,
    RestVoltage,
    at_rest,
    start_charge,
)

MODEL = CellModel(LI_ION, 5.0, rated=True)


def rest(charge: float, current_a: float = 0.0, sag_v: float = 0.0) -> RestVoltage:
    """A cell of the chemistry's own curve."""
    cell_v = LI_ION.open_circuit_v(charge) - sag_v
    covariance = MODEL.covariance
    return at_rest(
        MODEL, np.zeros_like(MODEL.mean), covariance, 0.0, cell_v=cell_v, current_a=current_a
    )


def test_the_charge_is_that_of_the_curve_and_less_certain_where_it_is_flat() -> None:
    steep = rest(0.8).charge()
    assert steep.charge == pytest.approx(0.8, abs=0.05)
    assert rest(0.5).charge().variance > 0.01**2
    full = rest(1.0, sag_v=-0.1).charge()
    assert full.charge == 1.0
    assert full.variance >= 0.02**2


def test_an_expected_sag_is_no_lower_charge() -> None:
    ohm = MODEL.ohms[0] + MODEL.ohms[1]
    loaded = rest(0.8, 10.0, 10.0 * ohm)
    assert loaded.rest_v == pytest.approx(rest(0.8).rest_v)
    assert np.all(loaded.sds_v > rest(0.8).sds_v)


def test_a_voltage_that_no_cell_has_is_foreign() -> None:
    assert not rest(1.0).is_foreign(MODEL.full_v)
    assert rest(1.0, sag_v=-1.0).is_foreign(MODEL.full_v)


def test_a_gauge_counts_the_less_the_more_the_voltage_contradicts_it() -> None:
    look = rest(0.5)
    alone = look.charge()
    assert start_charge(look, None, 0.05) == alone
    moved = []
    strains = []
    for gauge_frac in np.linspace(alone.charge + 0.02, 1.0, 30):
        found = start_charge(look, float(gauge_frac), 0.05)
        strain = look.strain(float(gauge_frac))
        strains.append(strain)
        moved.append((found.charge - alone.charge) / (gauge_frac - alone.charge))
        assert found.variance <= alone.variance
        if strain >= REFUTED:
            assert found == alone
    assert strains == sorted(strains)
    assert strains[0] <= STRAINED < REFUTED < strains[-1]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(moved))
    assert moved[0] > 0.0
