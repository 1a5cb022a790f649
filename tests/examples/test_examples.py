# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/ run as a user runs them, against stand-ins for the hardware."""

import re
import runpy
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import smbus2
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core import VirtualClock
from dronebms.service.config import read_config
from sim.emulator.world import open_virtual
from tests.adapters import AdapterStandIn

EXAMPLES = Path(__file__).parents[2] / "examples"
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs an example and returns what it prints."""

    def run_it(name: str, *argv: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *argv])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_it


def test_each_short_example_has_at_most_20_lines() -> None:
    short = ("read_pack.py", "estimate_csv.py", "send_battery_status.py")
    lengths = {name: len((EXAMPLES / name).read_text().splitlines()) for name in short}
    assert max(lengths.values()) <= 20, lengths


def test_the_configuration_for_any_drone_is_valid() -> None:
    (battery,) = read_config(EXAMPLES / "any_drone.toml").battery
    assert (battery.monitor, battery.cells, battery.capacity_mah) == (0, 6, 5000.0)


def test_the_configuration_for_a_can_pack_is_valid() -> None:
    (battery,) = read_config(EXAMPLES / "dronecan_pack.toml").battery
    assert battery.place == "DroneCAN battery 1 on socketcan:can0"


def test_a_pack_is_read_and_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bus, _ = open_virtual("survey", VirtualClock())
    monkeypatch.setattr(smbus2, "SMBus", lambda _path: AdapterStandIn(bus))
    voltage, *cells = run("read_pack.py", "/dev/i2c-1").splitlines()
    pack_v = float(voltage.split()[0])
    cells_v = [float(line.split()[2]) for line in cells]
    assert 24.0 < pack_v < 26.0
    assert len(cells_v) == 6
    assert sum(cells_v) == pytest.approx(pack_v, abs=0.05)


def test_an_absent_adapter_ends_with_one_sentence(run: Run) -> None:
    with pytest.raises(SystemExit, match="/dev/i2c-97"):
        run("read_pack.py", "/dev/i2c-97")


def test_the_time_left_of_a_flight_falls_by_a_minute_each_minute(
    run: Run, computed_flights: tuple[Path, ...]
) -> None:
    lines = run("estimate_csv.py", str(computed_flights[3])).splitlines()
    left_s = [float(re.findall(r"(\d+) s left", line)[0]) for line in lines]
    assert len(left_s) > 10
    settled_s = left_s[2:]  # after two minutes of load
    assert settled_s[0] - settled_s[-1] == pytest.approx(60.0 * (len(settled_s) - 1), rel=0.2)


def test_battery_status_of_a_virtual_pack_arrives(run: Run) -> None:
    received: list[mavlink.MAVLink_message] = []

    def receive(peer: socket.socket) -> None:
        parser = mavlink.MAVLink(None)
        while not any(message.get_type() == "BATTERY_STATUS" for message in received):
            received.extend(parser.parse_buffer(peer.recv(1024)) or ())  # times out

    class Enough(Exception):  # noqa: N818 - not an error
        pass

    def sleep_until(_self: object, _t_s: float) -> None:
        if not thread.is_alive():
            raise Enough

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
        pytest.MonkeyPatch.context() as m,
    ):
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(10.0)
        thread = threading.Thread(target=receive, args=(peer,))
        thread.start()
        m.setattr("dronebms.core.clock.SystemClock.sleep_until", sleep_until)
        with pytest.raises(Enough):
            run("send_battery_status.py", f"udpout:127.0.0.1:{peer.getsockname()[1]}")
        thread.join()
    status = next(one for one in received if one.get_type() == "BATTERY_STATUS")
    assert status.battery_remaining > 90
    assert sum(status.voltages[:6]) == pytest.approx(25_000, abs=500)
