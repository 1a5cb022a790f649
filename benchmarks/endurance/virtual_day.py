# SPDX-License-Identifier: Apache-2.0
"""A day of virtual time: the parts of the service in one process on a virtual clock, with real outputs.

Packs and vehicle are in memory; recordings, state, history, metrics, status socket and the MQTT broker are real, and so
are the threads behind them. The broker is away from the first quarter of an hour to the end of the time, then it is back.
DroneCAN is left out: its thread sleeps on the clock of the loop.

    python -m benchmarks.endurance --virtual 24
"""

import gc
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from benchmarks.endurance.fleet import CYCLE_S, PACKS, SwappedPacks
from benchmarks.endurance.rig import CONFIG, Messages, Watcher, disk_mb
from benchmarks.endurance.samples import Sample, Verdict, flatness, sample
from benchmarks.endurance.stepped_date import SteppedDate
from dronebms.core.clock import Clock, PacedClock, SystemClock, VirtualClock
from dronebms.service import log_output
from dronebms.service.checkpoint import CHECKPOINT, CheckpointFile
from dronebms.service.config import read_config
from dronebms.service.service import Service
from dronebms.simulation.rehearsal import VirtualMachine
from mavlink_bridge.protocol.config import VEHICLE, MavlinkConfig
from mavlink_bridge.protocol.link import Link, open_link
from tests.integration.broker import Broker
from tests.mavlink_bridge.fake_vehicle import FakeVehicle
from tests.mavlink_bridge.loopback import free_port

_SAMPLE_S, _SCRAPE_S, _RELOAD_S, _DATE_S = 60.0, 300.0, 3600.0, 60.0
_OBJECTS_EVERY = 10  # samples
_AWAY_S = 900.0  # the broker leaves
_SETTLE_S = 60.0  # real, for the queue to be sent
_STDERR = 2
Objects = Counter[str]


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
        self.objects: list[Objects] = []
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
        self.watcher = Watcher(folder / "s.sock")
        self._due_s = dict.fromkeys(("sample", "scrape", "reload", "date", "beat"), 0.0)
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
                self.service.reload(self.folder / "c.toml")
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
                f"{t_s:.0f},{one.rss:.2f},{one.own:.2f},{one.threads:.0f},{one.descriptors:.0f}\n"
            )
        if len(self.samples) % _OBJECTS_EVERY == 1:
            self.objects.append(Counter(type(one).__name__ for one in gc.get_objects()))
        if t_s >= _AWAY_S and not self._away:
            self._away = True
            self.broker.kill()
        if len(self.samples) % 30 == 1:
            speed = t_s / max(time.monotonic() - self._began_s, 1e-9)
            sys.stdout.write(
                f"{t_s / 3600:6.2f} h  {speed:.0f} times real time, {one.rss:.1f} MiB, {one.threads:.0f} threads, {one.descriptors:.0f} descriptors\n"
            )
            sys.stdout.flush()

    def run(self) -> None:
        """Step to the end."""
        for report in self.service.reports(self.ticks()):
            self.checkpoint.step(report.t_s, partial(self.service.state, report.t_s))
        if self._away:
            self.broker.start()

    def grown(self) -> list[tuple[str, int, int]]:
        """(type, before, after) of objects that became more between the two halves of the time."""
        half = self.objects[len(self.objects) // 2 :]
        if len(half) == len(half[:1]):
            return []
        first, last = (_least(part) for part in (half[: len(half) // 2], half[len(half) // 2 :]))
        return [
            (name, first[name], last[name]) for name in last if last[name] > 1.02 * first[name] + 20
        ]


def _least(counts: list[Objects]) -> Objects:
    """Smallest number of each type."""
    least = counts[0].copy()
    for one in counts:
        for name in {*least, *one}:
            least[name] = min(least[name], one[name])
    return least


def main() -> int:
    """Run and print; arguments: hours, steps per second, real minutes at most, folder, speed."""
    hours, rate_hz, minutes, speed = map(float, (*sys.argv[1:4], *sys.argv[5:], "inf")[:4])
    folder = Path(sys.argv[4])
    clock = VirtualClock() if speed == math.inf else PacedClock(SystemClock(speed))
    errors = os.dup(_STDERR)
    os.dup2(os.open(folder / "service.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY), _STDERR)
    log_output.start(clock, as_json=False)
    began_s = time.monotonic()
    with ExitStack() as stack:
        day = VirtualDay(hours, rate_hz, 60.0 * minutes, folder, clock, stack)
        day.run()
        spent_s = time.monotonic() - began_s
        time.sleep(min(_SETTLE_S, spent_s / 10))
        received, missing = day.listener.count, day.listener.missing
    os.dup2(errors, _STDERR)
    rows = flatness("process", day.samples, min(PACKS * CYCLE_S, day.until_s / 2))
    grown = ", ".join(f"{name} {before} -> {after}" for name, before, after in day.grown())
    rows.append(Verdict("objects that became more", grown or "none", not grown))
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
