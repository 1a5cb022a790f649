# SPDX-License-Identifier: Apache-2.0
"""Measures figures of docs/quality.md: `python -m docs_build.measure [coverage | tests] [NAME...]`.

`coverage` runs the tests of each room, without the slow ones, and counts the branches of the room
that they take; `tests` runs the tests that the page names. Names of rooms or tests measure these
alone; without a word all is measured. The figures are written to docs_build/measured, and
`python -m docs_build` makes the page of them.
"""

import argparse
import json
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree as ET

from docs_build.quality_page import MEASURED, ROOMS, ROOT, files_of_tests, measured, named_tests

_WORK = ROOT / "build" / "quality"


def main() -> int:
    """Measure; return 1 if a test failed."""
    parser = argparse.ArgumentParser(
        prog="python -m docs_build.measure", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("what", nargs="?", choices=("all", "coverage", "tests"), default="all")
    parser.add_argument("names", nargs="*", help="rooms or tests; all without one")
    options = parser.parse_args()
    known = {"coverage": list(ROOMS), "tests": named_tests()}
    chosen = list(known) if options.what == "all" else [options.what]
    unknown = [name for name in options.names if name not in known[chosen[0]]]
    if unknown:
        parser.error(f"no name of {chosen[0]}: {', '.join(unknown)}")
    _WORK.mkdir(parents=True, exist_ok=True)
    passed = True
    if "coverage" in chosen:
        for room in options.names or known["coverage"]:
            passed &= _measure_coverage(room)
    if "tests" in chosen:
        passed &= _run_named_tests(options.names or known["tests"])
    return int(not passed)


def _measure_coverage(room: str) -> bool:
    """Branches of a room that its own tests take; whether they passed."""
    code, tests = ROOMS[room]
    report = _WORK / f"{room}.json"
    arguments = [f"--cov={code}", "--cov-branch", f"--cov-report=json:{report}", "-m", "not slow"]
    passed = _pytest([*arguments, tests])
    if passed:
        totals = json.loads(report.read_text(encoding="utf-8"))["totals"]
        branches, covered = totals["num_branches"], totals["covered_branches"]
        share = 100.0 * covered / branches if branches else 100.0
        _store("coverage", {room: {"branches": branches, "branches_pct": round(share, 1)}})
    return passed


def _run_named_tests(names: list[str]) -> bool:
    """Run the tests that the page names; whether none failed."""
    report = _WORK / "tests.xml"
    passed = _pytest(
        [f"--junitxml={report}", *(f"{files_of_tests()[name]}::{name}" for name in names)]
    )
    found = dict.fromkeys(names, "skipped")
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by pytest
        name = case.attrib["name"].partition("[")[0]
        if case.find("failure") is not None or case.find("error") is not None:
            found[name] = "failed"
        elif case.find("skipped") is None and found[name] == "skipped":
            found[name] = "passed"
    named = set(named_tests())
    _store("tests", {k: v for k, v in (measured("tests") | found).items() if k in named})
    return passed


def _pytest(arguments: list[str]) -> bool:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "auto",
        "--dist",
        "worksteal",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0  # noqa: S603 - our own arguments


def _store(name: str, figures: dict[str, Any]) -> None:
    MEASURED.mkdir(parents=True, exist_ok=True)
    kept = {} if name == "tests" else measured(name)
    text = json.dumps(kept | figures, indent=1, sort_keys=True)
    (MEASURED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
