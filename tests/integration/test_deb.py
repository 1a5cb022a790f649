"""`make deb`: files, fields, and the program as the package brings it, for both architectures."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from dronebms import __version__

ROOT = Path(__file__).parents[2]
TARGET_PYTHON = Path("/usr/bin/python3.11")  # of Debian 12
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


def run(
    *words: str | Path, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(  # noqa: S603 - our own programs, and dpkg-deb
        [str(word) for word in words],
        cwd=cwd,
        env=plain | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def build(arch: str, folder: Path, **environment: str) -> Path:
    """Build the package of a copy of this project; return x.deb in the folder."""
    for name in ("make", "dpkg-deb"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is missing; install it with: sudo apt install make dpkg")
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "dist", "tests"))
    built = run("make", "deb", f"ARCH={arch}", f"PYTHON={sys.executable}", cwd=copy, **environment)
    if "No matching distribution" in built.stderr or "Connection" in built.stderr:
        pytest.skip(f"pip cannot download here: {built.stderr.splitlines()[-1:]}")
    assert built.returncode == 0, built.stderr[-500:]
    (deb,) = (copy / "dist").glob("*.deb")
    assert deb.name == f"dronebms_{__version__}_{arch}.deb"
    deb.rename(folder / "x.deb")
    shutil.rmtree(copy)
    return folder / "x.deb"


@pytest.fixture(scope="module", params=list(ELF_MACHINES))
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and its files, of one architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    deb = build(request.param, folder)
    run("dpkg-deb", "-x", deb, folder / "root").check_returncode()
    return folder


def field(package: Path, name: str) -> str:
    return run("dpkg-deb", "-f", package / "x.deb", name).stdout.strip()


@pytest.mark.slow
def test_the_package_has_its_files_and_compiled_ones_of_its_architecture(package: Path) -> None:
    root, arch = package / "root", field(package, "Architecture")
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert files >= FILES
    assert (root / "usr/bin/dronebms").readlink() == Path("/opt/dronebms/bin/dronebms")
    assert not [name for name in files if name.startswith(("etc/", "usr/local/"))]
    assert "/usr/local" not in (root / "usr/share/dronebms/dronebms.toml").read_text()
    unit = (root / "usr/lib/systemd/system/dronebms.service").read_text()
    assert "ExecStart=/opt/dronebms/bin/python -I -m dronebms.cli run" in unit
    compiled = list(root.rglob("*.so"))
    assert len(compiled) > 10
    machines = {struct.unpack_from("<H", path.read_bytes(), 18)[0] for path in compiled}
    assert machines == {ELF_MACHINES[arch]}
    installed_kb = int(field(package, "Installed-Size"))
    assert 100_000 < installed_kb < 200_000


@pytest.mark.slow
def test_the_scripts_of_the_package_are_valid_shell(package: Path) -> None:
    run("dpkg-deb", "-e", package / "x.deb", package / "control").check_returncode()
    for name in ("postinst", "prerm", "postrm"):
        checked = run("sh", "-n", package / "control" / name)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_the_program_of_the_package_flies_with_the_python_of_the_target(package: Path) -> None:
    if not TARGET_PYTHON.exists() or field(package, "Architecture") != "amd64":
        pytest.skip(f"{TARGET_PYTHON} of this architecture is missing: it is that of Debian 12")
    python = package / "root/opt/dronebms/bin/python"
    flight = ("sim", "--headless", "--speed", "max", "--duration", "3")
    flown = run(python, "-I", "-m", "dronebms.cli", *flight, cwd=package)
    assert (flown.returncode, flown.stderr) == (0, "")
    assert len(flown.stdout.splitlines()) == 4
    prefix = run(python, "-I", "-c", "import sys, numpy; print(sys.prefix, numpy.__file__)").stdout
    assert re.fullmatch(rf"({package}/root/opt/dronebms\S* ?){{2}}\n", prefix)
    config = package / "x.toml"
    words = ("init", "--defaults", "--bus", "sim:survey", "-o", config)
    made = run(python, "-I", "-m", "dronebms.cli", *words, cwd=package)
    assert (made.returncode, made.stderr) == (0, "")
    assert f"start it: dronebms run -c {config}" in made.stdout


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(package: Path, tmp_path: Path) -> None:
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
    assert again.read_bytes() == (package / "x.deb").read_bytes()


@pytest.mark.slow
def test_the_bill_of_materials_names_what_the_package_brings(package: Path, tmp_path: Path) -> None:
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
    site = package / "root/opt/dronebms/lib/python3.11/site-packages"
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
