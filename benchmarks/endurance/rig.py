# SPDX-License-Identifier: Apache-2.0
"""The service process with everything on, and all that it is connected to, in a network of its own.

Two packs at 10 Hz behind sockets, an autopilot on UDP, a ground station on TCP, a broker with TLS, DroneCAN on
multicast, recordings, state, pack history, metrics, `dronebms web`. Disturbances are methods; the network of the
namespace is cut by taking its interface down; the date is stepped, and monotonic clocks are left alone.
"""

import ctypes
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from urllib.error import URLError
from urllib.request import urlopen

from paho.mqtt.client import Client, MQTTMessage
from pymavlink.dialects.v20 import common as mavlink

from benchmarks.endurance.fleet import SwappedPacks
from benchmarks.endurance.stepped_date import SteppedDate
from benchmarks.remote_packs import serve
from dronebms.core.clock import SystemClock, boot_s
from dronebms.core.vehicle_state import VehicleState
from tests.integration.broker import Broker, Listener
from tests.mavlink_bridge.autopilot import ARDUPILOT, FakeAutopilot
from tests.mavlink_bridge.loopback import free_port

_CLONE_NEWNET = 0x40000000  # of sched.h
_UP = ("ip link set lo up multicast on", "ip route replace 239.0.0.0/8 dev lo")
_DOWN = "ip link set lo down"
_PHONE = "10.9.9.2"  # address of viewers that vanish
_TCP_REPAIR = 19  # of linux/tcp.h: a socket that is closed in it sends nothing
_START_S = 60.0
_SHOWN_MB = 0.1
_LONG_GAP_S = 0.8
CONFIG = """
[[battery]]
bus = "/dev/{first}"
[[battery]]
bus = "/dev/{second}"
[vehicle]
name = "endurance"
[[mavlink]]
url = "udpin:127.0.0.1:{autopilot}"
system_id = 1
[[mavlink]]
url = "tcp:127.0.0.1:{ground}"
role = "telemetry"
[status]
socket = "{folder}/s.sock"
[recording]
dir = "{folder}/runs"
max_mb = 4.0
file_mb = 0.5
max_days = 30.0
[state]
dir = "{folder}/state"
[metrics]
port = {metrics}
[mqtt]
host = "127.0.0.1"
port = {mqtt}
topic = "fleet"
period_s = {period_s}
max_mb = 1.0
ca = "{broker}/broker.pem"
user = "drone7"
password_file = "{broker}/password"
[charger]
topic = "charger/1"
{can}
[[limit]]
id = "cell_sag"
hold_s = {hold_s}
[[action]]
on = "critical"
do = "return"
"""
CAN = '[dronecan]\nurl = "mcast:5"\nnode_id = 60'


def _bus_name(place: int) -> str:
    """Adapter of a pack; that of another run has another lock."""
    return f"i2c-{2 * os.getpid() + place}"


def enter_namespace() -> bool:
    """Move this process to a network of its own; whether that is allowed here."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        return False
    for command in _UP:
        _run(command)
    return True


def _run(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, capture_output=True)  # noqa: S603 - constants


class Watcher:
    """A viewer of the status socket that reads at once: how late each line is, and gaps of its time.

    Args:
        path: of the socket.
        pid: of the service, whose loop is its main thread; `None` measures no lateness, for a clock that is not
            the machine's.

    Attributes:
        late_s: arrival minus the time of the report, of each line, with the smallest one as 0.
        longest_gap_s: between the times of two reports of one battery.
        waited_s: of that gap, for how long the loop was ready and another process had the processor.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        self.longest_gap_s = self.waited_s = 0.0
        self.lines = 0
        self.troubles: set[str] = set()
        self._raw_s = array("d")  # the viewer of a day takes little memory, too
        self._path, self._pid = path, pid
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def late_s(self) -> list[float]:
        """Lateness of each line, sorted."""
        raw_s = sorted(self._raw_s)
        return [one - raw_s[0] for one in raw_s]

    def _read(self) -> None:
        last: dict[int, tuple[float, float]] = {}
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.connect(str(self._path))
            with viewer.makefile("rb") as lines:
                for line in lines:
                    now_s, report = boot_s(), json.loads(line)
                    t_s, index, waited_s = report["t_s"], report.get("index", 0), self._waited_s()
                    self.lines += 1
                    if self._pid is not None:
                        self._raw_s.append(now_s - t_s)
                    before_s, before_waited_s = last.get(index, (t_s, waited_s))
                    if t_s - before_s > self.longest_gap_s:
                        self.longest_gap_s = t_s - before_s
                        self.waited_s = waited_s - before_waited_s
                        self._log_gap(t_s)
                    last[index] = t_s, waited_s

    def _log_gap(self, t_s: float) -> None:
        if self._pid is not None and self.longest_gap_s > _LONG_GAP_S:
            sys.stdout.write(
                f"{t_s:7.0f} s of the service: a gap of {self.longest_gap_s:.2f} s, {self.waited_s:.2f} s of it without a processor\n"
            )

    def _waited_s(self) -> float:
        """Time that the loop's thread has waited for a processor. Source: proc(5), schedstat."""
        if self._pid is None:
            return 0.0
        try:
            words = Path(f"/proc/{self._pid}/task/{self._pid}/schedstat").read_text().split()
        except OSError:  # the service has ended, or the kernel does not count it
            return 0.0
        return int(words[1]) / 1e9


