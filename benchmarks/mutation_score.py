# SPDX-License-Identifier: Apache-2.0
"""Mutation score of a room's tests: `python -m benchmarks.mutation_score ROOM [--mutants N] [--seed N]`.

Changes the room's code in one place at a time, by the operators of cosmic-ray (needs the extra `mutation`),
and runs the tests of the room that cover the line, the fastest first, until one fails. Places are drawn
in an order given by the seed, one change each, so that a part of a campaign is a sample of the room.

Left out: what runs for type checkers or memory alone (annotations, `slots`); `is` against `==` and the other way round, and an order in place of `is`, which
Python's None and enumerations make the same or a crash. A change whose module can no longer be
imported is counted apart. A time-out (five times the usual processor time and 3 s) is a change that was noticed.
"Unchanged" programs go the same way as a control: none may fail. What would take too long for each mutant
is left out, so that a score is too low rather than too high: tests marked slow or of more than half a second, more than
20 cases of a test with parameters that take more than a second together, more than 10 examples of hypothesis, and tests beyond `--seconds`. A survivor that
no test can notice stands in `equivalent_mutants.toml` with the reason.

Outcomes are kept in build/mutation: a command that is repeated runs what is absent, and survivors
again: first with `--seconds 4`, then with more. `--kept` counts those of a
campaign that was interrupted. `--record` writes the counts to docs_build/measured/mutation.json, the source of docs/quality.md.
"""

import argparse
import ast
import hashlib
import json
import os
import random
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import accumulate, takewhile
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from benchmarks import mutant_runner
from benchmarks.mutant_runner import INVALID, KILLED, SURVIVED, TIMEOUT, Job, Measured

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "mutation"
RECORD = ROOT / "docs_build" / "measured" / "mutation.json"
EQUIVALENT = Path(__file__).parent / "equivalent_mutants.toml"
CONTROLS = 20
_BATCH = 60
_FILE_S = 1.0  # to collect the tests of one file, as if traced
_EXCEPTION = "core/ExceptionReplacer"
_IDENTITY = {
    f"core/ReplaceComparisonOperator_{a}_{b}"
    for a in ("Is", "IsNot")
    for b in ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")
} | {
    f"core/ReplaceComparisonOperator_{a}_{b}"
    for a in ("Eq", "NotEq")
    for b in ("Is", "IsNot")
}  # fmt: skip


@dataclass(frozen=True)
class Room:
    """Folders of code and of the tests that are to notice its changes."""

    name: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]


ROOMS = {
    room.name: room
    for room in (
        Room("protection", ("dronebms/protection",), ("tests/protection",)),
        Room("vehicle", ("mavlink_bridge/vehicle",), ("tests/mavlink_bridge",)),
        Room("protocol", ("mavlink_bridge/protocol",), ("tests/mavlink_bridge",)),
        Room("smartbattery", ("smartbattery",), ("tests/smartbattery",)),
    )
}


@dataclass(frozen=True)
class Mutant:
    """One change of one place."""

    path: str
    operator: str
    occurrence: int
    start: tuple[int, int]  # line, column
    end: tuple[int, int]


def tests_of(
    measured: Measured, path: str, lines: range, longest_s: float
) -> tuple[list[str], bool]:
    """Tests that run one of the lines, fastest first; whether the lines run at import.

    For a line that runs at import: tests that run any line of its file, file by file of the tests,
    one of the same name first; all tests of the room if nothing else of the file runs. Then tests
    that run no line of the room: they compare its tables and classes as imports leave them. Those
    that would take longer than `longest_s` together are left out, for an import shared by three files.
    """
    by_line = measured.lines.get(str(ROOT / path), {})
    seconds = measured.seconds
    found = {test for line in lines for test in by_line.get(line, ())}
    if "" not in found:
        return _within(found & seconds.keys(), seconds, longest_s), False
    of_file = {test for tests in by_line.values() for test in tests} & seconds.keys()
    by_file: dict[str, list[str]] = {}
    for test in of_file or seconds:
        by_file.setdefault(test.partition("::")[0], []).append(test)
    stem = Path(path).stem
    files = sorted(by_file, key=lambda file: (stem not in file, -len(by_file[file])))
    left_s, chosen = longest_s, list[str]()
    for file in files:
        tests = _within(by_file[file], seconds, min(left_s, longest_s / 3.0))
        chosen += tests
        left_s -= sum(seconds[test] for test in tests) + _FILE_S
        if left_s <= 0.0:
            break
    idle = _without_lines(measured) - set(chosen)
    return chosen + _within(idle, seconds, longest_s / 3.0), True


def _without_lines(measured: Measured) -> set[str]:
    """Tests that run no line of the sources."""
    running = {t for rows in measured.lines.values() for tests in rows.values() for t in tests}
    return measured.seconds.keys() - running


def _within(tests: Iterable[str], seconds: Mapping[str, float], longest_s: float) -> list[str]:
    ordered = sorted(tests, key=seconds.__getitem__)
    times = accumulate(seconds[test] for test in ordered)
    return [test for test, time_s in zip(ordered, times, strict=True) if time_s <= longest_s]


