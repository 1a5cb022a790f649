# SPDX-License-Identifier: Apache-2.0
"""A DroneCAN pack as a source of snapshots.

The address of a pack is the id in its messages (battery_id, or slot_id of a node without
BatteryInfo), or its node id for a pack that sends no id. One node is followed: the first one that
sends a voltage under the id, until it has been silent for 5 s. Another node with the same id is a
conflict: it is not used, and named as a doubt.

A value holds for the `max_age_s` of its register, at least for the 5 s after which ArduPilot takes
a DroneCAN battery for lost, or until the node reports the quantity as unknown. A node that restarts
is the same node, with the same pack; a node that states another pack begins as another node does.
"""

import logging
from dataclasses import dataclass
from math import inf
from typing import Any

from dronebms.dronecan.battery_address import CanPack
from dronebms.dronecan.battery_messages import (
    BATTERY_CELLS,
    BATTERY_INFO,
    BATTERY_INFO_AUX,
    BatteryMessage,
)
from dronebms.dronecan.battery_readings import (
    RANKS,
    alerts_of,
    battery_id_of,
    cells_of,
    charge_of,
    identity_of,
    is_leading,
    nominal_v_of,
    states_full_charge,
    values_of,
)
from dronebms.dronecan.pack_identification import PackIdentification
from smartbattery.registers import AVERAGE, CELLS, CURRENT, FULL, STATUS, VOLTAGE, Register
from smartbattery.snapshot import MAX_CELLS, NO_GAUGE, BusCounts, Identity, Snapshot

MAX_AGE_S = 5.0
_REFUSED_S = 10.0  # after the last message for which a node is refused
_ALERTS = "alert_raw"  # whose time is that of the alerts
# A step of a float16 at 4 V: cells that differ by no more may be a divided pack voltage.
_DIVIDED_V = 0.004
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Value:
    """A reading, and the data type that it is from."""

    value: float
    at_s: float
    max_age_s: float
    rank: int

    def holds(self, now_s: float) -> bool:
        return now_s - self.at_s <= self.max_age_s


