# SPDX-License-Identifier: Apache-2.0
"""On the ground: preflight verdict, charging advice and its program, and stress counters."""

import logging
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dronebms.core.chemistry import CHEMISTRIES, Chemistry
from dronebms.core.clock import VirtualClock
from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem
from dronebms.core.report import (
    CellState,
    Estimate,
    PackState,
    Report,
    Severity,
    Status,
    Verdict,
)
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.health.stress import Stress
from dronebms.monitoring.charging_advice import _STOPS, advise_charging
from dronebms.monitoring.pipeline import with_ground_checks
from dronebms.monitoring.preflight import check_preflight
from dronebms.protection.alarms import Alarms
from dronebms.protection.limits import default_limits
from dronebms.service.config import read_config
from dronebms.service.external_program import ChargerHook
from dronebms.service.outputs.preflight_log import PreflightLog
from dronebms.telemetry.json_line import line
from mavlink_bridge.vehicle.arming_check import ArmingCheck
from smartbattery.snapshot import NO_GAUGE, Identity, Snapshot
from tests.snapshots import FACTS, look, watched

READY = with_ground_checks(
    Report(
        0.0,
        0,
        replace(FACTS, limp_home_a=22.0),
        replace(look(0.0, 4.15, 0.5), status_raw=0xC0, max_error_pct=2.0),
        VehicleState(armed=False),
        Estimate(0.0, soc_pct=96.0, resistance_ohm=0.04),
        Status(0.0),
    )
)


MONITOR: dict[str, object] = {
    "identity": Identity(gauge=NO_GAUGE),
    "temperature_degc": None,
    "current_a": None,
    "cells_v": (),
    "read_at_s": {},
}
UNCOUNTED = replace(FACTS, cells=None)


def ready(**parts: object) -> Report:
    """Report of a pack that is fit to fly, except for these values."""
    of = {"snapshot": READY.snapshot, "estimate": READY.estimate}
    for key, value in parts.items():
        for name in ("estimate", "snapshot"):
            if hasattr(of[name], key):
                of[name] = replace(of[name], **{key: value})  # type: ignore[type-var]  # by name
                break
    rest = {key: value for key, value in parts.items() if key in {"pack_data", "status", "vehicle"}}
    status, snapshot = rest.get("status", READY.status), of["snapshot"]
    assert isinstance(status, Status)
    assert isinstance(snapshot, Snapshot)
    rest["status"] = replace(status, charging=(snapshot.current_a or 0.0) < 0.0)
    return with_ground_checks(replace(READY, **of, **rest))  # type: ignore[arg-type]  # by name


def planned(report: Report, planned_s: float | None, hover_a: float | None = None) -> Report:
    """Report of a pack with a planned flight."""
    pack_data = replace(report.pack_data, planned_s=planned_s, hover_a=hover_a)
    return with_ground_checks(replace(report, pack_data=pack_data))


# ---------------------------------------------------------------------- go or no-go


def test_a_sound_pack_may_fly_in_one_line() -> None:
    verdict = check_preflight(planned(READY, 600.0))
    assert (verdict.go, verdict.text) == (True, "GO: state of charge 96 %, lowest cell 4.15 V")
    unknown = check_preflight(ready(soc_pct=None, cells_v=()))
    assert (unknown.go, unknown.text) == (True, "GO: state of charge unknown")
    # A power module measures no temperature, and some no current.
    assert check_preflight(ready(**MONITOR)).go
    # A saturated register is no missing one: limits judge its bound.
    assert check_preflight(ready(current_a=None, beyond_a=32.8)).go
    assert check_preflight(ready(pack_data=UNCOUNTED)).go  # its cells are read


