# SPDX-License-Identifier: Apache-2.0
"""The prober: opens the bus of a pack, reads the pack once or every second, records its transfers.

The only writes to a gauge are the selectors of manufacturer-access reads. A multiplexer's channel
is selected only when the user names one.
"""

from contextlib import ExitStack, closing
from pathlib import Path

from dronebms.core.atomic_file import created
from dronebms.core.clock import Clock
from dronebms.core.disk import not_written, write_all
from dronebms.core.errors import ConfigError
from dronebms.core.service_defaults import SIMULATED
from dronebms.probe.place import DEVICE, HOLDER, Notify, OpenBus, Place
from dronebms.probe.readout import Readout, read_pack
from dronebms.probe.recording import MAGIC, read_recording, recorded_line
from smartbattery import multiplexer
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import InUseError
from smartbattery.profiles import profile_named

_LOCK_WAIT_S = 10.0
_LOCK_RETRY_S = 0.5
_PERIOD_S = 1.0


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
        if place.bus.startswith((DEVICE, SIMULATED)):
            if place.bus.startswith(DEVICE):
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
            head = MAGIC + recorded_line([self.place.bus, self.place.address, self.place.gauge])
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

        self._bus = RecordingBus(
            self._bus, lambda transfer: write(recorded_line(transfer.to_json()))
        )

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


def _locked(path: str, address: int, clock: Clock, notify: Notify) -> GaugeLock:
    until_s = clock.now_s() + _LOCK_WAIT_S
    notified = False
    while True:
        try:
            return GaugeLock(path, address, HOLDER)
        except InUseError as error:
            if clock.now_s() >= until_s:
                raise
            if not notified:
                notify(f"{error}; waiting for up to {_LOCK_WAIT_S:g} s")
            notified = True
        clock.sleep_until(clock.now_s() + _LOCK_RETRY_S)
