# SPDX-License-Identifier: Apache-2.0
"""Files with the original values of vehicle parameters: formats, damage, several vehicles."""

import errno
import json
import os
from pathlib import Path
from time import monotonic

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.vehicle import saved_file
from mavlink_bridge.vehicle.saved_file import left_behind
from mavlink_bridge.vehicle.saved_parameters import SavedParameters
from tests.mavlink_bridge.fake_vehicle import FakeVehicle

NAME = "vehicle-3-1-limits.json"
VALUES = {"MOT_BAT_CURR_MAX": 90.0, "MOT_BAT_CURR_TC": 5.0}
UNKNOWN = "original limits unknown: vehicle may be limited"
MOST = {"MOT_BAT_CURR_MAX": 1000.0, "MOT_BAT_CURR_TC": 60.0}


@pytest.fixture
def autopilot() -> Autopilot:
    """An ArduPilot of system 1."""
    vehicle, followed = FakeVehicle(), Autopilot(1)
    vehicle.beat()
    for frame in vehicle.receive(0.0):
        for message in vehicle._codec.parse_buffer(frame) or ():
            followed.receive(message, 0.0)
    return followed


def loaded(folder: Path, autopilot: Autopilot) -> SavedParameters:
    saved = SavedParameters(folder, "limits", MOST)
    saved.step(autopilot, 0.0)
    return saved


def saves(saved: SavedParameters, values: dict[str, float], now_s: float = 0.0) -> bool | None:
    """Save original values that were read from the vehicle."""
    saved.add(values)
    return saved.save(values.keys(), now_s)


def test_values_that_version_0_1_0_left_are_restored(autopilot: Autopilot) -> None:
    folder = Path(__file__).parents[2] / "data" / "upgrade_0.1.0"
    assert left_behind(folder)
    assert loaded(folder, autopilot).values == {"MOT_BAT_CURR_MAX": 80.0}


def test_values_are_stored_with_a_format_and_loaded_again(
    tmp_path: Path, autopilot: Autopilot
) -> None:
    assert saves(loaded(tmp_path, autopilot), VALUES)
    assert json.loads((tmp_path / NAME).read_text()) == {"format": 1, "values": VALUES}
    assert left_behind(tmp_path)
    saved = loaded(tmp_path, autopilot)
    assert saved.values == VALUES
    saved.discard("restored", 1.0)
    assert not left_behind(tmp_path)
    assert loaded(tmp_path, autopilot).values == {}


@pytest.mark.parametrize(
    "content",
    [
        VALUES,  # versions before the format key
        {"format": 1, "values": VALUES},
        {"format": 2, "values": VALUES, "added": "by a later version"},
    ],
)
def test_every_format_is_read(tmp_path: Path, autopilot: Autopilot, content: object) -> None:
    (tmp_path / NAME).write_text(json.dumps(content))
    assert loaded(tmp_path, autopilot).values == VALUES


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[1]", "3", "null", '"format"', '{"A": "x"}', '{"A": NaN}', '{"A": null}',
        '{"format": 1}', '{"format": 1, "values": [1]}', '{"format": 1, "values": {"A": {}}}',
        # names of no limit, and values of no vehicle
        '{"ARMING_CHECK": 0}', '{"format": 1, "values": {"MOT_BAT_CURR_MAX": 90, "speed_m_s": 5}}',
        '{"MOT_BAT_CURR_MAX": 1e6}', '{"MOT_BAT_CURR_MAX": -1}',
        "\x00", "[" * 100_000, '{"A": 1' + "0" * 400 + "}",
    ],
)  # fmt: skip
def test_a_damaged_file_leaves_the_original_values_unknown_until_it_is_moved(
    tmp_path: Path, autopilot: Autopilot, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).write_text(content)
    saved = loaded(tmp_path, autopilot)
    for now_s in (0.0, 10.0, 20.0):
        saved.step(autopilot, now_s)
        assert not saves(saved, VALUES, now_s)  # limits of the earlier run, perhaps
    assert saved.values == {}
    assert saved.is_settled
    assert caplog.text.count(f"original vehicle limits unknown: {NAME} is damaged") == 1
    assert saved.take_texts() == [UNKNOWN]
    assert (tmp_path / NAME).read_text() == content
    (tmp_path / NAME).rename(tmp_path / "moved")
    saved.step(autopilot, 29.0)
    assert not saves(saved, VALUES, 29.0)
    saved.step(autopilot, 30.0)
    assert "original vehicle limits can be read again" in caplog.text
    assert saves(saved, VALUES, 30.0)
    assert loaded(tmp_path, autopilot).values == VALUES


