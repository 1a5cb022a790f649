# SPDX-License-Identifier: Apache-2.0
"""Starts, stops and corners against a motion that is integrated step by step."""

import math

import pytest

from dronebms.estimation.motion.speed_changes import INSTANT, Limits

STEP_S = 0.001


def start(m_s: float, limits: Limits) -> tuple[float, float]:
    """(Distance, time) of a start: its acceleration rises, is held and falls in the same way."""
    took_s = limits.ramp_s(m_s)
    at_m = now_m_s = 0.0
    for step in range(round(took_s / STEP_S)):
        t_s = (step + 0.5) * STEP_S
        now_m_s += min(limits.m_s3 * min(t_s, took_s - t_s), limits.m_s2) * STEP_S
        at_m += now_m_s * STEP_S
    assert now_m_s == pytest.approx(m_s, rel=0.01)
    return at_m, took_s


def eased(m_s: float, distance_m: float, limits: Limits) -> float:
    """Time of a stop whose speed follows PX4's `computeMaxSpeedFromDistance`."""
    b = 4.0 * limits.m_s2**2 / limits.m_s3
    left_m, t_s = distance_m, 0.0
    while left_m > limits.within_m:
        allowed_m_s = 0.5 * (-b + math.sqrt(b * b + 8.0 * limits.m_s2 * left_m))
        left_m -= min(m_s, allowed_m_s) * STEP_S
        t_s += STEP_S
    return t_s


@pytest.mark.parametrize("m_s", [0.5, 1.5, 6.0, 15.0])
@pytest.mark.parametrize("limits", [Limits(2.5, 1.0), Limits(3.0, 4.0), Limits(1.0, 5.0)])
def test_a_start_takes_the_time_and_the_way_of_its_jerk(m_s: float, limits: Limits) -> None:
    way_m, took_s = start(m_s, limits)
    assert m_s * took_s / 2.0 == pytest.approx(way_m, rel=0.02)


@pytest.mark.parametrize(
    ("m_s", "way_m", "limits"),
    [
        (6.0, 120.0, Limits(3.0, 4.0, eases=True, within_m=10.0)),
        (3.0, 15.0, Limits(4.0, 4.0, eases=True, within_m=0.8)),
        (1.5, 15.0, Limits(3.0, 4.0, eases=True, within_m=0.8)),
    ],
)
def test_a_line_of_px4_begins_with_jerk_and_ends_by_its_distance(
    m_s: float, way_m: float, limits: Limits
) -> None:
    first_m, first_s = start(m_s, limits)
    took_s = first_s + eased(m_s, way_m - first_m, limits)
    assert way_m / m_s + limits.stop_s(m_s, way_m) == pytest.approx(took_s, rel=0.02)


def test_a_line_that_is_too_short_for_its_speed_takes_that_of_its_changes() -> None:
    assert 2.0 + Limits(2.5).stop_s(5.0, 10.0) == pytest.approx(2.0 + 2.0, rel=1e-3)
    assert 0.5 + Limits(2.5).stop_s(5.0, 2.5) == pytest.approx(2.0, rel=1e-3)
    # 2 m by a jerk of 1 m/s3: a quarter of the time T is a rise, and j T³ / 32 the way.
    found_s = 2.0 / 9.0 + Limits(2.5, 1.0).stop_s(9.0, 2.0)
    assert found_s == pytest.approx((32.0 * 2.0) ** (1.0 / 3.0), rel=1e-3)


def test_the_end_of_a_line_that_counts_as_flown_takes_no_time() -> None:
    limits = Limits(3.0, 4.0, eases=True, within_m=10.0)
    assert limits.stop_s(5.0, 8.0) == pytest.approx(-8.0 / 5.0)
    assert limits.stop_s(5.0, 10.0) == pytest.approx(-10.0 / 5.0)
    # Within the last metres the speed is lower than where the line ends.
    assert 11.0 / 0.5 + limits.stop_s(0.5, 11.0) == pytest.approx(1.0 / 0.5 + 0.354, rel=0.02)


def test_without_limits_nothing_costs_time() -> None:
    assert INSTANT.stop_s(5.0, 100.0) == pytest.approx(0.0, abs=1e-4)
    assert INSTANT.corner_s(5.0, math.pi) == pytest.approx(0.0, abs=1e-4)
    assert Limits(2.5).corner_s(5.0, 0.0) == 0.0
