"""Judges a pack against its limits: what holds now, what has changed, what binds next.

It judges and does not act. Each row has its own hold and clear times and asks for fresh readings;
a value that is unknown neither trips nor clears: silence is a row of its own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from math import inf
from operator import or_

from dronebms.core.pack_data import SINGLE_READING_S, PackData
from dronebms.core.report import Estimate, Event, Severity, Status, SupplyStatus
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.protection.current_governor import Asked, Governor, allowance, caps_of
from dronebms.protection.limits import Limit
from dronebms.protection.quantities import OVER, Quantities, Values
from dronebms.protection.time_to_trip import TimeToTrip
from smartbattery.snapshot import Snapshot

# Whose age says whether a quantity is fresh; every other one is as fresh as the voltage.
_READ = {
    "temperature_degc": "temperature_degc",
    "charging_degc": "temperature_degc",
    "warming_k": "temperature_degc",
    "fet_degc": "fet_degc",
    "stop_alarm": "status_raw",
    "hot_alarm": "status_raw",
    "alerts": "alert_raw",
    "tripped": "safety_raw",
    "charge_tripped": "safety_raw",
    "failed": "failure_raw",
    "charge_a": "current_a",
}
_SLACK_S = 5e-7  # sums of steps are not exact


@dataclass(slots=True)
class _Row:
    """A limit and how long it has been beyond or recovered."""

    limit: Limit
    active: bool = False
    since_s: float | None = None  # of the condition that would change `active`
    readings: int = 0  # fresh ones since then
    read: tuple[float, float] | None = None  # the newest of them: when, what
    held: bool = False  # latched, and not released by hand

    def changes(self, value: float, now_s: float, read_s: float) -> bool:
        """Take in a value; return whether the row has to trip or clear."""
        limit = self.limit
        met = limit.recovered(value) and not self.held if self.active else limit.beyond(value)
        if not met:
            self.since_s = None
            return False
        if self.since_s is None:
            self.since_s, self.readings, self.read = now_s, 0, None
        # A gauge that measures once a second is read ten times in it: that is one reading.
        read = self.read
        if read is None or (
            read_s > read[0] and (value != read[1] or read_s - read[0] >= SINGLE_READING_S)
        ):
            self.readings, self.read = self.readings + 1, (read_s, value)
        hold_s = limit.clear_s if self.active else limit.hold_s
        enough = self.active or self.readings >= limit.readings
        return enough and now_s - self.since_s >= hold_s - _SLACK_S

    def rest_s(self, now_s: float) -> float:
        """Return the rest of the time that runs, endless when none does."""
        if self.since_s is None:
            return inf
        return max(self.limit.hold_s - (now_s - self.since_s), 0.0)

    def turn(self) -> None:
        """Trip, or clear."""
        self.active = not self.active
        self.held = self.active and self.limit.latch
        self.since_s = None


class _Group:
    """The rows of one quantity; most of the time one comparison tells that nothing is new."""

    def __init__(self, quantity: str, rows: list[_Row]) -> None:
        self.quantity = quantity
        self.rows = rows
        self.read = _READ.get(quantity, "voltage_v")
        limits = [row.limit for row in rows]
        self._above = max((x.trip for x in limits if not x.rising), default=-inf)
        self._below = min((x.trip for x in limits if x.rising), default=inf)
        self.busy = any(row.active or row.since_s is not None for row in rows)

    def judge(self, value: float, snapshot: Snapshot) -> list[_Row]:
        """Return the rows that have tripped or cleared with this value."""
        if not self.busy and (self._above < value < self._below or value is OVER):
            return []
        read_s = snapshot.read_at_s.get(self.read, snapshot.t_s)
        turned = [row for row in self.rows if row.changes(value, snapshot.t_s, read_s)]
        for row in turned:
            row.turn()
        self.busy = any(row.active or row.since_s is not None for row in self.rows)
        return turned


class Alarms:
    """One pack's limits, judged at every step.

    Args:
        limits: the table.
        facts: what is known of the pack.
    """

    def __init__(self, limits: Iterable[Limit], pack_data: PackData) -> None:
        self._rows: dict[str, _Row] = {}
        self._quantities = Quantities(pack_data)
        self.supply: SupplyStatus | None = None  # that this pack is a part of, as it was a step ago
        self._governor = Governor()
        self.use(limits, pack_data)

    def use(self, limits: Iterable[Limit], pack_data: PackData) -> None:
        """Judge by another table from now on; what is tripped stays so until it clears."""
        table = tuple(limits)
        rows = {row.limit_id: self._rows.get(row.limit_id) or _Row(row) for row in table}
        self._rows = {row.limit_id: replace(rows[row.limit_id], limit=row) for row in table}
        by_quantity: dict[str, list[_Row]] = {}
        for row in self._rows.values():
            by_quantity.setdefault(row.limit.quantity, []).append(row)
        self._groups = [_Group(quantity, rows) for quantity, rows in by_quantity.items()]
        self._quantities.pack_data = pack_data
        self._caps = caps_of(table, pack_data)
        self._time_to_trip = TimeToTrip(table)

    def release(self, limit_id: str) -> None:
        """Let a row that latches clear, once its cause is over."""
        self._rows[limit_id].held = False

    def update(
        self, snapshot: Snapshot, estimate: Estimate, vehicle: VehicleState = UNKNOWN_VEHICLE
    ) -> Status:
        """Return what holds at the snapshot's time."""
        now_s, signals = snapshot.t_s, self._quantities
        before = signals.serial
        values = signals.update(snapshot, estimate, vehicle)
        if before not in (None, signals.serial):  # what another pack has latched is its own
            for row in self._rows.values():
                row.held = False
        if self.supply is not None:
            what = "modules_missing" if self.supply.series else "packs_missing"
            values[what] = float(len(self.supply.missing))
            signals.missing = self.supply.missing
        limp_a = self._limp_home_a(values, vehicle)
        asked_a, asked_by = self._govern(values, estimate, limp_a, now_s)
        events = []
        for group in self._groups:
            value = values.get(group.quantity)
            if value is not None:
                for row in group.judge(value, snapshot):
                    why = signals.why(group.quantity, snapshot)
                    events.append(_event(row, value, snapshot, why))
        busy = [row for group in self._groups if group.busy for row in group.rows]
        active = [row.limit for row in busy if row.active]
        active.sort(key=lambda limit: -limit.severity)
        bits = reduce(or_, (limit.fault_bits for limit in active), 0)
        holding = {row.limit.limit_id: row.rest_s(now_s) for row in busy if not row.active}
        ahead = self._time_to_trip.update(values, signals.drawn, now_s, holding)
        next_id, next_s = (active[0].limit_id, 0.0) if active else ahead.first
        return Status(
            now_s, active[0].severity if active else Severity.OK,
            tuple([limit.limit_id for limit in active]), next_id, next_s,
            asked_a, bits, tuple(events), asked_by, ahead.trips_in_s, limp_a,
        )  # fmt: skip

    def _limp_home_a(self, values: Values, vehicle: VehicleState) -> float | None:
        alone = self.supply is None or not self.supply.missing
        return self._governor.limp_home_a(self._quantities.pack_data, values, vehicle, learns=alone)

    def _govern(self, values: Values, known: Estimate, limp_a: float | None, now_s: float) -> Asked:
        signals, supply = self._quantities, self.supply
        load_a, given_a = values.get("loaded_a"), known.max_discharge_a
        if supply is not None and supply.limp_home_a and supply.current_a and load_a:
            limp_a = supply.limp_home_a * load_a / supply.current_a  # whatever share it carries now
        if limp_a is not None and given_a is not None and load_a is not None:
            values["limp_margin_a"] = given_a - limp_a if load_a > 0.0 else OVER
        allowed = allowance(self._caps, signals.drawn, values, known, now_s)
        return self._governor.asked(allowed, limp_a, values)


def _event(row: _Row, value: float, snapshot: Snapshot, why: str) -> Event:
    limit = row.limit
    known = [(v, k + 1) for k, v in enumerate(snapshot.cells_v) if v is not None]
    cell = (max(known) if limit.rising else min(known))[1] if known else 0
    text = limit.text.format(value=value, trip=limit.trip, cell=cell, why=why)
    if not row.active:
        # What follows the value said why that was bad.
        tells = "{value" in limit.text and value is not OVER and value
        text = f"{limit.limit_id} is over" + (f": {re.split('[,:]', text)[0]}" if tells else "")
    return Event(snapshot.t_s, limit.limit_id, limit.severity, tripped=row.active, text=text)
