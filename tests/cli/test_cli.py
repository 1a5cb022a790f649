# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, one sentence per error, equal output for equal seeds."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from dronebms import __version__
from dronebms.cli.exit_codes import EXIT_CODES, exit_code_of
from dronebms.cli.main import main
from dronebms.cli.options import OPTIONS, PAGES, Page
from dronebms.core import errors
from dronebms.service.config import read_config
from sim.plant.faults import FAULTS
from sim.plant.scenario import scenario_names
from tests.disks import files_limited_to

FLIGHT = Path(__file__).parents[1] / "data" / "flights" / "F13_Marquis2019_P04_1.csv.gz"
COMMAND = (sys.executable, "-m", "dronebms.cli")
EVENT = re.compile(r"t=\S+ +(LOW|HIGH|INFO|WARNING|CRITICAL|EMERGENCY|CLEARED): ")
QUICK = ("--json", "--speed", "max")


@dataclass(frozen=True)
class Done:
    """Result of a command."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str | Path) -> Done:
        """Run one command."""
        self._capsys.readouterr()
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        captured = self._capsys.readouterr()
        return Done(code, captured.out, captured.err)


@pytest.fixture
def dronebms(capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell; the handler of SIGTERM is restored after the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield Shell(capsys)
    signal.signal(signal.SIGTERM, before)


def started(*argv: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(  # noqa: S603 - our own command
        (*COMMAND, *argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


# ---------------------------------------------------------------------- help and usage errors


@pytest.mark.parametrize("command", ["sim", "run", "probe", "replay", "campaign"])
def test_every_command_has_help_with_an_example(dronebms: Shell, command: str) -> None:
    done = dronebms(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"example: dronebms {command} " in " ".join(done.out.split())


def test_the_help_names_every_flight_and_every_fault(dronebms: Shell) -> None:
    names = set(re.findall(r"\w+", dronebms("sim", "--help").out.replace("-\n", "-")))
    assert set(scenario_names()) <= names
    assert {fault.name for fault in FAULTS} <= names


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fly",
        "sim --speed 0",
        "sim --speed -1",
        "sim --speed nan",
        "sim --speed inf",
        "sim --speed fast",
        "sim --seed -1",
        "sim --seed 1.5",
        "sim --duration 0",
        "sim --duration 1e999",
        "sim --what",
        "sim --flight nowhere",
        "sim --flight absent.toml",
        "sim --speed max --fault gremlin",
        "sim --speed max --fault nack@-1",
        "sim --speed max --fault nack@",
        "sim --speed max --fault weak_cell@5",
        "sim --speed max --mavlink pigeon:here",
        "sim --speed max --mavlink udpout:127.0.0.1:99999",
        "sim --speed max --record absent/x.rec",
        "replay",
        "replay absent.csv",
        "replay absent.doc",
        "replay . ",
        "replay FLIGHT --cells 0",
        "replay FLIGHT --cells five",
        "replay FLIGHT --cells 6",
        "replay FLIGHT --chemistry nimh",
        "replay FLIGHT --cutoff-cell-v 33",
        "replay FLIGHT --capacity-mah -5",
        "replay FLIGHT --capacity-mah 0",
        "replay FLIGHT --capacity-mah 1",
        "replay FLIGHT --out absent/x.jsonl",
        "replay FLIGHT --out .",
        "replay FLIGHT --out=",  # as of a variable that is not set
        "replay FLIGHT --state-dir=",
        "packs --state-dir=",
        "ardupilot-script --out=",
        "init --defaults --out=",
        "check -c=",
        "status --socket=",
        "run",
        "run -c absent.toml",
        "run -c .",
        "campaign",
        "campaign hover",
        "campaign hover --runs 0",
        "campaign hover --runs many",
        "campaign hover --runs 1 --jobs 0",
        "campaign hover --runs 1 --seed -1",
        "campaign hover --runs 1 --duration 0",
        "campaign hover --runs 1 --fault gremlin",
        "campaign nowhere --runs 1",
        "campaign absent.toml --runs 1",
        "campaign hover --runs 1 --out absent/x.jsonl",
        "campaign hover --runs 1 --out .",
        "campaign hover --runs 1 --scheduler pigeon:here",
    ],
)
def test_a_usage_error_is_one_sentence_and_code_2(
    dronebms: Shell, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = dronebms(*line.replace("FLIGHT", str(FLIGHT)).split())
    assert done.code == 2
    assert done.out == ""
    (sentence,) = done.err.splitlines()
    assert sentence.startswith("dronebms")
    assert "Traceback" not in sentence
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_the_package(dronebms: Shell) -> None:
    done = dronebms("--version")
    assert (done.code, done.out, done.err) == (0, f"dronebms {__version__}\n", "")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("prob", "probe"),
        ("chek -c x.toml", "check"),
        ("ardupilot_script", "ardupilot-script"),
        ("sim --flght survey", "--flight"),
        ("--verison", "--version"),
        ("run --confg=x.toml", "--config"),
        ("xyzzy", None),
        ("sim --xyzzy", None),
    ],
)
def test_a_mistyped_command_or_option_gets_the_nearest_one(
    dronebms: Shell, line: str, meant: str | None
) -> None:
    done = dronebms(*line.split())
    assert (done.code, done.out) == (2, "")
    asked = re.findall(r"; did you mean (\S+)\?;", done.err)
    assert asked == ([] if meant is None else [meant])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_abbreviated_option_is_refused_with_its_whole_name(dronebms: Shell, page: Page) -> None:
    names = [
        name
        for option in OPTIONS
        if page.name in option.commands.split()
        for name in option.names.split()
        if name.startswith("--")
    ]
    for name in names:
        short = name[:-1]
        if short in names:
            continue
        done = dronebms(page.name, short)
        assert (done.code, done.out) == (2, ""), short
        elsewhere = any(short in option.names.split() for option in OPTIONS)
        hint = "it is an option of" if elsewhere else f"did you mean {name}?"
        assert f"{UNKNOWN}{short}; {hint}" in done.err


UNKNOWN = "unrecognized arguments: "


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--headless sim", f"dronebms: {UNKNOWN}--headless; it is an option of sim, sitl"),
        ("sim -c a.toml", f"dronebms sim: {UNKNOWN}-c a.toml; it is an option of run, check, sitl"),
        ("check --bell", f"dronebms check: {UNKNOWN}--bell; it is an option of status"),
        ("check -- --bell", "dronebms check: the following arguments are required: -c/--config"),
        ("sim hover", f"dronebms sim: {UNKNOWN}hover"),
        ("replay a.csv b.csv", f"dronebms replay: {UNKNOWN}b.csv"),
    ],
)  # fmt: skip
def test_an_argument_of_no_use_names_the_command_and_where_it_belongs(
    dronebms: Shell, line: str, complaint: str
) -> None:
    done = dronebms(*line.split())
    assert (done.code, done.out) == (2, "")
    command = complaint.partition(":")[0]
    assert done.err == f"{complaint}; see {command} --help\n"


# ---------------------------------------------------------------------- sim


def test_one_seed_gives_equal_output_at_any_speed_and_with_any_link(dronebms: Shell) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        url = f"udpout:127.0.0.1:{receiver.getsockname()[1]}"
        options = ("sim", "--json", "--duration", "60", "--seed", "5")
        quick = dronebms(*options, "--speed", "max")
        paced = dronebms(*options, "--speed", "200", "--mavlink", "none")
        linked = dronebms(*options, "--speed", "max", "--mavlink", url)
        assert len(receiver.recv(2000)) > 10
    assert len(quick.out.splitlines()) == 61
    assert quick.out == paced.out == linked.out
    assert {done.code for done in (quick, paced, linked)} == {0}
    other = dronebms(*options[:-1], "6", "--speed", "max")
    assert len(other.out.splitlines()) == 61
    assert other.out != quick.out


def test_a_flight_of_seven_seconds_has_eight_lines(dronebms: Shell) -> None:
    assert len(dronebms("sim", *QUICK, "--duration", "7").out.splitlines()) == 8


@pytest.mark.parametrize("fault", [fault.name for fault in FAULTS])
def test_every_fault_is_simulated_to_the_end(dronebms: Shell, fault: str) -> None:
    done = dronebms("sim", *QUICK, "--duration", "200", "--fault", fault)
    assert (done.code, done.err) == (0, "")
    lines = lines_of(done.out)
    assert [line["t_s"] for line in lines] == [float(t) for t in range(201)]
    assert lines[-1]["battery"] == 0


def test_the_effect_of_a_fault_is_in_the_output(dronebms: Shell) -> None:
    unplugged = lines_of(dronebms("sim", *QUICK, "--duration", "140", "--fault", "unplug").out)
    assert unplugged[119]["voltage_v"] is not None
    assert unplugged[126]["voltage_v"] is None
    assert unplugged[126]["active"] == ["silent"]
    assert unplugged[133]["active"] == ["lost", "silent"]
    assert unplugged[126]["trouble"]
    stalled = lines_of(dronebms("sim", *QUICK, "--duration", "230", "--fault", "frozen").out)
    assert stalled[205]["voltage_v"] is not None
    assert stalled[215]["voltage_v"] is None
    assert str(stalled[215]["trouble"]).startswith("gauge readings frozen for 3")
    assert "lost" in str(stalled[225]["active"])


def test_headless_prints_a_line_a_second_and_every_event(dronebms: Shell) -> None:
    done = dronebms("sim", "--headless", "--speed", "max", "--duration", "140", "--fault", "unplug")
    assert (done.code, done.err) == (0, "")
    events = [line for line in done.out.splitlines() if EVENT.match(line)]
    assert [line.split("  ", 1)[1] for line in events] == [
        "WARNING: no gauge data for 3 s",
        "CRITICAL: no gauge data for 10 s",
    ]
    assert len(done.out.splitlines()) == 141 + len(events)


def test_the_display_is_followed_by_a_summary(dronebms: Shell) -> None:
    done = dronebms("sim", "--speed", "max", "--duration", "30")
    assert done.code == 0
    assert "simulated survey: " in done.out
    assert "cut-off not reached" in done.out


# ---------------------------------------------------------------------- record and replay


def test_a_recorded_simulation_replays_to_the_same_lines(dronebms: Shell, tmp_path: Path) -> None:
    path = tmp_path / "run.rec"
    live = dronebms("sim", *QUICK, "--duration", "90", "--fault", "nack@20", "--record", path)
    again = dronebms("replay", path, "--out", "-")
    assert (live.code, again.code) == (0, 0)
    assert len(live.out.splitlines()) == 91
    assert again.out == live.out
    assert "run.rec: 1:30" in again.err
    refused = dronebms("sim", *QUICK, "--duration", "1", "--record", path)
    assert refused.code == 2
    assert "exists already" in refused.err
    assert dronebms("replay", path, "--out", "-").out == live.out


def test_stdout_has_the_predictions_alone(dronebms: Shell) -> None:
    done = dronebms("replay", FLIGHT, "--out", "-")
    lines = lines_of(done.out)
    assert done.code == 0
    assert [line["t_s"] for line in lines] == [float(t) for t in range(len(lines))]
    assert "cut-off reached at 00:0" in done.err
    plain = dronebms("replay", FLIGHT)
    assert plain.out == done.err
    assert plain.err == ""


def test_options_override_the_sidecar(dronebms: Shell) -> None:
    done = dronebms("replay", FLIGHT, "--capacity-mah", "9999", "--cutoff-cell-v", "3.45")
    assert "9999 mAh, cut-off 3.45 V per cell" in done.out


def test_a_predictions_file_is_complete_or_absent(dronebms: Shell, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    assert dronebms("replay", FLIGHT, "--out", out).code == 0
    good = out.read_text()
    assert good == dronebms("replay", FLIGHT, "--out", "-").out
    flight = tmp_path / "bad.csv"
    flight.write_text("t_s,voltage_v,current_a\n0,12,1\n1,12,soon\n")
    for target in (out, tmp_path / "new.jsonl"):
        done = dronebms("replay", flight, "--cells", "3", "--chemistry", "lipo", "--out", target)
        assert done.code == 2
        assert "line 3, column current_a: 'soon' is not a number" in done.err
    assert out.read_text() == good
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "p.jsonl"]


def test_a_flight_is_not_overwritten_by_its_own_predictions(
    dronebms: Shell, tmp_path: Path
) -> None:
    flight = Path(shutil.copy(FLIGHT, tmp_path / "x.csv.gz"))
    link = tmp_path / "link.jsonl"
    link.symlink_to(flight)
    options = ("--cells", "4", "--chemistry", "lipo", "--out")
    for out in (flight, link):
        done = dronebms("replay", flight, *options, out)
        assert done.code == 2
        assert "is the flight itself" in done.err
    assert flight.read_bytes() == FLIGHT.read_bytes()


def test_a_damaged_recording_is_code_1_and_replayed_except_the_damage(
    dronebms: Shell, tmp_path: Path
) -> None:
    path, out = tmp_path / "run.rec", tmp_path / "p.jsonl"
    dronebms("sim", *QUICK, "--duration", "65", "--record", path)
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)
    done = dronebms("replay", path, "--out", out)
    assert done.code == 1
    assert done.out.startswith("run.rec: 1:05, 6 cells lipo")
    gap = re.fullmatch(
        rf"dronebms: {path} is damaged: no data from 00:00:(\d\d) to 00:00:30\n", done.err
    )
    assert gap is not None
    whole = [json.loads(line) for line in out.read_text().splitlines()]
    seconds = [round(row["t_s"]) for row in whole]
    assert seconds == [*range(int(gap[1]) + 1), *range(30, 66)]
    assert whole[-1]["voltage_v"] is not None


def test_a_recording_of_an_old_format_is_code_2_and_one_sentence(
    dronebms: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "old.rec"
    path.write_bytes(b"dronebms-recording 1\nf39bf494 {}\n")
    done = dronebms("replay", path)
    assert done.code == 2
    assert done.err == f"dronebms: {path} is a recording of format 1; only format 2 is read\n"


# ---------------------------------------------------------------------- signals and pipes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stopped_simulation_ends_silently(number: signal.Signals, code: int) -> None:
    with started("sim", "--json", "--mavlink", "none") as process:
        assert isinstance(process.stdout, io.TextIOWrapper)
        assert lines_of(process.stdout.readline())[0]["t_s"] == 0.0
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (code, "")


@pytest.mark.parametrize(
    "argv",
    [
        ("sim", *QUICK),
        ("sim", "--headless", "--speed", "max"),
        ("replay", str(FLIGHT), "--out", "-"),
    ],
)
def test_a_closed_pipe_ends_the_command_silently(argv: Sequence[str]) -> None:
    with started(*argv) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    # The summary of a replay is on stderr when stdout has the predictions.
    assert "Traceback" not in err
    assert "Broken" not in err


@pytest.mark.parametrize(
    "argv", [("sim", *QUICK, "--duration", "20"), ("packs", "--state-dir", "nowhere")]
)
def test_closed_stdout_and_stderr_give_no_traceback(argv: Sequence[str]) -> None:
    ours = (sys.executable, "-m", "dronebms.cli", *argv)
    shut = ("sh", "-c", 'exec "$@" >&-', "sh", *ours)
    out = subprocess.run(shut, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    assert "Traceback" not in out.stderr
    assert out.returncode == (2 if "packs" in argv else 0)
    shut = ("sh", "-c", 'exec "$@" 2>&-', "sh", *ours)
    out = subprocess.run(shut, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    assert "dronebms: " not in out.stdout


def test_the_options_load_neither_models_nor_matrices() -> None:
    code = (
        "import dronebms.cli.main, dronebms.cli.options, sys; "
        "sys.exit(bool({'numpy', 'pydantic', 'pymavlink', 'rich'} & {*sys.modules}))"
    )
    out = subprocess.run((sys.executable, "-c", code), check=False)  # noqa: S603 - our own
    assert out.returncode == 0


def test_a_command_starts_no_threads_of_openblas_unless_they_are_set() -> None:
    program = (
        "import os, sys\nfrom dronebms.cli.main import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n"
        "    sys.stderr.write(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    for given, expected in ((None, "1"), ("3", "3")):
        environ = {key: v for key, v in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
        environ |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
        out = subprocess.run(  # noqa: S603 - our own
            (sys.executable, "-c", program), env=environ, capture_output=True, text=True, check=True
        )
        assert out.stderr == expected


# ---------------------------------------------------------------------- check, ardupilot-script


def test_check_prints_limits_and_actions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "here.toml"
    text = (
        '[[battery]]\nbus = "sim:survey"\n[[action]]\non = "cell_critical"\ndo = "land"\n'
        '[[limit]]\nid = "hot"\ntrip = 48.0\n[state]\ndir = "."\n'
    )
    path.write_text(text, encoding="utf-8")
    assert main(["check", "-c", str(path)]) == 0
    short = capsys.readouterr().out
    assert short.startswith("ok       battery 1: sim:survey address 0x0b, lipo\n")
    assert "ok       mavlink: udpout:127.0.0.1:14550\n" in short
    assert re.search(r"^ok +limits: \d\d, changed: hot \(--limits prints them\)$", short, re.M)
    assert "ok       action: on cell_critical: land after 2 s while armed\n" in short
    assert main(["check", "-c", str(path), "--limits"]) == 0
    whole = capsys.readouterr().out
    (line,) = [line for line in whole.splitlines() if line.startswith("  cell_critical ")]
    assert "land" in line
    assert len([line for line in whole.splitlines() if " -> " in line]) > 50
    assert all("land" not in row for row in whole.splitlines() if "cell_low " in row)
    path.write_text(text + '[[action]]\non = "governor"\ndo = "reduce"\n', encoding="utf-8")
    assert main(["check", "-c", str(path)]) == 0
    assert "do = reduce without a speed does nothing on PX4" in capsys.readouterr().out


def outputs(capsys: pytest.CaptureFixture[str], path: Path) -> list[str]:
    """Lines of `check` about optional outputs."""
    main(["check", "-c", str(path)])
    text = re.sub(r"\n {11}(?=\S)", " ", capsys.readouterr().out)
    names = ("status", "recording", "state", "off", "charger", "metrics", "mqtt")
    lines = [line[9:] for line in text.splitlines() if line.startswith(("ok ", "note "))]
    return [line for line in lines if line.startswith(names)]


def test_check_prints_the_outputs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "packaging/dronebms.toml"
    assert outputs(capsys, shipped) == [
        "status: socket /run/dronebms/status.sock",
        "recording: /var/lib/dronebms/recordings, at most 512 MB",
        "state: /var/lib/dronebms",
        "off: charger, metrics, mqtt, dronecan",
    ]
    path = tmp_path / "everything.toml"
    path.write_text(
        f"{shipped.read_text(encoding='utf-8')}\n[metrics]\n"
        f'[mqtt]\nhost = "localhost"\nport = 8883\ntopic = "fleet/drone7"\nca = "{shipped}"\n'
        '[charger]\ncommand = ["sh", "bay 1"]\ntopic = "hangar/charger1"\n',
        encoding="utf-8",
    )
    assert outputs(capsys, path)[3:] == [
        "charger: reduce and stop to the program sh 'bay 1' and the MQTT topic "
        "hangar/charger1 while the vehicle is not armed",
        "metrics: http://127.0.0.1:9100/metrics",
        "mqtt: localhost:8883, topic fleet/drone7",
        "off: dronecan",
    ]
    path.write_text('[[battery]]\nbus = "sim:survey"\n', encoding="utf-8")
    assert outputs(capsys, path) == [
        "off: status, recording, state, charger, metrics, mqtt, dronecan"
    ]
    path.write_text(
        '[[battery]]\nbus = "sim:survey"\n[charger]\ncommand = ["sh"]\n', encoding="utf-8"
    )
    assert outputs(capsys, path)[0].startswith("charger: reduce and stop to the program sh ")


def test_check_prints_a_relative_place_as_it_is_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.toml"
    path.write_text(
        '[[battery]]\nbus = "sim:hover"\n[status]\nsocket = "s.sock"\n'
        '[recording]\ndir = "rec"\n[state]\ndir = "."\n',
        encoding="utf-8",
    )
    assert outputs(capsys, path)[:3] == [
        f"status: socket {tmp_path}/s.sock",
        f"recording: {tmp_path}/rec, at most 512 MB",
        f"state: {tmp_path}",
    ]
    config = read_config(path)
    assert config.state is not None
    assert config.vehicle_dir == config.state.folder == tmp_path


def test_check_names_every_error_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "here.toml"
    path.write_text('[[battery]]\nbus = "x"\n[mavlnk]\n', encoding="utf-8")
    assert main(["check", "-c", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    path.write_text('[[battery]]\nbus = "sim:hover"\n', encoding="utf-8")
    assert main(["check", "-c", str(path), "--vehicle", "carrier-pigeon:1"]) == 2


def test_a_modified_driver_is_replaced_only_with_force(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["ardupilot-script", "-o", str(tmp_path)]
    assert main(command) == 0
    driver = tmp_path / "dronebms.lua"
    assert capsys.readouterr().out == f"{driver}\n"
    assert main(command) == 0
    driver.write_text(driver.read_text(encoding="utf-8") + "-- mine\n", encoding="utf-8")
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert driver.read_text(encoding="utf-8").endswith("-- mine\n")
    assert main([*command, "--force"]) == 0
    assert not driver.read_text(encoding="utf-8").endswith("-- mine\n")


@pytest.mark.parametrize(
    ("output", "why"), [("/dev/full", "No space left on device"), ("limited", "File too large")]
)
def test_an_output_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, output: str, why: str
) -> None:
    flight = "-m dronebms.cli sim --speed max --headless --duration 20"
    done = subprocess.run(  # noqa: S603 - our own command
        ["/bin/sh", "-c", f"ulimit -f 0; exec {sys.executable} -B {flight} > {output}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"dronebms: the output cannot be written: {why}\n"


FLOWN = "t_s,voltage_v,current_a,temperature_degc\n" + "".join(
    f"{t},{24.8 - 0.002 * t - (0 if t < 20 else 0.2 + t % 20 / 100):.3f},"
    f"{0.1 if t < 20 else 12 + t % 20},25\n"
    for t in range(200)
)


def contents(folder: Path) -> dict[Path, bytes]:
    """Content of every file that has one."""
    files = (path for path in folder.rglob("*") if path.is_file())
    data = {path: path.read_bytes() for path in files if not path.name.endswith("-shm")}
    return {path: content for path, content in data.items() if content}


PACK = "--cells 6 --capacity-mah 5000 --chemistry lipo --pack-id blue"


@pytest.mark.parametrize(
    "line",
    [
        f"replay flown.csv {PACK} --out FULL",
        f"replay flown.csv {PACK} --state-dir FULL",
        f"report flown.csv {PACK} -o FULL.html",
        f"plot flown.csv {PACK} -o FULL.png",
        f"packs --state-dir FULL --add flown.csv {PACK}",
        "packs --state-dir state --export FULL",
        "packs --state-dir state --csv FULL",
        "packs --state-dir FULL --import exported.json",
        "packs --state-dir state blue --name P1",
        "probe --bus sim:survey --record FULL",
        "sim --speed max --headless --duration 5 --record FULL",
        "init --defaults -o FULL",
        "ardupilot-script -o .",
    ],
)
def test_a_full_disk_is_one_sentence_code_1_and_no_output(
    dronebms: Shell, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flown.csv").write_text(FLOWN)
    added = dronebms("packs", "--state-dir", "state", "--add", "flown.csv", *PACK.split())
    exported = dronebms("packs", "--state-dir", "state", "--export", "exported.json")
    assert (added.code, exported.code) == (0, 0)
    before = contents(tmp_path)
    with files_limited_to(0):
        done = dronebms(*line.split())
    assert done.code == 1
    sentences = [text for text in done.err.splitlines() if text.startswith("dronebms: ")]
    assert len(sentences) == 1
    assert re.search(r" cannot be (written|used): (File too large|disk I/O error)$", sentences[0])
    assert "Traceback" not in done.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("out", ["no/such/folder", "flown.csv/file", "/proc/version"])
def test_an_output_in_a_wrong_place_is_a_usage_error(
    dronebms: Shell, out: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flown.csv").write_text(FLOWN)
    done = dronebms("replay", "flown.csv", *PACK.split(), "--out", out)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"dronebms: {out} cannot be written: ")


def executed(script: str) -> subprocess.CompletedProcess[str]:
    """A script of ours, run to its end in a process of its own."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


