# SPDX-License-Identifier: Apache-2.0
"""Answers to the vehicle's request to arm."""

from dataclasses import replace

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.report import PreflightVerdict, Report, Verdict
from mavlink_bridge.vehicle.arming_check import ArmingCheck
from tests.mavlink_bridge.reports import a_report

GO = PreflightVerdict((), "state of charge 90 %")
HOT = PreflightVerdict(("pack hot",))
COLD = PreflightVerdict(("pack cold",))
CHECKING = PreflightVerdict(("checking, 3 s",), checking=True)
BOTH = PreflightVerdict(("pack hot", "checking, 3 s"), checking=True)
ACCEPTED, DENIED = mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_DENIED
LATER = mavlink.MAV_RESULT_TEMPORARILY_REJECTED


def report(index: int, verdict: PreflightVerdict) -> Report:
    """A report with a verdict."""
    return replace(a_report(index=index), preflight=verdict)


def request() -> mavlink.MAVLink_message:
    """A request of an autopilot."""
    message = mavlink.MAVLink_command_long_message(1, 0, 3001, 0, 0, 0, 0, 0, 0, 0, 0)
    message._header = mavlink.MAVLink_header(message.get_msgId(), srcSystem=1, srcComponent=1)
    return message


@pytest.mark.parametrize(
    ("verdicts", "withheld", "result", "reason"),
    [
        ((), None, DENIED, "no go: no battery data"),
        ((GO,), None, ACCEPTED, None),
        ((GO, GO), None, ACCEPTED, None),
        ((CHECKING,), None, LATER, "no go: battery 1: checking, 3 s"),
        ((GO, CHECKING), None, LATER, "no go: battery 2: checking, 3 s"),
        ((CHECKING, HOT), None, DENIED, "no go: battery 2: pack hot (+1)"),
        ((HOT, CHECKING), None, DENIED, "no go: battery 1: pack hot (+1)"),
        ((BOTH,), None, DENIED, "no go: battery 1: pack hot (+1)"),
        ((GO,), "charge unknown", DENIED, "no go: battery 1: charge unknown"),
        ((CHECKING,), "charge unknown", DENIED, "no go: battery 1: checking, 3 s"),
    ],
)
def test_an_unjudged_pack_is_rejected_for_now_and_a_bad_one_denied(
    verdicts: tuple[PreflightVerdict, ...], withheld: str | None, result: int, reason: str | None
) -> None:
    arming = ArmingCheck()
    for index, verdict in enumerate(verdicts):
        arming.update(report(index, verdict), withheld)
    answer, texts = arming.answer(request(), 0.0)
    assert (answer.result, texts[-1] if texts else None) == (result, reason)
    assert arming.go is (reason is None)
    assert answer.result_param2 == (5 if result == ACCEPTED else 0)


def test_a_verdict_replaces_the_one_before() -> None:
    arming, results = ArmingCheck(), []
    for verdict in (CHECKING, HOT, CHECKING, GO, HOT, GO):
        arming.update(report(0, verdict), None)
        results.append(arming.answer(request(), 0.0)[0].result)
    assert results == [LATER, DENIED, LATER, ACCEPTED, DENIED, ACCEPTED]


def test_seconds_that_count_down_make_no_text() -> None:
    arming, texts = ArmingCheck(), []
    for t_s in range(10):
        verdict = PreflightVerdict((f"checking, {10 - t_s} s",), checking=True)
        arming.update(report(0, verdict), None)
        texts += arming.due_texts(float(t_s))
    assert texts == []


def test_a_text_follows_a_reason_of_two_seconds_and_the_text_before_by_ten() -> None:
    arming = ArmingCheck()
    texts: dict[float, str] = {}

    def at(*times_s: float) -> None:
        for t_s in times_s:
            for text in arming.due_texts(t_s):
                assert t_s not in texts
                texts[t_s] = text

    arming.update(report(0, HOT), None)
    at(0.0, 1.9, 2.0, 2.1, 30.0)  # once
    arming.update(report(0, COLD), None)
    at(30.1, 32.0, 32.1, 32.2)
    arming.update(report(0, HOT), None)
    at(32.3, 34.3, 42.0, 42.1, 42.2)
    arming.update(report(0, GO), None)
    at(50.0, 60.0)  # go is no text
    arming.update(report(0, HOT), None)
    at(60.1, 62.0, 62.1, 70.0)
    assert texts == {
        2.0: "no go: battery 1: pack hot",
        32.1: "no go: battery 1: pack cold",
        42.1: "no go: battery 1: pack hot",
        62.1: "no go: battery 1: pack hot",
    }


