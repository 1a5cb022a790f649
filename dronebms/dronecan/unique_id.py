# SPDX-License-Identifier: Apache-2.0
"""Unique id of a node: the same after each start, another one on each machine and for each node."""

import hashlib
import uuid
from pathlib import Path

_BYTES = 16
# The first that has one. The id itself is not sent: machine-id(5) asks for a hash of it.
SOURCES = (Path("/etc/machine-id"), Path("/sys/firmware/devicetree/base/serial-number"))


def unique_id(number: int, sources: tuple[Path, ...] = SOURCES) -> bytes:
    """Sixteen bytes for a node of this machine; without a machine id, of its network address.

    Args:
        number: of the node.
        sources: files with an id of the machine.
    """
    machine = next(filter(None, map(_read, sources)), f"{uuid.getnode():012x}".encode())
    return hashlib.sha256(b"dronebms dronecan %d " % number + machine).digest()[:_BYTES]


def _read(path: Path) -> bytes:
    """Content of a file; empty if there is none."""
    try:
        return path.read_bytes().strip(b"\0\n ")
    except OSError:
        return b""
