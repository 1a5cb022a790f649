# SPDX-License-Identifier: Apache-2.0
"""Every writer under every fault of the file layer, and after power cuts.

Run as a program by `rows` with the layer loaded; a fork for each case, so that one import serves
all. Prints a line of JSON for each case that violates a rule, and one for the sums.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dronebms.core.disk import write_all
from dronebms.core.errors import DroneBmsError
from tests.integration.storage import file_layer
from tests.integration.storage.file_layer import Call, Fault, read_log
from tests.integration.storage.power_cut import cuts, restore
from tests.integration.storage.writers import WRITERS, Writer

FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)
_MEMORY = Path("/dev/shm")  # noqa: S108 - a disk in memory: the layer decides what is synced
_CASE_S = 150  # SQLite waits 10 s for a lock that a full disk prevents
_HARMLESS = (Fault.EINTR, Fault.SHORT)  # a program repeats the call


@dataclass
class Outcome:
    """What a run in a child process did."""

    calls: int = 0
    promised: list[int] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    crash: str = ""
    found: list[int] = field(default_factory=list)


class _Sentences(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(record.getMessage())
        if record.exc_info:
            self._into.append(f"Traceback: {record.exc_info[1]!r}")


def in_child(work: Callable[[Outcome], None]) -> Outcome:
    """Run the work in a fork; a crash or a hang is a part of the outcome."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(work, write)
    os.close(write)
    data = b"".join(iter(lambda: os.read(read, 1 << 16), b""))
    os.close(read)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Outcome(crash=f"ended by {signal.Signals(os.WTERMSIG(status)).name}")
    return Outcome(**json.loads(data))


def _child(work: Callable[[Outcome], None], pipe: int) -> None:
    signal.alarm(_CASE_S)
    outcome = Outcome()
    logging.getLogger().handlers[:] = [_Sentences(outcome.sentences)]
    threading.excepthook = lambda hook: _crash(outcome, hook.exc_value)
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            work(outcome)
    except DroneBmsError as error:
        outcome.sentences.append(str(error))
    except BaseException as error:  # noqa: BLE001 - the finding
        _crash(outcome, error)
    outcome.sentences += stderr.getvalue().splitlines()
    write_all(pipe, json.dumps(vars(outcome)).encode())
    os._exit(0)


def _crash(outcome: Outcome, error: BaseException | None) -> None:
    outcome.crash = "".join(traceback.format_exception(error))[-1500:]


def write(writer: Writer, folder: Path, log: Path | None, nth: int, fault: Fault) -> Outcome:
    """Run a writer with call number `nth` failing."""
    run = (writer.cut_write or writer.write) if log is not None else writer.write

    def work(outcome: Outcome) -> None:
        def promise(number: int) -> None:
            outcome.promised.append(number)
            file_layer.promise(number)

        file_layer.arm(folder, log, nth, fault)
        try:
            run(folder / "product", promise)
        finally:
            outcome.calls = file_layer.disarm()

    return in_child(work)


def read(writer: Writer, folder: Path, *, after_a_cut: bool = False) -> Outcome:
    """Open what a writer has left."""
    of = (writer.cut_read or writer.read) if after_a_cut else writer.read

    def work(outcome: Outcome) -> None:
        outcome.found = sorted(of(folder / "product"))

    return in_child(work)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder).resolve()


def faults(writer: Writer, every: int, first: int) -> dict[str, Any]:
    """Each call of a writer fails once in each way; the sums of the campaign."""
    with _folder() as folder:
        clean = write(writer, folder, None, 0, Fault.NONE)
        after = read(writer, folder)
    if clean.crash or after.crash or not after.found or clean.promised[-1] != after.found[-1]:
        return {"writer": writer.name, "wrong": [f"without a fault: {clean} {after}"]}
    complete = after.found
    wrong, lost, cases = [], 0, 0
    for fault in FAULTS:
        for nth in range(1 + first, clean.calls + 1, every):
            cases += 1
            with _folder() as folder:
                done = write(writer, folder, None, nth, fault)
                found = read(writer, folder)
            lost += found.found != complete
            if reason := _violation(fault, done, found, complete):
                wrong.append(f"{fault.name} at call {nth}: {reason}")
    return {
        "writer": writer.name, "calls": clean.calls, "cases": cases, "lost": lost, "wrong": wrong
    }  # fmt: skip


def _violation(fault: Fault, done: Outcome, found: Outcome, complete: list[int]) -> str | None:
    sentences = done.sentences + found.sentences
    is_complete = found.found == complete
    rules = (
        (done.crash, f"crashed: {done.crash}"),
        (found.crash, f"does not open: {found.crash}"),
        (any("Traceback" in line for line in sentences), f"a traceback: {sentences}"),
        ({*done.promised} - {*found.found}, f"promised, not found: {found.found}, {sentences}"),
        (not is_complete and not done.sentences, f"lost without a sentence: {found.found}"),
        (not is_complete and fault in _HARMLESS, f"lost: {found.found}, {sentences}"),
    )
    return next((reason for is_broken, reason in rules if is_broken), None)


def power(writer: Writer, every: int, first: int) -> dict[str, Any]:
    """The power is cut after each call of a writer; the sums of the campaign."""
    with _folder() as folder, _folder() as logs:
        clean = write(writer, folder, logs / "log", 0, Fault.NONE)
        if clean.crash:
            return {"writer": writer.name, "wrong": [clean.crash]}
        records = list(read_log(logs / "log"))
        known: dict[object, Outcome] = {}
        wrong, cases = [], 0
        for number, (at, promised, name, content) in enumerate(cuts(records, folder)):
            if number % every != first:
                continue
            cases += 1
            key = hash(tuple(sorted(content.items(), key=lambda row: str(row[0]))))
            if key not in known:
                with _folder() as place:
                    restore(content, place)
                    known[key] = read(writer, place, after_a_cut=True)
            found = known[key]
            before = f"{records[at].call.name} {records[at].path.removeprefix(str(folder))}"
            if found.crash:
                wrong.append(f"{at} after {before}, {name}: does not open: {found.crash}")
            elif missing := promised - {*found.found}:
                wrong.append(f"{at} after {before}, {name}: lost {sorted(missing)}")
    calls = sum(record.call not in (Call.MARK, Call.FAULT) for record in records)
    return {
        "writer": writer.name, "calls": calls, "cases": cases, "states": len(known), "wrong": wrong
    }  # fmt: skip


def rows(arguments: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of this program, run with these options in a process with the layer.

    Raises:
        FileNotFoundError: there is no compiler.
        SystemExit: after a help or a wrong option.
    """
    _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        library = file_layer.library(Path(folder))
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", __name__, *arguments],
            env=os.environ | {"LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        assert process.returncode == 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("kind", choices=("faults", "power"))
    parser.add_argument("--writer", action="append", choices=[one.name for one in WRITERS])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    return parser.parse_args(arguments)


def _main() -> None:
    options = _options(sys.argv[1:])
    del os.environ["LD_PRELOAD"]  # of this process alone
    campaign = faults if options.kind == "faults" else power
    for writer in WRITERS:
        if options.writer is None or writer.name in options.writer:
            row = campaign(writer, options.every, options.first)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main()
