# SPDX-License-Identifier: Apache-2.0
"""benchmarks.mutation_score: which places are changed, and how tests notice a change."""

import json
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="install it with: pip install 'cosmic-ray>=8.4'")

from benchmarks import mutant_runner, mutation_score
from benchmarks.mutant_runner import INVALID, KILLED, SURVIVED, TIMEOUT, Job, Measured
from benchmarks.mutation_score import (
    ROOMS,
    ROOT,
    counted,
    described,
    equivalents,
    key_of,
    places,
    sample,
    statement_lines,
)

MODULE = """\
LIMIT = 3


def count(n: int) -> int:
    total = 0
    while total < n:
        total += 1
    return total


def is_high(n: int) -> bool:
    return count(n) > LIMIT
"""
TESTS = """\
from subject import is_high


def test_four_is_high() -> None:
    assert is_high(4)
    assert not is_high(3)
"""
ROOM = ROOMS["protection"]


@pytest.mark.parametrize(
    ("old", "new", "at_import", "outcome"),
    [
        ("n: int", "n: object", False, SURVIVED),
        ("> LIMIT", ">= LIMIT", False, KILLED),
        ("total += 1", "total -= 1", False, TIMEOUT),
        ("LIMIT = 3", "LIMIT = 4", True, KILLED),
        ("LIMIT = 3", "LIMIT = 3 / 0", True, INVALID),
        ("total = 0", "total = 00 + 0", False, SURVIVED),
    ],
)
def test_a_change_is_noticed_by_the_test_of_its_effect(
    old: str,
    new: str,
    at_import: bool,  # noqa: FBT001 - a parameter
    outcome: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "subject.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "test_subject.py").write_text(TESTS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # A fork of a test run with a large memory takes its time; what does not end is not waited for.
    monkeypatch.setattr(mutant_runner, "_SHORTEST_S", 1.0 if outcome == TIMEOUT else 60.0)
    test = "test_subject.py::test_four_is_high"
    changed = MODULE.replace(old, new)
    assert changed != MODULE
    job = Job("one", "subject", tmp_path / "subject.py", changed, (test,), 0.0, at_import)
    assert list(mutant_runner.run([job], ["test_subject.py"], 1)) == [("one", outcome)]


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    assert sample(ROOM, 60, 1) == sample(ROOM, 200, 1)[:60]
    assert sample(ROOM, 60, 2) != sample(ROOM, 60, 1)


def test_a_place_is_drawn_a_second_time_only_after_all_others() -> None:
    count = len(places(ROOM))
    drawn = [(mutant.path, mutant.start, mutant.end) for mutant in sample(ROOM, count + 5, 1)]
    assert len(set(drawn[:count])) == count


def test_a_change_of_what_only_a_type_checker_reads_is_not_drawn() -> None:
    source = "x: int | None = 1\n\n\ndef f(a: int = 2) -> int | None:\n    return a\n"
    hidden = mutant_runner.unobservable_spans(source)
    lines = source.splitlines()
    texts = [lines[first[0] - 1][first[1] : last[1]] for first, last in hidden]
    assert sorted(texts) == ["int", "int | None", "int | None"]


def test_each_change_of_an_exception_can_be_made() -> None:
    found = [m for room in ROOMS.values() for drawn in places(room).values() for m in drawn]
    exceptions = [m for m in found if m.operator == "core/ExceptionReplacer"]
    assert exceptions
    for mutant in exceptions:
        assert "CosmicRayTestingException" in described(mutant)[2]


def test_the_lines_of_a_statement_are_those_of_the_innermost_one() -> None:
    source = "if (a\n        and b):\n    x = (1 +\n         2)\nelse:\n    y = 3\n"
    lines = [statement_lines(source, line) for line in range(1, 7)]
    expected = [range(1, 3), range(1, 3), range(3, 5), range(3, 5), range(5, 6), range(6, 7)]
    assert lines == expected


def test_a_table_that_imports_make_has_the_tests_that_run_nothing() -> None:
    rows: dict[int, list[str]] = {1: [""], 5: ["test_a.py::test_runs_it"]}
    seconds = dict.fromkeys(("test_a.py::test_runs_it", "test_b.py::test_reads_the_table"), 0.1)
    measured = Measured("", {str(ROOT / "a.py"): rows}, seconds, [], [])
    assert mutation_score.tests_of(measured, "a.py", range(1, 2), 4.0) == (list(seconds), True)
    assert mutation_score.tests_of(measured, "a.py", range(5, 6), 4.0) == (
        ["test_a.py::test_runs_it"],
        False,
    )


def test_a_mutant_counts_by_its_newest_outcome_and_in_the_first_run_by_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = sample(ROOM, 6, 1)
    keys = [key_of(mutant, (ROOT / mutant.path).read_text(encoding="utf-8")) for mutant in drawn]
    first = [SURVIVED, KILLED, SURVIVED, KILLED, INVALID, TIMEOUT]
    lines = [json.dumps([key, outcome]) for key, outcome in zip(keys, first, strict=True)]
    lines += [json.dumps([keys[0], KILLED]), json.dumps([keys[2], KILLED])]
    (tmp_path / "protection.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(mutation_score, "FOLDER", tmp_path)
    outcomes = dict(zip(keys, [KILLED, KILLED, KILLED, KILLED, INVALID, TIMEOUT], strict=True))
    found = counted(ROOM, 1, drawn, outcomes)
    assert (found["mutants"], found["survived"], found["score_pct"]) == (6, 0, 100.0)
    assert (found["first_survived"], found["first_score_pct"]) == (2, 60.0)


def test_each_equivalent_change_is_one_of_its_file_and_has_a_reason() -> None:
    for (path, line, changed), reason in equivalents().items():
        assert line in Path(path).read_text(encoding="utf-8"), (path, line)
        assert line != changed
        assert reason
