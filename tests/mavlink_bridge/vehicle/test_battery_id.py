# SPDX-License-Identifier: Apache-2.0
"""Ids of the batteries: never those of the autopilot's own, never outside of the field."""

import random

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.bridge import Bridge, BridgeState
from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT, PX4, UNKNOWN_STACK, FlightStack
from mavlink_bridge.vehicle.battery_id import LAST_ID, BatteryIdAllocator, first_of, id_of
from tests.mavlink_bridge.reports import a_report


class Memory:
    """A link without a wire."""

    is_open = True
    trouble = None

    def __init__(self) -> None:
        self.coming: list[bytes] = []
        self._sent: list[bytes] = []

    def send(self, data: bytes, _now_s: float) -> bool:
        """Store a frame."""
        self._sent.append(bytes(data))
        return True

    def receive(self, _now_s: float) -> list[bytes]:
        """Return the frames that are coming."""
        coming, self.coming = self.coming, []
        return coming

    def close(self) -> None:
        """Nothing to close."""

    def messages(self) -> list[mavlink.MAVLink_message]:
        """Messages sent since the last call."""
        sent, self._sent = self._sent, []
        codec = mavlink.MAVLink(None)
        return [codec.decode(bytearray(frame)) for frame in sent]


def flying(autopilot: int, at_s: float = 0.0) -> Autopilot:
    found = Autopilot()
    beat = mavlink.MAVLink_heartbeat_message(2, autopilot, 0, 0, 4, 3)
    frame = beat.pack(mavlink.MAVLink(None, 1, 1))
    found.receive(mavlink.MAVLink(None).decode(bytearray(frame)), at_s)
    return found


def test_every_id_of_the_autopilot_leaves_ids_for_one_to_seven_batteries() -> None:
    for taken in range(256):
        ids = BatteryIdAllocator()
        ids.receive(taken, 0.0)
        ids.receive(taken, 0.5)
        first = ids.first_id(ARDUPILOT, flying(3), -1, 0.6)
        mine = [id_of(first, index) for index in range(7)]
        assert None not in mine
        assert taken not in mine
        assert {battery_id for battery_id in mine if battery_id is not None} <= {*range(255)}


@pytest.mark.parametrize("start_s", [0.0, 100.0])
def test_ids_wait_until_the_vehicle_has_sent_each_of_its_batteries(start_s: float) -> None:
    """ArduPilot sends its batteries in turn: the first one of them is not all."""
    ids, vehicle = BatteryIdAllocator(), flying(3, start_s)

    def first(after_s: float) -> int | None:
        return ids.first_id(ARDUPILOT, vehicle, -1, start_s + after_s)

    ids.receive(0, start_s + 0.2)
    assert first(0.3) is None
    ids.receive(1, start_s + 0.8)
    assert first(1.0) is None
    ids.receive(2, start_s + 1.3)
    assert first(1.4) is None
    ids.receive(0, start_s + 1.5)  # the second round
    assert first(1.5) == 3


@pytest.mark.parametrize("start_s", [0.0, 100.0])
def test_a_vehicle_that_sends_no_battery_is_awaited_for_a_bounded_time(start_s: float) -> None:
    ids, vehicle = BatteryIdAllocator(), flying(3, start_s)
    assert ids.first_id(ARDUPILOT, vehicle, -1, start_s + 1.5) is None
    assert ids.first_id(ARDUPILOT, vehicle, -1, start_s + 2.0) == 0


