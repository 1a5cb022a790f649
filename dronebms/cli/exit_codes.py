"""Exit codes, what a command is, and sentences on stderr."""

import argparse
import sys
from collections.abc import Callable
from typing import TypeAlias

from dronebms.core.number_format import printable_lines

DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
IN_USE = 75  # EX_TEMPFAIL of sysexits(3): the same command works later
Command: TypeAlias = Callable[[argparse.Namespace], int]  # options in, exit code out


def print_stderr(text: str) -> None:
    """Print a notice or an error, apart from the output on stdout."""
    print(printable_lines(f"dronebms: {text}"), file=sys.stderr)


def print_stdout(text: str) -> None:
    """Print lines that may have names from outside in them."""
    print(printable_lines(text))
