# SPDX-License-Identifier: Apache-2.0
"""What a gauge reports first, whatever it is: charge, time and count go on, within the physics."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from dronebms.core.chemistry import CHEMISTRIES, LI_ION, LIFEPO4, LIHV, LIPO, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate
from dronebms.estimation.estimator import Estimator, EstimatorState
from dronebms.estimation.gauge_fusion import MAX_FULL_FRAC
from smartbattery.snapshot import Snapshot
from tests.snapshots import check_sane

REST_S, LOAD_S = 10, 240
MAH = 8000.0
_SOC = np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True)
class Pack:
    """A pack, what its gauge reports of it, and its load after ten seconds of rest."""

    chemistry: Chemistry = LIPO
    true_frac: float = 0.9
    gauge_frac: float = 0.9  # at the start; it counts rightly from there
    load_c: float = 2.0
    cells: int = 6
    seed: int = 0
    full_mah: float | None = None  # None: the true one
    remaining_mah: float | None = None  # a constant; None: counted
    rated_mah: float | None = MAH
    usable: float = 1.0  # share of the charge that a compensated gauge counts

    @property
    def pack_data(self) -> PackData:
        """Its rated data."""
        return PackData(self.chemistry, cells=self.cells, capacity_mah=self.rated_mah)

    def snapshots(self, seconds: int = REST_S + LOAD_S) -> Iterator[tuple[Snapshot, float]]:
        """Snapshots, once a second, and the charge that is left in mAh; ends when it is used."""
        rng = np.random.default_rng(self.seed)
        shift_v = float(rng.normal(0.0, 0.01))
        ohm = self.chemistry.resistance_mohm_ah / MAH * float(rng.uniform(0.7, 1.2))
        left, soc, slow_a = self.true_frac * MAH, self.gauge_frac, 0.0
        full_mah = MAH if self.full_mah is None else self.full_mah
        for t_s in range(seconds):
            amps = (
                self.load_c * MAH / 1e3 * float(rng.uniform(0.95, 1.05)) if t_s >= REST_S else 0.1
            )
            slow_a += (amps - slow_a) / 20.0
            left -= amps / 3.6
            soc -= amps / 3.6 / MAH / self.usable
            open_v = float(np.interp(left / MAH, _SOC, self.chemistry.ocv_v)) + shift_v
            volts = open_v - ohm * (0.7 * amps + 0.3 * slow_a) + float(rng.normal(0.0, 0.002))
            if left <= 0.0 or volts <= self.chemistry.cutoff_cell_v:
                return
            pct = min(max(round(100.0 * soc), 0), 100)
            mah = max(soc, 0.0) * full_mah if self.remaining_mah is None else self.remaining_mah
            names = ("voltage_v", "current_a", "remaining_mah")
            yield (
                Snapshot(
                    float(t_s),
                    voltage_v=volts * self.cells,
                    current_a=amps,
                    temperature_degc=25.0,
                    cells_v=(volts,) * self.cells,
                    soc_pct=float(pct),
                    remaining_mah=mah,
                    full_mah=full_mah,
                    read_at_s=dict.fromkeys(names, float(t_s)),
                ),
                left,
            )

    def amps(self) -> float:
        """Mean current under load."""
        return self.load_c * MAH / 1e3


def flown(pack: Pack, seconds: int = REST_S + LOAD_S) -> list[tuple[Estimate, Snapshot, float]]:
    """Estimates of a flight, each with its snapshot and the charge that is left; checked."""
    estimator, rows, stages = Estimator(pack.pack_data), [], None
    used_mah = -1.0
    for snapshot, left in pack.snapshots(seconds):
        estimate = estimator.update(snapshot)
        check_sane(estimate)
        stages = estimator._stages if stages is None else stages
        assert estimator._stages is stages, "the estimator has started again"
        assert estimate.used_mah is not None
        assert estimate.used_mah > used_mah - 1e-9
        used_mah = estimate.used_mah
        rows.append((estimate, snapshot, left))
    drawn_mah = pack.true_frac * MAH - rows[-1][2]
    assert used_mah == pytest.approx(drawn_mah, rel=0.03, abs=0.02 * MAH)
    return rows


def doubted(rows: list[tuple[Estimate, Snapshot, float]], *, at_rest: bool) -> set[str]:
    """First words of the doubts, of the seconds of rest or of load."""
    part = rows[:REST_S] if at_rest else rows[REST_S:]
    return {doubt.split(" ")[0] for estimate, _, _ in part for doubt in estimate.doubts}


STARTS = [
    (true, gauge)
    for true in (0.2, 0.5, 0.62, 0.75, 0.95)
    for gauge in (0.1, 0.35, 0.6, 0.85, 1.0)
]  # fmt: skip
# 20 % of one make has the voltage of 60 % of another: that nothing is sure must be shown.
ALIKE = [(LIPO, 0.2, 0.6), (LIHV, 0.2, 0.6)]
FEW = [(0.5, 1.0), (0.62, 1.0), (0.95, 0.1)]


@pytest.mark.parametrize(
    ("chemistry", "true", "gauge"),
    [
        pytest.param(
            row, *start, marks=[] if start in FEW else [pytest.mark.slow], id=f"{row.name}-{start}"
        )
        for row in CHEMISTRIES
        for start in STARTS
    ],
)
def test_no_start_error_restarts_the_estimator_or_breaks_the_physics(
    chemistry: Chemistry, true: float, gauge: float
) -> None:
    seed = round(1000 * true + 10 * gauge)
    rng = np.random.default_rng(seed)
    load_c = float(rng.choice((0.8, 2.0, 3.5)))
    pack = Pack(chemistry, true, gauge, load_c, int(rng.choice((1, 4, 6, 14))), seed)
    rows = flown(pack)
    amps, answered = pack.amps(), 0
    for estimate, _, left in rows[REST_S + 5 :]:
        assert estimate.soc_pct is not None or chemistry is LIFEPO4
        assert estimate.remaining_s is not None
        assert estimate.remaining_low_s is not None
        answered += 1
        # Nothing can last longer than a full pack, and no sure minimum exceeds what is there.
        assert estimate.remaining_s <= 1.3 * MAH * 3.6 / amps
        if gauge < true + 0.3 or chemistry is LIFEPO4:
            continue
        if (chemistry, true, gauge) in ALIKE:
            assert estimate.remaining_low_s <= 0.65 * estimate.remaining_s
        else:
            assert estimate.remaining_low_s <= left * 3.6 / amps
    assert answered == max(len(rows) - REST_S - 5, 0)


@pytest.mark.parametrize("cells", [1, 6, 14])
@pytest.mark.parametrize("chemistry", [LIPO, LIHV, LI_ION], ids=lambda row: row.name)
@pytest.mark.parametrize(("true", "gauge"), [(0.5, 1.0), (0.62, 1.0), (0.95, 0.1), (0.9, 0.3)])
def test_resting_cells_refute_a_charge_that_is_far_off(
    chemistry: Chemistry, cells: int, true: float, gauge: float
) -> None:
    for seed in range(3):
        rows = flown(Pack(chemistry, true, gauge, 2.0, cells, seed), REST_S)
        assert doubted(rows, at_rest=True) == {"gauge"}
        soc_pct = rows[-1][0].soc_pct
        assert soc_pct is not None
        assert abs(soc_pct - 100.0 * true) < abs(soc_pct - 100.0 * gauge)


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
@pytest.mark.parametrize("true", [0.15, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_gauge_that_is_right_is_never_doubted(chemistry: Chemistry, true: float) -> None:
    for seed, load_c in enumerate((0.5, 2.0, 4.0)):
        error = (-0.04, 0.0, 0.04)[seed]
        gauge = min(true + error, 1.0)
        rows = flown(Pack(chemistry, true, gauge, load_c, seed=seed), REST_S + 120)
        assert doubted(rows, at_rest=True) == set()
        assert doubted(rows, at_rest=False) == set()


def test_the_flat_curve_of_lifepo4_refutes_little() -> None:
    for true, gauge in ((0.4, 0.8), (0.7, 0.4), (0.5, 1.0)):
        assert doubted(flown(Pack(LIFEPO4, true, gauge), REST_S), at_rest=True) == set()
    assert doubted(flown(Pack(LIFEPO4, 0.02, 1.0), REST_S), at_rest=True) == {"gauge"}


@pytest.mark.parametrize("cell_v", [3.0, 3.5, 4.25])
def test_a_first_voltage_that_is_not_the_cells_is_replaced_once(cell_v: float) -> None:
    pack = Pack(true_frac=0.6, gauge_frac=0.6)
    estimator, estimate = Estimator(pack.pack_data), Estimate(0.0)
    for k, (snapshot, _) in enumerate(pack.snapshots(60)):
        first = replace(snapshot, voltage_v=6 * cell_v, cells_v=(cell_v,) * 6)
        shown = first if k == 0 else snapshot
        estimate = estimator.update(shown)
    assert estimate.soc_pct == pytest.approx(60.0 - 2.0 * 50 / 36.0, abs=6.0)
    assert estimate.doubts == ()


# ---------------------------------------------------------------------- full charge capacity


@pytest.mark.parametrize("full_mah", [1.0, 10.0, 65336.0, 20000.0, 1.3 * MAH])
@pytest.mark.parametrize("load_c", [1.0, 3.0])
def test_an_absurd_full_charge_capacity_leaves_the_time_as_without_a_gauge(
    full_mah: float, load_c: float
) -> None:
    pack = Pack(full_mah=full_mah, remaining_mah=full_mah, load_c=load_c)
    for estimate, _, left in flown(pack)[REST_S + 30 :]:
        true_s = left * 3.6 / pack.amps()
        assert estimate.remaining_s is not None
        assert 0.3 * true_s < estimate.remaining_s < 1.5 * true_s
        absurd = full_mah > MAX_FULL_FRAC * MAH
        assert (estimate.doubts == ()) != absurd


def test_the_full_charge_capacity_of_a_dead_pack_is_right() -> None:
    """8 Ah rated, 7.6 % of it left: the gauge counts rightly, the cells fall as it reports."""
    dead_mah = 0.076 * MAH
    pack = Pack(full_mah=dead_mah, load_c=0.3, true_frac=0.076, gauge_frac=0.076)
    estimator, worst_s = Estimator(pack.pack_data), 0.0
    for t_s in range(200):
        amps = 2.4 if t_s >= REST_S else 0.1
        left = dead_mah - max(t_s - REST_S, 0) * 2.4 / 3.6
        volts = float(np.interp(left / dead_mah, _SOC, LIPO.ocv_v)) - 0.01 * amps
        estimate = estimator.update(
            Snapshot(
                float(t_s),
                voltage_v=6 * volts,
                current_a=amps,
                temperature_degc=25.0,
                cells_v=(volts,) * 6,
                soc_pct=float(round(100.0 * left / dead_mah)),
                remaining_mah=float(round(left)),
                full_mah=dead_mah,
                read_at_s={"voltage_v": float(t_s)},
            )
        )
        assert estimate.doubts == ()
        if t_s > REST_S + 30:
            assert estimate.remaining_low_s is not None
            worst_s = max(worst_s, estimate.remaining_low_s - left * 3.6 / 2.4)
    assert worst_s < 60.0


@pytest.mark.parametrize("rated_mah", [MAH, None])
def test_a_value_that_is_withheld_leaves_nothing_behind(rated_mah: float | None) -> None:
    pack = Pack(rated_mah=rated_mah)
    with_value, without = Estimator(pack.pack_data), Estimator(pack.pack_data)
    mine = other = Estimate(0.0)
    for snapshot, _ in pack.snapshots(60):
        unknown = replace(snapshot, full_mah=None, remaining_mah=None)
        early = replace(snapshot, full_mah=1.2 * MAH) if snapshot.t_s < 20.0 else unknown
        mine = with_value.update(early)
        other = without.update(unknown)
    assert with_value._stages is not None
    evidence = with_value._stages.gauge.state()
    assert (evidence.charge, evidence.full_ah, evidence.log_odds) == (None, None, None)
    if rated_mah is not None:
        assert mine.remaining_s == pytest.approx(other.remaining_s, rel=0.15)
        assert mine.soh_pct == other.soh_pct or mine.soh_pct == pytest.approx(other.soh_pct, abs=1)


@pytest.mark.parametrize("start", [0.5, 1.0])
def test_a_remaining_capacity_that_stands_still_at_full_does_not_set_the_time(
    start: float,
) -> None:
    pack = Pack(true_frac=start, gauge_frac=1.0, remaining_mah=MAH, load_c=3.0)
    for estimate, _, left in flown(pack, 1000)[REST_S + 60 :]:
        assert estimate.remaining_s is not None
        assert estimate.remaining_s <= 1.3 * left * 3.6 / pack.amps() + 60.0


def test_a_rejected_value_teaches_nothing() -> None:
    pack = Pack(true_frac=0.6, gauge_frac=1.0, full_mah=65336.0, load_c=3.0)
    estimator, silent = Estimator(pack.pack_data), Estimator(pack.pack_data)
    for snapshot, _ in pack.snapshots(400):
        estimator.update(snapshot)
        silent.update(replace(snapshot, full_mah=None, remaining_mah=None))
    learned, other = estimator.learn().pack, silent.learn().pack
    assert learned is not None
    assert other is not None
    assert learned.gauge_odds == other.gauge_odds == 0.0
    assert learned.cells == other.cells


@pytest.mark.parametrize("disturbed", [range(2, 5), range(60, 63), range(100, 109)])
@pytest.mark.parametrize("chemistry", [LIPO, LIHV, LI_ION], ids=lambda row: row.name)
def test_a_gauge_that_is_disturbed_for_some_seconds_is_not_given_up(
    chemistry: Chemistry, disturbed: range
) -> None:
    pack = Pack(chemistry, 0.5, 0.5)
    plain, other = Estimator(pack.pack_data), Estimator(pack.pack_data)
    doubted_at: list[float] = []
    expected = estimate = Estimate(0.0)
    for snapshot, _ in pack.snapshots():
        expected = plain.update(snapshot)
        wrong = replace(snapshot, soc_pct=100.0, remaining_mah=MAH)
        estimate = other.update(wrong if snapshot.t_s in disturbed else snapshot)
        if estimate.doubts:
            doubted_at.append(snapshot.t_s)
    assert doubted_at == list(disturbed)
    assert estimate.remaining_s == pytest.approx(expected.remaining_s, rel=0.03)
    assert estimate.soc_pct == pytest.approx(expected.soc_pct, abs=1.0)


def test_a_gauge_that_stays_wrong_is_given_up() -> None:
    """Nothing rests on what it reported before: the cells go on as if it had reported nothing."""
    pack, moment = Pack(LI_ION, 0.5, 0.5), 60
    estimator = Estimator(pack.pack_data)
    for snapshot, _ in pack.snapshots():
        wrong = replace(snapshot, soc_pct=100.0, remaining_mah=MAH)
        estimator.update(wrong if snapshot.t_s >= moment else snapshot)
        stages = estimator._stages
        assert stages is not None
        assert (stages.alone is None) == (snapshot.t_s >= moment + 9), snapshot.t_s


# ---------------------------------------------------------------------- restart


@pytest.mark.parametrize("moment", [1, 5, 12, 25, 60, 150])
def test_a_restored_estimator_knows_what_was_refuted(moment: int) -> None:
    pack = Pack(true_frac=0.55, gauge_frac=1.0)
    estimator, restored, expected = Estimator(pack.pack_data), None, Estimate(0.0)
    adapter = TypeAdapter(EstimatorState)
    for k, (snapshot, _) in enumerate(pack.snapshots()):
        expected = estimator.update(snapshot)
        if restored is not None:
            assert restored.update(snapshot) == expected
        if k == moment:
            state = adapter.validate_json(adapter.dump_json(estimator.state()))
            restored = Estimator(pack.pack_data, state=state)
    assert expected.doubts
    assert math.isfinite(expected.remaining_s or math.inf)


@pytest.mark.parametrize(("true", "gauge"), [(0.35, 0.85), (0.5, 0.85), (0.35, 0.7)])
@pytest.mark.parametrize("chemistry", [LIPO, LIHV, LI_ION], ids=lambda row: row.name)
def test_cells_that_began_without_the_gauge_bound_the_time_under_load(
    chemistry: Chemistry, true: float, gauge: float
) -> None:
    for load_c in (0.8, 3.5):
        pack = Pack(chemistry, true, gauge, load_c)
        for estimate, _, left in flown(pack)[REST_S + 5 :]:
            assert estimate.remaining_low_s is not None
            assert estimate.remaining_low_s <= left * 3.6 / pack.amps()


@pytest.mark.parametrize(("true", "gauge"), [(0.6, 0.2), (0.95, 0.5), (0.75, 0.25)])
@pytest.mark.parametrize("chemistry", [LIPO, LIHV, LI_ION], ids=lambda row: row.name)
def test_a_gauge_that_is_far_too_low_leaves_the_time_to_the_cells(
    chemistry: Chemistry, true: float, gauge: float
) -> None:
    for seed in range(3):
        rows = flown(Pack(chemistry, true, gauge, 2.0, seed=seed), 600)
        for estimate, _, left in rows[REST_S + 90 :]:
            true_s = left * 3.6 / (2.0 * MAH / 1e3)
            assert estimate.remaining_s is not None
            assert estimate.remaining_high_s is not None
            assert estimate.remaining_high_s > 0.8 * true_s, (seed, true_s, estimate)


def test_a_gauge_that_may_be_too_low_makes_the_interval_wide() -> None:
    """Thirty points lower are within what curves differ: both charges stay possible."""
    for estimate, _, left in flown(Pack(LIPO, 0.6, 0.3, 2.0), 400)[REST_S + 90 :]:
        assert estimate.remaining_high_s is not None
        assert estimate.remaining_high_s > 0.7 * left * 3.6 / (2.0 * MAH / 1e3)


@pytest.mark.parametrize("true", [0.6, 0.8, 1.0])
@pytest.mark.parametrize("chemistry", [LIPO, LIHV, LI_ION], ids=lambda row: row.name)
def test_a_compensated_gauge_is_not_refuted_by_charge_that_cannot_be_used(
    chemistry: Chemistry, true: float
) -> None:
    """It reports the usable half of the charge, in the end nothing, while the cells hold more."""
    pack = Pack(chemistry, true, true, 2.0, usable=0.5, full_mah=0.5 * MAH)
    rows = flown(pack, REST_S + round(0.5 * true * MAH * 3.6 / (2.0 * MAH / 1e3)))
    assert rows[-1][1].soc_pct == 0.0
    assert doubted(rows, at_rest=False) == set()


@pytest.mark.parametrize("moment", [30.0, 300.0, 600.0])
def test_a_fit_that_becomes_uncertain_in_flight_refutes_no_gauge(moment: float) -> None:
    estimator, pack = Estimator(Pack().pack_data), Pack(load_c=3.0)
    for snapshot, _ in pack.snapshots(800):
        estimate = estimator.update(snapshot)
        stages = estimator._stages
        assert stages is not None
        assert stages.alone is not None
        if snapshot.t_s == moment:
            stages.alone.widen()
        assert estimate.doubts == ()


def refuted(pack: Pack, until_s: float) -> bool:
    """Whether the gauge is refuted, with a current that is read until a time."""
    estimator, doubts = Estimator(pack.pack_data), set[str]()
    for snapshot, _ in pack.snapshots():
        known = snapshot if snapshot.t_s < until_s else replace(snapshot, current_a=None)
        doubts.update(estimator.update(known).doubts)
    return bool(doubts)


def test_a_current_that_the_gauge_counts_is_no_evidence_against_its_charge() -> None:
    pack = Pack(LIPO, 0.35, 0.8, 2.0)
    assert refuted(pack, math.inf)
    assert not refuted(pack, REST_S)


@pytest.mark.parametrize(
    ("true", "gauge"), [(0.6, 0.7), (0.6, 0.5), (0.75, 0.65)], ids=["more", "less", "at 75 %, less"]
)
def test_a_gauge_that_is_ten_points_off_is_corrected_by_li_ion_cells_in_flight(
    true: float, gauge: float
) -> None:
    estimate, _, left = flown(Pack(LI_ION, true, gauge), REST_S + 2 * LOAD_S)[-1]
    assert estimate.soc_pct == pytest.approx(100.0 * left / MAH, abs=6.0)
