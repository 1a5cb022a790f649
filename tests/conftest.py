"""What tests of several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def computed_flights() -> tuple[Path, ...]:
    """Return the computed flights that are part of this repository."""
    return tuple(sorted((Path(__file__).parent / "data" / "flights").glob("*.csv.gz")))


@pytest.fixture
def real_flights() -> tuple[Path, ...]:
    """Return the recorded flights, which are not part of this repository; skip without them."""
    folder = os.environ.get("DRONEBMS_FLIGHTS")
    if not folder:
        pytest.skip("recorded flights: name their folder in DRONEBMS_FLIGHTS (it has real/ in it)")
    found = tuple(sorted((Path(folder) / "real").glob("*.csv*")))
    assert found, f"DRONEBMS_FLIGHTS names {folder}, and there is no flight in its folder real"
    return found