def test_a_file_that_cannot_be_read_is_no_absent_one(
    tmp_path: Path, autopilot: Autopilot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saves(loaded(tmp_path, autopilot), VALUES)
    for trouble in (errno.EIO, errno.EACCES, errno.EMFILE):

        def failing(_: Path, number: int = trouble) -> bytes:
            raise OSError(number, "failed")

        with monkeypatch.context() as patch:
            patch.setattr(saved_file, "read_stored", failing)
            saved = loaded(tmp_path, autopilot)
            assert not saves(saved, {"MOT_BAT_CURR_MAX": 30.0})
            assert saved.take_texts() == [UNKNOWN]
        saved.step(autopilot, 10.0)  # the disk has recovered
        assert saved.values == VALUES


def test_a_pipe_in_the_place_of_a_file_holds_up_nothing(
    tmp_path: Path, autopilot: Autopilot
) -> None:
    os.mkfifo(tmp_path / NAME)
    begun_s = monotonic()
    saved = loaded(tmp_path, autopilot)
    assert not saves(saved, VALUES)
    assert monotonic() - begun_s < 5.0  # a pipe of the user is waited for, 10 s
    assert saved.take_texts() == [UNKNOWN]
    (tmp_path / NAME).unlink()
    saved.step(autopilot, 30.0)
    assert saves(saved, VALUES, 30.0)


def test_a_file_is_judged_for_the_user_who_has_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / NAME
    path.write_text("{")
    cases = [
        # owner and group of the file, its mode, owner of the folder, whether that may read it
        (1, 1, 0o600, 1, True), (1, 1, 0o000, 1, False), (2, 1, 0o640, 1, True),
        (2, 1, 0o600, 1, False), (2, 2, 0o644, 1, True), (2, 2, 0o640, 1, False),
        (2, 2, 0o600, 0, True),
    ]  # fmt: skip
    for owner, group, mode, folder_owner, reads in cases:
        found = {path: (mode, owner, group), tmp_path: (0o40700, folder_owner, 1)}

        def status(of: Path, found: dict[Path, tuple[int, int, int]] = found) -> os.stat_result:
            mode, owner, group = found[of]
            return os.stat_result((mode, 0, 0, 1, owner, group, 0, 0, 0, 0))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "stat", status)
            (unread,) = saved_file.unread_files(tmp_path, {"limits": MOST})
        assert unread.is_denied is not reads


@pytest.mark.parametrize(
    ("number", "reasons"),
    [
        (errno.EIO, [f"{NAME} cannot be read: failed"]),
        (errno.ENOENT, []),  # gone meanwhile
        (errno.EACCES, []),  # for the service alone
    ],
)
def test_a_file_that_the_disk_does_not_give_is_named_and_an_absent_one_is_not(
    number: int, reasons: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Path) -> bytes:
        raise OSError(number, "failed")

    (tmp_path / NAME).write_text("{")
    monkeypatch.setattr(saved_file, "read_stored", failing)
    files = saved_file.unread_files(tmp_path, {"limits": MOST})
    assert [file.reason for file in files] == reasons


def test_files_that_are_damaged_while_their_values_are_in_memory_are_put_aside_each(
    tmp_path: Path, autopilot: Autopilot
) -> None:
    saved = loaded(tmp_path, autopilot)
    assert saves(saved, VALUES)
    for number in range(12):
        (tmp_path / NAME).write_text(f"{{{number}")
        saved.step(autopilot, 11.0 * (number + 1))
    aside = [path.read_text() for path in sorted(tmp_path.glob("*.damaged*"))]
    assert aside == [f"{{{number}" for number in range(9)]
    assert (tmp_path / NAME).read_text() == "{11"  # it is left: no name is free
    assert saved.take_texts() == ["reduce: original limits are not saved"]
    assert saved.values == VALUES


def test_a_board_whose_id_is_unknown_may_be_one_whose_values_are_aside(tmp_path: Path) -> None:
    assert saves(loaded(tmp_path, of_board(ONE)), VALUES)
    assert loaded(tmp_path, of_board(OTHER)).is_known
    saved = loaded(tmp_path, of_board(None))
    assert not saves(saved, {"MOT_BAT_CURR_MAX": 30.0})
    saved.step(of_board(ONE), 1.0)
    assert saved.values == VALUES


def test_the_values_of_another_vehicle_are_not_loaded(tmp_path: Path, autopilot: Autopilot) -> None:
    saved = loaded(tmp_path, autopilot)
    assert saves(saved, VALUES)
    autopilot.followed = 2
    saved.step(autopilot, 1.0)
    assert saved.values == {}
    autopilot.followed = 1
    saved.step(autopilot, 1.0)
    assert saved.values == VALUES


