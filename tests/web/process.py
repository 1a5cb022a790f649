# SPDX-License-Identifier: Apache-2.0
"""`dronebms web` as a process, and a status socket that sends reports of a scene to it."""

import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from dronebms.core.report import Report
from dronebms.telemetry.status_socket import StatusServer
from tests.mavlink_bridge.loopback import WAIT_S

_PERIOD_S = 0.2


def moved(report: Report, by_s: float) -> Report:
    """The same report at a later time, its readings of the same age."""
    snapshot = report.snapshot
    read_at_s = {name: at_s + by_s for name, at_s in snapshot.read_at_s.items()}
    return replace(
        report,
        t_s=report.t_s + by_s,
        snapshot=replace(snapshot, t_s=snapshot.t_s + by_s, read_at_s=read_at_s),
    )


class Scene:
    """A status socket that sends these reports in real time, from a thread."""

    def __init__(self, path: Path, reports: Sequence[Report]) -> None:
        self.reports = reports
        self._server = StatusServer(path)
        self._ended = Event()
        self._thread = Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        start_s = monotonic()
        while not self._ended.wait(_PERIOD_S):
            for report in self.reports:
                self._server(moved(report, monotonic() - start_s))

    def close(self) -> None:
        """End as a service does."""
        self._ended.set()
        self._thread.join()
        self._server.close()


class WebProcess:
    """`dronebms web` on a port of this computer.

    Args:
        socket: the status socket.
        options: further ones of the command.
        listen: address; port 0 is a free one.
    """

    def __init__(self, socket: Path, *options: str, listen: str = "127.0.0.1:0") -> None:
        command = (sys.executable, "-m", "dronebms.cli", "web", "--socket", str(socket))
        self.process = subprocess.Popen(  # noqa: S603 - this project's own command
            (*command, "--listen", listen, *options), stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"page at http://(\S+:(\d+))/", line)
        assert found is not None, line + self.process.stderr.read()
        self.port = int(found[2])
        self.url = f"http://127.0.0.1:{self.port}/"

    def connect(self) -> socket.socket:
        """A connection of a viewer."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def get(self, path: str = "/", method: str = "GET", **headers: str) -> str:
        """The whole answer to a request, head and body."""
        head = {"Host": "localhost", "Connection": "close"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {head[name]}" for name in head)]
        with self.connect() as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            data = b""
            while piece := connection.recv(1 << 16):
                data += piece
        return data.decode()

    def close(self) -> None:
        """End the process by SIGKILL."""
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


class Stream:
    """One viewer of `/events` without a browser."""

    def __init__(self, web: WebProcess, *, receive_bytes: int | None = None) -> None:
        self.connection = socket.socket()
        if receive_bytes is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.connection.settimeout(WAIT_S)
        self.connection.connect(("127.0.0.1", web.port))
        self.connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.text = ""

    def until(self, text: str) -> str:
        """Read until a text arrives; everything up to and with it."""
        end_s = monotonic() + WAIT_S
        while text not in self.text:
            assert monotonic() < end_s, f"{text} not in {self.text[-3000:]}"
            piece = self.connection.recv(1 << 16)
            assert piece, "the stream ended"
            self.text += piece.decode()
        before, found, self.text = self.text.partition(text)
        return before + found

    def close(self) -> None:
        """Leave."""
        self.connection.close()
