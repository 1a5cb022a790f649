# SPDX-License-Identifier: Apache-2.0
"""Which requests of others are answered, and which may change a setting.

Requests come from the vehicle's own system and from accepted systems; of each system at most 20 a
second are answered, so that a flood of them delays nothing. A setting is changed by an accepted
system or by the autopilot, not by another component of the vehicle: a camera has no reason to.
In flight it is changed by a signed request alone: without a signature any program that reaches the
link can claim any address. A vehicle that has flown and whose state is unknown is in flight.
"""

import logging

from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import AUTOPILOT_COMPONENT

_REQUESTS_HZ = 20.0
_SOURCES_MAX = 64  # that are logged
_log = logging.getLogger(__name__)


class Authority:
    """Decides on the requests to one service. For one thread.

    Args:
        accept_systems: in addition to the vehicle's own.
        verifies: whether there is a key, so that a signature proves the sender.
    """

    def __init__(self, accept_systems: tuple[int, ...], *, verifies: bool) -> None:
        self._accepted = frozenset(accept_systems)
        self._verifies = verifies
        self._allowances: dict[int, tuple[float, float]] = {}  # requests left, at a time
        self._logged: set[tuple[int, int]] = set()

    def accepts(self, system: int, own_system: int) -> bool:
        """Whether a system is the vehicle's own or an accepted one."""
        return system == own_system or system in self._accepted

    def answers(self, system: int, own_system: int, now_s: float) -> bool:
        """Whether a request of a system is answered."""
        if not self.accepts(system, own_system):
            return False
        left, at_s = self._allowances.get(system, (_REQUESTS_HZ, now_s))
        left = min(left + (now_s - at_s) * _REQUESTS_HZ, _REQUESTS_HZ)
        answered = left >= 1.0
        # A refusal takes nothing: in a flood, too, 20 requests a second are answered.
        self._allowances[system] = (left - answered, now_s)
        return answered

    def may_change(
        self, message: mavlink.MAVLink_message, own_system: int, *, in_flight: bool
    ) -> bool:
        """Whether the sender of a request may change a setting; logs a refusal once per sender.

        Args:
            message: the request.
            own_system: of the vehicle.
            in_flight: also if that is unknown after a flight.
        """
        sender = message.get_srcSystem(), message.get_srcComponent()
        if sender[0] == own_system and sender[1] != AUTOPILOT_COMPONENT:
            reason = "it is neither the autopilot nor an accepted system"
        elif in_flight and not (self._verifies and message.get_signed()):
            reason = "in flight a signed request is needed"
        else:
            return True
        if sender not in self._logged and len(self._logged) < _SOURCES_MAX:
            self._logged.add(sender)
            _log.warning("settings are not changed by %d/%d: %s", *sender, reason)
        return False
