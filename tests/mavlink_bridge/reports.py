# SPDX-License-Identifier: Apache-2.0
"""Reports and events with given values."""

from dataclasses import replace
from typing import Any

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Event, Report, ReportedCharge, Severity, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.monitoring.pipeline import with_ground_checks
from dronebms.monitoring.reported_charge import ReportedChargeStage
from smartbattery.snapshot import Snapshot

SIX_CELLS_V = (3.90, 3.91, 3.92, 3.93, 3.94, 3.95)

FLYING = Report(
    t_s=0.0,
    index=0,
    pack_data=PackData(LIPO),
    snapshot=Snapshot(
        t_s=0.0,
        voltage_v=23.55,
        current_a=12.34,
        temperature_degc=25.12,
        cells_v=SIX_CELLS_V,
        soc_pct=79.0,
        remaining_mah=4000.0,
        full_mah=5000.0,
    ),
    vehicle=UNKNOWN_VEHICLE,
    estimate=Estimate(t_s=0.0, soc_pct=80.9, remaining_s=600.7),
    status=Status(t_s=0.0),
    reported=ReportedCharge(80.9, 600.7, 1000.0, 20.0),
)


def a_report(t_s: float = 0.0, index: int = 0, **values: Any) -> Report:  # noqa: ANN401 - fields of three classes
    """`FLYING` with other values, given by the field names of its stages."""
    report = replace(FLYING, t_s=t_s, index=index)
    for stage in ("estimate", "snapshot", "status"):
        old = getattr(report, stage)
        mine = {name: values.pop(name) for name in [*values] if hasattr(old, name)}
        report = replace(report, **{stage: replace(old, t_s=t_s, **mine)})
    reported = as_estimated(report)
    used = {} if reported.soc_pct is None else {"consumed_mah": 1000.0, "consumed_wh": 20.0}
    names = [name for name in values if name.startswith("consumed")]
    reported = replace(reported, **used | {name: values.pop(name) for name in names})
    assert not values, f"no stage has {', '.join(values)}"
    return with_ground_checks(replace(report, reported=reported))


def as_estimated(report: Report) -> ReportedCharge:
    """The charge of a report that every limit confirms: without debounce, of any voltage."""
    report = replace(report, snapshot=replace(report.snapshot, voltage_v=20.0))
    return ReportedChargeStage().update(report, lambda *_: True)


def an_event(
    text: str = "cell 3 is at 3.21 V",
    severity: Severity = Severity.WARNING,
    *,
    limit_id: str = "cell_low",
    tripped: bool = True,
) -> Event:
    """An event of a limit."""
    return Event(0.0, limit_id, severity, tripped, text)