class CanBattery:
    """A `Source`: one pack of a DroneCAN bus. For one thread.

    Args:
        pack: its address and peculiarities.
    """

    def __init__(self, pack: CanPack) -> None:
        self._pack = pack
        self._node: int | None = None  # that is followed
        self._led_s = -inf  # last voltage message of that node
        self._others: dict[int, float] = {}  # nodes of a conflict: time of the last message
        self._ids: dict[int, dict[int, float]] = {}  # by node: ids in BatteryInfo, and their time
        self._seen: dict[int, tuple[float, str]] = {}  # other packs: time and name, by node
        self._withheld = 0
        self._trouble: str | None = None  # as logged
        self._identification = PackIdentification()
        self._forget()

    def _forget(self) -> None:
        """Begin with another node or pack."""
        self._values: dict[str, _Value] = {}
        self._alerts: dict[int, tuple[float, tuple[str, ...]]] = {}  # time and texts, by rank
        self._gauge_s = -inf  # when the node last stated a full charge capacity
        self._nominal_v: float | None = None
        self._flows = False  # a current other than 0 was measured
        self._measured = False  # two cells have differed
        self._cells = 0  # as sent
        self._too_many_cells = 0  # more than configured, as sent
        self._too_many_s = -inf  # time of that message

    def receive(self, message: BatteryMessage, now_s: float) -> None:
        """Read a battery message of the bus, of whichever pack.

        Args:
            message: of another node than that of this service.
            now_s: time at which it was received.
        """
        if message.data_type is BATTERY_INFO:
            ids = self._ids.setdefault(message.source, {})
            ids[int(message.values["battery_id"])] = now_s
        if not self._is_mine(message):
            if is_leading(message.data_type):
                self._seen[message.source] = now_s, self._sender(message)
        elif self._follows(message, now_s):
            self._read(message, now_s)

    def poll(self, now_s: float, bus_trouble: str | None = None) -> Snapshot:
        """The values that have not expired.

        Args:
            now_s: the time.
            bus_trouble: why nothing is received from the bus.
        """
        waits = self._identification.waits(now_s)
        refusal = self._refusal(now_s)
        hidden = waits or refusal is not None
        valid: dict[str, Any] = {
            name: one.value for name, one in self._values.items() if not hidden and one.holds(now_s)
        }
        count = self._pack.cells or self._cells
        cells_v = tuple([valid.pop(f"cell{k + 1}_v", None) for k in range(count)])
        trouble = None
        if "voltage_v" not in valid:
            trouble = self._reason(now_s, bus_trouble, refusal, waits=waits)
        if trouble != self._trouble:
            self._log_change(trouble)
        known = {} if hidden else self._identification.identity(now_s)
        read_at_s = {name: one.at_s for name, one in self._values.items()}
        alerts = None if hidden else self._flags(now_s)
        if alerts is not None:
            read_at_s[_ALERTS] = max(at_s for at_s, _ in self._alerts.values())
        return Snapshot(
            now_s,
            cells_v=cells_v if self._measured else (),
            identity=Identity(**known, gauge=NO_GAUGE),
            read_at_s=read_at_s,
            counts=BusCounts(withheld=self._withheld),
            trouble=trouble,
            doubts=self._conflicts(now_s),
            alerts=alerts,
            **valid,
        )

    def _log_change(self, trouble: str | None) -> None:
        self._trouble = trouble
        if trouble is None:
            _log.info("%s is received from node %s", self._pack.name, self._node)
        else:
            _log.warning("%s", trouble)

    # ------------------------------------------------------------------ whose message it is

    def _is_mine(self, message: BatteryMessage) -> bool:
        pack = self._pack.address
        source = message.source
        if pack.battery_id is None:
            return source == pack.node_id
        if message.data_type in (BATTERY_INFO, BATTERY_INFO_AUX):
            return battery_id_of(message) == pack.battery_id
        ids = self._ids_of(source)
        if ids:  # the id of its BatteryInfo counts, if it is one
            return ids == {pack.battery_id}
        stated = battery_id_of(message)
        return source == self._node if stated is None else stated == pack.battery_id

    def _ids_of(self, node: int) -> set[int]:
        """Ids in BatteryInfo of a node, without those that it has stopped to send."""
        times = self._ids.get(node, {})
        newest_s = max(times.values(), default=-inf)
        return {number for number, at_s in times.items() if newest_s - at_s <= _REFUSED_S}

    def _follows(self, message: BatteryMessage, now_s: float) -> bool:
        """Whether the sender is the node that is followed; the first one is from now on."""
        source = message.source
        leads = is_leading(message.data_type)
        if source == self._node:
            self._led_s = now_s if leads else self._led_s
            return True
        if not leads:
            return False
        if now_s - self._led_s <= MAX_AGE_S:
            if source not in self._others:
                _log.warning("%s: %s", self._pack.address.bus, self._conflict(source))
            self._others[source] = now_s
            return False
        if self._node is not None:
            _log.warning("%s: node %d in place of %d", self._pack.name, source, self._node)
        self._node = source
        self._led_s = now_s
        self._others.pop(source, None)
        self._begin(now_s)
        return True

    def _begin(self, now_s: float) -> None:
        """Begin with another node or pack."""
        self._forget()
        self._identification.begin(now_s)

    def _mixed_ids(self) -> set[int]:
        """Ids of the several packs that the node of a pack without an id sends."""
        node = self._pack.address.node_id
        ids = set[int]() if node is None else self._ids_of(node)
        return ids if len(ids) > 1 else set()

    def _conflict(self, node: int) -> str:
        return f"battery {self._pack.address.battery_id} sent by node {node} too: unused"

    def _conflicts(self, now_s: float) -> tuple[str, ...]:
        """A sentence for each node of a conflict."""
        self._others = {
            node: at_s for node, at_s in self._others.items() if now_s - at_s <= MAX_AGE_S
        }
        return tuple([self._conflict(node) for node in sorted(self._others)])

    # ------------------------------------------------------------------ its values

    def _read(self, message: BatteryMessage, now_s: float) -> None:
        """Store the plausible values of a message of the followed node."""
        if self._mixed_ids():  # one of them may be of another pack
            self._begin(now_s)
            return
        stated = states_full_charge(message)
        is_gauge = now_s - self._gauge_s <= FULL.max_age_s if stated is None else stated
        fields = identity_of(message, is_gauge=is_gauge)
        if self._identification.contradicts(message.data_type, fields):
            _log.warning("%s: another pack behind node %d", self._pack.name, message.source)
            self._begin(now_s)
        if stated:
            self._gauge_s = now_s
        rank = RANKS[message.data_type.type_id]
        reversed_types = self._pack.reversed_types
        for register, read in values_of(message, is_gauge=is_gauge):
            if register in (CURRENT, AVERAGE):
                # A power module without a current sensor sends 0 (AP_Periph).
                self._flows |= is_gauge or read not in (None, 0.0)
                if not self._flows:
                    continue
            flips = message.data_type.type_id in reversed_types and register in (CURRENT, AVERAGE)
            value = -read if flips and read is not None else read
            self._store(register, register.field, value, rank, now_s)
        self._count(message, rank, now_s, is_gauge=is_gauge)
        self._read_cells(message, rank, now_s)
        alerts = None if self._pack.ignore_flags else alerts_of(message)
        if alerts is not None:
            self._alerts[rank] = now_s, alerts
        self._identification.receive(message.data_type, fields)

    def _count(self, message: BatteryMessage, rank: int, now_s: float, *, is_gauge: bool) -> None:
        """Store what a gauge counts in Wh or Ah."""
        voltage = self._values.get(VOLTAGE.field)
        nominal_v = nominal_v_of(message, None if voltage is None else voltage.value)
        if nominal_v is not None:
            self._nominal_v = nominal_v
        if not is_gauge:
            return
        full = self._values.get(FULL.field)
        full_mah = None if full is None or not full.holds(now_s) else full.value
        known_v = self._pack.nominal_v or self._nominal_v
        for register, value in charge_of(message, known_v, full_mah):
            self._store(register, register.field, value, rank, now_s)

    def _read_cells(self, message: BatteryMessage, rank: int, now_s: float) -> None:
        """Store the cells of a message; fewer than configured are the first ones."""
        found = cells_of(message)
        if found is None:
            return
        first, cells_v = found
        known = {k: v for k, v in enumerate(cells_v, start=first) if v is not None}
        count = max(known, default=-1) + 1
        configured = self._pack.cells
        if count > MAX_CELLS:
            return
        if known:
            self._measured |= max(known.values()) - min(known.values()) > _DIVIDED_V
        if configured is not None and count > configured:
            self._too_many_cells = count
            self._too_many_s = now_s
            return
        self._cells = max(self._cells, count)
        if known and configured in (None, count) and message.data_type is not BATTERY_CELLS:
            stated = {"cells": count}
            self._identification.receive(message.data_type, stated, first_only=True)
        for k, cell_v in enumerate(cells_v, start=first):
            self._store(CELLS[0], f"cell{k + 1}_v", cell_v, rank, now_s)

    def _store(
        self, row: Register, name: str, value: float | None, rank: int, now_s: float
    ) -> None:
        """Store a plausible value, unless a better one of the same quantity holds.

        `None`: the sender reports the quantity as unknown, so that its last value no longer
        applies.
        """
        before = self._values.get(name)
        if value is None:
            if before is not None and before.rank == rank:
                del self._values[name]
            return
        if not row.low <= value <= row.high:
            self._withheld += 1
            return
        if before is None or rank <= before.rank or not before.holds(now_s):
            self._values[name] = _Value(value, now_s, max(row.max_age_s, MAX_AGE_S), rank)

    def _flags(self, now_s: float) -> tuple[str, ...] | None:
        """Texts of the set flags of all data types, each once; `None` without any flags."""
        valid = [texts for at_s, texts in self._alerts.values() if now_s - at_s <= STATUS.max_age_s]
        return tuple(dict.fromkeys([text for texts in valid for text in texts])) if valid else None

    # ------------------------------------------------------------------ sentences

    def _refusal(self, now_s: float) -> str | None:
        """Why the followed node is not used, until it has been otherwise for some seconds."""
        mixed = self._mixed_ids()
        if mixed:
            numbers = ", ".join(map(str, sorted(mixed)))
            return f"node {self._pack.address.node_id} sends the batteries {numbers}: name one"
        if now_s - self._too_many_s <= _REFUSED_S:
            count = self._too_many_cells
            return f"{self._pack.name} has {count} cells, {self._pack.cells} are configured"
        return None

    def _reason(
        self, now_s: float, bus_trouble: str | None, refusal: str | None, *, waits: bool
    ) -> str:
        """Why there is no voltage."""
        if bus_trouble is not None:
            return bus_trouble
        if now_s - self._led_s <= MAX_AGE_S:
            if refusal is not None:
                return refusal
            if waits:
                return f"waiting for the identity of node {self._node}"
            return f"{self._pack.name} reports no voltage"
        recent = (name for at_s, name in self._seen.values() if now_s - at_s <= MAX_AGE_S)
        others = ", ".join(sorted(recent))
        return f"no {self._pack.name}" + (f" (received: {others})" if others else "")

    def _sender(self, message: BatteryMessage) -> str:
        """Ids of the packs of a node, and the node."""
        node = f"node {message.source}"
        stated = battery_id_of(message)
        ids = self._ids_of(message.source) or ({stated} if stated is not None else set())
        return f"battery {', '.join(map(str, sorted(ids)))} of {node}" if ids else node
