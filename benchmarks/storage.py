# SPDX-License-Identifier: Apache-2.0
"""Tortures what the product writes: failing calls, power cuts, kills.

`python -m benchmarks.storage faults [--every N] [--writer NAME]` lets each file call of each writer
fail once with ENOSPC, EIO, EINTR and a short write, and the disk be full from it on.
`python -m benchmarks.storage power` cuts the power after each call.
`python -m benchmarks.storage kills [N] [--seed S] [--log FILE]` kills the live service N times at
random moments and measures what each kill loses; runs with one file and other seeds add up. Exits with 1 when a rule is violated.
"""

import argparse
import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any, cast

import sim
from benchmarks.reference import machine
from dronebms.core.clock import SystemClock
from dronebms.core.errors import DroneBmsError, LinkError
from dronebms.core.slot_file import SlotFile
from dronebms.core.state import from_json
from dronebms.health.database import PackHistory
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.recording.reading import read_records
from dronebms.recording.records import Step
from dronebms.service.checkpoint import _MARK, _SLOT_BYTES, CHECKPOINT
from dronebms.telemetry.status_socket import read_status
from tests.integration.storage.campaign import rows

CONFIG = """
[[battery]]
bus = "sim:{folder}/flight.toml"
[state]
dir = "{folder}/state"
[recording]
dir = "{folder}/recordings"
[status]
socket = "{folder}/s"
[mqtt]
host = "127.0.0.1"
port = 9
period_s = 0.5
[mavlink]
url = "udpout:127.0.0.1:9"
"""
# Seconds after the first report, before 0 after the start of the process: most kills come during
# the start or soon after it, some in a flight that is long enough for a row of the pack history.
MOMENTS, SHARES = ((-1.0, 1.0), (1.0, 6.0), (21.0, 30.0)), (0.55, 0.35, 0.10)
START_S, MOST_GAP_S, FLIGHT_S, SHOWN = 180.0, 5.0, 21.0, 25
CLOCKS_S = 0.5  # by which the service's clock is known


@dataclass
class Loss:
    """What one kill lost of each file, in s before it; `None`: killed before the first report."""

    reported_s: float | None  # between the first report and the kill
    recording_s: float | None = None
    checkpoint_s: float | None = None
    queue_s: float | None = None
    history_s: float | None = None


class _LateError(Exception):
    """No report within START_S, as on a machine without a free core: killed without one."""


class Watch:
    """Follows the service's clock by its reports, in a thread."""

    def __init__(self, socket: Path) -> None:
        self.first_s: float | None = None  # of the loop
        self.offset_s = float("inf")  # from the loop's clock to this process's
        self._socket = socket
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True

    def _run(self) -> None:
        while not self._stopped:
            try:
                for report in read_status(self._socket, SystemClock()):
                    if self._stopped:
                        return
                    self.offset_s = min(self.offset_s, monotonic() - report.t_s)
                    self.first_s = report.t_s if self.first_s is None else self.first_s
            except LinkError:  # its socket has a name, and does not listen yet
                sleep(0.01)


