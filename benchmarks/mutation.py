# SPDX-License-Identifier: Apache-2.0
"""A million corrupted transfers: `python -m benchmarks.mutation [--transfers N] [--seed N]`.

A gauge is read over a wire that corrupts three transfers in ten, in every way observed on real wires,
on the flights `survey` (plain SBS) and `bq40` (blocks and their selectors), half of the transfers each.
Counts wrong values that reach a Snapshot: values which the gauge did not hold at any read within
the age limit of the register; and wrong values in BATTERY_STATUS, with 3 s for the stages between
and 10 points for the percentage. "Noise" is random bytes, with a valid PEC one time in 256, which no
8-bit code detects; values nearer to the truth than a change that is accepted at once
(`Register.max_step`: 0.5 V of the pack, 0.1 V of a cell, 5 A, 2 K) are counted separately.
`--without-pec` prints the rate of the same faults without a PEC. Prints the seed and the counts by
kind; exits with 1 when a wrong value got through behind a PEC.
"""

import argparse
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np
from pymavlink.dialects.v20 import common as mavlink

from benchmarks.sent_values import CHARGE_POINTS, ListeningVehicle
from benchmarks.wire_data import WireNumber, WireReader
from dronebms.core.clock import VirtualClock
from dronebms.monitoring.pipeline import Pipeline
from mavlink_bridge.bridge import Bridge
from sim.emulator.world import World, open_bus
from sim.plant.scenario import load_scenario
from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.errors import BusTimeoutError, NackError
from smartbattery.gauge import Gauge
from smartbattery.snapshot import Snapshot

RATE = 0.3
STEP_S = 0.1
STRETCH_S = 2.5
FLIGHTS = ("survey", "bq40")
NOISE = "noise"
SENT_S = 3.0  # from a reading to the message
_STEPS = {row.field: row.max_step for row in sbs.WORDS}
_AGES_S = {row.field: row.max_age_s for row in sbs.WORDS}
_BLOCK_AGE_S = 15.0
_LONGEST_S = max(row.max_age_s for row in sbs.WORDS) + 2 * STRETCH_S + SENT_S
_ROUNDING = 1e-9
_COMMANDS = tuple(row.command for row in sbs.WORDS)
_STATIC = ("serial", "design_mah", "design_v", "date_raw", "specification_raw", "mode_raw")
_UNUSED_MV = 0xFFFF


class Truth:
    """The numbers that the gauge held at each read."""

    def __init__(self, reader: WireReader) -> None:
        self.reader = reader
        self._held: dict[str, deque[tuple[float, int]]] = {}
        self._numbers: dict[str, WireNumber] = {}

    def note(self, now_s: float, tx: bytes, reply: bytes) -> None:
        """Record a reply of the gauge before it is corrupted."""
        for number in self.reader.numbers(tx):
            self._numbers[number.name] = number
            held = self._held.setdefault(number.name, deque())
            held.append((now_s, number.raw(reply)))
            while held[0][0] < now_s - _LONGEST_S and len(held) > 1:
                held.popleft()

    @property
    def names(self) -> tuple[str, ...]:
        """Fields that the gauge has sent, without those of its identity."""
        return tuple(name for name in self._held if name not in _STATIC)

    def distance(self, name: str, value: float, now_s: float, later_s: float = 0.0) -> float:
        """Return the distance of a value from all that its register held within its age limit."""
        since_s = now_s - _AGES_S.get(name, _BLOCK_AGE_S) - later_s - _ROUNDING
        number = self._numbers[name]
        specification = self._held[sbs.SPECIFICATION.field][-1][1]
        power = sbs.powers_of(specification)[number.scaled_by]
        held = (raw for at_s, raw in self._held[name] if at_s >= since_s)
        return min((abs(number.value(raw, power) - value) for raw in held), default=inf)


