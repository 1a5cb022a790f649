# SPDX-License-Identifier: Apache-2.0
"""`python -m docs_build [--check]`: write the generated files, or compare them."""

import argparse
import sys

from docs_build.generated import ROOT, generated_files, stale_files


def main() -> int:
    """Write every generated file, or with --check name the stale ones and return 1."""
    parser = argparse.ArgumentParser(
        prog="python -m docs_build", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--check", action="store_true", help="only compare")
    if parser.parse_args().check:
        stale = stale_files()
        for name in stale:
            print(f"{name} is stale: make docs")
        return 1 if stale else 0
    for name, text in generated_files().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


sys.exit(main())
