# SPDX-License-Identifier: Apache-2.0
"""Locks of files that one process uses: the kernel frees them with the process, however it ends.

Where the file system has no locks (some of networks), it is unknown whether another process uses a
file, and that is no refusal: a service starts. Source: flock(2).
"""

import fcntl
import os
from pathlib import Path


def locked(file: int) -> bool:
    """Lock an open file until it is closed; false if another one has the lock.

    Args:
        file: descriptor.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # no locks there
    return True


def is_in_use(path: Path) -> bool:
    """Whether another open file of this path has the lock; false if that is unknown."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not locked(file)
    finally:
        os.close(file)
