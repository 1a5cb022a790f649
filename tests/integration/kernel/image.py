# SPDX-License-Identifier: Apache-2.0
"""Image of the guest: Debian's stock kernel and an initramfs with its modules, nothing compiled.

The first root has a static busybox, the modules and a script that mounts two folders of the host
read-only: the root of a Debian of the guest's architecture, which may be the host's own, and this
repository.

Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst for the archive.
"""

import hashlib
import lzma
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration.debian import Missing, packages, require


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer that QEMU emulates."""

    architecture: str  # by Debian's name
    emulator: str
    package: str  # that has the emulator
    options: tuple[str, ...]
    console: str  # of the kernel's command line


MACHINES = (
    Machine(
        "amd64", "qemu-system-x86_64", "qemu-system-x86",
        ("-cpu", "max"), "ttyS0 tsc=reliable",
    ),
    # The processor of a Raspberry Pi 4.
    Machine(
        "arm64", "qemu-system-aarch64", "qemu-system-arm",
        ("-machine", "virt", "-cpu", "cortex-a72"), "ttyAMA0",
    ),
)  # fmt: skip
# Modules of the guest; the modules themselves list their dependencies.
MODULES = (
    "virtio_pci", "9pnet_virtio", "9p",  # the host's files
    "virtio_console",  # the results
    "i2c-dev", "uhid", "hid-cp2112", "vhci-hcd", "i2c-tiny-usb",  # the adapters
    "sbs-battery",  # the reference
    "can-raw", "vcan",  # a CAN bus
)  # fmt: skip
REPOSITORY = "/mnt"  # its place in the guest


@dataclass(frozen=True, slots=True)
class Image:
    """Files for QEMU."""

    machine: Machine
    kernel: Path
    busybox: Path
    modules: tuple[Path, ...]  # in the order in which they load

    def root(self, command: Sequence[str]) -> bytes:
        """An initramfs that runs a command of the mounted root as root of the guest."""
        script = _INIT.format(
            modules=" ".join(path.name for path in self.modules),
            repository=REPOSITORY,
            command=shlex.join(command),
        )
        files = {"init": script.encode(), "bin/busybox": self.busybox.read_bytes()}
        files |= {f"modules/{path.name}": path.read_bytes() for path in self.modules}
        return _archive(("bin", "modules", "proc", "sys", "dev", "host"), files)


# The mount over /run is the only writable place of the guest.
_INIT = """#!/bin/busybox sh
b=/bin/busybox
p9="$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro"
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for m in {modules}; do $b insmod /modules/$m || echo "module $m was refused"; done
$b ifconfig lo 127.0.0.1 up
$p9 root /host &&
$p9 repository /host{repository} &&
$b mount -t proc proc /host/proc &&
$b mount -t sysfs sysfs /host/sys &&
$b mount --bind /dev /host/dev &&
$b mount -t tmpfs run /host/run &&
$b env -i PATH=/usr/bin:/bin HOME=/run TMPDIR=/run LANG=C.UTF-8 PYTHONPATH={repository} \
  $b chroot /host {command}
echo "the guest ended with $?"
$b poweroff -f
"""


def image(machine: Machine) -> Image:
    """The newest image, from the cache if present.

    Raises:
        Missing: a program or a package cannot be had.
    """
    require(machine.emulator, machine.package)
    debian = packages(machine.architecture)
    kernel, busybox = debian.kernel(), debian.newest("busybox-static")
    # A list of other modules is another image.
    chosen = hashlib.sha256(repr(MODULES).encode()).hexdigest()[:8]
    files = debian.stored(kernel, f"{kernel}_{chosen}", _choose)
    static = debian.stored(
        busybox,
        f"{busybox}_{machine.architecture}",
        lambda tree, folder: shutil.move(next(tree.glob("**/bin/busybox")), folder),
    )
    modules = tuple(sorted(files.glob("*.ko")))
    return Image(machine, files / "vmlinuz", static / "busybox", modules)


def _choose(tree: Path, folder: Path) -> None:
    """Store the needed files of an unpacked kernel package."""
    shutil.move(next((tree / "boot").glob("vmlinuz-*")), folder / "vmlinuz")
    modules = next(tree.glob("**/lib/modules/*"))
    for place, (stem, content) in enumerate(_loading_order(modules, MODULES)):
        (folder / f"{place:02}-{stem}.ko").write_bytes(content)


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
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


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
