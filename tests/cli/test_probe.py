# SPDX-License-Identifier: Apache-2.0
"""`dronebms probe`: exit codes, output, recordings, locks, scanning.

DRONEBMS_DRAW_SCREENS=1 draws the picture in tests/data/screens again; check it then.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from dronebms.cli.main import main
from dronebms.core.clock import VirtualClock
from dronebms.core.errors import RecordingError
from dronebms.probe.audit import AuditOptions, warnings_of
from dronebms.probe.place import Place
from dronebms.probe.prober import Prober
from dronebms.probe.readout import read_pack
from dronebms.probe.recording import MAGIC, read_recording
from dronebms.probe.scan import scan
from dronebms.probe.table import render
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import BusError, InUseError, NackError
from smartbattery.registers import ADDRESS
from tests.scripted import SELECTORS, ScriptedPack, seen_bq40

COMMAND = (sys.executable, "-m", "dronebms.cli", "probe")
SCREENS = Path(__file__).parents[1] / "data" / "screens"
ABSENT = f"/dev/i2c-{os.getpid()}"  # of this run alone, as a lock goes with it
KEYS = ["bus", "address", "gauge", "serial", "registers", "status", "warnings"]


@dataclass(frozen=True)
class Done:
    """Result of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """Runs `dronebms probe` in this process."""

    def probed(*argv: object) -> Done:
        capsys.readouterr()
        try:
            code = main(["probe", *map(str, argv)])
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    before = signal.getsignal(signal.SIGTERM)
    yield probed
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module", autouse=True)
def leave_no_lock() -> Iterator[None]:
    yield
    for folder in ("/run/lock", tempfile.gettempdir()):
        for path in Path(folder).glob(f"smartbattery-dev-{Path(ABSENT).name}-*.lock"):
            path.unlink()


def prober(bus: Bus, stack: ExitStack, path: str = "sim:pack") -> Prober:
    return Prober(Place(path), lambda _: bus, VirtualClock(), pytest.fail, stack)


# ---------------------------------------------------------------------- output


@pytest.mark.parametrize("scenario", ["survey", "bq40"])
def test_json_has_its_keys(run: Callable[..., Done], scenario: str) -> None:
    done = run("--bus", f"sim:{scenario}", "--json")
    assert (done.code, done.err) == (0, "")
    (line,) = done.out.splitlines()
    found = json.loads(line)
    assert list(found) == KEYS
    assert (found["bus"], found["address"]) == (f"sim:{scenario}", 11)
    assert isinstance(found["serial"], int)
    register = ["name", "command", "raw", "value", "unit", "supported"]
    assert {tuple(row) for row in found["registers"]} == {tuple(register)}
    assert {tuple(row) for row in found["status"]} == {("register", "bit", "name", "text")}
    assert all(isinstance(text, str) and text.endswith(".") for text in found["warnings"])


@pytest.mark.parametrize("scenario", ["survey", "bq40"])
def test_the_text_is_the_reviewed_one(scenario: str) -> None:
    found = read_pack(open_virtual(scenario, VirtualClock())[0], ADDRESS)
    console = Console(
        width=80, force_terminal=True, color_system=None, markup=False, highlight=False
    )
    warnings = warnings_of(found, AuditOptions(hover_a=35.0))
    now = render(found, f"sim:{scenario}", warnings, console) + "\n"
    path = SCREENS / f"probe_{scenario}_80.txt"
    if os.environ.get("DRONEBMS_DRAW_SCREENS"):
        path.write_text(now, encoding="utf-8")
    assert now == path.read_text(encoding="utf-8")
    assert max(map(len, now.splitlines())) <= 80
    assert now.isascii()


def test_in_a_pipe_a_warning_is_one_line_without_colour(run: Callable[..., Done]) -> None:
    done = run("--bus", "sim:survey", "--cells", 5)
    assert done.code == 0
    lines = done.out.splitlines()
    assert "! The gauge has 6 cells, --cells is 5." in lines
    assert any(line.startswith("0x09     Voltage ") and line.endswith(" V") for line in lines)
    assert "\x1b" not in done.out


