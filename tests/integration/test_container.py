# SPDX-License-Identifier: Apache-2.0
"""packaging/container/Containerfile: built and run by buildah, on a Debian of debootstrap.

The base image is made here of the packages of which Debian makes the one that the file names, so
that no registry of images is needed. By hand, as root, some five minutes:

    apt-get install buildah debootstrap
    pytest tests/integration/test_container.py
"""

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dronebms import __version__
from tests.integration.debian import HOST, Missing
from tests.integration.package import PYTHON, ROOT, built, run

pytestmark = pytest.mark.slow
FILE = "packaging/container/Containerfile"
BASE = "docker.io/library/debian:12-slim"
RUN_S = 60  # a start takes a few seconds, more on a loaded machine
CONFIG = '[[battery]]\nbus = "sim:survey"\n[state]\ndir = "/var/lib/dronebms"\n'


@dataclass(frozen=True, slots=True)
class Builder:
    """buildah with storage of its own, without a daemon."""

    folder: Path

    def words(self, *words: str | Path) -> list[str]:
        """Command line of buildah."""
        places = ("--root", self.folder / "storage", "--runroot", self.folder / "run")
        return [str(word) for word in ("buildah", *places, *words)]

    def __call__(self, *words: str | Path, cwd: Path = ROOT) -> str:
        """Output of buildah, which must succeed."""
        done = run(*self.words(*words), cwd=cwd, BUILDAH_ISOLATION="chroot")
        assert done.returncode == 0, done.stderr[-500:]
        return done.stdout.strip()


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Builder, str]]:
    """A builder, and a container of the image in it."""
    for name in ("buildah", "debootstrap"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is missing; install it with: sudo apt install {name}")
    if os.geteuid() != 0:
        pytest.skip("debootstrap makes the base image as root alone")
    try:
        package = built(HOST, tmp_path_factory)
    except Missing as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("container")
    made = run("debootstrap", "--variant=minbase", "bookworm", folder / "base")
    if made.returncode:
        pytest.skip(f"debootstrap cannot download here: {made.stdout.splitlines()[-1:]}")
    build = Builder(folder)
    empty = build("from", "scratch")
    build("add", "--quiet", empty, folder / "base", "/")
    build("commit", "--quiet", "--rm", empty, BASE)
    context = folder / "context"
    shutil.copytree(ROOT / "packaging/container", context / "packaging/container")
    (context / "dist").mkdir()
    shutil.copy(package.file, context / "dist" / f"dronebms_{__version__}_{HOST}.deb")
    words = ("--pull-never", "-f", FILE, "--build-arg", f"ARCH={HOST}", "-t", "dronebms", ".")
    build("build", *words, cwd=context)
    try:
        yield build, build("from", "--pull-never", "dronebms")
    finally:
        shutil.rmtree(folder)


def test_the_image_has_the_program_of_the_package(container: tuple[Builder, str]) -> None:
    build, name = container
    program = build("run", name, "--", PYTHON, "-I", "-m", "dronebms.cli", "--version")
    assert program == f"dronebms {__version__}"
    assert build("run", name, "--", "dronebms", "--version") == f"dronebms {__version__}"


def test_the_service_of_the_image_runs_until_it_is_stopped(
    container: tuple[Builder, str], tmp_path: Path
) -> None:
    build, name = container
    config = tmp_path / "dronebms.toml"
    config.write_text(CONFIG)
    build("copy", "--quiet", name, config, "/etc/dronebms.toml")
    inspected = json.loads(build("inspect", "--type", "image", "dronebms"))["OCIv1"]["config"]
    assert inspected["StopSignal"] == "SIGTERM"
    command = shlex.join([*inspected["Entrypoint"], *inspected["Cmd"]])
    stopped = f"timeout --preserve-status --signal=TERM {RUN_S} {command}"
    script = f"{stopped}; echo ended with $?; ls /var/lib/dronebms"
    printed = build("run", name, "--", "sh", "-c", script).splitlines()
    assert printed[0] == "ended with 0"
    assert printed[1:]  # what it has stored
