"""What is left in a pack: charge, minutes with an interval, and the current it may give.

Causal: an Estimate rests on what was heard until `t_s` and on nothing else. What has not been
heard, or not long enough to tell, is `None`.
"""

import math
from collections import deque
from dataclasses import dataclass

from dronebms.battery import BatteryFacts
from dronebms.cellfilter import CellFilter, temperature_factor
from dronebms.forecast import Remaining, max_current, remaining
from dronebms.load import Load
from dronebms.plausible import LONE_S
from smartbattery.snapshot import Snapshot

_SECOND_S = 1.0 - 1e-6
_END_MEAN_S = 5.0  # the end: this mean at the cut-off ...
_END_INSTANT_V = 0.25  # ... or one instant this far below it (DESIGN.md, section 4)
_COAST_S = 60.0  # silence through which a forecast is still worth counting down
_FORGET_S = 600.0  # silence after which the pack may have been charged or changed
_UNTOLD_MAH = 5000.0
_GAUGE_FULL_SD = 0.16  # ln: how far gauges' full charge capacities are off (stale learning)
_LOAD_C = 0.15  # of the capacity; below it nothing flies
_STEP_C = 0.08
_UNKNOWN_CHARGE_SD = 0.2
_UNKNOWN_RESISTANCE_SD = 0.3
_DISAGREE_S = 15.0
_RECOVER_PCT_S = 0.1  # how fast the charge shown may rise while discharging
_MAX_STEP_GAP_S = 3.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left in a pack at `t_s`. `None` is unknown; nothing here is invented.

    The end is the weakest cell's cut-off under load, as DESIGN.md section 4 defines it.
    """

    t_s: float
    soc_pct: float | None = None  # of the weakest cell
    soh_pct: float | None = None
    remaining_s: float | None = None  # median
    remaining_low_s: float | None = None  # 5 %
    remaining_high_s: float | None = None  # 95 %
    home_s: float | None = None
    home_reserve_s: float | None = None
    turn_back_in_s: float | None = None
    resistance_ohm: float | None = None  # of the whole pack, after some 20 s of load
    resting_cell_v: float | None = None  # weakest cell without its sag
    max_discharge_a: float | None = None  # for 10 s
    max_discharge_2s_a: float | None = None
    max_discharge_30s_a: float | None = None
    used_mah: float | None = None  # counted since the first sample
    used_wh: float | None = None


@dataclass(slots=True)
class _Sample:
    """One reading, or the mean of a second of them: the weakest cell, the pack's load."""

    t_s: float
    cell_v: float
    current_a: float
    pack_v: float


