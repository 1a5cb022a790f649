# SPDX-License-Identifier: Apache-2.0
"""Jobs whose files may be slow: done at once, or in a thread, so that no step of a loop waits."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Protocol, TypeVar

_STOP_S = 3.0  # that closing waits for a disk
_Result = TypeVar("_Result")


class Run(Protocol):
    """Does jobs one after the other, in the order of the calls."""

    def __call__(self, job: Callable[[], _Result], /) -> "Future[_Result]":
        """The result of a job, or the exception that it raises, once it is done."""
        ...


def run_inline(job: Callable[[], _Result]) -> "Future[_Result]":
    """Do a job before this returns, as replay and tests do; its exceptions are the caller's."""
    done: Future[_Result] = Future()
    done.set_result(job())
    return done


class Worker:
    """One thread that does jobs in their order. It holds up no end of the process.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], _Result]) -> "Future[_Result]":
        """Do a job after those before it; see `Run`."""
        future: Future[_Result] = Future()

        def done() -> None:
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - raised where the result is read
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(done)
        return future

    def close(self) -> None:
        """Do the jobs that wait, within a time limit."""
        self._jobs.put(None)
        self._thread.join(_STOP_S)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
