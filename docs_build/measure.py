"""Measures figures of docs/quality.md: `python -m docs_build.measure [coverage [ROOM...] | tests]`.

`coverage` runs the tests of each room, without the slow ones, and counts the branches of the room
that they take; `tests` runs the tests that the page names. Without a word both are measured. The
figures are written to docs_build/measured, and `python -m docs_build` makes the page of them.
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
    parser = argparse.ArgumentParser(prog="python -m docs_build.measure", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "coverage", "tests"), default="all")
    parser.add_argument("rooms", nargs="*", help="of the coverage; all without one")
    options = parser.parse_args()
    unknown = [room for room in options.rooms if room not in ROOMS]
    if unknown:
        parser.error(f"no room is named {', '.join(unknown)}; there are {', '.join(ROOMS)}")
    _WORK.mkdir(parents=True, exist_ok=True)
    failed = False
    if options.what in ("all", "coverage"):
        for room in options.rooms or ROOMS:
            failed |= not _measure_coverage(room)
    if options.what in ("all", "tests"):
        failed |= not _run_named_tests()
    return int(failed)


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


def _run_named_tests() -> bool:
    """Run the tests that the page names; whether none failed."""
    report = _WORK / "tests.xml"
    names = named_tests()
    passed = _pytest(
        [f"--junitxml={report}", *(f"{files_of_tests()[name]}::{name}" for name in names)]
    )
    found: dict[str, dict[str, Any]] = {
        name: {"outcome": "skipped", "seconds": 0.0} for name in names
    }
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by pytest
        row = found[case.attrib["name"].partition("[")[0]]
        row["seconds"] = round(row["seconds"] + float(case.attrib["time"]), 1)
        if case.find("failure") is not None or case.find("error") is not None:
            row["outcome"] = "failed"
        elif case.find("skipped") is None and row["outcome"] == "skipped":
            row["outcome"] = "passed"
    (MEASURED / "tests.json").unlink(missing_ok=True)
    _store("tests", found)
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
    text = json.dumps(measured(name) | figures, indent=1, sort_keys=True)
    (MEASURED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
