# SPDX-License-Identifier: Apache-2.0
"""Stage: the rest of the mission as a forecast of time and energy, with its own doubt.

On the ground the whole mission, but not right after a landing, in flight what is left of it while
it is flown. A mission that does not land is followed by the return from its end; of one without an
end the power is known and no landing. Joules of the pack, seconds.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem
from dronebms.core.vehicle_state import VehicleState
from dronebms.estimation.ahead.mission_forecast import MissionForecast
from dronebms.estimation.ahead.mission_tail import Indices, Tail, Walk
from dronebms.estimation.ahead.return_way import conditions
from dronebms.estimation.motion.flight_legs import Conditions, NoWayError
from dronebms.estimation.motion.motion_power import Array, LegTable, MotionPower
from dronebms.estimation.motion.positions import Position, offset, position_of
from smartbattery.values import changed

# steps of the wind
_WIND_M_S = 0.5
_WIND_DEG = 10.0
_ARRIVED_M = 5.0  # from an item: its hold has begun
_LANDED_S = 60.0  # after a landing the mission is the one that has been flown, then the next one
_FLOWN = (ItemKind.TAKEOFF, ItemKind.WAYPOINT, ItemKind.LOITER, ItemKind.LAND, ItemKind.DELAY)


@dataclass(frozen=True, slots=True)
class MissionState:
    """Restart state of `MissionAhead`."""

    item: int | None = None  # that is flown to
    since_s: float | None = None  # it, or its hold
    arrived: bool = False
    jumps: tuple[tuple[int, int], ...] = ()  # JUMP items and how often each was done
    flown_s: float | None = None  # time of the last second in flight


@dataclass(frozen=True, slots=True)
class MissionAnswer:
    """A forecast, or why there is none: what is missing, `None` without a mission."""

    forecast: MissionForecast | None = None
    missing: str | None = None


class MissionAhead:
    """Stage: the mission of one flight; `state` to continue from."""

    def __init__(self, state: MissionState = MissionState()) -> None:
        self._state = state
        self._tail: Tail | None = None
        self._items: tuple[MissionItem, ...] | None = None  # of the last update

    def state(self) -> MissionState:
        """Restart state."""
        return self._state

    def with_state(self, state: MissionState) -> Self:
        """Return a stage that continues from a state."""
        return type(self)(state)

    def update(
        self, now_s: float, vehicle: VehicleState, motion: MotionPower, unknown_w: float | None
    ) -> MissionAnswer:
        """Forecast from where the vehicle is.

        Args:
            now_s: time.
            vehicle: its state.
            motion: power by motion.
            unknown_w: power of a motion of which nothing is known; None on the ground.
        """
        plan = vehicle.plan
        items = None if plan is None else plan.items
        if vehicle.armed is True and unknown_w is not None:
            self._state = changed(self._state, flown_s=now_s)
        elif items != self._items and self._items is not None:  # another mission: the next flight
            self._state = changed(self._state, flown_s=None)
        self._items = items
        flown = vehicle.flies_mission is True
        if plan is None or not plan.items or not (flown or vehicle.armed is False):
            return MissionAnswer()
        if not any(item.kind in _FLOWN for item in plan.items):
            return MissionAnswer()
        flown_s = self._state.flown_s
        if not flown and flown_s is not None and now_s - flown_s < _LANDED_S:
            return MissionAnswer(missing=f"{_LANDED_S:.0f} s on the ground")
        here = offset(vehicle)
        missing = _missing(plan, vehicle, here, flown=flown)
        if missing is not None or here is None:
            return MissionAnswer(missing=missing)
        if not flown:
            here = changed(here, up_m=0.0)
        first = min(vehicle.mission_item or 0, len(plan.items) - 1) if flown else 0
        self._follow(now_s, plan, first, here, vehicle)
        walk = Walk(
            plan=plan,
            first=first,
            here=here,
            vehicle=vehicle,
            motion=motion,
            at=_rounded(conditions(vehicle, motion)),
            jumps=self._state.jumps,
        )
        try:
            return self._forecast(walk, now_s - (self._state.since_s or now_s), unknown_w)
        except NoWayError:
            return MissionAnswer(missing="a ground speed against this wind")

    def _follow(
        self, now_s: float, plan: FlightPlan, first: int, here: Position, vehicle: VehicleState
    ) -> None:
        """Count the jumps that were done, and since when an item holds."""
        state = self._state
        items = plan.items or ()
        before = state.item
        if before != first:
            jumps = dict(state.jumps) if vehicle.armed else {}
            if vehicle.armed and before is not None and first <= before:
                for number in range(before, len(items)):
                    if items[number].kind is ItemKind.JUMP and items[number].jump_to == first:
                        jumps[number] = jumps.get(number, 0) + 1
                        break
            state = MissionState(
                item=first,
                since_s=now_s,
                jumps=tuple(sorted(jumps.items())),
                flown_s=state.flown_s,
            )
        place = items[first].place
        end = None if place is None else position_of(place, vehicle)
        if end is not None and not state.arrived:
            away_m = here.distance_m(end)
            state = changed(state, since_s=now_s, arrived=away_m < _ARRIVED_M)
        self._state = state

    def _forecast(self, walk: Walk, held_s: float, unknown_w: float | None) -> MissionAnswer:
        present = walk.present(held_s)
        if self._tail is None or self._tail.key != walk.key:
            self._tail = walk.tail()
        tail = self._tail
        motion = walk.motion
        near = LegTable(() if present is None else present.legs)
        needs = [motion.need(table, unknown_w) for table in (near, tail.table, tail.homes)]
        now, later, homes = needs
        if now is None or later is None or homes is None:
            return MissionAnswer(missing="power of the vehicle")
        total_j = now.total_j + later.total_j
        if total_j <= 0.0:
            return MissionAnswer()
        after_j = now.total_j + np.concatenate([[0.0], np.cumsum(later.legs_j)])
        home_j = _sums(homes.legs_j, tail.parts)
        pairs = zip(tail.numbers, tail.ends, home_j, strict=True)
        return MissionAnswer(
            MissionForecast(
                spans_s=np.concatenate([near.spans_s, tail.table.spans_s]),
                legs_j=np.concatenate([now.legs_j, later.legs_j]),
                sd=(now.sd * now.total_j + later.sd * later.total_j) / total_j,
                reach_j=tuple([(number, float(after_j[end] + j)) for number, end, j in pairs]),
                repeated=tail.repeated,
                endless=tail.endless,
            )
        )


def _sums(values: Array, parts: Indices) -> Array:
    """Sums of parts of an array, which may overlap; infinite where one of their values is."""
    if len(parts) == 0:
        return np.zeros(0)
    sums = np.add.reduceat(np.append(values, 0.0), parts.ravel())[::2]
    return np.where(parts[:, 0] < parts[:, 1], sums, 0.0)


def _missing(
    plan: FlightPlan, vehicle: VehicleState, here: Position | None, *, flown: bool
) -> str | None:
    """The one thing that keeps the mission's forecast unknown."""
    if vehicle.home_lat_deg is None or vehicle.home_lon_deg is None:
        return "home position"
    if here is None:
        return "position of the vehicle"
    if plan.speeds.cruise_m_s is None:
        return "speed of missions"
    return "present mission item" if flown and vehicle.mission_item is None else None


def _rounded(at: Conditions) -> Conditions:
    """Conditions in steps, so that the legs that are far ahead are seldom computed again."""
    return changed(
        at,
        wind_m_s=round(at.wind_m_s / _WIND_M_S) * _WIND_M_S,
        wind_from_deg=round(at.wind_from_deg / _WIND_DEG) * _WIND_DEG,
        most_air_m_s=math.ceil(at.most_air_m_s),
    )
