# SPDX-License-Identifier: Apache-2.0
"""Limits the current or the speeds of a vehicle by its parameters, and restores them.

ArduPilot's Lua driver limits the current itself, in memory, while it receives requests. Without
the driver, and on PX4, parameters are set, which the autopilot stores over a restart: the original
values are on disk before the first change, and are restored when no battery requests a limit any
more, at exit and at the next start. A limit of the user is never raised.

A value outside of the range of its parameter is no original value: nothing is limited by it. A
value is original only if no limit can be in force: while the driver may limit, none is read.

A value that is neither the original one nor a limit of this service is the user's: a second reading
confirms it, it is limited as the former one, and it is restored.

A stored parameter wears the autopilot's memory, so each one is written four times a minute on
average, after a first burst of five (`WriteBudget`). A limit that falls by 25 % is written at once,
whatever the budget; one that falls by 5 % while four writes are left; smaller falls within 15 s.
A higher limit is written after 60 to 90 s in which none was lower, and only while three writes are
left: the vehicle flies slower meanwhile, but the next gust needs no write.

The rows of a class are what its firmware has: ArduCopter and the lift motors of a QuadPlane keep
hover and a fifth of the rest whatever the limit; ArduSub keeps nothing, so that its limit is that
of `limp_home_a` at least. Fixed wings have none: ArduPlane limits power alone (BATT_WATT_MAX), at
the cost of height.
Source: AP_MotorsMulticopter.cpp and AP_Motors6DOF.cpp `get_current_limit_max_throttle`,
`output_armed_stabilizing_vectored_6dof`; quadplane.cpp (Q_M_); PX4 mc_pos_control and
rovercontrol_params.yaml.
"""

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.background_jobs import Run, run_inline
from dronebms.core.report import ActionRequest
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID
from mavlink_bridge.protocol.parameters import Parameters, same
from mavlink_bridge.vehicle.saved_parameters import SavedParameters

_REQUEST_PERIOD_S = 0.5  # to the driver
_DRIVER_RESTORE_S = 1.0  # in which the driver restores its limit
_DRIVER_LIMITS_S = 3.0  # after a request; it is present for as long after an acknowledgement
# After a request: its limit has ended, and an acknowledgement is newer than that.
_DRIVER_ENDED_S = 2.0 * _DRIVER_LIMITS_S + 1.0
_LIMITS_KNOWN = 64  # of a parameter, so that a late message is no choice of the user
_RETRY_S = 10.0
_SELDOM_S = 60.0  # for a value that the vehicle has not answered while others are limited
_STEP_FRAC = 0.03  # smaller changes are never written
_WAIT_S = 15.0  # before a small fall is written
_RISE_FRAC = 0.15  # of the limit, for a higher one to be written
_WINDOW_S = 30.0  # a limit rises to the lowest of this and of the one before
_BURST = 5.0
_REFILL_S = 15.0
_FALL_FRACS = (0.25, 0.25, 0.15, 0.10, 0.05, 0.05)  # written at once, by the writes left
_WRITES_KEPT = 2.0  # for a later fall, by a rise
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LimitParameter:
    """A parameter that limits what a vehicle draws."""

    classes: tuple[str, ...]  # of vehicles
    name: str
    by: str  # `max_a` of a request, or a speed of its action
    most: float  # value of any vehicle; the least is 0
    value: float | None = None  # fixed value while that is requested


_MULTIROTORS = ("PX4 multirotor", "PX4 VTOL")
_MOT = ("ArduCopter", "ArduSub")
_Q_M = ("QuadPlane",)
LIMIT_PARAMETERS = (
    LimitParameter(_MOT, "MOT_BAT_CURR_MAX", "max_a", 1000.0),
    LimitParameter(_MOT, "MOT_BAT_CURR_TC", "max_a", 60.0, 1.0),  # the default 5 s is slow
    LimitParameter(_Q_M, "Q_M_BAT_CURR_MAX", "max_a", 1000.0),
    LimitParameter(_Q_M, "Q_M_BAT_CURR_TC", "max_a", 60.0, 1.0),
    LimitParameter(_MULTIROTORS, "MPC_XY_VEL_MAX", "speed_m_s", 100.0),
    LimitParameter(_MULTIROTORS, "MPC_XY_CRUISE", "speed_m_s", 100.0),
    LimitParameter(_MULTIROTORS, "MPC_VEL_MANUAL", "speed_m_s", 100.0),
    LimitParameter(_MULTIROTORS, "MPC_Z_VEL_MAX_UP", "climb_m_s", 100.0),
    LimitParameter(_MULTIROTORS, "MPC_Z_V_AUTO_UP", "climb_m_s", 100.0),
    LimitParameter(("PX4 rover",), "RO_SPEED_LIM", "speed_m_s", 100.0),
)
_MOST: Mapping[str, float] = MappingProxyType({row.name: row.most for row in LIMIT_PARAMETERS})
LIMITS_KIND = ("limits", _MOST)  # of original values


