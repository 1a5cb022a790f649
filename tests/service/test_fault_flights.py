# SPDX-License-Identifier: Apache-2.0
"""A short form of the fault campaign: closed loops on models of ArduPilot and PX4.

The whole one, every fault on both stacks and fifty clean hours: `python -m benchmarks.flights`.
"""

import pytest

from benchmarks.flights import FAULTS, FlightOutcome, fly, fly_clean

ROWS = {row.name: index for index, row in enumerate(FAULTS)}
FLOWN = (
    ("nack", "ardupilot"),
    ("unplug 6 s", "px4"),
    ("unplug for good", "ardupilot"),
    ("low_charge", "px4"),
    ("hot_cell", "px4"),
    ("gauge_reset, pack ends", "ardupilot"),
    ("last cell -0.3 V, pack ends", "ardupilot"),
    ("another pack at 5%, same serial, pack sound", "px4"),
    ("BMS_ACT 0 in flight", "ardupilot"),
    ("foreign vehicle and own heartbeat lost", "ardupilot"),
    ("pilot takes over within a heartbeat", "px4"),
    ("three of five commands are rejected", "ardupilot"),
    ("failsafe that returns slowly", "ardupilot"),
    ("service stalls for 12 s", "px4"),
    ("restart, pack ends", "px4"),
    ("reload of nonsense, pack ends", "ardupilot"),
    ("autopilot restarts, pack ends", "ardupilot"),
    ("kill with reduced limits", "ardupilot"),
    ("kill with reduced limits", "px4"),
)


def judged(name: str, stack: str, seed: int = 1) -> FlightOutcome:
    """Fly a row of the campaign."""
    return fly((ROWS[name], stack, seed))


@pytest.mark.parametrize(("name", "stack"), FLOWN)
def test_a_fault_misses_no_action_and_causes_none(name: str, stack: str) -> None:
    outcome = judged(name, stack)
    assert outcome.verdict in ("ok", "home"), outcome.row()


def test_a_flight_without_a_fault_has_no_action_and_no_critical_alarm() -> None:
    outcome = fly_clean(("ardupilot", 5))
    assert outcome.seen_s is None, outcome.row()
    assert outcome.flown_s > 400.0
    assert not outcome.alarms


def test_the_rows_of_the_campaign_have_different_names_and_are_enough() -> None:
    assert len(ROWS) == len(FAULTS)
    assert 2 * 2 * len(FAULTS) >= 200  # stacks, seeds
