# SPDX-License-Identifier: Apache-2.0
"""A new machine: the messages of `make` for missing programs; the wheel in a clean environment."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("numpy", "pydantic", "pymavlink", "pyserial", "rich", "smbus2")


def make_demo(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run the first step of `make demo` in a folder of its own."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is missing; install it with: sudo apt install make")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    return subprocess.run(  # noqa: S603 - our own Makefile
        [make, "demo", f"PYTHON={python}"], cwd=folder, capture_output=True, text=True, check=False
    )


def fake_python(folder: Path, body: str) -> str:
    """Write a shell script that replies like a Python interpreter."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_missing_python_is_named_with_the_line_that_installs_it(tmp_path: Path) -> None:
    done = make_demo(tmp_path, "no-such-python")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        "Python is missing; install it with: sudo apt install python3 python3-venv"
    )


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = fake_python(tmp_path, 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    done = make_demo(tmp_path, old)
    assert done.returncode != 0
    assert done.stderr.startswith("Python 3.9.2 is too old: dronebms needs 3.11")


def test_a_missing_venv_module_is_named_with_the_line_that_installs_it(tmp_path: Path) -> None:
    bare = fake_python(tmp_path, 'case "$2" in *ensurepip*) exit 1;; esac')
    done = make_demo(tmp_path, bare)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        "Python's venv module is missing; install it with: sudo apt install python3-venv"
    )
    assert not (tmp_path / ".venv").exists()


def run(
    *words: str | Path, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # PYTHONPATH would let this repository stand in for what is installed; a make that runs these
    # tests would change what another make prints.
    inherited = {"PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    base = {key: value for key, value in os.environ.items() if key not in inherited}
    return subprocess.run(  # noqa: S603 - the programs of this test's own environment
        [str(word) for word in words], cwd=cwd, env=base | (environment or {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository."""
    folder = tmp_path_factory.mktemp("wheels")
    built = run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT, cwd=folder
    )
    if built.returncode:
        pytest.skip(f"pip cannot build here: is there a network? {built.stderr.splitlines()[-1:]}")
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_two_builds_of_the_wheel_are_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    """From a copy in another folder, with other dates and modes of the files."""
    copy = tmp_path / "another place"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "tests")
    before = os.umask(0o077)
    try:
        shutil.copytree(ROOT, copy, ignore=ignored, copy_function=shutil.copyfile)
        again = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", ".", copy,
                    cwd=tmp_path)  # fmt: skip
    finally:
        os.umask(before)
    assert again.returncode == 0, again.stderr[-500:]
    (built,) = tmp_path.glob("*.whl")
    assert built.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_the_wheel_flies_from_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path).check_returncode()
    clean = tmp_path / "clean" / "bin"
    installed = run(clean / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    if installed.returncode:
        pytest.skip(f"pip cannot install here: {installed.stderr.splitlines()[-1:]}")
    words = ["sim", "--headless", "--speed", "max", "--duration", "3"]
    flown = run(clean / "dronebms", *words, cwd=tmp_path)
    assert flown.stderr == ""
    assert flown.returncode == 0
    assert len(flown.stdout.splitlines()) == 4
    assert flown.stdout.startswith("t=00:00:00  25.1")
    typed = [room for room in ("dronebms", "smartbattery", "mavlink_bridge", "sim")
             if list((tmp_path / "clean").rglob(f"{room}/py.typed"))]  # fmt: skip
    assert typed == ["dronebms", "smartbattery", "mavlink_bridge", "sim"]
    share = tmp_path / "clean" / "share"
    assert (share / "bash-completion" / "completions" / "dronebms").is_file()
    assert (share / "man" / "man1" / "dronebms.1").is_file()
    assert (share / "dronebms" / "dronebms.schema.json").is_file()
    path = tmp_path / "mqtt.toml"
    path.write_text('[[battery]]\nbus = "sim:survey"\n[mqtt]\nhost = "localhost"\n')
    refused = run(clean / "dronebms", "check", "-c", path, cwd=tmp_path)
    assert refused.returncode == 2
    command = refused.stderr.rstrip().partition("paho: ")[2]
    assert command.startswith(f"{clean / 'python'} -m pip install 'paho-mqtt>=")
    mended = run(*shlex.split(command), "--quiet", cwd=tmp_path)
    if mended.returncode:
        pytest.skip(f"pip cannot install here: {mended.stderr.splitlines()[-1:]}")
    assert run(clean / "dronebms", "check", "-c", path, cwd=tmp_path).returncode in {0, 1}


MOST_MB = 160  # of the environment of `make demo` after a flight, compiled files included


@pytest.mark.slow
def test_the_demo_installs_what_it_needs_and_shows_what_it_downloads(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is missing; install it with: sudo apt install make")
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "tests", "docs"))
    installed = run(make, ".venv/.installed", f"PYTHON={sys.executable}", cwd=copy)
    if installed.returncode:
        pytest.skip(f"pip cannot install here: {installed.stderr.splitlines()[-1:]}")
    assert installed.stdout.startswith("Installing dronebms and its six packages into .venv")
    assert len(re.findall(r"^Collecting \w", installed.stdout, re.M)) >= len(NEEDED)
    program = copy / ".venv" / "bin" / "dronebms"
    flight = ("sim", "--flight", "mission", "--speed", "max", "--headless", "--duration", "60")
    flown = run(program, *flight, cwd=copy)
    assert flown.returncode == 0
    assert len(flown.stdout.splitlines()) >= 61  # one a second, and the events
    sizes = run(make, "demo-size", cwd=copy).stdout.split()
    assert int(sizes[0]) <= MOST_MB
    assert {"numpy", "pymavlink", "pydantic_core"} <= set(sizes)
    moved = copy.rename(tmp_path / "my drone")
    (line,) = run(make, "-n", "demo", cwd=moved).stdout.splitlines()
    again = (*shlex.split(line), "--speed", "max", "--headless", "--duration", "3")
    assert run(*again, cwd=moved).stdout.startswith("t=00:00:00  25.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("installer", "words"), [("pipx", ("install",)), ("uv", ("tool", "install", "--quiet"))]
)
def test_an_installer_of_programs_installs_the_wheel(
    installer: str, words: tuple[str, ...], wheel: Path, tmp_path: Path
) -> None:
    program = shutil.which(installer)
    if program is None:
        pytest.skip(f"{installer} is missing; install it with: pip install {installer}")
    environment = {
        "PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"), "UV_TOOL_DIR": str(tmp_path / "home"),
        "UV_TOOL_BIN_DIR": str(tmp_path / "bin"), "UV_PYTHON": sys.executable,
    }  # fmt: skip
    done = run(program, *words, wheel, cwd=tmp_path, environment=environment)
    if done.returncode:
        pytest.skip(f"{installer} cannot install here: {done.stderr.splitlines()[-1:]}")
    words = ("sim", "--headless", "--speed", "max", "--duration", "3")
    flown = run(tmp_path / "bin" / "dronebms", *words, cwd=tmp_path)
    assert (flown.returncode, flown.stderr) == (0, "")
    assert len(flown.stdout.splitlines()) == 4
    if installer == "pipx":
        assert (tmp_path / "man" / "man1" / "dronebms.1").exists()
