# SPDX-License-Identifier: Apache-2.0
"""A day of virtual time: the parts of the service in one process on a virtual clock, with real outputs.

Packs and vehicle are in memory; recordings, state, history, metrics, status socket and the MQTT broker are real, and so
are the threads behind them. The broker is away from the first quarter of an hour to the end of the time, then it is back.
DroneCAN is left out: its thread sleeps on the clock of the loop.

    python -m benchmarks.endurance --virtual 24
"""

import gc
import json
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from pathlib import Path
from urllib.request import urlopen

from benchmarks.endurance.fleet import CYCLE_S, PACKS, SwappedPacks
from benchmarks.endurance.rig import CONFIG, Messages, Watcher, disk_mb
from benchmarks.endurance.samples import Sample, Verdict, flatness, sample
from benchmarks.endurance.stepped_date import SteppedDate
from dronebms.cli.main import start_quickly
from dronebms.core.clock import Clock, PacedClock, SystemClock, VirtualClock
from dronebms.service import log_output
from dronebms.service.checkpoint import CHECKPOINT, CheckpointFile
from dronebms.service.config import read_config
from dronebms.service.service import Service, limit_garbage
from dronebms.simulation.sitl.rehearsal import VirtualMachine
from mavlink_bridge.protocol.config import VEHICLE, MavlinkConfig
from mavlink_bridge.protocol.link import Link, open_link
from tests.integration.broker import Broker
from tests.mavlink_bridge.fake_vehicle import FakeVehicle
from tests.mavlink_bridge.loopback import free_port

_SAMPLE_S, _SCRAPE_S, _RELOAD_S, _DATE_S = 60.0, 300.0, 3600.0, 60.0
_ROUND_S = PACKS * CYCLE_S  # until the same pack is at the same place of the same flight
_PHASES = 12  # of a round, in each of which objects are counted
_LEAST_ROUNDS = 4  # for a comparison of two parts of two rounds
_OBJECTS = "objects.jsonl"  # a file: counts in memory would be a growth of their own
_AWAY_S = 900.0  # the broker leaves
_SETTLE_S = 60.0  # real, for the queue to be sent
_STDERR = 2
Objects = dict[str, int]  # number of each type


class _Machine(VirtualMachine):
    """Virtual packs, a vehicle in memory, real telemetry links."""

    def link(self, config: MavlinkConfig, stack: ExitStack) -> Link:
        """The vehicle's link, or that of a ground station."""
        if config.role == VEHICLE:
            return super().link(config, stack)
        return stack.enter_context(closing(open_link(config.url)))


class VirtualDay:
    """Everything on one virtual clock.

    Args:
        hours: of virtual time.
        rate_hz: of the steps.
        most_s: real time after which it ends.
        folder: of all files.
        clock: virtual.
        stack: ends all.
    """

    def __init__(
        self,
        hours: float,
        rate_hz: float,
        most_s: float,
        folder: Path,
        clock: Clock,
        stack: ExitStack,
    ) -> None:
        self.until_s = 3600.0 * hours
        self._rate_hz = rate_hz
        self._most_s = most_s
        self.samples: list[Sample] = []
        self.folder = folder
        self._clock = clock
        self._date = SteppedDate(folder)
        self._began_s = time.monotonic()
        self._vehicle = FakeVehicle()
        self._packs = [SwappedPacks(place, clock) for place in range(2)]
        (folder / "broker").mkdir(exist_ok=True)
        self.broker = stack.enter_context(closing(Broker(folder / "broker")))
        self.listener = stack.enter_context(closing(Messages(self.broker)))
        self._metrics = free_port()
        self._configure(2.0)
        service_stack = stack.enter_context(ExitStack())
        machine = _Machine(self._vehicle, self._packs)
        self.checkpoint = CheckpointFile(folder / "state" / CHECKPOINT)
        service_stack.callback(self.checkpoint.close)
        config = read_config(folder / "c.toml")
        self.service = Service(config, service_stack, clock, machine)
        limit_garbage()  # as `serve` does
        self.watcher = Watcher(folder / "s.sock", None)
        self._due_s = dict.fromkeys(("sample", "objects", "scrape", "reload", "date", "beat"), 0.0)
        self._away = False

    def _configure(self, hold_s: float) -> None:
        text = CONFIG.format(
            folder=self.folder, autopilot=free_port(), ground=free_port(), mqtt=self.broker.port,
            broker=self.broker.folder, can="", first="i2c-0", second="i2c-1", hold_s=hold_s, period_s=10.0, metrics=self._metrics,
        )  # fmt: skip
        (self.folder / "c.toml").write_text(text.replace('url = "tcp', 'url = "udpout'))

    def ticks(self) -> Iterator[float]:
        """Times of the steps; before each what is due is done."""
        for step in range(round(self.until_s * self._rate_hz)):
            t_s = step / self._rate_hz
            if self._is_due("beat", t_s, 1.0):
                self._vehicle.armed = self._packs[0].vehicle().armed is True
                self._vehicle.beat()
                self._vehicle.received.clear()
            if self._is_due("date", t_s, _DATE_S):
                self._date.set(t_s - (time.monotonic() - self._began_s))
            if self._is_due("scrape", t_s, _SCRAPE_S):
                with urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10.0) as page:
                    page.read()
            if self._is_due("reload", t_s, _RELOAD_S):
                self._configure(2.0 + 0.1 * (step % 7))
                path = self.folder / "c.toml"
                self.service.reload(path, partial(read_config, path))
            if self._is_due("objects", t_s, _ROUND_S / _PHASES):
                self._count()
            if self._is_due("sample", t_s, _SAMPLE_S):
                self._look(t_s)
                if time.monotonic() - self._began_s >= self._most_s:
                    self.until_s = t_s
                    return
            yield t_s

    def _is_due(self, what: str, t_s: float, period_s: float) -> bool:
        due = t_s >= self._due_s[what]
        if due:
            self._due_s[what] = t_s + period_s
        return due

    def _look(self, t_s: float) -> None:
        one = sample(os.getpid(), t_s)
        self.samples.append(one)
        with (self.folder / "samples.csv").open("a") as file:
            file.write(
                f"{t_s:.0f},{one.rss:.2f},{one.anonymous:.2f},{one.threads:.0f},{one.descriptors:.0f}\n"
            )
        if t_s >= _AWAY_S and not self._away:
            self._away = True
            self.broker.kill()
        if len(self.samples) % 30 == 1:
            speed = t_s / max(time.monotonic() - self._began_s, 1e-9)
            sys.stdout.write(
                f"{t_s / 3600:6.2f} h  {speed:.0f} times real time, {one.rss:.1f} MiB, {one.threads:.0f} threads, {one.descriptors:.0f} descriptors\n"
            )
            sys.stdout.flush()

    def _count(self) -> None:
        kinds = Counter(map(type, gc.get_objects()))
        counts = {f"{kind.__module__}.{kind.__qualname__}": n for kind, n in kinds.items()}
        with (self.folder / _OBJECTS).open("a") as file:
            file.write(json.dumps(counts) + "\n")

    def run(self) -> None:
        """Step to the end."""
        for report in self.service.reports(self.ticks()):
            self.checkpoint.step(report.t_s, partial(self.service.state, report.t_s))
        if self._away:
            self.broker.start()

    def grown(self) -> list[tuple[str, int, int]] | None:
        """(type, before, after) of objects that became more; `None` for too short a time."""
        lines = (self.folder / _OBJECTS).read_text().splitlines()
        return grown([json.loads(line) for line in lines])


