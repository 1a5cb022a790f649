# SPDX-License-Identifier: Apache-2.0
"""Commands to the vehicle after a restart or a reload in flight, with the battery and without."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.core.toml_schema import validated
from dronebms.service.config import Config
from dronebms.service.service import VEHICLE, Service
from dronebms.simulation.sitl.rehearsal import VirtualMachine
from sim.emulator.world import open_virtual
from tests.mavlink_bridge.fake_vehicle import LAND, LOITER, RTL, FakeVehicle

LIMIT = '[[battery]]\nbus = "sim:half_full"\n[[limit]]\nid = "cell_sag"\ntrip = 3.8\nclear = 4.0\n'
HOME = LIMIT + '[[action]]\non = "cell_sag"\ndo = "return"\n'
DOWN = LIMIT + '[[action]]\non = "cell_sag"\ndo = "land"\n'
NUMBERS = {HOME: 20, DOWN: 21}
RUN_S, GAP_S = 45.0, 3.0
LATE = HOME + "hold_s = 15\n"
NO_EVENTS: Mapping[int, str | int] = {}


class Flight:
    """A service and its vehicle in virtual time; the limit trips after take-off at 20 s."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vehicle = FakeVehicle()
        self.clock = VirtualClock()
        self.bus, _ = open_virtual("half_full", self.clock)

    def run(
        self,
        text: str,
        parts: dict[str, object],
        seconds: float,
        events: Mapping[int, str | int] = NO_EVENTS,
    ) -> dict[str, object]:
        """Run a service that restores the parts; its own at its end, through JSON.

        Events are reloads and modes that the pilot chooses, by second.
        """
        config = self._config(text)
        with ExitStack() as stack:
            machine = VirtualMachine(self.vehicle, [self.bus])
            service = Service(config, stack, self.clock, machine)
            service.restore(parts)
            for report in service.reports(self._ticks(seconds)):
                tenths = round(10.0 * report.t_s)
                event = None if tenths % 10 else events.get(tenths // 10)
                if isinstance(event, int):
                    self.vehicle.mode = event
                elif event is not None:
                    service.reload(Path("c.toml"), partial(self._config, event))
            stored: dict[str, object] = json.loads(json.dumps(service.state(self.clock.now_s())))
        return stored

    def _config(self, text: str) -> Config:
        text += f'[mavlink]\nurl = "udpout:127.0.0.1:14550"\n[state]\ndir = "{self.folder}"\n'
        return validated(Config, text, "c.toml")

    def commands(self) -> list[int]:
        """Numbers of the mode commands since the last call."""
        found = [number for number, *_ in self.vehicle.commands]
        self.vehicle.commands.clear()
        return found

    def _ticks(self, seconds: float) -> Iterator[float]:
        start_s = self.clock.now_s() + GAP_S
        for tick in range(round(seconds * 10)):
            self.clock.sleep_until(start_s + tick / 10)
            if tick % 10 == 0:
                self.vehicle.beat()
            yield self.clock.now_s()


def without_actions(parts: dict[str, object]) -> dict[str, object]:
    """The battery is restored, and its actions are of an unknown format."""
    (pack,) = json.loads(json.dumps(parts["packs"]))
    return parts | {"packs": [pack | {"actions": {"format": 0}}]}


def bridge_alone(parts: dict[str, object]) -> dict[str, object]:
    return {VEHICLE: parts[VEHICLE]}


def of_another_number_of_batteries(parts: dict[str, object]) -> dict[str, object]:
    return parts | {"packs": []}


Parts = Callable[[dict[str, object]], dict[str, object]]
LOST = (bridge_alone, without_actions, of_another_number_of_batteries)


@pytest.mark.parametrize("text", [HOME, DOWN])
@pytest.mark.parametrize("lost", LOST)
def test_an_event_after_a_restart_has_its_command_though_the_battery_is_not_restored(
    tmp_path: Path, lost: Parts, text: str
) -> None:
    flight = Flight(tmp_path)
    flight.vehicle.complies = False
    parts = flight.run(text, {}, RUN_S)
    assert flight.commands()
    flight.vehicle.complies = True
    flight.run(text, lost(parts), RUN_S)
    assert flight.commands() == [NUMBERS[text]]


def test_a_landing_of_another_configuration_is_sent_after_a_return_was_obeyed(
    tmp_path: Path,
) -> None:
    flight = Flight(tmp_path)
    parts = flight.run(HOME, {}, RUN_S)
    assert (flight.commands(), flight.vehicle.mode) == ([20], RTL)
    flight.run(DOWN, parts, RUN_S)
    assert (flight.commands(), flight.vehicle.mode) == ([21], LAND)


@pytest.mark.parametrize("lost", LOST)
def test_a_pilot_who_has_taken_over_keeps_the_command_after_a_restart(
    tmp_path: Path, lost: Parts
) -> None:
    flight = Flight(tmp_path)
    parts = flight.run(HOME, {}, RUN_S)
    flight.vehicle.mode = LOITER
    parts = flight.run(HOME, parts, RUN_S)
    assert flight.commands() == [20]
    for text in (HOME, DOWN):
        flight.run(text, lost(parts), RUN_S)
        assert (flight.commands(), flight.vehicle.mode) == ([], LOITER)


def test_an_event_that_continues_after_a_restart_has_no_more_commands_than_without(
    tmp_path: Path,
) -> None:
    """A vehicle that does not comply gets the command again after each cooldown."""
    counts = []
    for name, parts_s in (("whole", (2.0 * RUN_S + GAP_S,)), ("restarted", (RUN_S, RUN_S))):
        (tmp_path / name).mkdir()
        flight, parts = Flight(tmp_path / name), dict[str, object]()
        flight.vehicle.complies = False
        for seconds in parts_s:
            parts = flight.run(HOME, parts, seconds)
        counts.append(len(flight.commands()))
    whole, restarted = counts
    assert 0 < restarted <= whole


RELOADS: dict[str, tuple[str, dict[int, str | int], list[int]]] = {  # events, mode commands
    "the same, often": (HOME, dict.fromkeys(range(5, 40), HOME), [20]),
    "removed while its hold time runs": (LATE, {15: LIMIT}, []),
    "another one while its hold time runs": (LATE, {15: DOWN}, [21]),
    "a landing after the return was obeyed": (HOME, {30: DOWN}, [20, 21]),
    "removed and added after it was obeyed": (HOME, {30: LIMIT, 35: HOME}, [20]),
    "removed and added after the pilot took over": (HOME, {25: LOITER, 30: LIMIT, 35: HOME}, [20]),
    "a landing after the pilot took over": (HOME, {25: LOITER, 30: DOWN}, [20]),
    "a failsafe returns while its hold time runs": (LATE, {15: RTL}, []),
    "a failsafe lands while its hold time runs": (LATE, {15: LAND}, []),
    "a failsafe lands after our return": (HOME, {30: LAND}, [20]),
}


@pytest.mark.parametrize("case", RELOADS)
def test_a_reload_or_a_failsafe_gives_no_command_that_was_not_due(
    tmp_path: Path, case: str
) -> None:
    text, events, expected = RELOADS[case]
    flight = Flight(tmp_path)
    flight.run(text, {}, RUN_S, events)
    assert flight.commands() == expected
