# SPDX-License-Identifier: Apache-2.0
"""Original values of a vehicle whose disk fails or is slow, and whose limits others change."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.background_jobs import Worker
from dronebms.core.clock import VirtualClock
from mavlink_bridge.vehicle import parameter_limits
from mavlink_bridge.vehicle.saved_file import left_behind
from mavlink_bridge.vehicle.saved_parameters import SavedParameters
from mavlink_bridge.vehicle.vehicle_control import VehicleControl, unread_originals
from tests.disks import files_limited_to
from tests.mavlink_bridge.fake_vehicle import LIMIT, FakeVehicle, Flight
from tests.mavlink_bridge.loopback import WAIT_S
from tests.mavlink_bridge.vehicle.test_saved_parameters import MOST, ONE, OTHER, UNKNOWN, of_board
from tests.mavlink_bridge.vehicle.test_vehicle_control import less

OWN = {"MOT_BAT_CURR_MAX": 80.0, "MOT_BAT_CURR_TC": 5.0}
LIMITED = {"MOT_BAT_CURR_MAX": 30.0, "MOT_BAT_CURR_TC": 1.0}
FILE = "vehicle-3-1-limits.json"
SPEED_FILE = "vehicle-3-1-speeds.json"
NO_LIMIT = "no reduce: original limits cannot be saved"
UNREAD = "no reduce: original limits cannot be read"
NO_ID = "no reduce: board has not sent its id"
NOT_SAVED = "reduce: original limits are not saved"
_DRIVER_S = 3.0  # after the last request


class DrivenVehicle(FakeVehicle):
    """A vehicle whose Lua driver limits the current in memory, as mavlink_bridge's driver does."""

    def __init__(self, **parameters: float) -> None:
        super().__init__(**(parameters or OWN))
        self.scripted = True
        self.original: dict[str, float] | None = None
        self.limit_s = self.now_s = 0.0

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame of the bridge."""
        self.now_s = now_s
        return super().send(data, now_s)

    def receive(self, now_s: float) -> list[bytes]:
        """Frames that the vehicle has sent."""
        if self.scripted and now_s - self.limit_s >= _DRIVER_S:
            self._end()
        return super().receive(now_s)

    def _drive(self, message: Any) -> None:  # noqa: ANN401 - a message
        super()._drive(message)
        if not self.scripted or message.param2 != LIMIT:
            return
        self.limit_s = self.now_s
        if message.param3 <= 0:
            self._end()
            return
        self.original = self.original or dict(self.parameters)
        self.parameters.update(MOT_BAT_CURR_MAX=message.param3, MOT_BAT_CURR_TC=1.0)

    def _end(self) -> None:
        self.parameters.update(self.original or {})
        self.original = None


class HeldRun:
    """Does each job when the test lets it: a slow disk."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.begun = 0

    def __call__(self, job: Callable[[], Any]) -> "Future[Any]":
        """Let a job wait."""
        future: Future[Any] = Future()
        self.jobs.append(lambda: future.set_result(job()))
        self.begun += 1
        return future

    def do(self) -> None:
        """Do the jobs that wait."""
        jobs = self.jobs
        self.jobs = []
        for job in jobs:
            job()


def flying(folder: Path, vehicle: FakeVehicle | None = None) -> Flight:
    """Fly until no limit of an earlier run can be in force."""
    flight = Flight(vehicle or FakeVehicle(**OWN), folder)
    flight.fly(8.0)
    return flight


def limited(folder: Path, vehicle: FakeVehicle | None = None) -> Flight:
    """Fly until a limit of 30 A holds."""
    flight = flying(folder, vehicle)
    flight.requests = less(30.0)
    flight.fly(3.0)
    return flight


def saved(folder: Path) -> dict[str, float]:
    values: dict[str, float] = json.loads((folder / FILE).read_text())["values"]
    return values


def user_sets(vehicle: FakeVehicle, name: str, value: float) -> None:
    """A ground station sets a parameter; ArduPilot sends it to everyone."""
    vehicle.parameters[name] = value
    vehicle.emit(mavlink.MAVLink_param_value_message(name.encode(), value, 9, 1, 0))


# A disk that fails.


