# SPDX-License-Identifier: Apache-2.0
"""Files that are none: a device without end, a pipe without a writer, a folder, a long text."""

import os
from pathlib import Path


def special_file(folder: Path, kind: str) -> Path:
    """Path of a file of this kind: zeros, pipe, folder or long (2 MiB)."""
    path = folder / kind
    if kind == "zeros":
        return Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"x" * (2 << 20))
    return path
