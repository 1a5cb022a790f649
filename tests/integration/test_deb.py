# SPDX-License-Identifier: Apache-2.0
"""`make deb`: files, fields, and the program as the package brings it, for both architectures.

The program runs in a root with the package and what apt finds that it depends on, nothing else;
another architecture's under QEMU. apt, pip and the first use of QEMU download some 110 MB.
"""

import json
import os
import re
import shlex
import shutil
import struct
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from dronebms import __version__
from dronebms.cli.main import main
from tests.integration.debian import HOST, Missing
from tests.integration.package import PYTHON, ROOT, Package, build, built, run

ELF_MACHINES = {"amd64": 62, "arm64": 183}  # EM_X86_64, EM_AARCH64
FILES = {
    "usr/lib/systemd/system/dronebms.service",
    "usr/lib/udev/rules.d/60-dronebms.rules",
    "usr/lib/sysusers.d/dronebms.conf",
    "usr/lib/modules-load.d/dronebms.conf",
    "usr/share/bash-completion/completions/dronebms",
    "usr/share/man/man1/dronebms.1.gz",
    "usr/share/dronebms/dronebms.toml",
    "usr/share/dronebms/dronebms.schema.json",
    "opt/dronebms/bin/dronebms",
    "opt/dronebms/pyvenv.cfg",
}


@pytest.fixture(scope="module", params=list(ELF_MACHINES))
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of one architecture."""
    try:
        return built(request.param, tmp_path_factory)
    except Missing as missing:
        pytest.skip(str(missing))


def run_in(package: Package, *words: str) -> str:
    """Output of the package's Python, which must succeed."""
    try:
        done = package.run(*words)
    except Missing as missing:
        pytest.skip(str(missing))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def field(package: Package, name: str) -> str:
    return run("dpkg-deb", "-f", package.file, name).stdout.strip()


@pytest.mark.slow
def test_the_package_has_its_files_and_compiled_ones_of_its_architecture(package: Package) -> None:
    root, arch = package.root, field(package, "Architecture")
    listed = run("dpkg-deb", "--contents", package.file).stdout.splitlines()
    files = {line.split(" ./")[1] for line in listed if line.startswith("-")}
    assert files >= FILES
    assert (root / "usr/bin/dronebms").readlink() == Path("/opt/dronebms/bin/dronebms")
    assert not [name for name in files if name.startswith(("etc/", "usr/local/"))]
    assert "/usr/local" not in (root / "usr/share/dronebms/dronebms.toml").read_text()
    unit = (root / "usr/lib/systemd/system/dronebms.service").read_text()
    assert "ExecStart=/opt/dronebms/bin/python -I -m dronebms.cli run" in unit
    assert (root / "opt/dronebms/bin/dronebms").read_text().startswith(f"#!{PYTHON} -I\n")
    compiled = [root / name for name in files if name.endswith(".so")]
    assert len(compiled) > 10
    machines = {struct.unpack_from("<H", path.read_bytes(), 18)[0] for path in compiled}
    assert machines == {ELF_MACHINES[arch]}
    installed_kb = int(field(package, "Installed-Size"))
    assert 100_000 < installed_kb < 200_000


@pytest.mark.slow
def test_the_scripts_of_the_package_are_valid_shell(package: Package, tmp_path: Path) -> None:
    run("dpkg-deb", "-e", package.file, tmp_path / "control").check_returncode()
    for name in ("postinst", "prerm", "postrm"):
        checked = run("sh", "-n", tmp_path / "control" / name)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_the_installation_compiles_what_the_service_imports(package: Package) -> None:
    if package.architecture != HOST:
        pytest.skip("the script is the same for every architecture")
    run("dpkg-deb", "-e", package.file, package.folder / "control").check_returncode()
    script = (package.folder / "control/postinst").read_text()
    places = dict(re.findall(r"^ +(packages)=(\S+)$", script, re.MULTILINE))
    for line in re.findall(rf"^ +{PYTHON} -I (-m compileall .*) \|\| true$", script, re.MULTILINE):
        run_in(package, *shlex.split(line.replace("$packages", places["packages"])))
    imported = """
import sys
from dronebms.cli import run
print(*{m.__spec__.cached for m in sys.modules.values() if getattr(m, "__file__", "")})
"""
    cached = [package.root / name[1:] for name in run_in(package, "-B", "-c", imported).split()]
    ours = [path for path in cached if path.is_relative_to(package.root / "opt")]
    assert len(ours) > 100
    assert [path for path in ours if path.suffix == ".pyc" and not path.exists()] == []


