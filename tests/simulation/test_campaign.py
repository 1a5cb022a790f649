# SPDX-License-Identifier: Apache-2.0
"""`dronebms campaign`: outcomes against the ground truth, statistics against published ones.

Also continuing, interrupting, files of other campaigns, and a Dask cluster.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from socket import create_server
from statistics import median
from time import monotonic

import pytest

from dronebms import __version__
from dronebms.cli.campaign import text_table
from dronebms.cli.main import main
from dronebms.core.chemistry import LIPO
from dronebms.core.errors import ConfigError, OutputError
from dronebms.core.pack_data import PackData
from dronebms.protection.limits import every_limit
from dronebms.simulation.campaign import Campaign, _is_far, fly, read_campaign
from dronebms.simulation.results_file import ResultsFile
from dronebms.simulation.simulated_flight import SimOptions, Simulation
from dronebms.simulation.statistics import (
    OUTCOME_JSON,
    FlightOutcome,
    median_of,
    proportion,
    summary,
)
from sim.emulator.world import World
from sim.plant.ground_truth import GroundTruth
from sim.plant.scenario import load_scenario
from tests.disks import files_limited_to
from tests.mavlink_bridge.loopback import WAIT_S

COMMAND = (sys.executable, "-m", "dronebms.cli", "campaign")
SMALL = """
[pack]
chemistry = "lipo"
cells = 3
cell_mah = 300.0
cutoff_cell_v = 3.3
resistance_mohm_ah = 8.0
cooling_s = 300.0
[gauge]
device = "small"
[[phase]]
name = "idle"
duration_s = 5.0
power_w = 2.0
armed = false
[[phase]]
name = "hover"
duration_s = {hover_s}
power_w = 70.0
gust_frac = 0.1
[[phase]]
name = "stand"
duration_s = 5.0
power_w = 2.0
armed = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two flights of a small pack: until it is empty, and a short one."""
    path = tmp_path_factory.mktemp("campaign")
    (path / "small.toml").write_text(SMALL.format(hover_s=900.0))
    (path / "short.toml").write_text(SMALL.format(hover_s=20.0))
    return path


@pytest.fixture(scope="module")
def row(folder: Path) -> FlightOutcome:
    """Outcome of the small pack's first seed."""
    return fly(read_campaign(str(folder / "small.toml"), (), None), 1)


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def flown(*argv: object) -> Done:
    """Run the command in a process of its own, as it has child processes."""
    words = (*COMMAND, *map(str, argv))
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return Done(done.returncode, done.stdout, done.stderr)


# ---------------------------------------------------------------------- one flight


def test_an_outcome_is_that_of_the_world_without_a_gauge_on_the_bus(
    folder: Path, row: FlightOutcome
) -> None:
    world, lowest_v, hottest_degc = World(load_scenario(str(folder / "small.toml")), 1), 9.0, 0.0
    while world.truth().ended_s is None:
        world.advance(world.t_s + 0.1)
        lowest_v = min(lowest_v, *world.truth().cells_v)
        hottest_degc = max(hottest_degc, world.truth().temperature_degc)
    assert row.outcome == "ended"
    assert row.takeoff_s == 5.0
    assert row.pack_end_s == world.truth().ended_s == pytest.approx(row.flown_s)
    assert row.lowest_cell_v == lowest_v
    assert row.hottest_cell_degc == hottest_degc
    assert row.charge_left_pct == 100.0 * world.truth().soc_frac


