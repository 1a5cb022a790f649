# SPDX-License-Identifier: Apache-2.0
"""Limit evaluation of one pack, and the status that follows from it.

Each limit trips after its hold time and a number of fresh readings and clears after its clear time.
An unknown quantity neither trips nor clears, and time in which it is unknown is no part of a hold
or clear time; silence of the gauge is a limit of its own. A latched limit clears when the quantity
has recovered while the vehicle is disarmed, or with another pack. Evaluation has no effect on the
vehicle; `dronebms.protection.actions` has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from math import inf
from operator import or_
from typing import ClassVar, NamedTuple

from dronebms.core.pack_data import PackData
from dronebms.core.pack_identity import is_same_pack
from dronebms.core.report import Estimate, Event, Severity, Status, SupplyStatus
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.check_time import CheckTime, longest_hold_s
from dronebms.protection.current_governor import (
    Governor,
    GovernorState,
    allowed_current,
    caps_of,
)
from dronebms.protection.limit_state import LimitRow, LimitState, QuantityLimits
from dronebms.protection.limits import Limit
from dronebms.protection.quantities import Quantities, QuantitiesState
from dronebms.protection.quantity_values import (
    NOT_APPLICABLE,
    NotApplicable,
    QuantityName,
    Value,
    Values,
    number,
)
from dronebms.protection.time_to_trip import TimeToTrip, TimeToTripState
from smartbattery.snapshot import Snapshot
from smartbattery.values import changed


@dataclass(frozen=True, slots=True)
class AlarmsState:
    """State of the limits of one pack."""

    FORMAT: ClassVar[int] = 2

    limits: dict[str, LimitState] = field(default_factory=dict)  # by id
    quantities: QuantitiesState = field(default_factory=QuantitiesState)
    governor: GovernorState = field(default_factory=GovernorState)
    time_to_trip: TimeToTripState = field(default_factory=TimeToTripState)
    supply: SupplyStatus | None = None
    carried_a: float = 0.0  # by this pack at the step of `supply`
    check_time: CheckTime = field(default_factory=CheckTime)


class _Governed(NamedTuple):
    """The current limit of a step."""

    limp_a: float | None  # that keeps the aircraft in the air, by this pack
    share_a: float | None  # the same by the supply's
    asked_a: float | None
    asked_by: str | None  # id of the limit that binds


class Alarms:
    """Limit evaluation of one pack.

    Args:
        limits: the table.
        pack_data: what is known of the pack.
        state: of an earlier run, to continue from; a limit without a state is not tripped.
    """

    def __init__(
        self, limits: Iterable[Limit], pack_data: PackData, state: AlarmsState = AlarmsState()
    ) -> None:
        table = tuple(limits)
        self.supply = state.supply  # that this pack is a part of, at the previous step
        self._carried_a = state.carried_a
        self._quantities = Quantities(pack_data, state.quantities)
        self._governor = Governor(state.governor)
        self._check_time = state.check_time
        self._set_table(table, state.limits)
        self._time_to_trip = TimeToTrip(table, pack_data, state.time_to_trip)

    def use(self, limits: Iterable[Limit], pack_data: PackData) -> None:
        """Use another table and other rated data; a tripped limit stays until it clears by them."""
        table = tuple(limits)
        self._quantities.pack_data = pack_data
        self._set_table(table, {limit_id: row.state for limit_id, row in self._rows.items()})
        self._time_to_trip = TimeToTrip(table, pack_data)

    def _set_table(self, limits: tuple[Limit, ...], states: Mapping[str, LimitState]) -> None:
        self._rows = {
            limit.limit_id: LimitRow(limit, states.get(limit.limit_id, LimitState()))
            for limit in limits
        }
        by_quantity: dict[QuantityName, list[LimitRow]] = {}
        for row in self._rows.values():
            by_quantity.setdefault(row.limit.quantity, []).append(row)
        self._groups = {
            quantity: QuantityLimits(quantity, rows) for quantity, rows in by_quantity.items()
        }
        self._labels = {limit.limit_id: limit.label for limit in limits}
        self._longest_hold_s = longest_hold_s(limits)
        self._caps = caps_of(limits, self._quantities.pack_data)

    def state(self) -> AlarmsState:
        """State for a restart."""
        return AlarmsState(
            {limit_id: row.state for limit_id, row in self._rows.items()},
            self._quantities.state(),
            self._governor.state(),
            self._time_to_trip.state(),
            self.supply,
            self._carried_a,
            self._check_time,
        )

    @property
    def latched(self) -> tuple[str, ...]:
        """Ids of the latched limits."""
        return tuple([limit_id for limit_id, row in self._rows.items() if row.state.latched])

    @property
    def settling(self) -> bool:
        """Whether the pack flies and no prediction is evaluated yet."""
        return self._quantities.settling

    def confirms(self, quantity: QuantityName, value: float) -> bool:
        """Whether every limit of a quantity that is beyond a value has tripped."""
        group = self._groups.get(quantity)
        rows = () if group is None else group.rows
        return all(row.state.active for row in rows if row.limit.beyond(value))

    def latch(self, limit_ids: Iterable[str]) -> None:
        """Trip and latch the limits that an earlier run latched for this pack.

        An id without a latching limit in the table is ignored.
        """
        for limit_id in limit_ids:
            row = self._rows.get(limit_id)
            if row is not None and row.limit.latch:
                row.state = LimitState(active=True, latched=True)
        for group in self._groups.values():
            group.note_busy()

    def resume(self) -> None:
        """Continue after an absence of the loop: trends and the preflight check start again."""
        self._quantities.resume()
        limits = [row.limit for row in self._rows.values()]
        self._time_to_trip = TimeToTrip(limits, self._quantities.pack_data)
        self._check_time = CheckTime()

    def update(
        self, snapshot: Snapshot, estimate: Estimate, vehicle: VehicleState = UNKNOWN_VEHICLE
    ) -> Status:
        """Evaluate every limit at the snapshot's time."""
        now_s = snapshot.t_s
        values = self._values(snapshot, estimate, vehicle)
        governed = self._govern(values, estimate, vehicle, now_s)
        values["limp_margin_a"] = _limp_margin_a(values, estimate, governed.share_a)
        events = self._events(values, snapshot, disarmed=vehicle.armed is False)
        self._check_time = self._check_time.after(snapshot, estimate)
        return self._status(values, estimate, now_s, governed, events)

    def _values(self, snapshot: Snapshot, estimate: Estimate, vehicle: VehicleState) -> Values:
        """The quantities now; another pack ends what was latched for the one before it."""
        quantities = self._quantities
        before = quantities.identity
        values = quantities.update(snapshot, estimate, vehicle)
        if not is_same_pack(before, quantities.identity):
            self._end_pack(values)
        supply = self.supply
        if supply is not None:
            name: QuantityName = "modules_missing" if supply.series else "packs_missing"
            values[name] = float(len(supply.missing))
            quantities.missing = supply.missing
            quantities.all_missing = supply.all_missing
        return values

    def _govern(
        self, values: Values, estimate: Estimate, vehicle: VehicleState, now_s: float
    ) -> _Governed:
        """The current that the vehicle is asked to keep to."""
        quantities = self._quantities
        learns = self.supply is None or not self.supply.missing
        limp_a = self._governor.limp_home_a(quantities.pack_data, values, vehicle, learns=learns)
        share_a = self._limp_share_a(limp_a, values)
        allowed = allowed_current(self._caps, quantities.history, values, estimate, now_s)
        asked_a, asked_by = self._governor.update(allowed, share_a, values)
        return _Governed(limp_a, share_a, asked_a, asked_by)

    def _limp_share_a(self, limp_a: float | None, values: Values) -> float | None:
        """This pack's share of the current that keeps the aircraft in the air.

        The share of a step has both currents of that step: at a take-off the load of now is a
        multiple of the supply's at the step before.
        """
        supply = self.supply
        load_a = values.get("loaded_a")
        before_a = self._carried_a
        self._carried_a = number(load_a) or 0.0
        if supply is not None and supply.limp_home_a and supply.current_a and before_a and load_a:
            return supply.limp_home_a * before_a / supply.current_a
        return limp_a

    def _status(
        self,
        values: Values,
        estimate: Estimate,
        now_s: float,
        governed: _Governed,
        events: tuple[Event, ...],
    ) -> Status:
        """The limits that have tripped, those that are next, and the current limit."""
        busy = [row for group in self._groups.values() if group.busy for row in group.rows]
        active = [row.limit for row in busy if row.state.active]
        active.sort(key=lambda limit: -limit.severity)
        ids = tuple([limit.limit_id for limit in active])
        holding = {
            row.limit.limit_id: row.remaining_s(now_s) for row in busy if not row.state.active
        }
        pending = [
            key
            for key, left_s in holding.items()
            if left_s < inf and self._rows[key].limit.severity >= Severity.WARNING
        ]
        pending.sort(key=lambda key: -holding[key])
        history = self._quantities.history
        ahead = self._time_to_trip.update(values, history, estimate, now_s, holding)
        next_id, next_s = (ids[0], 0.0) if ids else (ahead.limit_id, ahead.in_s)
        named = (*ids, next_id, governed.asked_by, *ahead.trips_in_s, *pending)
        return Status(
            t_s=now_s,
            severity=active[0].severity if active else Severity.OK,
            active=ids,
            limited_by=next_id,
            limited_in_s=next_s,
            asked_max_a=governed.asked_a,
            fault_bits=reduce(or_, (limit.fault_bits for limit in active), 0),
            events=events,
            asked_by=governed.asked_by,
            trips_in_s=ahead.trips_in_s,
            limp_home_a=governed.limp_a,
            charging=self._quantities.charging,
            labels={name: self._labels[name] for name in named if name in self._labels},
            pending={key: holding[key] for key in pending},
            checking_s=self._check_time.left_s(now_s, self._longest_hold_s),
        )

    def _end_pack(self, values: Values) -> None:
        """Release the latches of the pack before this one, and end its predictions."""
        for row in self._rows.values():
            row.state = changed(row.state, latched=False)
            if values.get(row.limit.quantity) is None:
                row.state = LimitState()
        for group in self._groups.values():
            group.note_busy()

    def _events(self, values: Values, snapshot: Snapshot, *, disarmed: bool) -> tuple[Event, ...]:
        """Evaluate the quantities that are known; the limits that have tripped or cleared."""
        events = []
        for quantity, group in self._groups.items():
            value = values.get(quantity)
            if value is None:
                if group.busy:
                    group.pause(number(values["dt_s"]) or 0.0)
                continue
            if not group.busy and (value is NOT_APPLICABLE or group.above < value < group.below):
                continue
            for row in group.update(value, snapshot, disarmed=disarmed):
                reason = self._quantities.reason(quantity, snapshot)
                events.append(_event(row, value, snapshot, reason))
        return tuple(events)


def _limp_margin_a(values: Values, estimate: Estimate, share_a: float | None) -> Value:
    """Current that the pack can give above its share of the limp-home current."""
    load_a = values.get("loaded_a")
    given_a = estimate.max_discharge_a
    if share_a is None or given_a is None or load_a is None:
        return None
    return given_a - share_a if (number(load_a) or 0.0) > 0.0 else NOT_APPLICABLE


def _event(row: LimitRow, value: float | NotApplicable, snapshot: Snapshot, reason: str) -> Event:
    limit = row.limit
    tripped = row.state.active
    # The value may be the mean of unknown cells, or in dispute: it is then of no cell by number.
    cell = snapshot.cells_v.index(value) + 1 if value in snapshot.cells_v else 0
    return Event(
        t_s=snapshot.t_s,
        limit_id=limit.limit_id,
        severity=limit.severity,
        tripped=tripped,
        text=limit.text(value, tripped=tripped, cell=cell, reason=reason),
    )
