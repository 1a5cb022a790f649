# SPDX-License-Identifier: Apache-2.0
"""Language lint: finds words of the banned list in source, texts and docs.

`python -m tests.lint.language [FILES]` prints `file:line: word` and a better one for each hit, and
exits with 1 when there is one; `--count` prints the number of hits per folder instead.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Words, and what to write instead.
TABLE = (
    ("tell tells told telling untold", "report, state, send, print, configure"),
    ("say says said", "report, state, log, print"),
    ("hear hears heard unheard", "receive, received, not received, last valid"),
    ("believe believes believed", "accept, validate"),
    ("anew", "again, start"),
    ("whom whoever nobody somebody anybody", "name the subject"),
    ("lest", "so that ... not"),
    ("thereof", "of it"),
    ("beside", "next to, in addition to"),
)
INSTEAD = {word: instead for words, instead in TABLE for word in words.split()}
PHRASES = {"of straw": "virtual, simulated, test double"}

# (file or folder, text as it stands there, reason). A hit inside that text is allowed.
ALLOWED: tuple[tuple[str, str, str], ...] = (
    ("tests/lint/language.py", "", "the list itself"),
    ("dronebms/recording/records.py", '"heard_s"', "key of the recording format"),
    ("dronebms/recording/records.py", '"told_s"', "key of the recording format"),
)

PLACES = (
    *("dronebms", "smartbattery", "mavlink_bridge", "sim", "tests", "benchmarks", "research"),
    *("examples", "docs", "docs_build", "packaging"),
    *("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml"),
)
SUFFIXES = frozenset({".py", ".md", ".toml", ".lua", ".html"})

# Words, also the parts of snake_case and CamelCase identifiers.
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
PHRASE = re.compile("|".join(phrase.replace(" ", r"[\s_-]+") for phrase in PHRASES), re.I)


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every file that the lint reads."""
    for place in PLACES:
        path = root / place
        if path.is_file():
            yield path
        for inner in sorted(path.rglob("*")):
            if inner.suffix in SUFFIXES and inner.is_file():
                yield inner


def banned_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield (offset, word) of each banned word or phrase in `text`."""
    for found in WORD.finditer(text):
        if found[0].lower() in INSTEAD:
            yield found.start(), found[0]
    for found in PHRASE.finditer(text):
        yield found.start(), " ".join(found[0].split())


def allowed_spans(name: str, text: str) -> list[tuple[int, int]]:
    """Spans of `text` that a row of ALLOWED covers; an empty row covers the whole file."""
    spans: list[tuple[int, int]] = []
    for place, quotation, _reason in ALLOWED:
        if name != place and not name.startswith(f"{place}/"):
            continue
        if not quotation:
            spans.append((0, len(text)))
            continue
        spans += [found.span() for found in re.finditer(re.escape(quotation), text)]
    return spans


def hits(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, word) of each banned word in a file's text; line 0 is the file's own name."""
    for _, word in banned_in(name):
        yield 0, word
    spans = allowed_spans(name, text)
    for offset, word in sorted(banned_in(text)):
        if not any(start <= offset < end for start, end in spans):
            yield text.count("\n", 0, offset) + 1, word


def check(paths: Iterable[Path], root: Path = ROOT) -> Iterator[tuple[str, int, str]]:
    """Yield (file, line, word) of each banned word in `paths`."""
    for path in paths:
        absolute = path.resolve()
        name = str(path)
        if absolute.is_relative_to(root):
            name = absolute.relative_to(root).as_posix()
        for line, word in hits(name, path.read_text(encoding="utf-8", errors="replace")):
            yield name, line, word


def folder_of(name: str) -> str:
    """The room of a file, for --count: two levels deep for dronebms and tests."""
    parts = name.split("/")
    depth = 2 if parts[0] in {"dronebms", "tests"} else 1
    return "/".join(parts[:depth])


def main(arguments: list[str] | None = None) -> int:
    """Print the hits; the exit code is 1 when there is any."""
    parser = argparse.ArgumentParser(prog="python -m tests.lint.language", allow_abbrev=False)
    parser.add_argument("files", nargs="*", type=Path, help="files or folders; default: all")
    parser.add_argument("--count", action="store_true", help="print the number of hits per folder")
    options = parser.parse_args(arguments)
    chosen: list[Path] = []
    for path in options.files:
        if path.is_dir():
            chosen += [inner for inner in files() if inner.is_relative_to(path.resolve())]
        else:
            chosen.append(path)
    found = list(check(chosen if options.files else files()))
    if options.count:
        for folder, number in sorted(Counter(folder_of(name) for name, _, _ in found).items()):
            sys.stdout.write(f"{number:6d}  {folder}\n")
        sys.stdout.write(f"{len(found):6d}  in all\n")
    else:
        for name, line, word in found:
            instead = INSTEAD.get(word.lower()) or PHRASES.get(word.lower())
            sys.stdout.write(f"{name}:{line}: {word} (write: {instead})\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
