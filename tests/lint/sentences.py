# SPDX-License-Identifier: Apache-2.0
"""Lint of sentences: those of the user pages have at most 25 words.

`python -m tests.lint.sentences [FILES]` prints `file:line: words: sentence` for each longer one and
exits with 1 when there is any. Code blocks are not read, a text between backquotes is one word, the
address of a link none. Items of a list and cells of a table have sentences of their own.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_WORDS = 25

_CODE_BLOCK = re.compile(r"^ *```.*?^ *```$|^<!--.*?-->$", re.M | re.S)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)\s]*\)")
_CODE = re.compile(r"(`+)(?:(?!\1).)+?\1", re.S)
_INDENTED = re.compile(r"^ {4,}\S")
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +")
_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_]*[A-Z0-9`])")
_SPAN = "`0`"  # stands for a text between backquotes
_WORD = re.compile(r"\S*\w\S*")


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the user pages."""
    yield root / "README.md"
    yield from sorted((root / "docs").rglob("*.md"))


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each paragraph, item, heading and cell of a table."""
    kept = _CODE_BLOCK.sub(lambda found: "\n" * found[0].count("\n"), text)
    start = 0
    gathered: list[str] = []
    in_item = False
    after_heading = False
    for number, line in enumerate([*kept.split("\n"), ""], start=1):
        is_item = bool(_ITEM.match(line))
        is_table = line.startswith("|")
        is_code = bool(_INDENTED.match(line)) and not is_item and not gathered and not in_item
        is_heading = line.startswith("#")
        begins = is_item or is_table or is_heading or after_heading
        if gathered and (begins or not line.strip()):
            yield start, " ".join(gathered)
            gathered = []
        if is_table:
            yield from ((number, cell) for cell in re.split(r"(?<!\\)\|", line.strip("|")))
        elif line.strip() and not is_code:
            start = start if gathered else number
            gathered.append(_ITEM.sub("", line).strip("# "))
        after_heading = is_heading
        in_item = is_item or (in_item and (not line.strip() or line.startswith(" ")))


def sentences(block: str) -> Iterator[str]:
    """Yield the sentences of a block, with the texts of links alone; code ends none."""
    plain = _LINK.sub(r"\1", _IMAGE.sub("", block))
    spans = (found[0] for found in _CODE.finditer(plain))
    for sentence in _END.split(_CODE.sub(_SPAN, plain)):
        yield re.sub(_SPAN, lambda _: next(spans), sentence.strip())


def words(sentence: str) -> int:
    """Number of words; a text between backquotes is one."""
    return len(_WORD.findall(_CODE.sub("code", sentence)))


def check(paths: Iterable[Path], root: Path = ROOT) -> Iterator[tuple[str, int, int, str]]:
    """Yield (file, line, words, sentence) of each sentence that is too long."""
    for path in paths:
        absolute = path.resolve()
        name = absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(path)
        for line, block in blocks(path.read_text(encoding="utf-8")):
            for sentence in sentences(block):
                if words(sentence) > MOST_WORDS:
                    yield name, line, words(sentence), sentence


def main(arguments: list[str] | None = None) -> int:
    """Print the sentences that are too long; the exit code is 1 when there is any."""
    parser = argparse.ArgumentParser(prog="python -m tests.lint.sentences", allow_abbrev=False)
    parser.add_argument("files", nargs="*", type=Path, help="files; default: the user pages")
    options = parser.parse_args(arguments)
    found = list(check(options.files or files()))
    for name, line, count, sentence in found:
        sys.stdout.write(f"{name}:{line}: {count} words: {sentence}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
