# SPDX-License-Identifier: Apache-2.0
"""The bridge on a serial telemetry link: partial frames, an unplugged port, data rate."""

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import Severity
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.link import open_link
from tests.mavlink_bridge.fake_vehicle import FakeVehicle
from tests.mavlink_bridge.loopback import until
from tests.mavlink_bridge.reports import a_report, an_event

SPEEDS = {57600: termios.B57600, 921600: termios.B921600}
TELEMETRY_BYTES_S = 5760  # 57600 baud, ten bits a byte


class Port:
    """A serial port that can be unplugged, and the flight controller connected to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ttyDRONE"
        self._codec = mavlink.MAVLink(None, 1, 1)
        self._parser = mavlink.MAVLink(None)
        self._parser.robust_parsing = True
        self._far: int | None = None
        self._received: set[str] = set()
        self.plug()

    def plug(self) -> None:
        """Connect the port."""
        self._received.clear()
        self._far, near = os.openpty()
        tty.setraw(near)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(near))
        os.set_blocking(self._far, False)
        os.close(near)

    def pull(self) -> None:
        """Disconnect the port."""
        if self._far is not None:
            os.close(self._far)
        self.path.unlink(missing_ok=True)
        self._far = None

    def speed(self) -> int:
        """Configured baud rate, as a termios constant."""
        with self.path.open("rb", buffering=0) as near:
            return int(termios.tcgetattr(near.fileno())[4])

    def beat(self) -> bytes:
        """Frame of a heartbeat."""
        message = mavlink.MAVLink_heartbeat_message(2, 3, 1, 4, 4, 3)
        return bytes(message.pack(self._codec))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self._far is not None
        assert os.write(self._far, data) == len(data)

    def has_received(self, *kinds: str) -> bool:
        """Whether these have been received since the port was connected; nothing is damaged."""
        assert self._far is not None
        with contextlib.suppress(BlockingIOError):
            found = self._parser.parse_buffer(os.read(self._far, 65536)) or []
            self._received |= {message.get_type() for message in found}
        assert "BAD_DATA" not in self._received
        return self._received >= {*kinds}


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    made = Port(tmp_path)
    yield made
    made.pull()


def comes(bridge: Bridge, now_s: float, received: int) -> bool:
    """Wait until the bridge has received a total of messages; return whether it has."""

    def come() -> bool:
        bridge.pump(now_s)
        return bridge.counts["received"] >= received

    return until(come)


@pytest.mark.parametrize("baud", SPEEDS)
def test_frames_in_pieces_are_received_whole(port: Port, baud: int) -> None:
    with contextlib.closing(open_link(f"serial:{port.path}:{baud}")) as link:
        bridge = Bridge(link)
        bridge.pump(0.0)
        assert port.speed() == SPEEDS[baud]
        now_s, frame = 0.0, port.beat()
        for cut in range(1, len(frame)):
            frame = port.beat()
            for piece in (frame[:cut], frame[cut:]):
                now_s += 0.02
                port.send(piece)
                bridge.pump(now_s)
        assert comes(bridge, now_s, len(frame) - 1)
        assert bridge.counts["damaged"] == 0


@pytest.mark.parametrize("baud", SPEEDS)
def test_unplugging_within_a_frame_loses_no_other_frame(port: Port, baud: int) -> None:
    with contextlib.closing(open_link(f"serial:{port.path}:{baud}")) as link:
        bridge, now_s = Bridge(link, vehicle="ardupilot", first_battery_id=0), 0.0
        bridge.pump(now_s)
        for received in range(1, 4):
            port.send(port.beat())
            assert comes(bridge, now_s, 2 * received - 1)
            bridge(a_report(now_s))
            assert until(lambda: port.has_received("HEARTBEAT", "BATTERY_STATUS"))
            port.send(port.beat()[:9])
            bridge.pump(now_s + 0.1)
            port.pull()
            for step in range(20):
                bridge.pump(now_s + 1.0 + 0.1 * step)
                bridge(a_report(now_s + 1.0 + 0.1 * step))
            assert not link.is_open
            assert "no such port" in (link.trouble or "")
            assert bridge.pump(now_s + 4.0).armed is None
            port.plug()
            now_s += 10.0
            bridge.pump(now_s)  # opens the port again
            port.send(port.beat())
            assert comes(bridge, now_s, 2 * received)
            bridge(a_report(now_s))
            assert until(lambda: port.has_received("BATTERY_STATUS"))
            now_s += 10.0


@pytest.mark.parametrize("batteries", [1, 4])
def test_a_telemetry_link_is_not_flooded(
    batteries: int, capsys: pytest.CaptureFixture[str]
) -> None:
    vehicle = FakeVehicle()
    bridge = Bridge(vehicle)
    each_s = [0] * 120
    for step in range(1200):
        now_s, before = step / 10, len(vehicle.received)
        if step % 10 == 0:
            vehicle.beat()
        bridge.pump(now_s)
        trips = step // 10 % 2 == 0  # an alarm that trips and clears each second: the worst case
        events = (an_event(severity=Severity.CRITICAL, tripped=trips),) if step % 10 == 0 else ()
        for index in range(batteries):
            severity = Severity.CRITICAL if trips else Severity.OK
            bridge(a_report(now_s, index, severity=severity, events=events))
        each_s[step // 10] += sum(len(m.get_msgbuf()) for m in vehicle.received[before:])
    mean, most = sum(each_s) / len(each_s), max(each_s)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{batteries} batteries with an alarm each second: {mean:.0f} bytes/s, "
            f"{most} in the worst second, of {TELEMETRY_BYTES_S} at 57600 baud\n"
        )
    assert most < 0.25 * TELEMETRY_BYTES_S
