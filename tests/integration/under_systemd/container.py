# SPDX-License-Identifier: Apache-2.0
"""A container in which systemd is process 1, and commands in it."""

import ctypes
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.namespace import CLONE_NEWNET

_BOOT_S = 60.0
_LIMIT_S = 120.0
_STEP_S = 0.1
_LAST_LINES = 20


class NotBooted(Exception):  # noqa: N818 - names the event
    """systemd does not come up in the container; contains its last output."""


@dataclass(frozen=True, slots=True)
class Done:
    """End of a command."""

    code: int
    out: str
    err: str
    took_s: float


class Container:
    """A booted container.

    Attributes:
        root: its root, seen from here.
    """

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self._leader = leader

    def run(self, command: str) -> Done:
        """Run a shell command as root, with the environment of a login."""
        enter = ("nsenter", f"--target={self._leader}", "--all", "--root", "--wd", "--")
        words = (*enter, "/usr/bin/env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb")
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        start_s = time.monotonic()
        done = subprocess.run(  # noqa: S603 - a command of the test
            (*words, path, "/bin/bash", "-c", f"cd /root; {command}"), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start_s)

    def out(self, command: str) -> str:
        """Output of a command that must succeed."""
        done = self.run(command)
        text = f"{command}: {done.code}\n{done.out[-1000:]}{done.err[-1000:]}"
        assert done.code == 0, text
        return done.out.strip()

    def until(self, command: str, limit_s: float) -> float:
        """Seconds until a command succeeds."""
        start_s = time.monotonic()
        while self.run(command).code:
            assert time.monotonic() - start_s < limit_s, f"not within {limit_s:g} s: {command}"
            time.sleep(_STEP_S)
        return time.monotonic() - start_s

    @contextmanager
    def network(self) -> Iterator[None]:
        """Sockets, threads and processes that are made meanwhile are in the container's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        own = Path("/proc/thread-self/ns/net").open("rb")  # noqa: SIM115 - closed below
        with own, Path(f"/proc/{self._leader}/ns/net").open("rb") as theirs:
            assert libc.setns(theirs.fileno(), CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert libc.setns(own.fileno(), CLONE_NEWNET) == 0


@contextmanager
def booted(root: Path, log: Path) -> Iterator[Container]:
    """Give a container with this root, in a network of its own.

    Raises:
        NotBooted: systemd does not come up.
    """
    command = (
        f"systemd-nspawn --quiet --directory={shlex.quote(str(root))} --boot --private-network "
        "--register=no --keep-unit --machine=companion --console=pipe"
    )
    with log.open("wb") as console:
        process = subprocess.Popen(  # noqa: S603 - systemd's own program
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )
        try:
            container = Container(root, _leader(process, log))
            container.until("systemctl is-system-running | grep -Eq 'running|degraded'", _BOOT_S)
            yield container
        finally:
            process.terminate()  # nspawn shuts the container down
            try:
                process.wait(_BOOT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _leader(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Process 1 of the container, once it is systemd."""
    end_s = time.monotonic() + _BOOT_S
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and time.monotonic() < end_s:
        for child in children.read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return int(child)
        time.sleep(_STEP_S)
    last = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    raise NotBooted(f"systemd-nspawn: {process.poll()}: " + "\n".join(last))
