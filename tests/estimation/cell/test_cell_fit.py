# SPDX-License-Identifier: Apache-2.0
"""The fit against a cell and the discharge against an integral, both in closed form."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from dronebms.core.chemistry import LI_ION, LIFEPO4, LIHV, LIPO, Chemistry
from dronebms.core.known_cells import KNOWN_CELLS, KnownCell, known_cell
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate
from dronebms.estimation.available_current import max_currents
from dronebms.estimation.cell.cell_fit import CellFit
from dronebms.estimation.cell.cell_model import CAPACITY, CHARGE, FAST, KNOTS, CellModel
from dronebms.estimation.end_samples import end_samples
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.learning.learned_pack import Known
from dronebms.estimation.load_forecast import LoadAhead
from dronebms.estimation.model_parameters import FITTED
from dronebms.estimation.sampling import Sample
from dronebms.estimation.time_bounds import charge_bounds, open_voltage, time_bounds
from tests.snapshots import look

AH = 5.0
OHM = FITTED.resistance_frac["li-ion"] * LI_ION.resistance_mohm_ah / 1e3 / AH


@dataclass(frozen=True)
class Cell:
    """A cell of the documented circuit at 25 degC, at rest until 10 s and then at one current."""

    charge: float = 0.95
    capacity_frac: float = 0.9  # of the rated one
    resistance_frac: float = 1.4  # of the chemistry's
    amps: float = 15.0

    def seen(self, t_s: float) -> tuple[float, float]:
        """Volts and amperes in closed form: docs/estimation.md."""
        on_s = t_s - 10.0
        if on_s < 0:
            return float(np.interp(self.charge, np.linspace(0, 1, 21), LI_ION.ocv_v)), 0.0
        capacity_as = AH * 3600.0 * self.capacity_frac
        charge = self.charge - self.amps * on_s / capacity_as
        fast_a = self.amps * (1 - math.exp(-on_s / FITTED.fast_tau_s))
        slow_a = self.amps * (1 - math.exp(-on_s / FITTED.slow_tau_s))
        short = FITTED.depth_h["li-ion"] * 3600.0 * slow_a / capacity_as
        grown = 1 + FITTED.empty_growth * math.exp(-charge / FITTED.empty_charge)
        share, ohm = FITTED.share_now, OHM * grown
        volts = np.interp(charge - short, np.linspace(0, 1, 21), LI_ION.ocv_v)
        volts -= self.resistance_frac * ohm * (share * self.amps + (1 - share) * fast_a)
        return float(volts - FITTED.share_slow * ohm * slow_a), self.amps

    def left(self, t_s: float) -> float:
        """Charge fraction."""
        return self.charge - max(t_s - 10.0, 0.0) * self.amps / (AH * 3600.0 * self.capacity_frac)


def fitted(cell: Cell, until_s: int) -> CellFit:
    """Fit of a cell, one reading a second."""
    fit = CellFit(CellModel(LI_ION, AH, rated=True))
    fit.start(*cell.seen(0.0), None)
    for t in range(1, until_s + 1):
        volts, amps = cell.seen(float(t))
        fit.advance(1.0, amps, 0.0)
        assert fit.measure(volts, amps)
        fit.measure_steps(volts, amps)
    return fit


@pytest.mark.parametrize(
    "cell",
    [Cell(), Cell(resistance_frac=0.7), Cell(charge=0.7), Cell(capacity_frac=1.0, amps=8.0)],
    ids=["weak", "strong", "part-used", "slow"],
)
def test_a_known_cell_is_identified_within_two_standard_deviations(cell: Cell) -> None:
    until_s = 10 + int(0.8 * cell.charge * cell.capacity_frac * AH * 3600.0 / cell.amps)
    while cell.seen(float(until_s))[0] < LI_ION.cutoff_cell_v:  # the flight has ended there
        until_s -= 1
    prior = CellModel(LI_ION, AH, rated=True).covariance
    fit = fitted(cell, until_s)
    truths = {
        CHARGE: cell.left(float(until_s)),
        CAPACITY: math.log(cell.capacity_frac),
        FAST: math.log(cell.resistance_frac),
    }
    for element, truth in truths.items():
        sd = math.sqrt(fit.P[element, element])
        assert abs(fit.x[element] - truth) < 2.0 * sd
        assert sd < 0.9 * math.sqrt(prior[element, element])
    assert fit.x[CHARGE] == pytest.approx(truths[CHARGE], abs=0.06)


def test_a_voltage_drop_between_two_fits_lowers_the_available_current() -> None:
    cell = Cell()
    fit = fitted(cell, 310)
    calm = fit.estimate()
    (calm_a,) = max_currents(calm, calm.circuit(cell.amps), 3.0, (10.0,))
    for t in range(311, 315):  # no fit is due before 319 s
        volts, amps = cell.seen(float(t))
        fit.advance(1.0, amps, 0.0)
        fit.measure(volts - 0.15, amps)
    weak = fit.estimate()
    (given_a,) = max_currents(weak, weak.circuit(cell.amps), 3.0, (10.0,))
    # 0.15 V over the resistance of 10 s, at least two thirds of it after 4 s.
    per_amp = 1.4 * OHM + FITTED.share_slow * OHM
    assert given_a < calm_a - 0.15 * 2 / 3 / (1.5 * per_amp)


@pytest.mark.parametrize("row", KNOWN_CELLS, ids=lambda row: row.name)
def test_a_known_cell_has_its_own_curve_and_less_doubt(row: KnownCell) -> None:
    known = CellModel(row.chemistry, AH, rated=True, cell=row)
    usual = CellModel(row.chemistry, AH, rated=True)
    charges = np.linspace(0.0, 1.0, 21)
    volts, _, _ = known.open(charges, known.mean[KNOTS:])
    assert volts == pytest.approx(row.ocv_v, abs=1e-6)
    sd_v, usual_sd_v = (np.sqrt(model.covariance.diagonal()[KNOTS:]) for model in (known, usual))
    assert np.all(sd_v < 0.65 * usual_sd_v)
    assert sd_v.min() >= 0.02  # what discharge and charge differ by remains


def test_a_pack_whose_cell_is_named_is_estimated_by_its_curve() -> None:
    row = known_cell("P45B")  # lies 30 to 50 mV below the row of its chemistry at 15 to 35 %
    errors = {}
    for name in (None, row.name):
        pack = PackData(LI_ION, cells=4, capacity_mah=1e3 * AH, cell=name)
        estimator, estimate = Estimator(pack), Estimate(0.0)
        for t_s in range(20):
            estimate = estimator.update(look(float(t_s), row.ocv_v[5], 0.0, cells=4))
        assert estimate.soc_pct is not None
        errors[name] = abs(estimate.soc_pct - 25.0)
    assert errors[row.name] < 2.0 < errors[None]


def lihv_flight(configured: Chemistry) -> Estimator:
    """A full LiHV pack at rest, then five minutes at 3C."""
    estimator = Estimator(PackData(configured, 4, 1e3 * AH, 3.3, pack_id="lihv"))
    for t_s in range(330):
        left, amps = 0.99, 0.0
        if t_s >= 10:
            left, amps = 0.99 - (t_s - 10) * 15.0 / (AH * 3600.0), 15.0
        estimator.update(look(float(t_s), LIHV.open_circuit_v(left) - 0.006 * amps, amps, cells=4))
    return estimator


def test_a_full_lihv_pack_that_is_configured_as_lipo_is_estimated_as_lihv() -> None:
    seen, configured = lihv_flight(LIPO), lihv_flight(LIHV)
    now = look(330.0, LIHV.open_circuit_v(0.72) - 0.09, 15.0, cells=4)
    resumed = Estimator(PackData(LIPO, 4, 1e3 * AH, 3.3, pack_id="lihv"), state=seen.state())
    expected = configured.update(now)
    assert expected.soc_pct is not None
    assert seen.update(now) == resumed.update(now) == expected
    learned = seen.learn().pack
    assert learned is not None
    assert learned.chemistry == "lihv"
    # Part-used on its next flight, it is the same pack.
    again = Estimator(seen._pack_data, lambda _: Known(learned))
    again.update(look(0.0, 3.95, 0.0, cells=4))
    stages = again.state().stages
    assert stages is not None
    assert (stages.pack.learned, stages.pack.full_seen_v) == (learned, 4.35)


# ---------------------------------------------------------------------- the discharge


def test_a_temperature_counts_at_once_and_an_update_without_news_computes_nothing() -> None:
    fit = fitted(Cell(), 310)
    sample = Sample(
        t_s=310.0,
        cells=1,
        cells_v=(),
        newest=None,
        is_new=True,
        first=None,
        second=None,
        used_as=0.0,
        used_ws=0.0,
        current_known=True,
        ended=False,
        just_ended=False,
    )
    warm = fit.update(sample, 25.0, None, None)
    assert warm is not None
    assert fit.update(sample, 25.0, None, None) is warm
    assert fit.update(sample, None, None, None) is warm
    cold = fit.update(sample, 5.0, None, None)
    assert cold is not None
    assert cold.circuit(10.0).sag_v > 1.2 * warm.circuit(10.0).sag_v


@pytest.mark.parametrize("watts", [20.0, 60.0])
@pytest.mark.parametrize("ohm_share", [0.0, 1.0])
def test_constant_power_on_a_linear_curve_lasts_as_long_as_the_integral(
    watts: float, ohm_share: float
) -> None:
    line = replace(LI_ION, ocv_v=tuple(np.linspace(3.0, 4.2, 21).tolist()))
    alone = replace(
        FITTED,
        share_now=ohm_share,
        share_slow=0.0,
        empty_growth=0.0,
        depth_h={"li-ion": 0.0},
        family_lipo=(0.0, 0.0),
        sd_cutoff_v=0.0,
        resistance_frac={"li-ion": 1.0 if ohm_share else 0.0},
    )
    model = CellModel(line, AH, rated=False, parameters=alone)
    fit = CellFit(model)
    fit.x[CHARGE], fit.P[:] = 0.9, 0.0
    fit._settle()
    ends = end_samples(fit.estimate(), 3.3, LoadAhead(watts, 0.0, 0.0, watts, watts))
    assert float(np.ptp(ends.ends_s)) < 1e-6

    # i = P / v with v (U - v) = P R: seconds are Q / P times the integral of v over charge.
    ohm = model.ohms[0]
    assert (ohm > 0) is (ohm_share > 0)

    def antiderivative(open_v: float) -> float:
        four = 4 * watts * ohm
        root = math.sqrt(open_v**2 - four)
        return open_v**2 / 4 + (open_v * root - four * math.log(open_v + root)) / 4

    start_v, end_v = 3.0 + 1.2 * 0.9, 3.3 + watts * ohm / 3.3
    expected_s = AH * 3600 / watts / 1.2 * (antiderivative(start_v) - antiderivative(end_v))
    assert ends.ends_s[0] == pytest.approx(expected_s, rel=0.005)
    assert ends.charge_as[0] == pytest.approx(AH * 3600 * (start_v - end_v) / 1.2, rel=0.005)


def test_a_vehicle_that_lands_in_a_hover_ends_where_that_hover_does() -> None:
    cell = fitted(Cell(), 310).estimate()
    cruise = LoadAhead(20.0, 0.0, 0.0, 20.0, 20.0)
    lands = replace(cruise, landing_w=80.0)
    (to_empty_s, *_), (to_landing_s, *_) = (
        end_samples(cell, 3.0, load).ends_s for load in (cruise, lands)
    )
    assert to_landing_s < 0.9 * to_empty_s
    # From there on the hover is not possible for 45 s.
    amps = 80.0 / 3.0
    used = (to_landing_s * 20.0 / 3.5) / (AH * 3600.0 * 0.9)
    charge = float(cell.x[CHARGE]) - used
    ohm = math.exp(float(cell.x[FAST])) * OHM
    open_v = float(np.interp(charge, np.linspace(0, 1, 21), LI_ION.ocv_v))
    assert open_v - amps * ohm == pytest.approx(3.0, abs=0.15)
    charge_bound = charge_bounds(cell, None, began_with_gauge=False)
    bounds = [time_bounds(cell, 3.6, 3.0, charge_bound, load, 1) for load in (cruise, lands)]
    assert bounds[1].least_s < bounds[0].least_s


def watched(row: Chemistry, left_frac: float, until_s: int, *, gap: bool = True) -> CellFit:
    """Fit of a cell at 1.5C that holds a part of what the median cell holds, with their gap."""
    amps, ohm = 1.5 * AH, 0.02 / AH

    def volts(t_s: float, frac: float) -> float:
        charge = 0.98 - amps * max(t_s - 10.0, 0.0) / (AH * 3600.0 * frac)
        open_v = float(np.interp(charge, np.linspace(0, 1, 21), row.ocv_v))
        return open_v - (ohm * amps if t_s > 10.0 else 0.0)

    fit = CellFit(CellModel(row, AH, rated=True))
    fit.start(volts(0.0, 1.0), 0.0, None, 0.0)
    for t in range(1, until_s + 1):
        fit.advance(1.0, amps if t > 10 else 0.0, 0.0)
        own_v = volts(float(t), left_frac)
        above_v = volts(float(t), 1.0) - own_v if gap else None
        fit.measure(own_v, amps if t > 10 else 0.0, above_v)
    return fit


def test_a_usual_gap_on_a_flat_curve_leaves_the_capacity_of_the_weakest_cell_in_doubt() -> None:
    more = {}
    for row in (LI_ION, LIFEPO4):
        seen, alone = (watched(row, 1.0, 1000, gap=gap) for gap in (True, False))
        assert seen.estimate().median is None
        more[row.name] = float(seen.P[CAPACITY, CAPACITY] - alone.P[CAPACITY, CAPACITY])
    # Most of what usual cells differ by, 10 %, is left where the curve is flat, little on a slope.
    assert 0.06**2 < more[LIFEPO4.name] < 0.1**2
    assert 0.0 < more[LI_ION.name] < 0.03**2


def test_a_gap_that_opens_at_the_end_of_a_flat_curve_is_a_weak_cell_within_a_minute() -> None:
    assert watched(LIFEPO4, 0.8, 1600).estimate().median is None
    late = watched(LIFEPO4, 0.8, 1690)
    alone = watched(LIFEPO4, 0.8, 1690, gap=False)
    seen = late.estimate().median
    assert seen is not None
    assert 0.4 < seen.loss / -math.log(0.8) < 1.6
    left = 0.98 - 1680.0 * 1.5 / 3600.0 / 0.8
    assert abs(late.x[CHARGE] - left) < 0.8 * abs(alone.x[CHARGE] - left)


def test_the_least_time_is_that_in_which_the_curve_falls_and_the_polarisation_grows() -> None:
    cell = fitted(Cell(), 610).estimate()
    (now_v, _), watts = Cell().seen(610.0), 15.0 * 3.3
    load = LoadAhead(watts, 0.0, 0.0, watts, watts)
    charge = charge_bounds(cell, None, began_with_gauge=False)
    least_s = time_bounds(cell, now_v, 3.0, charge, load, 1).least_s
    sag_v, left_as = open_voltage(cell, float(cell.x[CHARGE])) - now_v, charge.least_as
    after = (left_as - least_s * watts / 3.0) / charge.least_capacity_as
    grown_v = sag_v * math.exp(least_s / FITTED.slow_tau_s)
    assert least_s > 20.0
    assert open_voltage(cell, after) - grown_v == pytest.approx(3.0, abs=0.02)


# ---------------------------------------------------------------------- sampling rate


def test_a_first_reading_at_rest_counts_when_the_second_one_is_under_load() -> None:
    # One reading in 10 s, as laboratories log: the load begins between the first two.
    cell = Cell(charge=0.8, resistance_frac=4.0, amps=10.0)
    found = estimate_at([0.0, *(11.0 + 10.0 * k for k in range(6))], cell).soc_pct
    assert found is not None
    assert found / 100.0 == pytest.approx(cell.left(61.0), abs=0.06)


def estimate_at(times_s: list[float], cell: Cell = Cell()) -> Estimate:
    """Estimate at the last of these times of a 4S flight with gusts, sampled at them."""
    estimate = Estimate(0.0)
    estimator = Estimator(PackData(LI_ION, cells=4, capacity_mah=1e3 * AH, cutoff_cell_v=3.0))
    for t_s in times_s:
        volts, amps = cell.seen(t_s)
        gust_a = math.sin(t_s / 7.0) if amps else 0.0
        estimate = estimator.update(look(t_s, volts - 1.4 * OHM * gust_a, amps + gust_a, cells=4))
    return estimate


def seen_at(rate_hz: float, jitter: float = 0.0) -> list[float]:
    shaken = np.random.default_rng(4).uniform(-jitter, jitter, int(400 * rate_hz) + 1)
    times_s = [max((k + shake) / rate_hz, 0.0) for k, shake in enumerate(shaken)]
    return [t_s for t_s in times_s if t_s < 399.9] + [400.0]


GAPS_S = ((100.0, 112.0), (250.0, 280.0))


@pytest.mark.parametrize(
    "times_s",
    [
        seen_at(0.5),
        seen_at(10.0),
        seen_at(50.0),
        seen_at(5.0, 0.45),
        [t for t in seen_at(1.0, 0.3) if not any(a < t < b for a, b in GAPS_S)],
    ],
    ids=["0.5 Hz", "10 Hz", "50 Hz", "jitter", "gaps"],
)
def test_the_sampling_rate_changes_little(times_s: list[float]) -> None:
    other, once = estimate_at(times_s), estimate_at(seen_at(1.0))
    for name in ("soc_pct", "remaining_s", "resistance_ohm", "max_discharge_a"):
        assert getattr(other, name) == pytest.approx(getattr(once, name), rel=0.05), name
