# SPDX-License-Identifier: Apache-2.0
"""Actions configured for limits: debounce, cooldown and the active requests.

`Actions` computes the active requests; `mavlink_bridge.vehicle.precedence` decides which command is
sent. Times in seconds of watch time, except in the key of an event; amperes positive while
discharging. No action, and none that can be configured, cuts thrust or power.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from dronebms.core.report import GOVERNOR, Action, ActionKind, ActionRequest, Severity, Status
from dronebms.core.vehicle_state import VehicleState
from dronebms.protection.limits import Limit
from smartbattery.values import changed

DEFAULT_ACTIONS = (
    Action(Severity.INFO, ActionKind.REPORT, hold_s=0.0, cooldown_s=0.0, only_when_armed=False),
    Action(
        Severity.WARNING, ActionKind.ANNOUNCE, hold_s=0.0, cooldown_s=0.0, only_when_armed=False
    ),
)


@dataclass(frozen=True, slots=True)
class ActionState:
    """State of one row; times in seconds of watch time."""

    action: Action
    number: int  # of the row, never reused
    met_s: float | None = None  # since when the trigger holds
    ended_s: float | None = None
    request: ActionRequest | None = None  # while the action is active


@dataclass(frozen=True, slots=True)
class ActionsState:
    """State of the actions of one battery."""

    FORMAT: ClassVar[int] = 2

    rows: tuple[ActionState, ...] = ()
    next_number: int = 0


class Actions:
    """Rows of one battery, evaluated with every status.

    Args:
        rows: the configured actions, in addition to reporting and announcing.
        battery: its index, from 0.
        state: of an earlier run, to continue from.
    """

    def __init__(
        self, rows: Iterable[Action] = (), battery: int = 0, state: ActionsState = ActionsState()
    ) -> None:
        self._battery = battery
        self._rows = list(state.rows)
        self._next_number = state.next_number
        self.use(rows)

    def use(self, rows: Iterable[Action]) -> None:
        """Use other rows from now on.

        A row of the same trigger and kind continues, so that a changed time or speed is no new
        event: the vehicle gets no second command for it.
        """
        old = self._rows
        self._rows = []
        for action in (*DEFAULT_ACTIONS, *rows):
            alike = [row for row in old if (row.action.on, row.action.do) == (action.on, action.do)]
            row = next((row for row in alike if row.action == action), alike[0] if alike else None)
            if row is None:
                row = ActionState(action, self._next_number)
                self._next_number += 1
            else:
                old.remove(row)
                request = row.request and changed(row.request, action=action)
                row = changed(row, action=action, request=request)
            self._rows.append(row)

    def state(self) -> ActionsState:
        """State for a restart."""
        return ActionsState(tuple(self._rows), self._next_number)

    def update(
        self, status: Status, vehicle: VehicleState, now_s: float
    ) -> tuple[ActionRequest, ...]:
        """Evaluate the rows; the active requests, most urgent first.

        Args:
            status: with its time in watch time.
            vehicle: present state.
            now_s: the loop's clock, for the key of an event.
        """
        self._rows = [self._step(row, status, vehicle, now_s) for row in self._rows]
        requests = [row.request for row in self._rows if row.request is not None]
        return tuple(sorted(requests, key=lambda request: -request.action.do))

    def _step(
        self, row: ActionState, status: Status, vehicle: VehicleState, now_s: float
    ) -> ActionState:
        action = row.action
        because = action.met(status)
        watch_s = status.t_s
        if action.only_when_armed and vehicle.armed is False:
            # The cooldown of one flight does not delay the action of the next one.
            return changed(row, met_s=None, ended_s=None, request=None)
        if because is None:
            if row.met_s is None and row.request is None:
                return row
            ended_s = row.ended_s if row.request is None else watch_s
            return changed(row, met_s=None, ended_s=ended_s, request=None)
        # While it is unknown whether the vehicle is armed no action begins; an active one goes on.
        if action.only_when_armed and vehicle.armed is None and row.request is None:
            return row
        met_s = watch_s if row.met_s is None else row.met_s
        request = row.request
        if request is None:
            cooling = row.ended_s is not None and watch_s - row.ended_s < action.cooldown_s
            if cooling or watch_s - met_s < action.hold_s:
                return changed(row, met_s=met_s)
            request = ActionRequest(action, (self._battery, row.number, now_s), because)
        request = changed(request, because=because, max_a=status.asked_max_a)
        return changed(row, met_s=met_s, request=request)


def explain(limits: Iterable[Limit], rows: Iterable[Action] = ()) -> list[str]:
    """One line per limit, worst first: severity, threshold, hold time and actions."""
    actions = (*DEFAULT_ACTIONS, *rows)
    lines = []
    for limit in sorted(limits, key=lambda limit: -limit.severity):
        status = Status(0.0, limit.severity, (limit.limit_id,))
        done = ", ".join(_described(row) for row in actions if row.met(status) is not None)
        sign = ">=" if limit.rising else "<="
        lines.append(
            f"{limit.limit_id:20}  {limit.severity.name:9}  {limit.quantity} {sign} "
            f"{limit.trip:g} for {limit.hold_s:g} s -> {done}"
        )
    governed = ", ".join(row.do.label for row in actions if row.on == GOVERNOR)
    return [*lines, f"{GOVERNOR} -> {governed or 'report'}"]


def _described(action: Action) -> str:
    hold = f" after {action.hold_s:g} s" if action.hold_s else ""
    return action.do.label + hold + (" while armed" if action.only_when_armed else "")
