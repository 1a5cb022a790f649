# SPDX-License-Identifier: Apache-2.0
"""The package in a fresh Debian under systemd: every step of tests/integration/under_systemd."""

from pathlib import Path

import pytest

from tests.integration.debian import HOST, Missing
from tests.integration.package import built
from tests.integration.under_systemd.container import NotBooted
from tests.integration.under_systemd.steps import run_all


@pytest.mark.slow
def test_the_service_lives_in_a_fresh_debian_under_systemd(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    try:
        rows = list(run_all(built(HOST, tmp_path_factory).file, tmp_path))
    except (Missing, NotBooted) as missing:
        pytest.skip(str(missing))
    assert len(rows) >= 18
    failed = [f"{row.what}: {row.figure}" for row in rows if row.end == "failed"]
    assert not failed, "\n".join(failed)