def grown(counts: list[Objects]) -> list[tuple[str, int, int]] | None:
    """Types of which there were more in the last quarter of the time than in the one before it.

    A number depends on the pack that flies and on how long it has flown, so that two times are compared in each of the
    twelve phases of a round of the packs alone: by the least number of each phase, as garbage is no growth. The objects
    of the rig are left out.

    Args:
        counts: of each phase, one after the other, from the beginning.
    """
    rounds = [
        counts[first : first + _PHASES] for first in range(0, len(counts) - _PHASES + 1, _PHASES)
    ]
    half = rounds[len(rounds) // 2 :]
    if len(half) < _LEAST_ROUNDS:
        return None
    middle = len(half) // 2
    before, after = (_least(part) for part in (half[:middle], half[middle:]))
    names = {name for phase in after for name in phase if not name.startswith("benchmarks.")}
    sums = {
        name: [sum(one.get(name, 0) for one in part) for part in (before, after)] for name in names
    }
    return [
        (name, round(first / _PHASES), round(last / _PHASES))
        for name, (first, last) in sorted(sums.items())
        if last > 1.02 * first + 20 * _PHASES
    ]


def _least(rounds: list[list[Objects]]) -> list[Objects]:
    """Smallest number of each type in each phase."""
    return [
        {name: min(one.get(name, 0) for one in same) for name in {*chain.from_iterable(same)}}
        for same in zip(*rounds, strict=True)
    ]


def main() -> int:
    """Run and print; arguments: hours, steps per second, real minutes at most, folder, speed."""
    hours, rate_hz, minutes, speed = map(float, (*sys.argv[1:4], *sys.argv[5:], "inf")[:4])
    folder = Path(sys.argv[4])
    clock = VirtualClock() if speed == math.inf else PacedClock(SystemClock(speed))
    errors = os.dup(_STDERR)
    os.dup2(os.open(folder / "service.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY), _STDERR)
    log_output.start(clock, as_json=False)
    start_quickly()  # garbage is searched as in the service
    began_s = time.monotonic()
    with ExitStack() as stack:
        day = VirtualDay(hours, rate_hz, 60.0 * minutes, folder, clock, stack)
        day.run()
        spent_s = time.monotonic() - began_s
        time.sleep(min(_SETTLE_S, spent_s / 10))
        received, missing = day.listener.count, day.listener.missing
    os.dup2(errors, _STDERR)
    rows = flatness("process", day.samples, min(PACKS * CYCLE_S, day.until_s / 2))
    found = day.grown()
    more = "none" if found == [] else "not measured: less than seven rounds of the packs"
    if found:
        more = ", ".join(f"{name} {before} -> {after}" for name, before, after in found)
    rows.append(Verdict("objects that became more", more, not found))
    speed_text = f"{day.until_s / 3600:.1f} h in {spent_s / 60:.0f} min, {day.until_s / spent_s:.1f} times real time"
    rows.append(Verdict("virtual time", speed_text))
    log = (folder / "service.log").read_text()
    dropped = max(map(int, re.findall(r"broker away: (\d+) messages dropped", log)), default=0)
    figures = f"{received} messages, {missing} missing, {dropped} dropped by the log"
    rows.append(Verdict("MQTT", figures, missing <= 2 * dropped))
    rows.append(
        Verdict(
            "log",
            f"{log.count('Traceback')} tracebacks, {log.count(chr(10))} lines",
            "Traceback" not in log,
        )
    )
    rows.append(Verdict("disk, MB", disk_mb(folder)))
    print(*rows, sep="\n")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