def test_ctrl_c_while_a_command_is_loaded_is_silent() -> None:
    script = (
        "import sys; from dronebms.cli.main import main\n"
        "print(*sorted(name for name in sys.modules if name.startswith(('dronebms', 'smart'))))\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_): raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "sys.exit(main(['--help']))\n"
    )
    done = executed(script)
    # What is loaded before `main` runs is short: a traceback would show in that time.
    assert done.stdout.split() == ["dronebms", "dronebms.cli", "dronebms.cli.main"]
    assert (done.returncode, done.stderr) == (130, "")


# Of the standard library and of `main`; by a handler of Python, and by the kernel once it is set.
@pytest.mark.parametrize(
    ("module", "codes"),
    [("signal", {130}), ("dronebms.cli.main", {-signal.SIGINT}), ("logging", {-signal.SIGINT})],
)
def test_ctrl_c_before_the_command_line_is_loaded_is_silent(module: str, codes: set[int]) -> None:
    script = (
        "import sys\n"
        "from dronebms.cli.entry import run\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            import os; os.kill(os.getpid(), 2)\n"
        f"sys.modules.pop({module!r}, None)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "sys.exit(run())\n"
    )
    done = executed(script)
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode in codes


def test_the_entry_loads_nothing_before_it_runs_and_leaves_an_ignored_ctrl_c_ignored() -> None:
    script = (
        "import sys; before = {*sys.modules}\n"
        "import dronebms.cli.entry as entry; print(*sorted({*sys.modules} - before))\n"
        "import signal; from dronebms.cli import main\n"
        "main.main = lambda: print(signal.getsignal(signal.SIGINT).__name__)\n"
        "entry.run()\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "main.main = lambda: print(repr(signal.getsignal(signal.SIGINT)))\n"
        "entry.run()\n"
    )
    done = executed(script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "dronebms dronebms.cli dronebms.cli.entry",
        "default_int_handler",
        "<Handlers.SIG_IGN: 1>",
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_that_strikes_in_a_callback_of_the_interpreter_ends_the_command(
    number: int, code: int, times: int
) -> None:
    """Python ignores an exception there: a service that was stopped while it was loaded ran on."""
    script = (
        "import signal, sys, time\n"
        "from dronebms.cli import main as entry\n"
        "class Callback:\n"
        f"    def __del__(self): signal.raise_signal({int(number)})\n"
        "def run(argv):\n"
        f"    for _ in range({times}):\n"
        "        Callback()\n"
        "    for _ in range(6000):\n"
        "        time.sleep(0.01)\n"
        "    return 3\n"
        "entry._run = run\n"
        "sys.exit(entry.main([]))\n"
    )
    done = executed(script)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_that_strikes_while_a_class_is_made_ends_the_command(
    number: int, code: int
) -> None:
    """Python 3.11 makes a RuntimeError of an exception in the hook of a class."""
    script = (
        "import signal, sys\n"
        "from dronebms.cli import main as entry\n"
        "class Field:\n"
        f"    def __set_name__(self, *_): signal.raise_signal({int(number)})\n"
        "entry._run = lambda argv: type('Made', (), {'field': Field()}) and 3\n"
        "sys.exit(entry.main([]))\n"
    )
    done = executed(script)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("words", ["--help", "--version", "run --help"])
def test_a_text_of_help_that_cannot_be_written_is_one_sentence(words: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, *words.split()], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    sentence = "dronebms: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_a_closed_stdin_is_no_terminal(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "init", "-o", str(tmp_path / "x.toml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    sentence = "dronebms: the questions need a terminal; --defaults asks none\n"
    assert (done.returncode, done.stderr) == (2, sentence)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_callback_is_shown_as_python_does() -> None:
    script = (
        "import sys\n"
        "from dronebms.cli import main as entry\n"
        "class Callback:\n"
        "    def __del__(self): raise ValueError('a mistake')\n"
        "entry._run = lambda argv: Callback() and 0 or 0\n"
        "sys.exit(entry.main([]))\n"
    )
    done = executed(script)
    assert done.returncode == 0
    assert "ValueError: a mistake" in done.stderr


def test_a_page_without_a_home_folder_has_no_warnings(tmp_path: Path) -> None:
    (tmp_path / "flown.csv").write_text(FLOWN)
    folders = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), "/proc/none")
    paths = {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    done = subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, "report", "flown.csv", *PACK.split(), "-o", "x.html"],
        cwd=tmp_path,
        env=os.environ | folders | paths,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x.html").exists()


def test_every_error_has_the_exit_code_that_its_tree_shows() -> None:
    shown = dict(re.findall(r"\+-- (\w+) .* exit (\d+)\n", str(errors.__doc__)))
    kinds = {
        kind.__name__: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DroneBmsError)
    }
    assert set(shown) == set(kinds) - {"DroneBmsError"}
    assert {name: exit_code_of(kinds[name]("")) for name in shown} == {
        name: int(code) for name, code in shown.items()
    }
    assert set(map(int, shown.values())) <= set(EXIT_CODES)
