# SPDX-License-Identifier: Apache-2.0
"""Scan of buses for packs.

Channels of multiplexers are selected only if the user permits it, and what was selected before is
selected again.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

from dronebms.probe.place import DEVICE, HOLDER, Notify, OpenBus, Place
from smartbattery import multiplexer
from smartbattery.bus import Bus
from smartbattery.device_lock import GaugeLock
from smartbattery.errors import BatteryError, IntegrityError, InUseError, NackError
from smartbattery.registers import VOLTAGE
from smartbattery.smbus import SmbusDevice

_NO_DEVICE = (0, 0xFFFF)  # words that some adapters read without a device


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
                for held in (address, *muxes) if path.startswith(DEVICE) else ():
                    stack.enter_context(closing(GaugeLock(path, held, HOLDER)))
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