def test_a_watch_prints_a_line_a_second_until_ctrl_c() -> None:
    watch = subprocess.Popen(  # noqa: S603 - our own command
        (*COMMAND, "--bus", "sim:survey", "--watch", "--json"), stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    readouts = [json.loads(watch.stdout.readline()) for _ in range(2)]
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=20)
    assert watch.returncode == 130
    assert [list(readout) for readout in readouts] == [KEYS, KEYS]


# ---------------------------------------------------------------------- exit codes


def test_a_tripped_pack_is_exit_code_1(run: Callable[..., Done], tmp_path: Path) -> None:
    pack = seen_bq40()
    pack.data[SELECTORS["SafetyStatus"]] = bytes.fromhex("01 00 00 00")
    path = tmp_path / "tripped.probe"
    with ExitStack() as stack:
        tripped = prober(pack, stack)
        tripped.record(path)
        tripped.read()
    done = run("--bus", path)
    assert done.code == 1
    assert "! SafetyStatus CUV: A cell is below its under-voltage limit;" in done.out


def named(word: str) -> str:
    """A word for the name of a test, equal in every process of a parallel run."""
    return "absent" if word == ABSENT else Path(word).name


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (("--bus", ABSENT), 1, f"{ABSENT} does not exist"),
        (("--bus", "sim:survey", "--address", "0x0c"), 1, "no pack at address 0x0c: "),
        (("--bus", "sim:survy"), 2, "did you mean survey?"),
        (("--bus", "sim:"), 2, "is not a scenario"),
        (("--bus", "nowhere"), 2, "nowhere: no such bus or file; expected /dev/i2c-N"),
        (("--bus", __file__), 2, "is no bus: expected /dev/i2c-N, sim:SCENARIO or a recording"),
        ((), 2, "--bus is missing; --scan lists the buses with a pack"),
        (
            ("--bus", "sim:survey", "--mux-channel", "1"),
            2,
            "--mux-address and --mux-channel need each other",
        ),
        (("--bus", "sim:survey", "--address", "0x78"), 2, "expected 0x03 to 0x77, not '0x78'"),
        (("--bus", "sim:survey", "--cells", "0"), 2, "expected 1 to 16, not '0'"),
        (("--bus", "sim:survey", "--cells", "six"), 2, "expected 1 to 16, not 'six'"),
        (("--bus", "sim:survey", "--hover-a", "-3"), 2, "expected a number above 0"),
        (("--bus", "sim:survey", "--gauge", "bq4050"), 2, "invalid choice: 'bq4050'"),
        (("--bus", "sim:survey", "--record", "no/such/folder"), 2, "cannot be written: No such"),
        (("--bus", "sim:survey", "--record", __file__), 2, "recordings are never overwritten"),
    ],
    ids=lambda value: " ".join(map(named, value)) if isinstance(value, tuple) else "",
)
def test_an_error_is_one_sentence(
    run: Callable[..., Done], argv: tuple[str, ...], code: int, sentence: str
) -> None:
    done = run(*argv)
    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert len(done.err.splitlines()) == 1


# ---------------------------------------------------------------------- recordings


@pytest.mark.parametrize("argv", [("--json",), ("--hover-a", "20")], ids=["json", "text"])
@pytest.mark.parametrize("scenario", ["survey", "bq40"])
def test_a_recording_gives_the_same_output(
    run: Callable[..., Done], tmp_path: Path, scenario: str, argv: tuple[str, ...]
) -> None:
    path = tmp_path / "pack.probe"
    live = run("--bus", f"sim:{scenario}", *argv, "--record", path)
    again = run("--bus", path, *argv)
    assert live.out
    assert again == live
    assert path.read_bytes().startswith(MAGIC)


