"""Cross-checks of redundant measurements: cells against pack voltage, charge against current.

Contradicting values are withheld, counted and described in `Snapshot.doubts`, because which of the
two is wrong is unknown. Volts, amperes, mAh; discharge is positive.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from dronebms.core.pack_data import PackData
from smartbattery.snapshot import Snapshot

# Recorded packs differ by up to 2.4 % in a step of the load: cells and pack are not read at once.
_SUM_FRAC = 0.05
_SUM_S = 3.0
# Gauges count within a few per cent; a correction steps by some per cent of the capacity.
_COUNT_FRAC = 0.25
_COUNT_CAPACITY_FRAC = 0.03
_GAP_S = 5.0


@dataclass(frozen=True, slots=True)
class ConsistencyState:
    """State of the check; times in seconds of the loop's clock."""

    FORMAT: ClassVar[int] = 1

    serial: int | None = None
    unequal_since_s: float | None = None  # cells and pack differ
    last_s: float | None = None
    counted_mah: float = 0.0  # integral of the current since `first_mah`
    first_mah: float | None = None  # the gauge's remaining charge at the start of the count


class ConsistencyCheck:
    """Cross-checks of one battery's snapshots.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: ConsistencyState = ConsistencyState()) -> None:
        self._serial = state.serial
        self._unequal_since_s = state.unequal_since_s
        self._last_s = state.last_s
        self._counted_mah = state.counted_mah
        self._first_mah = state.first_mah

    def state(self) -> ConsistencyState:
        """State for a restart."""
        return ConsistencyState(
            self._serial, self._unequal_since_s, self._last_s, self._counted_mah, self._first_mah
        )

    def with_state(self, state: ConsistencyState) -> Self:
        """A check that continues from the state."""
        return type(self)(state)

    def check(self, snapshot: Snapshot, pack_data: PackData) -> Snapshot:
        """The snapshot without contradicting values."""
        if snapshot.identity.serial not in (None, self._serial):
            self._serial, self._first_mah = snapshot.identity.serial, None
        doubts: tuple[str, ...] = ()
        cells_v, mah, pct = snapshot.cells_v, snapshot.remaining_mah, snapshot.soc_pct
        wrong_sum = self._sum(snapshot)
        if wrong_sum is not None:
            doubts += (wrong_sum,)
            cells_v = (None,) * len(cells_v)
        wrong_count = self._count(snapshot, pack_data)
        if wrong_count is not None:
            doubts += (wrong_count,)
            mah = pct = None
        if not doubts:
            return snapshot
        counts = replace(snapshot.counts, withheld=snapshot.counts.withheld + len(doubts))
        return replace(
            snapshot, cells_v=cells_v, remaining_mah=mah, soc_pct=pct, counts=counts, doubts=doubts
        )

    def _sum(self, snapshot: Snapshot) -> str | None:
        known = [v for v in snapshot.cells_v if v is not None]
        pack_v = snapshot.voltage_v
        whole = bool(known) and len(known) == len(snapshot.cells_v)
        if pack_v is None or not whole or abs(sum(known) - pack_v) <= _SUM_FRAC * pack_v:
            self._unequal_since_s = None
            return None
        if self._unequal_since_s is None:
            self._unequal_since_s = snapshot.t_s
        if snapshot.t_s - self._unequal_since_s < _SUM_S:
            return None
        return f"cell sum {sum(known):.1f} V, pack {pack_v:.1f} V"

    def _count(self, snapshot: Snapshot, pack_data: PackData) -> str | None:
        now_s = snapshot.t_s
        last_s = self._last_s
        self._last_s = now_s
        current_a, remaining_mah = snapshot.current_a, snapshot.remaining_mah
        capacity_mah = pack_data.capacity_mah
        if current_a is None:  # the integral is unknown from here on
            self._first_mah = None
        if current_a is None or remaining_mah is None or capacity_mah is None:
            return None
        if self._first_mah is None or last_s is None or now_s - last_s > _GAP_S:
            self._first_mah, self._counted_mah = remaining_mah, 0.0
            return None
        self._counted_mah += current_a * (now_s - last_s) / 3.6
        fallen_mah = self._first_mah - remaining_mah
        off_mah = abs(fallen_mah - self._counted_mah)
        if remaining_mah == 0 or off_mah <= (
            _COUNT_FRAC * abs(self._counted_mah) + _COUNT_CAPACITY_FRAC * capacity_mah
        ):
            return None
        return f"gauge counted {fallen_mah:.0f} mAh, drawn {self._counted_mah:.0f} mAh"
