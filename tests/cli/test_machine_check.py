# SPDX-License-Identifier: Apache-2.0
"""The look at the machine: what will not work now is named, and nothing is opened or locked."""

import fcntl
import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import smartbattery.device_lock
from dronebms import telemetry
from dronebms.cli import devices, machine_check
from dronebms.cli.machine_check import machine_findings
from dronebms.cli.main import main
from dronebms.core.clock import SystemClock
from dronebms.core.errors import DroneBmsError
from dronebms.core.toml_schema import validated
from dronebms.service.config import Config
from dronebms.service.service import serve
from smartbattery.device_lock import GaugeLock, is_locked, lock_holder

VIRTUAL = '[[battery]]\nbus = "sim:hover"\n'
ROOT = os.geteuid() == 0


def found(text: str) -> list[str]:
    findings = machine_findings(validated(Config, text, "x.toml"), SystemClock())
    return [f"{one.subject}: {one.text}" for one in findings]


@pytest.fixture(autouse=True)
def own_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr(smartbattery.device_lock, "_FOLDER", tmp_path / "locks")


@pytest.fixture
def port() -> Iterator[str]:
    """A serial port: one end of a pseudo terminal."""
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_configuration_that_works_has_no_finding(tmp_path: Path) -> None:
    text = (
        f'{VIRTUAL}[state]\ndir = "{tmp_path}/a/b"\n[recording]\ndir = "{tmp_path}/r"\n'
        "max_mb = 40\n"
        f'[status]\nsocket = "{tmp_path}/run/s.sock"\n[charger]\ncommand = ["sh"]\n'
    )
    assert found(text) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locks"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[battery]]\nbus = "/dev/i2c-99"\n', "battery 1: /dev/i2c-99: no such file or directory"),
        ('[[battery]]\nbus = "/dev/shm"\n', "battery 1: /dev/shm is no device"),
        (
            '[[battery]]\nbus = "/dev/null"\naddress = 0x16\n',
            "battery 1: address 0x16 is the 8-bit form of 0x0b",
        ),
        (
            '[[battery]]\nbus = "/dev/null"\nrecovery = ["no-such-program"]\n',
            "battery 1: recovery: there is no program no-such-program",
        ),
        (
            f'{VIRTUAL}[mavlink]\nurl = "serial:/dev/ttyNONE:57600"\n',
            "mavlink: /dev/ttyNONE: no such file or directory",
        ),
        (
            f'{VIRTUAL}[mavlink]\nurl = "udpout:no-such-host.invalid:1"\n',
            "mavlink: host 'no-such-host.invalid' is unknown",
        ),
        (
            f'{VIRTUAL}[mavlink]\nurl = "tcp:127.0.0.1:1"\n',
            "mavlink: tcp:127.0.0.1:1: connection refused",
        ),
        (
            f'{VIRTUAL}[mavlink]\nurl = "udpin:192.0.2.1:14550"\n',
            "mavlink: udpin:192.0.2.1:14550: cannot assign requested address",
        ),
        (f'{VIRTUAL}[state]\ndir = "/proc/x"\n', "state: /proc/x cannot be made"),
        (f'{VIRTUAL}[recording]\ndir = "/proc/x"\n', "recording: /proc/x cannot be made"),
        (f'{VIRTUAL}[recording]\ndir = "/dev/null/x"\n', "recording: /dev/null is no folder"),
        (f'{VIRTUAL}[status]\nsocket = "/proc/x/s"\n', "status: /proc/x cannot be made"),
        (f'{VIRTUAL}[status]\nsocket = "/dev/null"\n', "status: /dev/null exists and is no socket"),
        (
            f'{VIRTUAL}[charger]\ncommand = ["no-such-program"]\n',
            "charger: there is no program no-such-program",
        ),
        (
            f'{VIRTUAL}[mqtt]\nhost = "127.0.0.1"\nca = "/none/ca.pem"\n',
            "mqtt: /none/ca.pem cannot be read",
        ),
    ],
)
def test_what_will_not_work_now_is_named(text: str, why: str) -> None:
    assert any(line.startswith(why) for line in found(text)), found(text)


def test_a_clock_that_is_not_set_is_named_where_its_date_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = f'{VIRTUAL}[state]\ndir = "{tmp_path}"\n'
    assert found(state) == []
    monkeypatch.setattr(time, "time", lambda: 40.0)
    config = validated(Config, state, "x.toml")
    (one,) = machine_findings(config, SystemClock())
    assert (one.subject, one.works) == ("state", True)  # a pack is guarded without a date, too
    assert "the clock of this computer is not set" in one.text
    assert found(VIRTUAL) == []


