# SPDX-License-Identifier: Apache-2.0
"""When a message is due."""

from mavlink_bridge.protocol.schedule import MessageSchedule

A, B = 147, 370


def times_s(schedule: MessageSchedule, message_id: int, end_s: float, step_s: float) -> list[float]:
    steps = [round(k * step_s, 6) for k in range(round(end_s / step_s))]
    return [t_s for t_s in steps if schedule.due(message_id, t_s)]


def test_a_message_is_due_at_once_and_then_on_multiples_of_its_period() -> None:
    schedule = MessageSchedule({A: 0.5, B: 2.0})
    assert times_s(schedule, A, 2.0, 0.1) == [0.0, 0.5, 1.0, 1.5]
    assert times_s(schedule, B, 4.0, 0.5) == [0.0, 2.0]


def test_a_step_that_is_late_does_not_delay_those_after_it() -> None:
    schedule = MessageSchedule({A: 1.0})
    found = [t_s for t_s in (10.0, 10.9, 11.3, 11.9, 12.0, 12.9, 13.0) if schedule.due(A, t_s)]
    assert found == [10.0, 11.3, 12.0, 13.0]


def test_after_a_pause_the_period_counts_from_the_end_of_it() -> None:
    schedule = MessageSchedule({A: 1.0})
    found = [t_s for t_s in (0.0, 1.0, 5.5, 6.0, 6.4, 6.5, 7.4, 7.5) if schedule.due(A, t_s)]
    assert found == [0.0, 1.0, 5.5, 6.5, 7.5]


def test_a_message_without_a_period_is_due_on_request_alone_and_once() -> None:
    schedule = MessageSchedule({A: None})
    assert not schedule.due(A, 0.0)
    assert not schedule.due(A, 1e9)
    schedule.send_now(A)
    assert [schedule.due(A, 5.0), schedule.due(A, 5.0), schedule.due(A, 1e9)] == [
        True,
        False,
        False,
    ]


def test_a_new_period_is_used_at_once() -> None:
    schedule = MessageSchedule({A: 10.0, B: 1.0})
    assert schedule.due(A, 0.0)
    schedule.set_period(A, 0.5)
    assert [schedule.due(A, t_s) for t_s in (0.1, 0.5, 0.6)] == [True, False, True]
    schedule.set_period(A, None)
    assert not schedule.due(A, 100.0)
    assert schedule.periods_s == {A: None, B: 1.0}
