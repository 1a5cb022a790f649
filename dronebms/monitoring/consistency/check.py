# SPDX-License-Identifier: Apache-2.0
"""Stage: the snapshot with every contradiction decided, or named as disputed.

A rejected reading leaves its field: it is unknown, except that the sum of the cells takes the place
of a rejected pack voltage. Readings in dispute are in `Snapshot.disputed`, for limits alone.
"""

from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, ClassVar

from dronebms.core.pack_data import PackData
from dronebms.core.resolution import FINE, Resolution
from dronebms.monitoring.consistency.current_response import CurrentSample, Evidence
from dronebms.monitoring.consistency.currents import CurrentState, Wrong
from dronebms.monitoring.consistency.lone_voltage import LoneVoltage, PackReading
from dronebms.monitoring.consistency.voltage_samples import VoltageSample
from dronebms.monitoring.consistency.voltages import Fault, VoltageState
from smartbattery.registers import STATUS_INITIALIZED
from smartbattery.snapshot import Snapshot
from smartbattery.values import changed

_SECOND_S = 1.0 - 1e-6
_CHARGE_FIELDS = ("remaining_mah", "soc_pct", "time_to_empty_s")
# RelativeStateOfCharge is by definition (SBS 1.1) the remaining share of the full charge capacity.
# 10 points less the rounding; as long as a driver may take to read each of the three again.
_WORDS_POINTS = 9.0
_WORDS_S = 10.0
_MOST_READINGS = 100  # of a second; a frozen gauge is read on and on without a new time


@dataclass(frozen=True, slots=True)
class ConsistencyState:
    """State of the check; times in seconds of the loop's clock."""

    FORMAT: ClassVar[int] = 6

    second_s: float | None = None  # of the last whole second
    currents_a: tuple[float, ...] = ()  # since then
    cells_v: tuple[float, ...] = ()  # median of the cells, since then
    shares_v: tuple[float, ...] = ()  # a cell's share of the pack, since then
    last_a: float | None = None  # current at the last second
    words_s: float | None = None  # since when the words of the charge contradict each other
    initialized: bool = False  # the gauge of this pack has reported so
    voltages: VoltageState = field(default_factory=VoltageState)
    currents: CurrentState = field(default_factory=CurrentState)
    lone_voltage: LoneVoltage = field(default_factory=LoneVoltage)


