# SPDX-License-Identifier: Apache-2.0
"""Hostile MAVLink frames at the bridge and at a running service.

    python -m benchmarks.frames [--frames N] [--rate HZ] [--seed N] [--links udp tcp serial]

First two attacks in one process and in virtual time, in which each of N frames is received: `memory`,
and `autopilot`, in which the followed autopilot itself sends them (judged by exceptions and commands
for others alone: it may change settings). Then `dronebms run` with a virtual pack and an action is
started once for each link. This program is its vehicle (system 1, armed) and its attacker: every
kind of `Attacker.kinds`, from systems and components drawn at random, accepted ones and those of the
own vehicle among them; never as the followed autopilot 1/1, of which only signing shows that it is
another program. UDP and TCP carry N frames together at HZ frames a second, a serial port (a pty) what
921,600 baud carry in a tenth of that time. Then UDP gets datagrams of 60 kB, TCP megabytes, both of
first bytes of frames, and TCP one byte a second.

Prints for each link
    frames, dropped   written to the link; dropped by the kernel before the service read them
    exceptions        tracebacks in its log, or an end before it was stopped
    settings          values of BMS_* that are others than before, or not answered within two minutes
    for others        commands, modes and parameters sent to a system that is not 1
    late              the longest time between two heartbeats of its computer, less a second
    pause             the longest time in which the machine did not let this program run, which
                      delays the service likewise
    MiB (idle)        its greatest memory; before the attack
Exits with 1 when one of exceptions, settings, for others is not 0, or late is above 1.5 s.
"""

import argparse
import logging
import os
import platform
import pty
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.clock import VirtualClock
from dronebms.core.report import Action, ActionKind, Severity
from dronebms.core.service_defaults import PERIOD_S as STEP_S
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.rules import Rules
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.vehicle.command_protocol import Settings
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from sim.emulator.world import open_virtual
from smartbattery.gauge import Gauge

LATEST_S = 1.5  # of a heartbeat
SYSTEM, AUTOPILOT, COMPUTER, BATTERY = 1, 1, 191, 180
GROUND = 255
BAUD_BYTES_HZ = 92_160  # of 921,600 baud
_V1, _V2 = 0xFE, 0xFD
_DATAGRAM = 60_000
_QUIET_S = 4.0  # after the attack: the allowance of requests is full again
_START_S = 60.0
_FIRST_BEATS = 5
_ANSWER_S = 120.0  # for what is left in the buffers of a connection
_POOL = 20_000  # distinct frames a link
_REPEATED = 500  # of them
_NUMBERS = (
    0.0,
    -1.0,
    1e38,
    -1e38,
    1e-40,
    float("nan"),
    float("inf"),
    float("-inf"),
    255.0,
    65_535.0,
)
_ORDERS = ("COMMAND_LONG", "COMMAND_INT", "SET_MODE", "PARAM_SET", "PARAM_EXT_SET")
_ACCEPTED_SHARE, _OWN_SHARE = 0.4, 0.6  # of the sources, one after the other
_VERSION_1_SHARE = 0.2
_ABSURD_SHARE = 0.7  # of numbers
_SETTINGS = ("BMS_RATE_HZ", "BMS_ID", "BMS_ACT")
Source = tuple[int, int]
Messages = list[mavlink.MAVLink_message]


def framed(
    message_id: int, payload: bytes, source: Source, sequence: int, extra: int | None = None
) -> bytes:
    """A MAVLink 2 frame with the right checksum; `extra` replaces the CRC_EXTRA of the message."""
    known = mavlink.mavlink_map.get(message_id)
    if extra is None:
        extra = known.crc_extra if known is not None else 0
    body = (
        struct.pack("<6B", len(payload), 0, 0, sequence & 0xFF, *source)
        + message_id.to_bytes(3, "little")
        + payload
    )
    crc = mavlink.x25crc(body + bytes((extra,))).crc
    return bytes((_V2,)) + body + struct.pack("<H", crc)