def test_a_recording_of_several_readouts_is_played_to_its_end(tmp_path: Path) -> None:
    pack = ScriptedPack()
    with ExitStack() as stack:
        watched = prober(pack, stack)
        watched.record(tmp_path / "pack.probe")
        for charge in (60, 59, 58):
            pack.words[0x0D] = charge
            watched.read()
            assert watched.wait()
        played = prober(ScriptedPack(), stack, str(tmp_path / "pack.probe"))
        charges = [played.read().number("RelativeStateOfCharge")]
        while played.wait():
            charges.append(played.read().number("RelativeStateOfCharge"))
    assert charges == [60, 59, 58]
    assert played.place == Place("sim:pack")


def test_an_address_without_reply_is_recorded_too(tmp_path: Path) -> None:
    with ExitStack() as stack:
        silent = Prober(
            Place("sim:pack", 0x0C), lambda _: ScriptedPack(), VirtualClock(), pytest.fail, stack
        )
        silent.record(tmp_path / "silent.probe")
        with pytest.raises(BusError, match="no pack"):
            silent.read()
        with pytest.raises(BusError, match="no pack"):
            prober(ScriptedPack(), stack, str(tmp_path / "silent.probe")).read()


def test_an_incomplete_last_line_is_ignored_and_other_damage_is_an_error(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    path = tmp_path / "pack.probe"
    run("--bus", "sim:survey", "--record", path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'[11, "09", 3, "d0')
    assert run("--bus", path).code == 0
    lines = whole.splitlines(keepends=True)
    for damaged in ([*lines[:5], b"[11,\n", *lines[5:]], [*lines[:5], b'{"a": 1}\n'], lines[:1]):
        path.write_bytes(b"".join(damaged))
        with pytest.raises(RecordingError, match="damaged"):
            read_recording(path)
        assert run("--bus", path).code == 1


def test_a_recording_that_ends_early_is_no_pack(run: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "pack.probe"
    run("--bus", "sim:survey", "--record", path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:60]))
    done = run("--bus", path)
    assert (done.code, done.out) == (1, "")
    assert "the recording ends here" in done.err


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    script = 'ulimit -f 1 && exec "$0" "$@"'
    argv = ("sh", "-c", script, *COMMAND, "--bus", "sim:survey", "--record", tmp_path / "pack")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - our own command
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("pack cannot be written: File too large\n")
    assert len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------------- other programs


def test_a_gauge_in_use_is_waited_for_with_one_notice() -> None:
    notices: list[str] = []
    clock = VirtualClock()
    lock = GaugeLock(ABSENT, ADDRESS, "dronebms run")
    with ExitStack() as stack, pytest.raises(InUseError, match="in use by dronebms run"):
        Prober(Place(ABSENT), lambda _: ScriptedPack(), clock, notices.append, stack)
    assert 10.0 <= clock.now_s() < 11.0
    (sentence,) = notices
    assert sentence.endswith("waiting for up to 10 s")
    lock.close()
    with ExitStack() as stack:
        Prober(Place(ABSENT), lambda _: ScriptedPack(), clock, notices.append, stack).read()
        with pytest.raises(InUseError):
            GaugeLock(ABSENT, ADDRESS, "another")
    GaugeLock(ABSENT, ADDRESS, "another").close()
    assert len(notices) == 1


# ---------------------------------------------------------------------- scanning


