# SPDX-License-Identifier: Apache-2.0
"""Where a service stores the times of signed frames, and what it reports without a folder."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dronebms.service.config import Config
from dronebms.service.outputs.vehicle_bridge import bridge_of
from tests.mavlink_bridge.fake_vehicle import FakeVehicle
from tests.mavlink_bridge.reports import a_report

WARNING = "no [state]: a signed frame can be repeated after a restart"


def config_of(folder: Path, *links: dict[str, Any], state: bool) -> Config:
    (folder / "key").write_text("correct horse")
    (folder / "key").chmod(0o600)
    data: dict[str, Any] = {"battery": [{"bus": "sim:hover"}], "mavlink": list(links)}
    return Config.model_validate(
        data | ({"state": {"dir": str(folder / "state")}} if state else {})
    )


@pytest.mark.parametrize("key", [True, False])
@pytest.mark.parametrize("folder", [True, False])
def test_the_times_of_signed_frames_are_stored_with_a_key_and_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, key: bool, folder: bool
) -> None:
    signed = {"signing_key": str(tmp_path / "key")} if key else {}
    config = config_of(tmp_path, signed, state=folder)
    with ExitStack() as stack:
        bridge = bridge_of(config, [FakeVehicle()], stack)
        bridge(a_report(0.0))
    assert (tmp_path / "state" / "signing").exists() == (key and folder)
    assert (WARNING in caplog.text) == (key and not folder)


@pytest.mark.parametrize(("other", "files"), [(False, 1), (True, 2)])
def test_links_with_one_key_have_one_file_of_times(
    tmp_path: Path, *, other: bool, files: int
) -> None:
    signed = {"signing_key": str(tmp_path / "key")}
    (tmp_path / "other").write_text("another passphrase")
    (tmp_path / "other").chmod(0o600)
    ground = {"url": "udpout:127.0.0.1:14551", "role": "telemetry"}
    ground["signing_key"] = str(tmp_path / ("other" if other else "key"))
    config = config_of(tmp_path, ground, signed, state=True)
    names = []
    for _ in range(2):
        with ExitStack() as stack:
            bridge_of(config, [FakeVehicle(), FakeVehicle()], stack)(a_report(0.0))
        names.append(sorted(path.name for path in (tmp_path / "state").iterdir()))
    assert names[0] == names[1]
    assert (names[0][0], len(names[0])) == ("signing", files)
