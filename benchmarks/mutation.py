"""A million corrupted transfers: `python benchmarks/mutation.py [--transfers N] [--seed N]`.

A gauge is read over a wire that corrupts three transfers in ten, in every way observed on real wires.
Counts wrong values that reach a Snapshot: values whose word the gauge did not hold at any read within
the age limit of the register. "Noise" is random bytes, with a valid PEC one time in 256, which no
8-bit code detects; values nearer to the truth than a change that is accepted at once (`Register.leap`)
are counted separately. Prints the seed and the counts by kind; exits with 1 when a wrong value got through.
"""

import argparse
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np

from dronebms.core.clock import VirtualClock
from sim.emulator.world import open_virtual
from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.errors import BusTimeoutError, NackError
from smartbattery.gauge import Gauge
from smartbattery.registers import Register
from smartbattery.snapshot import Snapshot

RATE = 0.3
STEP_S = 0.1
STRETCH_S = 2.5
FLIGHT = "survey"
NOISE = "noise"
_ROWS = tuple(row for row in (*sbs.FAST, *sbs.SLOW) if row is not sbs.MODE)
_LONGEST_S = max(row.max_age_s for row in sbs.WORDS) + 2 * 2.5
_ROUNDING = 1e-9
_COMMANDS = tuple(row.command for row in sbs.WORDS)


class Truth:
    """The words that the gauge held at each read."""

    def __init__(self) -> None:
        self._held: dict[int, deque[tuple[float, int]]] = {}

    def note(self, now_s: float, command: int, reply: bytes) -> None:
        """Record a reply of the gauge before it is corrupted."""
        held = self._held.setdefault(command, deque())
        held.append((now_s, int.from_bytes(reply[:2], "little")))
        while held[0][0] < now_s - _LONGEST_S and len(held) > 1:
            held.popleft()

    def distance(self, row: Register, value: float, now_s: float) -> float:
        """Return the distance of a value from all that its register held within its age limit."""
        since_s = now_s - row.max_age_s - _ROUNDING
        power = sbs.powers_of(self._held[sbs.SPECIFICATION.command][-1][1])[row.scaled_by]
        near = inf
        for at_s, raw in self._held.get(row.command, ()):
            held = row.decode(raw, power) if at_s >= since_s else None
            if held is not None:
                near = min(near, abs(held - value))
        return near


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
        """Pass a transfer on, or corrupt it."""
        reply = self.bus.transfer(address, tx, rx_len)
        self.truth.note(self.clock.now_s(), tx[0], reply)
        if self.random.random() >= self.rate:
            return reply
        kind = KINDS[int(self.random.integers(len(KINDS)))]
        self.done[kind] += 1
        return _SPOIL[kind](self, address, tx, rx_len)

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
# The last one makes the gauge unidentified each time, so it is rarer than the others.
KINDS = tuple(kind for kind in _SPOIL for _ in range(1 if kind.startswith("stretched") else 20))


@dataclass
class Outcome:
    """Counts of the values in the snapshots."""

    wrong: list[str] = field(default_factory=list)
    near: int = 0  # not held, but within the change that is accepted at once
    shown: int = 0
    withheld: int = 0

    def judge(self, snapshot: Snapshot, truth: Truth) -> None:
        """Compare the values of a snapshot with those that the gauge held."""
        cells = zip(sbs.CELLS, snapshot.cells_v, strict=False)
        values = [(row, getattr(snapshot, row.field)) for row in _ROWS]
        for row, value in (*values, *cells):
            if value is None:
                self.withheld += 1
                continue
            self.shown += 1
            off = truth.distance(row, value, snapshot.t_s)
            if off > max(row.max_step, _ROUNDING):
                self.wrong.append(f"{snapshot.t_s:.1f} s: {row.field} {value:g}, off by {off:g}")
            elif off > _ROUNDING:
                self.near += 1


def campaign(transfers: int, seed: int, flight: str = FLIGHT) -> tuple[Outcome, Counter[str]]:
    """Corrupt a number of transfers; return the outcome and the count of each kind."""
    verdict, done, flown = Outcome(), Counter[str](), 0
    while done.total() < transfers:
        flown += 1
        done += _fly(verdict, transfers - done.total(), seed * 1000 + flown, flight)
    return verdict, done


def _fly(verdict: Outcome, transfers: int, seed: int, flight: str) -> Counter[str]:
    clock, truth = VirtualClock(), Truth()
    bus, world = open_virtual(flight, clock, seed)
    wire = BadWire(bus, clock, np.random.default_rng(seed), truth)
    gauge = Gauge(wire)
    while clock.now_s() < world.duration_s and wire.done.total() < transfers:
        verdict.judge(gauge.poll(clock.now_s()), truth)
        clock.sleep_until(clock.now_s() + STEP_S)
    return wire.done


def main() -> int:
    """Run the campaign and print the table."""
    parser = argparse.ArgumentParser(
        description="corrupt transfers and count the values that get through"
    )
    parser.add_argument("--transfers", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    verdict, done = campaign(options.transfers, options.seed)
    for kind, count in sorted(done.items()):
        print(f"{kind:28s} {count:9d}")
    print(f"seed {options.seed}: {done.total()} corrupted transfers, {verdict.shown} values shown")
    print(
        f"withheld: {verdict.withheld / (verdict.shown + verdict.withheld):.1%} of the places for a value"
    )
    print(f"near misses, within a change that is accepted at once: {verdict.near}")
    print(f"wrong values that reached a Snapshot: {len(verdict.wrong)}")
    print("\n".join(verdict.wrong[:10]))
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
