# SPDX-License-Identifier: Apache-2.0
"""A pool of processes for many flights, which ends with its parent."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from signal import SIGTERM
from threading import Thread

from dronebms.core.errors import ConfigError


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """A pool of `jobs` processes; an exception in the block terminates them.

    Raises:
        ConfigError: a process was killed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core has its process: numpy starts no threads
    with ProcessPoolExecutor(jobs, get_context("spawn"), _end_with_parent) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            text = "a process of a flight was killed; the same command continues"
            raise ConfigError(text) from error
        except BaseException:
            for process in active_children():
                process.terminate()
            raise


def _end_with_parent() -> None:
    """Terminate this process when its parent ends, also when the parent is killed."""

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os.kill(os.getpid(), SIGTERM)

    Thread(target=wait, daemon=True).start()
