# SPDX-License-Identifier: Apache-2.0
"""Runs the service for hours with everything on and prints whether anything grows.

    python -m benchmarks.endurance [--hours H] [--warm MINUTES] [--seed N] [--folder DIR]     real time
    python -m benchmarks.endurance --virtual HOURS [--rate HZ]               as fast as it goes

Exit code 1 if a row of the table fails. As root it has a network of its own, which can be cut.
"""

import argparse
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from benchmarks.endurance.fleet import CYCLE_S, PACKS
from benchmarks.endurance.rig import Rig, disk_mb, enter_namespace
from benchmarks.endurance.samples import Sample, Verdict, flatness, sample
from benchmarks.endurance.stepped_date import SteppedDate
from benchmarks.service import cpu_s
from dronebms.cli.main import start_quickly

_TICK_S, _SAMPLE_S, _SCRAPE_S = 0.5, 5.0, 10.0
_CALM_S = 60.0  # at the beginning, and at the end before the last look
_MOST_GAP_S = 1.5  # three lines, after which a viewer shows a silent service
_WARM_S = PACKS * CYCLE_S  # until every pack has flown once


def real(hours: float, warm_s: float, seed: int, folder: Path) -> list[Verdict]:
    """Run in real time; the rows of the table, of what follows after a time for warming up."""
    with ExitStack() as stack:
        rig = Rig(folder, stack, Random(seed), has_network=enter_namespace())  # noqa: S311 - no secret
        until_s = hours * 3600.0
        pids = {"service": rig.service.pid, "web": rig.web.pid}
        samples: dict[str, list[Sample]] = {name: [] for name in pids}
        disturb_s, sample_s, scrape_s = _CALM_S, 0.0, 0.0
        while (now_s := rig.clock.now_s()) < until_s:
            rig.step()
            if now_s >= disturb_s and now_s < until_s - 2 * _CALM_S:
                disturb_s = now_s + rig.random.uniform(5.0, 35.0)
                print(f"{now_s:7.0f} s  {rig.disturb()}", flush=True)
            if now_s >= scrape_s:
                scrape_s = now_s + _SCRAPE_S
                rig.scrape()
            if now_s >= sample_s:
                sample_s = now_s + _SAMPLE_S
                for name, pid in pids.items():
                    samples[name].append(sample(pid, now_s))
                _save(folder, samples, rig)
            time.sleep(_TICK_S)
        used_s = {name: cpu_s(Path(f"/proc/{pid}")) for name, pid in pids.items()}
        rig.service.send_signal(signal.SIGTERM)
        code = rig.service.wait(30.0)
        rows = [
            row for name in pids for row in flatness(name, samples[name], min(warm_s, until_s / 2))
        ]
        return [*rows, *_others(rig, used_s, until_s, code)]


def _save(folder: Path, samples: dict[str, list[Sample]], rig: Rig) -> None:
    """Append the newest samples to a file, for a look while it runs."""
    with (folder / "samples.csv").open("a") as file:
        for name, taken in samples.items():
            one = taken[-1]
            file.write(
                f"{name},{one.t_s:.0f},{one.rss:.2f},{one.anonymous:.2f},{one.threads:.0f},{one.descriptors:.0f},{rig.watcher.lines}\n"
            )


def _others(rig: Rig, used_s: dict[str, float], until_s: float, code: int) -> list[Verdict]:
    """What else has to hold."""
    late_s = rig.watcher.late_s
    p50_s, p99_s = (late_s[int(frac * (len(late_s) - 1))] for frac in (0.5, 0.99))
    rate_hz = rig.watcher.lines / until_s / 2
    received, missing = rig.listener.count, rig.listener.missing
    log = b"".join(path.read_bytes() for path in rig.folder.glob("service.log*"))
    tracebacks = log.count(b"Traceback")
    dropped = max(map(int, re.findall(rb"broker away: (\d+) messages dropped", log)), default=0)
    share = ", ".join(f"{name} {100 * spent / until_s:.1f} %" for name, spent in used_s.items())
    return [
        Verdict("service ends on SIGTERM", f"exit code {code}", code == 0),
        Verdict("log", f"{tracebacks} tracebacks", tracebacks == 0),
        Verdict(
            "lateness at a viewer",
            f"p50 {1000 * p50_s:.1f} ms, p99 {1000 * p99_s:.0f} ms, most {late_s[-1]:.2f} s",
        ),
        Verdict(
            "stream of the status socket",
            f"{rate_hz:.2f} lines/s a pack, longest gap {rig.watcher.longest_gap_s:.2f} s, {rig.watcher.waited_s:.2f} s of it without a processor",
            rig.watcher.longest_gap_s < _MOST_GAP_S,
        ),
        Verdict(
            "MQTT",
            f"{received} messages, {missing} missing, {dropped} dropped by the log",
            missing <= 2 * dropped,
        ),
        Verdict("disk, MB", disk_mb(rig.folder)),
        Verdict("processor, of a core", share),
        Verdict("disturbances", str(sum(rig.counts.values()))),
    ]


def virtual(hours: float, rate_hz: float, minutes: float, folder: Path, speed: float | None) -> int:
    """Run the virtual day in a process whose date is virtual too; its exit code."""
    words = [
        str(hours),
        str(rate_hz),
        str(minutes),
        str(folder),
        *([] if speed is None else [str(speed)]),
    ]
    start_quickly()  # in the environment: the libraries are loaded with the module
    environ = os.environ | SteppedDate(folder).environ
    command = (sys.executable, "-m", "benchmarks.endurance.virtual_day", *words)
    return subprocess.run(command, env=environ, check=False).returncode  # noqa: S603 - this project's own


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", allow_abbrev=False)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument(
        "--warm", type=float, default=_WARM_S / 60.0, help="minutes that are not judged"
    )
    parser.add_argument("--virtual", type=float, metavar="HOURS")
    parser.add_argument("--rate", type=float, default=10.0, help="steps per second of virtual time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of real time, at most")
    parser.add_argument(
        "--speed", type=float, help="of virtual time; without it as fast as it goes"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keeps the files")
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, seed {options.seed}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if options.virtual is not None:
            return virtual(
                options.virtual, options.rate, options.minutes, folder.resolve(), options.speed
            )
        rows = real(options.hours, 60.0 * options.warm, options.seed, folder.resolve())
    print(*rows, sep="\n")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
