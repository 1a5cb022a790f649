# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: plugs an adapter in; our driver and the kernel's read the virtual gauge.

Judges nothing: each result is a line of JSON on the port that is the first argument, for
tests/integration/test_kernel_i2c.py.
"""

import ctypes
import errno
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import smbus2

from dronebms.core.clock import VirtualClock
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, BusTimeoutError, NackError
from smartbattery.gauge import Gauge
from smartbattery.linux_bus import LinuxBus
from smartbattery.registers import ADDRESS, TEXTS, WORDS
from tests.integration.kernel.calls import outcomes
from tests.integration.kernel.cp2112 import Cp2112
from tests.integration.kernel.tiny_usb import TinyUsb

PACK = Path(__file__).with_name("pack.toml")
EEPROM = 0x50  # of many boards: an address that a search must not touch
EEPROM_BYTES, EEPROM_READ = 256, 16
STATE = b"/var/lib"  # the guest's root is read-only
GROUND = 14550  # port of ground stations, to which a new configuration sends
AT_S = 60.0  # time of the flight; constant, so that every reader reads the same values
ABSENT = 0x2A
UNKNOWN_COMMAND = 0x70
VOLTAGE, MANUFACTURER = 0x09, 0x20
READ_VOLTAGE = bytes((VOLTAGE,))
SELECT_STATUS = b"\x00\x06\x00"  # the manufacturer's status, as sbs-battery selects it too
WAIT_S = 20.0
STEP_S = 0.02
SERVICE_S = 40.0
FRAMES = 16
STORM = 200
GONE_TRIES = 5  # half a second of the service's polls
STRETCH_S = 0.025  # System Management Bus specification 2.0, T_LOW:SEXT

Json = Any  # an argument of json.dumps
Check = Callable[["Stage"], Json]


class Eeprom:
    """A memory whose every write of more than its pointer changes it."""

    def __init__(self) -> None:
        self.memory = bytearray(range(EEPROM_BYTES))
        self.pointer = 0

    def transfer(self, tx: bytes, rx_len: int) -> bytes:
        """Do one raw transfer."""
        if tx:
            self.pointer = tx[0]
        for value in tx[1:]:
            self.memory[self.pointer] = value
            self.pointer = (self.pointer + 1) % EEPROM_BYTES
        places = range(self.pointer, self.pointer + rx_len)
        self.pointer = (self.pointer + rx_len) % EEPROM_BYTES
        return bytes(self.memory[place % EEPROM_BYTES] for place in places)


class Wire:
    """The virtual bus with an EEPROM on it, and a fault that a check may inject before a transfer.

    Attributes:
        transfers: address, bytes written and number of bytes read, of all so far.
    """

    def __init__(self, bus: Bus) -> None:
        self.trouble: Callable[[], None] | None = None
        self.eeprom = Eeprom()
        self.transfers: list[tuple[int, str, int]] = []
        self._bus = bus

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one raw transfer; see `smartbattery.bus.Bus`."""
        self.transfers.append((address, tx.hex(), rx_len))
        if self.trouble is not None:
            self.trouble()
        if address == EEPROM:
            return self.eeprom.transfer(tx, rx_len)
        return self._bus.transfer(address, tx, rx_len)


class Adapter(Protocol):
    """An adapter that can be plugged in."""

    kernel_name: str  # its name in the kernel's driver, or a part of it

    def plug(self) -> None:
        """Plug in."""

    def unplug(self) -> None:
        """Unplug."""