class ConsistencyCheck:
    """Cross-checks of one battery's snapshots.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: ConsistencyState = ConsistencyState()) -> None:
        self._second_s = state.second_s
        self._currents_a = list(state.currents_a)
        self._cells_v = list(state.cells_v)
        self._shares_v = list(state.shares_v)
        self._last_a = state.last_a
        self._words_s = state.words_s
        self._initialized = state.initialized
        self._voltages = state.voltages
        self._currents = state.currents
        self._lone_voltage = state.lone_voltage

    def state(self) -> ConsistencyState:
        """State for a restart."""
        return ConsistencyState(
            self._second_s,
            tuple(self._currents_a),
            tuple(self._cells_v),
            tuple(self._shares_v),
            self._last_a,
            self._words_s,
            self._initialized,
            self._voltages,
            self._currents,
            self._lone_voltage,
        )

    def check(
        self,
        snapshot: Snapshot,
        pack_data: PackData,
        resolution: Resolution = FINE,
        *,
        armed: bool | None = None,
    ) -> Snapshot:
        """The snapshot without rejected and disputed readings.

        Args:
            snapshot: plausible readings.
            pack_data: rated data; without a capacity the current is not compared.
            resolution: of the readings.
            armed: of the vehicle, None if unknown: then the pack may fly.
        """
        snapshot = self._checked_start(snapshot)
        if snapshot.known_cells_v():
            checked = self._checked_voltages(snapshot, pack_data)
        else:
            checked = self._checked_alone(snapshot, pack_data)
        checked = self._checked_current(checked, pack_data, resolution, armed=armed)
        checked = self._checked_charge(checked, snapshot)
        if not checked.doubts:
            return checked
        withheld = snapshot.counts.withheld + len(checked.doubts)
        return changed(checked, counts=changed(snapshot.counts, withheld=withheld))

    def _checked_start(self, snapshot: Snapshot) -> Snapshot:
        """Reject charge and status of a gauge that was initialized and is not: it restarts.

        Some gauges never report that they are; nothing follows from that.
        """
        status_raw = snapshot.status_raw
        if status_raw is None:
            return snapshot
        initialized = bool(status_raw & STATUS_INITIALIZED)
        self._initialized |= initialized
        if initialized or not self._initialized:
            return snapshot
        names = (*_CHARGE_FIELDS, "status_raw")
        return _rejected(_unknown(snapshot, names), names, "gauge restarts: charge rejected")

    # ------------------------------------------------------------------ cells and pack

    def _checked_voltages(self, snapshot: Snapshot, pack_data: PackData) -> Snapshot:
        known_v = snapshot.known_cells_v()
        sample = _voltage_sample(snapshot, known_v)
        if sample is not None and self._is_due(sample):
            ah = pack_data.capacity_ah
            self._judged(self._voltages.added(sample, pack_data.chemistry, ah))
        elif sample is not None and self._voltages.fault is None:
            # A bad contact comes and goes within a second.
            ohm = pack_data.chemistry.new_cell_ohm(pack_data.capacity_ah)
            return _without_cells(snapshot, self._voltages.odd_cells(sample, ohm))
        pack_v = snapshot.voltage_v
        state = self._voltages
        if state.fault is None or (state.fault is Fault.PACK and pack_v is None):
            return snapshot
        if state.fault is Fault.CELLS:
            return _without_cells(snapshot, state.cells)
        sum_v = fmean(known_v) * len(snapshot.cells_v)
        pack = "pack unknown" if pack_v is None else f"pack {pack_v:.1f} V"
        if state.fault is Fault.PACK:
            doubt = f"{pack} rejected, cells {sum_v:.1f} V"
            return _rejected(changed(snapshot, voltage_v=sum_v), ("voltage_v",), doubt)
        unknown = changed(snapshot, cells_v=(None,) * len(snapshot.cells_v))
        if state.fault is Fault.ALL_CELLS:
            doubt = f"cells {sum_v:.1f} V rejected, {pack}"
            return _rejected(unknown, ("cells_v",), doubt)
        packs_v = (sum_v,) if pack_v is None else (pack_v, sum_v)
        return changed(
            unknown,
            voltage_v=min(packs_v),
            doubts=(*snapshot.doubts, f"{pack}, cells {sum_v:.1f} V disputed"),
            disputed={"voltage_v": packs_v, "cells_v": tuple(known_v)},
        )

    def _checked_alone(self, snapshot: Snapshot, pack_data: PackData) -> Snapshot:
        """Reject a pack's voltage without cells that no pack steps to."""
        pack_v = snapshot.voltage_v
        if pack_v is None:
            return snapshot
        read_s = snapshot.read_at_s.get("voltage_v", snapshot.t_s)
        state = self._lone_voltage
        state = state.added(PackReading(read_s, pack_v, snapshot.current_a), pack_data)
        self._lone_voltage = state
        if not state.is_rejected or state.last is None:
            return snapshot
        doubt = f"pack {pack_v:.1f} V rejected, {state.last.pack_v:.1f} V before"
        return _rejected(changed(snapshot, voltage_v=None), ("voltage_v",), doubt)

    def _is_due(self, sample: VoltageSample) -> bool:
        """Whether a sample is the one of a second, or cannot wait for it."""
        state = self._voltages
        last_s = state.samples[-1].t_s if state.samples else -1.0
        news = sample.t_s > last_s and state.fault is None and sample.is_gross
        return news or sample.t_s - last_s >= _SECOND_S

    def _judged(self, voltages: VoltageState) -> None:
        """Store a verdict; the response of the cells is not compared across a change of it."""
        if voltages.fault is not self._voltages.fault:
            self._currents = changed(self._currents, samples=(), charging_s=None, suspect=False)
            self._begin_second(None)
        self._voltages = voltages

    def _begin_second(self, second_s: float | None) -> None:
        self._second_s = second_s
        self._currents_a = []
        self._cells_v = []
        self._shares_v = []

    # ------------------------------------------------------------------ current and charge

    def _checked_current(
        self,
        snapshot: Snapshot,
        pack_data: PackData,
        resolution: Resolution,
        *,
        armed: bool | None,
    ) -> Snapshot:
        current_a = snapshot.current_a
        capacity_mah = pack_data.capacity_mah
        if capacity_mah is None:
            return snapshot
        if current_a is not None:
            self._currents = self._counted(snapshot, current_a, capacity_mah)
            sample = self._gathered(snapshot, current_a, pack_data)
            if sample is not None:
                evidence = Evidence(pack_data, capacity_mah, snapshot.average_a, resolution, armed)
                self._currents = self._currents.added(sample, evidence)
        state = self._currents
        wrong = state.wrong
        rates_a = state.rates_a
        if wrong is Wrong.DISPUTED and rates_a is not None:
            currents_a = (rates_a[1],) if current_a is None else (current_a, rates_a[1])
            read = "current unknown" if current_a is None else f"current {current_a:.0f} A"
            doubt = f"{read}, charge falls at {rates_a[1]:.0f} A"
            disputed = {**snapshot.disputed, "current_a": currents_a}
            unknown = _unknown(snapshot, ("current_a", *_CHARGE_FIELDS))
            return changed(unknown, doubts=(*snapshot.doubts, doubt), disputed=disputed)
        if wrong in (Wrong.CURRENT, Wrong.BOTH) and current_a is not None:
            doubt = f"{state.doubt}: rejected"
            names = ("current_a", "average_a")
            snapshot = _rejected(_unknown(snapshot, names), names, doubt)
        if wrong in (Wrong.CHARGE, Wrong.BOTH):
            doubt = f"gauge charge rejected: {state.charge_doubt}"
            snapshot = _rejected(_unknown(snapshot, _CHARGE_FIELDS), _CHARGE_FIELDS, doubt)
        return snapshot

    def _checked_charge(self, checked: Snapshot, read: Snapshot) -> Snapshot:
        """Reject the charge while percentage, remaining and full charge contradict each other."""
        pct = read.soc_pct
        mah = read.remaining_mah
        full_mah = read.full_mah
        if pct is None or mah is None or not full_mah:
            return checked
        if abs(pct - 100.0 * mah / full_mah) < _WORDS_POINTS:
            self._words_s = None
            return checked
        if self._words_s is None:
            self._words_s = read.t_s
        rejected = not set(_CHARGE_FIELDS).isdisjoint(checked.rejected)
        if read.t_s - self._words_s < _WORDS_S or rejected or checked.remaining_mah is None:
            return checked
        doubt = f"gauge {pct:.0f} %, {mah:.0f} of {full_mah:.0f} mAh: rejected"
        return _rejected(_unknown(checked, _CHARGE_FIELDS), _CHARGE_FIELDS, doubt)

    def _counted(self, snapshot: Snapshot, current_a: float, capacity_mah: float) -> CurrentState:
        """State of the currents after a step of their counts."""
        state = self._currents
        mah = snapshot.remaining_mah
        read_s = snapshot.read_at_s.get("remaining_mah", snapshot.t_s)
        counts = state.counts.drawn(snapshot.t_s, current_a)
        restarted = counts.newest is None
        if mah is not None and read_s != counts.read_s:
            counts = counts.read(read_s, mah, snapshot.full_mah, capacity_mah)
        return state.counting(counts, restarted=restarted)

    def _gathered(
        self, snapshot: Snapshot, current_a: float, pack_data: PackData
    ) -> CurrentSample | None:
        """Gather the means of a second; None until it is whole."""
        cell_v = _middle_cell(snapshot, pack_data)
        read_s = snapshot.read_at_s.get("voltage_v", snapshot.t_s)
        if cell_v is None:
            self._begin_second(None)
            return None
        cells = pack_data.cells or len(snapshot.cells_v)
        pack_v = None if "voltage_v" in snapshot.disputed else snapshot.voltage_v
        currents_a = self._currents_a
        cells_v = self._cells_v
        shares_v = self._shares_v
        currents_a.append(current_a)
        cells_v.append(cell_v)
        shares_v.append(cell_v if pack_v is None else pack_v / cells)
        for readings in (currents_a, cells_v, shares_v):
            del readings[:-_MOST_READINGS]
        if self._second_s is not None and read_s - self._second_s < _SECOND_S:
            return None
        still = current_a == self._last_a and min(currents_a) == max(currents_a)
        sample = CurrentSample(read_s, fmean(currents_a), fmean(cells_v), fmean(shares_v), still)
        self._begin_second(read_s)
        self._last_a = current_a
        return sample


