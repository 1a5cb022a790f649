# SPDX-License-Identifier: Apache-2.0
"""Storage under torture, in a sample; `python -m benchmarks.storage` runs all of it."""

import shutil
from typing import Any

import pytest

from tests.integration.storage.campaign import rows
from tests.integration.storage.file_layer import COMPILER

pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="no cc here: install gcc")
WRITERS = ("vehicle parameters", "signing", "checkpoint", "pack names", "learned packs")


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


def test_no_power_cut_leaves_a_state_that_was_never_written_or_loses_a_promised_one() -> None:
    for row in of("power", *WRITERS, "recording", "MQTT queue", every=31, first=11):
        assert row["wrong"] == []
        assert row["states"] > 1
