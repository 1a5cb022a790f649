"""How commands end: exit codes, and a sentence on stderr. The parser's own code 2 is its."""

import sys

DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


def print_stderr(text: str) -> None:
    """Tell a person something beside the output."""
    print(f"dronebms: {text}", file=sys.stderr)
