# SPDX-License-Identifier: Apache-2.0
"""Reports of packs for the tests of what is sent, and any report there can be."""

from dataclasses import replace

from hypothesis import strategies as st

from dronebms.core.chemistry import CHEMISTRIES, LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import (
    CellState,
    ChargingAdvice,
    Estimate,
    PackState,
    Report,
    ReportedCharge,
    Status,
)
from dronebms.core.vehicle_state import VehicleState
from dronebms.monitoring.reported_charge import charge_of
from dronebms.protection.limits import every_limit
from smartbattery.snapshot import BusCounts, Identity, Snapshot

PACK = PackData(LIPO, cells=6, capacity_mah=16000.0)
IDENTITY = Identity(
    serial=4711, manufacturer="Tattu", device="P22 6S", date=(2025, 3, 9), cells=6, design_mah=16e3
)


def report_at(t_s: float, pct: float | None = 77.4, *, index: int = 0) -> Report:
    """A pack in flight at a state of charge."""
    report = Report(
        t_s=t_s,
        index=index,
        pack_data=PACK,
        snapshot=Snapshot(
            t_s=t_s,
            voltage_v=22.83,
            current_a=31.25,
            temperature_degc=27.4,
            cells_v=(3.812, 3.801, 3.807, 3.805, 3.799, 3.806),
            cycles=37,
            identity=IDENTITY,
        ),
        vehicle=VehicleState(armed=True),
        estimate=Estimate(
            t_s, soc_pct=pct, soh_pct=93.0, state=PackState(CellState(soc_sd_pct=2.3))
        ),
        status=Status(t_s),
    )
    return replace(report, reported=charge_of(report, pct, 777.0))


_number = st.none() | st.floats(-1e6, 1e6) | st.just(float("nan")) | st.floats(0.0, 200.0)
_count = st.none() | st.integers(0, 10**6).map(float)
_text = st.none() | st.text(max_size=60)
_pack_data = st.builds(
    PackData,
    st.sampled_from(CHEMISTRIES),
    cells=st.none() | st.integers(1, 32),
    capacity_mah=st.none() | st.floats(0.0, 1e6),
    pack_model=_text,
)
_identity = st.builds(
    Identity,
    serial=st.none() | st.integers(0, 2**32),
    manufacturer=_text,
    device=_text,
    date=st.none() | st.tuples(st.integers(1900, 2200), st.integers(1, 12), st.integers(1, 31)),
)
_snapshot = st.builds(
    Snapshot,
    t_s=st.just(0.0),
    voltage_v=_number,
    current_a=_number,
    temperature_degc=_number,
    cells_v=st.lists(_number, max_size=32).map(tuple),
    average_a=_number,
    full_mah=_number,
    cycles=_count,
    identity=_identity,
    counts=st.builds(BusCounts, nacks=st.integers(0, 10**6)),
)


@st.composite
def any_report(draw: st.DrawFn) -> Report:
    """A report with any values, also such that no earlier stage lets through."""
    status = st.builds(
        Status,
        t_s=st.just(0.0),
        active=st.lists(st.sampled_from(sorted(every_limit())), max_size=4).map(tuple),
        charging=st.booleans(),
    )
    report = Report(
        t_s=0.0,
        index=0,
        pack_data=draw(_pack_data),
        snapshot=draw(_snapshot),
        vehicle=VehicleState(armed=draw(st.none() | st.booleans())),
        estimate=Estimate(
            0.0, soh_pct=draw(_number), state=PackState(CellState(soc_sd_pct=draw(_number)))
        ),
        status=draw(status),
        charging=ChargingAdvice(full_in_s=draw(_number)),
    )
    reported = draw(
        st.just(charge_of(report, draw(_number), draw(_number)))
        | st.builds(ReportedCharge, soc_pct=_number, remaining_s=_number, consumed_mah=_number)
    )
    return replace(report, reported=reported)
