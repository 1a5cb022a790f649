# SPDX-License-Identifier: Apache-2.0
"""The first verdict on a pack that is connected: no go before every limit has judged it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Report, Severity
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.multi_pack import Supply
from dronebms.monitoring.pipeline import Pipeline, with_ground_checks
from dronebms.protection.alarms import Alarms
from dronebms.protection.check_time import MAX_CHECK_S
from dronebms.protection.limits import Limit, LimitChange, default_limits
from dronebms.protection.quantities import Quantities
from dronebms.protection.quantity_values import number
from dronebms.protection.rules import NO_RULES, Rules
from mavlink_bridge.vehicle.arming_check import ArmingCheck
from smartbattery.snapshot import Identity, Snapshot
from tests.snapshots import FACTS, look

STEP_S = 0.25
GROUND = VehicleState(armed=False, heartbeat_age_s=0.1)
FIRST, SECOND = Identity(serial=7, cells=6), Identity(serial=8, cells=6)
Look = Callable[[float], Snapshot]


def pack(t_s: float, cell_v: float = 4.1, soc_pct: float = 90.0, **values: object) -> Snapshot:
    """A resting pack whose gauge gives every reading."""
    snapshot = look(t_s, cell_v, 0.2, identity=FIRST)
    words = {"status_raw": 0xC0, "alert_raw": 0, "safety_raw": 0, "failure_raw": 0}
    return replace(snapshot, soc_pct=soc_pct, max_error_pct=1.0, **(words | values))  # type: ignore[arg-type]  # by name


@dataclass
class Connector:
    """A source that returns what is connected."""

    pack: Look = pack

    def poll(self, now_s: float) -> Snapshot:
        """Its snapshot."""
        return self.pack(now_s)


BAD: dict[str, Look] = {
    "charge 2 %, 3.25 V": lambda t_s: pack(t_s, 3.25, 2.0),
    "a cell at 2.9 V": lambda t_s: replace(pack(t_s), cells_v=(4.1, 4.1, 2.9, 4.1, 4.1, 4.1)),
    "70 degC": lambda t_s: pack(t_s, temperature_degc=70.0),
    "-25 degC": lambda t_s: pack(t_s, temperature_degc=-25.0),
    "4.45 V": lambda t_s: pack(t_s, 4.45, 100.0),
    "permanent failure": lambda t_s: pack(t_s, failure_raw=1),
    "contradiction": lambda t_s: pack(t_s, doubts=("cell sum 20.0 V, pack 24.0 V",)),
}


def silent(t_s: float) -> Snapshot:
    """No reply."""
    return Snapshot(t_s, trouble="no acknowledge")


def fly(pipeline: Pipeline, seconds: float, start_s: float = 0.0) -> Iterator[Report]:
    """Reports of a pipeline on the ground."""
    for k in range(round(seconds / STEP_S)):
        yield pipeline.step(start_s + round(k * STEP_S, 6), GROUND)


def gos(reports: Iterator[Report]) -> list[float]:
    """Times of the reports that allow a take-off."""
    return [report.t_s for report in reports if report.preflight.go]


# ---------------------------------------------------------------------- the first verdict


def test_a_sound_pack_may_fly_when_the_longest_hold_time_has_passed() -> None:
    longest_s = max(row.hold_s for row in default_limits(FACTS) if row.severity > Severity.INFO)
    reports = list(fly(Pipeline(Connector(), FACTS), 60.0, start_s=5.0))
    assert gos(iter(reports))[0] == pytest.approx(5.0 + longest_s)
    assert len(gos(iter(reports))) == 240 - round(longest_s / STEP_S)
    assert longest_s <= MAX_CHECK_S
    assert reports[28].preflight.text == "NO-GO: checking, 3 s"
    assert reports[28].preflight.temporary
    assert not reports[-1].preflight.checking


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pack_is_never_fit_not_even_in_its_first_seconds(name: str) -> None:
    assert gos(fly(Pipeline(Connector(BAD[name]), FACTS), 30.0)) == []


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("gap_s", [0.0, 0.5, 20.0])
def test_nor_is_one_that_is_connected_in_place_of_a_sound_one(name: str, gap_s: float) -> None:
    source = Connector()
    pipeline = Pipeline(source, FACTS)
    assert gos(fly(pipeline, 20.0))
    source.pack = silent
    assert gos(fly(pipeline, gap_s, 20.0)) == []
    source.pack = lambda t_s: replace(BAD[name](t_s), identity=SECOND)
    assert gos(fly(pipeline, 30.0, 20.0 + gap_s)) == []
    source.pack = lambda t_s: replace(pack(t_s), identity=FIRST)
    again = gos(fly(pipeline, 40.0, 50.0 + gap_s))
    assert again
    assert again[0] >= 60.0 + gap_s  # the sound one is judged again


def test_a_restart_and_a_reload_give_no_early_go() -> None:
    source = Connector()
    before = Pipeline(source, FACTS)
    assert gos(fly(before, 20.0))
    after = Pipeline(source, FACTS)
    after.restore(before.state(20.0))
    assert gos(fly(after, 20.0, 23.0))[0] == pytest.approx(33.0)
    warm = Rules((LimitChange("hot", trip=20.0), LimitChange("hot_critical", trip=40.0)))
    after.use(warm)
    assert gos(fly(after, 10.0, 43.0)) == []  # pending at once, tripped after its hold time
    after.use(NO_RULES)
    assert gos(fly(after, 60.0, 53.0))


def test_silence_of_the_gauge_starts_the_check_again() -> None:
    source = Connector()
    pipeline = Pipeline(source, FACTS)
    assert gos(fly(pipeline, 20.0))
    source.pack = silent
    assert gos(fly(pipeline, 1.0, 20.0)) == []
    source.pack = pack
    assert gos(fly(pipeline, 20.0, 21.0))[0] == pytest.approx(31.0)


def test_a_reading_that_comes_late_starts_the_check_again_and_a_lost_one_is_a_reason() -> None:
    source = Connector(lambda t_s: pack(t_s, safety_raw=None))
    pipeline = Pipeline(source, FACTS)
    assert gos(fly(pipeline, 5.0)) == []
    source.pack = pack
    assert gos(fly(pipeline, 15.0, 5.0))[0] == pytest.approx(15.0)
    source.pack = lambda t_s: pack(t_s, temperature_degc=None)
    assert gos(fly(pipeline, 15.0, 20.0)) == []


def test_a_limit_with_a_longer_hold_time_forbids_while_it_is_exceeded() -> None:
    rules = Rules((LimitChange("hot", hold_s=100.0),))
    source = Connector(lambda t_s: pack(t_s, temperature_degc=55.0))
    pipeline = Pipeline(source, FACTS, rules=rules)
    reports = list(fly(pipeline, 40.0))
    assert gos(iter(reports)) == []
    assert reports[80].preflight.text == "NO-GO: checking pack hot, 80 s"
    source.pack = lambda t_s: pack(t_s, temperature_degc=46.0)
    assert gos(fly(pipeline, 20.0, 40.0))


def test_of_several_packs_each_must_be_judged() -> None:
    sources = Connector(), Connector(silent)
    pipelines = [Pipeline(source, FACTS, index=k) for k, source in enumerate(sources)]
    supply, arming, allowed = Supply(pipelines), ArmingCheck(), []
    for k in range(240):
        t_s = round(k * STEP_S, 6)
        if k == 120:
            sources[1].pack = pack
        for report in supply.step(t_s, GROUND):
            arming.update(report, None)
        if arming.go:
            allowed.append(t_s)
    assert allowed[0] >= 40.0


# ---------------------------------------------------------------------- every limit


def snapshots_of(kind: str) -> Look:
    """Packs at rest, under load, in charge, and above the range of the current."""
    amps = {"rest": 0.2, "load": 20.0, "charge": -5.0}.get(kind)
    beyond_a = 40.0 if kind == "beyond" else None
    more = {"charging_a": 5.0, "charging_v": 25.2, "fet_degc": 30.0, "beyond_a": beyond_a}
    return lambda t_s: replace(pack(t_s), current_a=amps, **more)  # type: ignore[arg-type]  # by name


@cache
def values_of(kind: str, facts: PackData) -> dict[str, float]:
    """The quantities of such a pack after a minute and a half."""
    quantities, at = Quantities(facts), snapshots_of(kind)
    values = {}
    for t_s in range(91):
        values = quantities.update(at(float(t_s)), estimate_of(float(t_s)), GROUND)
    return {name: known for name, v in values.items() if (known := number(v)) is not None}


def estimate_of(t_s: float) -> Estimate:
    """An estimate that has everything."""
    return Estimate(
        t_s, 90.0, 95.0, 900.0, 700.0, 1100.0, home_s=100.0, home_reserve_s=50.0,
        home_margin_s=250.0, home_best_s=450.0, turn_back_in_s=500.0, resting_cell_v=4.1,
        max_discharge_a=100.0,
    )  # fmt: skip


ROWS = [row for row in default_limits(FACTS) if row.severity >= Severity.WARNING]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.limit_id)
def test_no_limit_lets_a_pack_go_before_it_trips(row: Limit) -> None:
    """Each row is given a threshold that the pack exceeds from its first reading on."""
    kinds = ("rest", "load", "charge", "beyond")
    kind = next((k for k in kinds if row.quantity in values_of(k, FACTS)), None)
    if kind is None:
        assert row.quantity in {
        "packs_missing", "modules_missing", "limp_margin_a", "blind_s",
        "disputes",  # of a vehicle on the ground a doubt
        "home_reserve_s", "home_margin_s", "home_best_s", "alternates", "mission_risk",  # in flight
    }  # fmt: skip
        return
    value, side = values_of(kind, FACTS)[row.quantity], -1.0 if row.rising else 1.0
    exceeded = replace(row, trip=value + side, clear=value + 3 * side)
    alarms, at = Alarms([exceeded], FACTS), snapshots_of(kind)
    tripped_s = None
    for k in range(400):
        t_s = round(k * STEP_S, 6)
        snapshot = at(t_s)
        status = alarms.update(snapshot, estimate_of(t_s), GROUND)
        report = Report(t_s, 0, FACTS, snapshot, GROUND, estimate_of(t_s), status)
        verdict = with_ground_checks(report).preflight
        if status.active and tripped_s is None:
            tripped_s = t_s
        if tripped_s is None and status.pending:
            assert verdict.checking
        if row.limit_id in {*status.pending, *status.active} or t_s < row.hold_s:
            assert not verdict.go, t_s
    assert tripped_s is not None