class Stage:
    """One adapter with the virtual gauge behind it, by its kernel device."""

    def __init__(self, make: Callable[[Bus], Adapter]) -> None:
        virtual, world = open_virtual(str(PACK), VirtualClock(AT_S))
        self.gauge = world.gauge
        self.wire = Wire(virtual)
        self.adapter = make(self.wire)
        virtual.transfer(ADDRESS, READ_VOLTAGE, 2)  # the flight advances to its time
        self.plug()

    def plug(self) -> None:
        """Plug the adapter in and wait for its device."""
        before = set(self._paths())
        self.adapter.plug()
        self.path = wait_for(lambda: next(iter(set(self._paths()) - before), None))

    def unplug(self) -> None:
        """Unplug it, and wait until its device is absent."""
        self.adapter.unplug()
        wait_for(lambda: not Path(self.path).exists() or None)

    def _paths(self) -> list[str]:
        named = Path("/sys/class/i2c-dev").glob("*/name")
        names = [path for path in named if self.adapter.kernel_name in path.read_text()]
        paths = [f"/dev/{path.parent.name}" for path in names]
        return [path for path in paths if Path(path).exists()]

    @contextmanager
    def trouble(self, trouble: Callable[[], None]) -> Iterator[None]:
        """Inject a fault into every transfer."""
        self.wire.trouble = trouble
        try:
            yield
        finally:
            self.wire.trouble = None


def wait_for(look: Callable[[], Any]) -> Any:  # noqa: ANN401 - any result
    """The first result of `look` that is not empty."""
    end_s = time.monotonic() + WAIT_S
    while (found := look()) is None:
        if time.monotonic() > end_s:
            raise TimeoutError("waited in vain")
        time.sleep(STEP_S)
    return found


