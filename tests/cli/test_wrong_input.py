# SPDX-License-Identifier: Apache-2.0
"""What a new user gives by mistake: one sentence, the right exit code, and no file is lost."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dronebms.cli.main import main
from dronebms.cli.options import OPTIONS, PAIRS
from dronebms.flightlogs.autopilot_logs import _READERS
from dronebms.flightlogs.sidecar import LOG_ENDINGS

FLIGHT = Path(__file__).parents[1] / "data" / "flights" / "F13_Marquis2019_P04_1.csv.gz"
COMMAND = (sys.executable, "-m", "dronebms.cli")
Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a line; the exit code and what is on stderr."""

    def run_line(line: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            code = main(shlex.split(line))
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        return code, capsys.readouterr().err

    return run_line


@pytest.fixture
def flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flight of a minute with its sidecar, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{t},25.1,{0 if t < 5 else 20},20" for t in range(60)]
    text = "\n".join(["t_s,voltage_v,current_a,temperature_degc", *rows, ""])
    log = tmp_path / "f.csv"
    log.write_text(text)
    log.with_suffix(".json").write_text(
        '{"cells": 6, "chemistry": "lipo", "capacity_mah": 16000, "pack_id": "A"}'
    )
    return log


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# ---------------------------------------------------------------------- no input is lost


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("replay f.csv --out f.csv", "f.csv is the flight itself"),
        ("replay f.csv --out f.json", "f.json is the sidecar of f.csv"),
        ("replay f.csv --out ./f.json", "f.json is the sidecar of f.csv"),
        ("replay f.csv --out link", "link is the sidecar of f.csv"),
        ("report f.csv -o f.csv", "f.csv is the flight itself"),
        ("plot f.csv -o f.json", "f.json is the sidecar of f.csv"),
        ("packs --state-dir s --add f.csv --csv f.csv", "f.csv is the flight itself"),
        ("packs --state-dir s --add f.csv --csv f.json", "f.json is the sidecar of f.csv"),
        ("packs --state-dir s --add f.csv --export f.json", "f.json is the sidecar of f.csv"),
        ("packs --state-dir s --import f.json --export ./f.json", "is the file to import"),
        ("packs --state-dir s --add f.csv --csv x --export ./x", "name the same file"),
        ("packs --state-dir s --add f.csv --csv - --export -", "name the same file"),
        ("packs --state-dir s --add f.csv --csv - --json", "--json prints on stdout"),
    ],
)
def test_an_output_never_takes_the_place_of_an_input_or_of_another_output(
    flight: Path, run: Run, line: str, reason: str
) -> None:
    (flight.parent / "link").symlink_to("f.json")
    before = _contents(flight.parent)
    code, err = run(line)
    assert (code, err.count("\n")) == (2, 1)
    assert reason in err
    assert _contents(flight.parent) == before
    assert not (flight.parent / "s").exists()


def test_an_output_is_not_made_the_sidecar_of_a_flight_without_one(flight: Path, run: Run) -> None:
    flight.with_suffix(".json").unlink()
    code, err = run("replay f.csv --cells 6 --chemistry lipo --out f.json")
    assert (code, "is the sidecar of f.csv" in err) == (2, True)
    assert not flight.with_suffix(".json").exists()


def test_predictions_of_a_recording_may_have_its_name(flight: Path, run: Run) -> None:
    assert run("sim --speed max --duration 3 --headless --record r.rec")[0] == 0
    assert run("replay r.rec --out r.json") == (0, "")
    assert (flight.parent / "r.json").read_text().count("\n") == 4


def test_every_log_that_is_read_has_a_sidecar() -> None:
    assert set(_READERS) < set(LOG_ENDINGS)


# ---------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "line",
    [
        "replay f.csv --out loop",
        "replay f.csv --out loop/p.jsonl",
        "packs --state-dir s --add f.csv --export loop",
        "packs --state-dir s --add f.csv --csv loop",
        "packs --state-dir loop --add f.csv",
        "init --defaults -o loop",
        "check -c loop",
        "run -c loop",
        "ardupilot-script -o loop",
        "sim --speed max --duration 1 --headless --record loop",
        "campaign survey --runs 1 --duration 1 --out loop",
    ],
)
def test_links_that_lead_in_a_circle_are_one_sentence(flight: Path, run: Run, line: str) -> None:
    loop = flight.parent / "loop"
    loop.symlink_to("loop")
    code, err = run(line)
    last = err.splitlines()[-1]
    assert code == 2
    assert "Too many levels of symbolic links" in last or "exists already" in last
    assert loop.is_symlink()


def test_a_recording_replaces_no_link(flight: Path, run: Run) -> None:
    link = flight.parent / "latest.rec"
    link.symlink_to("absent/x.rec")
    code, err = run("probe --bus sim:survey --record latest.rec")
    assert (code, "exists already" in err) == (2, True)
    assert link.is_symlink()


