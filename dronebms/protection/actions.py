"""What follows from what protection judges: rows of the configuration, and the rule of precedence.

Nothing here sends: `Actions` says what is wanted, `decide` which command may go out now, and the
bridge carries it out. Times in seconds of the loop's clock, amperes positive while discharging.
Nothing here, and nothing that can be configured, cuts thrust or power.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from dronebms.core.vehicle_state import VehicleState
from dronebms.protection.alarms import Status
from dronebms.protection.limits import Limit, Severity

Event = tuple[int, int, int]  # the battery, the row, how often it has been wanted
GOVERNOR = "governor"  # as a trigger: while the governor asks for less
HEARTBEAT_MAX_AGE_S = 2.0


class Do(IntEnum):
    """What may be done; a higher number is more urgent and is never replaced by a lower one."""

    REPORT = 0
    ANNOUNCE = 1
    REDUCE = 2
    RETURN = 3
    LAND = 4

    @property
    def label(self) -> str:
        """Name as it stands in files."""
        return self.name.lower()


# What a vehicle is doing by itself, by the names of its modes in flight_stack_rules.
_MODES = {"RTL": Do.RETURN, "SMART_RTL": Do.RETURN, "AUTO_RTL": Do.RETURN}
_MODES |= {"LAND": Do.LAND, "PRECLAND": Do.LAND}


@dataclass(frozen=True, slots=True)
class Action:
    """One row: do this while that holds."""

    on: Severity | str  # this severity or a worse one, the id of a limit, or GOVERNOR
    do: Do
    hold_s: float = 2.0  # it has to hold for so long
    cooldown_s: float = 30.0  # from its end until it may be wanted again
    only_when_armed: bool = True
    retry_s: float = 3.0  # for a vehicle to obey before it is told again
    retries: int = 2
    escalate: Do | None = None  # when it has not obeyed the last of them
    speed_m_s: float | None = None  # of REDUCE, beside the current
    climb_m_s: float | None = None

    def met(self, status: Status) -> str | None:
        """Return by which limit it is met, None when it is not."""
        if self.on == GOVERNOR:
            return None if status.asked_max_a is None else GOVERNOR
        if isinstance(self.on, Severity):
            return status.active[0] if status.active and status.severity >= self.on else None
        return self.on if self.on in status.active else None


DEFAULT_ACTIONS = (
    Action(Severity.INFO, Do.REPORT, hold_s=0.0, cooldown_s=0.0, only_when_armed=False),
    Action(Severity.WARNING, Do.ANNOUNCE, hold_s=0.0, cooldown_s=0.0, only_when_armed=False),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An action whose time has come, for as long as it is wanted."""

    action: Action
    event: Event
    because: str  # id of the limit, or GOVERNOR
    since_s: float
    max_a: float | None = None  # what REDUCE asks for


@dataclass(slots=True)
class _Row:
    action: Action
    number: int  # of the row, never given again
    met_s: float | None = None
    ended_s: float | None = None
    times: int = 0
    wanted: Wanted | None = None


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

    def update(self, status: Status, vehicle: VehicleState) -> tuple[Wanted, ...]:
        """Return what is wanted now, the most urgent first."""
        wanted = [self._step(row, status, vehicle) for row in self._rows]
        return tuple(sorted(filter(None, wanted), key=lambda one: -one.action.do))

    def _step(self, row: _Row, status: Status, vehicle: VehicleState) -> Wanted | None:
        action, because, now_s = row.action, row.action.met(status), status.t_s
        grounded = action.only_when_armed and (
            vehicle.armed is False or (row.wanted is None and vehicle.armed is None)
        )  # a vehicle that falls silent ends nothing
        if because is None or grounded:
            if row.wanted is not None:
                row.ended_s = now_s
            row.met_s = row.wanted = None
            return None
        if row.met_s is None:
            row.met_s = now_s
        if row.wanted is None:
            cooling = row.ended_s is not None and now_s - row.ended_s < action.cooldown_s
            if cooling or now_s - row.met_s < action.hold_s:
                return None
            row.times += 1
            event = (self._battery, row.number, row.times)
            row.wanted = Wanted(action, event, because, now_s)
        row.wanted = replace(row.wanted, because=because, max_a=status.asked_max_a)
        return row.wanted


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
            f"{limit.limit_id}: {limit.severity.label} ({limit.tier}), {limit.what} {side} "
            f"{limit.trip:g} for {limit.hold_s:g} s; {'; '.join(done)}"
        )
    asked = [row.do.label for row in actions if row.on == GOVERNOR]
    return [*lines, f"{GOVERNOR}: {'; '.join(asked) or 'reported only'}"]


