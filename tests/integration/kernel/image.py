"""Image of the guest: Debian's stock kernel and an initramfs with its modules, nothing compiled.

The kernel package is the newest of the Debian release that the host runs, found and fetched by apt
as the calling user, and stored in a folder outside the repository, by its version:
`$DRONEBMS_KERNEL_CACHE`, else `~/.cache/dronebms-kernel`. The first root has a static busybox, the
modules and a script that mounts the host's `/` read-only, so that the guest runs this very Python
with these very packages.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst for the archive.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

MACHINE = "x86_64"
META_PACKAGE = "linux-image-amd64"  # depends on the newest kernel of the release
EMULATOR = "qemu-system-x86_64"
BUSYBOX = Path("/bin/busybox")
# Modules of the guest; the modules themselves list their dependencies.
MODULES = (
    "virtio_pci", "9pnet_virtio", "9p",  # the host's files
    "i2c-dev", "uhid", "hid-cp2112", "vhci-hcd", "i2c-tiny-usb",  # the adapters
    "sbs-battery",  # the reference
)  # fmt: skip
HOW_TO_GET_IT = "sudo apt-get update && sudo apt-get install qemu-system-x86 busybox-static"


class Missing(Exception):  # noqa: N818 - no error: the tests are skipped with this sentence
    """Something that the guest needs is missing on this machine; names it, and how to get it."""


@dataclass(frozen=True, slots=True)
class Image:
    """Files for QEMU."""

    kernel: Path
    version: str  # of the Debian package
    modules: tuple[Path, ...]  # in the order in which they load

    def root(self, command: Sequence[str]) -> bytes:
        """An initramfs that runs a command of the host as root of the guest."""
        script = _INIT.format(
            modules=" ".join(path.name for path in self.modules), command=shlex.join(command)
        )
        files = {"init": script.encode(), "bin/busybox": BUSYBOX.read_bytes()}
        files |= {f"modules/{path.name}": path.read_bytes() for path in self.modules}
        return _archive(("bin", "modules", "proc", "sys", "dev", "host"), files)


# The mount over /run is the only writable place of the guest.
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for m in {modules}; do $b insmod /modules/$m || echo "module $m was refused"; done
$b ifconfig lo 127.0.0.1 up
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host &&
$b mount -t proc proc /host/proc &&
$b mount -t sysfs sysfs /host/sys &&
$b mount --bind /dev /host/dev &&
$b mount -t tmpfs run /host/run &&
$b env -i PATH=/usr/bin:/bin HOME=/run TMPDIR=/run LANG=C.UTF-8 $b chroot /host {command}
echo "the guest ended with $?"
$b poweroff -f
"""


def image() -> Image:
    """The newest image, from the cache if present.

    Raises:
        Missing: a program or a package cannot be had.
    """
    if platform.machine() != MACHINE:
        raise Missing(f"the guest runs this Python, and its kernel is for {MACHINE} alone")
    for program in (EMULATOR, "apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is missing; on Debian: {HOW_TO_GET_IT}")
    if not BUSYBOX.exists() or b"/ld-linux" in BUSYBOX.read_bytes():
        raise Missing(f"a static {BUSYBOX} is missing; on Debian: {HOW_TO_GET_IT}")
    package = _newest_package()
    cache = os.environ.get("DRONEBMS_KERNEL_CACHE") or Path.home() / ".cache" / "dronebms-kernel"
    folder = Path(cache) / package
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _fill(folder)
    modules = tuple(sorted(folder.glob("*.ko")))
    return Image(folder / "vmlinuz", package.rpartition("_")[2], modules)


def _newest_package() -> str:
    """`linux-image-<release>_<version>`."""
    depends = _output_of("apt-cache", "depends", "--important", META_PACKAGE)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        raise Missing(f"apt knows no package {META_PACKAGE}; on Debian: {HOW_TO_GET_IT}")
    shown = _output_of("apt-cache", "show", "--no-all-versions", found[1])
    version = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
    if version is None:
        raise Missing(f"apt knows no version of {found[1]}; on Debian: {HOW_TO_GET_IT}")
    return f"{found[1]}_{version[1]}"


def _fill(folder: Path) -> None:
    """Fetch a kernel package and store the needed files, all or none."""
    with TemporaryDirectory(dir=folder.parent, prefix="unpacking-") as name:
        work = Path(name)
        package = folder.name.replace("_", "=")
        _output_of("apt-get", "download", "--quiet", package, cwd=work)
        _output_of("dpkg-deb", "--extract", str(next(work.glob("*.deb"))), str(work / "all"))
        kept = work / "kept"
        kept.mkdir()
        shutil.move(next((work / "all" / "boot").glob("vmlinuz-*")), kept / "vmlinuz")
        tree = next((work / "all").glob("**/lib/modules/*"))
        for place, (stem, content) in enumerate(_loading_order(tree, MODULES)):
            (kept / f"{place:02}-{stem}.ko").write_bytes(content)
        kept.rename(folder)


def _loading_order(tree: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of modules, each after its dependencies."""
    files = {_plain(path.name.partition(".")[0]): path for path in tree.rglob("*.ko*")}
    built_in = (tree / "modules.builtin").read_text().splitlines()
    done = {_plain(Path(line).stem) for line in built_in}

    def load(stem: str) -> Iterator[tuple[str, bytes]]:
        if stem in done:
            return
        done.add(stem)
        if stem not in files:
            raise Missing(f"the Debian kernel {tree.name} has no module {stem}")
        content = _unpacked(files[stem])
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in depends[1].decode().split(",") if depends else ():
            if needed:
                yield from load(_plain(needed))
        yield stem, content

    for name in wanted:
        yield from load(_plain(name))


def _plain(module: str) -> str:
    return module.replace("-", "_")


def _unpacked(path: Path) -> bytes:
    """A module, uncompressed; newer releases of Debian pack them with xz."""
    if path.suffix != ".xz":
        return path.read_bytes()
    unpack = (str(BUSYBOX), "xzcat", str(path))
    return subprocess.run(unpack, capture_output=True, check=True).stdout  # noqa: S603 - busybox


def _output_of(*command: str, cwd: Path | None = None) -> str:
    """Output of a program of Debian's."""
    plain = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 - programs of Debian's, with names of its packages
        command, cwd=cwd, env=plain, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Missing(f"{shlex.join(command)} failed: {last}; on Debian: {HOW_TO_GET_IT}")
    return done.stdout


def _archive(folders: Iterable[str], files: Mapping[str, bytes]) -> bytes:
    """A cpio archive for the initramfs."""
    entries = [(name, 0o040755, b"") for name in folders]
    entries += [(name, 0o100755, content) for name, content in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    archive = bytearray()
    for number, (name, mode, content) in enumerate(entries, start=1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