@dataclass
class Attacker:
    """Frames of every kind; one seed gives one sequence."""

    seed: int
    as_autopilot: bool = False  # every frame has its address
    sent: list[bytes] = field(default_factory=list)  # to be repeated

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - a campaign, not a secret
        self.sequence = 0

    def source(self) -> Source:
        """An accepted system, a component of the own vehicle, or any; never the followed autopilot."""
        if self.as_autopilot:
            return SYSTEM, AUTOPILOT
        draw = self.random.random()
        if draw < _ACCEPTED_SHARE:
            return GROUND, self.random.choice((190, 1, 0, 255))
        if draw < _OWN_SHARE:
            return SYSTEM, self.random.choice((0, 25, 100, 154, BATTERY, 181, COMPUTER, 255))
        return self.random.choice(
            [system for system in range(256) if system != SYSTEM]
        ), self.random.randrange(256)

    def packed(self, message: mavlink.MAVLink_message, source: Source | None = None) -> bytes:
        """A message as a frame of a drawn source."""
        self.sequence += 1
        sender = mavlink.MAVLink(None, *(source or self.source()))
        sender.seq = self.sequence & 0xFF
        return bytes(message.pack(sender, force_mavlink1=self.random.random() < _VERSION_1_SHARE))

    def number(self) -> float:
        """A number that no field has, or any."""
        return (
            self.random.choice(_NUMBERS)
            if self.random.random() < _ABSURD_SHARE
            else self.random.uniform(-1e3, 1e3)
        )

    def random_bytes(self) -> bytes:
        """Noise, often behind a first byte of a frame."""
        return self.random.choice((b"", b"\xfe", b"\xfd")) + self.random.randbytes(
            self.random.randrange(1, 300)
        )

    def random_payload(self) -> bytes:
        """Any message that pymavlink knows with random content and the right checksum."""
        known = self.random.choice([*mavlink.mavlink_map])
        size = mavlink.mavlink_map[known].unpacker.size
        return framed(known, self.random.randbytes(size), self.source(), self.random.randrange(256))

    def other_length(self) -> bytes:
        """A payload that is cut or extended, with the right checksum."""
        known = self.random.choice([*mavlink.mavlink_map])
        return framed(known, self.random.randbytes(self.random.randrange(256)), self.source(), 0)

    def cut_frame(self) -> bytes:
        """The beginning of a frame."""
        frame = self.random_payload()
        return frame[: self.random.randrange(1, len(frame))]

    def wrong_checksum(self) -> bytes:
        """A frame with a flipped bit."""
        frame = bytearray(self.random_payload())
        frame[self.random.randrange(1, len(frame))] ^= 1 << self.random.randrange(8)
        return bytes(frame)

    def unknown_message(self) -> bytes:
        """A message id that no dialect has."""
        return framed(
            self.random.randrange(1 << 24), self.random.randbytes(20), self.source(), 0, 7
        )

    def bad_signature(self) -> bytes:
        """A signed frame, of a key that is not ours."""
        sender = mavlink.MAVLink(None, *self.source())
        sender.signing.secret_key = self.random.randbytes(32)
        sender.signing.sign_outgoing = True
        sender.signing.timestamp = self.random.randrange(1 << 48)
        return bytes(self.setting().pack(sender))

    def setting(self) -> mavlink.MAVLink_message:
        """A change of a setting of ours."""
        value = self.random.choice((0.0, 1.0, 5.0, 10.0, -1.0, self.number()))
        name, target = (
            self.random.choice(_SETTINGS).encode(),
            self.random.choice((BATTERY, 181, COMPUTER, 0)),
        )
        return mavlink.MAVLink_param_set_message(SYSTEM, target, name, value, 9)

    def repeated(self) -> bytes:
        """A frame that was sent before."""
        return self.random.choice(self.sent) if self.sent else self.random_payload()

    def absurd(self) -> bytes:
        """Values that no vehicle has, in the messages that are read."""
        number, pick = self.number, self.random.choice
        big = pick((0, -1, 2**31 - 1, -(2**31)))
        return self.packed(pick((
            lambda: mavlink.MAVLink_vfr_hud_message(number(), number(), 0, 0, number(), number()),
            lambda: mavlink.MAVLink_wind_cov_message(0, *(number() for _ in range(8))),
            lambda: mavlink.MAVLink_global_position_int_message(0, big, big, big, big, 0, 0, 0, 0),
            lambda: mavlink.MAVLink_home_position_message(big, big, big, number(), 0, 0, [number()] * 4, 0, 0, 0),
            lambda: mavlink.MAVLink_battery_status_message(255, 255, 255, 32767, [65535] * 10, -1, big, big, -1),
            lambda: mavlink.MAVLink_param_value_message(b"\x1b[31m%s{0}", number(), 255, 65535, 65535),
            lambda: mavlink.MAVLink_statustext_message(255, b"\x1b[2J" * 12),
            lambda: mavlink.MAVLink_command_ack_message(pick((20, 21, 511, 176)), pick((0, 4, 255)), 0, 0, SYSTEM, COMPUTER),
        ))())  # fmt: skip

    def vehicle(self) -> bytes:
        """An armed autopilot of another system: up to 254 of them."""
        system = self.random.choice([one for one in range(1, 256) if one != SYSTEM])
        beat = mavlink.MAVLink_heartbeat_message(
            2, self.random.choice((3, 12)), 128 | 1, self.random.randrange(20), 4, 3
        )
        return self.packed(beat, (system, AUTOPILOT))

    def command(self) -> bytes:
        """A command to a component of ours or to all."""
        values = [self.number() for _ in range(7)]
        wanted = self.random.choice(
            (511, 512, 520, 400, 176, 20, 21, 246, self.random.randrange(65_536))
        )
        target = self.random.choice((BATTERY, 181, COMPUTER, 0))
        return self.packed(mavlink.MAVLink_command_long_message(SYSTEM, target, wanted, 0, *values))

    def kinds(self) -> dict[str, Callable[[], bytes]]:
        """A function for each kind of frame."""
        every = mavlink.MAVLink_param_request_list_message(SYSTEM, 0)
        return {
            "random bytes": self.random_bytes, "random payload": self.random_payload, "other length": self.other_length,
            "cut": self.cut_frame, "wrong checksum": self.wrong_checksum, "unknown message": self.unknown_message,
            "bad signature": self.bad_signature, "repeated": self.repeated, "absurd values": self.absurd,
            "other vehicles": self.vehicle, "PARAM_SET": lambda: self.packed(self.setting()), "COMMAND_LONG": self.command,
            "PARAM_REQUEST_LIST": lambda: self.packed(every, (GROUND, 190)),
            "own components": lambda: self.packed(self.setting(), (SYSTEM, self.random.choice((BATTERY, COMPUTER)))),
        }  # fmt: skip

    def frames(self) -> Iterator[tuple[str, bytes]]:
        """Yield (kind, frame) without end, the kinds in turn."""
        kinds = self.kinds()
        while True:
            for name, make in kinds.items():
                frame = make()
                if len(self.sent) < _REPEATED:
                    self.sent.append(frame)
                yield name, frame


