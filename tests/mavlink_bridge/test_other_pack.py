# SPDX-License-Identifier: Apache-2.0
"""Another pack that answers in flight, up to PX4: nothing of it is sent, shown or learned."""

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.pipeline import Pipeline
from mavlink_bridge.bridge import Bridge
from smartbattery.snapshot import Identity, Snapshot
from tests.mavlink_bridge.consumers import Px4Commander
from tests.mavlink_bridge.vehicle.test_battery_id import Memory
from tests.monitoring.test_pack_recognition import Cell

FACTS = PackData(LIPO, cells=6, capacity_mah=16000.0)
MINE = Identity(serial=4711, manufacturer="ACME", cells=6)
ARMED = VehicleState(armed=True)


class Switch:
    """A source of two packs, as behind a multiplexer on the wrong channel."""

    def __init__(self, mine: Cell, other: Cell) -> None:
        self.packs, self.channel = (mine, other), 0

    def poll(self, now_s: float) -> Snapshot:
        """The pack of the channel; mine is drained all the time."""
        self.packs[0].draw(28.0 + now_s % 3, 0.5)
        return self.packs[self.channel].look(now_s, 28.0 + now_s % 3)


@pytest.mark.parametrize("other_pct", [0.0, 25.0])
@pytest.mark.parametrize("identity", [Identity(serial=9), Identity(serial=4711, cells=5)])
def test_px4_neither_lands_nor_returns_for_another_pack(
    identity: Identity, other_pct: float
) -> None:
    link = Memory()
    bridge = Bridge(link, vehicle="px4", first_battery_id=0)
    source = Switch(Cell(0.9, MINE), Cell(other_pct / 100.0, identity))
    pipeline = Pipeline(source, FACTS, [bridge])
    commander = Px4Commander(1.17, armed=True)
    events: list[str] = []
    sent: list[tuple[float, int]] = []
    for step in range(200):
        t_s = step / 2
        source.channel = int(60.0 <= t_s < 80.0)
        report = pipeline.step(t_s, ARMED)
        events += [event.limit_id for event in report.status.events if event.tripped]
        for message in link.messages():
            if message.get_type() == "BATTERY_STATUS":
                commander.receive(message, t_s)
                sent.append((t_s, message.battery_remaining))
    assert commander.warning == "none"
    assert [t_s for t_s, _ in sent if 60.5 <= t_s < 80.0] == []
    assert min(pct for t_s, pct in sent) > 75
    assert sent[-1][0] > 99.0
    assert "other_pack" in events
    assert {"silent", "lost"} <= {*events}