@pytest.mark.parametrize(
    ("parts", "planned_s", "why"),
    [
        ({"voltage_v": None}, 60.0, "NO-GO: no gauge data"),
        ({"voltage_v": None, "trouble": "no acknowledge"}, None, "no gauge data: no acknowledge"),
        ({"status": Status(0.0, Severity.WARNING, ("hot", "cold"))}, None, "NO-GO: hot, cold"),
        ({"cells_v": (4.1, None, 4.1)}, None, "cell voltage missing"),
        ({"temperature_degc": None}, None, "temperature missing"),
        (MONITOR | {"read_at_s": {"temperature_degc": 0.0}}, None, "temperature missing"),
        ({"current_a": None}, None, "current missing"),
        (MONITOR | {"read_at_s": {"current_a": 0.0}}, None, "current missing"),
        ({"cells_v": (), "pack_data": UNCOUNTED}, None, "number of cells unknown"),
        (MONITOR | {"pack_data": UNCOUNTED}, None, "number of cells unknown"),
        ({"current_a": -2.0}, None, "NO-GO: charging"),
        ({"status_raw": 0x40}, None, "gauge not initialized"),
        ({"max_error_pct": 30.0}, None, "gauge max error 30 % > 10 %"),
        ({"resistance_ohm": 0.09}, None, "resistance 2.5 x new > 2.0 x"),
        ({"soc_pct": 60.0}, 600.0, "hover time 409 s < 600 s planned"),
        ({"soc_pct": 10.0}, 600.0, "hover time 0 s < 600 s planned"),
        ({"soc_pct": None}, 600.0, "hover time unknown: state of charge missing"),
        ({"pack_data": FACTS}, 600.0, "hover time unknown: hover_a missing"),
    ],
)  # fmt: skip
def test_each_reason_makes_a_no_go(
    parts: dict[str, object], planned_s: float | None, why: str
) -> None:
    verdict = check_preflight(planned(ready(**parts), planned_s))
    assert not verdict.go
    assert verdict.text.startswith("NO-GO: ")
    assert why in verdict.text
    assert "\n" not in verdict.text


def test_hover_a_may_follow_from_limp_home_a_and_cold_alone_is_no_wear() -> None:
    assert check_preflight(planned(ready(soc_pct=60.0), 600.0, hover_a=10.0)).go
    assert not check_preflight(planned(READY, 600.0, hover_a=40.0)).go
    odd = check_preflight(planned(READY, 600.0, hover_a=0.0))  # possible in a sidecar alone
    assert odd.text == "NO-GO: hover time unknown: hover_a missing"
    assert check_preflight(ready(resistance_ohm=0.09, temperature_degc=-5.0)).go
    assert check_preflight(ready(pack_data=replace(FACTS, capacity_mah=None))).go


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda row: row.name)
def test_a_resistance_at_an_unknown_temperature_is_no_wear(chemistry: Chemistry) -> None:
    facts = replace(FACTS, chemistry=chemistry)
    for degc, worn in ((25.0, True), (None, False)):
        report = ready(resistance_ohm=0.4, temperature_degc=degc, pack_data=facts)
        assert ("x new" in check_preflight(report).text) is worn


SHORT: dict[str, object] = {
    "mission_verdict": Verdict.MARGINAL,
    "mission_needs_mah": 14_100.0,
    "usable_mah": 14_500.0,
    "usable_low_mah": 13_200.0,
    "mission_end_pct": 4.0,
}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "mission needs 14.1 Ah of 13.2 usable (5 %)"),
        (
            {"mission_verdict": Verdict.NO, "usable_mah": 14_000.0},
            "mission needs 14.1 Ah of 14.0 usable",
        ),
        (  # within the reserve; "ends with 4 %" would be no reason
            {"mission_verdict": Verdict.NO, "usable_mah": 14_200.0},
            "mission needs 14.1 Ah of 14.2 usable",
        ),
        (
            {"mission_verdict": Verdict.NO, "mission_needs_mah": None},
            "mission ends with 4 %",
        ),
        (
            {"alternate": "rally point 2", "alternate_by_return": True},
            "mission needs 14.1 Ah of 13.2 usable (5 %), rally point 2 in reach, RTL goes there",
        ),
    ],
)
def test_a_mission_that_cannot_be_finished_is_a_no_go_before_take_off(
    changes: dict[str, object], why: str
) -> None:
    report = ready(**(SHORT | changes))
    assert report.preflight.text == f"NO-GO: {why}"
    assert check_preflight(ready(**SHORT, voltage_v=None)).reasons == ("no gauge data",)
    armed = ready(**SHORT, vehicle=VehicleState(armed=True))
    assert armed.preflight.go


MISSION = (MissionItem(ItemKind.WAYPOINT),)


