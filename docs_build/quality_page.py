# SPDX-License-Identifier: Apache-2.0
"""docs/quality.md: what is known of each room, from the code, docs/safety.md and measured figures.

The figures stand in docs_build/measured; `docs_build.measure` and `benchmarks.mutation_score`
write them.
"""

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docs_build.quality_rows import CLAUSES, PARSERS, READ, RULES, Rule
from docs_build.reference_pages import table

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "docs_build" / "measured"
_CAMPAIGNS = (  # page and heading
    ("benchmarks", "Wrong bytes"),
    ("benchmarks", "Flights with faults"),
    ("benchmarks", "Hostile frames"),
    ("benchmarks", "Hours of running"),
    ("benchmarks", "Storage under torture"),
    ("service", "Under systemd"),
)
MUTANTS = 400
SCORE_PCT = 85.0
# Name of a room, its code and its tests.
ROOMS = {
    "smartbattery": ("smartbattery", "tests/smartbattery"),
    **{
        name: (f"dronebms/{name}", f"tests/{name}")
        for name in (
            *("core", "estimation", "protection", "monitoring", "recording", "flightlogs"),
            *("dronecan", "health", "telemetry", "presentation", "terminal", "web", "probe"),
            *("analysis", "simulation", "service", "cli"),
        )
    },
    "mavlink_bridge": ("mavlink_bridge", "tests/mavlink_bridge"),
    "sim": ("sim", "tests/sim"),
}
# Name of a sample of mutants, and the folder of its code.
SAMPLES = {
    "protection": "dronebms/protection",
    "vehicle": "mavlink_bridge/vehicle",
    "protocol": "mavlink_bridge/protocol",
    "smartbattery": "smartbattery",
}


def quality_page() -> str:
    """Text of docs/quality.md."""
    lines = [
        "<!-- Made by `python -m docs_build`; the rows stand in docs_build/quality_rows.py, the figures in docs_build/measured. -->",
        "",
        "# Quality: what is known of each room, and what is open",
        "",
        "`make quality` measures coverage and the named tests and writes this page. The mutation score takes hours and has a command of its own,",
        "as the campaigns have. A figure that was not measured is not there. No figure was measured on a real aircraft.",
        "",
        *_section("Rooms", _rooms()),
        *_section("Do the tests notice a changed program?", _mutation()),
        *_section("Faults", _faults()),
        *_section("Random input", _parsers()),
        *_section("Static analysis", _static_analysis()),
        *_section("Hazards that are open", _hazards()),
        *_section("Rules", _rules()),
        *_section("Standards", _standards()),
    ]
    return "\n".join(lines).rstrip() + "\n"


@cache
def files_of_tests() -> dict[str, str]:
    """Path of the file of each test by its name."""
    return {
        node.name: path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def measured(name: str) -> dict[str, Any]:
    """Figures of one kind, {} before they are measured."""
    path = MEASURED / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def named_tests() -> list[str]:
    """Every test that a row of the page names."""
    names = [
        *(proof for rule in RULES for proof in rule.proof if proof.startswith("test_")),
        *(test for parser in PARSERS for test in parser.tests),
        *(test for clause in CLAUSES for test in clause.tests),
    ]
    return sorted(set(names))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"## {title}", "", *lines, "")


def _rooms() -> Iterator[str]:
    promises = _safety_rows()
    coverage = measured("coverage")
    yield "Branch coverage is that of the room by its own tests, without the slow ones: `python -m docs_build.measure coverage ROOM...`."
    yield "Promises are rows of [safety](safety.md) that a test of the room holds."
    yield ""
    rows = []
    for name, (code, tests) in ROOMS.items():
        docstring = ast.get_docstring(
            ast.parse((ROOT / code / "__init__.py").read_text(encoding="utf-8"))
        )
        held = sum(
            any(files_of_tests()[t].startswith(f"{tests}/") for t in row) for row in promises
        )
        found = coverage.get(name)
        share = f"{found['branches_pct']:.1f} % of {found['branches']}" if found else "not measured"
        rows.append((f"`{code}`", (docstring or "").splitlines()[0], held or "-", share))
    yield from table(("room", "its promise", "promises of safety", "branches covered"), rows)


def _safety_rows() -> list[list[str]]:
    """Tests of each promise in docs/safety.md."""
    text = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    named = [re.findall(r"`(test_\w+)`", row[1]) for row in rows]
    return [[test for test in row if test in files_of_tests()] for row in named if row]


def _mutation() -> Iterator[str]:
    yield "A mutant is the room's code changed in one place by an operator of cosmic-ray. It is *noticed* if a test of the room that runs the line"
    yield "fails. `python -m benchmarks.mutation_score ROOM` draws places by a seed and defines each column. Tests of more than half a second and cases of"
    yield "tests with parameters beyond a second are left out. A score is therefore a lower bound for the whole suite. Goal:"
    yield f"{MUTANTS} mutants a room, {SCORE_PCT:.0f} % noticed. *Control*: unchanged programs that went the same way, none of which may fail."
    yield ""
    found = measured("mutation")
    rows = []
    for name, code in SAMPLES.items():
        if name not in found:
            rows.append((f"`{code}`", *("not measured",) * 7))
            continue
        row = found[name]
        rows.append(
            (
                f"`{code}`",
                f"{row['mutants']} of {row['places']} places",
                row["invalid"],
                row["equivalent"],
                f"{row['killed'] + row['timeouts']} ({row['timeouts']} by a time-out)",
                row["survived"],
                "not valid: the control failed"
                if row["controls_failed"]
                else f"{row['score_pct']:.1f} %",
                f"{row['controls_failed']} of {row['controls']} failed"
                if row["controls"]
                else "not run",
            )
        )
    head = ("room", "mutants", "cannot be imported", "equivalent", "noticed", "not noticed")
    yield from table((*head, "score", "control"), rows)
    yield ""
    yield "Equivalent ones are changes that no test can notice; each has its reason in `benchmarks/equivalent_mutants.toml`. Those that were not noticed"
    yield "are listed in `docs_build/measured/mutation.json`, with the digest of the sources that were changed."