@dataclass
class BadWire:
    """A bus that corrupts transfers by a generator."""

    bus: Bus
    clock: VirtualClock
    random: np.random.Generator
    truth: Truth
    rate: float = RATE
    done: Counter[str] = field(default_factory=Counter)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass a transfer on, or corrupt it; of a write, the bytes that the host sends."""
        reply = b""
        if rx_len:
            reply = self.bus.transfer(address, tx, rx_len)
            self.truth.note(self.clock.now_s(), tx, reply)
        if self.random.random() >= self.rate:
            return reply if rx_len else self.written(address, tx)
        kind = KINDS[int(self.random.integers(len(KINDS)))]
        self.done[kind] += 1
        if rx_len:
            return _SPOIL[kind](self, address, tx, rx_len)
        return _SPOIL_WRITE.get(kind, _flipped_write)(self, address, tx, 0)

    def written(self, address: int, tx: bytes) -> bytes:
        """Pass a write on; the gauge may refuse it."""
        self.bus.transfer(address, tx, 0)
        self.truth.reader.note(tx, 0)
        return b""

    def flip(self, data: bytes, bits: int) -> bytes:
        """Return data with `count` different bits flipped."""
        wrong = bytearray(data)
        for bit in self.random.choice(8 * len(data), bits, replace=False):
            wrong[bit // 8] ^= 1 << bit % 8
        return bytes(wrong)


def _flips(wire: BadWire, address: int, tx: bytes, rx_len: int) -> bytes:
    return wire.flip(wire.bus.transfer(address, tx, rx_len), int(wire.random.integers(1, 4)))


def _burst(wire: BadWire, address: int, tx: bytes, rx_len: int) -> bytes:
    reply = bytearray(wire.bus.transfer(address, tx, rx_len))
    pattern = int(wire.random.integers(1, 256)) << int(wire.random.integers(0, 8 * rx_len - 7))
    spoilt = int.from_bytes(reply, "big") ^ pattern
    return spoilt.to_bytes(rx_len, "big")


def _asked_wrongly(wire: BadWire, address: int, tx: bytes, rx_len: int) -> bytes:
    return wire.bus.transfer(address, wire.flip(tx, 1), rx_len)


def _other(wire: BadWire, address: int, tx: bytes, rx_len: int) -> bytes:
    other = int(wire.random.choice([c for c in _COMMANDS if c != tx[0]]))
    return wire.bus.transfer(address, bytes((other,)), rx_len)


def _swapped(wire: BadWire, address: int, tx: bytes, rx_len: int) -> bytes:
    is_cell = tx[0] in range(0x3A, 0x40)
    other = 0x3A + (tx[0] - 0x3A + 1 + int(wire.random.integers(5))) % 6 if is_cell else 0x3F
    return wire.bus.transfer(address, bytes((other,)), rx_len)


def _stretch(wire: BadWire, address: int, tx: bytes, _: int) -> bytes:
    wire.clock.sleep_until(wire.clock.now_s() + STRETCH_S)
    raise BusTimeoutError(f"0x{address:02x} {tx.hex()}: held for {STRETCH_S} s")


def _nack(_: BadWire, address: int, tx: bytes, __: int) -> bytes:
    raise NackError(f"0x{address:02x} {tx.hex()}")


def _flipped_write(wire: BadWire, address: int, tx: bytes, _: int) -> bytes:
    return wire.written(address, tx[:1] + wire.flip(tx[1:], int(wire.random.integers(1, 4))))


def _burst_write(wire: BadWire, address: int, tx: bytes, _: int) -> bytes:
    size = len(tx) - 1
    pattern = int(wire.random.integers(1, 256)) << int(wire.random.integers(0, 8 * size - 7))
    return wire.written(
        address, tx[:1] + (int.from_bytes(tx[1:], "big") ^ pattern).to_bytes(size, "big")
    )


Spoil = Callable[[BadWire, int, bytes, int], bytes]
_SPOIL: dict[str, Spoil] = {
    "1 to 3 flipped bits": _flips,
    "burst of up to 8 bits": _burst,
    "flipped bit in the command": _asked_wrongly,
    "answer to another command": _other,
    "swapped cells": _swapped,
    "too short": lambda w, a, tx, n: w.bus.transfer(a, tx, n)[: int(w.random.integers(n))],
    "too long": lambda w, a, tx, n: w.bus.transfer(a, tx, n) + b"\xff",
    "stuck at 0": lambda _w, _a, _tx, n: bytes(n),
    "stuck at 1": lambda _w, _a, _tx, n: b"\xff" * n,
    "not acknowledged": _nack,
    NOISE: lambda w, _a, _tx, n: w.random.bytes(n),
    "stretched for 2.5 s": _stretch,
}
_SPOIL_WRITE: dict[str, Spoil] = {
    "burst of up to 8 bits": _burst_write,
    "too short": lambda w, a, tx, _n: w.written(a, tx[: 1 + int(w.random.integers(len(tx) - 1))]),
    "stuck at 0": lambda w, a, tx, _n: w.written(a, tx[:1] + bytes(len(tx) - 1)),
    "stuck at 1": lambda w, a, tx, _n: w.written(a, tx[:1] + b"\xff" * (len(tx) - 1)),
    "not acknowledged": _nack,
    "stretched for 2.5 s": _stretch,
}
# The last one makes the gauge unidentified each time, so it is rarer than the others.
KINDS = tuple(kind for kind in _SPOIL for _ in range(1 if kind.startswith("stretched") else 20))


@dataclass
class Outcome:
    """Counts of the values in the snapshots and messages."""

    wrong: list[str] = field(default_factory=list)
    near: int = 0  # not held, but within the change that is accepted at once
    shown: int = 0
    withheld: int = 0
    sent: int = 0  # values in BATTERY_STATUS
    sent_wrong: list[str] = field(default_factory=list)

    def judge(self, snapshot: Snapshot, truth: Truth) -> None:
        """Compare the values of a snapshot with those that the gauge held."""
        for name in truth.names:
            value = _shown(snapshot, name)
            if value is None:
                self.withheld += 1
                continue
            self.shown += 1
            off = truth.distance(name, value, snapshot.t_s)
            if off > max(_STEPS.get(name, 0.0), _ROUNDING):
                self.wrong.append(f"{snapshot.t_s:.1f} s: {name} {value:g}, off by {off:g}")
            elif off > _ROUNDING:
                self.near += 1

    def judge_sent(
        self,
        message: mavlink.MAVLink_battery_status_message,
        truth: Truth,
        soc_pct: float,
        now_s: float,
    ) -> None:
        """Compare the values of a message with those that the gauge held, and the true charge."""
        cells_v = [mv / 1000.0 for mv in message.voltages if mv != _UNUSED_MV]
        values = [(f"cell{k + 1}_v", v, 0.0006) for k, v in enumerate(cells_v)]
        if len(cells_v) == 1:  # the pack
            values = [("voltage_v", cells_v[0], 0.0006)]
        if message.current_battery != -1:
            values.append(("current_a", message.current_battery / 100.0, 0.006))
        for name, value, rounding in values:
            self.sent += 1
            off = truth.distance(name, value, now_s, SENT_S)
            if off > _STEPS[name] + rounding:
                self.sent_wrong.append(f"{now_s:.1f} s: {name} {value:g}, off by {off:g}")
        if message.battery_remaining != -1:
            self.sent += 1
            if abs(message.battery_remaining - soc_pct) > CHARGE_POINTS:
                text = f"{message.battery_remaining} %, truly {soc_pct:.0f} %"
                self.sent_wrong.append(f"{now_s:.1f} s: {text}")


def _shown(snapshot: Snapshot, name: str) -> float | None:
    """Value of a field in a snapshot; that of a slot without a cell is unknown."""
    if not (name.startswith("cell") and name.endswith("_v")):
        value = getattr(snapshot, name, None)
        return None if value is None else float(value)
    index = int(name[len("cell") : -len("_v")]) - 1
    return snapshot.cells_v[index] if index < len(snapshot.cells_v) else None


def campaign(
    transfers: int, seed: int, flight: str = FLIGHTS[0], *, with_pec: bool = True
) -> tuple[Outcome, Counter[str]]:
    """Corrupt a number of transfers; return the outcome and the count of each kind."""
    verdict, done, flown = Outcome(), Counter[str](), 0
    while done.total() < transfers:
        flown += 1
        left = transfers - done.total()
        done += _fly(verdict, left, seed * 1000 + flown, flight, with_pec=with_pec)
    return verdict, done


def _fly(
    verdict: Outcome, transfers: int, seed: int, flight: str, *, with_pec: bool
) -> Counter[str]:
    scenario = load_scenario(flight)
    scenario = scenario.model_copy(
        update={"gauge": scenario.gauge.model_copy(update={"pec": with_pec})}
    )
    clock, truth = VirtualClock(), Truth(WireReader(scenario.gauge.kind, with_pec=with_pec))
    world = World(scenario, seed)
    wire = BadWire(open_bus(world, clock), clock, np.random.default_rng(seed), truth)
    source, vehicle = _Watched(Gauge(wire), verdict, truth), ListeningVehicle()
    bridge = Bridge(vehicle)
    pipeline = Pipeline(source, world.pack_data(), [bridge])
    beat_s = 0.0
    while clock.now_s() < world.duration_s and wire.done.total() < transfers:
        now_s = clock.now_s()
        state = world.vehicle(now_s)
        if now_s >= beat_s:
            beat_s = now_s + 1.0
            vehicle.beat(armed=state.armed is True)
        bridge.pump(now_s)
        pipeline.step(now_s, state)
        soc_pct = 100.0 * world.truth().soc_frac
        for message in vehicle.statuses:
            verdict.judge_sent(message, truth, soc_pct, now_s)
        vehicle.statuses.clear()
        clock.sleep_until(clock.now_s() + STEP_S)
    return wire.done


@dataclass
class _Watched:
    """A gauge whose snapshots are judged."""

    gauge: Gauge
    verdict: Outcome
    truth: Truth

    def poll(self, now_s: float) -> Snapshot:
        snapshot = self.gauge.poll(now_s)
        self.verdict.judge(snapshot, self.truth)
        return snapshot


def main() -> int:
    """Run the campaign and print the table."""
    parser = argparse.ArgumentParser(
        description="corrupt transfers and count the values that get through", allow_abbrev=False
    )
    parser.add_argument("--transfers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flights", nargs="+", default=list(FLIGHTS))
    parser.add_argument("--without-pec", action="store_true")
    options = parser.parse_args()
    share, failed = options.transfers // len(options.flights), False
    for flight in options.flights:
        verdict, done = campaign(share, options.seed, flight, with_pec=not options.without_pec)
        failed |= bool(verdict.wrong or verdict.sent_wrong) and not options.without_pec
        print(f"flight {flight}, {'without' if options.without_pec else 'with'} PEC")
        for kind, count in sorted(done.items()):
            print(f"  {kind:28s} {count:9d}")
        withheld = verdict.withheld / (verdict.shown + verdict.withheld)
        rate = len(verdict.wrong) / max(verdict.shown, 1)
        print(f"seed {options.seed}: {done.total()} corrupted transfers")
        print(f"values shown: {verdict.shown}; withheld: {withheld:.1%} of the places for a value")
        print(f"near misses, within a change that is accepted at once: {verdict.near}")
        print(
            f"wrong values that reached a Snapshot: {len(verdict.wrong)} ({rate:.2e} of those shown)"
        )
        print(f"values sent: {verdict.sent}; wrong: {len(verdict.sent_wrong)}")
        for text in (*verdict.wrong[:5], *verdict.sent_wrong[:5]):
            print(f"  {text}")
        print(
            f"BYTES transport={done.total()} flight={flight} pec={int(not options.without_pec)} seed={options.seed} "
            f"shown={verdict.shown} wrong={len(verdict.wrong)} near={verdict.near} sent={verdict.sent} "
            f"sent_wrong={len(verdict.sent_wrong)}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
