# SPDX-License-Identifier: Apache-2.0
"""What is connected to this machine: packs, serial ports, CAN interfaces, an autopilot.

Only reads: of each I2C adapter the voltage word at the usual address, as `dronebms probe --scan`;
of links the heartbeat, to which nothing is sent. A port that another program uses is left alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from dronebms.cli.devices import can_interfaces, i2c_adapters, programs_using, serial_ports
from dronebms.core.clock import Clock
from dronebms.probe.place import Place
from dronebms.probe.scan import scan
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.codec import Codec
from mavlink_bridge.protocol.link import open_link
from smartbattery.bus import Bus
from smartbattery.registers import ADDRESS

# Where ground stations and companion computers receive MAVLink: MAVProxy, QGroundControl; PX4.
UDP_URLS = ("udpin:0.0.0.0:14550", "udpin:0.0.0.0:14540")
BAUD_RATES = (921600, 57600, 115200)  # of telemetry ports, the usual one first
_LISTEN_S = 1.5  # a heartbeat is sent once a second
_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class FoundAutopilot:
    """A vehicle whose heartbeat was received."""

    url: str
    stack: str
    system_id: int
    monitors: tuple[int, ...]  # BATTERY_STATUS.id of its own battery monitors

    def __str__(self) -> str:
        """As a row of the list of what was found."""
        return f"{self.stack}, system {self.system_id}, at {self.url}"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found."""

    packs: tuple[tuple[Place, str], ...] = ()  # with its voltage, as text
    ports: tuple[str, ...] = ()
    can: tuple[str, ...] = ()
    autopilot: FoundAutopilot | None = None

    def lines(self) -> Iterator[str]:
        """One line of each kind."""
        yield f"packs: {', '.join(f'{place.bus} {text}' for place, text in self.packs) or 'none'}"
        yield f"serial ports: {', '.join(self.ports) or 'none'}"
        if self.can:
            yield f"CAN interfaces: {', '.join(self.can)}"
        yield f"autopilot: {self.autopilot or 'none'}"


def search(
    clock: Clock,
    open_bus: Callable[[str], Bus],
    adapters: Sequence[str] | None = None,
    ports: Sequence[str] | None = None,
    urls: Sequence[str] = UDP_URLS,
) -> Found:
    """Look at the machine, for at most 5 s.

    Args:
        clock: for waiting.
        open_bus: opens an adapter.
        adapters: device files of the I2C adapters; `None`: all of this machine.
        ports: device files of the serial ports; `None`: all of this machine.
        urls: links to listen on, apart from the ports.
    """
    buses = i2c_adapters() if adapters is None else adapters
    packs = tuple(scan(buses, ADDRESS, open_bus, lambda _: None, with_mux=False))
    present = tuple(serial_ports() if ports is None else ports)
    return Found(packs, present, tuple(can_interfaces()), _autopilot(urls, present, clock))


def _autopilot(urls: Sequence[str], ports: Sequence[str], clock: Clock) -> FoundAutopilot | None:
    free = [port for port in ports if not programs_using(Path(port))]
    for baud in BAUD_RATES:
        serial = [f"serial:{port}:{baud}" for port in free]
        found = _first_heartbeat([*urls, *serial], clock)
        if found is not None or not free:
            return found
        urls = ()
    return None


def _first_heartbeat(urls: Sequence[str], clock: Clock) -> FoundAutopilot | None:
    """The autopilot that is received first, after the whole time to listen."""
    with ExitStack() as stack:
        links = [stack.enter_context(closing(open_link(url))) for url in urls]
        codecs = [(url, Codec(link)) for url, link in zip(urls, links, strict=True)]
        vehicles = {url: Autopilot() for url in urls}
        monitors: dict[str, set[int]] = {url: set() for url in urls}
        end_s = clock.now_s() + _LISTEN_S
        while clock.now_s() < end_s:
            for url, codec in codecs:
                for message in codec.receive(clock.now_s()):
                    vehicles[url].receive(message, clock.now_s())
                    if message.get_type() == "BATTERY_STATUS":
                        monitors[url].add(message.id)
            clock.sleep_until(clock.now_s() + _STEP_S)
    for url, vehicle in vehicles.items():
        if vehicle.kind is not None:
            ids = tuple(sorted(monitors[url]))
            return FoundAutopilot(url, vehicle.stack.name, vehicle.system_id, ids)
    return None
