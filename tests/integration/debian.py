# SPDX-License-Identifier: Apache-2.0
"""Debian packages of any architecture, found and fetched with apt as the calling user.

apt has lists and a state of its own here, in which nothing is installed: of the host it takes the
sources alone, so that an architecture that is foreign to it needs no setting. They are stored with
what is fetched in a folder outside the repository, `$DRONEBMS_KERNEL_CACHE`, else
`~/.cache/dronebms-kernel`.
"""

import fcntl
import functools
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

CACHE = Path(os.environ.get("DRONEBMS_KERNEL_CACHE") or Path.home() / ".cache" / "dronebms-kernel")
# Debian's name of this machine's architecture; the machine's own where Debian has none.
HOST = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

# Hooks of the host's configuration are for its own lists.
_SETTINGS = """
#clear APT::Architectures;
#clear APT::Update;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
"""


class Missing(Exception):  # noqa: N818 - no error: the tests are skipped with this sentence
    """Something that a test needs is missing on this machine; names it, and how to get it."""


def require(program: str, package: str) -> None:
    """Raise `Missing` if a program is absent."""
    if shutil.which(program) is None:
        raise Missing(f"{program} is missing; on Debian: sudo apt-get install {package}")


@functools.cache
def packages(architecture: str) -> "Packages":
    """The packages of an architecture, by lists of today.

    Raises:
        Missing: this machine has no apt.
    """
    return Packages(architecture)


class Packages:
    """Packages of the Debian release that the host runs, of one architecture."""

    def __init__(self, architecture: str) -> None:
        for program, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
            require(program, package)
        self._folder = CACHE / f"apt-{architecture}"
        self._settings = self._folder / "apt.conf"
        for name in ("lists/partial", "archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        with self._alone():
            (self._folder / "status").touch()
            text = _SETTINGS.format(architecture=architecture, folder=self._folder)
            self._settings.write_text(text)
            self._apt("apt-get", "update", "--quiet", check=False)  # without a network: old lists

    def newest(self, name: str) -> str:
        """`<name>_<version>` of a package.

        Raises:
            Missing: apt knows no such package.
        """
        shown = self._apt("apt-cache", "show", "--no-all-versions", name)
        version = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
        if version is None:
            raise Missing(f"apt knows no version of {name}")
        return f"{name}_{version[1]}"

    def kernel(self) -> str:
        """`linux-image-<release>_<version>` of the newest kernel.

        Raises:
            Missing: apt knows none.
        """
        architecture = self._folder.name.removeprefix("apt-")
        depends = self._apt("apt-cache", "depends", "--important", f"linux-image-{architecture}")
        found = re.search(r"Depends: (linux-image-\S+)", depends)
        if found is None:
            raise Missing(f"apt knows no kernel for {architecture}")
        return self.newest(found[1])

    def stored(self, package: str, name: str, choose: Callable[[Path, Path], object]) -> Path:
        """A folder in the cache with files of a package, all or none.

        Args:
            package: as `newest` returns it.
            name: of the folder.
            choose: stores the needed files of an unpacked package (its folder, the other's).

        Raises:
            Missing: the package cannot be fetched.
        """
        folder = CACHE / name
        with self._alone():
            if not folder.is_dir():
                with TemporaryDirectory(dir=CACHE, prefix="unpacking-") as temporary:
                    work = Path(temporary)
                    self._apt(
                        "apt-get", "download", "--quiet", package.replace("_", "=", 1), cwd=work
                    )
                    unpack(next(work.glob("*.deb")), work / "all")
                    (work / "chosen").mkdir()
                    choose(work / "all", work / "chosen")
                    (work / "chosen").rename(folder)
        return folder

    def unpack_with_dependencies(self, package: Path, folder: Path) -> None:
        """Unpack a file of a package, and all that it depends on, without running any script.

        Raises:
            Missing: a dependency cannot be fetched.
        """
        archives = folder / "archives"
        (archives / "partial").mkdir(parents=True)
        with self._alone():
            self._apt(
                *("apt-get", "install", "--download-only", "--yes", "--quiet"),
                *("--no-install-recommends", f"--option=Dir::Cache::archives={archives}"),
                str(package.absolute()),
            )
        for fetched in (*archives.glob("*.deb"), package):
            unpack(fetched, folder)
        shutil.rmtree(archives)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other processes that use the same lists."""
        with (self._folder / "in-use").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _apt(self, program: str, *words: str, cwd: Path | None = None, check: bool = True) -> str:
        done = subprocess.run(  # noqa: S603 - programs of Debian's, with names of its packages
            (program, f"--config-file={self._settings}", *words),
            cwd=cwd, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise Missing(f"{shlex.join((program, *words))} failed: {last}")
        return done.stdout


def unpack(package: Path, folder: Path) -> None:
    """Unpack the files of a package."""
    words = ("dpkg-deb", "--extract", str(package), str(folder))
    subprocess.run(words, capture_output=True, check=True)  # noqa: S603 - dpkg
