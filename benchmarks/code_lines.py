# SPDX-License-Identifier: Apache-2.0
"""Lines of code per room: `python benchmarks/code_lines.py [CHECKOUT]`.

Counts lines with code: no blank lines, comments or docstrings. Tables of rows are counted too.
"""

import ast
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOTS = ("smartbattery", "dronebms", "mavlink_bridge", "sim")
FLYING = ("smartbattery", "dronebms/core", "dronebms/estimation", "dronebms/protection",
          "dronebms/monitoring", "dronebms/service", "mavlink_bridge")  # fmt: skip
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
           tokenize.ENCODING, tokenize.ENDMARKER}  # fmt: skip


def code_lines(path: Path) -> int:
    """Return the number of lines of a file that hold code."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            documented.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    code: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in NO_CODE:
                code.update(range(token.start[0], token.end[0] + 1))
    return len(code - documented)


def room_of(path: Path) -> str:
    """Room of a file, by its path in the checkout: of `dronebms` the folder below it."""
    root, *rest = path.parts[:-1]
    return f"{root}/{rest[0]}" if root == "dronebms" and rest else root


def main() -> None:
    """Print the table."""
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for root in ROOTS:
        for path in sorted((checkout / root).rglob("*.py")):
            room = room_of(path.relative_to(checkout))
            lines[room] += code_lines(path)
            files[room] += 1
    for room in sorted(lines):
        flies = "flies" if room in FLYING else ""
        print(f"{room:24}{files[room]:4} files{lines[room]:8} lines  {flies}")
    print(f"{'the part that flies':24}{'':10}{sum(lines[room] for room in FLYING):8} lines")
    print(f"{'all':24}{sum(files.values()):4} files{sum(lines.values()):8} lines")


if __name__ == "__main__":
    main()
