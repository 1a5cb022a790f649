# SPDX-License-Identifier: Apache-2.0
"""Exit codes, what a command is, and sentences on stderr."""

import argparse
import sys
from collections.abc import Callable
from typing import TypeAlias

from dronebms.core.errors import DroneBmsError, InUseError, OutputError, RecordingError
from dronebms.core.number_format import printable_lines
from smartbattery.errors import BatteryError

DONE = 0
FAILED = 1
UNUSABLE = 2
INTERRUPTED = 130
IN_USE = 75  # EX_TEMPFAIL of sysexits(3): the same command works later
# What each one means, and what follows (docs/reference/exit_codes.md).
EXIT_CODES = {
    DONE: "done, alarms included; also after SIGTERM, and when the reader of a pipe has closed it",
    FAILED: "`probe` found no pack, or one with a permanent failure or a safety status. `status` "
    "found no service. `check` found what will not work now, or a wrong parameter. A recording is "
    "damaged. The disk of an output is full or fails",
    UNUSABLE: "a wrong option, file or configuration, an output without its folder or permission, "
    "or an extra that is not installed. One sentence states which. Nothing is left under the name "
    "of the output, and systemd does not start the service again",
    IN_USE: "another run uses the pack or the state. The same command works later, and systemd "
    "tries it again after 0.5 s, growing to 10 s (systemd 254 or newer, else always 0.5 s)",
    INTERRUPTED: "Ctrl-C",
}
# The first row that an error is of decides.
EXIT_CODE_OF: tuple[tuple[type[Exception], int], ...] = (
    (InUseError, IN_USE),
    (OutputError, FAILED),
    (RecordingError, FAILED),
    (BatteryError, FAILED),
    (DroneBmsError, UNUSABLE),
)
Command: TypeAlias = Callable[[argparse.Namespace], int]  # options in, exit code out


def exit_code_of(error: DroneBmsError | BatteryError) -> int:
    """Exit code of an error that ends a command."""
    return next(code for kind, code in EXIT_CODE_OF if isinstance(error, kind))


def print_stderr(text: str) -> None:
    """Print a notice or an error, apart from the output on stdout."""
    print(printable_lines(f"dronebms: {text}"), file=sys.stderr)


def print_stdout(text: str) -> None:
    """Print lines that may have names from outside in them."""
    print(printable_lines(text))
