# SPDX-License-Identifier: Apache-2.0
"""Stage: the charge that is sent to a vehicle.

Flight stacks latch the first low percentage or time that they receive, and PX4 lands on it. A
change that no current explains is therefore debounced as an alarm is: the earlier charge goes on,
less what is drawn, until the change has lasted and the limits that it passes have tripped. The
first charge after a start or of another pack is treated in the same way if a limit is beyond it.
A voltage at the cut-off confirms it at once; an alarm of the gauge, which may be wrong, does not.
The 5 % bound of the time follows the median, and widens slowly.
Percentage, time and consumption are of one estimate: what is unknown makes the others unknown.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from dronebms.core.pack_data import LOAD_C
from dronebms.core.pack_identity import is_same_pack
from dronebms.core.report import Report, ReportedCharge
from dronebms.protection.quantity_values import QuantityName
from smartbattery.snapshot import UNIDENTIFIED, Identity
from smartbattery.values import changed

_HOLD_S = 3.0  # the shortest hold of a limit of charge or time
_SPARE_PCT = 5.0  # a correction of the estimate
_SPARE_S = 50.0  # how often it may come
_GAP_S = 2.0  # beyond it the current in between is unknown
_MARGIN = 1.5  # of a measured current
_TIME_FRAC = 0.5  # of what the rated charge lasts; cold and worn packs give less, more slowly
_TIME_SPARE_FRAC = 0.1
_LOW_FALL_PER_S = 0.02  # of the bound, as a part of the median
_EMPTY = frozenset(("cell_critical", "cell_emergency", "pack_low"))  # limits of the voltage

Confirms = Callable[[QuantityName, float], bool]


@dataclass(frozen=True, slots=True)
class ReportedChargeState:
    """State of the stage; times in seconds of the loop's clock."""

    FORMAT: ClassVar[int] = 1

    identity: Identity = UNIDENTIFIED
    pct: float | None = None  # last reported
    left_s: float | None = None
    at_s: float = 0.0
    spare_pct: float = _SPARE_PCT
    since_s: float | None = None  # since when no current explains the estimate
    falls: bool = False  # the estimate since then, or it rises
    mild_pct: float | None = None  # the least change since then
    mild_left_s: float | None = None
    low_frac: float | None = None  # the 5 % bound of the time, as a part of the median


@dataclass(frozen=True, slots=True)
class _Change:
    spare_pct: float  # correction that is still allowed; negative: no current explains the change
    falls: bool = False


