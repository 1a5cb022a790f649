"""A new machine: the messages of `make` for missing programs; the wheel in a clean environment."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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


@pytest.mark.slow
def test_the_wheel_flies_from_a_clean_environment(tmp_path: Path) -> None:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - the programs of this test's own environment
            [str(word) for word in words], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    wheels = tmp_path / "wheels"
    built = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, ROOT)
    if built.returncode:
        pytest.skip(f"pip cannot build here: is there a network? {built.stderr.splitlines()[-1:]}")
    run(sys.executable, "-m", "venv", "clean").check_returncode()
    clean = tmp_path / "clean" / "bin"
    installed = run(clean / "python", "-m", "pip", "install", "--quiet", *wheels.glob("*.whl"))
    if installed.returncode:
        pytest.skip(f"pip cannot install here: {installed.stderr.splitlines()[-1:]}")
    flown = run(clean / "dronebms", "sim", "--headless", "--speed", "max", "--duration", "3")
    assert flown.stderr == ""
    assert flown.returncode == 0
    assert len(flown.stdout.splitlines()) == 4
    assert flown.stdout.startswith("t=00:00:00  25.1")
    typed = [room for room in ("dronebms", "smartbattery", "mavlink_bridge", "sim")
             if list((tmp_path / "clean").rglob(f"{room}/py.typed"))]  # fmt: skip
    assert typed == ["dronebms", "smartbattery", "mavlink_bridge", "sim"]
