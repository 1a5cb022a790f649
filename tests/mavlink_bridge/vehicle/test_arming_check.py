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
        ((CHECKING, HOT), None, DENIED, "no go: battery 2: pack hot"),
        ((HOT, CHECKING), None, DENIED, "no go: battery 1: pack hot"),
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
    answer, text = arming.answer(request())
    assert (answer.result, text) == (result, reason)
    assert answer.result_param2 == (5 if result == ACCEPTED else 0)


def test_a_verdict_replaces_the_one_before() -> None:
    arming, results = ArmingCheck(), []
    for verdict in (CHECKING, HOT, CHECKING, GO, HOT, GO):
        arming.update(report(0, verdict), None)
        results.append(arming.answer(request())[0].result)
    assert results == [LATER, DENIED, LATER, ACCEPTED, DENIED, ACCEPTED]


def test_seconds_that_count_down_make_no_text() -> None:
    arming, texts = ArmingCheck(), []
    for t_s in range(10):
        verdict = PreflightVerdict((f"checking, {10 - t_s} s",), checking=True)
        arming.update(report(0, verdict), None)
        texts += [text for text in [arming.due_text(float(t_s))] if text is not None]
    assert texts == []


def test_a_text_follows_a_reason_of_two_seconds_and_the_text_before_by_ten() -> None:
    arming = ArmingCheck()
    texts: dict[float, str] = {}

    def at(*times_s: float) -> None:
        for t_s in times_s:
            if (text := arming.due_text(t_s)) is not None:
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
    at(60.1, 62.1, 69.9, 70.0)
    assert texts == {
        2.0: "no go: battery 1: pack hot",
        32.1: "no go: battery 1: pack cold",
        42.1: "no go: battery 1: pack hot",
        70.0: "no go: battery 1: pack hot",
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
    answer, text = arming.answer(request())
    assert (answer.result, text) == (ACCEPTED if reason is None else DENIED, reason)
    assert arming.due_text(0.0) is None
    assert arming.due_text(2.0) == reason
