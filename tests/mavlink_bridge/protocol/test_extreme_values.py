# SPDX-License-Identifier: Apache-2.0
"""Whatever a report holds, every message of it can be packed, and none contradicts itself."""

import math
from dataclasses import fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.chemistry import CHEMISTRIES
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report, ReportedCharge, Severity
from mavlink_bridge.protocol.messages import battery_info, battery_status, smart_battery_info
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.reports import a_report

NUMBERS = (None, math.nan, math.inf, -math.inf, 1e9, -1e9, 1e308, -1.0, -0.01, 0.0, 65.535, 5e-324)
number = st.sampled_from(NUMBERS) | st.floats() | st.none()
text = st.none() | st.text(max_size=80)


@st.composite
def any_report(draw: st.DrawFn) -> Report:
    """A report with extreme values in every field that a message has."""
    snapshot = ("voltage_v", "current_a", "temperature_degc", "full_mah", "cycles", "soc_pct")
    more = ("charging_a", "remaining_s", "soh_pct")
    values: dict[str, Any] = {name: draw(number) for name in (*snapshot, *more)}
    values |= {
        "cells_v": tuple(draw(st.lists(number, max_size=20))),
        "fault_bits": draw(st.integers(0, 2**40)),
        "severity": draw(st.sampled_from(Severity)),
        "identity": Identity(
            serial=draw(st.none() | st.integers(0, 10**20)),
            manufacturer=draw(text),
            device=draw(text),
            date=draw(st.none() | st.just((2107, 12, 31))),
            design_v=draw(number),
        ),
    }
    report = a_report(**values)
    pack_data = PackData(
        draw(st.sampled_from(CHEMISTRIES)),
        cells=draw(st.none() | st.integers(1, 400)),
        capacity_mah=draw(st.none() | st.floats(1.0, 1e12)),
        cutoff_cell_v=draw(st.none() | st.floats(0.1, 1e6)),
        continuous_c=draw(st.none() | st.floats(0.1, 1e30)),
        burst_c=draw(st.none() | st.floats(0.1, 1e30)),
    )
    sent = {row.name: draw(number) for row in fields(ReportedCharge)}
    return replace(report, pack_data=pack_data, reported=ReportedCharge(**sent))


@settings(max_examples=300, deadline=None)
@given(any_report(), st.integers(0, 254))
def test_no_value_of_a_report_makes_a_packing_error(report: Report, battery_id: int) -> None:
    codec = mavlink.MAVLink(None, 1, 180)
    for message in (
        battery_status(report, battery_id=battery_id),
        smart_battery_info(report, battery_id=battery_id),
        battery_info(report, battery_id=battery_id),
    ):
        frame = bytes(message.pack(codec))
        received = mavlink.MAVLink(None).decode(bytearray(frame))
        assert received.id == battery_id
