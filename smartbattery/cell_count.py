"""How many cells a pack has, from what its gauge says of each place for one."""

from collections.abc import Sequence

_SUM_TOLERANCE_FRAC = 0.03  # half a cell of sixteen: one that is missing is noticed
_NOMINAL_V = (3.1, 3.95)  # of one cell in DesignVoltage: from LiFePO4 to LiHV
_NO_LIFEPO4_V = 3.65  # a cell above this is of another kind,
_NOMINAL_LOW_V = 3.5  # whose nominal voltage is higher


def detect_cell_count(
    cells_v: Sequence[float | None], pack_v: float | None, design_v: float | None, *, doubtful: bool
) -> int:
    """Return how many cells there are; 0 when that is not certain.

    One cell too few is how packs have been lost. The cells that show a voltage stand first and add
    up to the pack's own. A place that answers and shows none may be empty or hold a dead cell: the
    sum is the same, so then the voltage that the pack was designed for must be that of so many
    cells, and not as well that of one more.

    Args:
        cells_v: by place, None where there is no believable voltage.
        pack_v: the pack's own voltage.
        design_v: what the pack was designed for.
        doubtful: whether a place beyond the last answers without a voltage.
    """
    count = next((k for k, v in enumerate(cells_v) if v is None), len(cells_v))
    if count == 0 or pack_v is None or any(v is not None for v in cells_v[count:]):
        return 0
    known_v = [v for v in cells_v if v is not None]
    if abs(sum(known_v) - pack_v) > _SUM_TOLERANCE_FRAC * pack_v:
        return 0
    if not doubtful:
        return count
    low_v, high_v = _NOMINAL_V
    if max(known_v) > _NO_LIFEPO4_V:
        low_v = _NOMINAL_LOW_V
    fits = [n for n in (count, count + 1) if low_v <= (design_v or 0.0) / n <= high_v]
    return count if fits == [count] else 0
