# SPDX-License-Identifier: Apache-2.0
"""Stage: which pack a snapshot is of, and whether the earlier one may have been replaced.

On the ground a pack that answers with another identity is another pack. After an absence on the
ground (nothing received for 2 s, a restart) so is one whose voltage or gauge charge cannot be that
of the earlier pack: serial numbers repeat, and the same pack may have been charged. It gets another
`Identity.connection`, by which every stage starts again from its readings. A faster swap shows as
a jump of the resting voltage: a large one is enough, a smaller one if the gauge's charge follows.
So is a jump of the charge of which the cells show at least a half.

Under load no identity changes. Another pack that answers in flight (a multiplexer on the wrong
channel, a second device at the address) is treated as silence, which has its own limits; the
earlier pack continues when it answers again.
"""

from dataclasses import dataclass
from typing import ClassVar

from dronebms.core.chemistry import Chemistry
from dronebms.core.pack_data import LOAD_C, SINGLE_READING_S, PackData
from dronebms.core.pack_identity import difference, is_same_pack, merged
from dronebms.core.vehicle_state import VehicleState
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot
from smartbattery.values import changed

ABSENT_S = 2.0  # without readings; unplugging takes longer than the reply to a repeated transfer
MOST_GAP_S = 60.0  # too short to land, charge or swap a pack and take off
_COMPARED_S = 5.0  # after an absence, until the gauge has reported
_LOADED_S = 2.0  # the same under load
_RECHARGED_S = 600.0  # absence after which the estimator starts again in any case
_DISARMED_C = 0.5  # a disarmed vehicle whose pack gives more than that is not on the ground
# A cell that has rested moves by some 20 mV within minutes of a flight, and a meter by as much.
_REST_V = 0.05
# errors of the nominal sag: a cold pack has three times as much
_SAG = 2.0
_RELAX = 0.5
_RELAX_S = 120.0  # time constant of the diffusion that follows a load
_JUMP_V = 0.3  # without an absence: half of what a LiPo cell has between full and empty
_JUMP_S = 3.0
# A smaller one is a swap if the gauge's charge jumps as well, which a driver may read 5 s later: a
# pack that is gone for less than ABSENT_S ends no reading.
_LEAST_JUMP_V = 0.05
_LEAST_JUMP_PCT = 5.0
_CHARGE_READ_S = 8.0
_LEAST_SHOWN_V = 0.005
_CHARGE_PCT = 10.0  # a gauge corrects its charge at rest by less
_FLOW = 1.5  # margin of a charge that flowed out of sight
# In flight, of every cell, and of the charge beyond what may have flowed: a gauge corrects it when
# cells collapse, and at the end of a discharge the best of them falls by less than 0.2 V/s.
_SWITCHED_V = 0.6
_SWITCHED_PCT = 15.0
_SWITCHED_S = 3.0
_RECENT_S = 1.0 - 1e-6


@dataclass(frozen=True, slots=True)
class PackReading:
    """What a pack shows of its charge at `t_s`."""

    t_s: float
    read_s: float  # of the voltage
    cell_v: float | None  # mean cell without its nominal sag
    low_v: float | None  # lowest cell as it was read, `None` if not all are known
    high_v: float | None  # highest cell
    uncertain_v: float  # of `cell_v`
    current_a: float
    soc_pct: float | None  # of the gauge
    sd_pct: float  # of `soc_pct`, at least


@dataclass(frozen=True, slots=True)
class RecognitionState:
    """State of the stage; times in seconds of the loop's clock."""

    FORMAT: ClassVar[int] = 2

    identity: Identity = UNIDENTIFIED
    last: PackReading | None = None  # newest of this pack
    recent: tuple[PackReading, ...] = ()  # one of each of the last seconds
    switched: bool = False  # the last answer was another pack's, with the same data
    relaxing_a: float = 0.0  # mean current of the last minutes
    absent: bool = False  # nothing of this pack was received in the last step
    changeable: bool = False  # was on the ground since its last answer
    before: PackReading | None = None  # of before an absence or a jump, to compare
    since_s: float = 0.0  # end of the absence, or the jump
    contradicted_s: float | None = None  # since when the readings contradict `before`
    jumped: bool = False  # without an absence
    armed: bool | None = None  # last known
    armed_s: float = 0.0


