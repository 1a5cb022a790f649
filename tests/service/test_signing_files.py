"""Where a service stores the times of signed frames, and what it reports without a folder."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from dronebms.service.config import StateConfig
from dronebms.service.factories import bridge_of
from mavlink_bridge.protocol.config import MavlinkConfig
from tests.mavlink_bridge.fake_vehicle import FakeVehicle
from tests.mavlink_bridge.reports import a_report

WARNING = "no [state]: a signed frame can be repeated after a restart"


@pytest.mark.parametrize("key", [True, False])
@pytest.mark.parametrize("folder", [True, False])
def test_the_times_of_signed_frames_are_stored_with_a_key_and_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, key: bool, folder: bool
) -> None:
    (tmp_path / "key").write_text("correct horse")
    (tmp_path / "key").chmod(0o600)
    config = MavlinkConfig(signing_key=str(tmp_path / "key") if key else None)
    state = StateConfig(dir=str(tmp_path / "state")) if folder else None
    with ExitStack() as stack:
        bridge = bridge_of(config, state, FakeVehicle(), stack)
        bridge(a_report(0.0))
    assert (tmp_path / "state" / "signing").exists() == (key and folder)
    assert (WARNING in caplog.text) == (key and not folder)
