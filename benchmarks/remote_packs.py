# SPDX-License-Identifier: Apache-2.0
"""Simulates packs in one process for a `dronebms` in another one.

The bus `/dev/NAME` is a Unix socket of that name; one message is one transfer, like an `ioctl` of the kernel,
so that a service is measured without the simulation. `python -m benchmarks.remote_packs FOLDER ARGUMENTS...`
runs `dronebms ARGUMENTS...` on the buses that are served in FOLDER.
"""

import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from dronebms.cli.main import main, start_quickly
from smartbattery.bus import Bus
from smartbattery.errors import BusError, NackError

_MOST_BYTES = 1024


class SocketBus:
    """A bus whose transfers another process carries out."""

    def __init__(self, folder: Path, path: str) -> None:
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._wire.connect(str(folder / Path(path).name))

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Carry out one transfer; see `smartbattery.bus.Bus`."""
        self._wire.send(bytes((address, rx_len)) + tx)
        reply = self._wire.recv(_MOST_BYTES)
        if reply[:1] != b"+":
            raise NackError(f"no device acknowledged 0x{tx[0]:02x}")
        return reply[1:]


def serve(folder: Path, name: str, bus: Bus) -> None:
    """Serve a bus as `/dev/NAME` to another process, from a thread."""
    ears = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ears.bind(str(folder / name))
    ears.listen()
    threading.Thread(target=_answer, args=(ears, bus), daemon=True).start()


def _answer(ears: socket.socket, bus: Bus) -> None:
    with ears, ears.accept()[0] as wire:
        while asked := wire.recv(_MOST_BYTES):
            try:
                wire.send(b"+" + bus.transfer(asked[0], asked[2:], asked[1]))
            except BusError:
                wire.send(b"-")


def run(served: Path, arguments: Sequence[str]) -> int:
    """Run a command on the buses that are served in a folder; return its exit code."""
    start_quickly()  # before what `main` would load after it
    import dronebms.service.sources.battery_sources  # noqa: PLC0415 - see above

    # Instead of the adapter of the kernel.
    vars(dronebms.service.sources.battery_sources)["LinuxBus"] = lambda path, _recover: SocketBus(
        served, path
    )
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
