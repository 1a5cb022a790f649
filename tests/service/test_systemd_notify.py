# SPDX-License-Identifier: Apache-2.0
"""The service under systemd: notifications, watchdog, and reloading of the configuration."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic

import pytest

from dronebms.core.toml_schema import validated
from dronebms.service.config import Config
from dronebms.service.config_reload import apply_reload
from tests.mavlink_bridge.loopback import WAIT_S

# A device of this process alone: tests that run at the same time do not wait for its lock.
BASE = f'[[battery]]\nbus = "sim:hover"\n[[battery]]\nbus = "/dev/i2c-none{os.getpid()}"\n'
LINK = '[mavlink]\nurl = "udpout:127.0.0.1:9"\n'
EARLY = '[[limit]]\nid = "cold"\ntrip = 24.0\nclear = 24.9\nhold_s = 0.0\nclear_s = 0.0\n'


@contextmanager
def manager(name: str) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        receiver.settimeout(0.2)
        yield receiver


@contextmanager
def service(path: Path, text: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    path.write_text(text)
    with (
        path.with_suffix(".log").open("w") as log,
        subprocess.Popen(  # noqa: S603 - our own command
            (sys.executable, "-m", "dronebms.cli", "run", "-c", str(path)),
            stderr=log,
            env=os.environ | environment,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def received(receiver: socket.socket, done: Callable[[list[str]], bool]) -> list[str]:
    """Datagrams received until a condition holds."""
    lines: list[str] = []
    end_s = monotonic() + WAIT_S
    while not done(lines):
        assert monotonic() < end_s, lines
        try:
            lines.append(receiver.recv(4096).decode())
        except TimeoutError:
            continue
    return lines


def logged(path: Path, text: str) -> str:
    """The log once it contains a text."""
    end_s = monotonic() + WAIT_S
    while text not in (log := path.with_suffix(".log").read_text()):
        assert monotonic() < end_s, log
        select.select([], [], [], 0.01)  # without the processor, which the service needs
    return log


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_manager_is_notified_of_readiness_watchdog_and_stop(tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "n") if kind == "path" else f"@dronebms-test-{os.getpid()}"
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "900000"}
    with (
        manager(name) as receiver,
        service(tmp_path / "c.toml", BASE + LINK, **environment) as process,
    ):
        lines = received(
            receiver,
            lambda lines: (
                lines.count("WATCHDOG=1") >= 4 and any("2 does not" in line for line in lines)
            ),
        )
        process.send_signal(signal.SIGTERM)
        lines += received(receiver, lambda lines: "STOPPING=1" in lines)
        assert process.wait(WAIT_S) == 0
    # A missing adapter does not stop the feeding of the watchdog.
    assert lines[0] == "READY=1"
    assert lines.count("READY=1") == 1
    states = [line for line in lines if line.startswith("STATUS=")]
    assert re.fullmatch(r"STATUS=battery 1 ok, \d+ %; battery 2 does not answer", states[-1])
    assert lines[-1] == "STOPPING=1"


def test_the_watchdog_of_another_process_is_not_fed(tmp_path: Path) -> None:
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "n"),
        "WATCHDOG_USEC": "1000",
        "WATCHDOG_PID": "1",
    }
    with manager(environment["NOTIFY_SOCKET"]) as receiver:  # noqa: SIM117 - the socket first
        with service(tmp_path / "c.toml", BASE + LINK, **environment):
            lines = received(receiver, lambda lines: len(lines) >= 3)
    assert "WATCHDOG=1" not in lines


def test_a_configuration_is_reloaded_in_flight(tmp_path: Path) -> None:
    path, name = tmp_path / "c.toml", str(tmp_path / "n")
    with manager(name) as receiver, service(path, BASE + LINK, NOTIFY_SOCKET=name) as process:
        received(receiver, lambda lines: any("1 ok" in line for line in lines))
        path.write_text(BASE + LINK.replace(":9", ":10") + "system_id = 7\n" + EARLY)
        process.send_signal(signal.SIGHUP)
        lines = received(receiver, lambda lines: lines.count("READY=1") == 1)
        assert "RELOADING=1" in lines
        log = logged(path, "battery 1 LOW: pack ")
        assert f"INFO limits, actions and charger are those of {path} now" in log
        reason = "waits for a restart: the link is opened once, at the start"
        assert f"WARNING mavlink.url {reason} | mavlink.system_id {reason}\n" in log
        assert log.count("restart") == 2

        path.write_text(BASE + LINK + EARLY.replace("24.0", "23.0") + "colour = 1\n[mavlinc]\n")
        process.send_signal(signal.SIGHUP)
        log = logged(path, "mavlinc")
        (line,) = [one for one in log.splitlines() if "the configuration is not changed" in one]
        assert line.startswith("ERROR the configuration is not changed: ")
        assert "colour is not a known key" in line
        received(receiver, lambda lines: lines.count("READY=1") == 1)

        path.write_text(BASE + LINK + EARLY.replace("24.0", "10.0").replace("24.9", "11.0"))
        process.send_signal(signal.SIGHUP)
        logged(path, "CLEARED: pack ")
        assert process.poll() is None


def test_every_section_is_reloaded_or_has_a_reason_to_wait() -> None:
    """A new section of the configuration must be added here."""
    old = validated(Config, BASE, "old")
    text = 'topology = "series"\n' + BASE.replace("[[", "cells = 5\n[[")[len("cells = 5\n") :]
    text += '[status]\n[recording]\ndir = "/r"\n[state]\ndir = "/s"\n[charger]\ncommand = ["x"]\n'
    text += '[[action]]\non = "warning"\ndo = "land"\n' + LINK + EARLY
    text += '[metrics]\n[mqtt]\nhost = "h"\n[vehicle]\nname = "x"\n'
    text += '[dronecan]\nurl = "mcast:0"\n'
    new = validated(Config, text, "new")
    same = [name for name in Config.model_fields if getattr(old, name) == getattr(new, name)]
    assert same == []
    now, waiting = apply_reload(old, new)
    assert [line.split()[0] for line in waiting] == [
        "battery.1.cells",
        "mavlink.url",
        "vehicle.name",
        "status",
        "recording",
        "state",
        "topology",
        "metrics",
        "mqtt",
        "dronecan",
    ]
    for name in Config.model_fields:
        source = new if name in {"limit", "action", "charger"} else old
        assert getattr(now, name) == getattr(source, name)
    assert apply_reload(old, old) == (old, [])
