"""Cross-checks of redundant measurements: cells against pack voltage, charge against current.

Contradicting values are withheld, counted and described in `Snapshot.doubts`, because which of the
two is wrong is unknown. Volts, amperes, mAh; discharge is positive.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

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
        self._state = state

    def state(self) -> ConsistencyState:
        """State for a restart."""
        return self._state

    def check(self, snapshot: Snapshot, pack_data: PackData) -> Snapshot:
        """The snapshot without contradicting values."""
        serial = snapshot.identity.serial
        if serial not in (None, self._state.serial):
            self._state = replace(self._state, serial=serial, first_mah=None)
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
            self._state = replace(self._state, unequal_since_s=None)
            return None
        since_s = self._state.unequal_since_s
        if since_s is None:
            since_s = snapshot.t_s
            self._state = replace(self._state, unequal_since_s=since_s)
        if snapshot.t_s - since_s < _SUM_S:
            return None
        return f"cell sum {sum(known):.1f} V, pack {pack_v:.1f} V"

    def _count(self, snapshot: Snapshot, pack_data: PackData) -> str | None:
        before = self._state
        now_s, current_a = snapshot.t_s, snapshot.current_a
        remaining_mah, capacity_mah = snapshot.remaining_mah, pack_data.capacity_mah
        if current_a is None:  # the integral is unknown from here on
            self._state = replace(before, last_s=now_s, first_mah=None)
            return None
        self._state = replace(before, last_s=now_s)
        if remaining_mah is None or capacity_mah is None:
            return None
        last_s, first_mah = before.last_s, before.first_mah
        if first_mah is None or last_s is None or now_s - last_s > _GAP_S:
            self._state = replace(self._state, first_mah=remaining_mah, counted_mah=0.0)
            return None
        counted_mah = before.counted_mah + current_a * (now_s - last_s) / 3.6
        self._state = replace(self._state, counted_mah=counted_mah)
        fallen_mah = first_mah - remaining_mah
        most_mah = _COUNT_FRAC * abs(counted_mah) + _COUNT_CAPACITY_FRAC * capacity_mah
        if remaining_mah == 0 or abs(fallen_mah - counted_mah) <= most_mah:
            return None
        return f"gauge counted {fallen_mah:.0f} mAh, drawn {counted_mah:.0f} mAh"