class PackRecognition:
    """Recognition of one battery's pack.

    Args:
        state: of an earlier run, to continue from.
    """

    def __init__(self, state: RecognitionState = RecognitionState()) -> None:
        self._state = state

    def state(self) -> RecognitionState:
        """State for a restart."""
        return self._state

    def update(self, snapshot: Snapshot, vehicle: VehicleState, pack_data: PackData) -> Snapshot:
        """The snapshot with the identity of its pack; unknown if another pack answers in flight."""
        self._follow(vehicle, snapshot.t_s)
        state = self._state
        grounded = state.last is not None and _on_ground(state, snapshot.t_s, pack_data)
        if grounded and not state.changeable:
            state = self._state = changed(state, changeable=True)
        if snapshot.voltage_v is None:
            differs = difference(state.identity, snapshot.identity)
            if not state.changeable and (state.switched or differs is not None):
                return self._refused(snapshot, differs or "voltage unknown")
            self._state = changed(state, absent=True)
            return changed(snapshot, identity=state.identity)
        now = reading_of(snapshot, pack_data, state.relaxing_a)
        if state.last is None:
            return self._accepted(snapshot, now, pack_data)
        now_s = snapshot.t_s
        read = snapshot.identity
        differs = difference(state.identity, read)
        if differs is not None:
            if not state.changeable:
                return self._refused(snapshot, differs)
            self._replaced(read)
        elif (switch := self._switch(now, pack_data)) is not None:
            self._state = changed(state, switched=True)
            return self._refused(snapshot, switch)
        elif state.absent or now_s - state.last.t_s > ABSENT_S:
            before = state.last if state.changeable else None
            self._state = changed(
                state, before=before, since_s=now_s, contradicted_s=None, jumped=False
            )
        if self._contradicts(now, pack_data):
            self._replaced(read)
        return self._accepted(snapshot, now, pack_data)

    def _refused(self, snapshot: Snapshot, differs: str) -> Snapshot:
        """Silence in place of another pack's readings."""
        state = self._state
        now_s = snapshot.t_s
        self._state = changed(state, absent=True)
        read_at_s = {} if state.last is None else {"voltage_v": state.last.read_s}
        return changed(
            snapshot.unknown(now_s, f"another pack answers: {differs}"),
            identity=state.identity,
            read_at_s=read_at_s,
            other_pack=differs,
        )

    def _switch(self, now: PackReading, pack_data: PackData) -> str | None:
        """Charge and voltage of another pack that answers in flight, `None` if they can be ours."""
        state = self._state
        if state.changeable or not state.recent:
            return None
        then = state.recent[0]
        if now.t_s - then.t_s > 2.0 * _SWITCHED_S and not state.switched:
            return None  # after an absence
        by_v = _apart_v(then, now, pack_data)
        by_pct = _apart_pct(then, now, pack_data.capacity_ah)
        if by_v is None or by_pct is None:
            return "charge or cells unknown" if state.switched else None
        least_v = _SWITCHED_V * min(max((now.t_s - then.t_s) / _SWITCHED_S, 1.0), 2.0)
        differs = abs(by_v) > least_v, abs(by_pct) > _SWITCHED_PCT
        if state.switched:
            answers = any(differs)  # until both are ours again
        else:
            answers = all(differs) and (by_v > 0.0) is (by_pct > 0.0)
        return f"charge {by_pct:+.0f} %, cells {by_v:+.1f} V" if answers else None

    def continues(self, snapshot: Snapshot, pack_data: PackData) -> bool:
        """Whether a snapshot can be of the pack of this state, after a restart."""
        read = changed(snapshot.identity, connection=self._state.identity.connection)
        now = reading_of(snapshot, pack_data, 0.0)
        last = self._state.last
        same = is_same_pack(self._state.identity, read)
        return same and last is not None and not is_other_charge(last, now, pack_data)

    def _follow(self, vehicle: VehicleState, now_s: float) -> None:
        """Note whether the vehicle is armed; what was known holds for a minute."""
        state = self._state
        if vehicle.armed is not None:
            self._state = changed(state, armed=vehicle.armed, armed_s=now_s)
        elif now_s - state.armed_s > MOST_GAP_S:
            self._state = changed(state, armed=None)

    def _contradicts(self, now: PackReading, pack_data: PackData) -> bool:
        """Whether readings cannot be those of the pack before an absence, and last."""
        state = self._state
        now_s = now.t_s
        if state.before is None or state.last is None:
            return self._jumps(now, pack_data)
        ground_c = _DISARMED_C if state.armed is False else LOAD_C
        loaded = abs(now.current_a) >= ground_c * pack_data.capacity_ah
        compared_s = _CHARGE_READ_S if state.jumped else _COMPARED_S
        over = now_s - state.since_s > (_LOADED_S if loaded else compared_s)
        pending_s = state.contradicted_s
        if state.jumped and (loaded or not _on_ground(state, now_s, pack_data)):
            over = True
            pending_s = None
        contradicts = is_other_charge(state.before, now, pack_data)
        begins_s = now_s
        jump_v = _jump_v(state.before, now)
        if state.jumped and jump_v <= _LEAST_JUMP_V:
            contradicts = _charge_follows(state.before, now, pack_data, state.relaxing_a)
            # What the cells hardly show lasts longer than the reading of a charge.
            begins_s += _CHARGE_READ_S - SINGLE_READING_S
        elif state.jumped and jump_v <= _JUMP_V:
            contradicts = contradicts and _charge_jumps(state.before, now)
        if not contradicts or (over and pending_s is None):
            before = None if over else state.before
            self._state = changed(state, before=before, contradicted_s=None)
            return False
        self._state = changed(state, contradicted_s=begins_s if pending_s is None else pending_s)
        return pending_s is not None and now_s - pending_s >= SINGLE_READING_S

    def _jumps(self, now: PackReading, pack_data: PackData) -> bool:
        """Note a jump of resting voltage or charge without an absence, to be compared from here."""
        state = self._state
        last = self._state.last
        if last is None or not state.changeable:
            return False
        jump_v = _jump_v(last, now)
        if jump_v > _LEAST_JUMP_V:
            # A large one alone lasts longer than a contradiction after an absence.
            lasts_s = now.t_s + _JUMP_S - SINGLE_READING_S if jump_v > _JUMP_V else None
            self._state = changed(
                state, before=last, since_s=now.t_s, contradicted_s=lasts_s, jumped=True
            )
        elif _has_other_charge(last, now, pack_data):  # the cells may follow
            self._state = changed(
                state, before=last, since_s=now.t_s, contradicted_s=None, jumped=True
            )
        return False

    def _replaced(self, read: Identity) -> None:
        """Another pack from here on."""
        count = self._state.identity.connection + 1
        self._state = RecognitionState(
            identity=changed(read, connection=count),
            armed=self._state.armed,
            armed_s=self._state.armed_s,
        )

    def _accepted(self, snapshot: Snapshot, now: PackReading, pack_data: PackData) -> Snapshot:
        """Take in a snapshot of this pack and its reading; the snapshot with its identity."""
        state = self._state
        read = snapshot.identity
        if read.connection != state.identity.connection:
            read = changed(read, connection=state.identity.connection)
        dt_s = 0.0 if state.last is None else snapshot.t_s - state.last.t_s
        current_a = abs(now.current_a)
        share = min(max(dt_s, 0.0) / _RELAX_S, 1.0)
        relaxing_a = state.relaxing_a + share * (current_a - state.relaxing_a)
        last = changed(now, uncertain_v=_uncertain_v(current_a, relaxing_a, _ohm(pack_data)))
        state = changed(
            state,
            identity=merged(state.identity, read),
            last=last,
            recent=_recent(state.recent, last),
            switched=False,
            relaxing_a=relaxing_a,
            absent=False,
        )
        if state.before is None:
            grounded = _on_ground(state, snapshot.t_s, pack_data)
            if grounded is not state.changeable:
                state = changed(state, changeable=grounded)
        self._state = state
        if snapshot.identity is state.identity:
            return snapshot
        return changed(snapshot, identity=state.identity)


