# SPDX-License-Identifier: Apache-2.0
"""The sink that sends packs as batteries on a CAN bus.

Each pack is a node of its own, as a smart battery is: PX4 distinguishes batteries by their node,
and ArduPilot binds a monitor to a node. Node and battery id belong to the slot and stay over a hot
swap; the serial number and the name are those of the pack that is in it.
BatteryInfoAux precedes the BatteryInfo of the same report, as its definition asks for.
A pack without a voltage is not sent: ArduPilot and PX4 notice after 5 s.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dronebms.core.report import Report
from dronebms.dronecan import report_fields
from dronebms.dronecan.battery_messages import BATTERY_INFO, BATTERY_INFO_AUX, CBAT, DataType
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.config import DronecanConfig
from dronebms.dronecan.node import Node, NodeIdentity
from dronebms.dronecan.unique_id import unique_id

NAME = "org.dronebms.battery"
_PRIORITY = 20
_AUX_S = 1.0
_EARLY_S = 0.01  # a step of the loop is not exact
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Slot:
    """Output of one battery."""

    node: Node
    battery_id: int
    info_s: float = 0.0  # due
    aux_s: float = 0.0
    withheld: str | None = None


class BatterySink:
    """A sink of reports; before the bus is started.

    Args:
        bus: of the configuration; neither started nor closed here.
        config: rate, ids.
        indices: of the batteries that are sent, in their order.
        version: of this software, major and minor.
        least_disarmed_pct: below this PX4 asks the board to shut down while disarmed; CBAT is not
            sent then.
    """

    def __init__(
        self,
        bus: CanBus,
        config: DronecanConfig,
        indices: Sequence[int],
        version: tuple[int, int],
        least_disarmed_pct: int,
    ) -> None:
        self._bus = bus
        self._config = config
        self._least_disarmed_pct = least_disarmed_pct
        self._slots: dict[int, _Slot] = {}
        for place, index in enumerate(indices):
            node_id = None if config.node_id is None else config.node_id + place
            identity = NodeIdentity(unique_id(index), NAME, version, node_id)
            self._slots[index] = _Slot(bus.add_node(identity), config.battery_id + place)

    def __call__(self, report: Report) -> None:
        """Send what is due of a report."""
        slot = self._slots.get(report.index)
        if slot is None or not _is_due(slot.info_s, report.t_s):
            return
        reason = self._withhold_reason(report)
        self._log_change(report, slot, reason)
        if reason is not None:
            return
        aux_is_due = _is_due(slot.aux_s, report.t_s)
        slot.info_s = _next_s(slot.info_s, report.t_s, 1.0 / self._config.rate_hz)
        if aux_is_due:
            slot.aux_s = _next_s(slot.aux_s, report.t_s, _AUX_S)
            self._send(
                slot, BATTERY_INFO_AUX, report_fields.battery_info_aux(report, slot.battery_id)
            )
        if self._config.cbat:
            self._send(slot, CBAT, report_fields.cbat(report))
        self._send(slot, BATTERY_INFO, report_fields.battery_info(report, slot.battery_id))

    def _send(self, slot: _Slot, kind: DataType, fields: report_fields.Fields | None) -> None:
        if fields is not None:
            self._bus.publish(slot.node, kind.name, fields, _PRIORITY)

    def _withhold_reason(self, report: Report) -> str | None:
        """Why nothing is sent of a report, `None` if there is no reason."""
        if report.snapshot.voltage_v is None:
            return "no voltage"
        if not self._config.cbat:
            return None
        charge = report_fields.charge_of(report)
        if charge is None:
            return "charge unknown, which PX4 would take for full"
        if charge.pct < self._least_disarmed_pct and report.vehicle.armed is not True:
            return f"charge {charge.pct} %, at which PX4 may shut down while disarmed"
        return None

    def _log_change(self, report: Report, slot: _Slot, reason: str | None) -> None:
        kind = None if reason is None else reason.partition(" ")[0]
        if kind == slot.withheld:
            return
        slot.withheld = kind
        place = f"battery {report.index + 1}: DroneCAN"
        if reason is None:
            _log.info("%s sent again", place)
        else:
            _log.warning("%s not sent: %s", place, reason)


def _is_due(due_s: float, now_s: float) -> bool:
    return now_s >= due_s - _EARLY_S


def _next_s(due_s: float, now_s: float, period_s: float) -> float:
    """Time after `due_s`, so that the rate is right on average; missed times are left out."""
    return due_s + period_s if due_s + period_s > now_s else now_s + period_s
