# SPDX-License-Identifier: Apache-2.0
"""Boots the guest under QEMU and returns the results of an agent in it.

QEMU translates every instruction (TCG), so that neither KVM nor any right is needed. The guest's
clock counts its instructions: a busy host makes the guest slow, and nothing in it late.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.kernel.image import Image

ROOT = Path(__file__).parents[3]
RESULTS = "/dev/vport0p1"  # of the first virtio device; not every machine has two serial ports
LIMIT_S = 1800  # on a loaded machine; a minute is enough on an idle one
LAST_LINES = 30

Results = dict[tuple[str, str], dict[str, Any]]  # by adapter and check: the rows of an agent


class GuestFailed(Exception):  # noqa: N818 - names the event
    """The guest did not finish; contains its last output."""


def boot(
    image: Image, debian: Path, python: str, folder: Path, agent: Sequence[str] = ("agent",)
) -> Results:
    """Run an agent in a guest; its output and that of its kernel are stored in a folder.

    Args:
        image: kernel and modules.
        debian: root of a Debian of the guest's architecture.
        python: an interpreter in it, with the packages that the agent imports.
        folder: where the output is stored.
        agent: a module of this package, and its arguments after the port for its results.

    Raises:
        GuestFailed: the agent did not come to its end.
    """
    console, results, root = folder / "console.log", folder / "results.jsonl", folder / "root.cpio"
    machine = image.machine
    module, *arguments = agent
    words = (python, "-m", f"tests.integration.kernel.{module}", RESULTS, *arguments)
    root.write_bytes(image.root(words))
    emulator = [
        machine.emulator, *machine.options, "-accel", "tcg", "-icount", "shift=2", "-smp", "1",
        "-m", "768", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-serial", f"file:{console}", "-chardev", f"file,id=results,path={results}",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=results",
        *_share("root", debian), *_share("repository", ROOT),
        "-kernel", str(image.kernel), "-initrd", str(root), "-append",
        f"console={machine.console} quiet panic=-1 mitigations=off random.trust_cpu=on",
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - QEMU, with words of ours
            emulator, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GuestFailed(f"not done after {LIMIT_S} s: {_last(console)}") from error
    if "the guest ended with 0" not in _last(console):
        raise GuestFailed(f"{machine.emulator}: {done.stderr}{_last(console)}")
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {(row["adapter"], row["check"]): row for row in rows}


def _share(tag: str, folder: Path) -> tuple[str, ...]:
    """Options for a folder of the host that the guest may read."""
    return (
        *(
            "-fsdev",
            f"local,id={tag},path={folder},security_model=none,readonly=on,multidevs=remap",
        ),
        *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    )


def _last(console: Path) -> str:
    if not console.exists():
        return ""
    return "\n".join(console.read_text(errors="replace").splitlines()[-LAST_LINES:])
