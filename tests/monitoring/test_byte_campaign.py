# SPDX-License-Identifier: Apache-2.0
"""A short form of the byte campaign: constant faults behind a right PEC, and single wrong words.

The whole one: `python -m benchmarks.byte_campaign` and `python -m benchmarks.single_words`.
"""

import pytest

from benchmarks.byte_campaign import CELLS, GAUGES, MOMENTS, ByteCase, ByteOutcome, fly
from benchmarks.constant_faults import ConstantFault, faults
from benchmarks.single_words import KINDS, campaign

FAULTS = {fault.name: fault for fault in faults(CELLS)}
GAUGE = {row.name: row for row in GAUGES}
NEAR_THE_END = MOMENTS[2]
FLOWN = (
    ("sbs", "last cell stuck"),
    ("sbs", "Voltage gain x 0.5"),
    ("bq40z80", "Voltage gain x 1.07"),
    ("sbs", "Current gain x -1"),
    ("bq40z80", "charge offset +10 points"),
    ("sbs", "VScale scale 0 to 1, words as before"),
    ("sbs", "another pack device at 10%, own serial number"),
    ("bq40z80", "another pack device at 90%, own serial number"),
    ("sbs", "two packs at once device at 10%, own serial number"),
)


def flown(gauge: str, fault: ConstantFault | None) -> ByteOutcome:
    """Fly a case near the end of the pack."""
    return fly(ByteCase(GAUGE[gauge], NEAR_THE_END, fault, 1))


@pytest.mark.parametrize("gauge", ["sbs", "bq40z80"])
def test_without_a_fault_nothing_is_flagged_hidden_or_wrong(gauge: str) -> None:
    outcome = flown(gauge, None)
    assert outcome.flagged_s is None
    assert not outcome.hidden
    assert not outcome.wrong
    assert outcome.cut_off_s is not None  # there was an alarm to be hidden
    assert outcome.critical_s is not None
    assert outcome.critical_s < outcome.cut_off_s


@pytest.mark.parametrize(("gauge", "name"), FLOWN)
def test_a_constant_fault_is_flagged_hides_no_alarm_and_sends_nothing_wrong(
    gauge: str, name: str
) -> None:
    outcome = flown(gauge, FAULTS[name])
    assert outcome.due_s is not None
    assert outcome.misses == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_single_word_of_a_gauge_without_pec_trips_a_critical_limit(kind: str) -> None:
    outcome = campaign(25, 3, kind)
    assert outcome.words == 25
    assert outcome.critical == []


def test_the_faults_have_different_names() -> None:
    assert len(FAULTS) == len(faults(CELLS))