@contextlib.contextmanager
def _service(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = (sys.executable, "-m", "dronebms.cli", "run", "-c", f"{folder}/c.toml")
    with (folder / "log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:  # noqa: S603 - ours
        try:
            yield process
        finally:
            process.kill()


def _life(folder: Path, chance: random.Random) -> Loss:
    """Start the service, kill it, and measure."""
    delay_s = chance.uniform(*chance.choices(MOMENTS, SHARES)[0])
    before = {*_recordings(folder)}
    (folder / "s").unlink(missing_ok=True)
    with _service(folder) as process:
        watch = None
        if delay_s < 0.0:
            sleep(-delay_s)
        else:
            watch = _first_report(folder, process)
            sleep(delay_s)
        killed_s = monotonic()
        process.kill()
    if watch is None or watch.first_s is None:
        return Loss(None)
    watch.stop()
    end_s = killed_s - watch.offset_s  # in the loop's clock
    loss = Loss(end_s - watch.first_s)
    new = sorted({*_recordings(folder)} - before)
    times_s = [one.t_s for path in new for one in read_records(path) if isinstance(one, Step)]
    if any(later - early > MOST_GAP_S or later < early for early, later in pairwise(times_s)):
        raise RuntimeError(f"{new} have a gap")
    loss.recording_s = _age(end_s, watch.first_s, times_s[-1] if times_s else None)
    loss.checkpoint_s = _age(end_s, watch.first_s, _checkpointed_s(folder))
    loss.queue_s = _age(end_s, watch.first_s, _queued_s(folder))
    if loss.reported_s is not None and loss.reported_s > FLIGHT_S:
        loss.history_s = _history_loss_s(folder, end_s - watch.first_s)
    return loss


def _first_report(folder: Path, process: "subprocess.Popen[bytes]") -> Watch:
    end_s = monotonic() + START_S
    watch: Watch | None = None
    while watch is None or watch.first_s is None:
        sleep(0.01)
        if watch is None and (folder / "s").exists():
            watch = Watch(folder / "s")
        if process.poll() is not None:
            raise RuntimeError("it has ended: " + (folder / "log").read_text()[-1000:])
        if monotonic() > end_s:
            raise _LateError
    return watch


def _age(end_s: float, first_s: float, stored_s: float | None) -> float:
    """Seconds since what this life has stored, all of the life if it has stored nothing.

    What is older was lost, or not, by another kill; what is later than the kill is of a run whose
    clock this life does not continue: one that was restored too often is not restored again.
    """
    if stored_s is None or stored_s > end_s + CLOCKS_S:
        return end_s - first_s
    return max(end_s - max(stored_s, first_s), 0.0)


def _recordings(folder: Path) -> list[Path]:
    return [path for path in (folder / "recordings").glob("*.rec") if path.is_file()]


def _checkpointed_s(folder: Path) -> float | None:
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / CHECKPOINT
        shutil.copyfile(folder / "state" / CHECKPOINT, copy)
        with contextlib.closing(SlotFile(copy, _MARK, _SLOT_BYTES)) as file:
            body = file.read()
    if body is None:
        return None
    parts = cast("dict[str, Any]", from_json(body))
    return float(parts["run"]["state"]["t_s"])


def _queued_s(folder: Path) -> float | None:
    with contextlib.closing(sqlite3.connect(folder / "state" / "mqtt.sqlite")) as base:
        sql = "SELECT payload FROM message WHERE topic LIKE '%/report' ORDER BY id DESC LIMIT 1"
        row = base.execute(sql).fetchone()
    return None if row is None else float(json.loads(row[0])["t_s"])


def _history_loss_s(folder: Path, flown_s: float) -> float | None:
    flights = PackHistory(SqliteFile(folder / "state" / FILE, writes=False), writes=False).flights()
    newest = [flight for flight in flights if flight.state == "flying"]
    return flown_s - (newest[-1].flown_s or 0.0) if newest else None


def _cleanliness(folder: Path) -> list[str]:
    """What must not be there after the kills."""
    wrong = [f"{path} is empty" for path in _recordings(folder) if not path.stat().st_size]
    for path in _recordings(folder):
        try:
            list(read_records(path))
        except DroneBmsError as error:
            wrong.append(str(error))
    log = (folder / "log").read_text()
    wrong += [line for line in log.splitlines() if "Traceback" in line or "damaged" in line]
    return wrong


def kills(count: int, seed: int, log: Path | None) -> bool:
    """Kill the service so many times; print the losses, and return whether a rule is violated.

    Args:
        count: of kills.
        seed: of their moments.
        log: receives a line for each kill; what earlier runs have left there is counted too.
    """
    chance = random.Random(seed)  # noqa: S311 - moments
    rows = [] if log is None or not log.exists() else _lines(log)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "c.toml").write_text(CONFIG.format(folder=folder))
        hover = (Path(sim.__file__).parent / "scenarios" / "hover.toml").read_text()
        flight = hover.replace("duration_s = 20.0", "duration_s = 0.2", 1)
        (folder / "flight.toml").write_text(flight)
        for number in range(count):
            row: dict[str, Any] = {"seed": seed, "wrong": []}
            try:
                row |= vars(_life(folder, chance))
            except _LateError:
                row["late"] = True
            except (RuntimeError, DroneBmsError, OSError, sqlite3.Error) as error:
                row["wrong"].append(f"seed {seed}, kill {number}: {error!r}")
            if (number + 1) % SHOWN == 0 or number + 1 == count:
                row["wrong"] += _cleanliness(folder)
                print(f"{number + 1} kills", file=sys.stderr, flush=True)
            rows.append(row)
            if log is not None:
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    return _print_losses(rows)


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def _print_losses(rows: list[dict[str, Any]]) -> bool:
    running = sum(row.get("reported_s") is not None for row in rows)
    seeds = sorted({row["seed"] for row in rows})
    wrong = [line for row in rows for line in row["wrong"]]
    print(f"{machine()}; seeds {', '.join(map(str, seeds))}")
    late = sum("late" in row for row in rows)
    print(f"{len(rows)} kills, {len(rows) - running} of them before the first report, {late} of which "
          f"had none in {START_S:.0f} s; {len(wrong)} violations")  # fmt: skip
    print(f"{'lost by a kill, s':<24}{'kills':>6}{'median':>8}{'99 %':>8}{'most':>8}")
    for field in ("recording_s", "checkpoint_s", "queue_s", "history_s"):
        values = sorted(float(row[field]) for row in rows if row.get(field) is not None)
        if values:
            highest = values[min(int(0.99 * len(values)), len(values) - 1)]
            line = f"{len(values):>6}{median(values):>8.2f}{highest:>8.2f}{values[-1]:>8.2f}"
            print(f"{field.removesuffix('_s'):<24}{line}")
    for one in wrong:
        print(one)
    return bool(wrong)


def table(arguments: list[str]) -> bool:
    """Print the table of a campaign of the file layer; return whether a rule is violated."""
    print(f"{machine()}")
    print(f"{'writer':<22}{'calls':>7}{'cases':>7}{'incomplete':>12}{'violations':>12}")
    is_wrong = False
    for row in rows(arguments):
        wrong = row["wrong"]
        is_wrong |= bool(wrong)
        numbers = row.get("calls", 0), row.get("cases", 0), row.get("lost", "-"), len(wrong)
        print("{:<22}{:>7}{:>7}{:>12}{:>12}".format(row["writer"], *numbers), flush=True)
        for line in wrong:
            print(f"    {line}")
    return is_wrong


def main() -> None:
    """Run one of the campaigns."""
    if sys.argv[1:2] != ["kills"]:
        sys.exit(table(sys.argv[1:]))
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("kind", choices=("kills",))
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="add to the kills of this file, and count all")
    options = parser.parse_args()
    sys.exit(kills(options.count, options.seed, options.log))


if __name__ == "__main__":
    main()