def test_the_estimate_is_compared_with_the_true_end(folder: Path, row: FlightOutcome) -> None:
    path = str(folder / "small.toml")
    with ExitStack() as stack:
        reports = list(Simulation(SimOptions(path, 1, None, (), row.flown_s), stack).reports())
    estimates = [x.estimate for x in reports if x.t_s >= 65.0 and x.t_s % 1.0 == 0.0]
    truths = [(row.pack_end_s or 0.0) - x.t_s for x in estimates]
    world = World(load_scenario(path))
    world.advance(world.duration_s)
    ended_s = world.truth().ended_s
    assert ended_s is not None
    for index in (0, len(estimates) // 2):
        assert truths[index] == pytest.approx(ended_s - estimates[index].t_s)
    errors, held = [], []
    for estimate, true_s in zip(estimates, truths, strict=True):
        assert estimate.remaining_s is not None
        assert estimate.remaining_low_s is not None
        assert estimate.remaining_high_s is not None
        errors.append(abs(estimate.remaining_s - true_s))
        held.append(estimate.remaining_low_s <= true_s <= estimate.remaining_high_s)
    assert len(estimates) > 50
    assert row.time_left_error_s == pytest.approx(median(errors))
    assert row.time_left_inside_pct == pytest.approx(100.0 * sum(held) / len(held))


def test_alarms_of_the_end_are_timed_before_it_and_others_are_not(row: FlightOutcome) -> None:
    kinds = every_limit()
    ends = {"lowest_cell_v", "resting_cell_v", "voltage_v", "soc_pct", "remaining_s"}
    of_end = {x: t for x, t in row.alarms.items() if kinds[x].quantity in ends}
    assert "current_60s" in row.alarms
    assert row.warning_before_end_s == (row.pack_end_s or 0.0) - min(of_end.values())
    critical = [t_s for alarm, t_s in of_end.items() if kinds[alarm].severity.label == "critical"]
    assert row.critical_before_end_s == (row.pack_end_s or 0.0) - min(critical)
    assert row.false_alarms == []


def test_a_flight_lands_or_is_interrupted(folder: Path) -> None:
    landed = fly(read_campaign(str(folder / "short.toml"), (), None), 1)
    assert (landed.outcome, landed.pack_end_s) == ("landed", None)
    assert landed.flown_s == pytest.approx(24.9)
    assert landed.time_left_error_s is None
    interrupted = fly(read_campaign(str(folder / "short.toml"), (), 10.0), 1)
    assert (interrupted.outcome, interrupted.flown_s) == ("flying", 10.0)


def test_a_pack_with_a_silent_gauge_is_flown_to_its_end_without_a_warning_of_it(
    folder: Path, row: FlightOutcome
) -> None:
    silent = fly(read_campaign(str(folder / "small.toml"), ("nack@0", "unplug@10"), None), 1)
    assert silent.pack_end_s == row.pack_end_s
    assert silent.alarms["silent"] == pytest.approx(13.0, abs=0.2)
    assert silent.false_alarms == []


def truth_of(cell_v: float, charge_frac: float, degc: float) -> GroundTruth:
    cells = (cell_v, cell_v + 0.05)
    return replace(
        World(load_scenario("hover")).truth(),
        cells_v=cells,
        charge_frac=(charge_frac,),
        soc_frac=charge_frac,
        temperature_degc=degc,
    )


@pytest.mark.parametrize(
    ("alarm", "cell_v", "charge_frac", "degc", "far"),
    [
        ("charge_low", 3.7, 0.5, 25.0, True),
        ("time_critical", 3.7, 0.5, 25.0, True),
        ("hot", 3.7, 0.5, 25.0, True),
        ("cell_low", 3.61, 0.26, 44.0, True),
        ("cell_sag", 3.59, 0.26, 44.0, False),  # 0.1 V from 3.5 V
        ("cell_low", 3.61, 0.24, 44.0, False),  # 10 % from 15 %
        ("cell_low", 3.61, 0.26, 46.0, False),  # 5 K from 50 degC
        ("cold", 3.61, 0.26, 4.0, False),  # 5 K from 0 degC
        ("silent", 3.7, 0.5, 25.0, False),
        ("current_2s", 3.7, 0.5, 25.0, False),
    ],
)
def test_an_alarm_is_false_when_the_truth_is_far_from_every_limit(
    alarm: str, cell_v: float, charge_frac: float, degc: float, *, far: bool
) -> None:
    pack_data = PackData(LIPO, cells=2, capacity_mah=1000.0)
    assert _is_far(alarm, pack_data, truth_of(cell_v, charge_frac, degc)) is far


def test_another_version_is_rejected(folder: Path) -> None:
    campaign = read_campaign(str(folder / "small.toml"), (), None)
    other = Campaign(campaign.scenario, campaign.toml, (), None, "0.0.0")
    with pytest.raises(ConfigError, match=r"dronebms of the campaign, 0\.0\.0"):
        fly(other, 1)


# ---------------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("runs", "of", "low", "high"),
    [
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_proportions_have_the_published_wilson_intervals(
    runs: int, of: int, low: float, high: float
) -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3."""
    line = proportion("x", [True] * runs + [False] * (of - runs))
    assert line.value == pytest.approx(100.0 * runs / of)
    assert line.low == pytest.approx(low, abs=0.005)
    assert line.high == pytest.approx(high, abs=0.005)
    assert proportion("none", []).value is None


def test_the_interval_of_a_median_has_a_coverage_of_at_least_95_percent() -> None:
    for count in range(1, 400):
        line = median_of("x", [*map(float, range(count, 0, -1)), None])
        assert line.runs == count
        assert line.value == (count + 1) / 2
        if line.low is None:
            assert count < 6  # 2 / 2**5 is more than 5 %
            continue
        rank = round(line.low)  # the values are their ranks
        assert line.high == count + 1 - rank
        missed = 2 * sum(math.comb(count, k) for k in range(rank)) / 2**count
        wider = 2 * sum(math.comb(count, k) for k in range(rank + 1)) / 2**count
        assert missed <= 0.05 < wider + 0.005


def test_a_late_warning_is_a_missed_one() -> None:
    rows = [
        FlightOutcome(1, "ended", warning_before_end_s=61.0),
        FlightOutcome(2, "ended", warning_before_end_s=59.0),
        FlightOutcome(3, "ended"),
        FlightOutcome(4, "landed", alarms={"hot": 3.0}, false_alarms=["hot"]),
    ]
    lines = {line.name: line for line in summary(rows)}
    assert lines["missed_alarm"].runs == 3
    assert lines["missed_alarm"].value == pytest.approx(200 / 3)
    assert lines["ended"].value == 75.0
    assert lines["false_alarm"].value == lines["alarm_hot"].value == 25.0
    assert lines["warning_before_end_s"].runs == 2
    assert lines["time_left_error_s"].value is None
    assert summary(rows) == summary(rows[::-1])
    drawn = text_table(summary(rows)).splitlines()
    assert "missed alarm                   3        67 %          21 - 94                -" in drawn
    assert "warning before end             2        60 s                -          59 - 61" in drawn
    assert "time left error                0         - s                -                -" in drawn


# ---------------------------------------------------------------------- continuing


def at_once(scenario: Path, runs: int) -> list[dict[str, object]]:
    """Table of seeds that are flown in this process, one after the other."""
    campaign = read_campaign(str(scenario), (), None)
    rows = [
        OUTCOME_JSON.validate_json(OUTCOME_JSON.dump_json(fly(campaign, seed)))
        for seed in range(1, runs + 1)
    ]
    return [asdict(line) for line in summary(rows)]


@pytest.mark.slow
def test_a_campaign_continues_with_the_missing_seeds_and_jobs_change_nothing(folder: Path) -> None:
    scenario, out = folder / "short.toml", folder / "going.jsonl"
    first = flown(scenario, "--runs", 2, "--jobs", 1, "--out", out)
    assert first.code == 0
    assert first.err.startswith(f"dronebms: {out}: 0 of 2 flights found\n")
    assert "2 flights, 0.01 h, in " in first.err
    begun = out.read_bytes()
    out.write_bytes(begun + b'{"seed":3,"outc')
    second = flown(scenario, "--runs", 4, "--jobs", 2, "--out", out, "--json")
    assert second.err.startswith(f"dronebms: {out}: the last line is incomplete and is dropped\n")
    assert "2 of 4 flights found" in second.err
    assert out.read_bytes().startswith(begun)
    rows = [json.loads(line) for line in out.read_text().splitlines()[1:]]
    assert sorted(row["seed"] for row in rows) == [1, 2, 3, 4]
    printed = json.loads(second.out)
    assert printed["table"] == at_once(scenario, 4)
    assert (printed["scenario"], printed["seed"], printed["runs"]) == ("short", 1, 4)
    assert {"name": "landed", "runs": 4, "value": 100.0}.items() <= printed["table"][1].items()


def test_a_results_file_beyond_its_bound_is_rejected(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dronebms.simulation.results_file._MOST_BYTES", 99)
    (folder / "long.jsonl").write_bytes(b"x" * 100)
    out = str(folder / "long.jsonl")
    assert main(["campaign", str(folder / "short.toml"), "--runs", "1", "--out", out]) == 2
    assert capsys.readouterr().err == f"dronebms: {out} cannot be used: more than 99 bytes\n"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
@pytest.mark.parametrize("there", [False, True])
def test_a_results_file_without_permission_is_rejected_before_the_first_flight(
    folder: Path, tmp_path: Path, *, there: bool
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    out = closed / "x.jsonl"
    if there:
        out.touch(0o444)
    closed.chmod(0o555)
    # Without capabilities root has the permissions of an owner.
    no_root = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    done = subprocess.run(  # noqa: S603 - our own command
        [*no_root, *COMMAND, str(folder / "short.toml"), "--runs", "1", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    closed.chmod(0o755)
    assert done.returncode == 2
    assert done.stderr == f"dronebms: {out} cannot be used: Permission denied\n"


def test_a_results_file_that_is_a_device_is_rejected(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = ["campaign", str(folder / "short.toml"), "--runs", "1", "--out", "/dev/full"]
    assert main(campaign) == 2
    assert capsys.readouterr().err == "dronebms: /dev/full cannot be used: it is not a file\n"


def test_a_full_disk_is_no_usage_error_and_the_next_run_continues(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    short = Campaign("short", "", (), 5.0, __version__)
    rows = [FlightOutcome(seed, lowest_cell_v=3.5, hottest_cell_degc=30.0) for seed in (1, 2, 3)]
    ResultsFile(path, short, print).add(rows[0])
    with (
        files_limited_to(path.stat().st_size + 10),
        pytest.raises(OutputError, match=r"^\S+jsonl cannot be written: File too large$"),
    ):
        ResultsFile(path, short, print).add(rows[1])
    warnings: list[str] = []
    results = ResultsFile(path, short, warnings.append)
    assert warnings == [f"{path}: the last line is incomplete and is dropped"]
    results.add(rows[2])
    assert list(ResultsFile(path, short, print).rows) == [1, 3]


def test_files_of_other_campaigns_are_rejected_and_not_changed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "mine.jsonl"
    short = ["campaign", str(folder / "short.toml"), "--jobs", "1", "--runs", "1"]
    assert main([*short, "--out", str(out)]) == 0
    mine = out.read_bytes()
    capsys.readouterr()
    head = mine.splitlines(keepends=True)[0]
    for content, more in (
        (mine, ["--fault", "nack"]),
        (mine, ["--duration", "3"]),
        (mine.replace(b"300.0", b"301.0"), []),
        (b"t_s,voltage_v\n", []),
        (b"no end of line", []),
        (mine + b'{"seed": "two"}\n', []),
        (head + b"\xff\n", []),
        (mine + b"5\n", []),
    ):
        out.write_bytes(content)
        assert main([*short, "--out", str(out), *more]) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        assert sentence.startswith(f"dronebms: {out}")
        assert out.read_bytes() == content
    out.write_bytes(mine)
    assert main([*short, "--out", str(out)]) == 0
    out.write_bytes(b"")
    assert main([*short, "--out", str(out), "--json"]) == 0
    assert out.read_bytes().startswith(head)


def wait_for_lines(process: subprocess.Popen[str], path: Path, count: int) -> None:
    end_s = monotonic() + WAIT_S
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert monotonic() < end_s, f"{path} has no {count} lines in {WAIT_S} s"
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            pytest.fail(f"the process has ended: {process.communicate()}")


@pytest.mark.slow
def test_ctrl_c_keeps_the_outcomes_and_leaves_no_process_behind(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "interrupted.jsonl"
    words = (
        *COMMAND,
        str(folder / "small.toml"),
        "--runs",
        "500",
        "--jobs",
        "2",
        "--out",
        str(out),
    )
    with subprocess.Popen(  # noqa: S603 - our own command
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            wait_for_lines(process, out, 3)
        finally:  # else a failure would wait for all flights
            os.killpg(process.pid, signal.SIGINT)
        # Returns when the last child process has closed the pipes.
        out_text, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out_text) == (130, "")
    assert err.splitlines() == [f"dronebms: {out}: 0 of 500 flights found"]
    assert main(["campaign", str(folder / "small.toml"), "--runs", "1", "--out", str(out)]) == 0
    assert "1 of 1 flights found" in capsys.readouterr().err


# ---------------------------------------------------------------------- the cluster


def test_a_missing_extra_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "dronebms.simulation.dask_cluster", raising=False)
    out = folder / "nothing.jsonl"
    words = ("campaign", str(folder / "short.toml"), "--runs", "1", "--out", str(out))
    assert main([*words, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    command = f"needs distributed: {sys.executable} -m pip install 'distributed>="
    assert command in capsys.readouterr().err
    assert not out.exists()


@dataclass
class Cluster:
    """A Dask scheduler and its workers, over loopback."""

    address: str
    workers: Sequence[subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two workers; skips without Dask."""
    pytest.importorskip("distributed", reason="Dask is missing: pip install distributed")
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    here = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    worker = ("worker", address, *here, "--nthreads", "1", "--no-nanny", "--death-timeout", "60")
    lines = (("scheduler", "--port", str(port), *here), worker, worker)
    environment = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "error"}
    with ExitStack() as stack:
        started = []
        for line in lines:
            process = subprocess.Popen(  # noqa: S603 - Dask's own command
                (sys.executable, "-m", "dask", *line),
                cwd=tmp_path_factory.mktemp("dask"),
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
        yield Cluster(address, started[1:])


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_table(folder: Path, cluster: Cluster) -> None:
    scenario, out = folder / "small.toml", folder / "cluster.jsonl"
    words = (str(scenario), "--runs", "6", "--out", str(out), "--json")
    with subprocess.Popen(  # noqa: S603 - our own command
        (*COMMAND, *words, "--scheduler", cluster.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for_lines(process, out, 2)
        cluster.workers[0].kill()
        out_text, err = process.communicate(timeout=2 * WAIT_S)
    assert process.returncode == 0, err
    assert "6 flights" in err
    table = json.loads(out_text)["table"]
    assert table == at_once(scenario, 6)
    assert table[0]["value"] == 100.0


def test_a_missing_scheduler_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = pytest.importorskip("dronebms.simulation.dask_cluster", reason="Dask is missing")
    monkeypatch.setattr(fleet, "CONNECT_S", 0.3)
    with create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    out = folder / "nowhere.jsonl"
    words = ("campaign", str(folder / "short.toml"), "--runs", "1", "--out", str(out))
    assert main([*words, "--scheduler", address]) == 2
    assert f"the Dask cluster at {address} cannot be used" in capsys.readouterr().err
    assert not out.exists()