# ---------------------------------------------------------------------- precedence


@dataclass(frozen=True, slots=True)
class Sent:
    """The last command of a mode, and what became of it."""

    event: Event
    do: Do
    t_s: float
    mode_before: str
    tries: int = 1
    obeyed: bool = False
    overridden: bool = False  # a pilot chose another mode since; it holds until disarming
    earlier: frozenset[Event] = frozenset()  # that have had their command

    def read_back(self, vehicle: VehicleState) -> "Sent | None":
        """Return it with what the vehicle's mode says of it; on the ground it is forgotten."""
        if vehicle.armed is False:
            return None
        if vehicle.mode is None:
            return self
        obeyed = _doing(vehicle) >= self.do
        other = not obeyed and (self.obeyed or vehicle.mode != self.mode_before)
        return replace(self, obeyed=self.obeyed or obeyed, overridden=self.overridden or other)

    def next(self, action: Action, now_s: float) -> tuple[Do, int] | str:
        """Return what to send and which try it is, or why nothing: obeyed, waited for, given up."""
        if self.obeyed:
            return "the vehicle has obeyed"
        if now_s - self.t_s < action.retry_s:
            return "the vehicle has a moment to obey"
        if self.tries <= action.retries:
            return self.do, self.tries + 1
        if action.escalate is not None and action.escalate > self.do:
            return action.escalate, 1
        return "the vehicle does not obey and is told no more"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to send now; None with the reason why nothing is sent."""

    send: Do | None
    why: str
    wanted: Wanted | None = None
    sent: Sent | None = None  # to be handed in at the next step


def refusal(do: Do, vehicle: VehicleState, sent: Sent | None = None) -> str | None:
    """Return why a command must not be sent to a vehicle as it is, None when it may.

    The rule of precedence: an action never replaces a more urgent one, a landing, a failsafe of
    the flight controller or the mode that a pilot chose after our command, and nothing is sent
    to a vehicle that is disarmed or not heard afresh.
    """
    age_s, doing = vehicle.heartbeat_age_s, _doing(vehicle)
    rules = (
        (age_s is None or age_s > HEARTBEAT_MAX_AGE_S, "the vehicle is not heard"),
        (vehicle.armed is not True, "the vehicle is not armed"),
        (vehicle.mode is None, "the vehicle's mode is not known"),
        (vehicle.failsafe is True, "a failsafe of the flight controller is at work"),
        (sent is not None and sent.overridden, "the pilot has chosen another mode"),
        (doing is Do.LAND, "the vehicle is landing"),
        (doing >= do, f"the vehicle is on its way already: {doing.label}"),
    )
    return next((why for holds, why in rules if holds), None)


def decide(
    wanted: Sequence[Wanted], vehicle: VehicleState, sent: Sent | None, now_s: float
) -> Decision:
    """Return the one command that is to be sent now, or none and why.

    One event has one command of a mode, sent again only while it is not obeyed.

    Args:
        wanted: of all batteries.
        vehicle: as it is heard now.
        sent: what the last decision said of commands of a mode.
        now_s: the loop's time.
    """
    sent = None if sent is None else sent.read_back(vehicle)
    commands = [one for one in wanted if one.action.do >= Do.REDUCE]
    if not commands:
        return Decision(None, "nothing is wanted of the vehicle", None, sent)
    most = max(commands, key=lambda one: one.action.do)
    do, tries = most.action.do, 1
    if sent is not None and sent.event == most.event:
        next_ = sent.next(most.action, now_s)
        if isinstance(next_, str):
            return Decision(None, next_, most, sent)
        do, tries = next_
    elif sent is not None and most.event in sent.earlier:
        return Decision(None, "this event has had its command", most, sent)
    why = refusal(do, vehicle, sent)
    if why is not None:
        return Decision(None, why, most, sent)
    if do is not Do.REDUCE:  # in force as long as it is asked for, and no mode
        earlier = frozenset() if sent is None else sent.earlier | {sent.event}
        mode = sent.mode_before if sent is not None and tries > 1 else vehicle.mode or ""
        sent = Sent(most.event, do, now_s, mode, tries, earlier=earlier - {most.event})
    return Decision(do, most.because, most, sent)


def _doing(vehicle: VehicleState) -> Do:
    return _MODES.get(vehicle.mode or "", Do.REPORT)
