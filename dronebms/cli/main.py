"""Entry point of the command line: exit codes, and errors as one sentence each.

0: done, alarms included. 1: no pack, a tripped or failed pack, a damaged recording, or an output
that cannot be written any more. 2: an option, a configuration or a file that cannot be used. 130:
Ctrl-C. A closed pipe and SIGTERM end silently.
"""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dronebms.cli.commands import COMMANDS
from dronebms.cli.exit_codes import DONE, FAILED, INTERRUPTED, UNUSABLE, print_stderr
from dronebms.core.errors import DroneBmsError, RecordingError
from smartbattery.errors import BatteryError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for name in ("stdout", "stderr"):
        if (
            getattr(sys, name) is None
        ):  # closed: the next file that is opened must not take its place
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end
    signal.signal(signal.SIGTERM, _terminated)
    try:
        from dronebms.cli.options import parser  # noqa: PLC0415 - Ctrl-C while loading ends silently

        options = parser(COMMANDS).parse_args(argv)
        code: int = options.run(options)
        sys.stdout.flush()
    except (DroneBmsError, BatteryError) as error:
        for line in str(error).splitlines():
            print_stderr(line)
        return FAILED if isinstance(error, (RecordingError, BatteryError)) else UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _leave_stdout()
        return DONE
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        _leave_stdout()
        print_stderr(f"the output cannot be written: {error.strerror}")
        return FAILED
    return code


def _leave_stdout() -> None:
    # Python flushes at exit and would print an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(DONE)
