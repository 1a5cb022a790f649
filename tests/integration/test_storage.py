# SPDX-License-Identifier: Apache-2.0
"""Storage under torture, in a sample; `python -m benchmarks.storage` runs all of it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.storage import _age
from tests.integration.storage.campaign import rows
from tests.integration.storage.file_layer import COMPILER, Call, Record
from tests.integration.storage.power_cut import Disk

pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="no cc here: install gcc")
WRITERS = ("vehicle parameters", "signing", "checkpoint", "pack names", "learned packs")
OUTPUTS = ("replay --out", "packs --export")  # `report` and `init` take seconds a case


def of(kind: str, *writers: str, every: int, first: int) -> list[dict[str, Any]]:
    """Rows of a campaign of some writers."""
    named = [word for writer in writers for word in ("--writer", writer)]
    found = list(rows([kind, *named, "--every", str(every), "--first", str(first)]))
    assert {row["writer"] for row in found} == {*writers}
    assert all(row["cases"] for row in found)
    return found


def test_no_call_that_fails_once_loses_what_was_promised_or_ends_a_writer() -> None:
    for row in of("faults", *WRITERS, every=29, first=7):
        assert row["wrong"] == []
        assert row["lost"] < row["cases"]


def test_no_call_that_fails_once_leaves_half_an_output_of_a_command() -> None:
    for row in of("faults", *OUTPUTS, every=9, first=2):
        assert row["wrong"] == []
        assert row["lost"] < row["cases"]


def test_no_power_cut_leaves_a_state_that_was_never_written_or_loses_a_promised_one() -> None:
    for row in of("power", *WRITERS, *OUTPUTS, "recording", "MQTT queue", every=31, first=11):
        assert row["wrong"] == []
        assert row["states"] > 1


def test_a_file_that_moves_to_another_folder_may_be_in_both_or_in_neither(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    calls = [
        Record(Call.MKDIR, 0, 0, f"{tmp_path}/a", "", b""),
        Record(Call.MKDIR, 0, 0, f"{tmp_path}/b", "", b""),
        Record(Call.CREATE, 7, 0, f"{tmp_path}/a/x", "", b""),
        Record(Call.WRITE, 7, 0, f"{tmp_path}/a/x", "", b"kept"),
        *(
            Record(Call.SYNC, 7, 0, f"{tmp_path}{name}", "", b"")
            for name in ("/a/x", "/a", "/b", "")
        ),
        Record(Call.RENAME, 7, 0, f"{tmp_path}/a/x", f"{tmp_path}/b/y", b""),
    ]
    for call in calls:
        disk.take(call)
    found = [
        {str(path): data for path, data in content.items() if data is not None}
        for seed in range(20)
        for _, content in disk.after_a_cut(seed)
    ]
    assert {"a/x": b"kept"} in found
    assert {"b/y": b"kept"} in found
    assert {"a/x": b"kept", "b/y": b"kept"} in found
    assert {} in found


@pytest.mark.parametrize(
    ("stored_s", "lost_s"),
    [
        (14.5, 0.5),
        (12.0, 3.0),
        (11.0, 3.0),  # older than the first report, at 12 s
        (None, 3.0),
        (15.01, 0.0),  # the clocks agree to some milliseconds
        (125.0, 3.0),  # of a run whose clock was not continued
    ],
)
def test_a_kill_loses_what_its_life_has_not_stored(stored_s: float | None, lost_s: float) -> None:
    assert _age(15.0, 12.0, stored_s) == pytest.approx(lost_s)
