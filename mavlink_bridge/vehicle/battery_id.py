# SPDX-License-Identifier: Apache-2.0
"""Allocates BATTERY_STATUS.id so that each battery has a unique id on a ground station.

Ground stations distinguish batteries by this id alone. ArduPilot numbers its own batteries from 0,
so ours take the next free ids; PX4 accepts any id and forwards the battery as 255, so ours begin
with 0. The field ends with 255, which is no id of ours.
Source: QGroundControl BatteryFactGroupListModel.cc.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import FlightStack

LAST_ID = 254
MAX_BATTERIES = 16  # for which ids are kept free: all of ours stay when another one is connected
_LISTEN_S = 1.6  # in which an autopilot sends each of its batteries
_ALONE_S = 1.2  # in which an autopilot sends a heartbeat
_EXPECTED_S = 2.4  # the same where one is expected, if a heartbeat is lost
_FORGET_S = 120.0  # after which a battery of the autopilot is gone


@dataclass(frozen=True, slots=True)
class BatteryAddress:
    """Configured address of a battery; `None`: as for any battery at its place."""

    component_id: int | None = None
    battery_id: int | None = None  # BATTERY_STATUS.id
    reset_monitor: int | None = None  # of ArduPilot, from 1, that is reset after a swap; None: none


class BatteryIdAllocator:
    """Allocates the id of the first battery, and another one if the vehicle uses one of ours.

    Attributes:
        allocated: `None` before the first allocation.
        is_expected: an autopilot is configured, or an earlier run followed one.
    """

    def __init__(self, *, is_expected: bool = False) -> None:
        self.allocated: int | None = None
        self.is_expected = is_expected
        self._taken: dict[int, float | None] = {}  # by id, when it was received; None: restored
        self._complete = False  # an id has come twice; the autopilot sends its batteries in turn
        self._start_s: float | None = None

    @property
    def taken(self) -> tuple[int, ...]:
        """Ids of the autopilot's own batteries."""
        return tuple(sorted(self._taken))

    def restore(self, allocated: int | None, taken: tuple[int, ...]) -> None:
        """Continue with the ids of an earlier run."""
        if allocated is not None and 0 <= allocated <= LAST_ID:
            self.allocated = allocated
        self._taken = dict.fromkeys(battery_id for battery_id in taken if battery_id >= 0)
        self.is_expected |= bool(taken)

    def receive(self, battery_id: int, now_s: float) -> None:
        """Take in the id of a battery of the autopilot's own."""
        self._complete |= self._taken.get(battery_id) is not None
        self._taken[battery_id] = now_s

    def first_id(
        self, stack: FlightStack, autopilot: Autopilot, configured: int, now_s: float
    ) -> int | None:
        """Id of the first battery, `None` while it is unknown or no ids are free.

        Args:
            stack: row of the flight stack.
            autopilot: which is followed.
            configured: id of the configuration, negative for none.
            now_s: time of the caller.
        """
        if configured >= 0:
            return configured
        if self._start_s is None:
            self._start_s = now_s
        for battery_id, received_s in [*self._taken.items()]:
            if now_s - (self._start_s if received_s is None else received_s) > _FORGET_S:
                del self._taken[battery_id]
        since_s = autopilot.online_since_s(now_s)
        wait_s = _LISTEN_S if stack.own_battery_ids else 0.0
        if autopilot.kind is None or since_s is None:
            since_s = self._start_s
            wait_s = _EXPECTED_S if self.is_expected else _ALONE_S
        waiting = now_s - since_s < wait_s and not self._complete
        if self.allocated is None and waiting:
            return None
        taken = set(self._taken) if stack.own_battery_ids else set()
        if self.allocated is None or not taken.isdisjoint(_block(self.allocated)):
            self.allocated = _first_free(taken)
        return self.allocated


def id_of(first_id: int | None, index: int) -> int | None:
    """Id of a battery by that of the first one; `None` without one, and beyond the last id."""
    return None if first_id is None or first_id + index > LAST_ID else first_id + index


def first_of(ids: Sequence[int | None]) -> int:
    """First of configured ids that are consecutive, -1 where they are not; `None` is left out."""
    given = [battery_id for battery_id in ids if battery_id is not None]
    consecutive = given == [*range(given[0], given[0] + len(given))]
    return given[0] if consecutive else -1


def _block(first: int) -> range:
    return range(first, first + MAX_BATTERIES)


def _first_free(taken: set[int]) -> int | None:
    """First of a block of free ids: after those that are taken, else the lowest one."""
    next_id = max((battery_id for battery_id in taken if battery_id <= LAST_ID), default=-1) + 1
    places = (next_id, *range(LAST_ID + 2 - MAX_BATTERIES))
    free = (first for first in places if taken.isdisjoint(_block(first)))
    return next((first for first in free if first + MAX_BATTERIES - 1 <= LAST_ID), None)
