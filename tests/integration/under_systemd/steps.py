# SPDX-License-Identifier: Apache-2.0
"""What a user does with the package, and what goes wrong with a service, in the order of a life."""

import asyncio
import json
import re
import shutil
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.test_dronecan import INFO, Peer
from tests.integration.test_mavsdk import autopilot_for, ground_station
from tests.integration.under_systemd.container import Container, booted
from tests.integration.under_systemd.flight import PORT, Flight, in_flight
from tests.integration.under_systemd.root import run as run_here
from tests.integration.under_systemd.root import unpack_root

INSTALL = (
    "apt-get install -y ./dronebms_*.deb",
    "dronebms init --defaults",
    "systemctl enable --now dronebms",
)
MOST_COMMANDS, MOST_S = 5, 300.0
MOST_EXPOSURE = 1.8
WATCHDOG_S = 10.0  # of the unit
MOST_RESTART_S = 60.0  # for which a checkpoint holds
MOST_SILENCE_S = 10.0  # of a service that runs, on a loaded machine
LINK = f"udpin:127.0.0.1:{PORT}"
STATE = "/var/lib/private/dronebms"
LATER = "9.9.9"
_CAN = """
[dronecan]
url = "{url}"
node_id = 42
battery_id = 7
"""


class NotHere(Exception):  # noqa: N818 - no error: a step that this machine cannot take
    """Why the step cannot be taken."""


class Stage:
    """The container, and what steps hand on to later ones."""

    def __init__(self, root: Path, package: Path) -> None:
        self.root, self.package = root, package
        self.container: Container
        self.flight: Flight

    @property
    def pid(self) -> int:
        """Process of the service."""
        return int(self.shown("MainPID"))

    def shown(self, key: str) -> str:
        """A property of the unit."""
        return self.container.out(f"systemctl show -P {key} dronebms")

    def status(self) -> dict[str, Any]:
        """The newest line of the predictions contract."""
        line = self.container.out("timeout 60 dronebms status --json | head -1")
        found: dict[str, Any] = json.loads(line)
        return found

    def journal(self, since: str = "") -> str:
        """Lines of the service, without the dates, after a cursor."""
        after = f"--after-cursor='{since}'" if since else ""
        return self.container.out(f"journalctl -u dronebms -o cat --no-pager {after}")

    def cursor(self) -> str:
        """The place after the last line of the journal."""
        shown = self.container.out("journalctl -n 0 --show-cursor --no-pager -q")
        return shown.rpartition("cursor: ")[2]

    def configure(self, *words: str, more: str = "") -> None:
        """Write a configuration by `dronebms init`, and restart the service."""
        self.container.out(f"dronebms init --defaults --force {' '.join(words)}")
        path = self.root / "etc/dronebms.toml"
        path.write_text(path.read_text() + more)
        self.container.out("systemctl restart dronebms")


