"""Reports of a running service to viewers on this computer: a Unix socket that is only read.

One JSON line is one `Report`, sent twice a second for each battery and at once with every event.
The service never waits for a viewer: each viewer has its own queue that drops the oldest lines,
and a viewer that takes nothing for a minute is disconnected. `read_status` is the client. Seconds;
the times of a report are of the service's clock, ages are by the viewer's own clock.
"""

import errno
import logging
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dronebms.core.clock import Clock
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.report import Estimate, Report, Severity, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE

_EACH_S = 0.5 - 1e-6  # sums of steps are not exact
_LINES = 64  # that wait for one viewer
_HOPELESS_S = 60.0
_MOST_VIEWERS = 200  # of the thousand files that a process may have open
_MODE = 0o660
_TICK_S = 0.5
_SILENT_S = 1.5  # three lines that have not come
_PIECE, _MOST_LINE = 65536, 1 << 20  # bytes
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Viewer:
    wire: socket.socket
    took_s: float  # when it last took something, or had taken everything
    lines: deque[bytes] = field(default_factory=lambda: deque(maxlen=_LINES))
    begun: bytes = b""  # what is left of a line

    def flush(self, now_s: float) -> bool:
        """Send what goes without waiting; return whether the viewer is still worth it."""
        try:
            while self.begun or self.lines:
                self.begun = self.begun or self.lines.popleft()
                self.begun = self.begun[self.wire.send(self.begun) :]
                self.took_s = now_s
        except BlockingIOError:
            return now_s - self.took_s < _HOPELESS_S
        except OSError:
            return False  # it has gone
        self.took_s = now_s
        return True


class StatusServer:
    """The service's end: a sink of reports. For one thread.

    Args:
        path: of the socket; one that a dead service has left is replaced.

    Raises:
        ConfigError: a living service has it, or it is no socket.
        OSError: it cannot be made there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _make_way(path)
        self._ears = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._ears.settimeout(0.0)
            self._ears.bind(str(path))
            path.chmod(_MODE)  # before anybody can connect
            self._ears.listen()
            self._inode = path.stat().st_ino
        except OSError:
            self._ears.close()
            raise
        self._viewers: list[_Viewer] = []
        self._newest: dict[int, tuple[float, bytes]] = {}
        self._codec = TypeAdapter(Report)

    def __call__(self, report: Report) -> None:
        """Tell every viewer what is due, and let nobody wait."""
        now_s = report.t_s
        told_s, line = self._newest.get(report.index, (None, b""))
        if told_s is None or now_s - told_s >= _EACH_S or report.status.events:
            line = self._codec.dump_json(report) + b"\n"
            self._newest[report.index] = now_s, line
            for viewer in self._viewers:
                viewer.lines.append(line)
        self._welcome(now_s)
        gone = [viewer for viewer in self._viewers if not viewer.flush(now_s)]
        for viewer in gone:
            viewer.wire.close()
            self._viewers.remove(viewer)

    def close(self) -> None:
        """Send everybody away and take the socket off the disk."""
        for wire in (self._ears, *(viewer.wire for viewer in self._viewers)):
            wire.close()
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            pass

    def _welcome(self, now_s: float) -> None:
        """Let in who has come; everybody begins with what was told last."""
        try:
            while True:
                wire, _ = self._ears.accept()
                if len(self._viewers) >= _MOST_VIEWERS:
                    wire.close()
                    continue
                wire.settimeout(0.0)
                viewer = _Viewer(wire, now_s)
                viewer.lines.extend(line for _, line in self._newest.values())
                self._viewers.append(viewer)
        except OSError:
            pass  # nobody has come, or there is no room for one more file


def _make_way(path: Path) -> None:
    """Remove the socket of a service that has died."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return
    if not path.is_socket():
        raise ConfigError(f"{path} is there already and is no socket; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(0.0)
        if knock.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise ConfigError(f"{path} is served by another dronebms run")
    path.unlink()


# ---------------------------------------------------------------------- the viewer's end


def read_status(path: Path, clock: Clock) -> Iterator[Report]:
    """Yield what a service tells, without end, over its restarts too.

    While it is silent, what was told last is yielded twice a second as it stands then: unknown.

    Args:
        path: of the socket.
        clock: the viewer's own.

    Raises:
        LinkError: there is no service to begin with, or one of another version.
    """
    codec, begun = TypeAdapter(Report), b""
    wire: socket.socket | None = _connected(path)
    heard: dict[int, tuple[Report, float]] = {}
    ahead_s = 0.0  # the service's clock before ours
    try:
        while True:
            data = _received(wire, clock)
            if data == b"":
                wire, begun = _again(wire, path), b""
            *lines, begun = (begun + (data or b"")).split(b"\n")
            now_s = clock.now_s()
            for line in lines:
                report = _decoded(codec, line, path)
                heard[report.index], ahead_s = (report, now_s), report.t_s - now_s
                yield report
            if len(begun) > _MOST_LINE:
                raise LinkError(f"{path} does not send what dronebms does")
            why = "the service is silent" if data is None else "no service is running, waiting"
            for report, at_s in heard.values():
                if now_s - at_s > _SILENT_S:
                    yield _aged(report, now_s + ahead_s, now_s - at_s, why)
    finally:
        if wire is not None:
            wire.close()


def _connected(path: Path) -> socket.socket:
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    wire.settimeout(_TICK_S)
    try:
        wire.connect(str(path))
    except OSError as error:
        wire.close()
        raise LinkError(f"no service is found at {path}: {error.strerror or error}") from error
    return wire


def _again(wire: socket.socket | None, path: Path) -> socket.socket | None:
    if wire is not None:
        wire.close()
    try:
        return _connected(path)
    except LinkError:
        pass
    return None


def _received(wire: socket.socket | None, clock: Clock) -> bytes | None:
    """Return what has come, None when nothing has for half a second, b"" when nothing will."""
    try:
        data = b"" if wire is None else wire.recv(_PIECE)
    except TimeoutError:
        return None
    except OSError:
        data = b""
    if not data:
        clock.sleep_until(clock.now_s() + _TICK_S)
    return data


def _decoded(codec: TypeAdapter[Report], line: bytes, path: Path) -> Report:
    try:
        return codec.validate_json(line)
    except ValidationError as error:
        raise LinkError(f"{path}: the service is of another version than this viewer") from error


def _aged(report: Report, t_s: float, age_s: float, why: str) -> Report:
    """Return what is left of a report that is so old: nothing but what pack it was.

    Its times are moved to `t_s` of a clock that may have begun again since.
    """
    stale = report.snapshot.at(report.t_s + age_s)
    moved_s = t_s - stale.t_s
    read_at_s = {name: at_s + moved_s for name, at_s in stale.read_at_s.items()}
    return replace(
        report,
        t_s=t_s,
        snapshot=replace(stale, t_s=t_s, read_at_s=read_at_s, trouble=why),
        vehicle=UNKNOWN_VEHICLE,
        estimate=Estimate(t_s),
        status=Status(t_s, Severity.WARNING, ("silent",)),
        requests=(),
    )
