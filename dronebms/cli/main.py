# SPDX-License-Identifier: Apache-2.0
"""Entry point of the command line: exit codes (`EXIT_CODES`), and errors as one sentence each."""

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

# as `exit_codes` has them, which loads more
_DONE = 0
_INTERRUPTED = 130
_AGAIN_S = 0.001  # from a signal that was ignored to its repetition
_NEW_OBJECTS = 20_000  # until garbage is searched among them; 700 by default


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; Ctrl-C ends it silently, while it is loaded too."""
    before = sys.unraisablehook
    try:
        sys.unraisablehook = _raise_again
        _open_standard_streams()
        start_quickly()
        signal.signal(signal.SIGTERM, _terminated)
        return _run(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except RuntimeError as error:
        # Python raises it for a signal that strikes in the hook of a class that is being made.
        if isinstance(error.__cause__, KeyboardInterrupt):
            return _INTERRUPTED
        if isinstance(error.__cause__, SystemExit):
            return _DONE
        raise
    finally:
        sys.unraisablehook = before


def _run(argv: Sequence[str] | None) -> int:
    # ruff: noqa: PLC0415 - loading is interrupted silently
    from dronebms.cli.commands import COMMANDS
    from dronebms.cli.exit_codes import DONE, FAILED, exit_code_of, print_stderr
    from dronebms.cli.options import parser
    from dronebms.core.disk import is_of_the_disk
    from dronebms.core.errors import DroneBmsError
    from dronebms.core.number_format import PrintableFormatter
    from smartbattery.errors import BatteryError

    if logging.lastResort is not None:  # the log of every command but the service
        logging.lastResort.setFormatter(PrintableFormatter())
    try:
        options = parser(COMMANDS).parse_args(argv)
        _check_current_folder()
        code: int = options.run(options)
        sys.stdout.flush()
    except (DroneBmsError, BatteryError) as error:
        for line in str(error).split("\n"):
            print_stderr(line)
        return exit_code_of(error)
    except BrokenPipeError:
        _leave_stdout()
        return DONE
    except OSError as error:
        if not is_of_the_disk(error):
            raise
        _leave_stdout()
        place = error.filename or "the output"
        print_stderr(f"{place} cannot be written: {error.strerror}")
        return FAILED
    return code


def _check_current_folder() -> None:
    """Refuse a folder that was deleted: relative paths, and libraries, have no place there.

    Raises:
        ConfigError: the current folder does not exist.
    """
    from dronebms.core.errors import ConfigError

    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(f"the current folder cannot be used: {error.strerror}") from error


def start_quickly() -> None:
    """Settings of libraries that are loaded later, unless the user has set them.

    The matrices have some ten rows: threads of OpenBLAS would cost memory for each core and gain
    nothing. No plug-in changes our models. Loading makes many objects and next to no garbage,
    which the default thresholds search again and again.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def _open_standard_streams() -> None:
    """Open the null device in place of closed streams: no later file may take their numbers."""
    for file in range(3):
        try:
            os.fstat(file)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is `file`
    for file, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(file, mode, closefd=False))  # noqa: SIM115 - a number
    # A name from outside may have characters that the encoding of a terminal has not.
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _leave_stdout() -> None:
    # Python flushes at exit and would print an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_again(ignored: "sys.UnraisableHookArgs") -> None:
    """Send a signal again whose exception struck in a callback of the interpreter.

    Python ignores an exception there, as in that of a module's lock: the signal would be lost.
    """
    signals = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}
    number = signals.get(ignored.exc_type)
    if number is None or threading.current_thread() is not threading.main_thread():
        sys.__unraisablehook__(ignored)
        return
    # From here it would be ignored, too.
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), number))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_DONE)
