# SPDX-License-Identifier: Apache-2.0
"""Programs of the user: started at most once a minute, killed in time, never waited for."""

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.service.external_program import UserProgram
from tests.mavlink_bridge.loopback import WAIT_S


def until(condition: Callable[[], bool]) -> bool:
    """Poll until it holds."""
    end_s = monotonic() + WAIT_S
    while not (held := condition()) and monotonic() < end_s:
        sleep(0.005)
    return held


def running() -> bool:
    return "program" in {thread.name for thread in threading.enumerate()}


def test_it_runs_without_a_shell_and_its_end_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mark = tmp_path / "a b; touch c"
    recover = UserProgram(["touch", str(mark)], VirtualClock())
    assert recover()
    assert until(lambda: not running())
    assert [path.name for path in tmp_path.iterdir()] == ["a b; touch c"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.records[0].getMessage() == f"a bus stays stuck: running touch '{mark}'"
    assert caplog.records[1].getMessage() == f"touch '{mark}' ended with 0"


def test_it_starts_at_most_once_a_minute(tmp_path: Path) -> None:
    clock = VirtualClock()
    mark = tmp_path / "runs"
    append = "import sys; open(sys.argv[1], 'a').write('x')"
    recover = UserProgram([sys.executable, "-c", append, str(mark)], clock)
    begun = []
    for t_s in (0.0, 1.0, 30.0, 59.9, 60.0, 61.0, 119.9, 120.0):
        clock.sleep_until(t_s)
        begun.append(recover())
        assert until(lambda: not running())
    assert begun == [True, False, False, False, True, False, False, True]
    assert mark.read_text() == "xxx"


def test_it_is_not_waited_for_and_is_killed_with_its_children_after_its_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alive = tmp_path / "alive"
    # The child writes as long as it lives, also after its parent has ended.
    child = f"while true; do echo >> '{alive}'; sleep 0.02; done"
    clock = VirtualClock()
    recover = UserProgram(["sh", "-c", f'sh -c "{child}"; true'], clock, limit_s=0.5)
    start_s = monotonic()
    assert recover()
    assert monotonic() - start_s < 0.3
    assert until(alive.exists)
    clock.sleep_until(70.0)
    assert recover()  # still running, so not started a second time
    assert until(lambda: not running())
    assert "was killed after 0.5 s" in caplog.text
    size = alive.stat().st_size
    sleep(0.15)
    assert alive.stat().st_size == size


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["/nowhere/recover"], "/nowhere/recover cannot be run: No such file or directory"),
        (["false"], "false ended with 1"),
    ],
)
def test_its_failure_is_logged_and_raises_nothing(
    command: list[str], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert UserProgram(command, VirtualClock())()
    assert until(lambda: not running())
    assert caplog.records[-1].getMessage() == text
    assert caplog.records[-1].levelno == logging.ERROR
