# SPDX-License-Identifier: Apache-2.0
"""docs/quality.md: what its rows name exists, and states follow from the measured figures."""

import json
from pathlib import Path

import pytest

from benchmarks.fuzz_targets import TARGETS
from docs_build import quality_page
from docs_build.quality_page import (
    MEASURED,
    MUTANTS,
    ROOMS,
    ROOT,
    SAMPLES,
    all_rules,
    files_of_tests,
    measured,
    named_tests,
)
from docs_build.quality_rows import CLAUSES, PARSERS, READ, RULES


def test_every_test_and_file_that_the_page_names_exists() -> None:
    paths = {proof for rule in all_rules() for proof in rule.proof if not proof.startswith("test_")}
    assert len(named_tests()) > 25
    assert [name for name in named_tests() if name not in files_of_tests()] == []
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_a_rule_that_is_done_has_a_proof_and_any_other_a_reason() -> None:
    bare = [
        rule.text
        for rule in all_rules()
        if not (rule.proof if rule.state == "done" else rule.reason)
    ]
    assert bare == []
    assert {rule.state for rule in RULES} == {"done", "open", "exempt"}


def test_every_package_is_a_room_of_the_page_and_its_tests_exist() -> None:
    packages = {path.parent.name for path in (ROOT / "dronebms").glob("*/__init__.py")}
    assert packages | {"smartbattery", "mavlink_bridge", "sim"} == set(ROOMS)
    assert [tests for _, tests in ROOMS.values() if not (ROOT / tests).is_dir()] == []
    assert {parser.room for parser in PARSERS} <= set(ROOMS)


def test_a_clause_names_a_standard_that_is_marked_as_read() -> None:
    assert {clause.standard for clause in CLAUSES} == set(READ)
    assert [clause.clause for clause in CLAUSES if not clause.tests and not clause.note] == []


def test_the_counts_of_the_mutants_add_up() -> None:
    for name, row in measured("mutation").items():
        parts = ("invalid", "equivalent", "killed", "timeouts", "survived")
        assert sum(row[part] for part in parts) == row["mutants"], name
        assert len(row["survivors"]) == row["survived"], name
        assert row.get("first_score_pct", 0.0) <= row["score_pct"], name


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "done"),
        ({"mutants": MUTANTS - 1}, "open"),
        ({"score_pct": 84.9}, "open"),
        ({"controls_failed": 1}, "open"),
        (None, "open"),
    ],
)
def test_the_rule_of_the_mutants_is_done_when_every_sample_has_reached_the_goal(
    changes: dict[str, float] | None,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    row = {"mutants": MUTANTS, "score_pct": 85.0, "controls_failed": 0}
    rows = dict.fromkeys(SAMPLES, row)
    if changes is None:
        del rows["protocol"]
    else:
        rows["vehicle"] = row | changes
    (tmp_path / "mutation.json").write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.setattr(quality_page, "MEASURED", tmp_path)
    assert all_rules()[-1].state == state


def test_only_what_can_be_measured_is_kept() -> None:
    assert {path.stem for path in MEASURED.glob("*")} <= {"mutation", "coverage", "tests", "fuzz"}
    assert set(measured("coverage")) <= set(ROOMS)
    assert set(measured("mutation")) <= set(SAMPLES)
    assert set(measured("tests")) <= set(files_of_tests())
    assert set(measured("fuzz")) <= set(TARGETS)