def outcome(call: Callable[[], object]) -> Json:
    """Outcome of a call: a value, or the name, sentence and errno of its error."""
    try:
        value = call()
    except (BatteryError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        number = cause.errno if isinstance(cause, OSError) else None
        return {
            "error": type(error).__name__,
            "errno": errno.errorcode.get(number or 0),
            "text": str(error),
        }
    return {"value": value.hex() if isinstance(value, bytes) else value}


@contextmanager
def our_bus(stage: Stage) -> Iterator[LinuxBus]:
    """Our bus; an unplugged adapter remains until the last file on it is closed."""
    with closing(LinuxBus(stage.path)) as bus:
        yield bus


def read_by_us(stage: Stage) -> Json:
    """Values of our driver after it has identified a pack."""
    with our_bus(stage) as bus:
        return asdict(Gauge(bus).poll(1.0))


class Listener(logging.Handler):
    """Collects log messages."""

    def __init__(self, logged: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._logged = logged

    def emit(self, record: logging.LogRecord) -> None:
        """Collect one message."""
        self._logged.append(record.getMessage())


@contextmanager
def warnings() -> Iterator[list[str]]:
    """Warnings of our library meanwhile."""
    logged: list[str] = []
    logger = logging.getLogger("smartbattery")
    listener = Listener(logged)
    logger.addHandler(listener)
    try:
        yield logged
    finally:
        logger.removeHandler(listener)


# ---------------------------------------------------------------------- checks


def truth(stage: Stage) -> Json:
    """Words and texts of the gauge, without any driver."""
    words = {}
    for row in WORDS:
        with suppress(NackError):
            words[row.command] = int.from_bytes(
                stage.gauge.reply(bytes((row.command,)), 2), "little"
            )
    texts = [stage.gauge.reply(bytes((command,)), 33) for _, _, command in TEXTS]
    return {"words": words, "texts": [text[1 : 1 + text[0]].decode() for text in texts]}


def functions(stage: Stage) -> Json:
    """Functionality of the adapter, as the kernel reports it."""
    with smbus2.SMBus(stage.path) as bus:
        return int(bus.funcs)


def calls(stage: Stage) -> Json:
    """Outcomes of the calls of smbus2, without and with PEC."""
    with smbus2.SMBus(stage.path) as bus:
        can_pec = bool(bus.funcs & smbus2.I2cFunc.SMBUS_PEC)
        return [outcomes(bus, pec=pec) for pec in ((False, True) if can_pec else (False,))]


def snapshot(stage: Stage) -> Json:
    """Values of our driver."""
    return read_by_us(stage) | {"refused_writes": stage.gauge.refused_writes}


def absent(stage: Stage) -> Json:
    """Errors of our bus at an absent address, and for a command that the gauge does not have."""
    with our_bus(stage) as bus:
        return {
            "address": outcome(lambda: bus.transfer(ABSENT, READ_VOLTAGE, 2)),
            "command": outcome(lambda: bus.transfer(ADDRESS, bytes((UNKNOWN_COMMAND,)), 2)),
            "after": outcome(lambda: bus.transfer(ADDRESS, READ_VOLTAGE, 2)),
        }


def kernel_block(stage: Stage) -> Json:
    """The maker's name by the kernel's own block read, and by ours."""
    with smbus2.SMBus(stage.path) as bus:
        kernels = outcome(lambda: bytes(bus.read_block_data(ADDRESS, MANUFACTURER)))
    return {"kernel": kernels, "ours": read_by_us(stage)["identity"]["manufacturer"]}


def nack_storm(stage: Stage) -> Json:
    """Outcomes of transfers of which two of three are refused, and the values afterwards."""
    turns = itertools.count()

    def refuse() -> None:
        if next(turns) % 3:
            raise NackError("busy")

    with our_bus(stage) as bus:
        gauge = Gauge(bus)
        with stage.trouble(refuse):
            tries = [outcome(lambda: bus.transfer(ADDRESS, READ_VOLTAGE, 3)) for _ in range(STORM)]
            gauge.poll(1.0)
        after = asdict(gauge.poll(2.0))
    return {"ends": Counter(end.get("error", "read") for end in tries), "after": after}


def slow(stage: Stage) -> Json:
    """Values of a slave that stretches every transfer by the maximum of SMBus."""
    with stage.trouble(lambda: time.sleep(STRETCH_S)):
        return read_by_us(stage)


def stuck(stage: Stage) -> Json:
    """Errors of our bus while the slave holds the clock, and after its release."""

    def hold() -> None:
        raise BusTimeoutError("the clock is held")

    with our_bus(stage) as bus:
        with stage.trouble(hold):
            held = outcome(lambda: bus.transfer(ADDRESS, READ_VOLTAGE, 2))
        return {"held": held, "after": outcome(lambda: bus.transfer(ADDRESS, READ_VOLTAGE, 2))}


def judge(stage: Stage) -> Json:
    """Values of the kernel's sbs-battery driver, and outcomes of others while it is bound."""
    device = Path("/sys/bus/i2c/devices") / Path(stage.path).name
    (device / "new_device").write_text(f"sbs-battery 0x{ADDRESS:02x}\n")
    supply = wait_for(lambda: next(Path("/sys/class/power_supply").glob("sbs-*"), None))
    shown = {path.name: _text(path) for path in supply.iterdir() if path.is_file()}
    writes = stage.gauge.refused_writes
    with our_bus(stage) as bus, smbus2.SMBus(stage.path) as other, warnings() as logged:
        bound = {
            "transfer": outcome(lambda: bus.transfer(ADDRESS, READ_VOLTAGE, 2)),
            "write": outcome(lambda: bus.transfer(ADDRESS, SELECT_STATUS, 0)),
            "read_word_data": outcome(lambda: other.read_word_data(ADDRESS, VOLTAGE)),
            "logged": logged,
            "snapshot": read_by_us(stage),
            "writes": stage.gauge.refused_writes - writes,
        }
    (device / "delete_device").write_text(f"0x{ADDRESS:02x}\n")
    return {"shown": shown, "bound": bound}


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def vanishing(stage: Stage) -> Json:
    """Errors of our bus with an adapter that is unplugged and plugged in again."""
    before = stage.path
    with our_bus(stage) as bus:
        bus.transfer(ADDRESS, READ_VOLTAGE, 2)
        stage.unplug()
        gone = [outcome(lambda: bus.transfer(ADDRESS, READ_VOLTAGE, 2)) for _ in range(GONE_TRIES)]
        released = not _files_on(before)
        bus.close()  # else the old adapter retains its number, and may block the whole USB
        stage.plug()
        back = outcome(lambda: bus.transfer(ADDRESS, READ_VOLTAGE, 2))
    return {"gone": gone, "released": released, "paths": [before, stage.path], "back": back}


def _files_on(path: str) -> list[str]:
    files = [file for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    targets = [str(file.readlink()).removesuffix(" (deleted)") for file in files]
    return [target for target in targets if target == path]


def installed(stage: Stage) -> Json:
    """A new user's way: `init`, `check` and `run`, with the transfers of the first two."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"state", STATE, b"tmpfs", 0, b"size=2g") != 0:
        raise OSError(ctypes.get_errno(), "the state has no place", STATE)
    file = Path(os.environ["TMPDIR"]) / "dronebms.toml"
    wire, read = stage.wire, smbus2.i2c_msg.read(EEPROM, EEPROM_READ)
    with smbus2.SMBus(stage.path) as bus:
        bus.i2c_rdwr(smbus2.i2c_msg.write(EEPROM, [0]), read)
    seen: dict[str, Json] = {"path": stage.path, "eeprom_read": bytes(read).hex()}
    stage.gauge.refused_writes = 0
    for name, *words in (("init", "--defaults", "-o", str(file)), ("check", "-c", str(file))):
        wire.transfers.clear()
        seen[name] = dronebms(name, *words) | {"transfers": list(wire.transfers)}
    seen["file"] = file.read_text()
    wire.transfers.clear()
    seen["run"] = service(file)
    seen["run"]["addresses"] = sorted({address for address, _, _ in wire.transfers})
    seen["eeprom"] = [wire.eeprom.memory.hex(), wire.eeprom.pointer]
    return seen | {"refused_writes": stage.gauge.refused_writes}


def service(file: Path) -> dict[str, Json]:
    """The first frames of `dronebms run`, and its exit on SIGTERM."""
    frames: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ground:
        ground.bind(("127.0.0.1", GROUND))
        ground.settimeout(1.0)
        words = [sys.executable, "-m", "dronebms.cli", "run", "-c", str(file)]
        running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
        end_s = time.monotonic() + SERVICE_S
        while len(frames) < FRAMES and running.poll() is None and time.monotonic() < end_s:
            with suppress(TimeoutError):
                frames.append(ground.recv(1024).hex())
        running.terminate()
        _, logged = running.communicate(timeout=SERVICE_S)
    return {"frames": frames, "code": running.returncode, "logged": logged}


def probe(stage: Stage) -> Json:
    """Output of `dronebms probe`."""
    return dronebms("probe", "--bus", stage.path, "--json")


def dronebms(*words: str) -> dict[str, Json]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "dronebms.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    return {"code": done.returncode, "logged": done.stderr, "printed": done.stdout}


EVERYWHERE: tuple[Check, ...] = (
    truth, functions, snapshot, calls, absent, kernel_block, nack_storm, slow, stuck, judge,
    vanishing,
)  # fmt: skip
# A program takes 10 s to load in the guest. A probe reads much that a gauge refuses, which a
# CP2112 reports as a stuck bus; a Raspberry Pi, whose adapter is like the other, runs the service.
ADAPTERS: tuple[tuple[Callable[[Bus], Adapter], Check], ...] = (
    (Cp2112, probe),
    (TinyUsb, installed),
)


def main(port: Path) -> None:
    """Run every check on every adapter; the result of a failed check is its traceback."""
    if not port.is_char_device():
        sys.exit(f"{port} is no port: its results would be lost")
    with port.open("w", buffering=1) as lines:
        for make, program in ADAPTERS:
            stage = Stage(make)
            for check in (*EVERYWHERE, program):
                start_s = time.monotonic()
                try:
                    end = {"result": check(stage)}
                except Exception:  # noqa: BLE001 - reported to the test
                    end = {"failed": traceback.format_exc()}
                which = {"adapter": stage.adapter.kernel_name, "check": check.__name__}
                row = which | end | {"took_s": time.monotonic() - start_s}
                lines.write(json.dumps(row, default=str) + "\n")
            stage.unplug()  # the next adapter is the only one


if __name__ == "__main__":
    main(Path(sys.argv[1]))
