# SPDX-License-Identifier: Apache-2.0
"""A network of its own for a test: loopback with multicast, the CAN bus of a simulated vehicle.

The namespace is that of the calling thread and of the threads and processes that it starts. What a
test sends reaches no real network.
"""

import ctypes
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000  # of sched.h
_COMMANDS = ("ip link set lo up multicast on", "ip route add 239.0.0.0/8 dev lo")


@pytest.fixture
def can_network() -> Iterator[None]:
    """A namespace with the buses `mcast:N`, for the duration of a test."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        if libc.unshare(CLONE_NEWNET) != 0:
            pytest.skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            for command in _COMMANDS:
                run(command)
            yield
        finally:
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0


def run(command: str) -> None:
    """Run a command of iproute2 in the namespace."""
    subprocess.run(shlex.split(command), check=True, capture_output=True)  # noqa: S603 - a constant