@dataclass(frozen=True, slots=True)
class Row:
    """Result of one step."""

    what: str
    end: str  # passed, failed, not here
    figure: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its function returns the figure, and raises when it fails."""

    what: str
    take: Callable[[Stage], str]


# ------------------------------------------------------------------------- as a user does it


def _install(stage: Stage) -> str:
    start_s = time.monotonic()
    for command in INSTALL:
        stage.container.out(command)
    with stage.container.network():
        seen = asyncio.run(_in_mavsdk())
    took_s = time.monotonic() - start_s
    assert 15.0 < seen < 26.0, f"MAVSDK shows {seen} V"
    assert len(INSTALL) <= MOST_COMMANDS
    assert took_s <= MOST_S, f"{took_s:.0f} s"
    return f"{len(INSTALL)} commands, {took_s:.0f} s until MAVSDK shows {seen:.1f} V"


async def _in_mavsdk() -> float:
    """Voltage of the first battery that the client shows."""
    with autopilot_for(PORT) as step:
        async with ground_station(PORT, step) as ground:
            battery = await ground.shows(lambda battery: battery.voltage_v > 0.0)
            return float(battery.voltage_v)


def _confined(stage: Stage) -> str:
    shown = {}
    for unit in ("dronebms", "dronebms-web"):
        text = stage.container.out(f"systemd-analyze security --no-pager {unit}")
        level = re.search(r"exposure level for \S+: ([\d.]+)", text)
        assert level is not None, text[-200:]
        shown[unit] = float(level[1])
    assert shown["dronebms"] <= MOST_EXPOSURE, shown
    return ", ".join(f"{unit} {level}" for unit, level in shown.items())


def _unprivileged(stage: Stage) -> str:
    status = stage.container.out(f"cat /proc/{stage.pid}/status")
    rows = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert rows["Uid"].split()[0] != "0"
    assert int(rows["CapEff"], 16) == int(rows["CapBnd"], 16) == 0, rows["CapBnd"]
    assert (rows["NoNewPrivs"], rows["Seccomp"]) == ("1", "2")
    names = stage.container.out("getent group i2c dialout").split()
    ids = {name.split(":")[2] for name in names}
    assert ids <= {*rows["Groups"].split(), rows["Gid"].split()[0]}, rows["Groups"]
    return "own user, no capability, groups i2c and dialout"


def _viewers(stage: Stage) -> str:
    c = stage.container
    c.out("useradd -G i2c pilot && useradd stranger")
    line = json.loads(c.out("runuser -u pilot -- timeout 60 dronebms status --json | head -1"))
    assert line["voltage_v"] is not None
    refused = c.run("runuser -u stranger -- dronebms status --json")
    assert refused.code == 1, refused
    assert "Traceback" not in refused.err, refused.err
    assert "sudo usermod -aG i2c $USER" in refused.err, refused.err
    return f"shown; the other: {refused.err.strip().splitlines()[-1]}"


def _second_run(stage: Stage) -> str:
    second = stage.container.run("dronebms run -c /etc/dronebms.toml")
    assert second.code == 75, second
    assert "Traceback" not in second.err, second.err
    return f"exit code 75: {second.err.strip().splitlines()[-1]}"


def _web(stage: Stage) -> str:
    stage.container.out("systemctl start dronebms-web")
    end_s = time.monotonic() + MOST_RESTART_S
    text = ""
    with stage.container.network():
        while not text:
            try:
                with urllib.request.urlopen("http://127.0.0.1:8420/", timeout=10) as page:
                    text = page.read().decode()
            except OSError:
                assert time.monotonic() < end_s, stage.container.out("journalctl -u dronebms-web")
                time.sleep(0.2)
    assert "<html" in text.lower()
    stage.container.out("systemctl stop dronebms-web")
    return f"{len(text)} bytes of page"


# ---------------------------------------------------------------------- what goes wrong in flight


def _take_off(stage: Stage) -> str:
    stage.configure("--bus sim:hover", f"--url {LINK}")
    battery = stage.flight.next()
    assert battery.battery_remaining > 90
    stage.flight.armed = True
    end_s = time.monotonic() + 30.0
    while not stage.status()["armed"]:
        assert time.monotonic() < end_s
    return f"{battery.battery_remaining} % reported on the ground, then armed"


def _restored(stage: Stage, disturb: str, most_s: float) -> str:
    """Disturb the service; the next run continues where this one was."""
    before, old, cursor = stage.status(), stage.pid, stage.cursor()
    restarts = int(stage.shown("NRestarts"))
    start_s = time.monotonic()
    stage.container.out(disturb.format(pid=old))
    stage.container.until(f"test $(systemctl show -P NRestarts dronebms) -gt {restarts}", most_s)
    stage.flight.next()
    silence_s = stage.flight.silence_s(start_s)
    after, log = stage.status(), stage.journal(cursor)
    assert silence_s <= most_s, f"{silence_s:.1f} s without a report"
    assert stage.pid != old
    assert after["t_s"] >= before["t_s"], (before["t_s"], after["t_s"], log)
    assert "battery 1 is restored" in log, log
    return f"{silence_s:.1f} s without a report, clock {before['t_s']:.0f} to {after['t_s']:.0f} s"


def _killed(stage: Stage) -> str:
    return _restored(stage, "kill -9 {pid}", MOST_RESTART_S)


def _hung(stage: Stage) -> str:
    cursor = stage.cursor()
    figure = _restored(stage, "kill -STOP {pid}", MOST_RESTART_S)
    assert "Watchdog timeout" in stage.journal(cursor)
    return figure


def _reload(stage: Stage) -> str:
    c, old, cursor = stage.container, stage.pid, stage.cursor()
    newest = f"ls -t {STATE}/recordings | head -1"
    name = c.out(newest)
    size = int(c.out(f"stat -c %s {STATE}/recordings/{name}"))
    path = stage.root / "etc/dronebms.toml"
    sound, start_s = path.read_text(), time.monotonic()
    path.write_text(sound + '[[limit]]\nid = "cell_sag"\ntrip = 3.4\n')
    c.out("systemctl reload dronebms")
    _logged(stage, cursor, "limits, actions and charger are those of")
    path.write_text(sound + "[[limit]]\nid = 3\n")
    c.out("systemctl reload dronebms")
    _logged(stage, cursor, "the configuration is not changed")
    path.write_text(sound)
    c.until(f"test $(stat -c %s {STATE}/recordings/{name}) -gt {size}", 60.0)
    assert c.out(newest) == name, "another recording was begun"
    assert stage.pid == old
    silence_s = stage.flight.silence_s(start_s)
    assert silence_s < MOST_SILENCE_S, f"{silence_s:.1f} s without a report"
    return f"same process and recording, {silence_s:.1f} s without a report at most"


def _logged(stage: Stage, cursor: str, text: str) -> None:
    end_s = time.monotonic() + 30.0
    while text not in (log := stage.journal(cursor)):
        assert time.monotonic() < end_s, log
        time.sleep(0.2)


def _full_disk(stage: Stage) -> str:
    c = stage.container
    c.out("systemctl stop dronebms")
    c.out(f"mount -t tmpfs -o size=8m,mode=0755 tmpfs {STATE} && systemctl start dronebms")
    stage.flight.next()
    c.until(f"ls {STATE}/recordings/*", 30.0)
    cursor, start_s = stage.cursor(), time.monotonic()
    full = c.run(f"dd if=/dev/zero of={STATE}/filler bs=4k")
    assert "No space" in full.err, full
    time.sleep(15.0)
    silence_s = stage.flight.silence_s(start_s)
    lines = [line for line in stage.journal(cursor).splitlines() if "o space left" in line]
    assert silence_s < MOST_SILENCE_S, f"{silence_s:.1f} s without a report"
    assert lines, stage.journal(cursor)
    assert len(lines) == len(set(lines)), lines  # each once
    old = stage.pid
    c.out("systemctl restart dronebms")  # starts on a full disk too
    stage.flight.next()
    assert stage.pid != old
    c.out(f"rm {STATE}/filler")
    c.until(f"find {STATE} -name run.kept -newermt '-3 seconds' | grep -q .", 60.0)
    c.out(f"systemctl stop dronebms && umount {STATE} && systemctl start dronebms")
    stage.flight.next()
    return f"{silence_s:.1f} s without a report at most; log: " + "; ".join(lines)


def _invalid(stage: Stage) -> str:
    path = stage.root / "etc/dronebms.toml"
    sound, cursor = path.read_text(), stage.cursor()
    path.write_text(sound.replace("[mavlink]", "[mavlonk]"))
    refused = stage.container.run("systemctl restart dronebms")
    assert refused.code, refused
    time.sleep(2.0)
    assert stage.shown("ActiveState") == "failed"
    assert (stage.shown("NRestarts"), stage.shown("ExecMainStatus")) == ("0", "2")
    log = stage.journal(cursor)
    path.write_text(sound)
    stage.container.out("systemctl restart dronebms")
    (line,) = [line for line in log.splitlines() if "mavlonk" in line]
    stage.flight.next()
    return f"exit code 2, no restart: {line}"


def _can(stage: Stage) -> str:
    made = stage.container.run("ip link add vcan0 type vcan && ip link set vcan0 up")
    if made.code:
        raise NotHere("the kernel of this machine has no vcan")
    return _dronecan(stage, "socketcan:vcan0", "vcan0")


def _multicast(stage: Stage) -> str:
    stage.container.out("ip link set lo multicast on; ip route add 239.0.0.0/8 dev lo")
    return _dronecan(stage, "mcast:3", "mcast:3")


def _dronecan(stage: Stage, url: str, driver: str) -> str:
    """A node of the package dronecan receives what the confined service sends."""
    stage.flight.armed = False
    stage.configure("--bus sim:hover", f"--url {LINK}", more=_CAN.format(url=url))
    stage.flight.next()
    with stage.container.network():
        peer = Peer(driver, 127)
    try:
        assert peer.until(lambda: bool(peer.events[INFO]), 60.0), stage.journal()[-500:]
        message = peer.events[INFO][-1].message
    finally:
        peer.close()
    assert message.battery_id == 7
    assert 15.0 < message.voltage < 26.0
    return f"BatteryInfo of battery 7: {message.voltage:.2f} V"


# ------------------------------------------------------------------------- a package's life


def _upgrade(stage: Stage) -> str:
    c, old = stage.container, stage.pid
    stage.flight.armed = True
    before = stage.status()
    work = stage.root / "root/later"
    run_here("dpkg-deb", "-R", stage.package, work)
    control = work / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {LATER}", control.read_text()))
    run_here("dpkg-deb", "-b", "-Znone", work, stage.root / "root/later.deb")
    shutil.rmtree(work)
    start_s = time.monotonic()
    c.out("apt-get install -y ./later.deb")
    stage.flight.next()
    silence_s = stage.flight.silence_s(start_s)
    after = stage.status()
    assert stage.pid != old, "the new version does not run"
    assert after["t_s"] >= before["t_s"], (before["t_s"], after["t_s"])
    assert c.out("dpkg-query -W -f '${Version}' dronebms") == LATER
    return f"restarted by the package, state restored, {silence_s:.0f} s without a report"


def _kept(stage: Stage) -> dict[str, str]:
    """Names of what a user has, with a digest of what is learned."""
    c = stage.container
    files = c.out(f"ls {STATE} {STATE}/recordings /etc/dronebms.toml")
    return {"files": files, "packs": c.out("dronebms packs --json --state-dir /var/lib/dronebms")}


def _remove(stage: Stage) -> str:
    c = stage.container
    c.out("systemctl stop dronebms")
    before = _kept(stage)
    for command in ("remove", "purge"):
        c.out(f"apt-get {command} -y dronebms")
        assert c.run("systemctl cat dronebms").code, "the unit is left"
        assert not (stage.root / "opt/dronebms").exists(), c.out("find /opt/dronebms | head")
    c.out("apt-get install -y ./later.deb")
    assert _kept(stage) == before
    c.out("systemctl enable --now dronebms")
    stage.flight.next()
    return "configuration, recordings and pack history stay after a purge; a new install uses them"


def _starts_by_itself(stage: Stage) -> str:
    stage.container.until("systemctl is-active dronebms", 60.0)
    assert stage.shown("UnitFileState") == "enabled"
    end_s = time.monotonic() + MOST_RESTART_S
    while stage.status()["voltage_v"] is None:  # until the gauge has answered
        assert time.monotonic() < end_s
    return f"in service {stage.container.out('systemd-analyze --no-pager').splitlines()[0]}"


def _clean_journal(stage: Stage) -> str:
    text = stage.container.out("journalctl -o cat --no-pager -u dronebms -u dronebms-web")
    assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:3000]
    failed = stage.container.out("systemctl --failed --no-legend --plain")
    assert "dronebms" not in failed, failed
    return f"{len(text.splitlines())} lines, no traceback"


ON_THE_GROUND = (
    Step("`apt install`, `init --defaults`, `enable --now`; MAVSDK shows the pack", _install),
    Step(f"`systemd-analyze security`, at most {MOST_EXPOSURE}", _confined),
    Step("user, capabilities and groups of the process", _unprivileged),
    Step("`dronebms status` of a user in the group i2c; of another user", _viewers),
    Step("a second run of the same configuration", _second_run),
    Step("`systemctl start dronebms-web`", _web),
)
IN_FLIGHT = (
    Step("an autopilot at `udpin`, a virtual pack; arming", _take_off),
    Step("`kill -9` in flight", _killed),
    Step(f"`kill -STOP` in flight: the watchdog of {WATCHDOG_S:.0f} s", _hung),
    Step("`systemctl reload`: a changed limit, then a wrong one", _reload),
    Step("full disk in flight, start on a full disk, room again", _full_disk),
    Step("a wrong key in the configuration", _invalid),
    Step("DroneCAN over multicast to a node of the package `dronecan`", _multicast),
    Step("DroneCAN over vcan to a node of the package `dronecan`", _can),
    Step("`apt install` of a later version in flight", _upgrade),
    Step("`apt remove`, `apt purge`, install again", _remove),
)
AFTER_A_BOOT = (
    Step("start by the next boot", _starts_by_itself),
    Step("the journal of all of that", _clean_journal),
)


def run_all(package: Path, folder: Path) -> Iterator[Row]:
    """Take every step in a fresh Debian in an empty folder.

    Raises:
        Missing: the machine has not what a container needs.
        NotBooted: systemd does not come up.
    """
    root = folder / "root"
    root.mkdir()
    try:
        unpack_root(root)
        stage = Stage(root, package)
        shutil.copy(package, root / "root" / f"dronebms_{package.name}")
        with booted(root, folder / "console.log") as stage.container:
            yield from _taken(stage, ON_THE_GROUND)
            with in_flight(stage.container) as stage.flight:
                yield from _taken(stage, IN_FLIGHT)
        with booted(root, folder / "console.log") as stage.container:
            yield from _taken(stage, AFTER_A_BOOT)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _taken(stage: Stage, steps: tuple[Step, ...]) -> Iterator[Row]:
    for step in steps:
        try:
            yield Row(step.what, "passed", step.take(stage))
        except NotHere as reason:
            yield Row(step.what, "not here", str(reason))
        except Exception:  # noqa: BLE001 - a row of the table
            yield Row(step.what, "failed", traceback.format_exc(limit=4))
