# SPDX-License-Identifier: Apache-2.0
"""A line on the terminal while a command waits."""

from contextlib import AbstractContextManager

from rich.console import Console
from rich.markup import escape

from dronebms.core.number_format import printable_lines


def waiting(text: str) -> AbstractContextManager[object]:
    """Show a text on a terminal while the work of a `with` goes on; nothing in a pipe."""
    return Console(stderr=True).status(escape(printable_lines(text)))
