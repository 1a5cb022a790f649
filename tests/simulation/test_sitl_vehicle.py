"""A simulated vehicle as a clock and a load: over real sockets, in time that the test makes.

The vehicle is played by the test with pymavlink. It flies while the code under test waits, so that
nothing here depends on how fast this machine is.
"""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.simulation.sitl_vehicle import SitlVehicle
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
        said: list[str] = []
        followed = SitlVehicle(link, flying.wall, said.append)
        find(followed)
        followed.begin()
        yield flying, followed, said


def drawn_ws(followed: SitlVehicle, seconds: float) -> float:
    """Follow for so long and return the energy, a tenth of a second at a time."""
    start_s, energy_ws = followed.now_s(), 0.0
    for step in range(round(10 * seconds)):
        followed.sleep_until(start_s + (step + 1) / 10)
        energy_ws += (followed.power_w or 0.0) / 10
    return energy_ws


# ------------------------------------------------------------------------- the clock


@pytest.mark.parametrize("speed", [1.0, 10.0, 40.0])
def test_its_clock_is_the_vehicles_however_fast_that_flies(speed: float) -> None:
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


def test_its_clock_never_goes_back_and_sleeping_until_the_past_reads_nothing(pair: Pair) -> None:
    flying, followed, _ = pair
    times = []
    for step in range(100):
        followed.sleep_until(0.03 * step)
        times.append(followed.now_s())
    assert times == sorted(times)
    sleeps = flying.wall.sleeps
    followed.sleep_until(times[-1] - 1.0)
    assert flying.wall.sleeps == sleeps


def test_the_clock_begins_when_it_is_told(pair: Pair) -> None:
    flying, followed, _ = pair
    followed.sleep_until(5.0)
    followed.begin()
    assert followed.now_s() == 0.0
    before_s = flying.t_s
    followed.sleep_until(5.0)
    assert flying.t_s - before_s == pytest.approx(5.0, abs=0.2)


def test_an_older_stamp_does_not_move_the_clock(pair: Pair) -> None:
    flying, followed, said = pair
    followed.sleep_until(8.0)
    flying.autopilot.say(
        mavlink.MAVLink_attitude_message(round(1000 * flying.t_s) - 4000, *[0] * 6)
    )
    followed.sleep_until(9.0)
    assert followed.now_s() == pytest.approx(9.0, abs=0.051)
    assert not said


def test_the_clock_goes_on_through_a_reboot_which_is_said_once(pair: Pair) -> None:
    flying, followed, said = pair
    followed.sleep_until(40.0)
    flying.reboot()
    before_s = flying.t_s
    followed.sleep_until(50.0)
    assert said == ["the vehicle has rebooted"]
    # Nothing is lost but the time until it is asked for its streams again: 1 s of the wall.
    assert 10.0 <= flying.t_s - before_s <= 10.0 + 1.1 * flying.speed


def test_a_reboot_forgets_the_parameters(pair: Pair) -> None:
    flying, followed, _ = pair
    assert followed.read("SIM_BATT_VOLTAGE") == pytest.approx(12.6)
    followed.sleep_until(40.0)
    flying.reboot()
    followed.sleep_until(41.0)
    assert followed.parameters.values == {}


def test_after_a_reboot_it_asks_for_streams_that_come_by_themselves_too(pair: Pair) -> None:
    flying, followed, _ = pair
    followed.sleep_until(40.0)
    before, streams = len(flying.heard["COMMAND_LONG"]), dict(flying.asked_us)
    flying.reboot()
    flying.asked_us = streams
    followed.sleep_until(42.0)
    asked = {message.param1 for message in flying.heard["COMMAND_LONG"][before:]}
    assert mavlink.MAVLINK_MSG_ID_ATTITUDE in asked