def _on_ground(state: RecognitionState, now_s: float, pack_data: PackData) -> bool:
    """Whether the pack could be replaced now: disarmed or, if that is unknown, without load."""
    last = state.last
    current_a = 0.0 if last is None else abs(last.current_a)
    if state.armed is None:
        gone_s = 0.0 if last is None else now_s - last.t_s
        return current_a < LOAD_C * pack_data.capacity_ah or gone_s > MOST_GAP_S
    return not state.armed and current_a < _DISARMED_C * pack_data.capacity_ah


def reading_of(snapshot: Snapshot, pack_data: PackData, relaxing_a: float) -> PackReading:
    """What a snapshot shows of the charge of its pack.

    Args:
        snapshot: with a voltage or not.
        pack_data: of the pack.
        relaxing_a: mean current of the last minutes, from which the cells still relax.
    """
    known = snapshot.known_cells_v()
    cells = pack_data.cells or snapshot.identity.cells or len(snapshot.cells_v)
    whole = bool(known) and len(known) == len(snapshot.cells_v)
    mean_v = sum(known) / len(known) if whole else None
    if mean_v is None and snapshot.voltage_v is not None and cells:
        mean_v = snapshot.voltage_v / cells
    ohm = _ohm(pack_data)
    current_a = snapshot.current_a or 0.0
    return PackReading(
        t_s=snapshot.t_s,
        read_s=snapshot.read_at_s.get("voltage_v", snapshot.t_s),
        cell_v=None if mean_v is None else mean_v + ohm * current_a,
        low_v=min(known) if whole else None,
        high_v=max(known) if whole else None,
        uncertain_v=_uncertain_v(abs(current_a), relaxing_a, ohm),
        current_a=current_a,
        soc_pct=snapshot.soc_pct,
        sd_pct=max(_CHARGE_PCT, snapshot.max_error_pct or 0.0),
    )


