# SPDX-License-Identifier: Apache-2.0
"""Plausibility check: rejects implausible steps and frozen readings before estimation.

ArduPilot and PX4 latch a battery failsafe at the first report of it. A value that changes by more
than a pack can is therefore debounced: the previous value is used until the new one has lasted for
longer than one update of a slow gauge. Readings that do not change at all under load for half a
minute come from a frozen gauge and are unknown; so do voltages that stand still while the current
changes by what moves every cell. A pack cools in minutes: a temperature that falls faster is of a
sensor that fails, and unknown, because it would clear the alarm of a hot pack. No rise is too fast,
as none is in a thermal runaway. A gauge has 1 mV; a log may have rounded its values
to 0.1 V, which lets them stand for longer: until the charge that was used explains a step. Volts,
amperes, degC, seconds; discharge is positive. Source of the bounds: recorded flights, whose largest
step is 9 % of the voltage and whose longest constant reading is 18 s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from dronebms.core.chemistry import Chemistry
from dronebms.core.pack_data import SINGLE_READING_S, PackData
from dronebms.core.pack_identity import is_same_pack, merged
from dronebms.core.resolution import FINE, Resolution
from smartbattery.snapshot import CELL_FIELDS, MAX_CELLS, UNIDENTIFIED, Identity, Snapshot
from smartbattery.values import changed

_STEP_V_FRAC = 0.2
_STEP_BURSTS = 2.0  # times the chemistry's 10 s current
_STEP_K = 10.0
_UNKNOWN_CAPACITY_MAH = 10_000.0  # of a large pack: no step of a small one is rejected
_FROZEN_S = 30.0
_SEEN_V = 0.01  # sag of a cell that a working gauge shows: 10 of its steps
_COOLS_K_PER_S = 0.1  # beyond `_STEP_K`; a hot pack in the cold loses 60 K in 5 minutes
# Of the charge: the curve is as flat as this in the middle, and no coarser log is waited for.
_FLAT_FROM_FRAC = 0.3
_FLAT_TO_FRAC = 0.7
_HIDDEN_MARGIN = 2.0
_MOST_HIDDEN_FRAC = 0.15
_HOUR_S = 3600.0
_LEAST_CELL_V = 1.0  # no cell of a working pack is below
_LOAD_C = 0.3  # below it, on the ground, constant readings are normal


@dataclass(frozen=True, slots=True)
class ValueState:
    """One quantity: the accepted value, and since when readings differ from it by a step."""

    accepted: float | None = None
    since_s: float | None = None

    def after(self, value: float | None, read_s: float, step: float) -> "ValueState":
        """State after a reading; a change by more than `step` is accepted once it has lasted."""
        lasts = self.since_s is not None and read_s - self.since_s >= SINGLE_READING_S
        if value is None or self.accepted is None or abs(value - self.accepted) <= step or lasts:
            return ValueState(value)
        return ValueState(self.accepted, read_s) if self.since_s is None else self


_NO_VALUE = ValueState()


@dataclass(frozen=True, slots=True)
class Warmth:
    """Temperature of the pack as it can be: it follows the readings slowly in both directions."""

    degc: float
    at_s: float  # of its reading

    def after(self, degc: float, read_s: float) -> "Warmth":
        """State after a reading."""
        most_k = _COOLS_K_PER_S * max(read_s - self.at_s, 0.0)
        return Warmth(self.degc + min(max(degc - self.degc, -most_k), most_k), read_s)


@dataclass(frozen=True, slots=True)
class StillVoltages:
    """Voltages that have not changed at all under load, and the currents meanwhile."""

    volts: tuple[float | None, tuple[float | None, ...]]
    since_s: float
    least_a: float
    most_a: float


@dataclass(frozen=True, slots=True)
class PlausibilityState:
    """State of the check; times in seconds of the loop's clock."""

    FORMAT: ClassVar[int] = 3

    identity: Identity = UNIDENTIFIED
    values: dict[str, ValueState] = field(default_factory=dict)  # by field of the snapshot
    reading: tuple[float | None, float | None, tuple[float | None, ...]] | None = None
    moved_s: float = 0.0  # when `reading` (volts, amperes, cells) last changed
    settled_s: float | None = None  # when every accepted value was last read
    still: StillVoltages | None = None
    warmth: Warmth | None = None


