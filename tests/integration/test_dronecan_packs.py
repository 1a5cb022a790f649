# SPDX-License-Identifier: Apache-2.0
"""The service reads what nodes of the package `dronecan` send over a real multicast bus."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dronecan
import pytest

from dronebms.core.clock import SystemClock
from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.bus_battery import BusBattery
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import CanUrl
from tests.dronecan.packs import AUX, CBAT, CUAV, GAUGE, GAUGE_AUX, INFO, library_value
from tests.integration.namespace import can_network

__all__ = ["can_network"]  # a fixture
CLOCK = SystemClock()
BATTERY_NODE = os.environ.get("DRONEBMS_BATTERY_NODE")
SERVICE = """
[[battery]]
bus = "dronecan:mcast:4#1"
cells = 6
capacity_mah = 16000
[[battery]]
bus = "dronecan:mcast:4#node62"
cells = 6
capacity_mah = 16000
[mavlink]
url = "udpout:127.0.0.1:14999"
[status]
socket = "{folder}/status.sock"
"""


@pytest.fixture
def nodes(can_network: None) -> Iterator[list[Any]]:  # noqa: ARG001 - before the drivers
    """Two foreign nodes."""
    made = [dronecan.make_node("mcast:4", node_id=number, mode=0) for number in (61, 62)]
    yield made
    for node in made:
        node.can_driver.proc.kill()
        node.can_driver.proc.join()


def _lines(folder: Path, stack: ExitStack) -> Iterator[dict[str, Any]]:
    """Lines of the predictions contract."""
    path = str(folder / "status.sock")
    program = [sys.executable, "-m", "dronebms.cli", "status", "--json", "--socket", path]
    viewer = stack.enter_context(subprocess.Popen(program, stdout=subprocess.PIPE))  # noqa: S603 - this program
    stack.callback(viewer.terminate)
    assert viewer.stdout is not None
    for text in viewer.stdout:
        yield json.loads(text)


@pytest.mark.slow
def test_two_packs_of_a_bus_are_read_by_the_service(nodes: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    path.write_text(SERVICE.format(folder=tmp_path))
    values = [
        [library_value(AUX, GAUGE_AUX), library_value(INFO, GAUGE)],
        [library_value(CBAT, CUAV | {"voltage": 22.6})],
    ]
    found: dict[int, dict[str, Any]] = {}
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        run = [sys.executable, "-m", "dronebms.cli", "run", "-c", str(path)]
        service = stack.enter_context(subprocess.Popen(run, stderr=log))  # noqa: S603 - this program
        stack.callback(service.terminate)
        end_s = CLOCK.now_s() + 60.0
        while not (tmp_path / "status.sock").exists() and CLOCK.now_s() < end_s:
            nodes[0].spin(0.05)
        lines = _lines(tmp_path, stack)
        while len(found) < 2 and CLOCK.now_s() < end_s:
            for node, messages in zip(nodes, values, strict=True):
                for message in messages:
                    node.broadcast(message)
                node.spin(0.05)
            line = next(lines)
            if line["voltage_v"] is not None and len(line["cells_v"]) == 6:
                found[line["battery"]] = line
        assert service.poll() is None
    assert [found[k]["voltage_v"] for k in (0, 1)] == pytest.approx([22.5, 22.6], abs=0.01)
    assert [found[k]["current_a"] for k in (0, 1)] == pytest.approx([20.0, 20.0])
    assert found[0]["can_trouble"] is None


@pytest.mark.slow
@pytest.mark.skipif(BATTERY_NODE is None, reason="DRONEBMS_BATTERY_NODE: libcanard's battery_node")
@pytest.mark.usefixtures("can_network")
def test_the_battery_node_of_libcanard_is_read(tmp_path: Path) -> None:
    url = CanUrl("mcast", "5")
    # CAN_NODE, BATTERY_INDEX and TELEM_RATE, as the program stores them.
    (tmp_path / "settings.dat").write_bytes(struct.pack("<3f", 73.0, 3.0, 10.0))
    bus = CanBus(url, CLOCK)
    source = BusBattery(CanPack(BatteryAddress(url, 3), cells=14), bus)
    bus.start()
    node = subprocess.Popen(  # noqa: S603 - the given program
        [str(BATTERY_NODE), str(url)], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        end_s = CLOCK.now_s() + 30.0
        while (snapshot := source.poll(CLOCK.now_s())).voltage_v is None:
            assert CLOCK.now_s() < end_s, snapshot.trouble
            CLOCK.sleep_until(CLOCK.now_s() + 0.1)
    finally:
        node.kill()
        node.wait()
        bus.close()
    assert snapshot.voltage_v == pytest.approx(14 * 4.2, abs=0.02)
    assert (snapshot.current_a, snapshot.temperature_degc) == pytest.approx((50.0, 24.85), abs=0.2)
    assert (snapshot.soc_pct, snapshot.remaining_mah, snapshot.cells_v) == (None, None, ())
