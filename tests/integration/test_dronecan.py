# SPDX-License-Identifier: Apache-2.0
"""DroneCAN on real sockets: nodes of the package `dronecan` receive what the service sends."""

import json
import logging
import os
import pty
import socket
import subprocess
import sys
import threading
import tty
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dronecan
import pytest
from dronecan.app import dynamic_node_id, node_monitor

from dronebms.core.clock import SystemClock
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import parse_can_url
from dronebms.dronecan.frames import CanFrame, FrameFilter
from dronebms.dronecan.node import NodeIdentity
from dronebms.dronecan.transports import MulticastTransport, SlcanTransport, open_transport
from tests.integration.namespace import can_network, run

__all__ = ["can_network"]  # a fixture
INFO, AUX = "uavcan.equipment.power.BatteryInfo", "ardupilot.equipment.power.BatteryInfoAux"
CLOCK = SystemClock()
SERVICE = """
[[battery]]
bus = "sim:survey"
[[battery]]
bus = "sim:hover"
[mavlink]
url = "udpout:127.0.0.1:14999"
[status]
socket = "{folder}/status.sock"
[dronecan]
url = "{bus}"
battery_id = 7
"""


@dataclass(frozen=True)
class Bus:
    """A bus of this machine, and how it is lost and comes back."""

    url: str
    peer: str  # by the name of the package `dronecan`
    make: tuple[str, ...] = ()
    lose: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()


BUSES = (
    Bus(
        "mcast:3", "mcast:3",
        lose=("ip route del 239.0.0.0/8 dev lo", "ip link set lo down"),
        restore=("ip link set lo up multicast on", "ip route add 239.0.0.0/8 dev lo"),
    ),
    Bus(
        "socketcan:vcan0", "vcan0",
        make=("ip link add vcan0 type vcan", "ip link set vcan0 up"),
        lose=("ip link set vcan0 down",),
        restore=("ip link set vcan0 up",),
    ),
)  # fmt: skip


class Peer:
    """A node of the package on a driver of its own, which may run a process."""

    def __init__(self, bus: str, node_id: int) -> None:
        self.node = dronecan.make_node(bus, node_id=node_id, mode=0)
        self.events: defaultdict[str, list[Any]] = defaultdict(list)
        for kind in (
            dronecan.uavcan.equipment.power.BatteryInfo,
            dronecan.ardupilot.equipment.power.BatteryInfoAux,
        ):
            self.node.add_handler(kind, self._take)

    def _take(self, event: Any) -> None:  # noqa: ANN401 - an untyped package
        name = dronecan.get_dronecan_data_type(event.message).full_name
        self.events[name].append(event)

    def until(self, ready: Any, timeout_s: float = 30.0) -> bool:  # noqa: ANN401 - a condition
        """Receive until a condition holds."""
        end_s = CLOCK.now_s() + timeout_s
        while not ready() and CLOCK.now_s() < end_s:
            with suppress(OSError):  # its bus is lost too
                self.node.spin(0.05)
        return bool(ready())

    def close(self) -> None:
        """Close the driver; that of a multicast bus is a process."""
        process = getattr(self.node.can_driver, "proc", None)
        if process is None:
            self.node.close()
        else:
            process.kill()
            process.join()


@pytest.fixture(params=BUSES, ids=lambda bus: bus.url)
def bus(can_network: None, request: pytest.FixtureRequest) -> Bus:  # noqa: ARG001 - its network
    wanted: Bus = request.param
    try:
        for command in wanted.make:
            run(command)
        if wanted.make:
            socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the kernel has no vcan (tests/integration/test_kernel_can.py has): {error}")
    return wanted


@pytest.fixture
def peer(bus: Bus) -> Iterator[Peer]:
    made = Peer(bus.peer, 127)
    yield made
    made.close()