class Estimator:
    """One pack from its first sample on; starts again when another pack is plugged in."""

    def __init__(self, facts: BatteryFacts) -> None:
        self._facts = facts
        self._serial: int | None = None
        self._restart()

    def update(self, snapshot: Snapshot) -> Estimate:
        """Take in a snapshot, old or new, and say what is left at its time."""
        serial = snapshot.identity.serial
        if serial is not None and self._serial is not None and serial != self._serial:
            self._restart()
        self._serial = serial if serial is not None else self._serial
        sample = self._sample(snapshot)
        if sample is not None:
            if self._last is not None and sample.t_s - self._last.t_s > _FORGET_S:
                self._restart()
            self._take(sample, snapshot)
        return self._estimate(snapshot.t_s)

    def _restart(self) -> None:
        self._cells = 0
        self._cell: CellFilter | None = None
        self._load: Load | None = None
        self._last: _Sample | None = None  # newest reading
        self._mean: _Sample | None = None  # newest whole second
        self._pending: list[tuple[float, _Sample]] = []  # weights in seconds, readings
        self._recent: deque[tuple[float, float]] = deque()
        self._deep_s: float | None = None  # since when far below the cut-off
        self._ended = False
        self._forecast: Remaining | None = None
        self._forecast_at_s = 0.0
        self._shown_pct: float | None = None
        self._shown_at_s = 0.0
        self._agreed_s: float | None = None  # when the filter last followed a reading
        self._used_as = self._used_ws = 0.0
        self._full_heard = False

    # ------------------------------------------------------------------ readings

    def _sample(self, snapshot: Snapshot) -> _Sample | None:
        """Return the snapshot as a reading, None when it holds no new one."""
        read_s = snapshot.read_at_s.get("voltage_v")
        if snapshot.voltage_v is None or snapshot.current_a is None or read_s is None:
            return None
        if self._last is not None and read_s <= self._last.t_s:
            return None
        self._cells = self._facts.cells or snapshot.identity.cells or len(snapshot.cells_v)
        if self._cells == 0:
            return None
        lowest = snapshot.lowest_cell()
        cell_v = snapshot.voltage_v / self._cells if lowest is None else lowest[1]
        return _Sample(read_s, cell_v, snapshot.current_a, snapshot.voltage_v)

    def _take(self, sample: _Sample, snapshot: Snapshot) -> None:
        cell = self._cell or self._start(sample, snapshot)
        last, self._last = self._last, sample
        self._watch_end(sample)
        if snapshot.temperature_degc is not None:
            cell.temperature_g = temperature_factor(snapshot.temperature_degc)
        if snapshot.full_mah is not None and not self._full_heard:
            self._full_heard = True
            cell.believe_capacity(snapshot.full_mah / 1000.0, _GAUGE_FULL_SD)
        if last is None:
            self._mean = sample
            return
        dt_s = sample.t_s - last.t_s
        self._used_as += (last.current_a + sample.current_a) / 2 * dt_s
        self._used_ws += (last.current_a + sample.current_a) / 2 * sample.pack_v * dt_s
        self._pending.append((dt_s, sample))
        if sum(weight for weight, _ in self._pending) >= _SECOND_S:
            self._second(cell, last)

    def _start(self, sample: _Sample, snapshot: Snapshot) -> CellFilter:
        told_mah = self._facts.capacity_mah or snapshot.identity.design_mah or snapshot.full_mah
        capacity_ah = (told_mah or _UNTOLD_MAH) / 1000.0
        cell = CellFilter(self._facts.chemistry, capacity_ah, told=told_mah is not None)
        cell.temperature_g = temperature_factor(snapshot.temperature_degc)
        gauge_frac = None if snapshot.soc_pct is None else snapshot.soc_pct / 100.0
        cell.start(sample.cell_v, sample.current_a, gauge_frac)
        nominal_v = cell.curve(0.5)[0] * self._cells
        self._load = Load(_LOAD_C * capacity_ah * nominal_v)
        self._cell = cell
        return cell

    def _second(self, cell: CellFilter, last: _Sample) -> None:
        """Feed the filter with the mean of the readings that are pending."""
        total_s = sum(weight for weight, _ in self._pending)

        def mean(of: str) -> float:
            return float(sum(w * getattr(s, of) for w, s in self._pending)) / total_s

        now = _Sample(self._pending[-1][1].t_s, mean("cell_v"), mean("current_a"), mean("pack_v"))
        gap = self._pending[-1][0] > _MAX_STEP_GAP_S
        self._pending = []
        counted_a = (last.current_a + now.current_a) / 2 if gap else now.current_a
        doubt_a = abs(last.current_a - now.current_a) / 2 if gap else 0.0
        cell.advance(total_s, counted_a, doubt_a)
        if cell.measure(now.cell_v, now.current_a):
            self._agreed_s = now.t_s
        elif self._agreed_s is None:  # it began with a reading that was none
            self._restart()
            return
        elif now.t_s - self._agreed_s > _DISAGREE_S:
            cell.doubt()
        before, self._mean = self._mean, now
        if before is not None and now.t_s - before.t_s < _MAX_STEP_GAP_S:
            di_a = now.current_a - before.current_a
            if abs(di_a) > _STEP_C * cell.capacity_as / 3600.0:
                cell.measure_step(now.cell_v - before.cell_v, di_a)
        if self._load is not None:
            self._load.update(total_s, max(now.pack_v * counted_a, 0.0))
        self._predict(cell, now)

    # ------------------------------------------------------------------ answers

    def _watch_end(self, sample: _Sample) -> None:
        """Latch the end of the pack. A lone absurd reading, however often polled, is no end."""
        cutoff_v = self._facts.cutoff_v
        if sample.cell_v > cutoff_v - _END_INSTANT_V:
            self._deep_s = None
        elif self._deep_s is None:
            self._deep_s = sample.t_s
        deep = self._deep_s is not None and sample.t_s - self._deep_s >= LONE_S
        recent = self._recent
        recent.append((sample.t_s, sample.cell_v))
        while len(recent) > 1 and recent[1][0] <= sample.t_s - _END_MEAN_S:
            recent.popleft()
        spans = len(recent) > 1 and sample.t_s - recent[0][0] >= _END_MEAN_S - _SECOND_S
        mean_v = sum(v for _, v in recent) / len(recent)
        self._ended |= deep or (spans and mean_v <= cutoff_v)

    def _predict(self, cell: CellFilter, now: _Sample) -> None:
        self._forecast_at_s = now.t_s
        load = self._load
        if load is None or not load.present:
            self._forecast = None
            return
        horizon_s = 600.0 if self._forecast is None else self._forecast.median_s
        power_w, power_sd = load.ahead(horizon_s)
        self._forecast = remaining(
            cell, self._facts.cutoff_v, power_w / self._cells, power_sd, load.ripple_frac
        )

    def _estimate(self, now_s: float) -> Estimate:
        cell, last = self._cell, self._last
        if cell is None or last is None or now_s - last.t_s > _COAST_S:
            return Estimate(now_s)
        left = self._left(now_s)
        resistance_ohm = None
        if cell.P[1, 1] < _UNKNOWN_RESISTANCE_SD**2:
            scale = math.exp(float(cell.x[1])) * cell.temperature_g
            resistance_ohm = self._cells * scale * (cell.fast_ohm + cell.slow_ohm)
        known = cell.P[0, 0] < _UNKNOWN_CHARGE_SD**2
        cutoff_v = self._facts.cutoff_v
        return Estimate(
            t_s=now_s,
            soc_pct=self._shown(cell, now_s) if known else None,
            remaining_s=None if left is None else left.median_s,
            remaining_low_s=None if left is None else left.low_s,
            remaining_high_s=None if left is None else left.high_s,
            resistance_ohm=resistance_ohm,
            resting_cell_v=last.cell_v + cell.sag(last.current_a) if known else None,
            max_discharge_a=max_current(cell, cutoff_v, 10.0) if known else None,
            max_discharge_2s_a=max_current(cell, cutoff_v, 2.0) if known else None,
            max_discharge_30s_a=max_current(cell, cutoff_v, 30.0) if known else None,
            used_mah=self._used_as / 3.6,
            used_wh=self._used_ws / 3600.0,
        )

    def _left(self, now_s: float) -> Remaining | None:
        if self._ended:
            return Remaining(0.0, 0.0, 0.0)
        if self._forecast is None:
            return None
        # Between forecasts the clock counts; in a gap nobody knows how fast, so the bounds part.
        since_s = now_s - self._forecast_at_s
        median_s = max(self._forecast.median_s - since_s, 0.0)
        low_s = max(
            self._forecast.low_s - (since_s if since_s < _MAX_STEP_GAP_S else 2 * since_s), 0.0
        )
        high_s = self._forecast.high_s - (since_s if since_s < _MAX_STEP_GAP_S else 0.0)
        return Remaining(median_s, min(low_s, median_s), max(high_s, median_s))

    def _shown(self, cell: CellFilter, now_s: float) -> float:
        """Return the charge in per cent, which under load falls at once and rises slowly.

        Flight controllers latch on the lowest value they are told.
        """
        pct = min(max(float(cell.x[0]) * 100.0, 0.0), 100.0)
        if self._shown_pct is not None and self._last is not None and self._last.current_a > 0:
            pct = min(pct, self._shown_pct + _RECOVER_PCT_S * (now_s - self._shown_at_s))
        self._shown_pct, self._shown_at_s = pct, now_s
        return pct
