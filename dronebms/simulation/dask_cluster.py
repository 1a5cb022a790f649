# SPDX-License-Identifier: Apache-2.0
"""Executor on a Dask cluster; the extra `cluster`.

Dask repeats the flights of a lost worker on other workers.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from distributed import Client, KilledWorker

from dronebms.core.errors import LinkError

PACKAGE = "dronebms"
CONNECT_S = 10.0


@contextmanager
def workers(scheduler: str) -> Iterator[Executor]:
    """Executor on the workers of a scheduler.

    Raises:
        LinkError: the scheduler does not answer or is lost, there is no worker, or one of them
            does not have this package.
    """
    # Its log of a lost scheduler is a page long; the error below is one sentence.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        with Client(  # type: ignore[no-untyped-call]  # distributed types everything else
            scheduler, timeout=CONNECT_S, set_as_default=False
        ) as client:
            client.wait_for_workers(1, CONNECT_S)
            client.run_on_scheduler(version, PACKAGE)
            client.run(version, PACKAGE)
            yield client.get_executor(pure=False)
    except PackageNotFoundError as error:
        raise LinkError(f"the scheduler and each worker at {scheduler} need {PACKAGE}") from error
    except (OSError, CancelledError, KilledWorker) as error:
        why = str(error) or "the connection was lost"
        raise LinkError(f"the Dask cluster at {scheduler} cannot be used: {why}") from error