@pytest.mark.slow
def test_every_compiled_file_loads_with_what_the_package_depends_on(package: Package) -> None:
    load = """
import ctypes, pathlib, sys
paths = sorted(pathlib.Path(sys.prefix).rglob("*.so"))
for path in paths:
    ctypes.CDLL(str(path))
print(sys.prefix, len(paths))
"""
    prefix, count = run_in(package, "-c", load).split()
    assert prefix == "/opt/dronebms"
    assert int(count) > 10


@pytest.mark.slow
def test_the_program_of_the_package_flies_as_ours_does(
    package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "/opt/dronebms/bin/dronebms"
    assert run_in(package, program, "--version") == f"dronebms {__version__}\n"
    words = ["sim", "--flight", "mission", "--headless", "--speed", "max", "--duration", "60"]
    assert main(words) == 0
    ours = [values_of(line) for line in capsys.readouterr().out.splitlines()]
    flown = [values_of(line) for line in run_in(package, program, *words).splitlines()]
    assert len(flown) >= 61
    assert flown == [pytest.approx(values, rel=0.01, abs=0.05) for values in ours]


def values_of(line: str) -> list[float]:
    """Numbers of a line of a flight, the bounds of the time left apart."""
    return [float(number) for number in re.findall(r"\d+\.?\d*", line.partition(" left ")[0])]


@pytest.mark.slow
def test_the_program_of_the_package_writes_and_checks_a_configuration(package: Package) -> None:
    program, config = "/opt/dronebms/bin/dronebms", "/dronebms.toml"
    words = ("init", "--defaults", "--bus", "sim:survey", "--force", "-o", config)
    made = run_in(package, program, *words)
    assert f"start it: dronebms run -c {config}" in made
    checked = run_in(package, program, "check", "-c", config)
    assert re.search(r"^ok +battery 1: sim:survey", checked, re.MULTILINE)


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(package: Package, tmp_path: Path) -> None:
    """In another folder and time zone, with another umask and a longer path."""
    if field(package, "Architecture") != "amd64":
        pytest.skip("the script is the same for every architecture; one is built twice")
    folder = tmp_path / "another place"
    folder.mkdir()
    before = os.umask(0o077)
    try:
        again = build("amd64", folder, TZ="Pacific/Auckland", LC_ALL="C")
    finally:
        os.umask(before)
    assert again.read_bytes() == package.file.read_bytes()


@pytest.mark.slow
def test_the_bill_of_materials_names_what_the_package_brings(
    package: Package, tmp_path: Path
) -> None:
    """The packages of the built root, read without the list that both are made of."""
    if field(package, "Architecture") != "amd64":
        pytest.skip("the list of packages is that of both architectures")
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "dist", "tests"))
    tool = Path(sys.executable).with_name("cyclonedx-py")
    made = run(copy / "packaging/sbom", tool, cwd=copy, PYTHON=sys.executable)
    assert made.returncode == 0, made.stderr[-500:]
    bill = json.loads((copy / "dist" / f"dronebms_{__version__}.cdx.json").read_text())
    listed = {item["name"].lower().replace("_", "-"): item for item in bill["components"]}
    site = package.root / "opt/dronebms/lib/python3.11/site-packages"
    brought = {
        one.metadata["Name"].lower().replace("_", "-"): one.version
        for one in distributions(path=[str(site)])
    }
    own = brought.pop("dronebms")
    assert own == bill["metadata"]["component"]["version"] == __version__
    assert {name: item["version"] for name, item in listed.items() if name != "dronebms"} == brought
    assert not [name for name, item in listed.items() if not item.get("licenses")]
    assert str(copy) not in json.dumps(bill)


def test_another_architecture_is_refused() -> None:
    done = run(ROOT / "packaging/deb/make_package", "riscv64")
    assert (done.returncode, done.stderr) == (2, "ARCH is amd64 or arm64, not riscv64\n")
