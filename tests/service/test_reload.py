# SPDX-License-Identifier: Apache-2.0
"""Reload in flight: all of a file or nothing of it, and no exception that ends the service."""

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from threading import Event
from time import monotonic, sleep

import pytest

import dronebms.service.service as module
from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.report import Action, ActionKind, ActionRequest, Report, Severity, Status
from dronebms.core.toml_schema import validated
from dronebms.core.vehicle_state import VehicleState
from dronebms.protection.actions import Actions
from dronebms.service import config_reload
from dronebms.service.config import Config
from dronebms.service.config_reload import _REASONS, ConfigReading, read_again
from dronebms.service.log_output import RepeatFilter, TextFormatter
from dronebms.service.service import Service
from tests.mavlink_bridge.loopback import WAIT_S

PACKS = '[[battery]]\nbus = "sim:hover"\n[[battery]]\nbus = "sim:survey"\n'
OLD = f"""{PACKS}
[[limit]]
id = "cell_sag"
trip = 3.45
[[action]]
on = "critical"
do = "return"
"""
NEW = f"""{PACKS}
[[limit]]
id = "cell_sag"
trip = 3.48
[[action]]
on = "emergency"
do = "land"
[charger]
command = ["true"]
"""


class Running:
    """A service in this process, whose configuration can be reloaded."""

    def __init__(self, stack: ExitStack, folder: Path, ground: socket.socket) -> None:
        self._url = f'[mavlink]\nurl = "udpout:127.0.0.1:{ground.getsockname()[1]}"\n'
        self.path = folder / "dronebms.toml"
        self.path.write_text(OLD + self._url)
        config = validated(Config, OLD + self._url, "x.toml")
        self.service = Service(config, stack, SystemClock())
        self._reports = self.service.reports()

    def reload(self, text: str) -> None:
        """Write another file and read it."""
        self.path.write_text(text + self._url)
        self.service.reload(self.path, partial(read_again, self.path))

    def steps(self, count: int = 4) -> list[Report]:
        """The next reports."""
        return [next(self._reports) for _ in range(count)]

    def rules(self) -> list[object]:
        """The rules in force: of each battery, of its limits and of its actions."""
        found: list[object] = [self.service._config]
        for pipeline in self.service._pipelines:
            state = pipeline.state(0.0)
            assert state.pack.rules == pipeline._rules
            rows = pipeline._alarms._rows["cell_sag"].limit
            found += [pipeline._rules, rows, [row.action for row in state.actions.rows]]
        return found


@pytest.fixture
def ground() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        yield receiver


@pytest.fixture
def running(tmp_path: Path, ground: socket.socket) -> Iterator[Running]:
    with ExitStack() as stack:
        yield Running(stack, tmp_path, ground)