def _voltage_sample(snapshot: Snapshot, known_v: list[float]) -> VoltageSample | None:
    """Voltages of the pack and of every cell, `None` if one is unknown."""
    if not snapshot.voltage_v or not known_v or len(known_v) < len(snapshot.cells_v):
        return None
    read_s = snapshot.read_at_s.get("voltage_v", snapshot.t_s)
    return VoltageSample(read_s, snapshot.voltage_v, tuple(known_v), snapshot.current_a)


def _middle_cell(snapshot: Snapshot, pack_data: PackData) -> float | None:
    """The median of the cells, which one wrong reading does not move; else the pack's share."""
    known_v = snapshot.known_cells_v()
    if known_v:
        return median(known_v)
    cells = pack_data.cells or len(snapshot.cells_v)
    if snapshot.voltage_v is None or not cells or "voltage_v" in snapshot.disputed:
        return None
    return snapshot.voltage_v / cells


def _without_cells(snapshot: Snapshot, cells: tuple[int, ...]) -> Snapshot:
    others_v = [v for k, v in enumerate(snapshot.cells_v) if v is not None and k not in cells]
    for k in cells:
        cell_v = snapshot.cells_v[k] if k < len(snapshot.cells_v) else None
        if cell_v is not None:
            others = f", others {fmean(others_v):.2f} V" if others_v else ""
            doubt = f"cell {k + 1} {cell_v:.2f} V rejected{others}"
            snapshot = _rejected(snapshot, (f"cell{k + 1}_v",), doubt)
    kept_v = tuple([None if k in cells else v for k, v in enumerate(snapshot.cells_v)])
    return changed(snapshot, cells_v=kept_v)


def _unknown(snapshot: Snapshot, names: tuple[str, ...]) -> Snapshot:
    unknown: dict[str, Any] = dict.fromkeys(names)
    return changed(snapshot, **unknown)


def _rejected(snapshot: Snapshot, names: tuple[str, ...], doubt: str) -> Snapshot:
    return changed(
        snapshot, doubts=(*snapshot.doubts, doubt), rejected=(*snapshot.rejected, *names)
    )