def places(room: Room) -> dict[tuple[str, tuple[int, int], tuple[int, int]], list[Mutant]]:
    """Every mutant of a room by its place."""
    found: dict[tuple[str, tuple[int, int], tuple[int, int]], list[Mutant]] = {}
    for path in _files(room):
        name = str(path.relative_to(ROOT))
        source = path.read_text(encoding="utf-8")
        hidden, lines = mutant_runner.unobservable_spans(source), source.splitlines()
        nodes = list(ast_nodes(get_ast(source)))
        for operator in sorted(operator_names()):
            kind = get_operator(operator)
            if operator in _IDENTITY or kind.arguments():
                continue
            spans = (span for node in nodes for span in kind().mutation_positions(node))
            for occurrence, (start, end) in enumerate(spans):
                # cosmic-ray cannot replace an exception of a module, `except struct.error`.
                if operator == _EXCEPTION and "." in lines[start[0] - 1][start[1] : end[1]]:
                    continue
                if not any(first <= start < last for first, last in hidden):
                    mutant = Mutant(name, operator, occurrence, start, end)
                    found.setdefault((name, start, end), []).append(mutant)
    return found


def sample(room: Room, count: int, seed: int) -> list[Mutant]:
    """Draw mutants: places in a random order, one change of each, then a second of each."""
    chance = random.Random(seed)  # noqa: S311 - a sample, not a secret
    left = [chance.sample(mutants, len(mutants)) for _, mutants in sorted(places(room).items())]
    drawn: list[Mutant] = []
    while left and len(drawn) < count:
        chance.shuffle(left)
        drawn += [mutants.pop() for mutants in left]
        left = [mutants for mutants in left if mutants]
    return drawn[:count]


def measured_tests(room: Room, processes: int) -> Measured:
    """The tests of a room on the unchanged program; files that have changed are measured again."""
    log = FOLDER / f"{'_'.join(room.tests).replace('/', '.')}.measured.jsonl"
    sources = tuple(
        dict.fromkeys(s for r in ROOMS.values() if r.tests == room.tests for s in r.sources)
    )
    digest = _state_of(sources)
    states = {"": digest} | {
        str(path.relative_to(ROOT)): digest + hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in room.tests
        for path in (ROOT / folder).rglob("test_*.py")
    }
    kept: dict[str, Measured] = {}
    for row in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        state, *values = json.loads(row)
        found = Measured(*values)
        if states.get(found.file) == state:
            kept[found.file] = found
    with log.open("a", encoding="utf-8") as file:
        for found in mutant_runner.measure(room.tests, sources, processes, kept.keys()):
            kept[found.file] = found
            file.write(json.dumps([states[found.file], *astuple(found)]) + "\n")
            file.flush()
            print(f"{found.file} {sum(found.seconds.values()):.1f} s", file=sys.stderr)
    whole = Measured("", {}, {}, [], kept[""].modules)
    for found in kept.values():
        whole.seconds.update(found.seconds)
        whole.left_out.extend(found.left_out)
        for path, rows in found.lines.items():
            of_path = whole.lines.setdefault(path, {})
            for line, tests in rows.items():
                of_path.setdefault(int(line), []).extend(tests)
    mutant_runner.preload(whole.modules)
    return whole


def statement_lines(source: str, line: int) -> range:
    """Lines of the innermost statement at a line; of one with a body its head alone."""
    best = range(line, line + 1)
    size = sys.maxsize
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue
        body = getattr(node, "body", None)
        first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
        last = body[0].lineno - 1 if body else (getattr(node, "end_lineno", None) or first)
        last = max(last, first)
        if first <= line <= last and last - first < size:
            best, size = range(first, last + 1), last - first
    return best


def job_of(mutant: Mutant, measured: Measured, longest_s: float) -> Job:
    """The changed source and its tests."""
    path = ROOT / mutant.path
    source = path.read_text(encoding="utf-8")
    changed = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence) or ""
    return _job(mutant.path, key_of(mutant, source), changed, mutant.start[0], measured, longest_s)


def _job(name: str, key: str, changed: str, line: int, measured: Measured, longest_s: float) -> Job:
    source = (ROOT / name).read_text(encoding="utf-8")
    tests, at_import = tests_of(measured, name, statement_lines(source, line), longest_s)
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    usual_s = sum(measured.seconds[test] for test in tests)
    return Job(key, module, ROOT / name, changed, tuple(tests), usual_s, at_import)