def test_a_folder_of_links_that_lead_in_a_circle_will_not_work_now(
    flight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = flight.parent
    (folder / "loop").symlink_to("loop")
    (folder / "c.toml").write_text(
        '[[battery]]\nbus = "sim:survey"\n[recording]\ndir = "loop"\n[state]\ndir = "gone/x"\n'
    )
    assert main(["check", "-c", "c.toml"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert f"{folder}/loop is no folder" in out
    assert "state: " in out


@pytest.mark.parametrize("line", ["replay {flight}", "check -c {config}", "run -c {config}"])
def test_a_current_folder_that_was_deleted_is_one_sentence(tmp_path: Path, line: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[[battery]]\nbus = "sim:survey"\n[state]\ndir = "s"\n')
    words = line.format(flight=FLIGHT, config=config)
    script = f'mkdir gone && cd gone && rmdir ../gone && exec "$@" {words}'
    package = Path(__file__).parents[2]
    done = subprocess.run(  # noqa: S603 - our own command
        ("/bin/sh", "-c", script, "sh", *COMMAND),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "dronebms: the current folder cannot be used: No such file or directory\n"
    )


def test_a_place_that_cannot_be_written_is_refused_before_the_search_and_the_questions(
    flight: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dronebms.cli.init.search", lambda *_: pytest.fail("searched"))
    code, err = run("init --defaults -o nowhere/c.toml")
    assert code == 2
    assert err == "dronebms: nowhere/c.toml cannot be written: No such file or directory\n"
    assert sorted(path.name for path in flight.parent.iterdir()) == ["f.csv", "f.json"]


def test_a_command_that_is_printed_runs_as_printed(
    flight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "it's mine $1.toml"
    assert main(["init", "--bus", "sim:survey", "--defaults", "-o", name]) == 0
    printed = capsys.readouterr().out.splitlines()[-1].removeprefix("start it: ")
    first = (flight.parent / name).read_text().splitlines()[0].partition("Check it: ")[2]
    assert shlex.split(printed) == ["dronebms", "run", "-c", name]
    assert shlex.split(first) == ["dronebms", "check", "-c", name]


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize("url", ["fleet", "postgres//u:geheim@host/x", "//u:geheim@host"])
def test_a_text_that_is_no_url_has_the_form_that_is_expected(run: Run, url: str) -> None:
    pytest.importorskip("psycopg")
    code, err = run(f"packs --database {url}")
    assert code == 2
    assert err == "dronebms: a wrong URL: expected postgresql://USER@HOST/NAME\n"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (command, option.names.split()[-1])
        for option in OPTIONS
        if option.kind is not bool and option.names.startswith("-")
        for command in option.commands.split()
        # An empty name takes a name away; answers of init are checked with the configuration.
        if option.names != "--name" and (command, option.kind) != ("init", str)
    ],
)
def test_an_empty_value_is_never_taken_for_no_option(run: Run, command: str, option: str) -> None:
    code, err = run(f"{command} {option} ''")
    assert code == 2
    assert option in err
    assert "required" not in err


@pytest.mark.parametrize(
    "line",
    [
        "replay --state-dir=~/x f.csv",
        "replay f.csv --out=~/x",
        "packs --state-dir=~/x",
        "packs --csv=~",
        "probe --record=~/x",
    ],
)
def test_a_tilde_that_the_shell_leaves_makes_no_folder_of_that_name(
    flight: Path, run: Run, line: str
) -> None:
    code, err = run(line)
    assert code == 2
    assert "~ is not expanded here: write the whole path" in err
    assert not (flight.parent / "~").exists()


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.command} {pair.name}")
def test_an_option_that_would_have_no_effect_is_refused(run: Run, pair: object) -> None:
    values = {
        "--gauge": "solo",
        "--record": "x",
        "--add": "x",
        "--import": "x",
        "--database": "x",
        "--scheduler": "tcp://a:1",
        "--vehicle": "x",
    }
    flags = {row.names for row in OPTIONS if row.kind is bool}
    needed = {"check": "-c x", "campaign": "survey --runs 1"}

    def text(name: str) -> str:
        return name if name in flags else f"{name} {values.get(name, '1')}"

    assert isinstance(pair, type(PAIRS[0]))
    start = f"{pair.command} {needed.get(pair.command, '')}"
    others = pair.others.split()
    lines = [""] if pair.together else [text(other) for other in others]
    for line in lines:
        code, err = run(
            f"{start} {text(pair.name)} {line.replace('--mux-address 1', '--mux-address 0x70')}"
        )
        assert code == 2
        assert pair.name in err
        assert ("needs" if pair.together else "has no effect with") in err


def test_a_bus_that_is_none_is_explained(flight: Path, run: Run) -> None:
    expected = "expected /dev/i2c-N, sim:SCENARIO or a recording of dronebms probe"
    for name in ("i2c-1", "1"):
        assert run(f"probe --bus {name}") == (
            2,
            f"dronebms: {name}: no such bus or file; {expected}\n",
        )
    assert "an autopilot's monitor" in run("probe --bus mavlink:0")[1]
    assert run(f"probe --bus {flight.name}") == (2, f"dronebms: f.csv is no bus: {expected}\n")


def test_a_recording_of_the_other_command_is_named_with_its_command(
    flight: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sim --speed max --duration 2 --headless --record run.rec")[0] == 0
    assert run("probe --bus sim:survey --record probe.rec")[0] == 0
    capsys.readouterr()
    assert run("probe --bus run.rec") == (
        2,
        "dronebms: run.rec is the recording of a flight: see dronebms replay\n",
    )
    assert run("replay probe.rec") == (
        2,
        "dronebms: probe.rec is the recording of a readout: see dronebms probe --bus FILE\n",
    )
    shutil.copy("probe.rec", "probe.csv")
    assert run("replay probe.csv")[0] == 2
    assert flight.exists()