def _uncertain_v(current_a: float, relaxing_a: float, ohm: float) -> float:
    """Uncertainty of a cell without its nominal sag."""
    return ohm * (_SAG * current_a + _RELAX * relaxing_a)


def is_other_charge(before: PackReading, now: PackReading, pack_data: PackData) -> bool:
    """Whether a pack cannot have come from one reading to the other out of sight.

    What flowed meanwhile is bounded: by the currents at both ends and by what a vehicle on the
    ground draws, and after ten minutes by a charger.
    """
    gone_s = max(now.t_s - before.t_s, 0.0)
    ah = pack_data.capacity_ah
    most_a = max(abs(before.current_a), abs(now.current_a), LOAD_C * ah)
    charger_a = pack_data.chemistry.charge_c * ah if gone_s > _RECHARGED_S else 0.0
    per_a = _FLOW * gone_s / ah / 36.0
    fall_pct = per_a * most_a
    rise_pct = per_a * charger_a
    if before.soc_pct is not None and now.soc_pct is not None:
        sd_pct = max(before.sd_pct, now.sd_pct)
        if not -fall_pct - sd_pct <= now.soc_pct - before.soc_pct <= rise_pct + sd_pct:
            return True
    if before.cell_v is None or now.cell_v is None:
        return False
    off_v = _REST_V + before.uncertain_v + now.uncertain_v
    low_v = _open_v(pack_data.chemistry, before.cell_v, -fall_pct) - off_v
    high_v = _open_v(pack_data.chemistry, before.cell_v, rise_pct) + off_v
    # A load explains any lower voltage.
    is_low = now.cell_v < low_v and now.current_a < LOAD_C * ah
    return is_low or (now.cell_v > high_v and before.current_a < LOAD_C * ah)


def _jump_v(before: PackReading, now: PackReading) -> float:
    """Volts by which two resting voltages differ beyond their uncertainty; 0 if one is unknown."""
    if before.cell_v is None or now.cell_v is None:
        return 0.0
    return abs(now.cell_v - before.cell_v) - before.uncertain_v - now.uncertain_v


