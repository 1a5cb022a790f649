# SPDX-License-Identifier: Apache-2.0
"""The MAVLink components of this service: reports out, state of the vehicle in.

The reports go out over every link (`components.py`); commands, requests, verdicts on arming and
their texts come from the computer, over the link of the vehicle alone. What arrives on another link
is never the vehicle, and nothing is forwarded from one link to another.
For one thread and one clock. No method blocks; neither received data nor a lost link raise.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import Clock
from dronebms.core.flight_plan import FlightPlan, Place
from dronebms.core.report import Report
from dronebms.core.vehicle_state import TelemetryLinkState, VehicleState
from mavlink_bridge.components import BATTERIES, BridgeOptions, Components, Shared
from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT, Autopilot
from mavlink_bridge.protocol.can_forward import CanForward
from mavlink_bridge.protocol.driver_commands import is_for_version_1
from mavlink_bridge.protocol.flight_stacks import AUTO, PX4_ID, FlightStack, stack_named
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.mission_download import MissionDownload
from mavlink_bridge.protocol.parameters import Parameters
from mavlink_bridge.protocol.requests import IdentityRequester, MessageRequester
from mavlink_bridge.protocol.second_autopilot import doubt_text
from mavlink_bridge.protocol.second_sender import CopyWatch, Source
from mavlink_bridge.protocol.vehicle_battery import VehicleBattery
from mavlink_bridge.vehicle import command_protocol
from mavlink_bridge.vehicle.arming_check import ArmingCheck
from mavlink_bridge.vehicle.battery_id import BatteryIdAllocator, first_of
from mavlink_bridge.vehicle.battery_reset import BatteryReset
from mavlink_bridge.vehicle.command_state import HEARTBEAT_MAX_AGE_S, SentCommand
from mavlink_bridge.vehicle.return_parameters import ReturnParameters
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from smartbattery.values import changed

_RESTORE_S = 3.0  # for the answers of the vehicle
_STEP_S = 0.05
_VERDICT_PERIOD_S = 1.0  # to the Lua driver, which refuses to arm after 3 s without one
_DOUBT_PERIOD_S = 1.0
_OTHERS_MAX = 8  # vehicles that are named in the log
_NO_PLAN = FlightPlan()
_log = logging.getLogger(__name__)

DEFAULT_OPTIONS = BridgeOptions()


@dataclass(frozen=True, slots=True)
class TelemetryLink:
    """A link in addition to that of the vehicle: reports and texts out, no vehicle in."""

    url: str
    link: Link
    options: BridgeOptions = DEFAULT_OPTIONS


@dataclass(frozen=True, slots=True)
class BridgeState:
    """State of a bridge that a restart in flight restores. Plain data."""

    FORMAT: ClassVar[int] = 5

    last_command: SentCommand | None = None  # the pilot may have overridden it
    first_battery_id: int | None = None  # allocated; None: not yet
    vehicle_battery_ids: tuple[int, ...] = ()  # of its own batteries
    acting_enabled: bool = True
    in_flight: bool = False  # or unknown after a flight
    followed: int | None = None  # system of the vehicle in flight


class Bridge:
    """A sink of reports and the source of the vehicle state.

    Attributes:
        counts: of the link of the vehicle: messages of the autopilot (`received`), of autopilots
            of other systems (`other_vehicle`) and of others (`foreign`), frames of a second sender
            of our components (`second_sender`), invalid data (`damaged`), frames `sent`, refused by
            the link (`unsent`) and `withheld`.
        settings: may be changed by a ground station.
        vehicle_control: carries out actions; `None` if the configuration has none.
        can: frames of the autopilot's CAN bus; `None` if none are carried.
    """

    def __init__(
        self,
        link: Link,
        *,
        system_id: int | None = None,
        vehicle: str = AUTO,
        first_battery_id: int = command_protocol.AUTO_ID,
        options: BridgeOptions = DEFAULT_OPTIONS,
        telemetry: Sequence[TelemetryLink] = (),
    ) -> None:
        """Use a link.

        Args:
            link: to the vehicle; carries the frames; not closed here.
            system_id: of the vehicle, no other is followed; `None` follows the first received.
            vehicle: `auto`, `ardupilot` or `px4`.
            first_battery_id: BATTERY_STATUS.id of the battery with index 0; -1 allocates one that
                the vehicle does not use.
            options: message rate, accepted systems, component, signing.
            telemetry: other links.

        Raises:
            ConfigError: unknown vehicle.
        """
        fixed = tuple([address.battery_id for address in options.batteries])
        ids_are_fixed = any(battery_id is not None for battery_id in fixed)
        self.settings = command_protocol.Settings(
            options.rate_hz,
            first_of(fixed) if ids_are_fixed else first_battery_id,
            ids_are_fixed=ids_are_fixed,
        )
        self.vehicle_control: VehicleControl | None = None
        self.can: CanForward | None = None
        self._configured_stack = stack_named(vehicle)
        self._is_pinned = system_id is not None
        self._computer = options.component_id
        self._autopilot = Autopilot(system_id)
        self._shared = Shared(self._autopilot, self.settings, lambda: self.stack, self._announce)
        if ids_are_fixed and self.settings.first_battery_id >= 0:
            self._shared.first_id = self.settings.first_battery_id
        self._components = Components(link, self._shared, options)
        self._telemetry = [
            (one.url, Components(one.link, self._shared, one.options)) for one in telemetry
        ]
        self.counts: Counter[str] = self._components.counts
        # of the autopilot
        self._copies = CopyWatch()
        self._requester = MessageRequester()
        self._identities = IdentityRequester()
        self._doubt_s = -math.inf  # last report of a second autopilot
        self._missions = MissionDownload(self._computer)
        self._returns = ReturnParameters()
        self._parameters = Parameters()  # without vehicle control, which has its own
        self._run = 0  # of which these values are
        self._plan = _NO_PLAN
        self._arming = ArmingCheck()
        resets = {index: one.reset_monitor for index, one in enumerate(options.batteries)}
        monitors = {index: one for index, one in resets.items() if one is not None}
        self._resets = BatteryReset(monitors)
        self._resets_monitors = bool(monitors)
        self._battery_ids = BatteryIdAllocator(
            is_expected=self._is_pinned or self._configured_stack is not None
        )
        self._verdict: tuple[bool, int, int] | None = None  # last sent to the Lua driver
        self._verdict_s = -math.inf
        self._armed: bool | None = None
        self._restoring = False
        self._pumped_s = math.inf  # never

    @property
    def system_id(self) -> int:
        """System of the components of this service."""
        return self._autopilot.system_id

    @property
    def stack(self) -> FlightStack:
        """Row that decides what may be sent: the configured one, unless its release is known."""
        found = self._autopilot.stack
        configured = self._configured_stack
        return found if configured is None or configured.name == found.name else configured

    @property
    def withheld(self) -> str | None:
        """Reason why BATTERY_STATUS of a battery is not sent now, `None` if all are sent."""
        return self._components.withheld

    @property
    def telemetry_counts(self) -> dict[str, Counter[str]]:
        """Counts of each other link by its URL: those of `counts` without `other_vehicle`."""
        return {url: components.counts for url, components in self._telemetry}

    def can_port(self) -> CanForward:
        """The first CAN bus of the autopilot, forwarded over the link from now on."""
        self.can = self.can or CanForward()
        return self.can

    def vehicle_battery(self, index: int, monitor: int, cells: int) -> VehicleBattery:
        """A battery monitor of the vehicle as the source of a battery; before the first report.

        Args:
            index: of the battery.
            monitor: BATTERY_STATUS.id of the autopilot.
            cells: of the pack.
        """
        self._shared.monitors[index] = VehicleBattery(monitor, cells)
        return self._shared.monitors[index]

    def state(self) -> BridgeState:
        """State for a restart in flight."""
        control = self.vehicle_control
        in_flight = self._autopilot.in_flight
        return BridgeState(
            last_command=None if control is None else control.sent,
            first_battery_id=self._battery_ids.allocated,
            vehicle_battery_ids=self._battery_ids.taken,
            acting_enabled=self.settings.acting_enabled,
            in_flight=in_flight,
            followed=self._autopilot.followed if in_flight else None,
        )

    def restore(self, state: BridgeState) -> None:
        """Continue from the state of an earlier run: in flight with its vehicle and settings.

        On the ground a run starts with those of the configuration: the vehicle may have a new
        system id, and nothing that was switched off by a request stays off unnoticed.
        """
        self._battery_ids.restore(state.first_battery_id, state.vehicle_battery_ids)
        if state.in_flight:
            self._autopilot.in_flight = True
            self.settings.acting_enabled = state.acting_enabled
            if not self._is_pinned:
                self._autopilot.followed = state.followed
        if self.vehicle_control is not None:
            self.vehicle_control.sent = state.last_command

    def pump(self, now_s: float) -> VehicleState:
        """Read and answer messages, request missing ones; return the vehicle state."""
        # What waited during an absence of this process is as old as its beginning.
        absent = now_s - self._pumped_s > HEARTBEAT_MAX_AGE_S
        received_s = self._pumped_s if absent else now_s
        self._pumped_s = now_s
        for message in self._components.received(now_s):
            self._receive(message, received_s)
        self._components.beat(now_s)
        self._autopilot.end_doubt(now_s)
        self._report_doubt(now_s)
        requests = self._requester.due(self._autopilot, now_s)
        if self.vehicle_control is not None or self._resets_monitors:
            requests += self._identities.due(self._autopilot, now_s)
        for request in requests:
            self._components.send(None, request, now_s)
        if self.can is not None:
            for frame in self.can.due(self._autopilot, now_s):
                self._send_to_autopilot(frame, now_s)
        self._pump_telemetry(now_s)
        links = (self._components, *(components for _, components in self._telemetry))
        second_senders = (components.second_sender_text(now_s) for components in links)
        state = changed(
            self._autopilot.state(now_s),
            link_trouble=self._components.trouble,
            second_sender=next((text for text in second_senders if text), None),
            telemetry_links=tuple(
                [TelemetryLinkState(url, components.trouble) for url, components in self._telemetry]
            ),
        )
        if not self._restoring and not self._autopilot.doubtful:
            state = self._with_plan(state, now_s)
        if self.vehicle_control is not None:
            self._control(self.vehicle_control, state, now_s)
        self._reset_monitors(state, now_s)
        self._report_arming(state, now_s)
        return state

    def _reset_monitors(self, state: VehicleState, now_s: float) -> None:
        """Send what clears the battery monitors of the vehicle after a swap."""
        if self.settings.acting_enabled and not self._restoring:
            for command in self._resets.due(self._autopilot, state, now_s):
                if not self._send_to_autopilot(command, now_s):
                    self._resets.unsent()
        for severity, text in self._resets.take_texts():
            self._announce(text, severity, now_s)

    def _pump_telemetry(self, now_s: float) -> None:
        """Answer what arrives on the other links; nothing there is the vehicle."""
        for _, components in self._telemetry:
            for message in components.received(now_s):
                components.counts["foreign"] += 1
                components.vouch(message, now_s, is_vehicle=False)
                components.answer(message, now_s, is_vehicle_link=False)
            components.beat(now_s)

    def _with_plan(self, state: VehicleState, now_s: float) -> VehicleState:
        """Request what is missing of the vehicle's plan, and add what has been received."""
        autopilot = self._autopilot
        control = self.vehicle_control
        parameters = self._parameters
        if control is not None:
            parameters = control.parameters
        elif autopilot.runs != self._run:
            self._run = autopilot.runs
            parameters.discard_values()
        self._returns.step(parameters, autopilot, now_s, on_wing=state.on_wing)
        home = None
        if state.home_lat_deg is not None and state.home_lon_deg is not None:
            home = Place(state.home_lat_deg, state.home_lon_deg, 0.0)
        requests = self._missions.due(autopilot, home, now_s, circles=self._returns.circles)
        if control is None and autopilot.online_since_s(now_s) is not None:
            bytewise = autopilot.stack.bytewise_integers
            requests += parameters.due(autopilot.system_id, now_s, bytewise=bytewise)
        for request in requests:
            self._send_to_autopilot(request, now_s)
        returns = self._returns
        missions = self._missions
        plan = FlightPlan(
            returns.returns, missions.items, missions.rally, returns.speeds, returns.agility
        )
        if plan != self._plan:  # consumers compare by identity
            self._plan = plan
        return state if self._plan == _NO_PLAN else changed(state, plan=self._plan)

    def restore_parameters(self, clock: Clock) -> None:
        """Restore what vehicle control has changed on the vehicle; blocks for 3 s at most.

        The bridge sends no command to the vehicle afterwards.
        """
        self._restoring = True
        end_s = clock.now_s() + _RESTORE_S
        while self.vehicle_control is not None and not self.vehicle_control.idle:
            now_s = clock.now_s()
            if now_s >= end_s:
                return
            self.pump(now_s)
            clock.sleep_until(now_s + _STEP_S)

    def __call__(self, report: Report) -> None:
        """Send the messages of a battery that are due: the bridge is a sink of reports."""
        if not self.settings.ids_are_fixed and report.index not in self._shared.monitors:
            self._shared.first_id = self._battery_ids.first_id(
                self.stack, self._autopilot, self.settings.first_battery_id, report.t_s
            )
        self._arming.update(report, self._components.report(report))
        for _, components in self._telemetry:
            components.report(report)
        self._resets.update(report)
        if self.vehicle_control is not None:
            self.vehicle_control.request(report)

    def _receive(self, message: mavlink.MAVLink_message, received_s: float) -> None:
        """Use a message of the link to the vehicle, of any sender."""
        now_s = self._pumped_s
        source = message.get_srcSystem(), message.get_srcComponent()
        by_autopilot = source == (self._autopilot.followed, AUTOPILOT_COMPONENT)
        if by_autopilot and self._copies.is_late_copy(message, now_s):
            self.counts["foreign"] += 1
            return
        if by_autopilot:
            self._autopilot.compare(message, now_s)
        others = len(self._autopilot.others)
        followed = self._autopilot.followed
        ours = self._autopilot.receive(message, received_s)
        self.counts["received" if ours else "foreign"] += 1
        self._components.vouch(message, now_s, is_vehicle=ours)
        self._notice_others(message, source, now_s)
        self._report_vehicles(others, followed)
        self._missions.receive(message, self._autopilot, received_s)
        ours = ours and not self._autopilot.doubtful
        if ours:
            self._receive_values(message, now_s, received_s)
        if message.get_type() == "COMMAND_ACK" and not self._is_for_us(message):
            return
        if ours:
            self._receive_answers(message, received_s)
        request = self._components.answer(message, now_s, is_vehicle_link=True)
        by_vehicle = source == (self.system_id, AUTOPILOT_COMPONENT)
        if request is not None and by_vehicle and request.target_system == self.system_id:
            self._authorize(request, now_s)

    def _receive_values(
        self, message: mavlink.MAVLink_message, now_s: float, received_s: float
    ) -> None:
        """Use a message of the vehicle as its parameter or as the state of its battery."""
        if self.vehicle_control is None:
            self._parameters.receive(message, bytewise=self._autopilot.stack.bytewise_integers)
        if message.get_type() == "BATTERY_STATUS":
            self._battery_ids.receive(message.id, now_s)
            for monitor in self._shared.monitors.values():
                monitor.receive(message, self._shared.reports, received_s)

    def _receive_answers(self, message: mavlink.MAVLink_message, received_s: float) -> None:
        """Use a message of the vehicle as the answer to what this service has sent."""
        self._resets.receive(message)
        if self.can is not None:
            self.can.receive(message)
        if self.vehicle_control is not None:
            self.vehicle_control.receive(message, self._autopilot, received_s)

    def _is_for_us(self, answer: mavlink.MAVLink_command_ack_message) -> bool:
        """Whether an acknowledgement is for this computer; 0 is an answer without a target."""
        target = answer.target_system, answer.target_component
        return target[0] in (0, self.system_id) and target[1] in (0, self._computer)

    def _report_vehicles(self, others: int, followed: int | None) -> None:
        """Log the vehicle that is followed from now on, and a new one that is not."""
        found = self._autopilot
        self.counts["other_vehicle"] = found.others.total()
        if followed is None and found.followed is not None:
            _log.info("vehicle: system %d, the first received; system_id pins it", found.followed)
        if others < len(found.others) <= _OTHERS_MAX:
            reason = "configured" if self._is_pinned else "followed; a new id needs a restart"
            _log.warning(
                "vehicle of system %d is ignored: system %d is %s",
                *([*found.others][-1], found.followed, reason),
            )

    def _report_doubt(self, now_s: float) -> None:
        """Report a second autopilot of the vehicle's system, each second of the doubt."""
        if self._autopilot.doubtful and now_s - self._doubt_s >= _DOUBT_PERIOD_S:
            self._doubt_s = now_s
            source = self.system_id, AUTOPILOT_COMPONENT
            text = f"{doubt_text(self.system_id)} on the link"
            self._components.report_second_sender(source, text, now_s)

    def _notice_others(
        self, message: mavlink.MAVLink_message, source: Source, now_s: float
    ) -> None:
        """Notice a battery that PX4 uses as ours."""
        takes_any = self.stack.autopilot == PX4_ID and source[0] == self.system_id
        if (
            takes_any
            and source[1] != AUTOPILOT_COMPONENT
            and message.get_type() == "BATTERY_STATUS"
        ):
            text = "PX4 uses battery {}/{} too".format(*source)
            self._components.report_second_sender(source, text, now_s)

    def _report_arming(self, state: VehicleState, now_s: float) -> None:
        """Send the verdict to the Lua driver, and to people while the vehicle is disarmed."""
        if not self._components.batteries:
            return
        self._send_verdict(now_s)
        if state.armed is False:
            for text in self._arming.due_texts(now_s):
                self._announce(text, mavlink.MAV_SEVERITY_WARNING, now_s)
        armed_now = bool(state.armed) and self._armed is False
        self._armed = self._armed if state.armed is None else state.armed
        if armed_now and self.vehicle_control is not None and not self.settings.acting_enabled:
            text = "armed with actions off: BMS_ACT 0"
            self._announce(text, mavlink.MAV_SEVERITY_WARNING, now_s)

    def _send_verdict(self, now_s: float) -> None:
        """Send the verdict each second, and at once when it changes."""
        driver = self._autopilot.driver
        silent = self._autopilot.online_since_s(now_s) is None
        if silent or not self.stack.runs_lua_driver:
            return
        first_id = -1 if self._shared.first_id is None else self._shared.first_id
        sent = self._components.reported
        verdict = (not self._arming.go, sent or -1, first_id)
        if verdict == self._verdict and now_s - self._verdict_s < _VERDICT_PERIOD_S:
            return
        self._verdict = verdict
        self._verdict_s = now_s
        no_go, batteries, first_id = verdict
        message = driver.verdict(
            self.system_id, no_go=no_go, batteries=batteries, first_id=first_id
        )
        self._send_to_autopilot(message, now_s)

    def _authorize(self, message: mavlink.MAVLink_message, now_s: float) -> None:
        answer, reasons = self._arming.answer(message, now_s)
        self._components.send(None, answer, now_s)
        for reason in reasons:
            self._announce(reason, mavlink.MAV_SEVERITY_ERROR, now_s)

    def _control(self, control: VehicleControl, state: VehicleState, now_s: float) -> None:
        enabled = self.settings.acting_enabled and not self._restoring
        for message in control.step(self._autopilot, state, now_s, enabled=enabled):
            if not self._send_to_autopilot(message, now_s):
                control.unsent(message, now_s)
        for severity, text in control.take_texts():
            self._announce(text, severity, now_s)

    def _announce(self, text: str, severity: int, now_s: float) -> None:
        """Send a text of the computer over every link."""
        self._components.add_text(text, severity, now_s)
        for _, components in self._telemetry:
            components.add_text(text, severity, now_s)

    def _send_to_autopilot(self, message: mavlink.MAVLink_message, now_s: float) -> bool:
        """Send a command or a request, but for one of a message; return False if it was not sent.

        Every one passes here: a second autopilot with the id of the vehicle would carry it out too.
        """
        if self._autopilot.doubtful:
            return False
        old = is_for_version_1(message)
        return self._components.send(BATTERIES[0] if old else None, message, now_s)