def test_a_valid_file_changes_every_battery(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = running.rules()
    running.reload(NEW)
    after = running.rules()
    assert all(new != old for new, old in zip(after, before, strict=True))
    assert "limits, actions and charger are those of" in caplog.text
    assert len(running.steps()) == 4


@pytest.mark.parametrize("step", ["apply_reload", "_rules", "charger_of"])
@pytest.mark.parametrize("error", [TypeError("unhashable"), MemoryError(), RecursionError("deep")])
def test_any_exception_of_a_reload_is_logged_in_one_sentence_and_changes_nothing(
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
    error: Exception,
) -> None:
    def fails(*_: object) -> None:
        raise error

    before = running.rules()
    monkeypatch.setattr(module, step, fails)
    running.reload(NEW)
    (record,) = [row for row in caplog.records if row.levelno == logging.ERROR]
    assert record.getMessage().startswith("the configuration is not changed: ")
    assert type(error).__name__ in record.getMessage()
    assert running.rules() == before
    assert len(running.steps()) == 4


def test_a_battery_that_rejects_the_new_limits_leaves_the_others_as_they_were(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ConfigError("limit 'cell_sag' contradicts the pack")

    before = running.rules()
    monkeypatch.setattr(running.service._pipelines[1], "_limits_with", fails)
    running.reload(NEW)
    assert running.rules() == before


@pytest.mark.parametrize(
    "text",
    [
        OLD + '[[limit]]\nid = "hot"\nseverity = ["critical"]\n',
        OLD + '[[limit]]\nid = "hot"\nseverity = {}\n',
        OLD + '[[limit]]\nid = ["hot"]\n',
        OLD + "[[action]]\non = []\ndo = {}\n",
        "a = " + "[" * 5000,
        "a = " + "{a=" * 5000,
        "a = 9" + "9" * 5000,
        "\x00",
        'battery = "\\u0000"',
    ],
    ids=lambda text: text[:20] + "..." + text[-30:],
)
def test_a_file_of_any_form_is_held_in_the_reload(running: Running, text: str) -> None:
    before = running.rules()
    running.reload(text)
    assert running.rules() == before
    assert len(running.steps()) == 4


def test_a_pipe_in_place_of_the_file_does_not_hold_up_the_flight(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    before = running.rules()
    running.path.unlink()
    os.mkfifo(running.path)
    running.service.reload(running.path, partial(read_again, running.path))
    assert running.rules() == before
    assert "is no regular file" in caplog.text


def test_every_error_and_every_key_that_waits_is_in_one_line_of_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The log suppresses repetitions: of a line for each error the sixth would be lost."""
    repeats = RepeatFilter(VirtualClock())
    keys = [f"wrong_{letter}" for letter in "abcdefghi"]
    running.reload(OLD + "".join(f"[{key}]\n" for key in keys))
    running.reload(OLD.replace("hover", "survey") + "[metrics]\n[vehicle]\nname = 'x'\n")
    texts = [
        TextFormatter(journal=False).format(record)
        for record in caplog.records
        if record.levelno >= logging.WARNING and repeats.filter(record)
    ]
    assert len(texts) == 2
    assert all(f"{key} is not a known key" in texts[0] for key in keys)
    waits = ("battery.1.bus", "metrics", "vehicle.name")
    assert all(f"{key} waits for a restart" in texts[1] for key in waits)


# ---------------------------------------------------------------------- reading in a thread


def result_of(reading: ConfigReading, now_s: float) -> Future[Config]:
    """The next reading that ends."""
    end_s = monotonic() + WAIT_S
    while (read := reading.step(now_s)) is None:
        assert monotonic() < end_s
        sleep(0.01)
    return read


def test_a_file_that_is_read_slowly_delays_no_step_and_is_logged_once(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    goes_on = Event()

    def slow(path: Path) -> Config:
        assert goes_on.wait(WAIT_S)
        return read_again(path)

    monkeypatch.setattr(config_reload, "read_again", slow)
    reading = ConfigReading(running.path)
    assert reading.step(0.0) is None
    assert not reading.is_pending
    reading.request()
    for t_s in (0.1, 1.0, 3.0, 4.0, 5.0):  # none of them waits
        assert reading.step(t_s) is None
        assert reading.is_pending
    (record,) = caplog.records
    assert record.getMessage().endswith("dronebms.toml is read slowly")
    goes_on.set()
    assert result_of(reading, 6.0).result() == read_again(running.path)
    assert not reading.is_pending


def test_a_request_during_a_reading_reads_the_newer_file(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = Event()
    first = read_again(running.path)

    def slow(path: Path) -> Config:
        found = read_again(path)
        assert goes_on.wait(WAIT_S)
        return found

    monkeypatch.setattr(config_reload, "read_again", slow)
    reading = ConfigReading(running.path)
    reading.request()
    assert reading.step(0.0) is None
    reading.request()
    goes_on.set()
    results = [result_of(reading, 1.0).result()]
    assert reading.is_pending
    running.path.write_text(running.path.read_text().replace("3.45", "3.48"))
    results.append(result_of(reading, 2.0).result())
    assert results == [first, read_again(running.path)]
    assert not reading.is_pending


def test_what_a_reading_raises_is_raised_by_its_result(tmp_path: Path) -> None:
    reading = ConfigReading(tmp_path / "none.toml")
    reading.request()
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        result_of(reading, 0.0).result()


@pytest.mark.parametrize("rows", ['[[limit]]\nid = "hot"\n', '[[action]]\non="hot"\ndo="land"\n'])
def test_a_file_of_very_many_rows_is_refused_before_they_are_compared(
    running: Running, caplog: pytest.LogCaptureFixture, rows: str
) -> None:
    before = running.rules()
    began_s = monotonic()
    running.reload(PACKS + rows * 20_000)
    assert monotonic() - began_s < 10.0  # 20,000 x 20,000 comparisons take minutes
    assert running.rules() == before
    assert "expected at most 100 items" in caplog.text


def test_a_folder_that_is_deleted_in_flight_changes_no_path(
    tmp_path: Path,
    ground: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The current folder of the service; its state folder is a relative one."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    url = f'[mavlink]\nurl = "udpout:127.0.0.1:{ground.getsockname()[1]}"\n'
    text = f'{PACKS}[state]\ndir = "state"\n{url}'
    actions = '[[action]]\non = "critical"\ndo = "return"\n'
    with ExitStack() as stack:
        service = Service(validated(Config, text, "x.toml"), stack, SystemClock())
        reports = service.reports()
        next(reports)
        rmtree(here)
        changed = validated(Config, text + actions, "x.toml")
        service.reload(Path("x.toml"), lambda: changed)
        assert [row for row in caplog.records if row.levelno == logging.ERROR] == []
        assert service._config.action == changed.action
        next(reports)


def test_a_tripped_or_latched_limit_survives_a_reload_of_its_thresholds(running: Running) -> None:
    running.steps(8)
    (first, _) = running.service._pipelines
    first._alarms.latch(["failed"])
    running.reload(NEW)
    assert "failed" in running.steps(2)[0].status.active
    assert first._alarms.latched == ("failed",)


# ---------------------------------------------------------------------- actions

ARMED = VehicleState(armed=True, mode="RTL", heartbeat_age_s=0.1)
RETURN = Action(Severity.CRITICAL, ActionKind.RETURN, hold_s=2.0)


@pytest.mark.parametrize(
    "changed",
    [
        RETURN,
        replace(RETURN, hold_s=9.0),
        replace(RETURN, cooldown_s=1.0, retry_s=9.0),
        replace(RETURN, escalate=ActionKind.LAND),
    ],
)
def test_a_changed_row_is_no_new_event(changed: Action) -> None:
    """A vehicle that has had its command, and whose pilot may have overridden it."""
    actions = Actions([RETURN])
    (before,) = modes(actions, 0.0, 3.0)
    reloaded = Actions([changed], state=actions.state())
    for t_s in (3.1, 6.0, 20.0):
        (after,) = modes(reloaded, t_s, t_s)
        assert after.key == before.key
        assert after.action == changed


def modes(actions: Actions, *times_s: float) -> list[ActionRequest]:
    """Requests of a mode while a critical limit is tripped, at the last of the times."""
    requests: tuple[ActionRequest, ...] = ()
    for t_s in sorted(times_s):
        status = Status(t_s, Severity.CRITICAL, ("cell_critical",))
        requests = actions.update(status, ARMED, t_s)
    return [row for row in requests if row.action.do >= ActionKind.RETURN]


def test_a_removed_row_ends_its_request_and_one_of_another_trigger_is_another_event() -> None:
    actions = Actions([RETURN])
    (before,) = modes(actions, 0.0, 3.0)
    other = Actions([replace(RETURN, on="cell_critical")], state=actions.state())
    assert modes(other, 3.1) == []
    (after,) = modes(other, 6.0)
    assert after.key != before.key
    assert modes(Actions([], state=other.state()), 6.1) == []


def test_every_section_is_applied_by_a_reload_or_waits_for_a_restart() -> None:
    assert set(Config.model_fields) == {*_REASONS, "limit", "action", "charger"}