@pytest.mark.parametrize("seed", range(20))
def test_any_set_of_ids_leaves_others_or_none(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - seeded ids
    ids, taken = BatteryIdAllocator(), set()
    for _ in range(dice.choice([1, 3, 16, 60, 200])):
        taken.add(dice.randrange(256))
        for battery_id in taken:
            ids.receive(battery_id, 0.0)
        first = ids.first_id(ARDUPILOT, flying(3), -1, 2.0)
        if first is not None:
            mine = {first + index for index in range(16)}
            assert not mine & taken
            assert max(mine) <= LAST_ID


@pytest.mark.parametrize(
    ("taken", "first"),
    [
        ((), 0),
        ((0,), 1),
        ((3,), 4),  # after the last one, not into a gap
        ((0, 1, 7), 8),
        ((255,), 0),  # is no id of ours
        ((255, 3), 4),
        ((238,), 239),  # 16 ids up to the last one, 254
        ((239,), 0),
        ((239, 0), 1),
        ((254, 0, 5), 6),
        ((254, 15), 16),
        ((254, 222), 0),
        ((*range(0, 255, 16),), None),
        ((*range(0, 222, 16), 222, 239), 223),
        ((*range(0, 222, 16), 222, 238, 239), None),
    ],
)
def test_ours_are_the_next_sixteen_free_ids(taken: tuple[int, ...], first: int | None) -> None:
    ids = BatteryIdAllocator()
    for battery_id in taken:
        ids.receive(battery_id, 0.0)
    assert ids.first_id(ARDUPILOT, flying(3), -1, 2.0) == first


@pytest.mark.parametrize("configured", [0, 1, 250])
def test_a_configured_id_is_used_at_once_whatever_the_vehicle_uses(configured: int) -> None:
    ids = BatteryIdAllocator()
    ids.receive(configured, 0.0)
    assert ids.first_id(ARDUPILOT, flying(3), configured, 0.0) == configured
    assert ids.allocated is None


def test_an_id_of_the_vehicle_is_forgotten_after_two_minutes() -> None:
    ids = BatteryIdAllocator()
    ids.restore(None, (5,))
    ids.receive(7, 30.0)
    kept = []
    for now_s in (10.0, 130.0, 130.1, 150.0, 150.1):
        ids.first_id(ARDUPILOT, flying(3), -1, now_s)
        kept.append(ids.taken)
    assert kept == [(5, 7), (5, 7), (7,), (7,), ()]  # restored ones count from the start


@pytest.mark.parametrize(
    ("stack", "autopilot", "is_expected", "wait_s"),
    [
        (ARDUPILOT, 3, False, 1.6),
        (ARDUPILOT, 3, True, 1.6),
        (PX4, 12, False, 0.0),
        (UNKNOWN_STACK, None, False, 1.2),
        (UNKNOWN_STACK, None, True, 2.4),
    ],
)
def test_the_first_id_waits_as_long_as_the_vehicle_needs(
    stack: FlightStack,
    autopilot: int | None,
    is_expected: bool,  # noqa: FBT001 - a row
    wait_s: float,
) -> None:
    vehicle = Autopilot() if autopilot is None else flying(autopilot)
    ids = BatteryIdAllocator(is_expected=is_expected)
    assert ids.first_id(stack, vehicle, -1, 0.0) == (None if wait_s else 0)
    assert ids.first_id(stack, vehicle, -1, max(wait_s - 0.01, 0.0)) == (None if wait_s else 0)
    assert ids.first_id(stack, vehicle, -1, wait_s) == 0


@pytest.mark.parametrize(
    ("ids", "first"),
    [
        ((3,), 3), ((3, 4, 5), 3), ((None, 0, 1), 0), ((0, None, 1), 0), ((3, 5), -1), ((4, 3), -1),
        ((3, 3), -1),
    ],
)  # fmt: skip
def test_ids_that_follow_each_other_are_given_by_the_first(
    ids: tuple[int | None, ...], first: int
) -> None:
    assert first_of(ids) == first


def test_an_id_beyond_the_field_is_none() -> None:
    assert [id_of(first, 2) for first in (None, 0, 252, 253)] == [None, 2, 254, None]


def test_all_batteries_move_when_the_vehicle_uses_the_id_of_one() -> None:
    ids = BatteryIdAllocator()
    assert ids.first_id(ARDUPILOT, flying(3), -1, 2.0) == 0
    ids.receive(3, 2.0)
    assert ids.first_id(ARDUPILOT, flying(3), -1, 2.1) == 4


def test_ids_of_the_vehicle_expire_and_ours_stay() -> None:
    ids = BatteryIdAllocator()
    ids.receive(7, 0.0)
    assert ids.first_id(ARDUPILOT, flying(3), -1, 2.0) == 8
    assert [*ids.taken] == [7]
    assert ids.first_id(ARDUPILOT, flying(3), -1, 130.0) == 8
    assert [*ids.taken] == []


@pytest.mark.parametrize("stack", [PX4, UNKNOWN_STACK], ids=lambda row: row.name)
def test_other_stacks_take_any_id(stack: object) -> None:
    ids = BatteryIdAllocator()
    ids.receive(0, 0.0)
    assert ids.first_id(stack, flying(12), -1, 0.1) == 0  # type: ignore[arg-type]  # a FlightStack


@pytest.mark.parametrize(("is_expected", "waits_s"), [(False, 1.2), (True, 2.4)])
def test_an_expected_vehicle_is_awaited_for_two_heartbeats(
    is_expected: bool,  # noqa: FBT001 - a row
    waits_s: float,
) -> None:
    ids = BatteryIdAllocator(is_expected=is_expected)
    silent = Autopilot()
    times_s = [step / 10 for step in range(40)]
    found = [t_s for t_s in times_s if ids.first_id(UNKNOWN_STACK, silent, -1, t_s) is not None]
    assert found[0] == pytest.approx(waits_s, abs=0.1001)


@pytest.mark.parametrize("taken", [(0,), (0, 1), (255,), (254,), (-5, 0), (10**9,)])
def test_ids_are_remembered_across_a_restart(taken: tuple[int, ...]) -> None:
    ids = BatteryIdAllocator()
    ids.restore(None, taken)
    first = ids.first_id(ARDUPILOT, flying(3), -1, 2.0)
    assert first is not None
    assert not {first + index for index in range(16)} & {*taken}
    again = BatteryIdAllocator()
    again.restore(first, ids.taken)
    assert again.first_id(ARDUPILOT, flying(3), -1, 0.0) == first  # without waiting


@pytest.mark.parametrize("restored", [-1, 255, 256, 10**6])
def test_a_restored_id_outside_of_the_field_is_allocated_again(restored: int) -> None:
    ids = BatteryIdAllocator()
    ids.restore(restored, ())
    assert ids.first_id(ARDUPILOT, flying(3), -1, 2.0) == 0


@pytest.mark.parametrize("taken", [0, 1, 239, 250, 253, 254, 255])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_battery_is_sent_whatever_the_vehicle_uses(taken: int, count: int) -> None:
    link = Memory()
    bridge = Bridge(link)
    codec = mavlink.MAVLink(None, 1, 1)
    sent: dict[int, set[int]] = {}
    for step in range(60):
        now_s = step / 10
        if step % 5 == 0:
            beat = mavlink.MAVLink_heartbeat_message(2, 3, 129, 4, 4, 3)
            own = mavlink.MAVLink_battery_status_message(
                taken, 0, 1, 2500, [4000] * 10, 100, 0, 0, 50
            )
            link.coming += [bytes(one.pack(codec)) for one in (beat, own)]
        bridge.pump(now_s)
        for index in range(count):
            bridge(a_report(now_s, index))
        for message in link.messages():
            if message.get_type() == "BATTERY_STATUS":
                sent.setdefault(message.id, set()).add(step)
    assert taken not in sent
    assert len(sent) == count
    assert all(len(steps) >= 7 for steps in sent.values())


def test_a_configured_id_near_the_end_leaves_batteries_out_and_raises_nothing() -> None:
    link = Memory()
    bridge = Bridge(link, first_battery_id=250)
    for index in range(7):
        bridge(a_report(5.0, index))
    ids = [one.id for one in link.messages() if one.get_type() == "BATTERY_STATUS"]
    assert ids == [250, 251, 252, 253, 254]
    assert bridge.withheld is not None


def test_a_bridge_remembers_the_ids_of_its_vehicle() -> None:
    bridge = Bridge(Memory())
    bridge.restore(BridgeState(first_battery_id=4, vehicle_battery_ids=(0, 3)))
    state = bridge.state()
    assert (state.first_battery_id, state.vehicle_battery_ids) == (4, (0, 3))