def _faults() -> Iterator[str]:
    yield "Each campaign has its results and the command that prints them on its page; the tests have a short version of each."
    yield ""
    for page, title in _CAMPAIGNS:
        yield f"- [{title}]({page}.md#{title.lower().replace(' ', '-')})"


def _parsers() -> Iterator[str]:
    found = measured("fuzz")
    hours = sum(row["seconds"] for row in found.values()) / 3600.0
    yield "Seeded random input in the tests, and the campaigns above."
    yield ""
    rows = [(p.room, p.reads, _proofs(p.tests), _outcome(p.tests)) for p in PARSERS]
    yield from table(("room", "reads", "tests", "last result"), rows)
    yield ""
    yield f"Fuzzing guided by coverage (`python -m benchmarks.fuzz`, atheris): {hours:.2f} h of processor time. A finding is anything but a documented error,"
    yield "an input that takes more than 10 s or more than 2 GiB. The inputs of each target with some changes are tested in `tests/docs_build/test_fuzz_targets.py`."
    yield "The findings are mended, and tested in `tests/flightlogs/test_hostile_logs.py`."
    yield ""
    counts = [
        (f"`{row['room']}`", row["reads"], f"{row['seconds'] / 60.0:.0f}", f"{row['inputs']:,}", row["findings"])
        for row in found.values()
    ]  # fmt: skip
    yield from table(("room", "reads", "minutes", "inputs", "findings"), counts)


def _static_analysis() -> Iterator[str]:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    families = tools["ruff"]["lint"]["select"]
    yield "`make lint` ends with an error when one of them has a finding."
    yield ""
    layers = sum(row["type"] == "layers" for row in tools["importlinter"]["contracts"])
    others = len(tools["importlinter"]["contracts"]) - layers
    yield from table(
        ("tool", "checks"),
        [
            ("mypy", f"strict, with {', '.join(tools['mypy']['enable_error_code'])}: {', '.join(tools['mypy']['files'])}"),
            ("ruff", f"{len(families)} families of rules: `{', '.join(families)}`; at most {tools['ruff']['lint']['mccabe']['max-complexity']} branches a function; {len(tools['ruff']['lint']['flake8-tidy-imports']['banned-api'])} functions of Python are banned"),
            ("import-linter", f"{layers} orders of layers, {others} owners of packages"),
            ("tests.lint.language", "words and forms that the documentation and the comments do not use"),
            ("tests.lint.sentences", "sentences of the documentation that have more than 25 words"),
            ("tests.lint.module_state", "module state that changes"),
        ],
    )  # fmt: skip


def _hazards() -> Iterator[str]:
    text = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
    hazards = re.findall(
        r"^- \*\*(.+?)\.?\*\*", text.split("## Hazards that remain")[1], re.MULTILINE
    )
    yield f"{len(hazards)}, each described in [safety](safety.md#hazards-that-remain):"
    yield ""
    yield from (f"- {hazard}" for hazard in hazards)


def _reached(row: dict[str, Any]) -> bool:
    enough = row["mutants"] >= MUTANTS and row["score_pct"] >= SCORE_PCT
    return bool(enough and not row["controls_failed"])


def all_rules() -> list[Rule]:
    """The rules, with those whose state follows from measured figures."""
    found = measured("mutation")
    short = [name for name in SAMPLES if name not in found or not _reached(found[name])]
    text = f"Of {MUTANTS} mutants of {', '.join(SAMPLES)} each, {SCORE_PCT:.0f} % are noticed"
    proof = () if short else ("docs_build/measured/mutation.json",)
    reason = f"not reached: {', '.join(short)}" if short else ""
    return [*RULES, Rule(text, "open" if short else "done", proof, reason)]


def _rules() -> Iterator[str]:
    order = {"open": 0, "done": 1, "exempt": 2}
    rows = [
        (rule.text, rule.state, "; ".join(filter(None, (_proofs(rule.proof), rule.reason))))
        for rule in sorted(all_rules(), key=lambda rule: order[rule.state])
    ]
    yield from table(("rule", "state", "proof, or reason"), rows)


def _standards() -> Iterator[str]:
    yield "What this software adds to a system that is to meet a standard. None of it is a claim of conformity: that is one of the whole aircraft, and"
    yield "no body has examined it. The result is that of the last `make quality`."
    yield ""
    yield from table(("standard", "was read as"), READ.items())
    yield ""
    rows = []
    for row in CLAUSES:
        mark = " (abstract)" if "abstract" in READ[row.standard] else " (excerpt)"
        rows.append(
            (
                row.standard + mark,
                row.clause,
                row.asks,
                _proofs(row.tests),
                _outcome(row.tests),
                row.note,
            )
        )
    yield from table(("standard", "clause", "asks for", "tests", "last result", "note"), rows)


def _outcome(tests: Iterable[str]) -> str:
    """Outcomes of the last measured run, with their counts."""
    results = measured("tests")
    counts = Counter(results.get(test, "not run") for test in tests)
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "-"


def _proofs(proofs: Iterable[str]) -> str:
    return ", ".join(f"`{proof}`" for proof in proofs)
