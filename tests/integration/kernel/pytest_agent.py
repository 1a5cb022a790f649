# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: tests of this repository that need what the kernel of the host may not have.

Arguments: the port for the results, then those of pytest. Each test is a line of JSON.
"""

import json
import os
import sys
from pathlib import Path
from typing import TextIO

import pytest


class Lines:
    """A plugin of pytest that writes the outcome of each test."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a test that was run, or that its setup or teardown ended."""
        if report.when == "call" or not report.passed:
            row = {"adapter": report.outcome, "check": report.nodeid, "text": report.longreprtext}
            self._lines.write(json.dumps(row) + "\n")


def main(port: Path, *words: str) -> None:
    """Run the tests; their folder is the writable one of the guest."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # of `ip`
    os.chdir(Path(__file__).parents[3])  # for pytest's settings and the names of its tests
    temporary = Path(os.environ["TMPDIR"]) / "pytest"
    with port.open("w", buffering=1) as lines:
        pytest.main(
            ["-p", "no:cacheprovider", f"--basetemp={temporary}", *words], plugins=[Lines(lines)]
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
