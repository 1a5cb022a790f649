# SPDX-License-Identifier: Apache-2.0
"""Clears what ArduPilot has latched of a battery monitor, once its pack was replaced on the ground.

ArduPilot keeps the failsafe of a battery, which forbids arming, and the charge that it has counted
until MAV_CMD_BATTERY_RESET or a restart; over a hot swap it does not restart. One command is sent
for each swap, only to a monitor that is configured, with the charge of the new pack; never while
the vehicle is armed or reports the air, and not at all once it was armed after the swap. A monitor
that takes the charge from its own gauge or node refuses: that is reported, and not repeated.
Source: ardupilotmega.xml; ArduPilot AP_BattMonitor.cpp `reset_remaining_mask`; pull request 24129
(DroneCAN); the SMBus monitors.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.pack_identity import is_same_pack, merged
from dronebms.core.report import Report
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID
from mavlink_bridge.protocol.requests import command, result_label

if TYPE_CHECKING:
    from smartbattery.snapshot import Identity

BATTERY_RESET = 42651  # MAV_CMD of ArduPilot
LAST_MONITOR = 16  # of ArduPilot, from 1
_GROUND_S = 3.0  # disarmed without a break
_RETRY_S = 3.0
_TRIES = 3
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reset:
    """One monitor whose pack was replaced."""

    monitor: int  # from 1
    soc_pct: float | None = None  # of the new pack
    tries: int = 0
    sent_s: float = -math.inf


class BatteryReset:
    """Resets of the monitors of one vehicle. For one thread.

    Args:
        monitors: of ArduPilot, from 1 (BATT_ is 1), by the index of the battery.
    """

    def __init__(self, monitors: Mapping[int, int]) -> None:
        self._monitors = monitors
        self._packs: dict[int, Identity] = {}  # by the index of the battery
        self._pending: dict[int, _Reset] = {}
        self._newest: _Reset | None = None  # whose command was given out last
        self._disarmed_s: float | None = None
        self._texts: list[tuple[int, str]] = []

    def take_texts(self) -> list[tuple[int, str]]:
        """MAV_SEVERITY and text of each message for the pilot since the last call."""
        texts = self._texts
        self._texts = []
        return texts

    def update(self, report: Report) -> None:
        """Note which pack is connected, and its charge."""
        index = report.index
        read = report.snapshot.identity
        monitor = self._monitors.get(index)
        if monitor is None or report.snapshot.voltage_v is None:
            return
        known = self._packs.get(index, read)
        if is_same_pack(known, read):
            self._packs[index] = merged(known, read)
        else:
            self._packs[index] = read
            self._pending[index] = _Reset(monitor)
            _log.info("battery %d was replaced: monitor %d is to be reset", index + 1, monitor)
        if index in self._pending:
            self._pending[index].soc_pct = report.reported.soc_pct

    def due(
        self, autopilot: Autopilot, vehicle: VehicleState, now_s: float
    ) -> list[mavlink.MAVLink_message]:
        """The command to send now."""
        if vehicle.armed is not False:
            self._disarmed_s = None
            if vehicle.armed:
                self._pending.clear()
            return []
        if self._disarmed_s is None:
            self._disarmed_s = now_s
        settled = now_s - self._disarmed_s >= _GROUND_S and not autopilot.resumed(now_s)
        if not settled or autopilot.kind != ARDUPILOT_ID or autopilot.airborne(now_s):
            return []
        for index, reset in self._pending.items():
            if reset.soc_pct is None or not math.isfinite(reset.soc_pct):
                continue
            if now_s - reset.sent_s < _RETRY_S:
                return []  # one at a time
            if reset.tries == _TRIES:
                self._finish(index, "no answer")
                return []
            reset.tries = reset.tries + 1
            reset.sent_s = now_s
            self._newest = reset
            values = 1 << reset.monitor - 1, math.floor(reset.soc_pct)
            return [command(autopilot.system_id, BATTERY_RESET, *values, attempt=reset.tries - 1)]
        return []

    def unsent(self) -> None:
        """Take back the command of the last step, which the link did not accept: it is no try."""
        if self._newest is not None:
            self._newest.tries -= 1
            self._newest = None

    def receive(self, message: mavlink.MAVLink_message) -> None:
        """Read an acknowledgement of the autopilot to this computer."""
        if message.get_type() != "COMMAND_ACK" or message.command != BATTERY_RESET:
            return
        if message.result == mavlink.MAV_RESULT_IN_PROGRESS:
            return
        sent = [index for index, reset in self._pending.items() if reset.tries]
        if sent:
            accepted = message.result == mavlink.MAV_RESULT_ACCEPTED
            self._finish(sent[0], None if accepted else result_label(message.result))

    def _finish(self, index: int, refused: str | None) -> None:
        """End a reset; `refused`: why it was not carried out."""
        reset = self._pending.pop(index)
        if refused is None:
            self._report(mavlink.MAV_SEVERITY_INFO, f"battery monitor {reset.monitor} was reset")
            return
        text = f"battery monitor {reset.monitor} not reset: {refused}"
        self._report(mavlink.MAV_SEVERITY_WARNING, text)

    def _report(self, severity: int, text: str) -> None:
        self._texts.append((severity, text))
        _log.log(logging.INFO if severity == mavlink.MAV_SEVERITY_INFO else logging.WARNING, text)
