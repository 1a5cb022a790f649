# SPDX-License-Identifier: Apache-2.0
"""`dronebms init`: what is found, what is asked, and that nothing is written before the end."""

import argparse
import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tomllib
import tty
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.cli.init import VIRTUAL, configuration
from dronebms.cli.machine_search import Found, FoundAutopilot, search
from dronebms.cli.main import main
from dronebms.core.clock import SystemClock
from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import validated
from dronebms.probe.place import Place
from dronebms.service.config import Config
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BusError

COMMAND = (sys.executable, "-m", "dronebms.cli", "init")
FOUND = "udpin:0.0.0.0:14550"
_LONGEST_S = 60.0  # a loaded machine takes long to start a program
PACK = (Place("/dev/i2c-1"), "25.1 V")
AUTOPILOT = FoundAutopilot("serial:/dev/ttyAMA0:57600", "px4", 1, (2,))


def options(**given: object) -> argparse.Namespace:
    names = ("bus", "cells", "capacity_mah", "chemistry", "url", "vehicle_name")
    return argparse.Namespace(**{**dict.fromkeys(names), "defaults": True, **given})


def written(found: Found, **given: object) -> Config:
    text = configuration(found, options(**given), Path("x.toml"), is_root=True)
    assert len(text.splitlines()) <= 30
    assert max(map(len, text.splitlines())) <= 100
    return validated(Config, text, "x.toml")


# ---------------------------------------------------------------------- the file


def test_without_anything_the_pack_is_virtual_and_the_link_local() -> None:
    config = written(Found(ports=("/dev/ttyAMA0",)))
    assert [battery.bus for battery in config.battery] == [VIRTUAL]
    assert config.vehicle_link.url == "udpout:127.0.0.1:14550"
    assert config.status is not None
    assert config.state is not None
    assert (config.status.socket, config.state.dir) == (
        "/run/dronebms/status.sock",
        "/var/lib/dronebms",
    )


