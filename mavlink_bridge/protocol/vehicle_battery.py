# SPDX-License-Identifier: Apache-2.0
"""A battery monitor of the followed autopilot as a source of snapshots.

Its BATTERY_STATUS is read as `battery_sample` has it. Values hold for 5 s, as long as both flight
stacks wait for a battery, or until a message reports the field as unknown. The charge in percent is
used only where cells are measured: elsewhere the autopilot counts it from a parameter. The consumed
charge is not used: it begins with the boot of the autopilot. A message that repeats a report of
this service is no reading: the monitor is then fed by it (ArduPilot by the Lua driver or over
DroneCAN).
"""

import logging
from collections import deque
from itertools import zip_longest
from math import inf
from typing import Any

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.battery_sample import CURRENT_MAX_A, BatterySample, sample_of
from smartbattery.gauge_state import BEYOND
from smartbattery.registers import CELLS, CURRENT, RELATIVE_SOC, TEMPERATURE, VOLTAGE
from smartbattery.snapshot import CELL_FIELDS, NO_GAUGE, BusCounts, Identity, Snapshot

LAST_MONITOR = 15  # ArduPilot has 16; PX4 gives a battery that it receives the number 255
MAX_AGE_S = 5.0
# what rounding on the way adds
_SAME_V = 0.0025
_SAME_A = 0.015
_log = logging.getLogger(__name__)


class SentReports:
    """Voltage and current of the last BATTERY_STATUS that this service has sent.

    Those of the 5 s before the newest one: an autopilot that receives no more repeats the last.
    """

    def __init__(self) -> None:
        self._sent: deque[tuple[float, BatterySample]] = deque()

    def add(self, message: mavlink.MAVLink_battery_status_message, now_s: float) -> None:
        """Remember a report."""
        self._sent.append((now_s, sample_of(message)))
        while now_s - self._sent[0][0] > MAX_AGE_S:
            self._sent.popleft()

    def have(self, sample: BatterySample) -> bool:
        """Whether one of the reports has the voltage and the current of a sample."""
        return sample.voltage_v is not None and any(
            _same(sample.voltage_v, sent.voltage_v, _SAME_V)
            and _same(sample.current_a, sent.current_a, _SAME_A)
            for _, sent in self._sent
        )


def _same(one: float | None, other: float | None, apart: float) -> bool:
    return one is other if one is None or other is None else abs(one - other) <= apart


class VehicleBattery:
    """A `Source`: one battery monitor. For one thread.

    Args:
        monitor: BATTERY_STATUS.id.
        cells: of the pack; the monitor may report no other number.
    """

    def __init__(self, monitor: int, cells: int) -> None:
        self._monitor = monitor
        self._cells = cells
        self._name = f"monitor {monitor} of the vehicle"
        self._values: dict[str, tuple[float, float]] = {}  # by field: value and its time
        self._measured = False  # two cells have differed
        self._refused: str | None = None  # why the last message was not used
        self._received_s = -inf
        self._others: set[int] = set()  # monitors that the autopilot has reported
        self._withheld = 0
        self._trouble: str | None = None  # as logged

    def receive(
        self, message: mavlink.MAVLink_battery_status_message, sent: SentReports, now_s: float
    ) -> None:
        """Read a BATTERY_STATUS of the followed autopilot.

        Args:
            message: of any of its monitors.
            sent: reports of this service.
            now_s: time at which it was received.
        """
        if message.id != self._monitor:
            self._others.add(message.id)
            return
        sample = sample_of(message)
        self._refused = None
        self._received_s = now_s
        self._measured |= sample.differ
        cells_v = sample.cells_v if self._measured else ()
        if sent.have(sample):
            self._refused = f"{self._name} repeats the reports of this service: no source"
        elif cells_v and len(cells_v) != self._cells:
            self._refused = f"{self._name} has {len(cells_v)} cells, {self._cells} are configured"
        else:
            self._store(sample, cells_v, now_s)

    def poll(self, now_s: float) -> Snapshot:
        """The values that have not expired."""
        valid: dict[str, Any] = {
            name: value for name, (value, at_s) in self._values.items() if now_s - at_s <= MAX_AGE_S
        }
        cells_v = tuple([valid.pop(name, None) for name in CELL_FIELDS[: self._cells]])
        trouble = None if "voltage_v" in valid else self._reason(now_s)
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("%s", trouble or f"{self._name} is received")
        return Snapshot(
            now_s,
            cells_v=cells_v if self._measured else (),
            identity=Identity(device=self._name, gauge=NO_GAUGE),
            read_at_s={name: at_s for name, (_, at_s) in self._values.items()},
            counts=BusCounts(withheld=self._withheld),
            trouble=trouble,
            **valid,
        )

    def _store(self, sample: BatterySample, cells_v: tuple[float, ...], now_s: float) -> None:
        """Store the plausible values of a message."""
        current_a = sample.current_a
        beyond_a = None
        if current_a is not None and abs(current_a) >= CURRENT_MAX_A:
            beyond_a = CURRENT_MAX_A if current_a > 0.0 else None
            current_a = None
        names = CELL_FIELDS[: self._cells]
        read = (
            (VOLTAGE, VOLTAGE.field, sample.voltage_v),
            (CURRENT, CURRENT.field, current_a),
            (CURRENT, BEYOND, beyond_a),
            (TEMPERATURE, TEMPERATURE.field, sample.temperature_degc),
            (RELATIVE_SOC, RELATIVE_SOC.field, sample.soc_pct if cells_v else None),
            *((CELLS[0], name, v) for name, v in zip_longest(names, cells_v)),
        )
        for row, name, value in read:
            if value is None:  # the autopilot reports "unknown": the last value no longer applies
                self._values.pop(name, None)
            elif row.low <= value <= row.high:
                self._values[name] = value, now_s
            else:
                self._withheld += 1

    def _reason(self, now_s: float) -> str:
        """Why there is no voltage."""
        if now_s - self._received_s <= MAX_AGE_S:
            return self._refused or f"{self._name} reports no voltage"
        others = ", ".join(map(str, sorted(self._others)))
        return f"no BATTERY_STATUS of {self._name}" + (f" (received: {others})" if others else "")