class PlausibilityCheck:
    """Plausibility check of one battery's snapshots.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: PlausibilityState = PlausibilityState()) -> None:
        self._state = changed(state, values=dict(state.values))

    def state(self) -> PlausibilityState:
        """State for a restart."""
        return changed(self._state, values=dict(self._state.values))

    def resume(self, absent_s: float) -> None:
        """Continue after an absence of the loop: readings did not stand still in it."""
        state = self._state
        self._state = changed(state, moved_s=state.moved_s + absent_s, still=None)

    def check(
        self, snapshot: Snapshot, pack_data: PackData, resolution: Resolution = FINE
    ) -> Snapshot:
        """The snapshot without implausible steps; unknown while the gauge is frozen.

        Args:
            snapshot: of the source.
            pack_data: rated data of the pack.
            resolution: of the readings.
        """
        snapshot = _without_more_cells(_with_every_cell(snapshot, pack_data.cells), pack_data.cells)
        identity = snapshot.identity
        if not is_same_pack(self._state.identity, identity):
            self._state = PlausibilityState()
        known = merged(self._state.identity, identity)
        if known is not self._state.identity:
            self._state = changed(self._state, identity=known)
        capacity_ah = (pack_data.capacity_mah or _UNKNOWN_CAPACITY_MAH) / 1000.0
        frozen_s = self._frozen_s(snapshot, _LOAD_C * capacity_ah)
        hidden_s = 0.0
        if resolution.cell_v and snapshot.current_a:
            hidden_frac = _hidden_frac(resolution.cell_v, pack_data.chemistry)
            hidden_s = hidden_frac * capacity_ah * _HOUR_S / snapshot.current_a
        if frozen_s > max(_FROZEN_S, hidden_s):
            return snapshot.unknown(snapshot.t_s, f"gauge readings frozen for {frozen_s:.0f} s")
        ohm = pack_data.chemistry.new_cell_ohm(capacity_ah)
        still_s = self._still_s(
            snapshot, _LOAD_C * capacity_ah, (_SEEN_V + resolution.cell_v) / ohm
        )
        if still_s > max(_FROZEN_S, hidden_s):
            return snapshot.unknown(snapshot.t_s, f"gauge voltages frozen for {still_s:.0f} s")
        step_a = _STEP_BURSTS * pack_data.chemistry.burst_c * capacity_ah
        voltage_v = self._voltage(snapshot, "voltage_v", snapshot.voltage_v)
        current_a = self._value(snapshot, "current_a", snapshot.current_a, step_a)
        degc = self._value(snapshot, "temperature_degc", snapshot.temperature_degc, _STEP_K)
        named = zip(CELL_FIELDS, snapshot.cells_v, strict=False)
        cells_v = tuple([self._voltage(snapshot, name, v) for name, v in named])
        if degc is not None and self._cools_too_fast(snapshot, degc):
            return changed(
                self._checked(snapshot, voltage_v, current_a, None, cells_v),
                doubts=(*snapshot.doubts, f"temperature {degc:.0f} degC rejected: a sudden fall"),
                rejected=(*snapshot.rejected, "temperature_degc"),
            )
        return self._checked(snapshot, voltage_v, current_a, degc, cells_v)

    def _checked(
        self,
        snapshot: Snapshot,
        voltage_v: float | None,
        current_a: float | None,
        degc: float | None,
        cells_v: tuple[float | None, ...],
    ) -> Snapshot:
        """The snapshot with the accepted values."""
        read_at_s = self._read_at_s(snapshot)
        if read_at_s is snapshot.read_at_s and (voltage_v, current_a, degc, cells_v) == (
            snapshot.voltage_v,
            snapshot.current_a,
            snapshot.temperature_degc,
            snapshot.cells_v,
        ):
            return snapshot
        return changed(
            snapshot,
            voltage_v=voltage_v,
            current_a=current_a,
            temperature_degc=degc,
            cells_v=cells_v,
            read_at_s=read_at_s,
        )

    def _read_at_s(self, snapshot: Snapshot) -> Mapping[str, float]:
        """Times of the readings; while a step of it is pending, the voltage has its earlier time.

        A mean is of voltage and current: a pending step of the current delays it as well.
        """
        read_at_s = snapshot.read_at_s
        values = self._state.values
        if all(v.since_s is None for name, v in values.items() if name != "temperature_degc"):
            settled_s = read_at_s.get("voltage_v")
            if settled_s != self._state.settled_s:
                self._state = changed(self._state, settled_s=settled_s)
        elif self._state.settled_s is not None:
            return {**read_at_s, "voltage_v": self._state.settled_s}
        return read_at_s

    def _frozen_s(self, snapshot: Snapshot, load_a: float) -> float:
        """Seconds for which the readings have not changed at all under load."""
        current_a = snapshot.current_a
        read_s = snapshot.read_at_s.get("voltage_v", snapshot.t_s)
        reading = (snapshot.voltage_v, current_a, snapshot.cells_v)
        if reading != self._state.reading or current_a is None or current_a < load_a:
            self._state = changed(self._state, reading=reading, moved_s=read_s)
        return read_s - self._state.moved_s

    def _still_s(self, snapshot: Snapshot, load_a: float, seen_a: float) -> float:
        """Seconds for which the voltages have stood still while the current changed by `seen_a`."""
        current_a = snapshot.current_a
        still = self._state.still
        if current_a is None or current_a < load_a:
            if still is not None:
                self._state = changed(self._state, still=None)
            return 0.0
        read_s = snapshot.read_at_s.get("voltage_v", snapshot.t_s)
        volts = snapshot.voltage_v, snapshot.cells_v
        if still is None or still.volts != volts:
            still = StillVoltages(volts, read_s, current_a, current_a)
        elif not still.least_a <= current_a <= still.most_a:
            least_a = min(still.least_a, current_a)
            most_a = max(still.most_a, current_a)
            still = changed(still, least_a=least_a, most_a=most_a)
        if still is not self._state.still:
            self._state = changed(self._state, still=still)
        return read_s - still.since_s if still.most_a - still.least_a >= seen_a else 0.0

    def _cools_too_fast(self, snapshot: Snapshot, degc: float) -> bool:
        """Whether a temperature is lower than that of the pack can be."""
        read_s = snapshot.read_at_s.get("temperature_degc", snapshot.t_s)
        before = self._state.warmth
        warmth = Warmth(degc, read_s) if before is None else before.after(degc, read_s)
        if warmth != before:
            self._state = changed(self._state, warmth=warmth)
        return degc < warmth.degc - _STEP_K

    def _voltage(self, snapshot: Snapshot, name: str, value: float | None) -> float | None:
        before_v = self._state.values.get(name, _NO_VALUE).accepted
        # Relative to the larger: the step back to a true value is no larger than the step away.
        step_v = _STEP_V_FRAC * max(before_v or 0.0, value or 0.0)
        return self._value(snapshot, name, value, step_v)

    def _value(
        self, snapshot: Snapshot, name: str, value: float | None, step: float
    ) -> float | None:
        before = self._state.values.get(name, _NO_VALUE)
        if before.since_s is None and before.accepted == value:
            return value
        after = before.after(value, snapshot.read_at_s.get(name, snapshot.t_s), step)
        self._state.values[name] = after
        return after.accepted


def _with_every_cell(snapshot: Snapshot, cells: int | None) -> Snapshot:
    """The snapshot with the cells that a source leaves out, as unknown ones.

    Their sum is not that of the pack. Not if the pack's voltage leaves them nothing: then the
    number of cells is wrong, which the limits show.
    """
    known_v = snapshot.known_cells_v()
    missing = (cells or 0) - len(snapshot.cells_v)
    if missing <= 0 or not known_v or snapshot.voltage_v is None:
        return snapshot
    if snapshot.voltage_v - sum(known_v) < _LEAST_CELL_V * missing:
        return snapshot
    return changed(snapshot, cells_v=(*snapshot.cells_v, *(None,) * missing))


def _without_more_cells(snapshot: Snapshot, cells: int | None) -> Snapshot:
    """The snapshot without cells that the pack does not have, by its voltage.

    Words beyond the last that no working cell has are none, where the pack's voltage leaves them
    nothing. Of others no reading shows which is too many: all are rejected. Not if the pack's
    voltage is that of all of them: then the configured number is wrong.
    """
    more = len(snapshot.cells_v) - (cells or MAX_CELLS)
    pack_v = snapshot.voltage_v
    if more <= 0 or pack_v is None:
        return snapshot
    known_v = snapshot.known_cells_v()
    cells_v = snapshot.cells_v[:-more]
    words_v = snapshot.cells_v[-more:]
    left_v = pack_v - sum([v for v in cells_v if v is not None])
    none_left = None not in cells_v and left_v < _LEAST_CELL_V * more
    if none_left and all((v or 0.0) < _LEAST_CELL_V for v in words_v):
        return changed(snapshot, cells_v=cells_v)
    count = len(snapshot.cells_v)
    if len(known_v) < count or sum(known_v) - pack_v <= min(known_v) * more / 2.0:
        return snapshot
    doubt = f"{count} cells read, not {cells}: rejected"
    return changed(
        snapshot,
        cells_v=(None,) * (cells or 0),
        doubts=(*snapshot.doubts, doubt),
        rejected=(*snapshot.rejected, "cells_v"),
    )


def _hidden_frac(resolution_v: float, chemistry: Chemistry) -> float:
    """Share of the charge that can be used before a cell's voltage falls by a step."""
    flat_v = chemistry.open_circuit_v(_FLAT_TO_FRAC) - chemistry.open_circuit_v(_FLAT_FROM_FRAC)
    step_frac = resolution_v * (_FLAT_TO_FRAC - _FLAT_FROM_FRAC) / flat_v
    return min(_HIDDEN_MARGIN * step_frac, _MOST_HIDDEN_FRAC)
