"""Exit codes, and sentences on stderr."""

import sys

DONE, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130


def print_stderr(text: str) -> None:
    """Print a notice or an error, apart from the output on stdout."""
    print(f"dronebms: {text}", file=sys.stderr)
