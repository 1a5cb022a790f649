# SPDX-License-Identifier: Apache-2.0
"""Values of options: each function takes the text of one and returns the value.

They raise `argparse.ArgumentTypeError` with what is expected, and what was given.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from dronebms.core.pack_data import MAX_NAME

STDOUT = Path("/dev/stdout")  # an output named -
_MAX_PORT = 65535
_USE_UNITS = ("flights", "cycles", "days")
_MAX_USE = 100_000


def speed(text: str) -> float | str:
    """A factor of real time above 0, or `max`."""
    return text if text == "max" else positive(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return value


def seed(text: str) -> int:
    """A whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, not {text!r}")
    return int(text)


def text_option(text: str) -> str:
    """A text; an empty one, as of a variable that is not set, would count as no option."""
    if not text:
        raise argparse.ArgumentTypeError("expected a text that is not empty")
    return text


def name(text: str) -> str:
    """A name of a pack, a model or a vehicle."""
    if not text.strip() or len(text) > MAX_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"expected a name of at most {MAX_NAME} printable characters"
        )
    return text


def new_name(text: str) -> str:
    """A name, or the empty text."""
    return text and name(text)  # an empty one takes the name away


def names(text: str) -> tuple[str, ...]:
    """Names that commas separate."""
    return tuple(name(part.strip()) for part in text.split(","))


def maintenance_intervals(text: str) -> tuple[tuple[str, float | None], ...]:
    """Bounds of use until maintenance: (unit, number), `None` for no bound."""
    found = []
    for part in text.split(","):
        unit, _, every = part.strip().partition("=")
        is_number = every.isdecimal() and 0 < int(every) <= _MAX_USE
        if unit not in _USE_UNITS or not (every == "none" or is_number):
            units = ", ".join(f"{unit}=N" for unit in _USE_UNITS)
            raise argparse.ArgumentTypeError(f"expected some of {units}, where N may be none")
        found.append((unit, None if every == "none" else float(every)))
    return tuple(found)


def scheduler(text: str) -> str:
    """Address of a Dask scheduler."""
    if not re.fullmatch(r"tcp://[^\s:/]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"expected tcp://HOST:PORT, not {text!r}")
    return text


def listen(text: str) -> tuple[str, int]:
    """HOST:PORT; an IPv6 address stands in brackets."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})", text, re.ASCII)
    if found is None or int(found[3]) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, not {text!r}")
    return found[1] or found[2], int(found[3])


def between(low: int, high: int) -> Callable[[str], int]:
    """Type of a whole number within bounds, both included; hexadecimal after 0x."""

    def whole(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            form = "#04x" if text.startswith("0x") else "d"
            raise argparse.ArgumentTypeError(
                f"expected {low:{form}} to {high:{form}}, not {text!r}"
            )
        return value

    return whole


def path_option(text: str) -> Path:
    """A path; an empty one, as of a variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path")
    if text == "~" or text.startswith("~/"):  # as of --out=~/x, which a shell leaves as it is
        raise argparse.ArgumentTypeError("~ is not expanded here: write the whole path")
    return Path(text)


def output_option(text: str) -> Path:
    """A file that is written; - is stdout."""
    return STDOUT if text == "-" else path_option(text)


def stream_option(text: str) -> str:
    """A file that is written, or - for stdout, as a text."""
    return text if text == "-" else str(path_option(text))


def file_option(text: str) -> Path:
    """A file that is written, and is not stdout."""
    if text == "-":
        raise argparse.ArgumentTypeError("expected a file name, not '-'")
    return path_option(text)


def optional(text: str) -> str:
    """Type of an optional positional argument."""
    return text
