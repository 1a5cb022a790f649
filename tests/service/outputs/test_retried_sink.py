# SPDX-License-Identifier: Apache-2.0
"""An output that cannot be opened yet is tried again on the ground, and blocks nothing."""

import errno
import os
from dataclasses import replace

import pytest

from dronebms.core.errors import InUseError
from dronebms.core.report import Report
from dronebms.core.vehicle_state import VehicleState
from dronebms.service.outputs.retried_sink import RetriedSink
from tests.scenes import FLYING


class Output:
    """An output that can be opened once `error` is `None`."""

    def __init__(self) -> None:
        self.error: Exception | None = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self.tries = 0
        self.reports: list[Report] = []
        self.closed = False

    def make(self) -> "Output":
        """Open it."""
        self.tries += 1
        if self.error is not None:
            raise self.error
        return self

    def __call__(self, report: Report) -> None:
        """Take a report."""
        self.reports.append(report)

    def close(self) -> None:
        """Close it."""
        self.closed = True


def at(t_s: float, *, armed: bool | None = False, loaded: bool = True) -> Report:
    estimate = FLYING.estimate if loaded else replace(FLYING.estimate, remaining_s=None)
    return replace(FLYING, t_s=t_s, vehicle=VehicleState(armed=armed), estimate=estimate)


def test_an_output_is_tried_again_on_the_ground_alone_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    output = Output()
    sink = RetriedSink("metrics at 10.0.0.5:9100", output.make)
    for tenth in range(3000):
        sink(at(0.1 * tenth))
    assert 5 <= output.tries <= 10  # 5 s, 10 s, 20 s, 40 s, then every minute
    tried = output.tries
    for tenth in range(3000, 6000):
        sink(at(0.1 * tenth, armed=True))
    for tenth in range(6000, 6600):  # in flight, and the link to the vehicle is silent
        sink(at(0.1 * tenth, armed=None))
    assert output.tries == tried
    output.error = InUseError("the socket is in use by another dronebms run")
    sink(at(700.0, armed=None, loaded=False))
    output.error = None
    sink(at(800.0))
    assert [report.t_s for report in output.reports] == [800.0]
    sink(at(801.0, armed=True))
    sink.close()
    assert output.closed
    assert [record.getMessage() for record in caplog.records] == [
        "no metrics at 10.0.0.5:9100: Address already in use; trying again on the ground",
        "no metrics at 10.0.0.5:9100: the socket is in use by another dronebms run; "
        "trying again on the ground",
        "metrics at 10.0.0.5:9100",
    ]


def test_an_output_that_never_opens_closes_nothing() -> None:
    output = Output()
    sink = RetriedSink("x", output.make)
    sink(at(0.0))
    sink.close()
    assert not output.closed