@dataclass
class Board:
    """Multiplexers with a pack on some channels, or one pack in front of them."""

    packs: dict[tuple[int, int], ScriptedPack] = field(default_factory=dict)
    direct: ScriptedPack | None = None
    open: dict[int, int] = field(default_factory=dict)
    log: list[tuple[int, bytes, int]] = field(default_factory=list)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply as the board does."""
        self.log.append((address, tx, rx_len))
        if address in self.open:
            if tx:
                self.open[address] = tx[0]
            return bytes((self.open[address],) * rx_len)
        replies = [
            pack for (mux, channel), pack in self.packs.items() if self.open[mux] >> channel & 1
        ]
        replies += [] if self.direct is None else [self.direct]
        assert len(replies) < 2, "two packs answered at once"
        if not replies:
            raise NackError("no ACK")
        return replies[0].transfer(address, tx, rx_len)


def scanned(board: Bus, *, with_mux: bool) -> list[str]:
    rows = scan(["sim:board"], ADDRESS, lambda _: board, pytest.fail, with_mux=with_mux)
    return [f"{place}: {what}" for place, what in rows]


def test_a_scan_writes_only_to_multiplexers_and_only_if_allowed() -> None:
    board = Board(direct=ScriptedPack(), open={0x70: 0})
    assert scanned(board, with_mux=False) == ["sim:board address 0x0b: 15.200 V"]
    assert {(address, len(tx)) for address, tx, _ in board.log} == {(ADDRESS, 1)}


def test_packs_behind_multiplexers_are_found_and_the_channels_restored() -> None:
    packs = {(0x70, 0): ScriptedPack(), (0x70, 7): ScriptedPack(), (0x72, 7): ScriptedPack()}
    board = Board(packs, open={0x70: 0b1, 0x72: 0})
    assert scanned(board, with_mux=True) == [
        f"sim:board address 0x0b, multiplexer {mux:#x} channel {channel}: 15.200 V"
        for mux, channel in packs
    ]
    assert board.open == {0x70: 0b1, 0x72: 0}
    addresses = {address for address, _, _ in board.log}
    assert addresses == {*range(0x70, 0x78), ADDRESS}
    written = {address for address, tx, rx_len in board.log if tx and not rx_len}
    assert written == {0x70, 0x72}


def test_a_pack_in_front_of_a_multiplexer_is_found_once() -> None:
    board = Board(direct=ScriptedPack(), open={0x70: 0b10})
    assert scanned(board, with_mux=True) == ["sim:board address 0x0b: 15.200 V"]
    assert board.open == {0x70: 0b10}


def test_all_zeros_and_all_ones_are_no_pack() -> None:
    for raw in (0x0000, 0xFFFF):
        assert scanned(ScriptedPack({0x09: raw}, has_pec=False), with_mux=False) == []


def test_a_scan_reports_failed_buses_and_packs_in_use() -> None:
    notices: list[str] = []
    lock = GaugeLock(ABSENT, ADDRESS, "dronebms run")

    def opened(path: str) -> Bus:
        if path == "broken":
            raise BusError("broken is broken")
        return ScriptedPack()

    rows = list(scan(["broken", ABSENT], ADDRESS, opened, notices.append, with_mux=False))
    assert notices == ["broken is broken"]
    assert [(place.bus, "in use by dronebms run" in what) for place, what in rows] == [
        (ABSENT, True)
    ]
    lock.close()


def test_a_scan_from_the_command_line(run: Callable[..., Done]) -> None:
    found = run("--scan", "--bus", "sim:survey")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("sim:survey address 0x0b: 25.")
    row = json.loads(run("--scan", "--bus", "sim:survey", "--json").out)
    assert (row["bus"], row["address"], row["channel"]) == ("sim:survey", 11, None)
    nothing = run("--scan", "--bus", "sim:survey", "--address", "0x0c")
    assert (nothing.code, nothing.out) == (1, "")
    assert nothing.err == "dronebms: no pack at address 0x0c of sim:survey\n"


def test_a_closed_pipe_ends_the_watch_silently() -> None:
    probing = subprocess.Popen(  # noqa: S603 - our own command
        (*COMMAND, "--bus", "sim:survey", "--watch", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert probing.stdout is not None
    assert probing.stderr is not None
    with suppress(OSError):
        probing.stdout.readline()
        probing.stdout.close()
    assert probing.stderr.read() == b""
    probing.stderr.close()
    assert probing.wait(20) == 0
