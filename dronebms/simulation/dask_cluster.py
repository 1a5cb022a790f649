"""A Dask cluster that flies: the extra `cluster`.

Dask flies again, on other workers, what was in the air on one that is lost.
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
    """Give the workers of a scheduler.

    Raises:
        LinkError: nobody is there, nobody works, somebody lacks this package, or it is lost.
    """
    # What it says of a lost scheduler is a page long, and said again below in a sentence.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        with Client(  # type: ignore[no-untyped-call]  # the one thing there without types
            scheduler, timeout=CONNECT_S, set_as_default=False
        ) as client:
            client.wait_for_workers(1, CONNECT_S)
            client.run_on_scheduler(version, PACKAGE)
            client.run(version, PACKAGE)
            yield client.get_executor(pure=False)
    except PackageNotFoundError as error:
        raise LinkError(f"the scheduler and each worker at {scheduler} need {PACKAGE}") from error
    except (OSError, CancelledError, KilledWorker) as error:
        why = str(error) or "it was lost"
        raise LinkError(f"the Dask cluster at {scheduler} cannot be used: {why}") from error