@pytest.mark.parametrize(
    ("changes", "plan", "state"),
    [
        (
            {"mission_verdict": Verdict.YES, "mission_end_pct": 31.0, "mission_end_low_pct": 22.0},
            FlightPlan(items=MISSION),
            ", mission ends with 31 % (at least 22 %)",
        ),
        (
            {"mission_verdict": Verdict.YES, "mission_end_pct": 31.0},
            FlightPlan(items=MISSION),
            ", mission ends with 31 %",
        ),
        ({}, None, ", mission not received"),
        ({}, FlightPlan(), ", mission not received"),
        (
            {"verdict_missing": "home position"},
            FlightPlan(items=MISSION),
            ", mission not judged: home position missing",
        ),
        ({"verdict_missing": "load"}, FlightPlan(items=()), ""),
    ],
)
def test_a_mission_that_is_not_judged_is_named_and_no_no_go(
    changes: dict[str, object], plan: FlightPlan | None, state: str
) -> None:
    vehicle = VehicleState(armed=False, heartbeat_age_s=0.3, plan=plan)
    verdict = ready(**changes, vehicle=vehicle).preflight
    assert verdict.text == f"GO: state of charge 96 %, lowest cell 4.15 V{state}"


@pytest.mark.parametrize(
    ("known_mah", "lasts"), [(None, 1), (2500.0, 0), (9000.0, 1)], ids=["new", "worn", "too good"]
)
def test_the_flight_time_uses_the_lower_of_estimated_and_rated_capacity(
    known_mah: float | None, lasts: int
) -> None:
    state = PackState(CellState(capacity_mah=known_mah))
    verdicts = [
        check_preflight(planned(ready(state=state), s, hover_a=36.0)).go for s in (400.0, 410.0)
    ]
    assert verdicts == [lasts, 0]  # 81 % of 5 Ah with 36 A are 405 s


def test_a_configured_flight_reaches_the_verdict_the_output_and_arming(
    tmp_path: Path,
) -> None:
    path, plan = tmp_path / "a.toml", "planned_s = {}\nhover_a = 20.0\n"
    pack = '[[battery]]\nbus = "sim:hover"\ncells = 6\ncapacity_mah = 5000\n'
    looks = [replace(look(k * 0.1, 4.15, 0.5), soc_pct=95.0) for k in range(120)]

    def verdicts(keys: str) -> tuple[object, str | None]:
        path.write_text(pack + keys, encoding="utf-8")
        report, arming = watched(looks, read_config(path).battery[0].pack_data())[-1], ArmingCheck()
        arming.update(report, None)
        assert line(report)["go"] == check_preflight(report).text
        return line(report)["go"], next(iter(arming.texts()), None)

    pct = round(watched(looks)[-1].estimate.soc_pct or 0.0)
    go = f"GO: state of charge {pct} %, lowest cell 4.15 V"
    assert (verdicts(""), verdicts(plan.format(300))) == ((go, None), (go, None))
    text, reason = verdicts(plan.format(1200))
    assert re.fullmatch(r"NO-GO: hover time \d+ s < 1200 s planned", str(text))
    assert reason == str(text).replace("NO-GO: ", "no go: battery 1: ")


def test_the_verdict_is_logged_when_it_changes_and_at_arming(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    log = PreflightLog()

    def logged(report: Report, from_s: int, for_s: int) -> list[str]:
        caplog.clear()
        for t_s in range(from_s, from_s + for_s):
            log(replace(report, t_s=float(t_s)))
        return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]

    low = ready(soc_pct=60.0)
    assert logged(low, 0, 3) == []  # debounced
    assert logged(low, 3, 3) == ["INFO battery 1 GO: state of charge 60 %, lowest cell 4.15 V"]
    assert logged(ready(soc_pct=59.0), 6, 10) == []
    hot = ready(soc_pct=59.0, status=Status(0.0, Severity.WARNING, ("hot",)))
    assert logged(hot, 16, 2) == []
    assert logged(hot, 18, 10) == ["WARNING battery 1 NO-GO: hot"]
    armed = replace(hot, vehicle=VehicleState(armed=True))
    assert logged(armed, 28, 100) == ["WARNING battery 1 is armed: NO-GO: hot"]
    assert logged(replace(armed, status=Status(0.0)), 128, 10) == []
    assert logged(READY, 138, 10) == ["INFO battery 1 GO: state of charge 96 %, lowest cell 4.15 V"]
    charging = with_ground_checks(ready(current_a=-2.5, soc_pct=55.0))
    assert logged(charging, 148, 10) == ["WARNING battery 1 NO-GO: charging"]
    full = with_ground_checks(ready(current_a=-0.1, cells_v=(4.2,) * 6, charging_a=2.5))
    assert (full.charging.do, full.charging.why) == ("stop", "pack full")
    assert logged(full, 158, 10) == ["WARNING battery 1 NO-GO: charging; charger: stop, pack full"]


