"""Boots the guest under QEMU and returns the results of its agent.

QEMU translates every instruction (TCG), so that neither KVM nor any right is needed. The guest's
clock counts its instructions: a busy host makes the guest slow, and nothing in it late.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.kernel.image import EMULATOR, Image

ROOT = Path(__file__).parents[3]
RESULTS = "/dev/ttyS1"
LIMIT_S = 900  # on a loaded machine; half a minute is enough on an idle one
LAST_LINES = 30

Results = dict[tuple[str, str], dict[str, Any]]  # by adapter and check: the agent's rows


class GuestFailed(Exception):  # noqa: N818 - names the event
    """The guest did not finish; contains its last output."""


def boot(image: Image, folder: Path) -> Results:
    """Run the agent in a guest; its output and that of its kernel are stored in a folder.

    Raises:
        GuestFailed: the agent did not come to its end.
    """
    console, results, root = folder / "console.log", folder / "results.jsonl", folder / "root.cpio"
    agent = f"{shlex.quote(sys.executable)} -m tests.integration.kernel.agent {RESULTS}"
    command = f"cd {shlex.quote(str(ROOT))} && exec {agent}"
    root.write_bytes(image.root(("/bin/sh", "-c", command)))
    emulator = [
        EMULATOR, "-accel", "tcg", "-icount", "shift=2", "-cpu", "max", "-smp", "1", "-m", "768",
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-serial", f"file:{console}", "-serial", f"file:{results}",
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
        "-kernel", str(image.kernel), "-initrd", str(root),
        "-append", "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off random.trust_cpu=on",
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - QEMU, with words of ours
            emulator, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise GuestFailed(f"not done after {LIMIT_S} s: {_last(console)}") from error
    if "the guest ended with 0" not in _last(console):
        raise GuestFailed(f"{EMULATOR}: {done.stderr}{_last(console)}")
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {(row["adapter"], row["check"]): row for row in rows}


def _last(console: Path) -> str:
    if not console.exists():
        return ""
    return "\n".join(console.read_text(errors="replace").splitlines()[-LAST_LINES:])