# ---------------------------------------------------------------------- links


class Wire(ABC):
    """The other end of a link of the service, as a vehicle and as an attacker."""

    url = ""

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Write what the link accepts; return the number of bytes."""

    @abstractmethod
    def read(self) -> bytes:
        """What the service sent."""

    def dropped(self) -> int:
        """Frames that the kernel dropped on their way."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Close it."""


class Udp(Wire):
    """A UDP port that the service sends to."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0)
        self._peer: tuple[str, int] | None = None
        self.url = f"udpout:127.0.0.1:{self._socket.getsockname()[1]}"

    def write(self, data: bytes) -> int:
        """Send a datagram."""
        try:
            return self._socket.sendto(data, self._peer) if self._peer else len(data)
        except BlockingIOError:
            return 0
        except OSError:  # the service has been stopped
            return len(data)

    def read(self) -> bytes:
        """Datagrams of the service."""
        data = b""
        try:
            while True:
                one, self._peer = self._socket.recvfrom(65_536)
                data += one
        except OSError:
            return data

    def dropped(self) -> int:
        """Datagrams for which the socket of the service had no room, of /proc/net/udp."""
        port = f":{self._peer[1]:04X}" if self._peer else "none"
        rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
        return sum(int(row[-1]) for row in rows if row[1].endswith(port))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Tcp(Wire):
    """A TCP server that the service connects to."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0)
        self._socket: socket.socket | None = None
        self.url = f"tcp:127.0.0.1:{self._server.getsockname()[1]}"

    def write(self, data: bytes) -> int:
        """Write to the connection."""
        if self._socket is None:
            return len(data)
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._socket = None
            return len(data)

    def read(self) -> bytes:
        """Read from the connection; accept it first."""
        try:
            if self._socket is None:
                self._socket, _ = self._server.accept()
                self._socket.settimeout(0)
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:  # the service connects again
            self._socket = None
        return data

    def close(self) -> None:
        """Close both sockets."""
        if self._socket is not None:
            self._socket.close()
        self._server.close()