def test_no_verdict_is_logged_in_flight(caplog: pytest.LogCaptureFixture) -> None:
    worn = ready(resistance_ohm=0.4, vehicle=UNKNOWN_VEHICLE)
    assert not check_preflight(worn).go
    flown = replace(worn, estimate=replace(worn.estimate, remaining_s=900.0))
    flown = with_ground_checks(flown)
    log = PreflightLog()
    for t_s in range(10):
        log(replace(flown, t_s=float(t_s)))
    assert caplog.text == ""
    assert (line(flown)["go"], line(flown)["storage_in_s"]) == (None, None)


# ---------------------------------------------------------------------- charging


def test_a_full_idle_pack_gets_the_time_to_its_storage_charge() -> None:
    advice = advise_charging(
        READY
    )  # 46 % of 5 Ah; a fifth of the capacity an hour is more than it draws
    assert advice.do == "none"
    assert advice.storage_in_s == pytest.approx(0.46 * 5.0 / 1.0 * 3600.0)
    assert advise_charging(ready(current_a=4.0)).storage_in_s == pytest.approx(
        0.46 * 5.0 / 4.0 * 3600.0
    )
    for other in (ready(soc_pct=79.0), replace(READY, vehicle=VehicleState(armed=True))):
        assert advise_charging(other).storage_in_s is None
    shown = line(READY)
    assert (shown["charger"], shown["storage_in_s"], shown["full_in_s"]) == ("none", 8280.0, None)
    assert str(shown["advice"]).startswith("store at 50 %")
    assert shown["go"] == "GO: state of charge 96 %, lowest cell 4.15 V"
    charging_line = line(ready(current_a=-2.5, soc_pct=55.0))
    assert (charging_line["charger"], charging_line["full_in_s"]) == ("go on", 4320.0)
    flying = line(with_ground_checks(replace(READY, vehicle=VehicleState(armed=True))))
    assert {flying[key] for key in ("go", "full_in_s", "storage_in_s")} == {None}


def test_the_charge_current_is_limited_by_the_gauges_request() -> None:
    assert advise_charging(ready(current_a=-2.5, charging_a=3.0)).most_a == 3.0
    assert advise_charging(ready(current_a=-2.5, charging_a=30.0)).most_a == 5.0
    looks = [replace(look(k * 0.1, 3.8, -2.5), charging_a=1.0) for k in range(150)]
    advice = advise_charging(watched(looks)[-1])
    assert (advice.do, advice.why) == ("reduce", "charge current above request")


def test_the_time_to_full_is_that_of_a_charge_that_tapers() -> None:
    # 5 Ah with 2.5 A: 30 % at 72 s a per cent flat to 85 %, the rest takes twice as long.
    advice = advise_charging(ready(current_a=-2.5, soc_pct=55.0))
    assert (advice.do, advice.why) == ("go on", "charging")
    assert advice.full_in_s == pytest.approx((30.0 + 2 * 15.0) * 72.0)
    assert advice.storage_in_s == 0.0
    assert advice.most_a == 5.0
    low = advise_charging(ready(current_a=-2.5, soc_pct=20.0))
    assert low.storage_in_s == pytest.approx(30.0 * 72.0)
    nearly = advise_charging(ready(current_a=-2.5, soc_pct=95.0))
    assert nearly.full_in_s == pytest.approx(2 * 5.0 * 72.0)
    unknown = advise_charging(ready(current_a=-2.5, soc_pct=None))
    assert (unknown.do, unknown.full_in_s) == ("go on", None)


def test_a_charge_ends_when_the_cells_are_full_and_the_current_has_fallen() -> None:
    assert advise_charging(ready(current_a=-0.2, cells_v=(4.19, 4.17))).do == "stop"
    assert advise_charging(ready(current_a=-0.2, cells_v=(4.0, 4.0))).do == "go on"
    assert advise_charging(ready(current_a=-2.0, cells_v=(4.19, 4.17))).do == "go on"
    assert advise_charging(ready(current_a=5.0)).do == "none"
    assert advise_charging(ready(current_a=None)).do == "none"
    assert (
        advise_charging(ready(current_a=-0.2, pack_data=replace(FACTS, capacity_mah=None))).do
        == "go on"
    )