def _has_other_charge(before: PackReading, now: PackReading, pack_data: PackData) -> bool:
    """Whether the gauge's charge has jumped, by more than may have flowed."""
    by_pct = _apart_pct(before, now, pack_data.capacity_ah)
    return by_pct is not None and abs(by_pct) > _LEAST_JUMP_PCT


def _charge_follows(
    before: PackReading, now: PackReading, pack_data: PackData, relaxing_a: float
) -> bool:
    """Whether the charge has jumped, and the cells by at least half of what that means.

    A gauge that corrects its charge at rest moves no cell. What a steady current does to the cells
    is the same in both readings.
    """
    if not _has_other_charge(before, now, pack_data):
        return False
    if before.soc_pct is None or now.soc_pct is None:
        return False
    if before.cell_v is None or now.cell_v is None:
        return False
    by_pct = now.soc_pct - before.soc_pct
    by_v = now.cell_v - before.cell_v
    meant_v = _open_v(pack_data.chemistry, before.cell_v, by_pct) - before.cell_v
    unsteady_a = _SAG * abs(now.current_a - before.current_a)
    unsteady_a += _RELAX * abs(relaxing_a - abs(now.current_a))
    uncertain_v = _ohm(pack_data) * unsteady_a
    shown_v = max(by_v - uncertain_v, 0.0) + min(by_v + uncertain_v, 0.0)
    return meant_v * shown_v > 0.0 and abs(shown_v) >= max(abs(meant_v) / 2.0, _LEAST_SHOWN_V)


def _charge_jumps(before: PackReading, now: PackReading) -> bool:
    """Whether the gauge's charge has jumped in the direction of the voltage."""
    if before.soc_pct is None or now.soc_pct is None:
        return False
    if before.cell_v is None or now.cell_v is None:
        return False
    by_pct = now.soc_pct - before.soc_pct
    same_sign = (by_pct > 0.0) is (now.cell_v > before.cell_v)
    return same_sign and abs(by_pct) > _LEAST_JUMP_PCT


def _open_v(chemistry: Chemistry, rested_v: float, by_pct: float) -> float:
    """Resting voltage after a change of the charge; a pack's own offset from the curve stays."""
    charge = chemistry.charge_at(rested_v)
    changed_v = chemistry.open_circuit_v(charge + by_pct / 100.0)
    return rested_v + changed_v - chemistry.open_circuit_v(charge)


def _apart_v(then: PackReading, now: PackReading, pack_data: PackData) -> float | None:
    """Volts by which every cell is beyond all that were there, less the response to the load."""
    if then.low_v is None or then.high_v is None or now.low_v is None or now.high_v is None:
        return None
    step_v = _SAG * _ohm(pack_data) * (now.current_a - then.current_a)
    rises_v = now.low_v - then.high_v - max(-step_v, 0.0)
    falls_v = then.low_v - now.high_v - max(step_v, 0.0)
    return max(rises_v, 0.0) - max(falls_v, 0.0)


def _apart_pct(then: PackReading, now: PackReading, ah: float) -> float | None:
    """Points by which the gauge's charge differs beyond what may have flowed."""
    if then.soc_pct is None or now.soc_pct is None:
        return None
    most_a = max(abs(then.current_a), abs(now.current_a))
    flow_pct = _FLOW * (now.t_s - then.t_s) / ah / 36.0 * most_a
    by_pct = now.soc_pct - then.soc_pct
    return max(by_pct - flow_pct, 0.0) + min(by_pct + flow_pct, 0.0)


def _recent(readings: tuple[PackReading, ...], last: PackReading) -> tuple[PackReading, ...]:
    """One reading of each of the last seconds, the oldest from before them."""
    if readings and last.t_s - readings[-1].t_s < _RECENT_S:
        return readings
    readings = (*readings, last)
    while len(readings) > 1 and readings[1].t_s <= last.t_s - _SWITCHED_S:
        readings = readings[1:]
    return readings


def _ohm(pack_data: PackData) -> float:
    """Nominal resistance of a cell."""
    return pack_data.chemistry.new_cell_ohm(pack_data.capacity_ah)
