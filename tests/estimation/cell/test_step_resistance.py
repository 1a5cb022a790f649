# SPDX-License-Identifier: Apache-2.0
"""Resistance by steps of the load: dronebms.estimation.cell.step_resistance."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dronebms.core.chemistry import LIPO
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import CHARGE, FAST, KNOTS, CellModel
from dronebms.estimation.cell.step_resistance import Level, StepResistance

USUAL_OHM, STEP_V, MOST = 0.003, 0.012, 3.0
DELAYS_S = (-1.0, -0.6, -0.25, 0.0, 0.25, 0.5, 0.9, 1.0)
CALM_A, HOVER_A, FAST_A = 0.5, 20.0, 31.0


def current_a(t_s: float) -> float:
    """A take-off within a second, then other phases each half minute; never two in two seconds."""
    times = [0.0, 10.3, 11.1]
    amps = [CALM_A, CALM_A, HOVER_A]
    for k, level in enumerate((FAST_A, HOVER_A, FAST_A, HOVER_A)):
        times += [40.4 + 30 * k, 41.1 + 30 * k]
        amps += [amps[-1], level]
    return float(np.interp(t_s, times, amps))


def seen(t_s: float, delay_s: float, ratio: float) -> Level:
    """What a gauge reports at a time, whose voltage is `delay_s` older than its current."""
    sag_v = ratio * USUAL_OHM * current_a(t_s - delay_s)
    return Level(4.0 - 2e-4 * t_s - sag_v, USUAL_OHM * current_a(t_s))


def after(levels: list[Level]) -> StepResistance:
    steps = StepResistance()
    for level in levels:
        steps = steps.updated(level, STEP_V, MOST)
    return steps


def ratio_of(steps: StepResistance) -> float:
    found = steps.ratio()
    assert found is not None
    return found[0]


@pytest.mark.parametrize("delay_s", DELAYS_S)
@pytest.mark.parametrize("ratio", [0.6, 1.0, 2.2])
def test_the_resistance_is_right_with_any_delay_of_up_to_a_second(
    delay_s: float, ratio: float
) -> None:
    levels = [seen(float(t), delay_s, ratio) for t in range(1, 170)]
    found, variance = after(levels).ratio() or (math.nan, math.nan)
    # Steps that last a second are not sampled alike in both: up to 16 %. Changes of the same
    # second alone would miss all of a step with a delay of a second.
    assert found == pytest.approx(ratio, rel=0.17)
    assert 0.01 < math.sqrt(variance) < 0.2


@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_a_take_off_alone_is_a_step(delay_s: float) -> None:
    levels = [seen(float(t), delay_s, 1.5) for t in range(1, 20)]
    assert ratio_of(after(levels)) == pytest.approx(1.5, rel=0.17)


def test_noise_makes_it_at_most_as_uncertain_as_it_reports() -> None:
    rng = np.random.default_rng(7)
    off = []
    for _ in range(200):
        levels = [seen(float(t), 0.0, 1.0) for t in range(1, 170)]
        noisy = [replace_v(one, rng.normal(0.0, 0.004 / math.sqrt(2))) for one in levels]
        found, variance = after(noisy).ratio() or (math.nan, math.nan)
        off.append((found - 1.0) / math.sqrt(variance))
    assert abs(float(np.mean(off))) < 0.3
    # Changes one after another share a level, whose noise cancels in their sum.
    assert 0.4 < float(np.std(off)) < 1.0


def replace_v(level: Level, added_v: float) -> Level:
    return level._replace(cell_v=level.cell_v + added_v)


def test_a_steady_load_and_small_changes_have_no_resistance() -> None:
    small_a = STEP_V / USUAL_OHM * 0.24
    levels = [Level(4.0, USUAL_OHM * (20.0 + small_a * (t % 2))) for t in range(60)]
    assert after(levels).ratio() is None
    assert after(levels[:3]).ratio() is None


def test_a_wrong_voltage_next_to_a_step_is_not_taken_for_it() -> None:
    levels = [seen(float(t), 0.0, 1.0) for t in range(1, 170)]
    before = ratio_of(after(levels))
    levels[39] = replace_v(levels[39], -0.5)
    assert ratio_of(after(levels)) == pytest.approx(before, rel=0.1)


def test_ripple_of_the_current_that_the_voltage_does_not_follow_is_outweighed() -> None:
    """A gauge averages the current, so that ripple in both is not the same."""
    rng = np.random.default_rng(3)
    levels = [seen(float(t), 0.0, 1.0) for t in range(1, 170)]
    rippled = [one._replace(usual_v=one.usual_v + rng.normal(0.0, 0.002)) for one in levels]
    assert ratio_of(after(rippled)) == pytest.approx(1.0, rel=0.15)


def test_a_resistance_of_five_times_the_usual_is_found() -> None:
    levels = [seen(float(t), 0.0, 5.0) for t in range(1, 20)]
    assert ratio_of(after(levels)) == pytest.approx(5.0, rel=0.05)


def test_levels_before_and_after_unknown_seconds_are_no_step() -> None:
    calm, loaded = seen(5.0, 0.0, 1.0), seen(20.0, 0.0, 1.0)
    through = after([calm] * 5 + [loaded] * 5)
    assert through.ratio() is not None
    steps = after([calm] * 5).interrupted()
    for _ in range(5):
        steps = steps.updated(loaded, STEP_V, MOST)
    assert steps.ratio() is None


def test_it_continues_from_its_state_to_the_last_bit() -> None:
    levels = [seen(float(t), 0.3, 1.0) for t in range(1, 170)]
    steps = after(levels[:41])  # between the seconds of a step
    again = replace(steps)
    for level in levels[41:]:
        again = again.updated(level, STEP_V, MOST)
    assert again == after(levels)


@pytest.mark.parametrize(
    ("normal", "moment"),
    [((0.0,), (0.0,) * 3), ((0.0,) * 9, ()), ((-1.0,) * 9, (0.0,) * 3)],
)
def test_sums_of_another_size_or_range_are_rejected(
    normal: tuple[float, ...], moment: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="sums of steps"):
        StepResistance(normal, moment)


@pytest.mark.parametrize("delay_s", [0.0, 0.5, 1.0])
def test_a_fit_has_the_resistance_of_the_steps_whatever_the_gauge(delay_s: float) -> None:
    """Before a row of the load is complete there is the take-off alone."""
    model = CellModel(LIPO, 10.0, rated=True)
    fit = CellFit(model)
    truth = model.mean.copy()
    truth[[CHARGE, FAST]] = 0.9, math.log(1.8)
    table_v = tuple(model.curves(truth[KNOTS:]).tolist())

    def cell_v(t_s: float) -> float:
        on_s = max(t_s - 10.2, 0.0)
        fast_a = 15.0 * (1 - math.exp(-on_s / model.parameters.fast_tau_s))
        now = model.circuit(truth, table_v, 0.0, fast_a, 0.0, 15.0 if on_s else 0.0)
        return now.open_v - now.sag_v

    fit.start(cell_v(0.0), 0.0, None)
    for t in range(1, 22):
        amps = 15.0 if t > 10 else 0.0
        fit.advance(1.0, amps, 0.0)
        fit.measure(cell_v(t - delay_s), amps)
        fit.measure_steps(cell_v(t - delay_s), amps)
    assert math.exp(fit.x[FAST]) == pytest.approx(1.8, rel=0.2)
