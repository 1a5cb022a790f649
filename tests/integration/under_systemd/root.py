# SPDX-License-Identifier: Apache-2.0
"""A fresh Debian 12, as mmdebstrap makes it of the sources that apt has on this machine.

Its archive is stored for a week with the packages of tests/integration/debian.py.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.debian import CACHE, Missing

RELEASE = "bookworm"
# What an installed Debian 12 and Raspberry Pi OS have, and a minimal root has not.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "python3")
_WEEK_S = 7 * 86400.0
_HOW = "sudo apt-get update && sudo apt-get install mmdebstrap systemd-container"


def unpack_root(folder: Path) -> None:
    """Unpack a fresh root into a folder.

    Raises:
        Missing: a program is missing, or Debian's packages cannot be had.
    """
    if os.geteuid():
        raise Missing("only root can make a root of Debian and boot it: sudo")
    for program in ("mmdebstrap", "systemd-nspawn", "nsenter", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is missing; on Debian: {_HOW}")
    archive = CACHE / f"{RELEASE}.tar"
    if not archive.exists() or time.time() - archive.stat().st_mtime > _WEEK_S:
        archive.parent.mkdir(parents=True, exist_ok=True)
        _bootstrap(archive)
    run("tar", "--extract", "--numeric-owner", "--file", archive, "--directory", folder)


def _bootstrap(archive: Path) -> None:
    include = ",".join(PACKAGES)
    with TemporaryDirectory(dir=archive.parent) as name:
        made = Path(name) / archive.name
        run(
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}",
            RELEASE, made, *_sources(),
        )  # fmt: skip
        made.rename(archive)


def _sources() -> list[str]:
    """Lines of sources.list for the release, with the servers that apt has for Debian here."""
    form = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    rows = run(
        "apt-get", "indextargets", "--format", form, "Created-By: Packages", "Origin: Debian"
    )
    found = sorted({tuple(row.split()) for row in rows.splitlines() if row.endswith(" main")})
    if not found:
        raise Missing("apt has no package list of Debian here: sudo apt-get update")
    host = min((name for _, name, _ in found), key=len)  # the others have a suffix
    return [f"deb {uri} {name.replace(host, RELEASE)} main" for uri, name, _ in found]


def run(*words: str | Path) -> str:
    """Output of a program of Debian's.

    Raises:
        Missing: it failed.
    """
    plain = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 - programs of Debian's
        [str(word) for word in words], env=plain, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Missing(f"{words[0]} failed: {last}")
    return done.stdout
