# SPDX-License-Identifier: Apache-2.0
"""Free ports, and waiting for the kernel."""

import socket
from collections.abc import Callable
from time import monotonic, sleep

WAIT_S = 60.0  # for what comes at once on an idle machine; a test that fails waits so long


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that no program uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool]) -> bool:
    """Poll a condition for a minute at most: the kernel needs some time even on loopback."""
    end_s = monotonic() + WAIT_S
    while not (held := condition()) and monotonic() < end_s:
        sleep(0.001)
    return held