@pytest.mark.parametrize("below", ["file", "file/below", "file/below/it"])
def test_values_that_cannot_be_written_are_not_saved(
    tmp_path: Path, autopilot: Autopilot, below: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    saved = loaded(tmp_path / below, autopilot)
    assert saves(saved, VALUES) is False
    assert saved.values == VALUES  # of the vehicle before its limit, which the driver may set
    assert not saved.held
    assert "original vehicle limits are not stored" in caplog.text
    assert saved.take_texts() == ["no reduce: original limits cannot be saved"]
    assert saved.take_texts() == []


def version(uid: int) -> object:
    zeros = [0] * 8
    message = mavlink.MAVLink_autopilot_version_message(
        0, 1, 0, 0, 0, zeros, zeros, zeros, 0, 0, uid
    )
    return mavlink.MAVLink(None).decode(bytearray(message.pack(mavlink.MAVLink(None, 1, 1))))


def of_board(uid: int | None) -> Autopilot:
    """An ArduPilot of system 1 on a board; `None`: its id has not been received."""
    vehicle, followed = FakeVehicle(), Autopilot(1)
    vehicle.beat()
    for frame in vehicle.receive(0.0):
        for message in vehicle._codec.parse_buffer(frame) or ():
            followed.receive(message, 0.0)
    if uid is not None:
        followed.receive(version(uid), 0.0)
    return followed


ONE, OTHER = 0xAB12, 0xCD34


def test_the_values_of_another_board_with_the_same_system_id_are_put_aside(tmp_path: Path) -> None:
    assert saves(loaded(tmp_path, of_board(ONE)), VALUES)
    other = loaded(tmp_path, of_board(OTHER))
    assert other.values == {}
    assert saves(other, {"MOT_BAT_CURR_MAX": 7.0})
    assert left_behind(tmp_path)
    assert loaded(tmp_path, of_board(OTHER)).values == {"MOT_BAT_CURR_MAX": 7.0}
    # Each board has its own again, in whatever order they come back.
    assert loaded(tmp_path, of_board(ONE)).values == VALUES
    back = loaded(tmp_path, of_board(OTHER))
    assert back.values == {"MOT_BAT_CURR_MAX": 7.0}
    back.discard("restored", 1.0)
    back = loaded(tmp_path, of_board(ONE))
    assert back.values == VALUES
    back.discard("restored", 1.0)
    assert not left_behind(tmp_path)


def test_the_values_of_a_board_are_used_once_its_id_has_been_received(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert saves(loaded(tmp_path, of_board(ONE)), VALUES)
    autopilot = of_board(None)
    saved = loaded(tmp_path, autopilot)
    assert saved.values == {}
    assert "nothing is limited until the id of this one is known" in caplog.text
    assert not saves(saved, {"MOT_BAT_CURR_MAX": 30.0})  # a limit, perhaps, and no original value
    autopilot.receive(version(ONE), 1.0)
    saved.step(autopilot, 1.0)
    assert saved.values == VALUES
    assert saves(saved, VALUES | {"MOT_BAT_CURR_TC": 4.0})


@pytest.mark.parametrize("uid", [None, 0])
def test_values_without_an_id_are_those_of_the_system(tmp_path: Path, uid: int | None) -> None:
    autopilot = of_board(uid)
    saved = loaded(tmp_path, autopilot)
    assert saves(saved, VALUES)
    autopilot.receive(version(ONE), 1.0)
    saved.step(autopilot, 1.0)
    assert saved.values == VALUES
    assert loaded(tmp_path, of_board(OTHER)).values == VALUES


def test_a_restart_of_the_autopilot_which_forgets_the_id_is_no_other_board(tmp_path: Path) -> None:
    saved = loaded(tmp_path, of_board(ONE))
    assert saves(saved, VALUES)
    saved.step(of_board(None), 1.0)
    assert saved.values == VALUES
    assert saves(saved, VALUES)
    assert loaded(tmp_path, of_board(OTHER)).values == {}


@pytest.mark.parametrize("uid", ["../x", "", 3, []])
def test_an_id_that_is_none_is_damage(
    tmp_path: Path, autopilot: Autopilot, uid: object, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"format": 1, "values": VALUES, "uid": uid}
    (tmp_path / NAME).write_text(json.dumps(content))
    assert not loaded(tmp_path, autopilot).is_known
    assert f"{NAME} is damaged: no unique id" in caplog.text


def test_a_disk_that_fails_while_a_board_is_identified_stops_no_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Path, __: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / f"vehicle-3-1-limits-of-{ONE:016x}.json").write_text(json.dumps(VALUES))
    monkeypatch.setattr(Path, "replace", failing)
    saved = loaded(tmp_path, of_board(ONE))
    assert not saves(saved, {"MOT_BAT_CURR_MAX": 30.0})
    assert "cannot be read: [Errno 5] Input/output error" in caplog.text
    monkeypatch.undo()
    saved.step(of_board(ONE), 10.0)
    assert saved.values == VALUES


def test_a_file_that_cannot_be_put_aside_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert saves(loaded(tmp_path, of_board(ONE)), VALUES)
    (tmp_path / f"vehicle-3-1-limits-of-{ONE:016x}.json").mkdir()
    saved = loaded(tmp_path, of_board(OTHER))
    assert saved.values == {}
    assert not saves(saved, {"MOT_BAT_CURR_MAX": 7.0})
    assert "cannot be read: [Errno 21] Is a directory" in caplog.text
    assert loaded(tmp_path, of_board(ONE)).values == VALUES
