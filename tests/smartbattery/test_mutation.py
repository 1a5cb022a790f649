"""A short run of the mutation campaign; the full one is `python benchmarks/mutation.py`."""

from pathlib import Path

import pytest

from benchmarks.mutation import KINDS, campaign

SHIPPED = Path(__file__).parents[2] / "sim" / "scenarios" / "survey.toml"


@pytest.mark.slow
def test_no_corrupted_transfer_becomes_a_value() -> None:
    verdict, done = campaign(30_000, seed=7)
    assert verdict.wrong == []
    assert verdict.near <= 3  # random bytes with a right PEC, and close to the truth
    assert set(done) == set(KINDS)
    assert done.total() >= 30_000
    assert verdict.shown > 100_000


def test_the_campaign_detects_errors_that_a_gauge_without_pec_lets_through(tmp_path: Path) -> None:
    text = SHIPPED.read_text().replace("[gauge]", "[gauge]\npec = false", 1)
    assert "pec = false" in text
    path = tmp_path / "bare.toml"
    path.write_text(text)
    verdict, _ = campaign(5_000, seed=7, flight=str(path))
    assert verdict.wrong
    assert verdict.near > 0
