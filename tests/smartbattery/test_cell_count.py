# SPDX-License-Identifier: Apache-2.0
"""Detection of the cell count: a count only where the readings leave one possibility."""

import pytest

from smartbattery.cell_count import detect_cell_count

SIX = (3.8,) * 6


@pytest.mark.parametrize(
    ("cells_v", "pack_v", "design_v", "ambiguous", "count"),
    [
        (SIX, 22.8, None, False, 6),
        ((*SIX, None, None), 22.8, None, False, 6),
        (SIX, None, 22.2, False, None),  # no pack voltage
        ((), 22.8, 22.2, False, None),
        ((None, *SIX), 22.8, 22.2, False, None),  # the cells do not stand first
        (SIX, 26.6, 22.2, False, None),  # a cell is missing in the sum
        ((*SIX, None), 22.8, None, True, None),  # ambiguous, and no DesignVoltage
        ((*SIX, None), 22.8, 22.2, True, 6),
        ((*SIX, None), 22.8, 21.0, True, 6),  # 3.5 V a cell, the least of these chemistries
        ((*SIX, None), 22.8, 20.9, True, None),
        ((*SIX, None), 22.8, 25.9, True, None),  # DesignVoltage fits one cell more
        (((3.3,) * 6), 19.8, 22.2, True, None),  # of LiFePO4 both counts fit
    ],
)
def test_a_count_is_certain_or_none(
    cells_v: tuple[float | None, ...],
    pack_v: float | None,
    design_v: float | None,
    ambiguous: bool,  # noqa: FBT001 - a column of the table
    count: int | None,
) -> None:
    assert detect_cell_count(cells_v, pack_v, design_v, ambiguous=ambiguous) == count
