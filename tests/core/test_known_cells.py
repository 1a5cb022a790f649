# SPDX-License-Identifier: Apache-2.0
"""Cells whose open-circuit curve was measured."""

from itertools import pairwise

import pytest

from dronebms.core.chemistry import CHEMISTRIES
from dronebms.core.errors import ConfigError
from dronebms.core.known_cells import KNOWN_CELLS, KnownCell, known_cell


@pytest.mark.parametrize("row", KNOWN_CELLS, ids=lambda row: row.name)
def test_a_known_cell_is_a_possible_one(row: KnownCell) -> None:
    assert row.chemistry in CHEMISTRIES
    assert len(row.ocv_v) == 21
    assert all(below <= above for below, above in pairwise(row.ocv_v))
    assert row.ocv_v[-1] <= row.chemistry.full_cell_v
    # Of its chemistry: the curve of no cell is further from the row.
    assert all(
        abs(own - usual) < (0.2 if k < 3 else 0.1)
        for k, (own, usual) in enumerate(zip(row.ocv_v, row.chemistry.ocv_v, strict=True))
    )
    assert "github.com/" in row.source
    assert known_cell(row.name.lower()) is row
    assert row.makes_up(row.rated_mah)
    assert row.makes_up(2.9 * row.rated_mah)
    assert not row.makes_up(1.4 * row.rated_mah)
    assert not row.makes_up(0.5 * row.rated_mah)


def test_an_unknown_cell_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="9 cells with a measured curve, of which VTC6 is"):
        known_cell("US18650VTC6")