def key_of(mutant: Mutant, source: str) -> str:
    """Name of a mutant's outcome; another text of the module is another mutant."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    return f"{mutant.path}:{digest}:{mutant.operator}:{mutant.occurrence}"


def described(mutant: Mutant) -> tuple[str, str, str]:
    """Path, line of the source and changed line, without indentation."""
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    changed = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence) or ""
    for old, new in zip(source.splitlines(), changed.splitlines(), strict=False):
        if old != new:
            return mutant.path, old.strip(), new.strip()
    return mutant.path, source.splitlines()[mutant.start[0] - 1].strip(), ""


def equivalents() -> dict[tuple[str, str, str], str]:
    """Reason of each change that no test can notice."""
    rows = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    return {(row["path"], row["line"], row["changed"]): row["reason"] for row in rows}


def campaign(
    room: Room, count: int, seed: int, processes: int, longest_s: float
) -> dict[str, object]:
    """Run a sample; return what is recorded of it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    measured = measured_tests(room, processes)
    drawn = sample(room, count, seed)
    outcomes = _earlier(room)
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in {m.path for m in drawn}}
    keys = [key_of(mutant, texts[mutant.path]) for mutant in drawn]
    left = [
        mutant
        for mutant, key in zip(drawn, keys, strict=True)
        if outcomes.get(key, SURVIVED) == SURVIVED
    ]
    start_s = time.monotonic()
    for first in range(0, len(left), _BATCH):
        jobs = [job_of(mutant, measured, longest_s) for mutant in left[first : first + _BATCH]]
        with _log(room).open("a", encoding="utf-8") as log:
            for key, outcome in mutant_runner.run(jobs, room.tests, processes):
                outcomes[key] = outcome
                log.write(json.dumps([key, outcome]) + "\n")
                log.flush()
        done = min(first + _BATCH, len(left))
        print(f"{done}/{len(left)} in {time.monotonic() - start_s:.0f} s", file=sys.stderr)
    control = [
        _job(m.path, f"control {i}", texts[m.path], m.start[0], measured, longest_s)
        for i, m in enumerate(drawn[:CONTROLS])
    ]
    failed = [
        key for key, got in mutant_runner.run(control, room.tests, processes) if got != SURVIVED
    ]
    return counted(room, seed, drawn, outcomes) | {
        "controls": len(control),
        "controls_failed": len(failed),
    }


def counted(
    room: Room, seed: int, drawn: Sequence[Mutant], outcomes: Mapping[str, str]
) -> dict[str, object]:
    """Counts of a sample, as far as its mutants have an outcome one after the other.

    Tests are written for mutants that were not noticed, which run again: the first run has a score
    of its own.
    """
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in {m.path for m in drawn}}
    keyed = [(mutant, key_of(mutant, texts[mutant.path])) for mutant in drawn]
    done = [(m, outcomes[key]) for m, key in takewhile(lambda row: row[1] in outcomes, keyed)]
    survivors = [described(mutant) for mutant, outcome in done if outcome == SURVIVED]
    known = equivalents()
    counts = Counter(outcome for _, outcome in done)
    noticed = counts[KILLED] + counts[TIMEOUT]
    missed = sorted(row for row in survivors if row not in known)
    earliest = _first_outcomes(room)
    first = Counter(
        "equivalent" if outcome == SURVIVED and described(mutant) in known else outcome
        for mutant, outcome in ((m, earliest.get(k, outcomes[k])) for m, k in keyed[: len(done)])
    )
    return {
        "seed": seed,
        "places": len(places(room)),
        "mutants": len(done),
        "invalid": counts[INVALID],
        "equivalent": len(survivors) - len(missed),
        "killed": counts[KILLED],
        "timeouts": counts[TIMEOUT],
        "survived": len(missed),
        "score_pct": _score_pct(noticed, len(missed)),
        "first_survived": first[SURVIVED],
        "first_score_pct": _score_pct(first[KILLED] + first[TIMEOUT], first[SURVIVED]),
        "controls": 0,
        "controls_failed": 0,
        "sources_sha256": _state_of(room.sources),
        "survivors": missed,
    }


def _score_pct(noticed: int, missed: int) -> float:
    return round(100.0 * noticed / max(noticed + missed, 1), 1)


def _files(room: Room) -> list[Path]:
    return sorted(p for folder in room.sources for p in (ROOT / folder).rglob("*.py"))


def _state_of(folders: Sequence[str]) -> str:
    """Digest of the Python files of folders."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _log(room: Room) -> Path:
    return FOLDER / f"{room.name}.jsonl"


def _earlier(room: Room) -> dict[str, str]:
    """Newest outcome of each mutant."""
    return dict(_rows(_log(room)))


def _first_outcomes(room: Room) -> dict[str, str]:
    """First outcome of each mutant."""
    return dict(reversed(list(_rows(_log(room)))))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        key, outcome = json.loads(line)
        yield key, outcome


def main() -> int:
    """Run the campaign and print its counts and survivors."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation_score", allow_abbrev=False)
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("--mutants", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="of tests for a mutant, traced")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--record", action="store_true", help="write the counts for docs/quality.md"
    )
    parser.add_argument(
        "--kept", action="store_true", help="run nothing: count the outcomes that are kept"
    )
    options = parser.parse_args()
    room = ROOMS[options.room]
    if options.kept:
        drawn = sample(room, options.mutants, options.seed)
        found = counted(room, options.seed, drawn, _earlier(room))
    else:
        found = campaign(room, options.mutants, options.seed, options.jobs, options.seconds)
    print(json.dumps(found, indent=1))
    if options.record:
        kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        kept[options.room] = found
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return int(bool(found["controls_failed"]))


if __name__ == "__main__":
    sys.exit(main())
