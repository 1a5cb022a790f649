# SPDX-License-Identifier: Apache-2.0
"""Short runs of the transport faults; the full one is `python -m benchmarks.mutation`."""

import pytest

from benchmarks.mutation import FLIGHTS, KINDS, campaign


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flight", "transfers", "most_near"),
    [(FLIGHTS[0], 30_000, 3), (FLIGHTS[1], 15_000, 6)],  # of a BQ40 all status words are compared
)
def test_no_corrupted_transfer_becomes_a_value(flight: str, transfers: int, most_near: int) -> None:
    verdict, done = campaign(transfers, 7, flight)
    assert verdict.wrong == []
    assert verdict.sent_wrong == []
    assert verdict.near <= most_near  # random bytes with a right PEC, and close to the truth
    assert set(done) == set(KINDS)
    assert done.total() >= transfers
    assert verdict.shown > 50_000
    assert verdict.sent > 2_000


def test_corrupted_selectors_and_blocks_of_a_bq40_become_no_value() -> None:
    verdict, done = campaign(1_500, 5, "bq40")
    assert verdict.wrong == []
    assert verdict.sent_wrong == []
    assert verdict.shown > 5_000
    assert done.total() >= 1_500


@pytest.mark.parametrize("flight", FLIGHTS)
def test_the_campaign_detects_errors_that_a_gauge_without_pec_lets_through(flight: str) -> None:
    verdict, _ = campaign(3_000, 7, flight, with_pec=False)
    assert verdict.wrong
    assert verdict.near > 0