class Serial(Wire):
    """A pseudo terminal, written at the rate of 921,600 baud."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        os.set_blocking(self._master, False)
        self.url = f"serial:{os.ttyname(self._slave)}:921600"

    def write(self, data: bytes) -> int:
        """Write what the terminal accepts."""
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def read(self) -> bytes:
        """Read what the service wrote."""
        try:
            return os.read(self._master, 1 << 16)
        except OSError:
            return b""

    def close(self) -> None:
        """Close both ends."""
        os.close(self._master)
        os.close(self._slave)


LINKS: dict[str, Callable[[], Wire]] = {"udp": Udp, "tcp": Tcp, "serial": Serial}


# ---------------------------------------------------------------------- in one process


class Memory:
    """A link in memory: what is put into `coming` is received by the next step."""

    is_open, trouble = True, None

    def __init__(self) -> None:
        self.coming: list[bytes] = []
        self.sent: list[bytes] = []

    def send(self, data: bytes, _now_s: float) -> bool:
        """Store a frame."""
        self.sent.append(data)
        return True

    def receive(self, _now_s: float) -> list[bytes]:
        """Give what has come."""
        coming, self.coming = self.coming, []
        return coming


_log = logging.getLogger(__name__)


class Raised(logging.Handler):
    """Counts the exceptions in the log; prints each kind once."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._kinds: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record with an exception."""
        if record.exc_info is None or record.exc_info[1] is None:
            return
        self.count += 1
        kind = repr(record.exc_info[1])[:80]
        if kind not in self._kinds:
            self._kinds.add(kind)
            print("".join(traceback.format_exception(record.exc_info[1])[-3:]), file=sys.stderr)


def in_process(frames: int, rate_hz: float, seed: int, *, as_autopilot: bool = False) -> "Result":
    """Attack a bridge and the pipeline behind it in virtual time: every frame is received.

    With `as_autopilot` the followed autopilot itself sends all of it: then it may change settings,
    and its heartbeats are among what is random, so that exceptions and commands to others are
    judged alone.
    """
    result = Result(
        "autopilot" if as_autopilot else "memory", frames=frames, seconds=frames / rate_hz
    )
    link, clock = Memory(), VirtualClock()
    attacker = Attacker(seed, as_autopilot)
    bridge = Bridge(link, system_id=SYSTEM)
    bus, world = open_virtual("survey", clock, seed)
    pack_data = world.pack_data()
    rules = Rules((), (Action(Severity.EMERGENCY, ActionKind.RETURN),))
    pipeline = Pipeline(Gauge(bus, cells=pack_data.cells), pack_data, [bridge], rules=rules)
    vehicle = mavlink.MAVLink(None, SYSTEM, AUTOPILOT)
    pool = list(islice(attacker.frames(), min(frames, _POOL)))
    parser = mavlink.MAVLink(None)
    parser.robust_parsing = True
    last_s, sent = 0.0, 0
    raised = Raised()
    logging.getLogger().addHandler(raised)
    with tempfile.TemporaryDirectory() as folder:
        bridge.vehicle_control = VehicleControl(Path(folder))
        for step in range(int(frames / rate_hz / STEP_S) + 1):
            now_s = step * STEP_S
            clock.sleep_until(now_s)
            if step % round(1 / STEP_S) == 0:
                link.coming.append(
                    bytes(mavlink.MAVLink_heartbeat_message(2, 3, 128 | 1, 5, 4, 3).pack(vehicle))
                )
            due = min(round((step + 1) * STEP_S * rate_hz), frames)
            for kind, frame in attacker.random.choices(pool, k=due - sent):
                link.coming.append(frame)
                result.bytes += len(frame)
                result.kinds[kind] += 1
            sent = due
            try:
                pipeline.step(now_s, bridge.pump(now_s))
            except Exception:  # noqa: BLE001 - of any kind
                _log.exception("step %d", step)  # counted, and the attack goes on
            for message in parser.parse_buffer(b"".join(link.sent)) or ():
                if message.get_type() == "HEARTBEAT" and message.get_srcComponent() == COMPUTER:
                    result.late_s, last_s = max(result.late_s, now_s - last_s - 1.0), now_s
                elif message.get_type() in _ORDERS:
                    result.for_others += message.target_system != SYSTEM
            link.sent.clear()
    logging.getLogger().removeHandler(raised)
    result.exceptions = raised.count
    result.settings = 0 if as_autopilot else int(bridge.settings != Settings())
    return result


