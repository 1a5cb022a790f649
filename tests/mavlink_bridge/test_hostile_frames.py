# SPDX-License-Identifier: Apache-2.0
"""Hostile frames raise nothing, change nothing, and command nothing; see benchmarks/frames.py."""

import pytest

from benchmarks.frames import Attacker, attacked, in_process

FRAMES, RATE_HZ = 8000, 10_000.0


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_frames_raise_nothing_and_change_nothing(seed: int) -> None:
    result = in_process(FRAMES, RATE_HZ, seed)
    assert (result.exceptions, result.settings, result.for_others) == (0, 0, 0)
    assert result.late_s <= 0.1
    assert set(result.kinds) == set(Attacker(0).kinds())


def test_nonsense_of_the_followed_autopilot_raises_nothing() -> None:
    result = in_process(FRAMES, RATE_HZ, 1, as_autopilot=True)
    assert (result.exceptions, result.for_others) == (0, 0)
    assert result.late_s <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("link", ["udp", "tcp", "serial"])
def test_a_service_under_attack_goes_on(link: str) -> None:
    result = attacked(link, 4000, 2000.0, 1)
    assert (result.exceptions, result.settings, result.for_others) == (0, 0, 0)
    assert result.late_s < 10.0  # of a loaded machine; the benchmark judges 1.5 s
    assert result.peak_mib < result.idle_mib + 40.0
