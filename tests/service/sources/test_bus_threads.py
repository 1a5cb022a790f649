# SPDX-License-Identifier: Apache-2.0
"""One thread per adapter: the loop never waits for it, and its snapshots age."""

import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pytest

from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.recording.gauge_tap import TappedGauge
from dronebms.service.sources.bus_threads import BusThread, PolledGauge, next_round_s
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.bus_trace import Transfer
from smartbattery.errors import BusTimeoutError
from smartbattery.gauge_state import GaugeState
from smartbattery.registers import ADDRESS

Polls = list[tuple[int, float, int]]


@dataclass
class Gate:
    """A bus that blocks on demand, like one whose clock line is held low."""

    bus: Bus
    open: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    threads: set[str] = field(default_factory=set)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Wait until it is open, then pass the transfer on."""
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        if not self.open.wait(1.0):
            raise BusTimeoutError("something holds the bus down")
        return self.bus.transfer(address, tx, rx_len)


class Taken:
    """The polls that the loop has received, and in which thread."""

    def __init__(self) -> None:
        self.polls: Polls = []
        self.threads: set[str] = set()

    def __call__(
        self, index: int, t_s: float, transfers: Sequence[Transfer], _state: GaugeState
    ) -> None:
        """Note a poll."""
        self.polls.append((index, t_s, len(transfers)))
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def gate() -> Iterator[Gate]:
    bus, _ = open_virtual("survey", VirtualClock(), 1)
    gate = Gate(bus)
    yield gate
    gate.open.set()


@contextmanager
def polled(
    bus: Bus, clock: SystemClock, taken: Taken, period_s: float = 0.02
) -> Iterator[PolledGauge]:
    """Poll a gauge in a thread; closing it ends the thread."""
    source = PolledGauge(TappedGauge(bus, ADDRESS, 6), 1, taken)
    with closing(BusThread("one", [source], clock, period_s)):
        yield source


def test_a_bus_that_blocks_does_not_delay_the_loop(gate: Gate) -> None:
    clock, taken = SystemClock(), Taken()
    with polled(gate, clock, taken) as source:
        assert gate.entered.wait(1.0)
        latest_s = 0.0
        for step in range(40):
            clock.sleep_until(step * 0.01)
            before_s = clock.now_s()
            snapshot = source.poll(before_s)
            latest_s = max(latest_s, clock.now_s() - before_s)
            assert snapshot.voltage_v is None
            assert snapshot.trouble == "the gauge has not answered yet"
        assert latest_s < 0.05
        gate.open.set()
        while source.poll(clock.now_s()).voltage_v is None:
            assert clock.now_s() < 1.3
            clock.sleep_until(clock.now_s() + 0.005)
        gate.open.clear()
        last = source.poll(clock.now_s())
        assert last.voltage_v == pytest.approx(25.1, abs=0.2)
        # The loop's time is an argument: the test does not wait for the snapshot to age.
        late = source.poll(clock.now_s() + 30.0)
        assert (late.voltage_v, late.cells_v) == (None, (None,) * 6)
        assert late.trouble is not None
        assert late.trouble.startswith("no reading for 3")
        gate.open.set()


def test_every_poll_is_passed_on_once_in_order_in_the_loops_thread(gate: Gate) -> None:
    gate.open.set()
    clock, taken = SystemClock(), Taken()
    with polled(gate, clock, taken) as source:
        while len(taken.polls) < 5:
            assert clock.now_s() < 1.0
            source.poll(clock.now_s())
    assert {index for index, _, _ in taken.polls} == {1}
    times_s = [t_s for _, t_s, _ in taken.polls]
    assert times_s == sorted(set(times_s))
    assert all(count > 0 for _, _, count in taken.polls)
    assert taken.threads == {threading.current_thread().name}
    assert gate.threads == {"bus one"}


def test_an_adapter_that_blocks_does_not_delay_another(gate: Gate) -> None:
    sound, _ = open_virtual("hover", VirtualClock(), 1)
    clock, taken = SystemClock(), Taken()
    with polled(gate, clock, taken) as held, polled(sound, clock, taken) as source:
        assert gate.entered.wait(1.0)
        while source.poll(clock.now_s()).voltage_v is None:
            assert clock.now_s() < 0.8
        assert held.poll(clock.now_s()).voltage_v is None
        gate.open.set()


def test_the_packs_of_one_adapter_are_polled_in_turn_by_one_thread(gate: Gate) -> None:
    gate.open.set()
    clock, taken = SystemClock(), Taken()
    sources = [PolledGauge(TappedGauge(gate, ADDRESS, 6), index, taken) for index in (0, 1)]
    with closing(BusThread("adapter", sources, clock, 0.02)):
        while len(taken.polls) < 8:
            assert clock.now_s() < 1.0
            for source in sources:
                source.poll(clock.now_s())
    turns = [index for _, index in sorted((t_s, index) for index, t_s, _ in taken.polls)]
    assert turns[:6] == [0, 1] * 3
    assert gate.threads == {"bus adapter"}


def test_closing_ends_the_thread(gate: Gate) -> None:
    gate.open.set()
    with polled(gate, SystemClock(), Taken()):
        assert "bus one" in {thread.name for thread in threading.enumerate()}
    assert "bus one" not in {thread.name for thread in threading.enumerate()}


def test_trouble_is_logged_when_it_changes(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    clock, bus = SystemClock(), gate.bus

    class Absent:
        def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
            if not gate.open.is_set():
                raise BusTimeoutError("something holds the bus down")
            return bus.transfer(address, tx, rx_len)

    caplog.set_level(logging.INFO)
    with polled(Absent(), clock, Taken(), 0.01) as source:
        while clock.now_s() < 0.1:
            source.poll(clock.now_s())
        gate.open.set()
        while source.poll(clock.now_s()).voltage_v is None:
            assert clock.now_s() < 1.0
    assert [record.getMessage() for record in caplog.records] == [
        "battery 2 does not answer: something holds the bus down",
        "battery 2 answers again",
    ]


@pytest.mark.parametrize("took_s", [0.0, 0.003, 0.012, 0.03, 0.07])
@pytest.mark.parametrize("phase_s", [0.0, 0.013, 0.049, 0.051, 0.099])
def test_a_round_ends_just_before_a_step(took_s: float, phase_s: float) -> None:
    """Rounds of a bus and a loop of ten steps a second, wherever both begin."""
    began_s, waits_s = 5.0 + phase_s, []
    for number in range(30):
        ended_s = began_s + took_s
        step_s = math.ceil(ended_s * 10.0 - 1e-6) / 10.0
        waits_s.append(step_s - ended_s)
        before_s, stepped_s = began_s, step_s - 0.1 if number else None
        began_s = next_round_s(began_s, ended_s, stepped_s, 0.1)
        assert 0.05 - 1e-9 <= began_s - before_s <= 0.15 + 1e-9
    assert max(waits_s[2:]) <= 0.25 * took_s + 0.004 + 1e-9
    assert min(waits_s[2:]) >= 0.004 - 1e-9


def test_a_bus_that_stalls_keeps_its_period() -> None:
    assert next_round_s(5.0, 5.09, 5.0, 0.1) == pytest.approx(5.1)
    assert next_round_s(5.0, 8.0, 7.9, 0.1) == pytest.approx(5.1)  # at once