@pytest.mark.parametrize(
    ("current_a", "cell_v", "degc", "do", "why"),
    [
        (-2.5, 3.8, 20.0, "go on", "charging"),
        (-6.0, 3.8, 20.0, "reduce", "high charge current"),
        (-2.5, 3.8, 46.0, "reduce", "charging warm"),
        (-2.5, 4.26, 20.0, "stop", "high cell voltage"),
        (-2.5, 3.8, -2.0, "stop", "charging too cold"),
        (-2.5, 3.8, 51.0, "stop", "charging too hot"),
    ],
)
def test_a_tripped_limit_becomes_charging_advice(
    current_a: float, cell_v: float, degc: float, do: str, why: str
) -> None:
    looks = [look(k * 0.1, cell_v, current_a, temperature_degc=degc) for k in range(100)]
    advice = advise_charging(watched(looks)[-1])
    assert advice.do == do
    assert why in advice.why


def test_a_critical_limit_stops_a_charge_and_the_milder_ones_exist() -> None:
    lost = Status(0.0, Severity.CRITICAL, ("lost", "charging_fast"))
    assert advise_charging(ready(current_a=-2.5, status=lost)).do == "stop"
    noted = Status(0.0, Severity.WARNING, ("cold", "worn"))
    assert advise_charging(ready(current_a=-2.5, status=noted)).do == "go on"
    assert {*_STOPS} <= {row.limit_id for row in default_limits(FACTS)}


def test_the_charger_program_runs_once_a_minute_and_never_in_flight(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock, written = VirtualClock(), tmp_path / "written"
    program = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + ' ')"
    hook = ChargerHook([sys.executable, "-c", program, str(written)], clock)
    full = ready(current_a=-0.2, cells_v=(4.19, 4.17))

    def settle() -> None:
        for running in hook._programs.values():
            if running._thread is not None:
                running._thread.join()

    hook(replace(full, vehicle=VehicleState(armed=True)))
    under_load = replace(full.estimate, remaining_s=300.0)  # and the link is silent
    hook(replace(full, vehicle=UNKNOWN_VEHICLE, estimate=under_load))
    hook(ready(current_a=-2.0))
    settle()
    assert not written.exists()
    for t_s in (0.0, 1.0, 30.0, 61.0):
        clock.sleep_until(t_s)
        hook(replace(full, vehicle=UNKNOWN_VEHICLE))
        settle()
    assert written.read_text() == "stop stop "
    assert "the charger is regulated: running" in caplog.text


# ---------------------------------------------------------------------- stress


def test_the_ledger_counts_amp_hours_by_rate_and_time_by_heat_and_charge() -> None:
    ledger = Stress()
    for amps in (4.0, 8.0, 20.0, 40.0, 60.0, -5.0):  # of 5 Ah: 0.8, 1.6, 4, 8 and 12 C
        for _ in range(900):
            ledger = ledger.after(ready(current_a=amps, soc_pct=None), 1.0)
    assert ledger.drawn_ah == pytest.approx((1.0, 2.0, 5.0, 10.0, 15.0))
    assert (ledger.hot_s, ledger.full_s) == (0.0, 0.0)
    hot = ledger.after(ready(temperature_degc=51.0, current_a=None), 1.0)
    assert (hot.hot_s, hot.full_s) == (1.0, 1.0)
    flying = hot.after(ready(vehicle=VehicleState(armed=True), current_a=None), 100.0)
    assert (flying.hot_s, flying.full_s) == (1.0, 1.0)
    gap = ledger.after(ready(current_a=4.0, soc_pct=None), 3600.0)
    assert gap.drawn_ah[0] == pytest.approx(1.0 + 4.0 * 5.0 / 3600.0)  # the hour is unknown
    assert (
        ledger.after(ready(pack_data=replace(FACTS, capacity_mah=None)), 1.0).drawn_ah
        == ledger.drawn_ah
    )


def test_alarms_accept_other_rated_data_without_a_reset() -> None:
    alarms = Alarms(default_limits(FACTS), FACTS)
    alarms.update(look(0.0), Estimate(0.0))
    larger = replace(FACTS, capacity_mah=10_000.0)
    alarms.use(default_limits(larger), larger)
    assert not alarms.update(look(1.0), Estimate(1.0)).active


@pytest.mark.parametrize("current_a", [None, 0.0, 0.3])
def test_a_charge_that_only_the_cells_show_has_no_duration(current_a: float | None) -> None:
    report = ready(current_a=current_a)
    report = replace(report, status=replace(report.status, charging=True))
    advice = advise_charging(report)
    assert advice.do == "go on"
    assert advice.full_in_s is None
    assert advice.storage_in_s is None