class Messages(Listener):
    """A client of the broker that keeps the numbers of the messages alone.

    Attributes:
        numbers: sequences by battery and start of the service.
    """

    def __init__(self, broker: Broker) -> None:
        self.numbers: dict[tuple[str, str], set[int]] = {}
        super().__init__(broker)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        one = json.loads(message.payload)
        if "sequence" in one:  # none for a charger
            self.numbers.setdefault((one["serial"], one["boot"]), set()).add(one["sequence"])

    @property
    def count(self) -> int:
        """Messages received, each once."""
        return sum(map(len, self.numbers.values()))

    @property
    def missing(self) -> int:
        """Numbers left out below the newest of each battery."""
        return sum(max(numbers) - len(numbers) for numbers in self.numbers.values())


class Rig:
    """Everything, running.

    Args:
        folder: of all files.
        stack: ends all.
        has_network: whether the process is in a network of its own.
        random: of the disturbances.
    """

    def __init__(
        self, folder: Path, stack: ExitStack, random: Random, *, has_network: bool
    ) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.random = random
        self.has_network = has_network
        self.counts: dict[str, int] = {}
        self.failures = 0  # of `dronebms packs`
        self._stack = stack
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._is_cut = False
        self._held: dict[str, list[socket.socket]] = {}
        self._lost: list[socket.socket] = []
        self.packs = [SwappedPacks(place, self.clock) for place in range(2)]
        for place, packs in enumerate(self.packs):
            serve(folder, _bus_name(place), packs)
        broker_folder = folder / "broker"
        broker_folder.mkdir()
        self.broker = stack.enter_context(closing(Broker(broker_folder)))
        self.listener = stack.enter_context(closing(Messages(self.broker)))
        self.ground = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.ground.settimeout(0.0)
        self._ground_links: list[socket.socket] = []
        self._ports = {"autopilot": free_port(), "metrics": free_port(socket.SOCK_STREAM)}
        self.autopilot = stack.enter_context(
            closing(FakeAutopilot(1, ARDUPILOT, peer=("127.0.0.1", self._ports["autopilot"])))
        )
        self.date = SteppedDate(folder)
        self.log = folder / "service.log"
        self._configure(2.0)
        self.service = self._started()
        self.watcher = Watcher(folder / "s.sock", self.service.pid)
        web = ("web", "--socket", str(folder / "s.sock"), "--listen")
        self.web_port = free_port(socket.SOCK_STREAM)
        self.web = self._process("dronebms.cli", *web, f"127.0.0.1:{self.web_port}")

    def _configure(self, hold_s: float) -> None:
        text = CONFIG.format(
            folder=self.folder,
            ground=self.ground.getsockname()[1],
            mqtt=self.broker.port,
            broker=self.broker.folder,
            can=CAN if self.has_network else "",
            hold_s=hold_s,
            first=_bus_name(0),
            second=_bus_name(1),
            period_s=2.0,
            **self._ports,
        )
        (self.folder / "c.toml").write_text(text)

    def _process(self, *words: str) -> "subprocess.Popen[bytes]":
        environ = os.environ | self.date.environ
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - this project's own
                (sys.executable, "-m", *words), stderr=log, env=environ, start_new_session=True
            )
        self._stack.callback(process.kill)
        return process

    def _started(self) -> "subprocess.Popen[bytes]":
        words = (
            "benchmarks.remote_packs",
            str(self.folder),
            "run",
            "-c",
            str(self.folder / "c.toml"),
        )
        process = self._process(*words)
        end_s = time.monotonic() + _START_S
        while not (self.folder / "s.sock").exists():
            if process.poll() is not None or time.monotonic() > end_s:
                raise SystemExit(f"the service does not start:\n{self.log.read_text()}")
            time.sleep(0.1)
        return process

    def step(self) -> None:
        """Do what is due: heartbeats, answers, viewers that read, ends of disturbances."""
        now_s = self.clock.now_s()
        for item in [one for one in self._due if one[0] <= now_s]:
            self._due.remove(item)
            item[1]()
        self._fly(self.packs[0].vehicle())
        try:
            link, _ = self.ground.accept()
            self._ground_links.append(link)
        except BlockingIOError:
            pass

    def _fly(self, state: VehicleState) -> None:
        try:
            self.autopilot.beat(armed=bool(state.armed), custom_mode=4)
            if state.lat_deg is not None and state.lon_deg is not None:
                place = round(state.lat_deg * 1e7), round(state.lon_deg * 1e7)
                up_mm = round((state.alt_m or 0.0) * 1000)
                self.autopilot.send(
                    mavlink.MAVLink_global_position_int_message(0, *place, up_mm, up_mm, 0, 0, 0, 0)
                )
            self.autopilot.receive()
            self.autopilot.frames.clear()
        except OSError:
            pass  # the network is cut

    def scrape(self) -> None:
        """Read the metrics as Prometheus does; nothing while the network is cut."""
        try:
            with urlopen(f"http://127.0.0.1:{self._ports['metrics']}/metrics", timeout=2.0) as page:
                page.read()
        except (URLError, OSError):
            pass

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in some seconds."""
        self._due.append((self.clock.now_s() + seconds, action))

    # ------------------------------------------------------------------ disturbances

    def disturb(self) -> str:
        """Do one of the disturbances; its name."""
        kinds = [
            self.step_the_date, self.rotate_the_log, self.lose_the_broker, self.cut_the_network,
            self.stall_viewers, self.stall_pages, self.stall_scrapers, self.lose_a_phone, self.viewers_come_and_go, self.lose_the_ground,
            self.reload, self.unplug, self.read_the_history,
        ]  # fmt: skip
        kind = self.random.choice(kinds)
        name = kind.__name__.replace("_", " ")
        self.counts[name] = self.counts.get(name, 0) + 1
        kind()
        return name

    def step_the_date(self) -> None:
        """Another date: 1970, before NTP, after it, or a small step in either direction."""
        day_s = 86_400.0
        steps = (
            -time.time() + 60.0,
            -400 * day_s,
            0.0,
            0.0,
            self.random.uniform(-3600.0, 3600.0),
            40 * day_s,
        )
        self.date.set(self.random.choice(steps))

    def rotate_the_log(self) -> None:
        """Copy the log and truncate it, as `copytruncate` of logrotate."""
        number = self.counts["rotate the log"]
        shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.{number}"))
        os.truncate(self.log, 0)

    def lose_the_broker(self) -> None:
        """Kill the broker for a while."""
        if not self._is_cut:
            self._is_cut = True
            self.broker.kill()
            self.later(self.random.uniform(3.0, 60.0), self._restore_broker)

    def _restore_broker(self) -> None:
        self.broker.start()
        self._is_cut = False

    def cut_the_network(self) -> None:
        """Take the interface down for a while: nothing is refused, everything is lost."""
        if self.has_network and not self._is_cut:
            self._is_cut = True
            _run(_DOWN)
            self.later(self.random.uniform(3.0, 150.0), self._restore_network)

    def _restore_network(self) -> None:
        for command in _UP:
            _run(command)
        self._is_cut = False

    def stall_viewers(self) -> None:
        """Viewers of the status socket that read nothing."""
        self._stall("status", lambda: self._connected(self.folder / "s.sock"), b"")

    def stall_pages(self) -> None:
        """Viewers of the page that read nothing, and browsers that connect and are silent."""
        head = (
            b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
            if self.random.choice((True, False))
            else b""
        )
        self._stall("page", lambda: self._connected(self.web_port), head)

    def stall_scrapers(self) -> None:
        """Readers of the metrics that ask for nothing, or read nothing."""
        head = b"GET /metrics HTTP/1.0\r\n\r\n" if self.random.choice((True, False)) else b""
        self._stall("metrics", lambda: self._connected(self._ports["metrics"]), head)

    def lose_a_phone(self) -> None:
        """Viewers whose device leaves the network for ever: nothing of them arrives any more."""
        if not self.has_network or self._is_cut or self._lost:
            return
        _run(f"ip address add {_PHONE}/32 dev lo")
        for where in (self.web_port, self._ports["metrics"]):
            for head in (b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /", b""):
                viewer = socket.create_connection(("127.0.0.1", where), 1.0, (_PHONE, 0))
                viewer.sendall(head)
                self._lost.append(viewer)
        self.later(5.0, self._lose_phone)

    def _lose_phone(self) -> None:
        for viewer in self._lost:
            viewer.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
            viewer.close()
        self._lost.clear()
        try:
            _run(f"ip address del {_PHONE}/32 dev lo")
        except subprocess.CalledProcessError:
            pass  # a cut has removed it

    def _connected(self, where: Path | int) -> socket.socket:
        viewer = socket.socket(socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET)
        if isinstance(where, int):
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        viewer.settimeout(1.0)
        viewer.connect(str(where) if isinstance(where, Path) else ("127.0.0.1", where))
        return viewer

    def _stall(self, kind: str, connect: Callable[[], socket.socket], head: bytes) -> None:
        held = self._held.setdefault(kind, [])
        if held:
            return
        try:
            for _ in range(4):
                held.append(connect())
                held[-1].sendall(head)
        except OSError:
            pass  # the network is cut
        self.later(self.random.uniform(20.0, 120.0), lambda: self._release(kind))

    def _release(self, kind: str) -> None:
        for viewer in self._held[kind]:
            viewer.close()
        self._held[kind].clear()

    def viewers_come_and_go(self) -> None:
        """Many short looks."""
        for _ in range(20):
            try:
                for where in (self.folder / "s.sock", self.web_port, self._ports["metrics"]):
                    with self._connected(where) as viewer:
                        viewer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            except OSError:
                continue  # the network is cut, or the service reads nothing from a viewer

    def lose_the_ground(self) -> None:
        """The ground station, which reads nothing anyway, drops its connection."""
        for link in self._ground_links:
            link.close()
        self._ground_links.clear()

    def reload(self) -> None:
        """Another limit, and SIGHUP."""
        self._configure(round(self.random.uniform(1.0, 3.0), 1))
        self.service.send_signal(signal.SIGHUP)

    def _joined(self, process: "subprocess.Popen[bytes]") -> None:
        self.failures += process.wait(30.0) != 0

    def unplug(self) -> None:
        """One pack answers nothing for a while."""
        packs = self.random.choice(self.packs)
        packs.unplugged_until_s = self.clock.now_s() + self.random.uniform(0.5, 20.0)

    def read_the_history(self) -> None:
        """`dronebms packs` reads the history that the service writes."""
        words = ("packs", "--state-dir", str(self.folder / "state"), "--json")
        process = subprocess.Popen(  # noqa: S603 - this project's own
            (sys.executable, "-m", "dronebms.cli", *words),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.later(60.0, lambda: self._joined(process))


def disk_mb(folder: Path) -> str:
    """MB of the folders and files of the service, for people."""
    sizes: dict[str, float] = {}
    for path in folder.rglob("*"):
        part = path.relative_to(folder).parts
        if part[0] in ("runs", "state") or part[0].startswith("service.log"):
            name = part[1] if part[0] == "state" and len(part) > 1 else part[0].split(".")[0]
            try:
                sizes[name] = sizes.get(name, 0.0) + path.stat().st_size / 1e6
            except OSError:
                continue  # deleted meanwhile
    return ", ".join(f"{name} {mb:.1f}" for name, mb in sorted(sizes.items()) if mb > _SHOWN_MB)
