# SPDX-License-Identifier: Apache-2.0
"""Compares a vehicle's parameters with the requirements of this service, and sets them.

Parameters are set only on command of the user and only while disarmed. Values are in the
vehicle's own units.
The failsafe actions of ArduPilot have other numbers in each firmware: the return of one stops the
motors of another.
Source: the parameter lists of ArduPilot 4.5 to 4.7 and PX4 1.13 to 1.18; `handle_battery_failsafe`
and `_failsafe_priorities` of ArduCopter, ArduPlane, Rover, ArduSub and Blimp.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import Clock
from dronebms.core.errors import LinkError
from dronebms.core.report import ActionKind
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.codec import Codec, read_key
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.protocol.flight_modes import firmware_of
from mavlink_bridge.protocol.flight_stacks import (
    ANY_RELEASE,
    ARDUPILOT_ID,
    PX4_118,
    PX4_ID,
    Release,
)
from mavlink_bridge.protocol.link import Link, open_link
from mavlink_bridge.protocol.parameters import Parameters, same
from mavlink_bridge.protocol.requests import command
from mavlink_bridge.protocol.signing import Signing
from mavlink_bridge.protocol.vehicle_classes import impossible_actions

_SELF = mavlink.MAV_COMP_ID_ONBOARD_COMPUTER
_FOUND_S = 10.0
_VERSION_S = 3.0
_ANSWERS_S = 20.0
_STEP_S = 0.02
_HEARTBEAT_PERIOD_S = 1.0
_HEARTBEAT = mavlink.MAVLink_heartbeat_message(
    mavlink.MAV_TYPE_ONBOARD_CONTROLLER, mavlink.MAV_AUTOPILOT_INVALID, 0, 0, 4, 3
)
_LATEST_RELEASE = (255, 255, 255)
# ARMING_SKIPCHK takes the place of ARMING_CHECK; development versions of 4.7 have one of the two.
_ARDUPILOT_47_DEV = (4, 7, 0)
_ARDUPILOT_47_BETA = (4, 7, 128)

HEAD = f"{'':6}{'parameter':18}{'value':>8}  {'required':14}reason"


@dataclass(frozen=True, slots=True)
class ParameterRequirement:
    """Range that a parameter must be in."""

    autopilot: int
    name: str
    least: float
    most: float
    default: float  # set in place of a value outside the range
    reason: str
    times: str | None = None  # factor of these three: capacity_mah or system_id
    since: Release = ANY_RELEASE
    before: Release = _LATEST_RELEASE
    required: bool = True  # False: fits if the vehicle has no such parameter
    fed: bool = False  # applies to a vehicle that gets its battery from this service alone
    firmware: str | None = None  # key of MODE_TABLES; None: every vehicle of the autopilot
    never: float | None = None  # value within the range that does not fit

    def fits(self, value: float, least: float, most: float) -> bool:
        """Whether a value is in the range."""
        return least <= value <= most and value != self.never


# fmt: off
PARAMETER_REQUIREMENTS = (
    ParameterRequirement(ARDUPILOT_ID, "SCR_ENABLE",       1, 1, 1, "the driver is a script", fed=True),
    ParameterRequirement(ARDUPILOT_ID, "BATT_MONITOR",     29, 29, 29, "battery monitor that a script fills", fed=True),
    ParameterRequirement(ARDUPILOT_ID, "BATT_CAPACITY",    0.95, 1.05, 1.0, "capacity from which the used charge is subtracted", "capacity_mah"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_LOW_MAH",     0.15, 0.6, 0.25, "charge that triggers BATT_FS_LOW_ACT", "capacity_mah"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_CRT_MAH",     0.05, 0.3, 0.1, "charge that triggers BATT_FS_CRT_ACT", "capacity_mah"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_LOW_ACT",  1, 4, 2, "low: return (2); 5 stops the motors, 6 and 7 may do nothing", firmware="ArduCopter"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_CRT_ACT",  1, 4, 1, "critical: land (1); 5 stops the motors, 6 and 7 may do nothing", firmware="ArduCopter"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_LOW_ACT",  1, 4, 1, "low: return (1); 3 ends the flight, 5 to 7 may do nothing", firmware="ArduPlane", never=3),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_CRT_ACT",  1, 4, 2, "critical: land (2), QLAND (4); 3 ends the flight, 5 to 7 may do nothing", firmware="ArduPlane", never=3),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_LOW_ACT",  1, 4, 1, "low: return (1); 5 stops the motors, 6 may do nothing", firmware="ArduRover"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_CRT_ACT",  1, 4, 2, "critical: hold (2); 5 stops the motors, 6 may do nothing", firmware="ArduRover"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_LOW_ACT",  3, 3, 3, "low: surface (3); 2 stops the motors, 1 only warns", firmware="ArduSub"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_CRT_ACT",  3, 3, 3, "critical: surface (3); 2 stops the motors, 1 only warns", firmware="ArduSub"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_LOW_ACT",  1, 1, 1, "low: land (1); 5 stops the motors", firmware="Blimp"),
    ParameterRequirement(ARDUPILOT_ID, "BATT_FS_CRT_ACT",  1, 1, 1, "critical: land (1); 5 stops the motors", firmware="Blimp"),
    ParameterRequirement(ARDUPILOT_ID, "ARMING_CHECK",     1, math.inf, 1, "0 turns all arming checks off, the driver's too", before=_ARDUPILOT_47_BETA, required=False),
    ParameterRequirement(ARDUPILOT_ID, "ARMING_SKIPCHK",   0, math.inf, 0, "-1 turns all arming checks off, the driver's too", since=_ARDUPILOT_47_DEV, required=False),
    ParameterRequirement(PX4_ID, "BAT1_SOURCE",            1, 1, 1, "external; otherwise the power module overwrites our values", fed=True),
    ParameterRequirement(PX4_ID, "COM_LOW_BAT_ACT",        2, 3, 3, "critical: return, emergency: land (3); 4 stops the motors"),
    ParameterRequirement(PX4_ID, "COM_FLTT_LOW_ACT",       3, 3, 3, "return while the time to empty covers the way", since=PX4_118.since, fed=True),
    ParameterRequirement(PX4_ID, "COM_FLTT_LOW_ACT",       0, 0, 0, "up to 1.17 the time to empty of this battery reads 0", before=PX4_118.since, fed=True),
    ParameterRequirement(PX4_ID, "CBRK_SUPPLY_CHK",        0, 0, 0, "otherwise all battery checks are off"),
    ParameterRequirement(PX4_ID, "COM_ARM_AUTH_REQ",       1, 1, 1, "arming requires an authorisation of this service"),
    ParameterRequirement(PX4_ID, "COM_ARM_AUTH_ID",        1, 1, 1, "system that authorises: the vehicle's own", "system_id"),
    ParameterRequirement(PX4_ID, "COM_ARM_AUTH_MET",       0, 0, 0, "authorisation and arming in one step"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Finding:
    """Result for one parameter."""

    name: str
    found: float | None  # None: the vehicle has no such parameter
    required: str
    default: float | None  # None: in range, or only the user knows the value
    fits: bool
    reason: str

    def __str__(self) -> str:
        """Row of the table with HEAD."""
        found = "absent" if self.found is None else f"{self.found:g}"
        verdict = "ok" if self.fits else "wrong"
        return f"{verdict:6}{self.name:18}{found:>8}  {self.required:14}{self.reason}"


class ParameterCheck:
    """Check of one vehicle over a link, which stays open."""

    def __init__(
        self, link: Link, clock: Clock, key: bytes | None = None, system_id: int | None = None
    ) -> None:
        """Find the vehicle and its release.

        Raises:
            LinkError: no heartbeat within 10 s, or a vehicle of an unknown flight stack.
        """
        self._codec = Codec(link, None if key is None else Signing(key))
        self._clock = clock
        self._autopilot = Autopilot(system_id)
        self._parameters = Parameters()
        self._heartbeat_s = clock.now_s() - _HEARTBEAT_PERIOD_S
        if not any(self._autopilot.kind is not None for _ in self._steps(_FOUND_S)):
            reason = link.trouble or self._silence(system_id)
            raise LinkError(f"no heartbeat of a vehicle within {_FOUND_S:g} s: {reason}")
        self._send(command(self._autopilot.system_id, mavlink.MAV_CMD_REQUEST_MESSAGE, 148))
        any(self._autopilot.release is not None for _ in self._steps(_VERSION_S))
        if self._autopilot.stack.autopilot is None:
            raise LinkError("the vehicle is neither ArduPilot nor PX4: no requirements are known")

    def findings(self, capacity_mah: float | None, *, feeds: bool = True) -> list[Finding]:
        """Compare every parameter.

        Args:
            capacity_mah: the rated one, `None` if not configured.
            feeds: whether the vehicle gets its battery from the service.
        """
        release = self._autopilot.release or ANY_RELEASE
        firmware = firmware_of(self._autopilot.kind, self._autopilot.vehicle_type)
        rows = [
            row
            for row in PARAMETER_REQUIREMENTS
            if row.autopilot == self._autopilot.stack.autopilot
            and row.since <= release < row.before
            and (feeds or not row.fed)
            and row.firmware in (None, firmware)
        ]
        self._parameters.read(*(row.name for row in rows))
        self._wait_for_answers()
        found = self._parameters.values
        rows = [row for row in rows if row.required or row.name in found]
        return [self._finding(row, capacity_mah) for row in rows]

    def impossible(self, actions: Collection[ActionKind]) -> list[str]:
        """One line for each of these actions that cannot be carried out on the vehicle."""
        reasons = impossible_actions(self._autopilot.kind, self._autopilot.vehicle_type)
        found = dict.fromkeys(reason for do, reason in reasons.items() if do in actions)
        return [f"{'wrong':6}[[action]]: {reason}" for reason in found]

    def set(self, findings: Sequence[Finding]) -> list[str]:
        """Set the parameters outside their range; return one sentence for each.

        Raises:
            LinkError: the vehicle is armed.
        """
        if self._autopilot.last_armed:
            raise LinkError("the vehicle is armed: no parameter is set")
        wrong = {
            one.name: one.default for one in findings if one.default is not None and not one.fits
        }
        for name, value in wrong.items():
            self._parameters.set(name, value)
        self._wait_for_answers()
        found = self._parameters.values
        return [
            f"{name} set to {value:g}"
            if name in found and same(found[name], value)
            else f"{name} could not be set to {value:g}"
            for name, value in wrong.items()
        ]

    def _finding(self, row: ParameterRequirement, capacity_mah: float | None) -> Finding:
        found = self._parameters.values.get(row.name)
        least = row.least
        most = row.most
        default = None if found is None else row.default
        if row.times is not None:
            factors = {"system_id": self._autopilot.system_id, "capacity_mah": capacity_mah}
            factor = factors[row.times]
            if factor is None:
                least = 1.0
                most = math.inf
                default = None
            else:
                least = least * factor
                most = most * factor
                default = default and round(default * factor)
        required = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        if most == math.inf:
            required = f"at least {least:g}"
        if row.never is not None:
            required += f", not {row.never:g}"
        fits = found is not None and row.fits(found, least, most)
        return Finding(row.name, found, required, default, fits, row.reason)

    def _silence(self, system_id: int | None) -> str:
        """Why no vehicle is found on a link that is open."""
        others = sorted(self._autopilot.others)
        if not others:
            return "no data on the link"
        found = ", ".join(map(str, others))
        return f"system_id is {system_id}, autopilots are received from {found}"

    def _send(self, message: mavlink.MAVLink_message) -> None:
        self._codec.send((self._autopilot.system_id, _SELF), message, self._clock.now_s())

    def _wait_for_answers(self) -> None:
        any(not self._parameters.pending() for _ in self._steps(_ANSWERS_S))

    def _steps(self, seconds: float) -> Iterator[None]:
        """Run the protocol for a time; yield after each step."""
        end_s = self._clock.now_s() + seconds
        while (now_s := self._clock.now_s()) < end_s:
            if now_s - self._heartbeat_s >= _HEARTBEAT_PERIOD_S:
                self._heartbeat_s = now_s
                self._send(_HEARTBEAT)
            bytewise = self._autopilot.stack.bytewise_integers
            for message in self._codec.receive(now_s):
                if self._autopilot.receive(message, now_s):
                    self._parameters.receive(message, bytewise=bytewise)
            system = self._autopilot.system_id
            for message in self._parameters.due(system, now_s, bytewise=bytewise):
                self._send(message)
            yield
            self._clock.sleep_until(now_s + _STEP_S)


@dataclass(frozen=True, slots=True)
class VehicleUse:
    """How a configuration uses the vehicle."""

    capacity_mah: float | None  # the rated one of the first pack; None: not configured
    actions: Collection[ActionKind] = ()
    feeds: bool = True  # the vehicle gets its battery from the service


def check_vehicle(
    mavlink_config: MavlinkConfig,
    use: VehicleUse,
    url: str,
    clock: Clock,
    *,
    set_wrong: bool = False,
) -> tuple[list[str], bool]:
    """Lines of the table, and whether all parameters and actions fit.

    Args:
        mavlink_config: of the service.
        use: of the vehicle by the configuration.
        url: of a link to the vehicle.
        clock: of the link.
        set_wrong: set the parameters that do not fit.

    Raises:
        ConfigError: the signing key cannot be used.
        LinkError: invalid link, no vehicle of a known flight stack, or it is armed and `set_wrong`.
    """
    key_file = mavlink_config.signing_key
    key = None if key_file is None else read_key(Path(key_file))
    with closing(open_link(url)) as link:
        check = ParameterCheck(link, clock, key, mavlink_config.system_id)
        findings = check.findings(use.capacity_mah, feeds=use.feeds)
        impossible = check.impossible(use.actions)
        lines = [HEAD, *map(str, findings), *impossible]
        if set_wrong:
            lines += check.set(findings)
            findings = check.findings(use.capacity_mah, feeds=use.feeds)
    if set_wrong or any(one.found is None for one in findings):
        lines.append("restart the vehicle: some parameters take effect only then; check again")
    return lines, not impossible and all(one.fits for one in findings)
