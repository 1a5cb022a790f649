# SPDX-License-Identifier: Apache-2.0
"""A CAN bus that does not work, as each viewer shows it."""

from dataclasses import replace

from dronebms.presentation.answers import autopilot_answer
from dronebms.telemetry import json_line
from tests.dronecan.reports import report_at

TROUBLE = "socketcan:can0: network is down; retrying"


def test_the_line_of_the_autopilot_has_the_trouble_of_each_link() -> None:
    report = report_at(0.0)
    vehicle = replace(report.vehicle, can_trouble=TROUBLE)

    one = replace(report, vehicle=vehicle)
    both = replace(report, vehicle=replace(vehicle, link_trouble="udpin:0.0.0.0:1: no such port"))

    assert autopilot_answer(report, 0.0, "tcp:x:1").why == "tcp:x:1"
    assert autopilot_answer(one, 0.0, "tcp:x:1").why == f"tcp:x:1, CAN bus {TROUBLE}"
    shown = f"udpin:0.0.0.0:1: no such port, CAN bus {TROUBLE}"
    assert autopilot_answer(both, 0.0, "tcp:x:1").why == shown


def test_the_json_has_the_trouble_or_null() -> None:
    report = report_at(0.0)
    troubled = replace(report, vehicle=replace(report.vehicle, can_trouble=TROUBLE))

    assert json_line.line(report)["can_trouble"] is None
    assert json_line.line(troubled)["can_trouble"] == TROUBLE
