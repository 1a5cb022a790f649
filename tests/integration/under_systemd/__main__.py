# SPDX-License-Identifier: Apache-2.0
"""Prints the table of docs/service.md; exits with 1 if a step fails.

    python -m tests.integration.under_systemd PACKAGE.deb

As root, with Debian's mmdebstrap and systemd-container; `make deb` builds the package.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.debian import Missing
from tests.integration.under_systemd.steps import run_all


def main(package: Path) -> int:
    """Take every step; 1 when one fails, 2 when something is missing."""
    with TemporaryDirectory() as name:
        try:
            failed = 0
            print("| step | result | |\n|---|---|---|")  # noqa: T201
            for row in run_all(package, Path(name)):
                failed += row.end == "failed"
                print(f"| {row.what} | {row.end} | {row.figure} |", flush=True)  # noqa: T201
        except Missing as missing:
            print(missing, file=sys.stderr)  # noqa: T201
            return 2
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
