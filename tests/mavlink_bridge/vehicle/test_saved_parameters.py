# SPDX-License-Identifier: Apache-2.0
"""Files with the original values of vehicle parameters: formats, damage, several vehicles."""

import json
from pathlib import Path

import pytest

from mavlink_bridge.protocol.autopilot import Autopilot
from mavlink_bridge.vehicle.saved_parameters import SavedParameters, left_behind
from tests.mavlink_bridge.fake_vehicle import FakeVehicle

NAME = "vehicle-3-1-limits.json"
VALUES = {"MOT_BAT_CURR_MAX": 90.0, "MOT_BAT_CURR_TC": 5.0}


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
    saved = SavedParameters(folder, "limits")
    saved.follow(autopilot)
    return saved


def test_values_that_version_0_1_0_left_are_restored(autopilot: Autopilot) -> None:
    folder = Path(__file__).parents[2] / "data" / "upgrade_0.1.0"
    assert left_behind(folder)
    assert loaded(folder, autopilot).values == {"MOT_BAT_CURR_MAX": 80.0}


def test_values_are_stored_with_a_format_and_loaded_again(
    tmp_path: Path, autopilot: Autopilot
) -> None:
    assert loaded(tmp_path, autopilot).save(VALUES)
    assert json.loads((tmp_path / NAME).read_text()) == {"format": 1, "values": VALUES}
    assert left_behind(tmp_path)
    saved = loaded(tmp_path, autopilot)
    assert saved.values == VALUES
    saved.discard()
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
        "\x00", "[" * 100_000, '{"A": 1' + "0" * 400 + "}",
    ],
)  # fmt: skip
def test_a_damaged_file_is_logged_and_left(
    tmp_path: Path, autopilot: Autopilot, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).write_text(content)
    saved = loaded(tmp_path, autopilot)
    assert saved.values == {}
    assert f"{NAME} cannot be read; check the limits of the vehicle" in caplog.text
    assert (tmp_path / NAME).read_text() == content
    # New values do not replace it.
    assert saved.save(VALUES)
    assert (tmp_path / NAME).with_suffix(".damaged").read_text() == content
    assert loaded(tmp_path, autopilot).values == VALUES


def test_the_values_of_another_vehicle_are_not_loaded(tmp_path: Path, autopilot: Autopilot) -> None:
    saved = loaded(tmp_path, autopilot)
    assert saved.save(VALUES)
    autopilot.followed = 2
    saved.follow(autopilot)
    assert saved.values == {}
    autopilot.followed = 1
    saved.follow(autopilot)
    assert saved.values == VALUES


@pytest.mark.parametrize("below", ["file", "file/below", "file/below/it"])
def test_values_that_cannot_be_written_are_not_saved(
    tmp_path: Path, autopilot: Autopilot, below: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    saved = loaded(tmp_path / below, autopilot)
    assert not saved.save(VALUES)
    assert saved.values == {}
    assert "vehicle limits are not changed" in caplog.text
