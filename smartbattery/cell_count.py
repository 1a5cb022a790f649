# SPDX-License-Identifier: Apache-2.0
"""Detection of the series cell count from the cell voltage registers."""

from collections.abc import Sequence

_SUM_TOLERANCE_FRAC = 0.03  # half a cell of sixteen: one missing cell is detected
_NOMINAL_V = (3.1, 3.95)  # of one cell in DesignVoltage: from LiFePO4 to LiHV
_NO_LIFEPO4_V = 3.65  # a cell above this is not LiFePO4,
_NOMINAL_LOW_V = 3.5  # and its nominal voltage is higher


def adds_up(cells_v: float, pack_v: float) -> bool:
    """Whether the sum of the cells is the voltage of the pack."""
    return abs(cells_v - pack_v) <= _SUM_TOLERANCE_FRAC * pack_v


def detect_cell_count(
    cells_v: Sequence[float | None],
    pack_v: float | None,
    design_v: float | None,
    *,
    ambiguous: bool,
) -> int | None:
    """Number of cells in series; `None` when it is uncertain.

    One cell too few has cost packs: they were discharged too deeply. The cells that report a
    voltage stand first and add up to the voltage of the pack. A register that answers without a
    voltage may be unused or belong to a dead cell: the sum is the same for both. DesignVoltage must
    then fit this count, and not one cell more as well.

    Args:
        cells_v: by register, `None` where there is no plausible voltage.
        pack_v: voltage of the pack.
        design_v: DesignVoltage.
        ambiguous: whether a register beyond the last cell answers without a voltage.
    """
    count = next((k for k, v in enumerate(cells_v) if v is None), len(cells_v))
    if count == 0 or pack_v is None or any(v is not None for v in cells_v[count:]):
        return None
    known_v = [v for v in cells_v if v is not None]
    if not adds_up(sum(known_v), pack_v):
        return None
    if not ambiguous:
        return count
    if design_v is None:
        return None
    low_v, high_v = _NOMINAL_V
    if max(known_v) > _NO_LIFEPO4_V:
        low_v = _NOMINAL_LOW_V
    fits = [n for n in (count, count + 1) if low_v <= design_v / n <= high_v]
    return count if fits == [count] else None
