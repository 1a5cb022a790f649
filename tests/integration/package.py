# SPDX-License-Identifier: Apache-2.0
"""The Debian package of this repository, built once for all processes of a test run."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dronebms import __version__
from tests.integration.debian import HOST, Missing, packages, require, unpack

ROOT = Path(__file__).parents[2]
PYTHON = "/opt/dronebms/bin/python"  # in the package
# The emulator of another architecture's programs; with the instructions of a Raspberry Pi 3.
USER_EMULATORS = {
    "amd64": ("qemu-x86_64-static",),
    "arm64": ("qemu-aarch64-static", "-cpu", "cortex-a53"),
}


@dataclass(frozen=True, slots=True)
class Package:
    """A package of one architecture, with a root in which it is unpacked."""

    architecture: str
    folder: Path

    @property
    def file(self) -> Path:
        """The package."""
        return self.folder / "x.deb"

    @property
    def root(self) -> Path:
        """Its files; and those of what it depends on, after `add_dependencies`."""
        return self.folder / "root"

    def add_dependencies(self) -> None:
        """Unpack what the package depends on, and make the folders of a running system.

        Raises:
            Missing: a dependency cannot be fetched, as where the host runs another Debian.
        """
        with _once(self.folder / "dependencies") as first:
            if first:
                packages(self.architecture).unpack_with_dependencies(self.file, self.root)
                for name in ("dev", "mnt", "proc", "run", "sys", "tmp", "var/lib"):
                    (self.root / name).mkdir(parents=True, exist_ok=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the package's Python in its root, outside of which it sees no file.

        Raises:
            Missing: a dependency, QEMU or a namespace cannot be had.
        """
        self.add_dependencies()
        enter = ("unshare", "--map-root-user", f"--root={self.root}")
        if run(*enter[:2], "true").returncode:
            raise Missing("namespaces of users are refused here; run the tests as root")
        emulator: tuple[str, ...] = ()
        if self.architecture != HOST:
            name, *options = USER_EMULATORS[self.architecture]
            with _once(self.folder / "emulator") as first:
                if first:
                    shutil.copy(_user_emulator(name), self.root / name)
            emulator = (f"/{name}", *options)
        return run(*enter, *emulator, PYTHON, "-I", *words)


def built(architecture: str, factory: pytest.TempPathFactory) -> Package:
    """The package, built by `make deb` by the first process that needs it.

    Raises:
        Missing: a program is absent, or pip cannot download.
    """
    # The processes of pytest-xdist have folders of their own in a common one.
    base = factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    package = Package(architecture, common / f"deb-{architecture}")
    package.folder.mkdir(exist_ok=True)
    with _once(package.folder / "built") as first:
        if first:
            unpack(build(architecture, package.folder), package.root)
    return package


def build(architecture: str, folder: Path, **environment: str) -> Path:
    """Build the package of a copy of this project; return x.deb in the folder.

    Raises:
        Missing: a program is absent, or pip cannot download.
    """
    require("make", "make")
    require("dpkg-deb", "dpkg")
    copy = folder / "copy"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "tests")
    shutil.copytree(ROOT, copy, ignore=left_out, dirs_exist_ok=True)
    words = ("make", "deb", f"ARCH={architecture}", f"PYTHON={sys.executable}")
    done = run(*words, cwd=copy, **environment)
    if "No matching distribution" in done.stderr or "Connection" in done.stderr:
        raise Missing(f"pip cannot download here: {done.stderr.splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr[-500:]
    (deb,) = (copy / "dist").glob("*.deb")
    assert deb.name == f"dronebms_{__version__}_{architecture}.deb"
    deb.rename(folder / "x.deb")
    shutil.rmtree(copy)
    return folder / "x.deb"


def _user_emulator(name: str) -> Path:
    """A static QEMU for programs, which needs no installation."""
    host = packages(HOST)
    package = host.newest("qemu-user-static")
    folder = host.stored(
        package, f"{package}_{name}", lambda tree, kept: shutil.move(tree / "usr/bin" / name, kept)
    )
    return folder / name


@contextmanager
def _once(marker: Path) -> Iterator[bool]:
    """Whether this is the first of all processes; the others wait, and follow one that failed."""
    with marker.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield not marker.exists()
        marker.touch()


def run(
    *words: str | Path, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program without the packages of the tests."""
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(  # noqa: S603 - our own programs, and Debian's
        [str(word) for word in words], cwd=cwd, env=plain | environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
