# SPDX-License-Identifier: Apache-2.0
"""The texts that docs/troubleshooting.md quotes are those that the program prints."""

import ast
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
ROOMS = ("dronebms", "smartbattery", "mavlink_bridge")
_VALUE = "\0"  # in place of a value that the program fills in
# Of the examples, not of the program: names, errors of the operating system.
_FOREIGN = re.compile(
    "|".join(
        [
            r"/(dev|run|var|etc|opt)/[\w./-]+",
            r"\w+:/?[\w./-]+:\d+",
            r"\bsbs-battery\b",
            "mavproxy.py",
            r"paho[.-]mqtt",
            r"\bcels\b",
        ]
        + [re.escape(os.strerror(code)) for code in errno.errorcode]
    )
)


def literal(node: ast.AST) -> str:
    """Text of a string in the source with each value replaced; "" for another node."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else _VALUE for part in node.values
        )
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"\{\w*(:[^{}]*)?\}", _VALUE, node.value)  # of str.format
        return re.sub(r"%(0?\d*[dgosx]|\.\d+f)", _VALUE, text)  # of logging
    return ""


def pieces() -> Iterator[str]:
    """What the strings of the program consist of, without the values."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield from filter(words, literal(node).split(_VALUE))


def words(text: str) -> set[str]:
    """Words of three letters or more."""
    return set(re.findall(r"[A-Za-z]{3,}", text))


def strange_words(text: str, known: set[str]) -> set[str]:
    """Words of a text that are in no piece of the program's strings which the text contains."""
    found = " ".join(piece for piece in known if piece in text)
    return words(_FOREIGN.sub(" ", text)) - words(found)


def quoted() -> list[str]:
    """Texts in the first column of the page's tables."""
    rows = re.findall(r"^\| (`.+?) \| ", PAGE.read_text(encoding="utf-8"), re.M)
    return [text for row in rows for text in re.findall(r"`([^`]+)`", row)]


def test_every_quoted_text_is_one_of_the_program() -> None:
    known, texts = set(pieces()), quoted()
    assert len(texts) > 60
    strange = {text: strange_words(text, known) for text in texts}
    assert {text: unknown for text, unknown in strange.items() if unknown} == {}


def test_a_text_that_the_program_does_not_print_is_noticed() -> None:
    known = set(pieces())
    assert strange_words("no pack at address 0x0b of any planet", known) >= {"planet"}
    assert strange_words("serial:/dev/ttyAMA0:57600: the port has vanished", known) >= {"vanished"}
