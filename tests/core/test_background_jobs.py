# SPDX-License-Identifier: Apache-2.0
"""Jobs of slow files: their order, their results, and the end of the process."""

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from dronebms.core import background_jobs
from dronebms.core.background_jobs import Worker, run_inline

WAIT_S = 10.0


@pytest.fixture
def worker() -> Iterator[Worker]:
    with closing(Worker("jobs")) as one:
        yield one


def test_an_inline_job_is_done_before_the_call_returns() -> None:
    assert run_inline(lambda: 7).result(0.0) == 7


def test_the_exception_of_an_inline_job_is_that_of_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        run_inline(lambda: 1 // 0)


def test_a_call_does_not_wait_for_a_job_and_jobs_keep_their_order(worker: Worker) -> None:
    goes_on = threading.Event()
    done: list[int] = []

    def job(number: int) -> int:
        assert goes_on.wait(WAIT_S)
        done.append(number)
        return number

    futures = [worker.run(partial(job, number)) for number in range(5)]
    assert not any(future.done() for future in futures)
    goes_on.set()
    assert [future.result(WAIT_S) for future in futures] == [*range(5)]
    assert done == [*range(5)]


def test_the_exception_of_a_job_is_raised_where_its_result_is_read(worker: Worker) -> None:
    failed = worker.run(lambda: 1 // 0)
    assert worker.run(lambda: 3).result(WAIT_S) == 3
    with pytest.raises(ZeroDivisionError):
        failed.result(0.0)


def test_closing_waits_for_open_jobs() -> None:
    worker = Worker("jobs")
    goes_on = threading.Event()
    last = worker.run(lambda: goes_on.wait(WAIT_S))
    threading.Timer(0.05, goes_on.set).start()
    worker.close()
    assert last.result(0.0)


def test_closing_waits_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_jobs, "_STOP_S", 0.05)
    worker = Worker("jobs")
    goes_on = threading.Event()
    held = worker.run(lambda: goes_on.wait(WAIT_S))
    worker.close()
    assert not held.done()
    goes_on.set()
    assert held.result(WAIT_S)
