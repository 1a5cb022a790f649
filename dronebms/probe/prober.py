# SPDX-License-Identifier: Apache-2.0
"""The prober: opens the bus, reads a pack once or every second, records, scans for packs.

The only writes to a gauge are the selectors of manufacturer-access reads. A multiplexer's channel
is selected only when the user names one. A recording is a magic line, a line with bus, address and
profile, and a line for each transfer.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from dronebms.core.atomic_file import created
from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.clock import Clock
from dronebms.core.disk import not_written, write_all
from dronebms.core.errors import ConfigError, RecordingError
from dronebms.core.service_defaults import AUTO, SIMULATED
from dronebms.probe.readout import Readout, read_pack
from smartbattery import multiplexer
from smartbattery.bus import Bus
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import BatteryError, IntegrityError, InUseError, NackError
from smartbattery.profiles import profile_named
from smartbattery.registers import ADDRESS, VOLTAGE
from smartbattery.smbus import SmbusDevice

MAGIC = b"dronebms-probe 1\n"
_DEVICE = "/dev/"
_MAX_BYTES = 64 << 20  # of a recording: a readout has some 10 kB
_HOLDER = "dronebms probe"
_LOCK_WAIT_S = 10.0
_LOCK_RETRY_S = 0.5
_PERIOD_S = 1.0
_NO_DEVICE = (0, 0xFFFF)  # words that some adapters read without a device
OpenBus = Callable[[str], Bus]  # a device or "sim:SCENARIO"
Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Bus, address, profile and multiplexer channel of a pack."""

    bus: str
    address: int = ADDRESS
    gauge: str = AUTO
    channel: tuple[int, int] | None = None  # address and channel of a multiplexer

    def __str__(self) -> str:
        """As command-line options."""
        text = f"--bus {self.bus} --address 0x{self.address:02x}"
        if self.channel is None:
            return text
        return "{} --mux-address 0x{:02x} --mux-channel {}".format(text, *self.channel)


class Prober:
    """Reads one pack until it is closed.

    Args:
        place: the pack; its bus may also be a recording.
        open_bus: opens a device or a simulation.
        clock: for waiting.
        notify: receives a sentence when the prober has to wait.
        stack: closes the bus, the locks and the recording.

    Raises:
        BatteryError: another program has locked the gauge.
        ConfigError: the bus or the recording cannot be read.
        RecordingError: the recording is damaged.
    """

    def __init__(
        self, place: Place, open_bus: OpenBus, clock: Clock, notify: Notify, stack: ExitStack
    ) -> None:
        self._clock = clock
        self._stack = stack
        self._played: list[Transfer] = []
        self._length: int | None = None  # of a recording
        if place.bus.startswith((_DEVICE, SIMULATED)):
            if place.bus.startswith(_DEVICE):
                for address in (place.address, *(place.channel or ())[:1]):
                    stack.enter_context(closing(_locked(place.bus, address, clock, notify)))
            self._bus = open_bus(place.bus)
            if place.channel is not None:
                self._bus = multiplexer.MuxBus(self._bus, *place.channel)
        else:
            place, transfers = read_recording(Path(place.bus))
            self._length = len(transfers)
            self._bus = RecordingBus(PlaybackBus(transfers), self._played.append)
        self.place = place

    def record(self, path: Path) -> None:
        """Record every transfer from now on.

        Raises:
            ConfigError: the file exists or cannot be written.
        """
        try:
            head = MAGIC + _line([self.place.bus, self.place.address, self.place.gauge])
            file = self._stack.enter_context(created(path, head))
        except FileExistsError as error:
            raise ConfigError(f"{path} exists already; recordings are never overwritten") from error
        except OSError as error:
            raise not_written(path, error) from error

        def write(line: bytes) -> None:
            try:
                write_all(file.fileno(), line)
            except OSError as error:
                raise not_written(path, error) from error

        self._bus = RecordingBus(self._bus, lambda transfer: write(_line(transfer.to_json())))

    def read(self) -> Readout:
        """Read the pack.

        Raises:
            BatteryError: no pack, or the bus fails.
        """
        return read_pack(self._bus, self.place.address, profile_named(self.place.gauge))

    def wait(self) -> bool:
        """Wait until the next readout is due; false at the end of a recording."""
        if self._length is not None:
            return len(self._played) < self._length
        self._clock.sleep_until(self._clock.now_s() + _PERIOD_S)
        return True


