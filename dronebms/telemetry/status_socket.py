# SPDX-License-Identifier: Apache-2.0
"""Status socket: reports of a running service to viewers on this computer, read-only.

One JSON line is one `Report`, sent twice a second for each battery and at once with every event;
values that equal the default of their field are left out, and so is the plan of the vehicle.
The service never waits for a viewer: each viewer has its own queue that drops the oldest lines,
and a viewer that takes nothing for a minute is disconnected. `read_status` is the client. Seconds;
the times of a report are of the service's clock, ages are by the viewer's own clock.
"""

import errno
import logging
import socket
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from dronebms.core.clock import Clock
from dronebms.core.errors import ConfigError, InUseError, LinkError
from dronebms.core.report import Estimate, Report, Severity, Status
from dronebms.core.state import adapter_of
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE

_PERIOD_S = 0.5 - 1e-6  # sums of steps are not exact
_MAX_LINES = 64  # queued for one viewer
_STALLED_S = 60.0
_MAX_VIEWERS = 200  # of the 1024 files that a process may open
_MODE = 0o660
_TICK_S = 0.5
_START_S = 2.0  # for a connection at the start
_SILENT_S = 1.5  # three missing lines
# bytes
_CHUNK = 65536
_MAX_LINE = 1 << 20
_UNSENT = {"vehicle": {"plan"}}  # of some 100 bytes an item; no viewer shows it


@dataclass(frozen=True, slots=True)
class _ServiceState:
    """Why a viewer receives nothing."""

    key: str  # in `Status.active`
    label: str
    why: str


_SILENT = _ServiceState("service_silent", "service silent", "the service is silent")
_ABSENT = _ServiceState(
    "service_absent", "service not running", "no service is running, reconnecting"
)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Viewer:
    connection: socket.socket
    progress_s: float  # last time that data was sent or the queue was empty
    lines: deque[bytes] = field(default_factory=lambda: deque(maxlen=_MAX_LINES))
    partial: bytes = b""  # unsent rest of a line

    def flush(self, now_s: float) -> bool:
        """Send without waiting; return false when the viewer is to be disconnected."""
        try:
            while self.partial or self.lines:
                self.partial = self.partial or self.lines.popleft()
                self.partial = self.partial[self.connection.send(self.partial) :]
                self.progress_s = now_s
        except BlockingIOError:
            return now_s - self.progress_s < _STALLED_S
        except OSError:
            return False  # disconnected
        self.progress_s = now_s
        return True


class StatusServer:
    """Server of the status socket: a sink of reports. For one thread.

    Args:
        path: of the socket; the socket of a dead service is replaced.

    Raises:
        InUseError: another service uses the socket.
        ConfigError: the path is no socket.
        OSError: the socket cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _remove_dead_socket(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.settimeout(0.0)
            self._listener.bind(str(path))
            path.chmod(_MODE)  # before a viewer can connect
            self._listener.listen()
            self._inode = path.stat().st_ino
        except OSError:
            self._listener.close()
            raise
        self._viewers: list[_Viewer] = []
        self._newest: dict[int, Report] = {}  # the last one that was due, of each battery
        self._accepted_s: float | None = None

    def __call__(self, report: Report) -> None:
        """Enqueue the report for all viewers if it is due, and send without waiting."""
        now_s = report.t_s
        sent = self._newest.get(report.index)
        if sent is None:
            adapter_of(Report)  # at the start: it would delay a later step
        if sent is None or now_s - sent.t_s >= _PERIOD_S or report.status.events:
            self._newest[report.index] = report
            if self._viewers:
                line = _line(report)
                for viewer in self._viewers:
                    viewer.lines.append(line)
        if now_s != self._accepted_s:  # once a step, not with each battery
            self._accepted_s = now_s
            self._accept(now_s)
        lost = [viewer for viewer in self._viewers if not viewer.flush(now_s)]
        for viewer in lost:
            viewer.connection.close()
            self._viewers.remove(viewer)

    def close(self) -> None:
        """Disconnect all viewers and remove the socket."""
        for viewer in self._viewers:
            viewer.connection.close()
        self._listener.close()
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            pass  # already removed

    def _accept(self, now_s: float) -> None:
        """Accept new viewers; each receives the newest report of every battery first."""
        try:
            while True:
                connection, _ = self._listener.accept()
                if len(self._viewers) >= _MAX_VIEWERS:
                    connection.close()
                    continue
                connection.settimeout(0.0)
                viewer = _Viewer(connection, now_s)
                viewer.lines.extend(_line(report) for report in self._newest.values())
                self._viewers.append(viewer)
        except OSError:
            pass  # no new viewer, or too many open files


def _line(report: Report) -> bytes:
    """A report as a viewer receives it."""
    line: bytes = adapter_of(Report).dump_json(report, exclude=_UNSENT, exclude_defaults=True)
    return line + b"\n"


def _remove_dead_socket(path: Path) -> None:
    """Remove the socket of a dead service."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return
    if not path.is_socket():
        raise ConfigError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0.0)
        if client.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise InUseError(f"{path} is in use by another dronebms run")
    path.unlink()


