# SPDX-License-Identifier: Apache-2.0
"""What every bus promises, run on every bus there is."""

from typing import TYPE_CHECKING

import pytest
import smbus2

from dronebms.core.clock import VirtualClock
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.bus_trace import PlaybackBus, RecordingBus, Transfer
from smartbattery.errors import BatteryError, NackError
from smartbattery.linux_bus import LinuxBus
from smartbattery.registers import ADDRESS, SERIAL, VOLTAGE
from tests.adapters import I801, AdapterStandIn

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT = 0x2A
TRANSFERS = (
    (ADDRESS, bytes((VOLTAGE.command,)), 3),
    (ADDRESS, bytes((SERIAL.command,)), 2),
    (ADDRESS, bytes((0x20,)), 1),
    (ADDRESS, bytes((VOLTAGE.command,)), 3),
    (ABSENT, bytes((VOLTAGE.command,)), 3),
    (ADDRESS, bytes((SERIAL.command,)), 3),
)


def virtual() -> Bus:
    bus, _ = open_virtual("survey", VirtualClock(), 1)
    return bus


def recording() -> Bus:
    return RecordingBus(virtual(), lambda _: None)


def playback() -> Bus:
    """Return a bus that plays back what the virtual one answered."""
    recorded: list[Transfer] = []
    bus = RecordingBus(virtual(), recorded.append)
    for transfer in TRANSFERS:
        try:
            bus.transfer(*transfer)
        except BatteryError:
            continue
    return PlaybackBus([Transfer.from_json(row.to_json()) for row in recorded])


@pytest.fixture(params=["virtual", "recording", "playback", "linux", "linux without raw transfers"])
def bus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bus:
    makers: dict[str, Callable[[], Bus]] = {
        "virtual": virtual,
        "recording": recording,
        "playback": playback,
        "linux": lambda: LinuxBus("/dev/i2c-1"),
        "linux without raw transfers": lambda: LinuxBus("/dev/i2c-2"),
    }
    adapters = {
        "/dev/i2c-1": AdapterStandIn(virtual()),
        "/dev/i2c-2": AdapterStandIn(virtual(), I801),
    }
    monkeypatch.setattr(smbus2, "SMBus", adapters.__getitem__)
    return makers[request.param]()


def test_a_reply_has_the_requested_length_and_the_same_bytes_on_every_bus(bus: Bus) -> None:
    replies = []
    for transfer in TRANSFERS:
        if transfer[0] == ABSENT:
            with pytest.raises(NackError):
                bus.transfer(*transfer)
        else:
            replies.append(bus.transfer(*transfer))
    assert [len(reply) for reply in replies] == [3, 2, 1, 3, 3]
    assert all(type(reply) is bytes for reply in replies)
    assert replies[0] == replies[3]
    assert replies[1] == replies[4][:2]
    assert int.from_bytes(replies[0][:2], "little") == pytest.approx(25_140, abs=30)  # mV


def test_the_error_of_an_absent_address_names_it(bus: Bus) -> None:
    for transfer in TRANSFERS[:4]:
        bus.transfer(*transfer)
    with pytest.raises(NackError, match="0x2a"):
        bus.transfer(*TRANSFERS[4])
