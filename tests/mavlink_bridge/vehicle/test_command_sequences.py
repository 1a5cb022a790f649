# SPDX-License-Identifier: Apache-2.0
"""Random sequences of modes, pilots, failsafes, lost messages and requests, on a model vehicle.

The model knows who has commanded its mode; the rules under test see messages alone.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.core.report import Action, ActionKind, ActionRequest, Severity
from dronebms.core.vehicle_state import VehicleState
from mavlink_bridge.protocol.flight_modes import MODE_TABLES, action_of_mode, follows_by_itself
from mavlink_bridge.protocol.vehicle_classes import VEHICLE_CLASSES, class_named
from mavlink_bridge.vehicle.command_state import SentCommand
from mavlink_bridge.vehicle.precedence import decide

STEP_S = 0.5
LIKELY = ("ArduCopter", "PX4 multirotor", "QuadPlane", "ArduRover")
ACCEPTED, FAILED = 0, 4


def request(do: ActionKind, began_s: float) -> ActionRequest:
    action = Action(Severity.CRITICAL, do, cooldown_s=0.0)
    return ActionRequest(action, (0, int(do), began_s), "cell_critical")


@dataclass
class Model:
    """A vehicle that obeys, and the rules that command it."""

    kind: str
    mode: str
    armed: bool = True
    failsafe: bool = False
    by_pilot: bool = False  # since it obeyed us
    obeyed: bool = False  # since the last disarming
    refuses: bool = False
    lost: int = 0  # frames to it that the link loses from now on
    now_s: float = 0.0
    mode_s: float = 0.0
    seen: VehicleState | None = None
    seen_s: float = 0.0
    sent: SentCommand | None = None
    began_s: dict[ActionKind, float] = field(default_factory=dict)  # the last event of each kind
    requested: set[ActionKind] = field(default_factory=set)
    commands: list[tuple[float, ActionKind]] = field(default_factory=list)

    def change(self, mode: str, *, failsafe: bool = False) -> None:
        """Change the mode."""
        self.mode, self.failsafe, self.mode_s = mode, failsafe, self.now_s

    def step(self, *, heartbeat: bool, answer: bool) -> None:
        """Half a second: a heartbeat each second unless it is lost, and at most one command."""
        self.now_s += STEP_S
        if heartbeat and self.now_s % 1.0 == 0.0:
            self.seen_s = self.now_s
            self.seen = VehicleState(
                armed=self.armed,
                mode=self.mode,
                failsafe=self.failsafe,
                vehicle_class=self.kind,
                mode_age_s=self.now_s - self.mode_s,
            )
        vehicle = self._state()
        requests = [request(do, self.began_s.get(do, 0.0)) for do in sorted(self.requested)]
        decision = decide(requests, vehicle, self.sent, self.now_s)
        self.sent = decision.sent
        if decision.send is not None and decision.send is not ActionKind.REDUCE:
            self._check(decision.send, vehicle)
            self._obey(decision.send, answer=answer)

    def _state(self) -> VehicleState:
        if self.seen is None or self.now_s - self.seen_s > 2.0:
            return VehicleState(heartbeat_age_s=None if self.seen is None else 9.0)
        age_s = self.now_s - self.seen_s
        known = {name: getattr(self.seen, name) for name in self.seen.__slots__}
        return VehicleState(**(known | {"heartbeat_age_s": age_s}))

    def _check(self, do: ActionKind, vehicle: VehicleState) -> None:
        self.commands.append((self.now_s, do))
        assert vehicle.armed is True
        assert vehicle.heartbeat_age_s is not None
        assert vehicle.heartbeat_age_s <= 2.0
        assert action_of_mode(vehicle.mode) < do
        assert do in self.requested
        # What no heartbeat has shown cannot be known.
        assert not self.by_pilot or self.seen_s < self.mode_s, "a pilot is overruled"

    def _obey(self, do: ActionKind, *, answer: bool) -> None:
        row = class_named(self.kind)
        assert row is not None
        assert self.sent is not None
        means = row.commands(do)
        if self.lost:
            self.lost -= 1
            return
        if self.armed and not self.refuses:
            self.change(means[self.sent.means].modes[0])
            self.obeyed = True
        if answer:
            result = FAILED if self.refuses else ACCEPTED
            last = self.sent.means + 1 == len(means)
            self.sent = self.sent.acknowledged(result, self.now_s, last=last)

    def pilot(self, mode: str) -> None:
        """A pilot chooses a mode."""
        row = class_named(self.kind)
        assert row is not None
        commanded = {
            one.modes[0] for do in (ActionKind.RETURN, ActionKind.LAND) for one in row.commands(do)
        }
        changes = mode != self.mode
        self.change(mode)
        own = any(follows_by_itself(one, mode, row.firmware) for one in commanded)
        if self.obeyed and changes and not own:
            self.by_pilot = True


events = st.lists(
    st.tuples(
        st.sampled_from(
            ["none"] * 6
            + ["return", "land", "end", "pilot", "own", "failsafe", "disarm", "arm", "refuse"]
            + ["lose"]
        ),
        st.integers(0, 30),
        st.integers(1, 12),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=30,
)


def play(model: Model, steps: list[tuple[str, int, int, bool]]) -> None:
    """Play events; each is followed by some half seconds."""
    row = class_named(model.kind)
    assert row is not None
    modes = [one.name for one in MODE_TABLES[row.firmware or ""]]
    for event, number, times, heartbeat in steps:
        one = modes[number % len(modes)]
        model.lost = number % 4 if event == "lose" else model.lost
        if event in ("return", "land"):
            do = ActionKind[event.upper()]
            model.began_s[do] = model.now_s
            model.requested.add(do)
        elif event == "end":
            model.requested.clear()
        elif event == "pilot":
            model.pilot(one)
        elif event == "own" and follows_by_itself(model.mode, one, row.firmware):
            model.change(one)
        elif event == "failsafe":
            urgent = [name for name in modes if action_of_mode(name) >= ActionKind.RETURN]
            model.change(urgent[number % len(urgent)], failsafe=True)
            model.by_pilot = False
        elif event in ("disarm", "arm"):
            model.armed = event == "arm"
            model.by_pilot = model.obeyed = False
        elif event == "refuse":
            model.refuses = not model.refuses
        for _ in range(times if event != "disarm" else 6):
            model.step(heartbeat=heartbeat or event == "disarm", answer=True)


def start(kind: str) -> Model:
    row = class_named(kind)
    assert row is not None
    return Model(kind, MODE_TABLES[row.firmware or ""][0].name)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(LIKELY), events)
def test_no_pilot_is_overruled_and_nothing_more_urgent_replaced(
    kind: str, steps: list[tuple[str, int, int, bool]]
) -> None:
    model = start(kind)
    play(model, steps)
    for start_s, do in model.commands:
        near = [t_s for t_s, other in model.commands if other is do and 0 <= t_s - start_s < 60.0]
        assert len(near) <= 4 * 3  # and each command of the class


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(LIKELY), events)
def test_a_due_landing_is_never_missed(kind: str, steps: list[tuple[str, int, int, bool]]) -> None:
    model = start(kind)
    play(model, [one for one in steps if one[0] not in ("pilot", "disarm", "refuse")])
    model.requested.add(ActionKind.LAND)
    model.began_s[ActionKind.LAND] = model.now_s
    for _ in range(150):  # also with an earlier budget used up
        model.step(heartbeat=True, answer=True)
    assert action_of_mode(model.mode) is ActionKind.LAND or model.mode == "AUTO"


without_effect = st.lists(
    st.tuples(st.sampled_from(["return", "land", "pilot", "own"]), st.integers(0, 30)), max_size=8
)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(LIKELY), without_effect)
def test_a_due_landing_is_never_missed_after_commands_without_effect(
    kind: str, steps: list[tuple[str, int]]
) -> None:
    """Commands are lost or refused, their events end, and a pilot flies on: that is no override."""
    model = start(kind)
    for event, number in steps:
        model.lost, model.refuses = (99, False) if number % 2 else (0, True)
        play(model, [(event, number, 4, True), ("end", 0, 8, True)])
    model.lost, model.refuses = 0, False
    assert not model.obeyed
    if action_of_mode(model.mode) is ActionKind.LAND:
        return
    model.requested.add(ActionKind.LAND)
    model.began_s[ActionKind.LAND] = model.now_s
    for _ in range(150):
        model.step(heartbeat=True, answer=True)
    assert action_of_mode(model.mode) is ActionKind.LAND or model.mode == "AUTO"


@pytest.mark.parametrize("row", VEHICLE_CLASSES, ids=lambda row: row.name)
def test_every_class_lands_out_of_every_mode_that_is_no_landing(row: object) -> None:
    kind = row.name  # type: ignore[attr-defined]  # a VehicleClass
    found = class_named(kind)
    assert found is not None
    for mode in MODE_TABLES[found.firmware or ""]:
        model = Model(kind, mode.name)
        model.requested.add(ActionKind.LAND)
        for _ in range(20):
            model.step(heartbeat=True, answer=True)
        due = found.lands and mode.action is not ActionKind.LAND
        assert len(model.commands) == (1 if due else 0)
