# SPDX-License-Identifier: Apache-2.0
"""The commit that figures of speed are compared with, and how figures are printed.

Absolute times differ by a factor of three from machine to machine and by more under load, so that a
figure is measured in turn here and in a copy of the reference, each time in a process of its own,
and printed as a ratio. Needs git and the history of the repository.
"""

import os
import platform
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

REFERENCE = "a280ff8"  # 2026-11-22, before the rooms
HERE = Path(__file__).resolve().parent.parent


def machine() -> str:
    """Return a line with the processor, its load and the versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        rows = [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")]
        model = rows[0].partition(":")[2].strip() if rows else model
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "pymavlink"))
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return (
        f"{model}, {cores} cores, load {load:.1f}; Python {platform.python_version()}, {versions}"
    )


@contextmanager
def reference_tree() -> Iterator[Path | None]:
    """Yield a folder with the files of the reference; `None`, and a line, without its history."""
    git = ("git", "-C", str(HERE), "archive", REFERENCE)
    found = subprocess.run(git, capture_output=True, check=False)  # noqa: S603 - a constant
    if found.returncode:
        print(f"no reference: git has no commit {REFERENCE} here")
        yield None
        return
    with TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(found.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def run_in(tree: Path, *arguments: str) -> str:
    """Run Python in a tree, with its packages and compiled files; return what it prints."""
    environ = os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONPYCACHEPREFIX": str(tree / "build" / "compiled"),
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = (sys.executable, *arguments)
    return subprocess.run(  # noqa: S603 - our own programs
        command, cwd=tree, env=environ, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median of several runs, and in brackets the least and the largest."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each pair of runs, which were made one after the other."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]
