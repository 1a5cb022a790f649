# SPDX-License-Identifier: Apache-2.0
"""Flights of a computer that starts in 1970 and receives the date in flight: the whole process.

The process has another date by a library in front of libc (benchmarks/endurance/stepped_date.c);
monotonic clocks are left alone, as by NTP.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from benchmarks.endurance.stepped_date import SteppedDate
from dronebms.core.errors import ConfigError
from dronebms.health.database import PackHistory
from dronebms.health.flight_record import FLYING, LOST, FlightRecord
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.recording.reading import read_records
from dronebms.recording.records import Step

pytestmark = [
    pytest.mark.slow,  # three flights of half a minute each
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler: apt install gcc"),
]
WAIT_S = 120.0
CONFIG = """
[[battery]]
bus = "sim:hover"
[mavlink]
url = "udpout:127.0.0.1:9"
[state]
dir = "{0}/state"
[recording]
dir = "{0}/recordings"
max_days = 30
"""


class Computer:
    """A computer in a folder, with the date that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.date = SteppedDate(folder)
        (folder / "c.toml").write_text(CONFIG.format(folder))

    def starts_in_1970(self) -> None:
        """Set the date of a clock without a battery, 40 s after its start."""
        self.date.set(40.0 - time.time())

    @contextmanager
    def service(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the service; kill it at the end."""
        words = (sys.executable, "-m", "dronebms.cli", "run", "-c", f"{self.folder}/c.toml")
        environ = os.environ | self.date.environ
        with (
            self.log.open("ab") as log,
            subprocess.Popen((*words, "--log", "json"), stderr=log, env=environ) as self.running,  # noqa: S603 - ours
        ):
            try:
                yield self.running
            finally:
                self.running.kill()

    def flights(self) -> list[FlightRecord]:
        """The flights so far."""
        path = self.folder / "state" / FILE
        try:
            return PackHistory(SqliteFile(path, writes=False), writes=False).flights()
        except ConfigError:  # not made yet
            return []

    def wait_for(self, holds: Callable[[list[FlightRecord]], bool]) -> None:
        """Wait until the stored flights are so."""
        end_s = monotonic() + WAIT_S
        while not holds(self.flights()):
            assert self.running.poll() is None, self.log.read_text()[-2000:]
            assert monotonic() < end_s, self.log.read_text()[-2000:]
            sleep(0.2)

    def recordings(self) -> dict[str, list[float]]:
        """Times of the steps of each recording, by name; its files are dated as in 1970."""
        found = {}
        for path in sorted((self.folder / "recordings").glob("*.rec")):
            os.utime(path, (60.0, 60.0))
            found[path.name] = [row.t_s for row in read_records(path) if isinstance(row, Step)]
        return found

    def dronebms(self, *words: str) -> str:
        """Output of a command."""
        done = subprocess.run(  # noqa: S603 - ours
            (sys.executable, "-m", "dronebms.cli", *words),
            env=os.environ | self.date.environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout + done.stderr


def test_nothing_of_flights_before_the_date_is_lost_or_in_a_wrong_order(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    computer.starts_in_1970()
    with computer.service() as running:
        computer.wait_for(lambda flights: len(flights) == 1)
        running.kill()  # in flight
    (first,) = computer.flights()
    assert (first.state, first.started_unix_s) == (FLYING, None)
    recorded = computer.recordings()
    assert list(recorded) == ["run-00001.rec"]

    computer.starts_in_1970()  # again: the runs have one date
    with computer.service() as running:
        computer.wait_for(lambda flights: len(flights) == 2)
        computer.date.set(0.0)  # a jump of 56 years in flight
        computer.wait_for(lambda flights: flights[-1].started_unix_s is not None)
        running.terminate()
        assert running.wait(WAIT_S) == 0
    after = computer.recordings()
    assert list(after) == ["run-00001.rec", "run-00002.rec"]
    assert after["run-00001.rec"] == recorded["run-00001.rec"]

    computer.starts_in_1970()  # and back, with the next start
    with computer.service() as running:
        computer.wait_for(lambda flights: len(flights) == 3)
        running.terminate()
        assert running.wait(WAIT_S) == 0
    assert list(computer.recordings()) == ["run-00001.rec", "run-00002.rec", "run-00003.rec"]
    flights = computer.flights()
    assert [row.sequence for row in flights] == [1, 2, 3]
    assert [row.state for row in flights] == [LOST, LOST, LOST]
    assert [row.started_unix_s is None for row in flights] == [True, False, True]
    assert flights[1].started_unix_s == pytest.approx(time.time(), abs=2 * WAIT_S)
    shown = computer.dronebms("packs", "--state-dir", f"{tmp_path}/state")
    assert "1970" not in shown
    computer.date.set(0.0)
    shown = computer.dronebms(
        "packs", "--state-dir", f"{tmp_path}/state", "--service-every", "days=30"
    )
    assert "in 30 days: 0 of 30 days" in shown
    rows = [json.loads(line) for line in computer.log.read_text().splitlines()]
    assert "1970" not in computer.log.read_text()
    assert any(row["time"] is None for row in rows)
    assert any(row["time"] is not None for row in rows)
    assert [row for row in rows if row["level"] == "error"] == []