def _line(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _locked(path: str, address: int, clock: Clock, notify: Notify) -> GaugeLock:
    until_s = clock.now_s() + _LOCK_WAIT_S
    notified = False
    while True:
        try:
            return GaugeLock(path, address, _HOLDER)
        except InUseError as error:
            if clock.now_s() >= until_s:
                raise
            if not notified:
                notify(f"{error}; waiting for up to {_LOCK_WAIT_S:g} s")
            notified = True
        clock.sleep_until(clock.now_s() + _LOCK_RETRY_S)


def read_recording(path: Path) -> tuple[Place, list[Transfer]]:
    """Place and transfers of a recording; an incomplete last line is ignored.

    Raises:
        ConfigError: the file cannot be read, or is no recording of a probe.
        RecordingError: the recording is damaged.
    """
    try:
        data = read_bytes(path, _MAX_BYTES)
    except BoundError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if not data.startswith(MAGIC):
        raise ConfigError(
            f"{path} is no bus: expected /dev/i2c-N, sim:SCENARIO or a recording of {_HOLDER}"
        )
    rows = []
    for number, line in enumerate(data.split(b"\n")[1:-1], start=2):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{path} line {number} is damaged") from error
    match rows:
        case [[str(bus), int(address), str(gauge)], *transfers]:
            try:
                return Place(bus, address, gauge), [Transfer.from_json(row) for row in transfers]
            except IntegrityError as error:
                raise RecordingError(f"{path} is damaged: {error}") from error
    raise RecordingError(f"{path} is damaged: line 2 has no bus and address")


# ---------------------------------------------------------------------- scan


def scan(
    paths: Sequence[str], address: int, open_bus: OpenBus, notify: Notify, *, with_mux: bool
) -> Iterator[tuple[Place, str]]:
    """Yield the place of each pack that answers, and its voltage.

    Args:
        paths: the buses.
        address: 7-bit.
        open_bus: opens one of them.
        notify: receives the error of a bus that cannot be used.
        with_mux: whether to select channels of devices at the addresses of multiplexers.
    """
    for path in paths:
        try:
            bus = open_bus(path)
            with ExitStack() as stack:
                muxes = _muxes(bus) if with_mux else {}
                for held in (address, *muxes) if path.startswith(_DEVICE) else ():
                    stack.enter_context(closing(GaugeLock(path, held, _HOLDER)))
                yield from _scan_bus(bus, Place(path, address), muxes)
        except InUseError as error:
            yield Place(path, address), str(error)
        except BatteryError as error:
            notify(str(error))


def _muxes(bus: Bus) -> dict[int, bytes]:
    """Control byte of each multiplexer that answers, by address."""
    selected = {}
    for address in multiplexer.ADDRESSES:
        try:
            selected[address] = bus.transfer(address, b"", 1)
        except NackError:
            pass
    return selected


def _scan_bus(bus: Bus, place: Place, selected: dict[int, bytes]) -> Iterator[tuple[Place, str]]:
    try:
        for address in selected:
            bus.transfer(address, b"\x00", 0)
        direct = list(_found(bus, place))
        yield from direct
        for address in () if direct else selected:  # it would answer on every channel
            for channel in multiplexer.CHANNELS:
                behind = Place(place.bus, place.address, channel=(address, channel))
                yield from _found(multiplexer.MuxBus(bus, address, channel), behind)
            bus.transfer(address, b"\x00", 0)
    finally:
        for address, control in selected.items():
            bus.transfer(address, control, 0)


def _found(bus: Bus, place: Place) -> Iterator[tuple[Place, str]]:
    try:
        raw = SmbusDevice(bus, place.address).read_word(VOLTAGE.command)
    except (NackError, IntegrityError):
        return
    if raw not in _NO_DEVICE:
        volts = VOLTAGE.decode(raw)
        yield place, "no plausible voltage" if volts is None else f"{volts:.3f} V"