def test_ports_that_other_programs_use_are_named(port: str, tmp_path: Path) -> None:
    udp = f'{VIRTUAL}[mavlink]\nurl = "udpin:127.0.0.1:{{}}"\n'
    metrics = f"{VIRTUAL}[metrics]\nport = {{}}\n"
    serial = f'{VIRTUAL}[mavlink]\nurl = "serial:{port}:57600"\n'
    status = f'{VIRTUAL}[status]\nsocket = "{tmp_path}/s.sock"\n'
    with ExitStack() as stack:
        udp_holder = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp_holder.bind(("127.0.0.1", 0))
        (line,) = found(udp.format(udp_holder.getsockname()[1]))
        assert line.endswith("address already in use")
        tcp_holder = stack.enter_context(socket.socket())
        tcp_holder.bind(("127.0.0.1", 0))
        tcp_holder.listen()
        assert found(metrics.format(tcp_holder.getsockname()[1]))[0].endswith("already in use")
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(f"{tmp_path}/s.sock")
        unix.listen()
        assert found(status)[0].endswith("s.sock is in use by another dronebms run")
        assert found(serial) == []
        lock = os.open(port, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert found(serial) == [f"mavlink: {port} is in use by another program"]
        os.close(lock)


def test_the_holder_of_a_pack_or_of_the_state_is_named(tmp_path: Path) -> None:
    text = '[[battery]]\nbus = "/dev/null"\n'
    assert found(text) == []
    lock = GaugeLock("/dev/null", 0x0B, "dronebms probe")
    assert lock_holder("/dev/null", 0x0B) == f"dronebms probe (process {os.getpid()})"
    (line,) = found(text)
    assert line.endswith(f"0x0b is in use by dronebms probe (process {os.getpid()})")
    lock.close()
    assert lock_holder("/dev/null", 0x0B) is None
    assert lock_holder("/dev/null", 0x0C) is None
    kept = (tmp_path / "run.kept").open("w")
    with kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        assert is_locked(tmp_path / "run.kept")
        (line,) = found(f'{VIRTUAL}[state]\ndir = "{tmp_path}"\n')
    assert line == f"state: {tmp_path}/run.kept is in use by another dronebms run"
    assert not is_locked(tmp_path / "run.kept")


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"x" * 100, 0o600, "run.kept is damaged"),
        (b"", 0o622, "others could write run.kept"),
        (b"", 0o600, None),
    ],
)
def test_faults_of_earlier_runs_that_the_next_one_cannot_know_are_named(
    content: bytes, mode: int, reason: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "run.kept"
    path.write_bytes(content)
    path.chmod(mode)
    lines = found(f'[[battery]]\nbus = "sim:survey"\n[state]\ndir = "{tmp_path}"\n')
    text = f"state: earlier faults unknown: {reason}; the next run is no-go until it is restarted"
    assert lines == ([] if reason is None else [text])


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (b"x" * 100, 0o600, "signing is damaged"),
        (b"", 0o622, "others could write signing"),
        (b"", 0o600, None),
    ],
)
def test_times_of_signed_frames_that_the_next_run_does_not_use_are_named(
    content: bytes, mode: int, reason: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "signing"
    path.write_bytes(content)
    path.chmod(mode)
    (tmp_path / "key").write_text("correct horse")
    (tmp_path / "key").chmod(0o600)
    link = '[[mavlink]]\nurl = "udpout:127.0.0.1:14550"\n'
    signed = f'{link}signing_key = "{tmp_path}/key"\n'
    state = f'[state]\ndir = "{tmp_path}"\n'
    lines = found(f"{VIRTUAL}{signed}{state}")
    assert [line.partition(";")[0] for line in lines] == (
        [] if reason is None else [f"mavlink: signing times unknown: {reason}"]
    )
    assert found(f"{VIRTUAL}{link}{state}") == []
    assert found(f"{VIRTUAL}{signed}") == []


@pytest.mark.parametrize(
    ("name", "content", "mode", "reason"),
    [
        ("vehicle-3-1-limits.json", '{"MOT_BAT_CURR_MAX": 80}', 0o600, None),
        ("vehicle-3-1-limits.json", "{", 0o600, "is damaged"),
        ("vehicle-12-1-speeds.json", '{"MPC_XY_CRUISE": 5}', 0o600, "is damaged"),
        ("vehicle-3-1-limits-of-00ab.json", "", 0o600, "is damaged"),
        ("vehicle-3-1-limits.json", "{", 0o000, "cannot be read: no permission"),
        ("vehicle-3-1-limits.json", None, 0o700, "cannot be read: is a directory"),
    ],
)
def test_original_limits_that_the_next_run_cannot_read_are_named(
    name: str, content: str | None, mode: int, reason: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "state" / name
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_text(content)
    path.chmod(mode)
    if path.parent.stat().st_uid == 0:
        os.chown(path.parent, 1234, 1234)  # the user of the service
        os.chown(path, 1234, 1234)
    text = f'[[battery]]\nbus = "sim:survey"\n[state]\ndir = "{path.parent}"\n'
    findings = machine_findings(validated(Config, text, "x.toml"), SystemClock())
    assert [one.text.partition(";")[0] for one in findings] == (
        [] if reason is None else [f"original limits unknown: {name} {reason}"]
    )
    move = f"sudo mv --backup=numbered {path} {path}.aside"
    own = f"sudo chown --reference={path.parent} {path} && sudo chmod u+rw {path}"
    assert [one.mend for one in findings] == (
        [] if reason is None else [own if "permission" in reason else move]
    )


def test_the_name_of_a_holder_is_bounded_and_a_pipe_has_none(tmp_path: Path) -> None:
    lock = GaugeLock("/dev/null", 0x0B, "x" * 100_000, tmp_path)
    assert lock_holder("/dev/null", 0x0B, tmp_path) == "x" * 200
    lock.close()
    path = tmp_path / "smartbattery-dev-null-0c.lock"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.flock(pipe, fcntl.LOCK_EX)
    assert lock_holder("/dev/null", 0x0C, tmp_path) == "another program"
    os.close(pipe)


def test_a_read_only_file_system_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'{VIRTUAL}[state]\ndir = "{tmp_path}/disk/st"\n')
    (tmp_path / "disk").mkdir()
    shell = f'mount -t tmpfs -o ro none "{tmp_path}/disk" && exec "$@"'
    words = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell, "sh")
    command = (sys.executable, "-m", "dronebms.cli", "check", "-c", f"{tmp_path}/c.toml")
    done = subprocess.run((*words, *command), capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 1
    shown = " ".join(done.stdout.split())
    assert f"state: {tmp_path}/disk/st: read-only file system" in shown
    assert f"-> sudo mount -o remount,rw {tmp_path}/disk" in shown


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_permission_that_is_missing_names_the_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert found(f'{VIRTUAL}[state]\ndir = "{tmp_path}"\n') == [
        f"state: {tmp_path} cannot be written: no permission"
    ]


# ---------------------------------------------------------------------- check is run

REFUSED = [
    "",
    "bus = \n",
    '[[battery]]\nbus = "sim:hoover"\n',
    '[[battery]]\nbus = "i2c-1"\n',
    f'{VIRTUAL}[mavlink]\nurl = "/dev/ttyAMA0"\n',
    f'{VIRTUAL}[mavlink]\nurl = "udpout:a b:14550"\n',
    f'{VIRTUAL}[mavlink]\nsigning_key = "/none/key"\n',
    f'{VIRTUAL}[metrics]\n',
    f'{VIRTUAL}[mqtt]\nhost = "broker"\n',
    f'{VIRTUAL}[[limit]]\nid = "cell_critical"\ntrip = 3300\n',
    f'{VIRTUAL}[[limit]]\nid = "hot"\nclear = 90.0\n',
    f'{VIRTUAL}[[limit]]\nid = "cell_sag"\nseverity = ["critical"]\n',
    f'{VIRTUAL}chemistry = "lifepo4"\ncutoff_cell_v = 3.9\n',
    f'{VIRTUAL}[charger]\ntopic = "a/b"\n',
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_check_and_run_refuse_the_same_with_the_same_sentences(
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # As without the extras, whatever other tests have imported.
    for package in ("paho", "paho.mqtt", "paho.mqtt.client", "prometheus_client"):
        monkeypatch.setitem(sys.modules, package, None)
    for module in ("mqtt", "openmetrics"):
        monkeypatch.delitem(sys.modules, f"dronebms.telemetry.{module}", raising=False)
        monkeypatch.delattr(telemetry, module, raising=False)
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert main(["check", "-c", str(path)]) == 2
    refused = capsys.readouterr().err
    with ExitStack() as stack, pytest.raises(DroneBmsError) as caught:
        serve(path, stack)
    assert "".join(f"dronebms: {line}\n" for line in str(caught.value).splitlines()) == refused
    assert refused


def test_check_ends_with_1_for_what_will_not_work_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[[battery]]\nbus = "/dev/i2c-99"\n[mavlink]\nurl = "serial:/dev/ttyNONE"\n')
    assert main(["check", "-c", str(path)]) == 1
    out = capsys.readouterr().out
    text = out.replace("\n           ", " ")  # a long path folds the row
    rows = [line.split()[1:3] for line in text.splitlines() if line.startswith("fails ")]
    assert rows == [["battery", "1:"], ["mavlink:", "/dev/ttyNONE:"], [f"{path}:", "2"]]
    path.write_text(f'{VIRTUAL}[recording]\ndir = "{tmp_path}"\nmax_mb = 1e12\n')
    assert main(["check", "-c", str(path)]) == 0
    out = capsys.readouterr().out
    assert "warning  recording: " in out
    assert "\n         -> max_mb = " in out


# ---------------------------------------------------------------------- what mends it


def mends(text: str) -> list[str]:
    return [one.mend for one in machine_findings(validated(Config, text, "x.toml"), SystemClock())]


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ('[[battery]]\nbus = "/dev/null"\naddress = 0x16\n', "address = 0x0b"),
        (
            f'{VIRTUAL}[mavlink]\nurl = "udpin:192.0.2.1:14550"\n',
            'url = "udpin:0.0.0.0:14550"',
        ),
        (
            f'{VIRTUAL}[mavlink]\nurl = "tcp:127.0.0.1:1"\n',
            "start the program that listens at 127.0.0.1:1",
        ),
        (f'{VIRTUAL}[metrics]\naddress = "192.0.2.1"\n', 'address = "127.0.0.1"'),
        (f'{VIRTUAL}[charger]\ncommand = ["no-such"]\n', 'command = ["/path/to/program"]'),
        (f'{VIRTUAL}[mqtt]\nhost = "127.0.0.1"\nca = "/none"\n', "ls -l /none"),
        (f'{VIRTUAL}[mqtt]\nhost = "no-such.invalid"\n', "getent hosts no-such.invalid"),
        (f'{VIRTUAL}[state]\ndir = "~/bms"\n', 'dir = "/var/lib/dronebms"'),
        (f'{VIRTUAL}[recording]\nmax_mb = 50\ndir = "$HOME/bms"\n', 'dir = "/var/lib/dronebms"'),
        (f'{VIRTUAL}[status]\nsocket = "~/s"\n', 'socket = "/run/dronebms/status.sock"'),
    ],
)
def test_each_finding_has_the_line_that_mends_it(text: str, mend: str) -> None:
    assert mends(text) == [mend]


def test_an_adapter_or_a_port_that_is_present_is_the_mend_of_an_absent_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    i2c, serial = (
        '[[battery]]\nbus = "/dev/i2c-99"\n',
        f'{VIRTUAL}[mavlink]\nurl = "serial:/dev/ttyNONE"\n',
    )
    monkeypatch.setattr(machine_check, "i2c_adapters", lambda: ["/dev/i2c-1", "/dev/i2c-20"])
    monkeypatch.setattr(machine_check, "serial_ports", lambda: ["/dev/ttyAMA0"])
    assert mends(i2c) == ['bus = "/dev/i2c-1"']
    assert mends(serial) == ['url = "serial:/dev/ttyAMA0"']
    monkeypatch.setattr(machine_check, "i2c_adapters", list)
    monkeypatch.setattr(machine_check, "serial_ports", list)
    model = tmp_path / "model"
    monkeypatch.setattr(devices, "_MODEL", model)
    assert mends(i2c) == ["sudo modprobe i2c-dev"]
    assert mends(serial) == ["plug in the cable; ls /dev/serial/by-id"]
    model.write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    assert mends(i2c) == ["sudo raspi-config nonint do_i2c 0"]
    assert mends(serial) == ["sudo raspi-config nonint do_serial_hw 0 && sudo reboot"]


def test_the_program_that_holds_a_port_is_named_with_the_line_that_ends_it(port: str) -> None:
    code = (
        "import os, socket, sys, time\n"
        f"file = os.open({port!r}, os.O_RDWR | os.O_NOCTTY)\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 0))\n"
        "tcp = socket.socket(); tcp.bind(('127.0.0.1', 0)); tcp.listen()\n"
        "print(udp.getsockname()[1], tcp.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        udp, tcp = map(int, holder.stdout.readline().split())
        for text in (
            f'{VIRTUAL}[mavlink]\nurl = "serial:{port}:57600"\n',
            f'{VIRTUAL}[mavlink]\nurl = "udpin:127.0.0.1:{udp}"\n',
            f"{VIRTUAL}[metrics]\nport = {tcp}\n",
        ):
            (line,) = found(text)
            assert line.endswith(f"(process {holder.pid})")
            assert mends(text) == [f"sudo kill {holder.pid}"]


def test_a_service_that_would_come_back_is_disabled(port: str) -> None:
    code = (
        "import os, pathlib, sys\n"
        "pathlib.Path('/proc/self/comm').write_text('ModemManager')\n"
        f"file = os.open({port!r}, os.O_RDWR | os.O_NOCTTY)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        text = f'{VIRTUAL}[mavlink]\nurl = "serial:{port}:57600"\n'
        (line,) = found(text)
        assert f"ModemManager (process {holder.pid})" in line
        assert mends(text) == ["sudo systemctl disable --now ModemManager"]


def test_a_port_of_another_container_with_the_same_name_is_free(port: str) -> None:
    """Each container counts its pseudo-terminals from 0: equal names are other ports."""
    code = (
        "import os, sys\n"
        f"pairs = [os.openpty() for _ in range({port.removeprefix('/dev/pts/')} + 1)]\n"
        "print(os.ttyname(pairs[-1][1]), flush=True)\n"
        "sys.stdin.read()\n"
    )
    shell = (
        "mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts && "
        "mount --bind /dev/pts/ptmx /dev/ptmx"
    )
    words = (
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'{shell} && exec "$0" -c "$1"',
        sys.executable,
        code,
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as holder:
        assert holder.stdout is not None
        name = holder.stdout.readline().strip()
        if not name:
            pytest.skip("needs the right to mount a file system of pseudo-terminals")
        assert name == port
        assert found(f'{VIRTUAL}[mavlink]\nurl = "serial:{port}:57600"\n') == []


def test_a_port_is_the_same_behind_another_name(port: str, tmp_path: Path) -> None:
    other = tmp_path / "by-id"
    other.symlink_to(port)
    code = (
        f"import os, sys; os.open({port!r}, os.O_RDWR | os.O_NOCTTY)\n"
        "print(flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        (sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        (line,) = found(f'{VIRTUAL}[mavlink]\nurl = "serial:{other}:57600"\n')
        assert line.endswith(f"(process {holder.pid})")


# ---------------------------------------------------------------------- on a screen

EVERYTHING = (
    '[[battery]]\nbus = "/dev/i2c-99"\naddress = 0x16\n[[battery]]\nbus = "/dev/i2c-98"\n'
    '[vehicle]\nname = "lifter"\n[mavlink]\nurl = "serial:/dev/ttyNONE"\n[status]\n'
    '[state]\ndir = "/proc/x"\n[charger]\ncommand = ["no-such"]\n[[limit]]\nid = "hot"\n'
    'trip = 48.0\n[[action]]\non = "governor"\ndo = "reduce"\n[[action]]\non = "critical"\n'
    'do = "land"\n'
)


def test_the_result_fits_a_screen_and_no_finding_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(EVERYTHING)
    assert main(["check", "-c", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    findings = machine_findings(validated(Config, EVERYTHING, "x"), SystemClock())
    assert len(findings) == 6
    assert sum(line.startswith("fails ") for line in lines) == len(findings) + 1
    assert sum(line.startswith("         -> ") for line in lines) == len(findings) + 1
    assert len(lines) <= 24
    folded = [line for line in lines if str(tmp_path) not in line]
    assert max(map(len, folded)) <= 80
    assert main(["check", "-c", str(path), "--limits"]) == 1
    whole = capsys.readouterr().out.splitlines()
    assert len(whole) > 100
    assert {*lines} - {line for line in lines if line.startswith("note     more")} <= {*whole}


def test_a_terminal_has_colours_and_every_word_is_there_without_them(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'{VIRTUAL}[charger]\ncommand = ["no-such"]\n')
    words = [sys.executable, "-m", "dronebms.cli", "check", "-c", str(path)]

    def shown(**environment: str) -> str:
        ours, theirs = pty.openpty()
        plain = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        with subprocess.Popen(words, stdout=theirs, env=plain | environment) as running:  # noqa: S603 - ours
            os.close(theirs)
            text = b""
            while chunk := _read(ours):
                text += chunk
        os.close(ours)
        assert running.returncode == 1
        return text.decode()

    coloured, plain = shown(), shown(NO_COLOR="1")
    assert "\x1b[32mok " in coloured
    assert "\x1b[31mfails " in coloured
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def _read(file: int) -> bytes:
    try:
        return os.read(file, 65536)
    except OSError:  # the other end is closed
        return b""


def test_adapters_stand_in_the_order_of_their_numbers() -> None:
    paths = [Path(f"/dev/i2c-{number}") for number in (10, 2, 1)]
    assert devices._in_order(paths) == ["/dev/i2c-1", "/dev/i2c-2", "/dev/i2c-10"]