def test_a_reason_is_temporary_only_if_every_one_is() -> None:
    arming = ArmingCheck()
    found = []
    for index, verdict in ((0, CHECKING), (1, CHECKING), (1, HOT), (1, GO), (0, GO)):
        arming.update(report(index, verdict), None)
        found.append(arming.temporary)
    assert found == [True, True, False, True, True]
    assert not ArmingCheck().temporary


@pytest.mark.parametrize(
    ("verdict", "usable_mah", "reason"),
    [
        (Verdict.YES, 15_000.0, None),
        (Verdict.UNKNOWN, None, None),
        (
            Verdict.MARGINAL,
            15_000.0,
            "no go: battery 1: mission needs 14.1 Ah of 13.2 usable (5 %)",
        ),
        (Verdict.NO, 13_900.0, "no go: battery 1: mission needs 14.1 Ah of 13.9 usable"),
    ],
)
def test_a_mission_that_cannot_be_finished_is_refused_before_arming_with_the_reason(
    verdict: Verdict, usable_mah: float | None, reason: str | None
) -> None:
    judged = a_report(
        mission_verdict=verdict,
        mission_needs_mah=14_100.0,
        usable_mah=usable_mah,
        usable_low_mah=13_200.0,
    )
    arming = ArmingCheck()
    arming.update(judged, None)
    answer, texts = arming.answer(request(), 0.0)
    expected = [] if reason is None else [reason]
    assert (answer.result, texts) == (DENIED if expected else ACCEPTED, expected)
    assert arming.due_texts(0.0) == []
    assert arming.due_texts(2.0) == expected


MANY = PreflightVerdict(tuple(f"reason {n}" for n in range(9)), checking=True)


def test_each_reason_is_a_text_the_most_important_one_last() -> None:
    arming = ArmingCheck()
    arming.update(report(0, PreflightVerdict(("pack cold", "charging"))), None)
    arming.update(report(1, HOT), None)
    arming.due_texts(0.0)
    texts = [
        "no go: battery 2: pack hot",
        "no go: battery 1: charging",
        "no go: battery 1: pack cold (+2)",
    ]
    assert arming.due_texts(2.0) == texts
    assert arming.due_texts(20.0) == []
    assert arming.answer(request(), 20.0)[1] == texts
    arming.update(report(1, GO), None)
    arming.due_texts(21.0)
    assert arming.due_texts(23.0) == ["no go: battery 1: pack cold (+1)"]  # the other one is known
    arming.update(report(1, CHECKING), None)
    arming.due_texts(31.0)
    assert arming.due_texts(33.0) == [
        "no go: battery 2: checking, 3 s",
        "no go: battery 1: pack cold (+2)",
    ]


def test_a_reason_that_counts_seconds_holds_up_no_text_of_another_one() -> None:
    arming, texts = ArmingCheck(), []
    for t_s in range(10):
        verdict = PreflightVerdict(("pack hot", f"checking, {10 - t_s} s"), checking=True)
        arming.update(report(0, verdict), None)
        texts += arming.due_texts(float(t_s))
    assert texts == ["no go: battery 1: pack hot (+1)"]


def test_a_vehicle_that_asks_again_and_again_gets_the_first_reason_each_time() -> None:
    arming = ArmingCheck()
    arming.update(report(0, MANY), None)
    first = "no go: battery 1: reason 0 (+8)"
    others = [f"no go: battery 1: reason {n}" for n in (4, 3, 2, 1)]  # no more: other texts wait
    found = {t_s: arming.answer(request(), t_s)[1] for t_s in (0.0, 0.1, 9.9, 10.0, 10.1)}
    assert found == {
        0.0: [*others, first],
        0.1: [first],
        9.9: [first],
        10.0: [*others, first],
        10.1: [first],
    }
    arming.update(report(0, BOTH), None)
    assert len(arming.answer(request(), 10.2)[1]) == 2  # other reasons
