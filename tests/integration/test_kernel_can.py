# SPDX-License-Identifier: Apache-2.0
"""SocketCAN on a virtual bus of a real kernel: the tests of DroneCAN that need one, in a guest.

The guest is that of tests/integration/test_kernel_i2c.py: Debian's stock kernel, which has the
modules `vcan` and `can-raw`, so that the host need not have them.
"""

import sys
from pathlib import Path

import pytest

from tests.integration.debian import HOST, Missing
from tests.integration.kernel.guest import boot
from tests.integration.kernel.image import MACHINES, image

TESTS = (
    "test_a_kernel_bus_passes_what_the_filter_accepts[vcan]",
    "test_the_service_is_allocated_ids_and_its_packs_are_received[socketcan:vcan0]",
    "test_a_bus_that_goes_away_is_a_retry_of_the_service[socketcan:vcan0]",
)


@pytest.mark.slow
def test_frames_packs_and_a_lost_bus_on_socketcan(tmp_path: Path) -> None:
    names = [f"tests/integration/test_dronecan.py::{name}" for name in TESTS]
    machine = next((one for one in MACHINES if one.architecture == HOST), None)
    if machine is None:
        pytest.skip(f"no guest of the architecture {HOST}")
    try:
        files = image(machine)
    except Missing as missing:
        pytest.skip(str(missing))

    results = boot(files, Path("/"), sys.executable, tmp_path, ("pytest_agent", *names))

    assert {check: outcome for outcome, check in results} == dict.fromkeys(names, "passed"), (
        "".join(row["text"] for row in results.values())
    )
