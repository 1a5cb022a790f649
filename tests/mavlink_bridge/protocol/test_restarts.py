# SPDX-License-Identifier: Apache-2.0
"""Restarts of the autopilot: by its time since boot and its status, with lost and forged ones."""

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.restarts import RestartWatch

BOOT, STANDBY, ACTIVE = 1, 3, 4  # MAV_STATE


def beat(status: int = ACTIVE) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_heartbeat_message(2, 3, 129, 4, status, 3)


def position(boot_ms: int) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_global_position_int_message(boot_ms, 1, 1, 0, 0, 0, 0, 0, 0)


def clock(boot_ms: int) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_system_time_message(0, boot_ms)


def running(boot_ms: int = 100_000, now_s: float = 100.0) -> RestartWatch:
    watch = RestartWatch()
    assert not watch.receive(beat(), now_s)
    assert not watch.receive(position(boot_ms), now_s)
    return watch


def test_a_time_that_goes_back_twice_is_a_restart_and_counted_once() -> None:
    watch = running()
    assert not watch.receive(position(1_000), 101.0)  # one may be forged
    assert watch.is_open(101.0)
    assert watch.is_open(102.9)
    assert not watch.is_open(103.0)
    assert watch.receive(position(2_000), 102.0)
    assert not watch.is_open(102.0)
    assert watch.count == 1
    assert not watch.receive(position(3_000), 103.0)
    assert watch.count == 1


def test_copies_of_one_message_are_no_second_one() -> None:
    watch = running()
    for at_s in (101.0, 101.0, 101.5):
        assert not watch.receive(position(92_000), at_s)  # by a way that is 9 s slower
    assert not watch.receive(position(102_000), 102.0)
    assert watch.count == 0
    assert not watch.receive(position(1_000), 103.0)
    assert not watch.receive(position(1_000), 103.0)
    assert watch.receive(position(1_500), 103.5)


def test_a_single_time_that_goes_back_is_none() -> None:
    watch = running()
    assert not watch.receive(position(1_000), 101.0)
    assert not watch.receive(position(102_000), 102.0)
    assert not watch.is_open(102.0)
    assert not watch.receive(position(1_000), 103.0)
    assert watch.count == 0


@pytest.mark.parametrize(("late_ms", "doubt"), [(0, False), (3_000, False), (3_001, True)])
def test_a_message_that_another_one_has_overtaken_is_none(late_ms: int, *, doubt: bool) -> None:
    watch = running()
    assert not watch.receive(position(100_000 - late_ms), 100.0)
    assert watch.is_open(100.0) == doubt
    assert watch.receive(position(100_000 - late_ms - 1), 100.0) == doubt


@pytest.mark.parametrize(
    ("after_s", "ahead_ms", "doubt"),
    [
        (0.0, 600_000, False),
        (0.0, 600_001, True),
        (10.0, 1_600_000, False),
        (10.0, 1_600_001, True),
    ],
)
def test_a_time_far_ahead_counts_with_the_second_one_and_is_no_restart(
    after_s: float, ahead_ms: int, *, doubt: bool
) -> None:
    watch = running()
    assert not watch.receive(position(100_000 + ahead_ms), 100.0 + after_s)
    assert watch.is_open(100.0 + after_s) == doubt
    assert not watch.receive(position(100_500 + ahead_ms), 100.5 + after_s)
    assert not watch.is_open(100.5 + after_s)
    assert watch.count == 0


@pytest.mark.parametrize("first_ms", [(1 << 32) - 400, (1 << 32) - 1, (1 << 32) - 90_000])
def test_a_time_that_begins_again_after_its_32_bits_is_no_restart(first_ms: int) -> None:
    """After 49.7 days without a restart; a message that was overtaken comes in between."""
    watch = running(first_ms)
    for step in range(1, 200):
        boot_ms = first_ms + 1000 * step
        for late_ms in (0, 700, 0):
            sent_ms = (boot_ms - late_ms) % (1 << 32)
            assert not watch.receive(position(sent_ms), 100.0 + step)
            assert not watch.is_open(100.0 + step)
    assert watch.count == 0


def test_a_restart_shortly_before_the_end_of_the_32_bits_is_one() -> None:
    watch = running((1 << 32) - 30_000_000)
    assert not watch.receive(position(1_000), 101.0)
    assert watch.receive(position(2_000), 102.0)
    assert watch.count == 1


def test_both_messages_with_a_time_show_one_restart() -> None:
    watch = running()
    watch.receive(clock(100_000), 100.0)
    found = [
        watch.receive(message, now_s)
        for now_s, message in (
            (101.0, position(500)), (101.1, clock(600)), (101.5, position(1_000)),
            (101.6, clock(1_100)), (102.0, position(1_500)), (102.1, clock(1_600)),
        )
    ]  # fmt: skip
    assert found == [False, False, True, False, False, False]
    assert watch.count == 1


@pytest.mark.parametrize(("after_s", "count"), [(2.9, 1), (3.0, 2)])
def test_restarts_within_three_seconds_are_one(after_s: float, count: int) -> None:
    watch = running()
    watch.receive(position(50_000), 101.0)
    assert watch.receive(position(50_001), 101.0)
    watch.receive(position(1_000), 101.0 + after_s)
    assert watch.receive(position(1_001), 101.0 + after_s) == (count == 2)
    assert watch.count == count


def test_messages_without_a_time_are_ignored() -> None:
    watch = running()
    for boot_ms in (0, 0):
        assert not watch.receive(position(boot_ms), 101.0)
    other = mavlink.MAVLink_attitude_message(500, 0, 0, 0, 0, 0, 0)
    assert not watch.receive(other, 101.0)
    assert not watch.receive(other, 101.5)
    assert not watch.is_open(101.5)
    assert watch.count == 0


@pytest.mark.parametrize(("pause_s", "opens"), [(3.0, False), (3.1, True)])
def test_a_pause_of_heartbeats_leaves_a_restart_open_for_two_seconds(
    pause_s: float, *, opens: bool
) -> None:
    watch = running()
    assert not watch.is_open(100.0)
    assert not watch.receive(beat(), 100.0 + pause_s)
    assert watch.is_open(100.0 + pause_s) == opens
    assert watch.is_open(100.0 + pause_s + 1.9) == opens
    assert not watch.is_open(100.0 + pause_s + 2.0)
    watch.receive(beat(), 110.0)
    assert watch.is_open(110.0)
    watch.receive(position(110_000), 110.1)  # the time decides
    assert not watch.is_open(110.1)
    assert watch.count == 0


@pytest.mark.parametrize(("age_s", "restart"), [(2.0, False), (2.1, True)])
def test_a_status_of_boot_is_a_restart_without_a_time_just_before(
    age_s: float, *, restart: bool
) -> None:
    watch = running()
    now_s = 100.0 + age_s
    assert watch.receive(beat(BOOT), now_s) == restart
    assert watch.is_open(now_s) != restart
    assert watch.count == restart
    assert not watch.receive(beat(BOOT), now_s + 1.0)  # the same one
    assert watch.count == restart
    watch.receive(beat(STANDBY), now_s + 2.0)
    assert watch.receive(beat(BOOT), now_s + 4.0)


def test_the_first_heartbeat_is_no_restart_whatever_its_status() -> None:
    for status in (BOOT, STANDBY, ACTIVE):
        watch = RestartWatch()
        assert not watch.receive(beat(status), 50.0)
        assert not watch.is_open(50.0)
        assert watch.count == 0
