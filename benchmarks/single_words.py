# SPDX-License-Identifier: Apache-2.0
"""Single wrong words of a gauge without a PEC: `python -m benchmarks.single_words [--words N] [--seed N]`.

On a flight with plenty of charge one number of one reply is replaced by another (random, the ends of
its range, half, twice, one flipped bit), then 12 s without a fault. Counts the words after which a
critical limit tripped (goal: none), the seconds in which a value of BATTERY_STATUS was wrong by
`sent_values`, and the words after which any limit above info tripped. Plain SBS (words) and BQ40Z80
(cells in blocks), half of the words each. The last line is for machines.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from benchmarks.sent_values import ListeningVehicle, SentValues
from benchmarks.wire_data import WireReader
from dronebms.core.clock import VirtualClock
from dronebms.core.report import Report, Severity
from dronebms.monitoring.pipeline import Pipeline
from mavlink_bridge.bridge import Bridge
from sim.emulator.world import World, open_bus
from sim.plant.scenario import Phase, Scenario
from smartbattery.bus import Bus
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

KINDS = ("generic", "bq40z80")
NAMES = (
    "voltage_v", "current_a", "cell1_v", "cell4_v", "temperature_degc", "soc_pct", "remaining_mah",
    "full_mah", "average_a", "time_to_empty_s", "status_raw", "mode_raw", "specification_raw",
    "serial", "design_mah", "cycles", "max_error_pct", "safety_raw", "failure_raw", "operation_raw",
    "fet_degc",
)  # fmt: skip
TICKS_PER_S, SETTLED_S, WATCH_S, FLIGHT_S = 4, 40.0, 12.0, 800.0
WAIT_S = 6.0  # in which every register is read once
CELLS, HOVER_W, GUST_FRAC = 4, 150.0, 0.05


@dataclass
class OneWordWire:
    """A bus that replaces the next reply with a number of one name, once."""

    bus: Bus
    reader: WireReader
    random: np.random.Generator
    name: str | None = None  # to be replaced
    text: str = ""  # of the last replacement

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass a transfer on."""
        self.reader.note(tx, rx_len)
        reply = self.bus.transfer(address, tx, rx_len)
        if self.name is None or not rx_len:
            return reply
        for number in self.reader.numbers(tx):
            if number.name == self.name and number.offset + number.size <= len(reply):
                raw = number.raw(reply)
                wrong = self._word(raw, number.size)
                self.text = f"{self.name} {raw} to {wrong}"
                self.name = None
                return number.written(reply, wrong)
        return reply

    def _word(self, raw: int, size: int) -> int:
        ends, bits = 1 << 8 * size, 8 * size
        choices = (
            int(self.random.integers(ends)), 0, ends - 1, ends // 2 - 1, ends // 2,
            raw // 2, raw * 2, raw ^ 1 << int(self.random.integers(bits)),
        )  # fmt: skip
        return choices[int(self.random.integers(len(choices)))]


@dataclass
class Outcome:
    """Counts of one campaign."""

    words: int = 0
    critical: list[str] = field(default_factory=list)
    alarms: Counter[str] = field(default_factory=Counter)
    wrong_sent: Counter[str] = field(default_factory=Counter)  # messages by name of the word

    def judge(self, report: Report, vehicle: ListeningVehicle, sent: SentValues, word: str) -> None:
        """Count the alarms and the wrong messages of a step, after a replaced word."""
        for event in report.status.events:
            if event.tripped and event.severity > Severity.INFO:
                self.alarms[event.limit_id] += 1
            if event.tripped and event.severity >= Severity.CRITICAL:
                self.critical.append(f"{event.text} after {word}")
        for message in vehicle.statuses:
            if any(sent.wrong(message)):
                self.wrong_sent[word.split(" ", maxsplit=1)[0]] += 1
        vehicle.statuses.clear()


def scenario(kind: str) -> Scenario:
    """A flight of a 4S 5 Ah LiPo with 2 C."""
    phases = (
        Phase(name="idle", duration_s=20.0, power_w=6.0, armed=False),
        Phase(name="hover", duration_s=FLIGHT_S, power_w=HOVER_W, gust_frac=GUST_FRAC),
    )
    return Scenario.model_validate(
        {
            "name": f"one word of {kind}",
            "pack": {"chemistry": "lipo", "cells": CELLS, "cell_mah": 5000.0, "resistance_mohm_ah": 40.0},
            "gauge": {"kind": kind, "pec": False},
            "phase": [phase.model_dump() for phase in phases],
        }
    )  # fmt: skip


def campaign(words: int, seed: int, kind: str) -> Outcome:
    """Replace a number of words, as many flights as that takes."""
    outcome, flown = Outcome(), 0
    while outcome.words < words:
        flown += 1
        _fly(outcome, words, seed * 1000 + flown, kind)
    return outcome


def _fly(outcome: Outcome, words: int, seed: int, kind: str) -> None:
    clock, vehicle = VirtualClock(), ListeningVehicle()
    world, random = World(scenario(kind), seed), np.random.default_rng(seed)
    wire = OneWordWire(open_bus(world, clock), WireReader(kind, with_pec=False), random)
    bridge = Bridge(vehicle)
    pipeline = Pipeline(Gauge(wire, ADDRESS, cells=CELLS), world.pack_data(), [bridge])
    full_mah = float(min(world._pack.cells.capacity_ah)) * 1000.0  # noqa: SLF001 - the truth is read where it is
    sent = SentValues(full_mah, world.gauge.learning.full_ah * 1000.0)
    next_s, waiting_s = SETTLED_S, 0.0
    for tick in range(int(FLIGHT_S * TICKS_PER_S)):
        t_s = tick / TICKS_PER_S
        clock.sleep_until(t_s)
        state = world.vehicle(t_s)
        if tick % TICKS_PER_S == 0:
            vehicle.beat(armed=state.armed is True)
        bridge.pump(t_s)
        waiting = wire.name is not None
        if t_s >= next_s and not waiting:
            if outcome.words >= words:
                return
            wire.name, waiting_s = str(random.choice(NAMES)), t_s
            waiting = True
        report = pipeline.step(t_s, state)
        if waiting and wire.name is None:
            outcome.words += 1
            next_s = t_s + WATCH_S
        elif waiting and t_s - waiting_s > WAIT_S:  # this gauge has no such number
            wire.name, next_s = None, t_s
        sent.note(world.truth(), None)
        outcome.judge(report, vehicle, sent, wire.text)


def main() -> int:
    """Run the campaign on both kinds of gauge and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--words", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    critical = 0
    for kind in KINDS:
        outcome = campaign(options.words // len(KINDS), options.seed, kind)
        critical += len(outcome.critical)
        print(
            f"{kind} without a PEC, seed {options.seed}: {outcome.words} single words in {len(NAMES)} quantities"
        )
        print(f"  critical limits tripped: {len(outcome.critical)}")
        for text in outcome.critical[:10]:
            print(f"    {text}")
        print(f"  alarms above info: {dict(outcome.alarms)}")
        messages = sum(outcome.wrong_sent.values())
        print(
            f"  wrong BATTERY_STATUS: {messages} messages after {outcome.words} words ({messages / outcome.words:.2%}): {dict(outcome.wrong_sent)}"
        )
        print(
            f"BYTES single_words={outcome.words} kind={kind} seed={options.seed} critical={len(outcome.critical)} wrong_messages={messages}"
        )
    return int(critical > 0)


if __name__ == "__main__":
    sys.exit(main())