class WriteBudget:
    """Writes of one parameter that are left, and the lowest limit requested for it lately.

    Falls may overdraw it; rises wait until it is repaid.
    """

    def __init__(self) -> None:
        self._left = _BURST
        self._counted_s = -math.inf
        self._window_s = -math.inf  # start of the present window
        self._lows = (math.inf, math.inf)  # of the window before, and of the present one
        self._low_since_s: float | None = None  # a small fall waits to be written

    def left(self, now_s: float) -> float:
        """Writes left at a time."""
        refilled = (now_s - self._counted_s) / _REFILL_S
        return min(_BURST, self._left + refilled)

    def take(self, now_s: float) -> None:
        """Count a write."""
        self._left = self.left(now_s) - 1.0
        self._counted_s = now_s
        self._low_since_s = None

    def limit(self, requested: float, written: float, now_s: float) -> float | None:
        """Limit to write now, `None` to leave the written one.

        Args:
            requested: limit of this moment.
            written: the present value, infinite if nothing is limited.
            now_s: time of the caller.
        """
        lowest = self._lowest(requested, now_s)
        left = self.left(now_s)
        if requested <= written * (1.0 - _FALL_FRACS[max(int(left), 0)]):
            return requested
        if requested >= written * (1.0 - _STEP_FRAC):
            self._low_since_s = None
            rises = lowest is not None and lowest >= written * (1.0 + _RISE_FRAC)
            return lowest if rises and left >= 1.0 + _WRITES_KEPT else None
        if self._low_since_s is None:
            self._low_since_s = now_s
        return requested if now_s - self._low_since_s >= _WAIT_S else None

    def _lowest(self, requested: float, now_s: float) -> float | None:
        """Lowest limit of the last two windows, at the end of one of them."""
        before, present = self._lows
        self._lows = before, min(present, requested)
        if now_s - self._window_s < _WINDOW_S:
            return None
        started = math.isfinite(self._window_s)
        self._window_s = now_s
        lowest = min(self._lows)
        self._lows = (self._lows[1], requested)
        return lowest if started else None