def test_silence_and_its_end_are_said_once_and_waited_out_without_haste(pair: Pair) -> None:
    flying, followed, said = pair
    followed.sleep_until(5.0)
    flying.quiet = True
    wall_s, sleeps = flying.wall.now_s(), flying.wall.sleeps
    assert not followed.until(lambda: False, 33.0)
    assert said == ["the vehicle has told no time for 3 s; waiting for it"]
    assert flying.wall.now_s() - wall_s >= 33.0
    assert flying.wall.sleeps - sleeps <= 3.1 / 0.001 + 30.0 / 0.05 + 10
    assert followed.now_s() == pytest.approx(5.0, abs=0.2)  # its time stands still meanwhile
    flying.quiet = False
    followed.sleep_until(6.0)
    assert said[1:] == ["the vehicle is heard again"]


def test_a_vehicle_that_beats_but_tells_no_time_is_silent_too(pair: Pair) -> None:
    flying, followed, said = pair
    followed.sleep_until(5.0)
    flying.deaf = True
    flying.asked_us.clear()
    assert not followed.until(lambda: False, 10.0)
    assert said == ["the vehicle has told no time for 3 s; waiting for it"]
    flying.deaf = False
    followed.sleep_until(6.0)
    assert said[1:] == ["the vehicle is heard again"]


def test_nobody_there_is_waited_for_and_said_by_the_link() -> None:
    with contextlib.closing(open_link("udpout:127.0.0.1:9")) as link:
        wall = FlownWall()
        followed = SitlVehicle(link, wall, pytest.fail)
        assert not followed.until(lambda: followed.is_ticking, 30.0)
        assert wall.now_s() == pytest.approx(30.0, abs=0.1)
        assert followed.trouble == "udpout:127.0.0.1:9: nobody listens there yet"


def test_a_vehicle_that_only_answers_is_found() -> None:
    with vehicle_at() as (flying, _):
        flying.autopilot.peer, flying.quiet = None, True
        with contextlib.closing(open_link(flying.autopilot.url)) as link:
            flying.wall.flies = lambda: answer(flying)
            followed = SitlVehicle(link, flying.wall, pytest.fail)
            find(followed)
        assert followed.kind is ARDUPILOT


def answer(flying: SimulatedVehicle) -> None:
    """Fly on, and talk as soon as somebody is known."""
    if flying.quiet:
        flying.heard["HEARTBEAT"] += flying.autopilot.hear()
    flying.quiet = flying.autopilot.peer is None
    flying.fly()


def test_who_is_no_autopilot_is_not_followed() -> None:
    with vehicle_at(mavlink.MAV_AUTOPILOT_INVALID) as (flying, url):
        with contextlib.closing(open_link(url)) as link:
            followed = SitlVehicle(link, flying.wall, pytest.fail)
            assert not followed.until(lambda: followed.is_ticking, 30.0)
        assert flying.t_s > 200.0


# ------------------------------------------------------------------------- the load


def test_its_power_is_the_current_times_the_voltage_that_it_believes_in(pair: Pair) -> None:
    flying, followed, _ = pair
    flying.power_w = lambda _t_s: 345.6
    followed.sleep_until(1.0)
    assert followed.power_w == pytest.approx(345.6, rel=0.001)  # to the 10 mA of the message


def test_a_current_that_is_looked_at_late_holds_for_the_time_in_which_it_flowed(
    pair: Pair,
) -> None:
    flying, followed, _ = pair
    followed.sleep_until(1.0)
    start_s = flying.t_s
    flying.power_w = lambda t_s: 500.0 if 0.62 < t_s - start_s < 1.12 else 100.0
    flying.wall.sleep_until(flying.wall.now_s() + 2.0 / flying.speed)  # nobody reads meanwhile
    ahead_s, powers = start_s - followed.now_s(), set()
    for step in range(20):
        followed.sleep_until(1.0 + 0.1 * step)
        flown_w = flying.power_w(followed.now_s() + ahead_s)
        assert step == 0 or followed.power_w == pytest.approx(flown_w, rel=0.001)
        powers.add(flown_w)
    assert powers == {100.0, 500.0}


def test_only_its_own_battery_is_a_load_and_only_a_known_current(pair: Pair) -> None:
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


