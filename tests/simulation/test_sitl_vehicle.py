# SPDX-License-Identifier: Apache-2.0
"""A simulated vehicle as a clock and a load: over real sockets, in virtual time.

The test plays the vehicle with pymavlink. The vehicle advances while the code under test waits, so
that no result depends on the speed of this machine.
"""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.simulation.sitl.vehicle import SitlVehicle
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT, PX4
from mavlink_bridge.protocol.link import open_link
from tests.mavlink_bridge.autopilot import PX4 as PX4_AUTOPILOT
from tests.mavlink_bridge.simulated import FlownWall, SimulatedVehicle, vehicle_at

Pair = tuple[SimulatedVehicle, SitlVehicle, list[str]]


def find(followed: SitlVehicle) -> None:
    """Wait for a vehicle as long as the command does."""
    assert followed.until(lambda: followed.is_ticking, 30.0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with vehicle_at() as (flying, url), contextlib.closing(open_link(url)) as link:
        texts: list[str] = []
        followed = SitlVehicle(link, flying.wall, texts.append)
        find(followed)
        followed.begin()
        yield flying, followed, texts


def drawn_ws(followed: SitlVehicle, seconds: float) -> float:
    """Energy in a time, in steps of a tenth of a second."""
    start_s, energy_ws = followed.now_s(), 0.0
    for step in range(round(10 * seconds)):
        followed.sleep_until(start_s + (step + 1) / 10)
        energy_ws += (followed.power_w or 0.0) / 10
    return energy_ws


# ------------------------------------------------------------------------- the clock


@pytest.mark.parametrize("speed", [1.0, 10.0, 40.0])
def test_the_clock_is_that_of_the_vehicle_at_any_speed(speed: float) -> None:
    with vehicle_at() as (flying, url), contextlib.closing(open_link(url)) as link:
        flying.speed = speed
        followed = SitlVehicle(link, flying.wall, pytest.fail)
        find(followed)
        followed.begin()
        vehicle_s, wall_s = flying.t_s, flying.wall.now_s()
        followed.sleep_until(20.0)
        assert followed.now_s() == pytest.approx(20.0, abs=0.051)
        assert flying.t_s - vehicle_s == pytest.approx(20.0, abs=0.2)
        assert flying.wall.now_s() - wall_s == pytest.approx(20.0 / speed, rel=0.02)


def test_the_clock_never_goes_back_and_sleeping_until_the_past_reads_nothing(pair: Pair) -> None:
    flying, followed, _ = pair
    times = []
    for step in range(100):
        followed.sleep_until(0.03 * step)
        times.append(followed.now_s())
    assert times == sorted(times)
    sleeps = flying.wall.sleeps
    followed.sleep_until(times[-1] - 1.0)
    assert flying.wall.sleeps == sleeps


def test_the_clock_starts_at_begin(pair: Pair) -> None:
    flying, followed, _ = pair
    followed.sleep_until(5.0)
    followed.begin()
    assert followed.now_s() == 0.0
    before_s = flying.t_s
    followed.sleep_until(5.0)
    assert flying.t_s - before_s == pytest.approx(5.0, abs=0.2)


def test_an_older_stamp_does_not_move_the_clock(pair: Pair) -> None:
    flying, followed, texts = pair
    followed.sleep_until(8.0)
    flying.autopilot.send(
        mavlink.MAVLink_attitude_message(round(1000 * flying.t_s) - 4000, *[0] * 6)
    )
    followed.sleep_until(9.0)
    assert followed.now_s() == pytest.approx(9.0, abs=0.051)
    assert not texts


def test_the_clock_continues_through_a_reboot_which_is_reported_once(pair: Pair) -> None:
    flying, followed, texts = pair
    followed.sleep_until(40.0)
    flying.reboot()
    before_s = flying.t_s
    followed.sleep_until(50.0)
    assert texts == ["the vehicle has rebooted"]
    # Only the time until the next request is lost: 1 s of the wall.
    assert 10.0 <= flying.t_s - before_s <= 10.0 + 1.1 * flying.speed


def test_a_reboot_discards_the_parameters(pair: Pair) -> None:
    flying, followed, _ = pair
    assert followed.read("SIM_BATT_VOLTAGE") == pytest.approx(12.6)
    followed.sleep_until(40.0)
    flying.reboot()
    followed.sleep_until(41.0)
    assert followed.parameters.values == {}


def test_after_a_reboot_all_messages_are_requested_again(pair: Pair) -> None:
    flying, followed, _ = pair
    followed.sleep_until(40.0)
    before, streams = len(flying.received["COMMAND_LONG"]), dict(flying.requested_us)
    flying.reboot()
    flying.requested_us = streams
    followed.sleep_until(42.0)
    requested = {message.param1 for message in flying.received["COMMAND_LONG"][before:]}
    assert mavlink.MAVLINK_MSG_ID_ATTITUDE in requested


def test_silence_and_its_end_are_reported_once_and_polled_slowly(pair: Pair) -> None:
    flying, followed, texts = pair
    followed.sleep_until(5.0)
    flying.quiet = True
    wall_s, sleeps = flying.wall.now_s(), flying.wall.sleeps
    assert not followed.until(lambda: False, 33.0)
    assert texts == ["no time received from the vehicle for 3 s; waiting"]
    assert flying.wall.now_s() - wall_s >= 33.0
    assert flying.wall.sleeps - sleeps <= 3.1 / 0.001 + 30.0 / 0.05 + 10
    assert followed.now_s() == pytest.approx(5.0, abs=0.2)  # its time stands still
    flying.quiet = False
    followed.sleep_until(6.0)
    assert texts[1:] == ["the vehicle sends its time again"]


def test_a_vehicle_that_sends_heartbeats_without_a_time_is_silent(pair: Pair) -> None:
    flying, followed, texts = pair
    followed.sleep_until(5.0)
    flying.deaf = True
    flying.requested_us.clear()
    assert not followed.until(lambda: False, 10.0)
    assert texts == ["no time received from the vehicle for 3 s; waiting"]
    flying.deaf = False
    followed.sleep_until(6.0)
    assert texts[1:] == ["the vehicle sends its time again"]


def test_a_missing_vehicle_is_awaited_and_reported_by_the_link() -> None:
    with contextlib.closing(open_link("udpout:127.0.0.1:9")) as link:
        wall = FlownWall()
        followed = SitlVehicle(link, wall, pytest.fail)
        assert not followed.until(lambda: followed.is_ticking, 30.0)
        assert wall.now_s() == pytest.approx(30.0, abs=0.1)
        assert followed.trouble == "udpout:127.0.0.1:9: no program listens on the port"


def test_a_vehicle_that_sends_nothing_before_it_receives_is_found() -> None:
    with vehicle_at() as (flying, _):
        flying.autopilot.peer, flying.quiet = None, True
        with contextlib.closing(open_link(flying.autopilot.url)) as link:
            flying.wall.flies = lambda: answer(flying)
            followed = SitlVehicle(link, flying.wall, pytest.fail)
            find(followed)
        assert followed.stack is ARDUPILOT


def answer(flying: SimulatedVehicle) -> None:
    """Advance, and send as soon as a peer is known."""
    if flying.quiet:
        flying.received["HEARTBEAT"] += flying.autopilot.receive()
    flying.quiet = flying.autopilot.peer is None
    flying.fly()


def test_a_component_that_is_no_autopilot_is_not_followed() -> None:
    with vehicle_at(mavlink.MAV_AUTOPILOT_INVALID) as (flying, url):
        with contextlib.closing(open_link(url)) as link:
            followed = SitlVehicle(link, flying.wall, pytest.fail)
            assert not followed.until(lambda: followed.is_ticking, 30.0)
        assert flying.t_s > 200.0


# ------------------------------------------------------------------------- the load


def test_the_power_is_the_current_times_the_voltage_of_the_vehicle(pair: Pair) -> None:
    flying, followed, _ = pair
    flying.power_w = lambda _t_s: 345.6
    followed.sleep_until(1.0)
    assert followed.power_w == pytest.approx(345.6, rel=0.001)  # to the 10 mA of the message


def test_a_current_that_is_read_late_applies_to_the_time_in_which_it_flowed(
    pair: Pair,
) -> None:
    flying, followed, _ = pair
    followed.sleep_until(1.0)
    start_s = flying.t_s
    flying.power_w = lambda t_s: 500.0 if 0.62 < t_s - start_s < 1.12 else 100.0
    flying.wall.sleep_until(flying.wall.now_s() + 2.0 / flying.speed)  # nothing is read meanwhile
    ahead_s, powers = start_s - followed.now_s(), set()
    for step in range(20):
        followed.sleep_until(1.0 + 0.1 * step)
        flown_w = flying.power_w(followed.now_s() + ahead_s)
        assert step == 0 or followed.power_w == pytest.approx(flown_w, rel=0.001)
        powers.add(flown_w)
    assert powers == {100.0, 500.0}


def test_only_the_chosen_battery_is_a_load_and_only_a_known_current(pair: Pair) -> None:
    flying, followed, _ = pair
    flying.power_w = lambda _t_s: 100.0
    followed.battery_id = 1
    followed.power_w = None
    followed.sleep_until(2.0)
    assert followed.power_w is None
    flying.battery_id = 1
    followed.sleep_until(4.0)
    assert followed.power_w == pytest.approx(100.0, rel=0.001)
    flying.power_w = lambda _t_s: -0.01 * 12.6  # 10 mA of charge are -1 in the message: unknown
    followed.sleep_until(6.0)
    assert followed.power_w == pytest.approx(100.0, rel=0.001)


def test_the_throttle_is_a_fraction_of_full_throttle(pair: Pair) -> None:
    flying, followed, _ = pair
    flying.throttle_pct = 47
    followed.sleep_until(1.0)
    assert followed.power_w == 0.0  # of a battery without a current
    assert followed.throttle_frac == pytest.approx(0.47)


# ------------------------------------------------------------------------- requests and parameters


def test_messages_are_requested_and_requested_again_while_they_do_not_come(pair: Pair) -> None:
    flying, followed, _ = pair
    followed.sleep_until(1.0)
    assert flying.requested_us[mavlink.MAVLINK_MSG_ID_ATTITUDE] == 50_000.0
    assert flying.requested_us[mavlink.MAVLINK_MSG_ID_BATTERY_STATUS] == 50_000.0
    flying.requested_us.pop(mavlink.MAVLINK_MSG_ID_BATTERY_STATUS)  # the request was lost
    followed.sleep_until(1.0 + 1.5 * flying.speed)
    assert mavlink.MAVLINK_MSG_ID_BATTERY_STATUS in flying.requested_us
    requested = [message.param1 for message in flying.received["COMMAND_LONG"]]
    assert requested.count(mavlink.MAVLINK_MSG_ID_ATTITUDE) == 1


def test_a_parameter_is_read_and_a_missing_one_is_none(pair: Pair) -> None:
    flying, followed, _ = pair
    flying.parameters["SOME_FLOAT"] = 1.5
    assert followed.read("SOME_FLOAT") == 1.5
    wall_s = flying.wall.now_s()
    assert followed.read("NOT_THERE") is None
    assert 1.9 <= flying.wall.now_s() - wall_s <= 2.2


@pytest.mark.parametrize("value", [0, 1, -1, 16777217])
def test_an_integer_of_px4_is_the_bits_of_its_float(value: int) -> None:
    with vehicle_at(PX4_AUTOPILOT) as (flying, url), contextlib.closing(open_link(url)) as link:
        flying.parameters = {"SOME_INTEGER": value}
        followed = SitlVehicle(link, flying.wall, pytest.fail)
        find(followed)
        assert followed.stack is PX4
        assert followed.read("SOME_INTEGER") == value


def test_a_lost_setting_is_repeated_until_it_is_confirmed(pair: Pair) -> None:
    flying, followed, _ = pair
    assert followed.stack is ARDUPILOT
    voltage = flying.parameters.pop("SIM_BATT_VOLTAGE")  # the vehicle neither accepts nor answers

    def comes_back(t_s: float) -> float:
        if t_s > start_s + 0.7 * flying.speed:
            flying.parameters.setdefault("SIM_BATT_VOLTAGE", voltage)
        return 0.0

    start_s, flying.power_w = flying.t_s, comes_back
    assert followed.set_and_confirm("SIM_BATT_VOLTAGE", 11.1)
    assert flying.parameters["SIM_BATT_VOLTAGE"] == pytest.approx(11.1)
    assert followed.parameters.values["SIM_BATT_VOLTAGE"] == pytest.approx(11.1)


# ------------------------------------------------------------------------- the bridge's link


def test_the_bridge_receives_no_frame_before_the_clock_has_reached_it(pair: Pair) -> None:
    flying, followed, _ = pair
    bridge = Bridge(followed)
    followed.sleep_until(2.0)
    assert bridge.pump(2.0).armed
    assert bridge.counts["damaged"] == 0
    assert bridge.counts["received"] > 40
    before = bridge.counts["received"]
    flying.wall.sleep_until(flying.wall.now_s() + 1.0 / flying.speed)
    bridge.pump(2.0)
    assert bridge.counts["received"] == before


def test_a_stream_cut_anywhere_is_joined_and_does_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.ExitStack() as stack:
        flying, _ = stack.enter_context(vehicle_at())
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        link = stack.enter_context(contextlib.closing(open_link(url)))
        link.send(b"\0", 0.0)
        peer = stack.enter_context(contextlib.closing(server.accept()[0]))
        pending = b""

        def through_the_stream(data: bytes) -> None:
            nonlocal pending
            pending += data
            cut = len(pending) - 5  # a message always ends in the next piece
            peer.sendall(pending[:cut])
            pending = pending[cut:]

        monkeypatch.setattr(flying.autopilot, "send_bytes", through_the_stream)
        flying.requested_us = {mavlink.MAVLINK_MSG_ID_ATTITUDE: 0.0}
        followed = SitlVehicle(link, flying.wall, pytest.fail)
        find(followed)
        followed.begin()
        bridge, most = Bridge(followed), 0
        for step in range(100):
            followed.sleep_until(step / 10)
            bridge.pump(step / 10)
            most = max(most, len(followed._codec._parser.buf))
        assert bridge.counts["received"] > 150
        assert followed._codec.damaged <= 1  # the byte that opened the link
        assert most < 300


def test_damaged_data_is_no_message(pair: Pair) -> None:
    flying, followed, texts = pair
    bridge = Bridge(followed)
    followed.sleep_until(1.0)
    flying.autopilot.send_bytes(bytes(range(255)))
    followed.sleep_until(2.0)
    assert bridge.pump(2.0).armed
    assert followed._codec.damaged > 0
    assert not texts
    assert drawn_ws(followed, 1.0) == 0.0
