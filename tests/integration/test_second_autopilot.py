# SPDX-License-Identifier: Apache-2.0
"""Two simulated ArduCopters with one system id on the link of the service."""

import sys
from pathlib import Path

from dronebms.core.report import Action, ActionKind, Severity
from tests.integration.ardupilot import launched
from tests.integration.companion import Service
from tests.integration.copter import GUIDED, RTL, Copter, needs_copter

HOME = Action(Severity.CRITICAL, ActionKind.RETURN)
RUNS_S = 60.0  # of the first one alone, in flight
FOUND_S = 60.0  # from the start of the second one, 15 s of which its clock is no sign
ENDS_S = 40.0


@needs_copter
def test_two_vehicles_with_one_system_id_are_commanded_nothing_and_the_one_left_is_returned(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with launched(tmp_path / "one", Copter, parameters="", script=False) as one:
        service = Service(one, tmp_path / "limits")
        autopilot = service.bridge._autopilot
        one.wait_ready()
        one.take_off()
        one.fly(RUNS_S)
        assert (autopilot.doubtful, autopilot.doubts) == (False, 0)
        assert service.state.mode == "GUIDED"

        class Second(Copter):
            """Another vehicle on the same link."""

            companion_port = one.companion

        with launched(tmp_path / "two", Second, parameters="", script=False) as two:

            def step(now_s: float) -> None:
                service.step(now_s)
                two._read()

            one.each = step
            found_s = one.until(lambda: autopilot.doubtful, FOUND_S, "a doubt")
            service.action, service.max_a = HOME, 1.0
            one.fly(20.0)
            assert autopilot.doubtful
            state = service.state
            assert (state.armed, state.mode) == (None, None)
            assert (one.mode, two.mode) == (GUIDED, 0)
            assert any("second autopilot of system 1" in text for text in one.texts), one.texts
        one.each = service.step
        ends_s = one.until(lambda: one.mode == RTL, ENDS_S, "a return")
        sys.stdout.write(f"found {found_s:.1f} s after its start, left {ends_s:.1f} s ago\n")
        assert autopilot.doubts == 1
        assert autopilot.restarts == 0
