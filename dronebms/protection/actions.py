"""What follows from what protection judges: rows of the configuration, and the rule of precedence.

Nothing here sends: `Actions` says what is wanted, `decide` which command may go out now, and the
bridge carries it out. Times in seconds of the loop's clock, amperes positive while discharging.
Nothing here, and nothing that can be configured, cuts thrust or power.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dronebms.core.report import GOVERNOR, Action, ActionKind, ActionRequest, Severity, Status
from dronebms.core.vehicle_state import VehicleState
from dronebms.protection.limits import Limit

DEFAULT_ACTIONS = (
    Action(Severity.INFO, ActionKind.REPORT, hold_s=0.0, cooldown_s=0.0, only_when_armed=False),
    Action(
        Severity.WARNING, ActionKind.ANNOUNCE, hold_s=0.0, cooldown_s=0.0, only_when_armed=False
    ),
)


@dataclass(slots=True)
class _Row:
    action: Action
    number: int  # of the row, never given again
    met_s: float | None = None
    ended_s: float | None = None
    times: int = 0
    request: ActionRequest | None = None


class Actions:
    """One battery's rows, stepped with every status.

    Args:
        rows: what is done beside the reporting and announcing that is always done.
        battery: its index, from 0.
    """

    def __init__(self, rows: Iterable[Action] = (), battery: int = 0) -> None:
        self._battery = battery
        self._rows: list[_Row] = []
        self._given = 0
        self.use(rows)

    def use(self, rows: Iterable[Action]) -> None:
        """Want by other rows from now on; a row that is the same goes on where it is."""
        old = list(self._rows)
        self._rows = []
        for action in (*DEFAULT_ACTIONS, *rows):
            same = next((row for row in old if row.action == action), None)
            if same is None:
                same = _Row(action, self._given)
                self._given += 1
            else:
                old.remove(same)
            self._rows.append(same)

    def update(self, status: Status, vehicle: VehicleState) -> tuple[ActionRequest, ...]:
        """Return what is wanted now, the most urgent first."""
        requests = [self._step(row, status, vehicle) for row in self._rows]
        return tuple(sorted(filter(None, requests), key=lambda one: -one.action.do))

    def _step(self, row: _Row, status: Status, vehicle: VehicleState) -> ActionRequest | None:
        action, because, now_s = row.action, row.action.met(status), status.t_s
        grounded = action.only_when_armed and (
            vehicle.armed is False or (row.request is None and vehicle.armed is None)
        )  # a vehicle that falls silent ends nothing
        if because is None or grounded:
            if row.request is not None:
                row.ended_s = now_s
            row.met_s = row.request = None
            return None
        if row.met_s is None:
            row.met_s = now_s
        if row.request is None:
            cooling = row.ended_s is not None and now_s - row.ended_s < action.cooldown_s
            if cooling or now_s - row.met_s < action.hold_s:
                return None
            row.times += 1
            key = (self._battery, row.number, row.times)
            row.request = ActionRequest(action, key, because, now_s)
        row.request = replace(row.request, because=because, max_a=status.asked_max_a)
        return row.request


def explain(limits: Iterable[Limit], rows: Iterable[Action] = ()) -> list[str]:
    """Return what would happen when: a line for each limit, the gravest first."""
    actions, lines = (*DEFAULT_ACTIONS, *rows), []
    for limit in sorted(limits, key=lambda limit: -limit.severity):
        status = Status(0.0, limit.severity, (limit.limit_id,))
        done = [
            f"{row.do.label}{f' after {row.hold_s:g} s more' if row.hold_s else ''}"
            f"{', while armed' if row.only_when_armed else ''}"
            for row in actions
            if row.met(status) is not None
        ]
        side = "from" if limit.rising else "down to"
        lines.append(
            f"{limit.limit_id}: {limit.severity.label} ({limit.tier}), {limit.quantity} {side} "
            f"{limit.trip:g} for {limit.hold_s:g} s; {'; '.join(done)}"
        )
    asked = [row.do.label for row in actions if row.on == GOVERNOR]
    return [*lines, f"{GOVERNOR}: {'; '.join(asked) or 'reported only'}"]


# ---------------------------------------------------------------------- precedence
