# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of its own for the tests that ask for one: a real one, on a Unix socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_HOW = (
    "PostgreSQL: apt install postgresql (its initdb is neither on PATH nor in /usr/lib/postgresql)"
)


def _tool(name: str) -> str:
    found = shutil.which(name) or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), reverse=True)),
        None,
    )
    if found is None:
        pytest.skip(_HOW)
    return found


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of a server that is gone afterwards; skip where there is none to start."""
    initdb, pg_ctl = _tool("initdb"), _tool("pg_ctl")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # short, as paths of sockets are; all may enter
    user = "postgres" if os.getuid() == 0 else None  # it does not run as root
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, user=user, cwd="/", timeout=60)  # noqa: S603 - ours

    data = str(folder / "data")
    try:
        run(initdb, "-D", data, "-U", "fleet", "-A", "trust", "--no-sync", "-E", "UTF8")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(pg_ctl, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://fleet@/postgres?host={folder}"
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