@pytest.fixture
def service(bus: Bus, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    path = tmp_path / "service.toml"
    path.write_text(SERVICE.format(folder=tmp_path, bus=bus.url))
    program = [sys.executable, "-m", "dronebms.cli", "run", "-c", str(path)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(program, stderr=log)  # noqa: S603 - this program
        yield process
        process.terminate()
        process.wait(10)


def _newest(folder: Path) -> dict[int, dict[str, Any]]:
    """A line of the predictions contract of each of two batteries."""
    path = str(folder / "status.sock")
    program = [sys.executable, "-m", "dronebms.cli", "status", "--json", "--socket", path]
    found: dict[int, dict[str, Any]] = {}
    with subprocess.Popen(program, stdout=subprocess.PIPE) as viewer:  # noqa: S603 - this program
        assert viewer.stdout is not None
        for text in viewer.stdout:
            line = json.loads(text)
            found[line["battery"]] = line
            if len(found) == 2:
                break
        viewer.terminate()
    return found


@pytest.mark.slow
def test_the_service_is_allocated_ids_and_its_packs_are_received(
    peer: Peer, service: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    monitor = node_monitor.NodeMonitor(peer.node)
    server = dynamic_node_id.CentralizedServer(peer.node, monitor)

    assert peer.until(
        lambda: (
            len({event.message.battery_id for event in peer.events[INFO]}) == 2
            and len({event.message.battery_id for event in peer.events[AUX]}) == 2
            and all(monitor.exists(one) and monitor.get(one).info for one in (125, 124))
        )
    )
    names = [bytes(monitor.get(node_id).info.name) for node_id in (125, 124)]
    now = _newest(tmp_path)
    server.close()

    for number, (battery_id, node_id) in enumerate(((7, 125), (8, 124))):
        event = [one for one in peer.events[INFO] if one.message.battery_id == battery_id][-1]
        aux = [one for one in peer.events[AUX] if one.message.battery_id == battery_id][-1]
        assert event.transfer.source_node_id == aux.transfer.source_node_id == node_id
        assert event.message.voltage == pytest.approx(now[number]["voltage_v"], abs=1.0)
        assert len(aux.message.voltage_cell) == len(now[number]["cells_v"])
        assert now[number]["can_trouble"] is None
    assert names == [b"org.dronebms.battery"] * 2
    assert service.poll() is None


@pytest.mark.slow
def test_a_bus_that_goes_away_is_a_retry_of_the_service(
    bus: Bus, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ours = CanBus(parse_can_url(bus.url), CLOCK)
    node = ours.add_node(NodeIdentity(bytes(16), "org.dronebms", (1, 0), 42))
    ours.start()
    monitor = node_monitor.NodeMonitor(peer.node)
    try:
        assert peer.until(lambda: monitor.exists(42))
        for command in bus.lose:
            run(command)
        assert peer.until(lambda: ours.trouble is not None)
        for command in bus.restore:
            run(command)
        assert peer.until(lambda: ours.trouble is None)
        after = Peer(bus.peer, 126)  # the driver of the first one has ended with the bus

        def arrived() -> bool:
            ours.publish(node, INFO, {"voltage": 22.5}, 20)
            return bool(after.events[INFO])

        assert after.until(arrived)
        after.close()
    finally:
        ours.close()

    assert after.events[INFO][0].message.voltage == 22.5
    lines = [one.message for one in caplog.records if one.message.startswith("CAN bus")]
    assert lines[0] == lines[-1] == f"CAN bus {bus.url} is open, node id 42"
    assert len(lines) == 3


@pytest.mark.usefixtures("can_network")
def test_two_transports_exchange_frames_and_see_no_frame_of_their_own() -> None:
    one, other = MulticastTransport("239.65.82.3"), MulticastTransport("239.65.82.3")
    frames = [CanFrame(20 << 24 | 1092 << 8 | 7, bytes(range(size))) for size in range(9)]
    for transport in (one, other):
        transport.accept(FrameFilter(frozenset({1092})))

    for frame in frames:
        assert one.send(frame)
    assert one.send(CanFrame(20 << 24 | 1028 << 8 | 7, b"foreign"))

    assert other.receive() == frames
    assert one.receive() == []
    one.close()
    other.close()


@pytest.mark.usefixtures("can_network")
@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x34\x29", bytes(74), b"\x34\x29\0\0\0\0\x07\x44\x04\x94", b"\x34\x29" + bytes(100)],
)
def test_a_datagram_that_is_no_frame_is_dropped(datagram: bytes) -> None:
    transport = MulticastTransport("239.65.82.3")
    transport.accept(FrameFilter(frozenset({1092})))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(datagram, ("239.65.82.3", 57732))

    assert transport.receive() == []
    transport.close()


# ---------------------------------------------------------------------- SLCAN


def test_slcan_opens_the_bus_and_carries_lines() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    transport = SlcanTransport(os.ttyname(theirs))
    transport.accept(FrameFilter(frozenset({1092})))

    assert os.read(ours, 100) == b"\rC\rS8\rO\r"
    assert transport.send(CanFrame(0x1404442A, b"\x01\xab"))
    assert os.read(ours, 100) == b"T1404442A201AB\r"
    # An acknowledgement, a standard frame, a bell, a foreign frame, a bad one; then a frame that is
    # needed with a time stamp, cut in two.
    os.write(ours, b"z\rt1232AABB\r\x07T14040407101\rT1404440710\rT14044407")
    assert transport.receive() == []
    os.write(ours, b"3010203ABCD\r")
    assert transport.receive() == [CanFrame(0x14044407, b"\x01\x02\x03")]
    transport.close()
    assert os.read(ours, 100) == b"C\r"
    os.close(ours)
    os.close(theirs)


def test_an_unplugged_adapter_is_a_lost_bus() -> None:
    ours, theirs = pty.openpty()
    transport = SlcanTransport(os.ttyname(theirs))
    os.close(theirs)
    os.close(ours)

    with pytest.raises(OSError, match=r"disconnected|Input/output"):
        transport.receive()
    transport.close()


def test_a_file_is_no_slcan_adapter(tmp_path: Path) -> None:
    (tmp_path / "x").touch()

    with pytest.raises(OSError, match="not a serial port"):
        SlcanTransport(str(tmp_path / "x"))


# ---------------------------------------------------------------------- SocketCAN


@pytest.mark.parametrize("bus", BUSES[1:], ids=["vcan"], indirect=True)
def test_a_kernel_bus_passes_what_the_filter_accepts(bus: Bus) -> None:
    one, other = (open_transport(parse_can_url(bus.url)) for _ in range(2))
    other.accept(FrameFilter(frozenset({1092})))
    frames = [CanFrame(20 << 24 | 1092 << 8 | 7, bytes(range(size))) for size in range(9)]

    for frame in (*frames, CanFrame(20 << 24 | 1028 << 8 | 7, b"foreign")):
        assert one.send(frame)

    assert other.receive() == frames
    assert one.receive() == []
    for command in bus.lose:
        run(command)
    with pytest.raises(OSError, match="down"):
        other.send(frames[0])
    one.close()
    other.close()


@pytest.mark.usefixtures("can_network")
def test_a_thread_of_a_bus_ends() -> None:
    bus = CanBus(parse_can_url("mcast:3"), CLOCK)
    bus.start()
    bus.close()

    assert not [one for one in threading.enumerate() if one.name == "CAN mcast:3"]