def test_a_user_gets_folders_of_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/pilot")
    text = configuration(Found(), options(), Path("x.toml"), is_root=False)
    config = validated(Config, text, "x.toml")
    assert config.state is not None
    assert config.state.dir == "/home/pilot/.local/state/dronebms"


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_a_user_without_a_home_is_one_sentence_before_the_search(
    home: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in a container with a user id that nothing knows."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(os, "getuid", lambda: 12345)  # is in no list of users
    monkeypatch.setattr("dronebms.cli.init.search", lambda *_: pytest.fail("searched"))
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    assert main(["init", "--defaults", "-o", str(tmp_path / "x.toml")]) == 2
    sentence = "dronebms: this user has no home folder, for state and recordings: set HOME\n"
    assert capsys.readouterr().err == sentence
    assert list(tmp_path.iterdir()) == []


def test_packs_and_the_autopilot_that_were_found_are_configured() -> None:
    second = Place("/dev/i2c-2"), "25.0 V"
    config = written(Found((PACK, second), ("/dev/ttyAMA0",), (), AUTOPILOT))
    assert [battery.bus for battery in config.battery] == ["/dev/i2c-1", "/dev/i2c-2"]
    assert config.vehicle_link.url == AUTOPILOT.url


def test_mavlink_is_never_sent_to_a_port_on_which_no_autopilot_was_received() -> None:
    (link,) = written(Found((PACK,), ("/dev/ttyS3",))).mavlink
    assert link.url == "udpout:127.0.0.1:14550"


def test_an_option_answers_for_what_was_found() -> None:
    found = Found((PACK,), ("/dev/ttyAMA0",), (), AUTOPILOT)
    config = written(
        found, bus="mavlink:0", cells="6", capacity_mah="5000", chemistry="li-ion",
        url="tcp:10.0.0.1:5760", vehicle_name="5",
    )  # fmt: skip
    (battery,) = config.battery
    assert (battery.bus, battery.cells, battery.capacity_mah) == ("mavlink:0", 6, 5000.0)
    assert battery.chemistry == "li-ion"
    assert (config.vehicle_link.url, config.vehicle.name) == ("tcp:10.0.0.1:5760", "5")


def test_a_pack_without_a_gauge_is_not_promised_the_values_of_one() -> None:
    found = Found(autopilot=AUTOPILOT)
    given = options(bus="mavlink:0", cells="6")
    text = configuration(found, given, Path("x.toml"), is_root=True)
    assert "gauge" not in text
    assert "else the gauge's" in configuration(
        Found((PACK,)), options(), Path("x.toml"), is_root=True
    )


def test_a_virtual_pack_is_never_configured_for_a_vehicle_by_itself() -> None:
    with pytest.raises(ConfigError, match="no pack was found for the autopilot"):
        written(Found(autopilot=AUTOPILOT))
    assert (
        written(Found(autopilot=AUTOPILOT), bus=VIRTUAL).vehicle_link.url
        == "udpout:127.0.0.1:14550"
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"bus": "i2c-1"}, "battery.1.bus: expected a device"),
        ({"bus": "mavlink:0"}, "expected cells in addition to a monitor"),
        ({"bus": "mavlink:0", "cells": "six"}, "battery.1.cells: expected a valid integer"),
        (
            {"bus": "mavlink:0", "cells": "6", "capacity_mah": "5"},
            r"in ampere-hours\? then write 5000",
        ),
        ({"url": "/dev/ttyAMA0"}, "did you mean serial:/dev/ttyAMA0"),
    ],
)
def test_an_option_that_run_refuses_is_refused(given: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        written(Found(), **given)


@pytest.mark.parametrize("text", ['a "b" \\ c', "\u00e4\U0001f681 = 1", "x\n[[action]]"])
def test_a_text_of_the_user_stays_one_value(text: str) -> None:
    try:
        config = written(Found(), vehicle_name=text)
    except ConfigError as error:
        assert "without control characters" in str(error)  # noqa: PT017 - either of the two
    else:
        assert config.vehicle.name == text
        assert config.action == []


# ---------------------------------------------------------------------- the search


class Watched:
    """A virtual bus that notes what is written to it."""

    def __init__(self) -> None:
        self.bus = open_virtual("survey", SystemClock())[0]
        self.written: list[bytes] = []

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Note and pass on."""
        self.written.append(tx)
        return self.bus.transfer(address, tx, rx_len)


def test_a_pack_is_found_by_reading_alone() -> None:
    watched = Watched()

    def open_bus(name: str) -> Bus:
        if name == "sim:broken":
            raise BusError("no such adapter")
        return watched

    found = search(SystemClock(), open_bus, ["sim:broken", "sim:survey"], (), ())
    ((place, text),) = found.packs
    assert (place.bus, place.address) == ("sim:survey", 0x0B)
    assert text.endswith(" V")
    assert {len(tx) for tx in watched.written} == {1}  # a command code, no data
    assert next(found.lines()) == f"packs: sim:survey {text}"


def frames(system: int, autopilot: int) -> bytes:
    sender = mavlink.MAVLink(None, system, 1)
    heartbeat = mavlink.MAVLink_heartbeat_message(2, autopilot, 0, 0, 3, 3)
    battery = mavlink.MAVLink_battery_status_message(
        3, 0, 0, 32767, [25000] + [65535] * 9, 100, 0, 0, 90
    )
    return bytes(heartbeat.pack(sender) + battery.pack(sender))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def ended() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def no_bus(name: str) -> Bus:
    raise BusError(name)


def test_an_autopilot_on_udp_is_found_with_its_monitors_and_gets_nothing(ended: Event) -> None:
    port = free_port()
    vehicle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    vehicle.bind(("127.0.0.1", 0))

    def fly() -> None:
        while not ended.wait(0.1):
            vehicle.sendto(frames(7, mavlink.MAV_AUTOPILOT_PX4), ("127.0.0.1", port))

    sending = Thread(target=fly)
    sending.start()
    url = f"udpin:127.0.0.1:{port}"
    found = search(SystemClock(), no_bus, (), (), [f"udpin:127.0.0.1:{free_port()}", url])
    ended.set()
    sending.join()
    assert found.autopilot == FoundAutopilot(url, "px4", 7, (3,))
    vehicle.settimeout(0)
    with pytest.raises(BlockingIOError):
        vehicle.recv(100)
    vehicle.close()


def test_an_autopilot_on_a_serial_port_is_found_and_gets_nothing(ended: Event) -> None:
    ours, theirs = pty.openpty()
    port = os.ttyname(theirs)
    os.set_blocking(ours, False)

    def fly() -> None:
        while not ended.wait(0.1):
            try:
                os.write(ours, frames(1, mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA))
            except BlockingIOError:
                pass  # until the port is read

    tty.setraw(theirs)  # else the terminal echoes what comes before the port is opened
    os.close(theirs)
    sending = Thread(target=fly)
    sending.start()
    found = search(SystemClock(), no_bus, (), (port,), ())
    ended.set()
    sending.join()
    assert found.ports == (port,)
    assert found.autopilot == FoundAutopilot(f"serial:{port}:921600", "ardupilot", 1, (3,))
    with pytest.raises((BlockingIOError, OSError)):
        os.read(ours, 100)
    os.close(ours)


def test_a_port_that_another_program_uses_is_left_alone(ended: Event) -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    port = os.ttyname(theirs)
    code = (
        f"import sys; file = open({port!r}, 'rb', buffering=0); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.write(ours, frames(1, mavlink.MAV_AUTOPILOT_PX4))
        found = search(SystemClock(), no_bus, (), (port,), ())
        assert found.autopilot is None
        os.set_blocking(theirs, False)
        assert b"\xfd" in os.read(theirs, 1000)  # the bytes are still there
    assert not ended.is_set()
    os.close(ours)
    os.close(theirs)


# ---------------------------------------------------------------------- the command


def test_defaults_write_a_file_that_check_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.toml"
    words = ["init", "--defaults", "--bus", "sim:hover", "-o", str(path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "ok       battery 1: sim:hover address 0x0b" in out
    assert f"start it: dronebms run -c {path}" in out
    text = path.read_text()
    assert tomllib.loads(text)["battery"] == [{"bus": "sim:hover"}]
    assert main(["check", "-c", str(path)]) in {0, 1}  # 1: without root, or another run
    capsys.readouterr()
    path.write_text("mine")
    assert main(words) == 2
    assert capsys.readouterr().err == f"dronebms: {path} exists already; --force replaces it\n"
    assert path.read_text() == "mine"
    assert main([*words, "--force"]) == 0
    assert path.read_text() == text


@pytest.mark.parametrize("bus", [None, "sim:hover"])
@pytest.mark.parametrize(
    ("name", "value"), [("cells", "6"), ("capacity_mah", "16000"), ("chemistry", "lihv")]
)
def test_data_that_a_virtual_pack_would_drop_are_refused(
    bus: str | None, name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=rf"--{name.replace('_', '-')}: .*name the pack by --bus"):
        written(Found(), bus=bus, **{name: value})
    (battery,) = written(Found(), bus="/dev/i2c-1", **{name: value}).battery
    assert str(getattr(battery, name)).removesuffix(".0") == value


@pytest.mark.parametrize("command", ["init", "sim --record", "probe --bus sim:hover --record"])
def test_a_file_that_is_no_stream_is_not_named_by_a_hyphen(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), *(["-o"] if command == "init" else []), "-"])
    assert ended.value.code == 2
    assert "expected a file name, not '-'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_the_questions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    done = subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, "-o", str(path)], input="\n\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dronebms: the questions need a terminal; --defaults asks none\n"
    assert not path.exists()


class Terminal:
    """`dronebms init` on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.shown = ""
        self._next = 0  # of `shown`: what comes after the last text that was awaited

    def wait_for(self, text: str) -> None:
        """Read until a text is shown after the last one."""
        while (at := self.shown.find(text, self._next)) < 0:
            readable, _, _ = select.select([self._ours], [], [], _LONGEST_S)
            assert readable, self.shown
            self.shown += os.read(self._ours, 4096).decode()
        self._next = at + len(text)

    def answer(self, question: str, line: str) -> None:
        """Wait for a question, then type a line."""
        self.wait_for(question)
        os.write(self._ours, f"{line}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C, again if it came between a prompt and its read, where nothing notices it."""
        for _ in range(10):
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
                return

    def end(self) -> int:
        """Read the rest; the exit code."""
        while select.select([self._ours], [], [], _LONGEST_S)[0]:
            try:
                chunk = os.read(self._ours, 4096)
            except OSError:  # the process has ended
                break
            self.shown += chunk.decode()
        os.close(self._ours)
        return self.process.wait(timeout=10)


def test_the_questions_are_asked_until_the_answers_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    terminal = Terminal("-o", str(path))
    terminal.answer("Pack: ", "i2c-1")
    terminal.wait_for("expected a device")
    terminal.answer("Pack: ", "mavlink:0")
    terminal.answer("Cells in series: ", "six")
    terminal.wait_for("expected a valid integer")
    terminal.answer("Cells in series: ", "6")
    terminal.answer("Rated capacity, mAh [", "5")
    terminal.wait_for("then write 5000")
    terminal.answer("Rated capacity, mAh [", "5000")
    terminal.answer("Chemistry: lipo, lihv, li-ion, lifepo4 [lipo]: ", "")
    terminal.answer("Link to the flight controller [", "udpout:127.0.0.1:14599")
    terminal.answer("Name of the vehicle [", "lifter 2")
    assert terminal.end() == 0
    assert "mavlink: udpout:127.0.0.1:14599" in terminal.shown
    config = validated(Config, path.read_text(), "x.toml")
    (battery,) = config.battery
    assert (battery.bus, battery.cells, battery.capacity_mah) == ("mavlink:0", 6, 5000.0)
    assert battery.chemistry == "lipo"
    assert (config.vehicle_link.url, config.vehicle.name) == ("udpout:127.0.0.1:14599", "lifter 2")


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x04", 2)])
def test_ctrl_c_and_the_end_of_the_input_leave_nothing(
    key: bytes, code: int, tmp_path: Path
) -> None:
    terminal = Terminal("-o", str(tmp_path / "x.toml"), "--bus", "sim:hover")
    terminal.wait_for("Link to the flight controller [")
    if key == b"\x03":  # the terminal of the test is not the controlling one
        terminal.interrupt()
    else:
        os.write(terminal._ours, key)
    assert terminal.end() == code
    assert "Traceback" not in terminal.shown
    assert list(tmp_path.iterdir()) == []
