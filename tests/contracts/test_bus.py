"""What every bus promises, run on every bus there is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import smbus2

from dronebms.clock import VirtualClock
from sim.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, NackError
from smartbattery.linux import LinuxBus
from smartbattery.recording import PlaybackBus, RecordingBus, Transfer
from smartbattery.registers import ADDRESS, SERIAL, VOLTAGE

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
    kept: list[Transfer] = []
    bus = RecordingBus(virtual(), kept.append)
    for transfer in TRANSFERS:
        try:
            bus.transfer(*transfer)
        except BatteryError:
            continue
    return PlaybackBus([Transfer.from_json(row.to_json()) for row in kept])


@dataclass
class KernelStandIn:
    """smbus2.SMBus as far as the driver uses it, in front of the virtual wire.

    It answers an absent address as i2c-bcm2835 does, with EREMOTEIO.
    """

    bus: Bus
    funcs: int = smbus2.smbus2.I2cFunc.I2C

    def i2c_rdwr(self, *messages: smbus2.i2c_msg) -> None:
        """Carry out a write, or a write and a read."""
        write = messages[0]
        length = messages[1].len if len(messages) > 1 else 0
        try:
            reply = self.bus.transfer(write.addr, bytes(write), length)
        except NackError as error:
            raise OSError(121, "Remote I/O error") from error
        for message in messages[1:]:
            for index, byte in enumerate(reply):
                message.buf[index] = bytes((byte,))

    def close(self) -> None:
        """Close nothing."""


@pytest.fixture(params=["virtual", "recording", "playback", "linux"])
def bus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bus:
    makers: dict[str, Callable[[], Bus]] = {
        "virtual": virtual,
        "recording": recording,
        "playback": playback,
        "linux": lambda: LinuxBus("/dev/i2c-1"),
    }
    stand_in = KernelStandIn(virtual())
    monkeypatch.setattr(smbus2, "SMBus", lambda _: stand_in)
    return makers[request.param]()


def test_a_reply_has_the_length_that_was_asked_and_the_same_bytes_on_every_bus(bus: Bus) -> None:
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