class ReportedChargeStage:
    """Debounce of one battery's charge.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: ReportedChargeState = ReportedChargeState()) -> None:
        self._state = state

    def state(self) -> ReportedChargeState:
        """State for a restart."""
        return self._state

    def resume(self, absent_s: float) -> None:
        """Continue after an absence of the loop: in it no change has lasted."""
        if self._state.since_s is not None:
            self._state = changed(self._state, since_s=self._state.since_s + absent_s)

    def update(self, report: Report, confirms: Confirms) -> ReportedCharge:
        """The charge to send.

        Args:
            report: of the same step.
            confirms: whether every limit of a quantity that is beyond a value has tripped.
        """
        snapshot = report.snapshot
        if not is_same_pack(self._state.identity, snapshot.identity):
            self._state = ReportedChargeState()
        if self._state.identity is not snapshot.identity:
            self._state = changed(self._state, identity=snapshot.identity)
        state = self._state
        pct = _charge_pct(report)
        left_s = report.estimate.remaining_s
        if pct is None or snapshot.voltage_v is None:
            if state.since_s is not None:
                self._state = changed(state, since_s=None)
            return ReportedCharge()
        is_empty = not _EMPTY.isdisjoint(report.status.active)
        time_agrees = left_s is None or is_empty or confirms("remaining_s", left_s)
        agrees = time_agrees and (is_empty or confirms("soc_pct", pct))
        if state.left_s is None and not time_agrees:
            left_s = None
            agrees = confirms("soc_pct", pct)
        if state.pct is not None and not is_empty:
            change = self._change(report, state.pct, pct, left_s)
        elif agrees:
            change = _Change(_SPARE_PCT)
        else:
            return ReportedCharge()
        low_frac = _low_frac(report, state.low_frac, report.t_s - state.at_s)
        if change.spare_pct >= 0.0:
            self._accept(report, pct, left_s, change.spare_pct, low_frac)
        else:
            self._hold(report, pct, left_s, low_frac, falls=change.falls)
            held = self._state
            if agrees and report.t_s - (held.since_s or 0.0) >= _HOLD_S:
                self._accept(report, held.mild_pct, held.mild_left_s, 0.0, low_frac)
        return charge_of(report, self._state.pct, self._state.left_s, low_frac)

    def _accept(
        self,
        report: Report,
        pct: float | None,
        left_s: float | None,
        spare_pct: float,
        low_frac: float | None,
    ) -> None:
        self._state = ReportedChargeState(
            self._state.identity, pct, left_s, report.t_s, spare_pct, low_frac=low_frac
        )

    def _hold(
        self,
        report: Report,
        pct: float,
        left_s: float | None,
        low_frac: float | None,
        *,
        falls: bool,
    ) -> None:
        """Go on with the earlier charge, less what is drawn, and note the change."""
        state = self._state
        gap_s = report.t_s - state.at_s
        drawn_as = max(report.snapshot.current_a or 0.0, 0.0) * gap_s
        drawn_pct = drawn_as / report.pack_data.capacity_ah / 36.0
        mild_pct = _less(state.mild_pct, drawn_pct)
        mild_left_s = _less(state.mild_left_s, gap_s)
        since_s = state.since_s
        if since_s is None or state.falls is not falls:
            since_s = report.t_s
            mild_pct = pct
            mild_left_s = left_s
        mildest = max if falls else min
        if left_s is not None and mild_left_s is not None:
            left_s = mildest(mild_left_s, left_s)
        self._state = changed(
            state,
            pct=_less(state.pct, drawn_pct),
            left_s=_less(state.left_s, gap_s),
            at_s=report.t_s,
            since_s=since_s,
            falls=falls,
            mild_pct=pct if mild_pct is None else mildest(mild_pct, pct),
            mild_left_s=left_s,
            low_frac=low_frac,
        )

    def _change(
        self, report: Report, before_pct: float, pct: float, left_s: float | None
    ) -> _Change:
        """Whether the current explains the charge and the time of a step."""
        state = self._state
        ah = report.pack_data.capacity_ah
        current_a = report.snapshot.current_a
        gap_s = report.t_s - state.at_s
        if current_a is None or gap_s > _GAP_S:
            out_a = _continuous_a(report)
            in_a = report.pack_data.chemistry.charge_c * ah
        else:
            out_a = _MARGIN * max(current_a, 0.0)
            in_a = _MARGIN * max(-current_a, 0.0)
        per_a = gap_s / ah / 36.0
        risen_pct = pct - before_pct
        missing_pct = max(-risen_pct - out_a * per_a, risen_pct - in_a * per_a, 0.0)
        spare_pct = min(_SPARE_PCT, state.spare_pct + gap_s * _SPARE_PCT / _SPARE_S)
        if missing_pct <= spare_pct and left_s is not None and state.left_s is not None:
            load_a = max(_continuous_a(report) if current_a is None else current_a, LOAD_C * ah)
            lasts_s = before_pct * ah * 36.0 / load_a
            least_s = min(state.left_s - gap_s, _TIME_FRAC * lasts_s) * (1.0 - _TIME_SPARE_FRAC)
            most_s = max(state.left_s, lasts_s / _TIME_FRAC) * (1.0 + _TIME_SPARE_FRAC)
            if not least_s <= left_s <= most_s:
                return _Change(-1.0, falls=left_s < least_s)
        return _Change(spare_pct - missing_pct, falls=risen_pct < 0.0)


def _less(value: float | None, by: float) -> float | None:
    return None if value is None else max(value - by, 0.0)


def _low_frac(report: Report, before: float | None, gap_s: float) -> float | None:
    """The 5 % bound of the time as a part of the median, `None` if one of them is unknown."""
    median_s = report.estimate.remaining_s
    low_s = report.estimate.remaining_low_s
    if median_s is None or low_s is None:
        return None
    frac = min(max(low_s / median_s, 0.0), 1.0) if median_s > 0.0 else 1.0
    return frac if before is None else max(frac, before - _LOW_FALL_PER_S * gap_s)


def charge_of(
    report: Report, pct: float | None, left_s: float | None, low_frac: float | None = None
) -> ReportedCharge:
    """What belongs to a percentage; without one all is unknown.

    An autopilot subtracts the consumption from the capacity that it is configured with: it counts
    from full, in units of the rated capacity, so that both give the percentage.
    """
    if pct is None or not math.isfinite(pct):
        return ReportedCharge()
    pack_data = report.pack_data
    used_frac = 1.0 - min(max(pct, 0.0), 100.0) / 100.0
    sources_mah = pack_data.capacity_mah, report.snapshot.full_mah
    capacity_mah = next((mah for mah in sources_mah if mah is not None and mah > 0.0), None)
    low_s = None if left_s is None or low_frac is None else left_s * low_frac
    if capacity_mah is None:
        return ReportedCharge(pct, left_s, remaining_low_s=low_s)
    consumed_mah = used_frac * capacity_mah
    if pack_data.cells is None:
        return ReportedCharge(pct, left_s, consumed_mah, remaining_low_s=low_s)
    mean_v = pack_data.chemistry.mean_open_circuit_v(1.0 - used_frac)
    consumed_wh = consumed_mah / 1000.0 * mean_v * pack_data.cells
    return ReportedCharge(pct, left_s, consumed_mah, consumed_wh, low_s)


def _charge_pct(report: Report) -> float | None:
    """State of charge; without a current the lower of estimate and gauge.

    A current that saturates its register is unknown, and PX4 acts on the percentage alone.
    """
    estimate_pct = report.estimate.soc_pct
    gauge_pct = report.snapshot.soc_pct
    if report.snapshot.current_a is None and estimate_pct is not None and gauge_pct is not None:
        return min(estimate_pct, gauge_pct) if math.isfinite(estimate_pct) else None
    return estimate_pct


def _continuous_a(report: Report) -> float:
    """Largest current that lasts: the rated one, else that of the chemistry."""
    pack_data = report.pack_data
    rated_c = report.pack_data.continuous_c
    continuous_c = pack_data.chemistry.continuous_c if rated_c is None else rated_c
    return continuous_c * pack_data.capacity_ah
