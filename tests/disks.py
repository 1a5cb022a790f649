# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or slow, without such a disk."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from tests.mavlink_bridge.loopback import WAIT_S


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let no file grow further: to a writer it looks like a full disk (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class HeldDisk:
    """A disk whose writes wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on, self.writes = Event(), Event()
        write = os.pwrite

        def held(file: int, data: bytes, place: int) -> int:
            self.writes.set()
            assert self.goes_on.wait(WAIT_S)
            return write(file, data, place)

        monkeypatch.setattr(os, "pwrite", held)