def test_a_value_that_the_driver_limits_is_never_read_as_an_original_one(tmp_path: Path) -> None:
    (tmp_path / "state").touch()  # in place of the folder
    flight = flying(tmp_path / "state", DrivenVehicle())
    flight.requests = less(30.0)
    flight.fly(35.0)
    assert flight.vehicle.parameters == LIMITED
    assert flight.texts().count(NOT_SAVED) == 1
    assert NO_LIMIT not in flight.texts()
    (tmp_path / "state").unlink()
    flight.fly(11.0)
    assert saved(tmp_path / "state") == OWN
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.parameters == OWN
    assert not left_behind(tmp_path / "state")


@pytest.mark.parametrize("name", [FILE, SPEED_FILE])
def test_without_the_values_of_a_file_nothing_is_limited_until_the_user_has_moved_it(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("{")
    vehicle = FakeVehicle(**OWN, WP_SPD=12.0)
    vehicle.speed_m_s = 12.0
    flight = flying(tmp_path, vehicle)
    assert flight.texts().count(UNKNOWN) == 1
    flight.requests = less(30.0, 3.0)
    flight.fly(60.0)
    assert vehicle.parameters["MOT_BAT_CURR_MAX"] == (80.0 if name == FILE else 30.0)
    assert vehicle.speeds == ([] if name == SPEED_FILE else [(1.0, 3.0)])
    assert flight.texts().count(UNREAD) == 1
    assert (tmp_path / name).read_text() == "{"
    (tmp_path / name).rename(tmp_path / "moved")
    flight.fly(21.0)
    assert vehicle.parameters["MOT_BAT_CURR_MAX"] == 30.0
    assert (1.0, 3.0) in vehicle.speeds
    flight.requests = ()
    flight.fly(60.0)
    assert vehicle.parameters == OWN | {"WP_SPD": 12.0}


@pytest.mark.parametrize("uid", [0, ONE, OTHER])  # 0: the board sends none
def test_the_pilot_gets_that_a_board_without_an_id_is_not_limited(tmp_path: Path, uid: int) -> None:
    content = {"format": 1, "values": OWN, "uid": f"{ONE:016x}"}
    (tmp_path / FILE).write_text(json.dumps(content))
    vehicle = FakeVehicle(**OWN)
    vehicle.uid = uid
    flight = flying(tmp_path, vehicle)
    flight.requests = less(30.0)
    flight.fly(4.5)
    assert NO_ID not in flight.texts()
    flight.fly(60.0)
    assert flight.texts().count(NO_ID) == (1 if uid == 0 else 0)
    assert vehicle.parameters == (OWN if uid == 0 else LIMITED)
    flight.requests = ()
    flight.fly(60.0)
    assert vehicle.parameters == OWN
    flight.requests = less(30.0)
    flight.fly(10.0)
    assert flight.texts().count(NO_ID) == (2 if uid == 0 else 0)


def test_the_files_that_cannot_be_read_are_named_by_kind(tmp_path: Path) -> None:
    assert unread_originals(tmp_path) == []
    (tmp_path / FILE).write_text(json.dumps({"format": 1, "values": OWN}))
    (tmp_path / SPEED_FILE).write_text("{")
    [unread] = unread_originals(tmp_path)
    assert unread.path == tmp_path / SPEED_FILE
    assert not unread.is_denied


def test_the_driver_limits_without_the_values_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    flight = limited(tmp_path, DrivenVehicle())
    assert flight.vehicle.parameters == LIMITED
    assert UNREAD not in flight.texts()
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.parameters == OWN
    assert (tmp_path / FILE).read_text() == "{"


def test_a_driver_that_stops_is_followed_from_the_values_in_memory(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    flight = flying(tmp_path / "state", DrivenVehicle())
    flight.requests = less(30.0)
    flight.fly(15.0)
    flight.vehicle.scripted = False  # its limit stays
    flight.requests = less(20.0)
    flight.fly(10.0)
    sets = [m for m in flight.vehicle.received if m.get_type() == "PARAM_SET"]
    assert sets == []  # nothing is on disk
    flight.requests = ()
    flight.fly(10.0)
    assert flight.vehicle.parameters == OWN


def test_an_original_value_that_was_not_answered_is_not_read_while_the_driver_limits(
    tmp_path: Path,
) -> None:
    vehicle = DrivenVehicle(**OWN)
    flight = flying(tmp_path, vehicle)
    vehicle.answers = False
    flight.requests = less(30.0)
    flight.fly(6.0)
    vehicle.answers = True
    flight.fly(90.0)
    assert vehicle.parameters == LIMITED
    assert not left_behind(tmp_path)
    flight.requests = ()
    flight.fly(2.0)
    assert 0.0 in vehicle.requested  # at once, and not after three seconds
    flight.fly(20.0)
    assert vehicle.parameters == OWN
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert saved(tmp_path) == OWN


def test_a_start_while_the_driver_limits_for_an_earlier_run_saves_no_limited_value(
    tmp_path: Path,
) -> None:
    (tmp_path / "state").touch()
    flight = flying(tmp_path / "state", DrivenVehicle())
    flight.requests = less(30.0)
    flight.fly(5.0)
    (tmp_path / "state").unlink()
    again = Flight(flight.vehicle, tmp_path / "state")
    again.now_s = flight.now_s
    again.requests = less(30.0)
    again.fly(20.0)
    assert flight.vehicle.parameters == LIMITED
    again.requests = ()
    again.fly(8.0)
    assert flight.vehicle.parameters == OWN
    assert not left_behind(tmp_path / "state")


@pytest.mark.parametrize("scripted", [True, False])
def test_after_a_restart_of_the_autopilot_no_limited_value_is_saved(
    tmp_path: Path, *, scripted: bool
) -> None:
    """Until the restart is noticed, requests continue, and a new driver limits again."""
    vehicle = DrivenVehicle(**OWN)
    vehicle.boot_ms = 100_000
    flight = Flight(vehicle, tmp_path)
    flight.requests = less(30.0)
    flight.fly(4.0)
    assert not left_behind(tmp_path)  # an earlier run may have requested a limit
    vehicle.original = None
    vehicle.scripted = scripted
    vehicle.reboot(vehicle.mode, **OWN)
    flight.fly(20.0)
    assert vehicle.parameters == LIMITED
    assert left_behind(tmp_path) != scripted
    flight.requests = ()
    flight.fly(5.0)
    assert vehicle.parameters == OWN


def test_without_the_driver_a_limit_waits_for_the_disk_and_its_values_are_read_once(
    tmp_path: Path,
) -> None:
    flight = flying(tmp_path)
    with files_limited_to(0):
        flight.requests = less(30.0)
        flight.fly(35.0)
        assert flight.vehicle.parameters == OWN
        assert flight.texts().count(NO_LIMIT) == 1
    flight.fly(11.0)
    assert flight.vehicle.parameters == LIMITED
    assert saved(tmp_path) == OWN
    reads = [m for m in flight.vehicle.received if m.get_type() == "PARAM_REQUEST_READ"]
    assert len([m for m in reads if m.param_id in OWN]) == 2
    flight.requests = ()
    flight.fly(4.0)
    assert flight.vehicle.parameters == OWN


def test_values_that_no_limit_has_followed_are_read_again_by_the_next_request(
    tmp_path: Path,
) -> None:
    flight = flying(tmp_path)
    with files_limited_to(0):
        flight.requests = less(30.0)
        flight.fly(3.0)
        flight.requests = ()
        flight.fly(12.0)
        flight.vehicle.parameters["MOT_BAT_CURR_MAX"] = 60.0  # by the user, unlimited
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert saved(tmp_path) == OWN | {"MOT_BAT_CURR_MAX": 60.0}


@pytest.mark.parametrize("vehicle", [FakeVehicle, DrivenVehicle])
def test_a_folder_that_is_deleted_while_a_limit_holds_is_written_again(
    tmp_path: Path, vehicle: type[FakeVehicle]
) -> None:
    flight = limited(tmp_path / "state", vehicle(**OWN))
    shutil.rmtree(tmp_path / "state")
    flight.fly(10.5)
    assert saved(tmp_path / "state") == OWN
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.parameters == OWN
    assert not left_behind(tmp_path / "state")


def test_a_folder_that_is_lost_for_good_leaves_the_values_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flight = limited(tmp_path / "state")
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "state").touch()
    flight.requests = less(20.0)
    flight.fly(30.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 20.0  # it is limited already
    assert flight.texts().count(NOT_SAVED) == 1
    assert caplog.text.count("original vehicle limits are not stored") == 1
    flight.requests = ()
    flight.fly(4.0)
    assert flight.vehicle.parameters == OWN


def test_a_folder_in_its_place_with_other_values_is_written_with_those_of_memory(
    tmp_path: Path,
) -> None:
    flight = limited(tmp_path)
    (tmp_path / FILE).write_text(json.dumps({"format": 1, "values": {"MOT_BAT_CURR_MAX": 7.0}}))
    flight.fly(10.5)
    assert saved(tmp_path) == OWN


def test_a_file_that_cannot_be_deleted_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flight = limited(tmp_path)
    unlink = Path.unlink

    def fails(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == FILE:
            raise OSError(30, "Read-only file system")
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fails)
        flight.requests = ()
        flight.fly(5.0)
    assert flight.vehicle.parameters == OWN
    assert left_behind(tmp_path)
    flight.fly(10.0)
    assert not left_behind(tmp_path)
    assert NOT_SAVED not in flight.texts()
    assert "original vehicle limits are not stored" in caplog.text
    assert "the disk takes original vehicle limits again" in caplog.text


# A disk that is slow.


def test_no_limit_is_set_before_its_values_are_known_to_be_on_disk(tmp_path: Path) -> None:
    run = HeldRun()
    flight = Flight(FakeVehicle(**OWN), None)
    control = VehicleControl(tmp_path, run=run)
    flight.bridge.vehicle_control = control
    flight.requests = less(30.0, 3.0)
    flight.fly(3.0)
    assert len(run.jobs) == 2  # what earlier runs have left is not known
    run.do()
    flight.fly(20.0)
    assert flight.vehicle.parameters == OWN
    assert run.begun == 3  # one job at a time of a file
    assert flight.texts() == [NO_LIMIT]  # once: the disk is slow
    run.do()
    flight.fly(0.3)
    assert flight.vehicle.parameters == LIMITED
    assert not control.idle
    flight.requests = ()
    flight.fly(3.0)
    assert flight.vehicle.parameters == OWN
    assert left_behind(tmp_path)
    assert not control.idle  # until the file is deleted
    run.do()
    flight.fly(0.1)
    assert control.idle
    assert not left_behind(tmp_path)


def test_the_thread_of_a_service_saves_before_a_limit_and_deletes_after_it(tmp_path: Path) -> None:
    flight = Flight(FakeVehicle(**OWN), None)
    on_disk: list[bool] = []
    flight.vehicle.on_set = lambda: on_disk.append((tmp_path / FILE).exists())
    with closing(Worker("vehicle limits")) as worker:
        flight.bridge.vehicle_control = VehicleControl(tmp_path, run=worker.run)
        flight.requests = less(30.0)
        for _ in range(10):
            flight.fly(0.5)
            worker.run(lambda: None).result(WAIT_S)
        assert flight.vehicle.parameters == LIMITED
        assert on_disk == [True] * 2
        flight.vehicle.beat()
        flight.bridge.restore_parameters(VirtualClock(flight.now_s))
        assert flight.vehicle.parameters == OWN
    assert not left_behind(tmp_path)


def test_a_disk_that_holds_up_a_deletion_is_logged_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = HeldRun()
    values = SavedParameters(tmp_path, "limits", MOST, run)
    autopilot = of_board(ONE)
    for now_s in (0.0, 0.1):
        values.step(autopilot, now_s)
        run.do()
    values.add(OWN)
    values.step(autopilot, 0.2)
    run.do()
    assert values.save(OWN.keys(), 0.3)
    values.discard("restored", 0.4)
    for now_s in (1.0, 3.5, 9.0):
        values.step(autopilot, now_s)
    assert caplog.text.count("original vehicle limits are not stored: the disk is too slow") == 1
    assert values.take_texts() == []
    run.do()
    values.step(autopilot, 9.1)
    assert "the disk takes original vehicle limits again" in caplog.text
    assert values.is_settled


def test_a_speed_is_commanded_as_soon_as_its_value_is_on_disk(tmp_path: Path) -> None:
    run = HeldRun()
    vehicle = FakeVehicle(WP_SPD=12.0)
    vehicle.speed_m_s = 12.0
    flight = Flight(vehicle, None)
    flight.bridge.vehicle_control = VehicleControl(tmp_path, run=run)
    flight.fly(2.0)
    run.do()
    flight.requests = less(None, 3.0)
    flight.fly(12.0)
    assert vehicle.speeds == []
    run.do()
    assert json.loads((tmp_path / SPEED_FILE).read_text())["values"] == {"speed_m_s": 12.0}
    flight.fly(0.2)
    assert vehicle.speeds == [(1.0, 3.0)]


def test_the_driver_does_not_wait_for_a_disk(tmp_path: Path) -> None:
    run = HeldRun()
    flight = Flight(DrivenVehicle(), None)
    flight.bridge.vehicle_control = VehicleControl(tmp_path, run=run)
    flight.fly(8.0)
    flight.requests = less(30.0)
    flight.fly(3.0)
    assert flight.vehicle.parameters == LIMITED


def test_no_older_content_replaces_a_newer_one(tmp_path: Path) -> None:
    run = HeldRun()
    values = SavedParameters(tmp_path, "limits", MOST, run)
    autopilot = of_board(ONE)
    values.step(autopilot, 0.0)
    run.do()
    values.step(autopilot, 0.1)
    values.add(OWN)
    assert values.save(OWN.keys(), 0.1) is None
    values.drop((), 0.2)  # the request has ended
    assert len(run.jobs) == 1
    run.do()
    assert saved(tmp_path) == OWN
    values.step(autopilot, 0.3)
    assert len(run.jobs) == 1
    run.do()
    values.step(autopilot, 0.4)
    assert not left_behind(tmp_path)
    assert run.jobs == []
    assert not values.held


def test_the_result_for_another_vehicle_is_not_used(tmp_path: Path) -> None:
    run = HeldRun()
    values = SavedParameters(tmp_path, "limits", MOST, run)
    autopilot = of_board(None)
    values.step(autopilot, 0.0)
    run.do()
    values.step(autopilot, 0.1)
    values.add(OWN)
    assert values.save(OWN.keys(), 0.1) is None
    autopilot.followed = 2
    values.step(autopilot, 0.2)
    assert not values.is_known
    run.do()
    values.step(autopilot, 0.3)
    assert values.values == {}
    run.do()
    values.step(autopilot, 0.4)
    assert values.is_known
    assert values.save(OWN.keys(), 0.4) is False


# Other boards.


def test_the_id_of_the_board_keeps_values_whose_file_was_lost(tmp_path: Path) -> None:
    values = SavedParameters(tmp_path, "limits", MOST)
    autopilot = of_board(None)
    values.step(autopilot, 0.0)
    values.add(OWN)
    assert values.save(OWN.keys(), 0.0)
    (tmp_path / FILE).unlink()
    values.step(of_board(ONE), 1.0)
    assert values.values == OWN
    assert json.loads((tmp_path / FILE).read_text())["uid"] == f"{ONE:016x}"


def test_values_of_a_board_that_was_replaced_are_not_restored_on_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = SavedParameters(tmp_path, "limits", MOST)
    values.step(of_board(ONE), 0.0)
    values.add(OWN)
    assert values.save(OWN.keys(), 0.0)
    values.step(of_board(OTHER), 1.0)
    assert values.values == {}
    assert "another vehicle is followed; not restored" in caplog.text
    values.step(of_board(ONE), 2.0)
    assert values.values == OWN


def test_the_file_of_another_board_in_a_folder_that_was_replaced_is_put_aside(
    tmp_path: Path,
) -> None:
    foreign = {"format": 1, "values": {"MOT_BAT_CURR_MAX": 7.0}, "uid": f"{OTHER:016x}"}
    values = SavedParameters(tmp_path, "limits", MOST)
    values.step(of_board(ONE), 0.0)
    values.add(OWN)
    assert values.save(OWN.keys(), 0.0)
    (tmp_path / FILE).write_text(json.dumps(foreign))
    values.step(of_board(ONE), 11.0)
    assert saved(tmp_path) == OWN
    aside = tmp_path / f"vehicle-3-1-limits-of-{OTHER:016x}.json"
    assert json.loads(aside.read_text()) == foreign


@pytest.mark.parametrize("content", [json.dumps({"format": 1, "values": {}, "uid": "cd34"}), "{"])
def test_a_file_that_is_not_ours_is_not_deleted(tmp_path: Path, content: str) -> None:
    values = SavedParameters(tmp_path, "limits", MOST)
    values.step(of_board(None), 0.0)
    values.add(OWN)
    assert values.save(OWN.keys(), 0.0)
    (tmp_path / FILE).write_text(content)
    values.discard("restored", 1.0)
    assert (tmp_path / FILE).read_text() == content


def test_a_file_of_another_board_is_not_replaced_while_this_ones_id_is_not_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = SavedParameters(tmp_path, "limits", MOST)
    values.step(of_board(None), 0.0)
    values.add(OWN)
    assert values.save(OWN.keys(), 0.0)
    content = json.dumps({"format": 1, "values": {}, "uid": "cd34"})
    (tmp_path / FILE).write_text(content)
    values.step(of_board(None), 11.0)
    assert (tmp_path / FILE).read_text() == content
    assert "is of another board" in caplog.text
    assert values.take_texts() == [NOT_SAVED]
    assert values.values == OWN


# A user who changes what is limited.


def test_a_value_that_the_user_sets_while_it_is_limited_is_restored(tmp_path: Path) -> None:
    flight = limited(tmp_path)
    user_sets(flight.vehicle, "MOT_BAT_CURR_MAX", 60.0)
    flight.fly(2.0)
    assert flight.vehicle.parameters == LIMITED
    assert saved(tmp_path)["MOT_BAT_CURR_MAX"] == 60.0
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.parameters == OWN | {"MOT_BAT_CURR_MAX": 60.0}
    assert not left_behind(tmp_path)


def test_a_lower_value_of_the_user_is_neither_raised_nor_replaced(tmp_path: Path) -> None:
    flight = limited(tmp_path)
    user_sets(flight.vehicle, "MOT_BAT_CURR_MAX", 20.0)
    flight.fly(100.0)
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.parameters == OWN | {"MOT_BAT_CURR_MAX": 20.0}


def test_a_value_that_the_user_has_set_unnoticed_is_found_at_the_end(tmp_path: Path) -> None:
    flight = limited(tmp_path)
    flight.vehicle.parameters["MOT_BAT_CURR_MAX"] = 60.0  # its message was lost
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.parameters == OWN | {"MOT_BAT_CURR_MAX": 60.0}


@pytest.mark.parametrize("late_a", [30.0, 25.0, 80.0, 41.0, 5000.0])
def test_one_message_or_a_late_one_is_no_choice_of_the_user(tmp_path: Path, late_a: float) -> None:
    flight = flying(tmp_path)
    for limit_a in (30.0, 25.0, 20.0):
        flight.requests = less(limit_a)
        flight.fly(2.0)
    late = mavlink.MAVLink_param_value_message(b"MOT_BAT_CURR_MAX", late_a, 9, 1, 0)
    flight.vehicle.emit(late)
    flight.fly(2.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 20.0
    flight.requests = ()
    flight.fly(60.0)
    assert flight.vehicle.parameters == OWN


def test_a_limit_that_was_set_long_ago_is_no_choice_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameter_limits, "_LIMITS_KNOWN", 2)
    flight = flying(tmp_path)
    for limit_a in (30.0, 25.0, 20.0, 15.0):
        flight.requests = less(limit_a)
        flight.fly(2.0)
    user_sets(flight.vehicle, "MOT_BAT_CURR_TC", 1.0)  # as it is, since the first limit
    flight.fly(3.0)
    flight.requests = ()
    flight.fly(60.0)
    assert flight.vehicle.parameters == OWN


@pytest.mark.parametrize(("found_a", "end_a"), [(30.0, 80.0), (60.0, 80.0), (90.0, 90.0)])
def test_after_a_crash_a_value_above_the_original_one_is_the_users(
    tmp_path: Path, found_a: float, end_a: float
) -> None:
    flight = limited(tmp_path)
    flight.vehicle.parameters["MOT_BAT_CURR_MAX"] = found_a  # while no service runs
    flying(tmp_path, flight.vehicle)
    assert flight.vehicle.parameters == OWN | {"MOT_BAT_CURR_MAX": end_a}
    assert not left_behind(tmp_path)


def test_a_speed_that_the_user_sets_while_it_is_limited_is_commanded_at_the_end(
    tmp_path: Path,
) -> None:
    vehicle = FakeVehicle(WP_SPD=12.0)
    vehicle.speed_m_s = 12.0
    flight = flying(tmp_path, vehicle)
    flight.requests = less(None, 3.0)
    flight.fly(3.0)
    assert vehicle.speeds == [(1.0, 3.0)]
    user_sets(vehicle, "WP_SPD", 8.0)
    flight.fly(2.0)
    flight.requests = ()
    flight.fly(3.0)
    assert vehicle.speeds == [(1.0, 3.0), (1.0, 8.0)]
    assert not left_behind(tmp_path)


def test_of_two_batteries_the_last_request_ends_the_limit(tmp_path: Path) -> None:
    flight = flying(tmp_path)
    flight.requests = (*less(30.0), *less(40.0))
    flight.fly(3.0)
    assert flight.vehicle.parameters == LIMITED
    flight.requests = less(40.0)
    flight.fly(100.0)
    assert flight.vehicle.parameters["MOT_BAT_CURR_MAX"] == 40.0
    assert saved(tmp_path) == OWN
    flight.requests = ()
    flight.fly(5.0)
    assert flight.vehicle.parameters == OWN