# ---------------------------------------------------------------------- a service under attack


@dataclass
class Result:
    """Figures of one link."""

    link: str
    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    dropped: int = 0
    exceptions: int = 0
    settings: int = 0
    for_others: int = 0
    late_s: float = 0.0
    own_pause_s: float = 0.0
    idle_mib: float = 0.0
    peak_mib: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def reached(self) -> bool:
        """Whether every goal is reached."""
        return not (self.exceptions or self.settings or self.for_others) and self.late_s <= LATEST_S

    def line(self) -> str:
        """The figures, in the order of `HEADING`."""
        return (
            f"{self.link:8}{self.frames:>9}{self.frames / max(self.seconds, 1e-9):>10.0f}{self.bytes / 1e6:>8.1f}{self.dropped:>9}"
            f"{self.exceptions:>11}{self.settings:>10}{self.for_others:>11}{self.late_s:>8.2f}{self.own_pause_s:>9.2f}{self.peak_mib:>7.1f} ({self.idle_mib:.1f})"
        )


HEADING = f"{'link':8}{'frames':>9}{'a second':>10}{'MB':>8}{'dropped':>9}{'exceptions':>11}{'settings':>10}{'for others':>11}{'late s':>8}{'pause s':>9}{'MiB':>7} (idle)"
_CONFIG = """
[[battery]]
bus = "sim:survey"
[mavlink]
url = "{url}"
system_id = 1
[[action]]
on = "emergency"
do = "return"
"""


