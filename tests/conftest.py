# SPDX-License-Identifier: Apache-2.0
"""Fixtures of tests in several rooms."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, and children would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # And nohup with SIGHUP ignored.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: one more than cores, because tests wait for clocks, sockets and processes."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """No test writes into the folder that it was started in, whatever name it was given."""
    folder = Path.cwd()
    before = set(folder.iterdir())
    yield
    left = {path.name for path in set(folder.iterdir()) - before}
    assert {name for name in left if not name.startswith((".", "build"))} == set()


@pytest.fixture
def computed_flights() -> tuple[Path, ...]:
    """The computed flights of tests/data."""
    return tuple(sorted((Path(__file__).parent / "data" / "flights").glob("*.csv.gz")))


@pytest.fixture
def real_flights() -> tuple[Path, ...]:
    """The recorded flights in $DRONEBMS_FLIGHTS, outside this repository; skips without them."""
    folder = os.environ.get("DRONEBMS_FLIGHTS")
    if not folder:
        pytest.skip("no recorded flights: set DRONEBMS_FLIGHTS to the folder that contains real/")
    found = tuple(sorted((Path(folder) / "real").glob("*.csv*")))
    assert found, f"no flight in {folder}/real, the folder of DRONEBMS_FLIGHTS"
    return found