def test_the_throttle_is_a_share_of_the_full_one(pair: Pair) -> None:
    flying, followed, _ = pair
    flying.throttle_pct = 47
    followed.sleep_until(1.0)
    assert followed.power_w == 0.0  # of a battery that gives nothing
    assert followed.throttle_frac == pytest.approx(0.47)


# ------------------------------------------------------------------------- streams and parameters


def test_it_asks_for_what_it_needs_and_asks_again_for_what_does_not_come(pair: Pair) -> None:
    flying, followed, _ = pair
    followed.sleep_until(1.0)
    assert flying.asked_us[mavlink.MAVLINK_MSG_ID_ATTITUDE] == 50_000.0
    assert flying.asked_us[mavlink.MAVLINK_MSG_ID_BATTERY_STATUS] == 50_000.0
    flying.asked_us.pop(mavlink.MAVLINK_MSG_ID_BATTERY_STATUS)  # the request was lost
    followed.sleep_until(1.0 + 1.5 * flying.speed)
    assert mavlink.MAVLINK_MSG_ID_BATTERY_STATUS in flying.asked_us
    asked = [message.param1 for message in flying.heard["COMMAND_LONG"]]
    assert asked.count(mavlink.MAVLINK_MSG_ID_ATTITUDE) == 1


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
        assert followed.kind is PX4
        assert followed.read("SOME_INTEGER") == value


def test_a_setting_that_was_lost_is_asked_again_when_it_must_be_sure(pair: Pair) -> None:
    flying, followed, _ = pair
    assert followed.kind is ARDUPILOT
    voltage = flying.parameters.pop("SIM_BATT_VOLTAGE")  # it takes nothing, and says nothing

    def comes_back(t_s: float) -> float:
        if t_s > start_s + 0.7 * flying.speed:
            flying.parameters.setdefault("SIM_BATT_VOLTAGE", voltage)
        return 0.0

    start_s, flying.power_w = flying.t_s, comes_back
    assert followed.set_surely("SIM_BATT_VOLTAGE", 11.1)
    assert flying.parameters["SIM_BATT_VOLTAGE"] == pytest.approx(11.1)
    assert followed.parameters.values["SIM_BATT_VOLTAGE"] == pytest.approx(11.1)


# ------------------------------------------------------------------------- the bridge's link


def test_the_bridge_hears_the_vehicle_no_earlier_than_the_clock_comes_to_it(pair: Pair) -> None:
    flying, followed, _ = pair
    bridge = Bridge(followed)
    followed.sleep_until(2.0)
    assert bridge.pump(2.0).armed
    assert bridge.counts["damaged"] == 0
    assert bridge.counts["heard"] > 40
    before = bridge.counts["heard"]
    flying.wall.sleep_until(flying.wall.now_s() + 1.0 / flying.speed)
    bridge.pump(2.0)
    assert bridge.counts["heard"] == before


def test_a_stream_that_is_cut_anywhere_is_put_together_and_does_not_grow(
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

        monkeypatch.setattr(flying.autopilot, "say_bytes", through_the_stream)
        flying.asked_us = {mavlink.MAVLINK_MSG_ID_ATTITUDE: 0.0}
        followed = SitlVehicle(link, flying.wall, pytest.fail)
        find(followed)
        followed.begin()
        bridge, most = Bridge(followed), 0
        for step in range(100):
            followed.sleep_until(step / 10)
            bridge.pump(step / 10)
            most = max(most, len(followed._codec._parser.buf))
        assert bridge.counts["heard"] > 150
        assert followed._codec.damaged <= 1  # the byte that opened the link, never sent back
        assert most < 300


def test_damage_on_the_way_is_no_message(pair: Pair) -> None:
    flying, followed, said = pair
    bridge = Bridge(followed)
    followed.sleep_until(1.0)
    flying.autopilot.say_bytes(bytes(range(255)))
    followed.sleep_until(2.0)
    assert bridge.pump(2.0).armed
    assert followed._codec.damaged > 0
    assert not said
    assert drawn_ws(followed, 1.0) == 0.0