# ---------------------------------------------------------------------- client


def read_status(path: Path, clock: Clock) -> Iterator[Report]:
    """Yield the reports of a service without end, reconnecting after its restarts.

    While the service is silent, the last report of each battery is yielded twice a second without
    its values.

    Args:
        path: of the socket.
        clock: the viewer's own.

    Raises:
        LinkError: no service at the start, or a service of another version.
    """
    partial = b""
    connection: socket.socket | None = _connected(path, _START_S)
    received: dict[int, tuple[Report, float]] = {}
    ahead_s = 0.0  # the service's clock minus ours
    try:
        while True:
            data = _received(connection, clock)
            if data == b"":
                connection = _reconnected(connection, path)
                partial = b""
            *lines, partial = (partial + (data or b"")).split(b"\n")
            now_s = clock.now_s()
            for line in lines:
                report = _decoded(line, path)
                received[report.index] = report, now_s
                ahead_s = report.t_s - now_s
                yield report
            if len(partial) > _MAX_LINE:
                raise LinkError(f"{path}: the server is no dronebms service")
            state = _SILENT if data is None else _ABSENT
            for report, at_s in received.values():
                if now_s - at_s > _SILENT_S:
                    yield _aged(report, now_s + ahead_s, now_s - at_s, state)
    finally:
        if connection is not None:
            connection.close()


def _connected(path: Path, wait_s: float) -> socket.socket:
    """Connection to the service; while too many others wait for theirs, `wait_s` at most."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A socket with a timeout of its own does not wait for a place among those.
    seconds, part = divmod(wait_s, 1.0)
    wait = struct.pack("@ll", int(seconds), int(part * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
    try:
        connection.connect(str(path))
        connection.settimeout(_TICK_S)
    except PermissionError as error:
        connection.close()
        raise LinkError(
            f"{path} is not for this user; join its group: sudo usermod -aG {_group(path)} $USER, "
            "then log in again"
        ) from error
    except BlockingIOError as error:
        connection.close()
        raise LinkError(f"{path}: the service accepts no connection for {wait_s:g} s") from error
    except OSError as error:
        connection.close()
        raise LinkError(f"no service at {path}: {error.strerror or error}") from error
    return connection


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):  # without a name, or in a folder that is not for this user
        return "i2c"  # of the unit


def _reconnected(connection: socket.socket | None, path: Path) -> socket.socket | None:
    if connection is not None:
        connection.close()
    try:
        return _connected(path, _TICK_S)
    except LinkError:
        return None


def _received(connection: socket.socket | None, clock: Clock) -> bytes | None:
    """Received data, `None` after half a second without data, b"" without a connection."""
    try:
        data = b"" if connection is None else connection.recv(_CHUNK)
    except TimeoutError:
        return None
    except OSError:
        data = b""
    if not data:
        clock.sleep_until(clock.now_s() + _TICK_S)
    return data


def _decoded(line: bytes, path: Path) -> Report:
    try:
        report: Report = adapter_of(Report).validate_json(line)
    except ValidationError as error:
        raise LinkError(f"{path}: service and viewer have different versions") from error
    return report


def _aged(report: Report, t_s: float, age_s: float, state: _ServiceState) -> Report:
    """The report without its expired values, at `t_s` of a clock that may have restarted.

    It blames the service, not the gauge.
    """
    stale = report.snapshot.at(report.t_s + age_s)
    moved_s = t_s - stale.t_s
    read_at_s = {name: at_s + moved_s for name, at_s in stale.read_at_s.items()}
    return replace(
        report,
        t_s=t_s,
        snapshot=replace(stale, t_s=t_s, read_at_s=read_at_s, trouble=state.why),
        vehicle=UNKNOWN_VEHICLE,
        estimate=Estimate(t_s),
        status=Status(t_s, Severity.WARNING, (state.key,), labels={state.key: state.label}),
        requests=(),
    )
