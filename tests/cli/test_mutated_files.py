# SPDX-License-Identifier: Apache-2.0
"""Mutated files through the commands that read them: exit code 0, 1 or 2, one sentence an error."""

import gzip
import json
import resource
from pathlib import Path
from random import Random

import pytest

from dronebms.cli.main import main
from dronebms.probe.recording import MAGIC
from tests.flightlogs.test_hostile_logs import BIN, TLOG, ULG, mutated

TABLE = "t_s,voltage_v,current_a,temperature_degc,cell1_v,cell4_v,gauge_soc_pct,armed\n" + "".join(
    f"{k / 2},{16 - k * 0.01:.2f},{20 + k % 3},25.5,{4 - k * 0.0025:.4f},3.9,{90 - k / 4},1\n"
    for k in range(60)
)
SIDECAR = json.dumps({"cells": 4, "chemistry": "lipo", "capacity_mah": 5000, "pack_id": "P"})
PACK = ["--cells", "4", "--chemistry", "lipo"]
MOST_KIB = 1 << 20  # of the whole test process


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small file of each kind, by its ending."""
    recording = tmp_path_factory.mktemp("rec") / "good.rec"
    flight = ["sim", "--duration", "20", "--speed", "max", "--headless"]
    assert main([*flight, "--record", str(recording)]) == 0
    return {
        "csv": TABLE.encode(),
        "csv.gz": gzip.compress(TABLE.encode(), mtime=0),
        "json": SIDECAR.encode(),
        "bin": BIN,
        "ulg": ULG,
        "tlog": TLOG,
        "rec": recording.read_bytes(),
    }


KINDS = ("csv", "csv.gz", "json", "bin", "ulg", "tlog", "rec")
TURNS = [
    pytest.param({"replay": 6, "packs": 2, "report": 1, "plot": 0}, id="short"),
    pytest.param(
        {"replay": 150, "packs": 40, "report": 10, "plot": 10}, id="long", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turns", TURNS)
def test_a_mutated_file_ends_in_an_exit_code_and_sentences(
    kind: str,
    turns: dict[str, int],
    contents: dict[str, bytes],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    random = Random(f"{kind} {sum(turns.values())}")  # noqa: S311 - seeded damage, not a secret
    path = tmp_path / ("x.csv" if kind == "json" else f"x.{kind}")
    sidecar = tmp_path / "x.json"
    rated = [] if kind == "rec" else PACK
    commands = {
        "replay": ["replay", str(path), *rated, "--out", str(tmp_path / "out")],
        "packs": ["packs", "--add", str(path), "--state-dir", str(tmp_path / "state")],
        "report": ["report", str(path), *rated, "-o", str(tmp_path / "x.html")],
        "plot": ["plot", str(path), *rated, "-o", str(tmp_path / "x.png")],
    }
    codes = set()
    for command, count in turns.items():
        for _ in range(count):
            bad = mutated(contents[kind], random)
            path.write_bytes(contents["csv"] if kind == "json" else bad)
            sidecar.write_bytes(bad if kind == "json" else SIDECAR.encode())
            codes.add(main(commands[command]))
            shown = capfd.readouterr()
            lines = shown.err.splitlines()
            assert all(line.isprintable() for line in (*shown.out.splitlines(), *lines))
            assert "Traceback" not in shown.err
            assert sum(line.startswith("dronebms: ") for line in lines) <= 4
    assert codes <= {0, 1, 2}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MOST_KIB


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"a":' * 100_000, b"[" + b"9" * 5000 + b"]"])
def test_a_hostile_recording_of_a_probe_is_damaged(
    line: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.probe"
    path.write_bytes(MAGIC + line + b"\n")
    assert main(["probe", "--bus", str(path)]) == 1
    assert capfd.readouterr().err == f"dronebms: {path} line 2 is damaged\n"