class Target:
    """`dronebms run` on a wire; its vehicle sends a heartbeat each second."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self.wire = wire
        self.beats: list[float] = []
        self.orders: Messages = []
        self.values: dict[str, float] = {}
        self._parser = mavlink.MAVLink(None)
        self._parser.robust_parsing = True
        self._vehicle = mavlink.MAVLink(None, SYSTEM, AUTOPILOT)
        self._beat_s = 0.0
        self._stepped_s = time.monotonic()
        self.pause_s = 0.0
        self.log = folder / "log"
        config = folder / "service.toml"
        config.write_text(_CONFIG.format(url=wire.url))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "dronebms.cli", "run", "-c", str(config)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def step(self) -> None:
        """Be the vehicle, and read what the service sent."""
        now_s = time.monotonic()
        self.pause_s = max(self.pause_s, now_s - self._stepped_s)
        self._stepped_s = now_s
        if now_s - self._beat_s >= 1.0:
            self._beat_s = now_s
            beat = mavlink.MAVLink_heartbeat_message(2, 3, 128 | 1, 5, 4, 3)
            self.wire.write(bytes(beat.pack(self._vehicle)))
            self._vehicle.seq = (self._vehicle.seq + 1) & 0xFF
        for message in self._parser.parse_buffer(self.wire.read()) or ():
            kind, component = message.get_type(), message.get_srcComponent()
            if kind == "HEARTBEAT" and component == COMPUTER:
                self.beats.append(now_s)
            elif kind == "PARAM_VALUE" and component == COMPUTER:
                self.values[message.param_id] = message.param_value
            elif kind in _ORDERS:
                self.orders.append(message)

    def run(self, seconds: float) -> None:
        """Be the vehicle for some time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.step()
            select.select([], [], [], 0.01)

    def settings(self, wait_s: float) -> dict[str, float]:
        """Values of the settings, as the service answers; empty without an answer in time."""
        self.values.clear()
        ground = mavlink.MAVLink(None, GROUND, 190)
        request = mavlink.MAVLink_param_request_list_message(SYSTEM, COMPUTER)
        end_s = time.monotonic() + wait_s
        while len(self.values) < len(_SETTINGS) and time.monotonic() < end_s:
            self.wire.write(bytes(request.pack(ground)))
            self.run(1.0)
        return dict(self.values)

    def memory_mib(self, name: str) -> float:
        """VmRSS or VmHWM of the service; 0 after its end."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)

    def stop(self) -> int:
        """Stop it; return the number of exceptions."""
        early = self.process.poll() is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        text = self.log.read_text(errors="replace")
        return text.count("Traceback") + early + (code != 0)


def attacked(link: str, frames: int, rate_hz: float, seed: int) -> Result:
    """Attack a service over one link."""
    result = Result(link)
    attacker = Attacker(seed)
    pool = list(islice(attacker.frames(), min(frames, _POOL)))
    wire = LINKS[link]()
    with tempfile.TemporaryDirectory() as name:
        target = Target(wire, Path(name))
        try:
            start_s = time.monotonic()
            while len(target.beats) < _FIRST_BEATS and time.monotonic() - start_s < _START_S:
                target.run(0.2)
            before = target.settings(_ANSWER_S)
            if len(before) < len(_SETTINGS):
                raise SystemExit(
                    f"the service does not answer over {link}: {target.log.read_text()[-500:]}"
                )
            result.idle_mib = target.memory_mib("VmRSS")
            first = len(target.beats) - 1
            target.pause_s = 0.0
            _flood(target, result, pool, frames, rate_hz, attacker.random)
            _heavy(target, link)
            result.dropped = wire.dropped()
            target.run(_QUIET_S)
            beats = [*target.beats[first:], time.monotonic()]
            result.late_s = max(0.0, *(after - before - 1.0 for before, after in pairwise(beats)))
            after = target.settings(_ANSWER_S)
            result.settings = sum(before.get(one) != after.get(one) for one in _SETTINGS)
            result.for_others = sum(message.target_system != SYSTEM for message in target.orders)
            result.own_pause_s = target.pause_s
            result.peak_mib = target.memory_mib("VmHWM")
        finally:
            result.exceptions = target.stop()
            wire.close()
    return result


def _flood(
    target: Target,
    result: Result,
    pool: list[tuple[str, bytes]],
    frames: int,
    rate_hz: float,
    draw: random.Random,
) -> None:
    """Send frames at a rate: what the link does not accept is sent later, not left out."""
    start_s = time.monotonic()
    rest = b""
    while result.frames < frames and target.process.poll() is None:
        due = min(int((time.monotonic() - start_s) * rate_hz) + 1, frames)
        target.step()
        while result.frames < due and not rest:
            kind, frame = draw.choice(pool)
            rest = frame[target.wire.write(frame) :]
            result.frames += 1
            result.bytes += len(frame)
            result.kinds[kind] += 1
        rest = rest[target.wire.write(rest) :] if rest else rest
        select.select([], [], [], 0.002)
    result.seconds = time.monotonic() - start_s


def _heavy(target: Target, link: str) -> None:
    """First bytes of frames, 60 kB at a time for 3 s; over TCP then one byte a second."""
    data = (b"\xfe\x00" * 5 + b"\xfd\x00" * 5) * (_DATAGRAM // 20)
    end_s = time.monotonic() + 3.0
    rest = b""
    while time.monotonic() < end_s and link != "serial":
        rest = rest or data
        rest = rest[target.wire.write(rest) :]
        target.run(0.01)
    for byte in b"\xfd\xff\x00\x00\x00" if link == "tcp" else b"":
        target.wire.write(bytes((byte,)))
        target.run(1.0)


def main() -> int:
    """Attack over each link, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=10_000.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--links", nargs="+", choices=[*LINKS], default=[*LINKS])
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"seed {options.seed}; {len(Attacker(0).kinds())} kinds of frames, {_POOL} distinct ones a link"
    )
    print(HEADING)
    results = [in_process(options.frames, options.rate, options.seed)]
    results.append(in_process(options.frames, options.rate, options.seed, as_autopilot=True))
    for result in results:
        print(result.line(), flush=True)
    fast = [link for link in options.links if link != "serial"]
    for number, link in enumerate(options.links):
        count = options.frames // max(len(fast), 1)
        rate_hz = options.rate
        if link == "serial":
            pool = list(islice(Attacker(options.seed + number).frames(), 2000))
            rate_hz = BAUD_BYTES_HZ * len(pool) / sum(len(frame) for _, frame in pool)
            count = int(rate_hz * options.frames / options.rate / 10)
        results.append(attacked(link, count, rate_hz, options.seed + number))
        print(results[-1].line(), flush=True)
    reached = all(result.reached for result in results)
    late_s = max(result.late_s for result in results)
    print(
        f"goals (0 exceptions, 0 settings, 0 for others, late <= {LATEST_S} s): {'reached' if reached else 'MISSED'}; late at most {late_s:.2f} s"
    )
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
