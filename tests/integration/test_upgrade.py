# SPDX-License-Identifier: Apache-2.0
"""An installation of 0.1.0 goes on with this version: configuration, state, history, outbox.

Recordings of that version are replayed in `tests/recording`.
"""

import gzip
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dronebms.cli.main import main
from dronebms.service.config import read_config
from dronebms.telemetry.outbox import Outbox

OLD = Path(__file__).parents[1] / "data" / "upgrade_0.1.0"
CONFIGURATION = OLD / "dronebms.toml"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A copy of the old `[state] dir`."""
    folder = tmp_path / "state"
    shutil.copytree(OLD / "learned", folder / "learned")
    for name in ("packs.sqlite", "mqtt.sqlite"):
        shutil.copy(OLD / name, folder)
    (folder / "run.kept").write_bytes(gzip.decompress((OLD / "run.kept.gz").read_bytes()))
    (folder / "run.kept").chmod(0o600)
    return folder


def leaves(value: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a nested one with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{place}[{number}]")
    else:
        yield place, value


def test_a_configuration_has_the_values_that_it_had() -> None:
    written = tomllib.loads(CONFIGURATION.read_text())
    read = read_config(CONFIGURATION).model_dump(exclude_unset=True)
    # One link could not be a list of links.
    written["mavlink"] = [written["mavlink"]]
    assert dict(leaves(read)) == dict(leaves(written))
    assert len(dict(leaves(written))) > 50


def flights(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a pack history by flight, by a reader of databases that is not ours."""
    base = sqlite3.connect(path)
    base.row_factory = sqlite3.Row
    rows = [dict(row) for row in base.execute("SELECT * FROM flight")]
    base.close()
    return {str(row["flight_id"]): row for row in rows}


def test_the_pack_history_keeps_its_flights(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = flights(OLD / "packs.sqlite")
    assert main(["packs", "--state-dir", str(state), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    shown = {row["flight_id"]: row for line in lines for row in line["flights"]}
    assert set(shown) == set(before)
    for name, row in before.items():
        assert shown[name]["used_mah"] == pytest.approx(row["used_mah"])


def test_what_was_learned_serves_the_next_flight(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 1 is the pack with the serial number 1001, whose resistance is above the usual one."""
    flight = tmp_path / "seed1.rec"
    sim = ["sim", "--flight", "survey", "--seed", "1", "--duration", "90", "--speed", "max"]
    assert main([*sim, "--headless", "--mavlink", "none", "--record", str(flight)]) == 0
    known = {}
    for name, folder in (("old", state), ("none", tmp_path / "empty")):
        out = tmp_path / f"{name}.jsonl"
        folder.mkdir(exist_ok=True)
        assert main(["replay", str(flight), "--state-dir", str(folder), "--out", str(out)]) == 0
        on_the_ground = json.loads(out.read_text().splitlines()[15])
        known[name] = on_the_ground["weakest"]["resistance_ohm"]
    capsys.readouterr()
    assert known["none"] is None
    # 0.1.0 gave 3.9 mohm with a standard deviation of 1.4 in this flight.
    assert known["old"] == pytest.approx(0.0039, abs=0.0006)


def test_messages_that_were_not_sent_are_still_there(state: Path) -> None:
    box = Outbox(str(state / "mqtt.sqlite"), 1e6)
    try:
        waiting = box.after(0, 10)
    finally:
        box.close()
    assert [(topic, json.loads(payload)["t_s"]) for _, topic, payload in waiting] == [
        ("fleet/drone1/1001/report", 1.0),
        ("fleet/drone1/1001/event", 2.0),
    ]


def test_the_service_starts_on_the_old_state(state: Path, tmp_path: Path) -> None:
    """The restart state of 0.1.0 is not restored: it was a pickle, which nothing reads."""
    configuration = tmp_path / "dronebms.toml"
    configuration.write_text(
        f'[[battery]]\nbus = "sim:survey"\n[state]\ndir = "{state}"\n'
        f'[recording]\ndir = "{tmp_path / "recordings"}"\n'
    )
    command = [sys.executable, "-m", "dronebms.cli", "run", "-c", str(configuration)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:  # noqa: S603
        assert service.stderr is not None
        log = ""
        for line in service.stderr:
            log += line
            if "sending MAVLink" in line:
                service.terminate()
        assert service.wait(60.0) == 0
    assert "the last run is not restored: its checkpoint is of an older version" in log
    assert not re.search(r"Traceback|ERROR|damaged", log)
    assert set(flights(OLD / "packs.sqlite")) <= set(flights(state / "packs.sqlite"))