class ParameterLimiter:
    """Limits of one vehicle. For one thread."""

    def __init__(self, parameters: Parameters, folder: Path, run: Run = run_inline) -> None:
        """Use the parameters of the vehicle, and a folder for their original values.

        Args:
            parameters: of the vehicle.
            folder: of the original values.
            run: does the jobs on the disk.
        """
        self._parameters = parameters
        self._saved = SavedParameters(folder, *LIMITS_KIND, run)
        self._begun = False
        self._read_s: float | None = None
        self._looked_s: dict[str, float] = {}  # when values that are not known were read
        self._ended_s: float | None = None
        self._requested_s = -_REQUEST_PERIOD_S
        self._driver_s: float | None = None  # last request whose limit may be in force
        self._driver_is_asked = False  # to limit, and not to restore yet
        self._restarted_s: float | None = None  # the autopilot, without its driver since then
        self._budgets: dict[str, WriteBudget] = {}
        self._ours: dict[str, deque[float]] = {}  # limits of each name, the present one last
        self._doubted: dict[str, float] = {}  # values that are the user's if they are read again

    @property
    def idle(self) -> bool:
        """Whether no parameter has to be restored."""
        return not self._saved.held and not self._driver_is_asked

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do on disk."""
        return self._saved.is_settled

    def take_texts(self) -> list[str]:
        """Texts for the pilot since the last call."""
        return self._saved.take_texts()

    def read_again(self) -> None:
        """Read and write the values again: they may have been those of another autopilot."""
        self._read_s = None
        self._looked_s.clear()
        self._doubted.clear()

    def after_restart(self, now_s: float) -> None:
        """Take up a restarted autopilot: it has lost the limit of its driver."""
        self.read_again()
        self._restarted_s = now_s

    def step(
        self,
        requests: Sequence[ActionRequest],
        autopilot: Autopilot,
        now_s: float,
        *,
        vehicle_class: str | None,
        in_flight: bool = True,
    ) -> list[mavlink.MAVLink_message]:
        """Limit while there are requests, else restore; return messages to the driver.

        Args:
            requests: REDUCE requests of all batteries.
            autopilot: of the vehicle, with a fresh heartbeat.
            now_s: time of the caller.
            vehicle_class: name of it, `None` if unknown: nothing is limited.
            in_flight: False restores at once, also with no write left.
        """
        if not self._begun:
            self._begun = True
            self._driver_s = now_s  # an earlier run may have requested a limit until here
        self._saved.step(autopilot, now_s)
        values = _limits(requests, vehicle_class)
        self._saved.drop(values, now_s)
        self._take_user_values()
        with_driver = autopilot.driver.is_present(now_s)
        max_a = lowest(requests, "max_a")
        driver_a = max_a if with_driver and autopilot.kind == ARDUPILOT_ID else None
        self._saved.need(values.keys() if driver_a is None else frozenset(), now_s)
        if not values:
            if self.idle or (in_flight and not self._may_restore(now_s)):
                return []
            return self._restore(autopilot, now_s, with_driver=with_driver)
        self._ended_s = None
        if self._is_reading(values.keys(), autopilot, now_s) and self.idle:
            return []
        # The driver has the original value in memory: it limits even if the disk is not writable.
        if driver_a is not None:
            self._saved.hold(values)
            self._saved.save(self._saved.values.keys(), now_s)
            for name, value in values.items():
                self._note_limit(name, value)
            return self._request(autopilot, driver_a, now_s)
        for name in [*self._saved.values]:
            if name not in values:
                self._raise_back(name, now_s)
            elif self._saved.save({name}, now_s):
                self._lower(name, values[name], now_s)
        return []

    def _is_reading(self, names: Set[str], autopilot: Autopilot, now_s: float) -> bool:
        """Read the original values that are not known; return whether an answer is awaited."""
        missing = names - self._saved.values.keys()
        if self._driver_may_limit(autopilot, now_s):
            self._looked_s.clear()  # what is read now may be limited
            return False
        if not missing or not self._saved.is_known:
            return False
        pause_s = _RETRY_S if self.idle else _SELDOM_S
        due = [one for one in missing if now_s - self._looked_s.get(one, -math.inf) >= pause_s]
        self._looked_s |= dict.fromkeys(due, now_s)
        self._parameters.read(*due)
        if self._parameters.pending() & missing:
            return True
        found = {name: self._parameters.values.pop(name, math.nan) for name in missing}
        original = {name: v for name, v in found.items() if 0.0 <= v <= _MOST[name]}
        self._saved.add(original)
        self._parameters.values.update(original)
        return False

    def _driver_may_limit(self, autopilot: Autopilot, now_s: float) -> bool:
        """Whether a limit that the driver has set may be in force."""
        if self._driver_s is None or autopilot.driver.version is None:
            return False
        is_present = autopilot.driver.is_present(now_s)
        if (
            is_present
            and self._restarted_s is not None
            and now_s - self._restarted_s > _DRIVER_LIMITS_S
        ):
            self._restarted_s = None
        if (
            is_present or self._restarted_s is not None
        ) and now_s - self._driver_s >= _DRIVER_ENDED_S:
            self._driver_s = None
        return self._driver_s is not None

    def _take_user_values(self) -> None:
        """Take values that the user has set while they are limited for the original ones."""
        for name in self._saved.held:
            value = self._parameters.values.get(name)
            if value is None:
                continue
            if self._is_limit(name, value) or not 0.0 <= value <= _MOST[name]:
                self._doubted.pop(name, None)
            elif self._doubted.pop(name, None) == value:
                _log.warning("the user has set %s to %g, which is restored", name, value)
                self._saved.replace(name, value)
            else:
                self._doubted[name] = value
                self._parameters.read(name)

    def _is_limit(self, name: str, value: float) -> bool:
        """Whether a value is the original one, or a limit of this service."""
        original = self._saved.values[name]
        if name in self._saved.loaded:
            self._saved.loaded.discard(name)
            if not 0 < original < value:  # else above each limit of an earlier run
                self._note_limit(name, value)
        # Of any name: PX4 lowers a speed to another one that was limited.
        limits = (one for ours in self._ours.values() for one in ours)
        return same(value, original) or any(same(value, one) for one in limits)

    def _note_limit(self, name: str, value: float) -> None:
        ours = self._ours.setdefault(name, deque(maxlen=_LIMITS_KNOWN))
        if not ours or ours[-1] != value:
            ours.append(value)

    def _set(self, name: str, value: float, now_s: float) -> None:
        self._parameters.set(name, value)
        self._budget(name).take(now_s)

    def _lower(self, name: str, value: float, now_s: float) -> None:
        """Write a limit if its budget permits, never above the original value."""
        if name in self._parameters.pending():
            return
        original = self._saved.values[name]
        written = self._parameters.values.get(name)
        if written is None or name in self._parameters.requested():  # no try is left
            if self._read_s is None or now_s - self._read_s >= _RETRY_S:
                self._read_s = now_s
                self._parameters.read(*self._saved.held)
            return
        value = min(value, original) if original > 0 else value
        budget = self._budget(name)
        due = budget.limit(value, written if written > 0 else math.inf, now_s)
        if due is not None:
            self._note_limit(name, due)
            self._set(name, due, now_s)

    def _raise_back(self, name: str, now_s: float) -> None:
        """Write the original value of a limit that has ended while another one goes on."""
        value = self._saved.values[name]
        now = self._parameters.values.get(name)
        wrong = now is not None and not same(now, value)
        open_set = name in self._parameters.requested()
        if wrong and not open_set and self._budget(name).left(now_s) >= _WRITES_KEPT:
            self._set(name, value, now_s)

    def _budget(self, name: str) -> WriteBudget:
        return self._budgets.setdefault(name, WriteBudget())

    def _may_restore(self, now_s: float) -> bool:
        """Whether a limit that ends now could begin again at once."""
        if self._ended_s is not None:
            return True
        return all(self._budget(name).left(now_s) >= _WRITES_KEPT for name in self._saved.held)

    def _request(
        self, autopilot: Autopilot, max_a: float, now_s: float
    ) -> list[mavlink.MAVLink_message]:
        if now_s - self._requested_s < _REQUEST_PERIOD_S:
            return []
        self._requested_s = now_s
        if max_a > 0:
            self._driver_s = now_s
            self._driver_is_asked = True
        return [autopilot.driver.limit(autopilot.system_id, max_a)]

    def _restore(
        self, autopilot: Autopilot, now_s: float, *, with_driver: bool
    ) -> list[mavlink.MAVLink_message]:
        if self._ended_s is None:
            self._ended_s = now_s
            self._read_s = None
        if with_driver and now_s - self._ended_s < _DRIVER_RESTORE_S:
            return self._request(autopilot, 0.0, now_s)
        self._driver_is_asked = False
        if self._read_s is None or now_s - self._read_s >= _RETRY_S:
            self._read_s = now_s
            self._parameters.read(*self._saved.held)
        restored = True
        for name in self._saved.held:
            value = self._saved.values[name]
            now = self._parameters.values.get(name)
            if now is None or not same(now, value):
                restored = False
            requested = name in self._parameters.requested()
            if now is not None and not same(now, value) and not requested:
                self._set(name, value, now_s)
        if restored:
            if self._saved.held:
                self._driver_s = None
            self._saved.discard("restored", now_s)
            self._read_s = None
            self._ours.clear()
        return []


def _limits(requests: Sequence[ActionRequest], vehicle_class: str | None) -> dict[str, float]:
    """Upper limit of each parameter."""
    return {
        row.name: limit if row.value is None else row.value
        for row in LIMIT_PARAMETERS
        if vehicle_class in row.classes and (limit := lowest(requests, row.by)) is not None
    }


def lowest(requests: Sequence[ActionRequest], by: str) -> float | None:
    """Lowest positive limit of all requests: `max_a`, or a speed of the action."""
    limits = [one.max_a if by == "max_a" else getattr(one.action, by) for one in requests]
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)
