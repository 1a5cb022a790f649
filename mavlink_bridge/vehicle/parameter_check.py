"""Compares a vehicle's parameters with what a battery of this service needs, and sets them.

Setting is for when a user says so, and only on the ground. Values in the vehicle's own units.
Source: the rows and reasons in stacks.py.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import Clock
from dronebms.core.errors import LinkError
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.codec import Codec, read_key
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.protocol.flight_stack_rules import identified_stack
from mavlink_bridge.protocol.flight_stacks import (
    ANY,
    PARAMETER_REQUIREMENTS,
    PX4_ID,
    ParameterRequirement,
)
from mavlink_bridge.protocol.link import Link, open_link
from mavlink_bridge.protocol.parameters import Parameters, same
from mavlink_bridge.protocol.requests import command

_SELF = mavlink.MAV_COMP_ID_ONBOARD_COMPUTER
_HEARD_S = 10.0
_VERSION_S = 3.0
_ANSWERS_S = 20.0
_STEP_S = 0.02
_BEAT_S = 1.0
_HEARTBEAT = mavlink.MAVLink_heartbeat_message(
    mavlink.MAV_TYPE_ONBOARD_CONTROLLER, mavlink.MAV_AUTOPILOT_INVALID, 0, 0, 4, 3
)


HEAD = f"{'':6}{'parameter':18}{'found':>8}  {'wanted':14}why"


@dataclass(frozen=True, slots=True)
class Finding:
    """One parameter."""

    name: str
    found: float | None  # None: the vehicle has none of that name
    wanted: str
    good: float | None  # None: it fits, or only the user can say
    fits: bool
    why: str

    def __str__(self) -> str:
        """Return a line of the table that begins with HEAD."""
        found = "absent" if self.found is None else f"{self.found:g}"
        judged = "ok" if self.fits else "wrong"
        return f"{judged:6}{self.name:18}{found:>8}  {self.wanted:14}{self.why}"


class ParameterCheck:
    """A talk with one vehicle over a link, which it leaves open."""

    def __init__(self, link: Link, clock: Clock, key: bytes | None = None) -> None:
        """Find the vehicle and its release.

        Raises:
            LinkError: none is heard within 10 s, or one whose parameters nobody here knows.
        """
        self._codec, self._clock = Codec(link, key), clock
        self._autopilot = Autopilot(1)
        self._parameters = Parameters()
        self._beat_s = clock.now_s() - _BEAT_S
        if not any(self._autopilot.kind is not None for _ in self._steps(_HEARD_S)):
            raise LinkError(f"no vehicle is heard: {link.trouble or 'the link is silent'}")
        ask = command(self._autopilot.system_id, mavlink.MAV_CMD_REQUEST_MESSAGE, 148)
        self._send(ask)
        any(self._autopilot.release is not None for _ in self._steps(_VERSION_S))
        self.vehicle = identified_stack(self._autopilot.kind, self._autopilot.release)
        if self.vehicle.autopilot is None:
            raise LinkError("the vehicle is neither ArduPilot nor PX4; nothing is known of it")

    def findings(self, capacity_mah: float | None) -> list[Finding]:
        """Return what is found of each parameter; the capacity is None when nobody has told."""
        release = self._autopilot.release or ANY
        rows = [row for row in PARAMETER_REQUIREMENTS if row.autopilot == self.vehicle.autopilot]
        rows = [row for row in rows if row.since <= release < row.before]
        self._parameters.read(*(row.name for row in rows))
        any(not self._parameters.waiting() for _ in self._steps(_ANSWERS_S))
        return [self._finding(row, capacity_mah) for row in rows]

    def set(self, findings: Sequence[Finding]) -> list[str]:
        """Set what does not fit and has a good value; return one sentence for each.

        Raises:
            LinkError: the vehicle is armed.
        """
        if self._autopilot.last_armed:
            raise LinkError("the vehicle is armed; its parameters are left as they are")
        wrong = {one.name: one.good for one in findings if one.good is not None and not one.fits}
        for name, value in wrong.items():
            self._parameters.set(name, value)
        any(not self._parameters.waiting() for _ in self._steps(_ANSWERS_S))
        found = self._parameters.values
        return [
            f"{name} is {value:g} now"
            if name in found and same(found[name], value)
            else f"{name} could not be set to {value:g}"
            for name, value in wrong.items()
        ]

    def _finding(self, row: ParameterRequirement, capacity_mah: float | None) -> Finding:
        found = self._parameters.values.get(row.name)
        least, most, good = row.least, row.most, row.good if found is not None else None
        if row.times is not None:
            times = {"system_id": self._autopilot.system_id, "capacity_mah": capacity_mah}
            factor = times[row.times]
            if factor is None:
                least, most, good = 1.0, math.inf, None
            else:
                least, most, good = least * factor, most * factor, good and round(good * factor)
        wanted = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        fits = found is not None and least <= found <= most
        return Finding(row.name, found, wanted, good, fits, row.why)

    def _send(self, message: mavlink.MAVLink_message) -> None:
        self._codec.send((self._autopilot.system_id, _SELF), message, self._clock.now_s())

    def _steps(self, seconds: float) -> Iterator[None]:
        """Talk for so long, and give a turn after each step."""
        end_s = self._clock.now_s() + seconds
        while (now_s := self._clock.now_s()) < end_s:
            if now_s - self._beat_s >= _BEAT_S:
                self._beat_s = now_s
                self._send(_HEARTBEAT)
            bytewise = self._autopilot.kind == PX4_ID
            for message in self._codec.receive(now_s):
                if self._autopilot.receive(message, now_s):
                    self._parameters.receive(message, bytewise=bytewise)
            system = self._autopilot.system_id
            for message in self._parameters.due(system, now_s, bytewise=bytewise):
                self._send(message)
            yield
            self._clock.sleep_until(now_s + _STEP_S)


def check_vehicle(
    mavlink_config: MavlinkConfig,
    capacity_mah: float | None,
    url: str,
    clock: Clock,
    *,
    set_wrong: bool = False,
) -> tuple[list[str], bool]:
    """Return the table as lines, and whether all fits; on a user's word what does not is set.

    Raises:
        ConfigError: the key to sign with cannot be used.
        LinkError: there is no such link, or no vehicle that is known.
    """
    key_file = mavlink_config.signing_key
    key = None if key_file is None else read_key(Path(key_file))
    with closing(open_link(url)) as link:
        check = ParameterCheck(link, clock, key)
        findings = check.findings(capacity_mah)
        lines = [HEAD, *map(str, findings)]
        if set_wrong:
            lines += check.set(findings)
            findings = check.findings(capacity_mah)
    if set_wrong or any(one.found is None for one in findings):
        lines.append("restart the vehicle, as some of it counts only then, and check once more")
    return lines, all(one.fits for one in findings)
