# SPDX-License-Identifier: Apache-2.0
"""What a service keeps does not grow with the time that it runs, or with what comes and goes.

The whole of it for hours is `python -m benchmarks.endurance`.
"""

import gc
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from socket import SOCK_STREAM

from dronebms.core.clock import VirtualClock
from dronebms.core.toml_schema import validated
from dronebms.service.config import Config
from dronebms.service.service import Service, limit_garbage
from dronebms.simulation.sitl.rehearsal import VirtualMachine
from dronebms.telemetry.config import MetricsConfig
from dronebms.telemetry.openmetrics import OpenMetricsExporter
from dronebms.telemetry.status_socket import StatusServer
from mavlink_bridge.protocol.link import open_link
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, NackError
from tests.mavlink_bridge.fake_vehicle import FakeVehicle
from tests.mavlink_bridge.loopback import free_port, until
from tests.mavlink_bridge.reports import a_report

STEP_S = 0.5  # the longest that counts as no absence
WARM_S, SPAN_S = 200.0, 200.0
STEPS = round(SPAN_S / STEP_S)
TIMES = 100  # of a connection


def kept() -> int:
    """Objects of this process, and what lies in its containers."""
    gc.collect()
    found = gc.get_objects()
    kinds = (list, dict, set, deque, tuple)
    return len(found) + sum(len(one) for one in found if type(one) in kinds)


class Pluggable:
    """A bus whose pack can be taken away."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.is_plugged = True

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one transfer."""
        if not self.is_plugged:
            raise NackError("no pack")
        return self._bus.transfer(address, tx, rx_len)


def steps(
    folder: Path, stack: ExitStack, seen: Callable[[float], None], plugs: list[Pluggable]
) -> Iterator[None]:
    """Steps of a service whose pack hovers, on a virtual clock, with a vehicle in memory."""
    clock = VirtualClock()
    bus = Pluggable(open_virtual("hover", clock)[0])
    plugs.append(bus)
    vehicle = FakeVehicle()
    text = f'[[battery]]\nbus = "/dev/i2c-9"\n[status]\nsocket = "{folder}/s.sock"\n'
    config = validated(Config, text, "x.toml")
    service = Service(config, stack, clock, VirtualMachine(vehicle, [bus]))

    def ticks() -> Iterator[float]:
        t_s = 0.0
        while True:
            if t_s.is_integer():
                vehicle.beat()
                vehicle.received.clear()
            yield t_s
            t_s += STEP_S

    for report in service.reports(ticks()):
        seen(report.t_s)
        yield


def test_a_step_leaves_nothing_behind(tmp_path: Path) -> None:
    """One float in each step would be seen, which the last part proves."""
    leak: list[float] = []
    leaks = [False]

    def seen(t_s: float) -> None:
        if leaks[0]:
            leak.append(t_s)

    with ExitStack() as stack:
        run = steps(tmp_path, stack, seen, [])
        for _ in range(round(WARM_S / STEP_S)):
            next(run)
        sizes = [kept()]
        for leaks[0] in (False, True):
            for _ in range(STEPS):
                next(run)
            sizes.append(kept())
    clean, leaking = sizes[1] - sizes[0], sizes[2] - sizes[1]
    assert clean < STEPS / 2, sizes
    assert leaking > STEPS / 2, sizes


def errors() -> list[BatteryError]:
    """Every error of a pack that is in memory."""
    return [one for one in gc.get_objects() if isinstance(one, BatteryError)]


def test_a_pack_that_is_away_leaves_no_garbage(tmp_path: Path) -> None:
    """Errors that keep themselves would be kept until garbage is searched: megabytes of them."""
    plugs: list[Pluggable] = []
    with ExitStack() as stack:
        run = steps(tmp_path, stack, lambda _: None, plugs)

        def step(times: int) -> None:
            for _ in range(times):
                next(run)

        step(STEPS)
        gc.collect()
        others = {id(one) for one in errors()}  # those that other modules have as constants
        gc.disable()
        stack.callback(gc.enable)
        for plugs[0].is_plugged in (True, False, True):
            step(100)
            assert [one for one in errors() if id(one) not in others] == []
        assert gc.collect() == 0


class Cycle:
    """Garbage that its count of references does not free."""

    itself: "Cycle"


def test_garbage_is_searched_among_what_a_service_makes_while_it_runs() -> None:
    """Such as the closures that each file of a learned pack leaves."""
    before = gc.get_threshold()
    try:
        gc.set_threshold(20_000, 10, 10)  # of the start
        limit_garbage()
        frozen = gc.get_freeze_count()
        for _ in range(3000):
            cycle = Cycle()
            cycle.itself = cycle
        left = sum(type(one) is Cycle for one in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
    assert frozen > 10_000
    assert left < 2500


def descriptors() -> int:
    """Open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_viewers_that_come_and_go_leave_no_descriptor(tmp_path: Path) -> None:
    with closing(StatusServer(tmp_path / "s.sock")) as server:
        server(a_report(0.0))
        before = descriptors()
        for time in range(TIMES):
            with socket.socket(socket.AF_UNIX) as viewer:
                viewer.connect(str(tmp_path / "s.sock"))
                server(a_report(1.0 + time))
                assert viewer.recv(1)
        server(a_report(1.0 + TIMES))  # notices that the last one has gone
        server(a_report(2.0 + TIMES))
        assert descriptors() == before
        assert server._viewers == []


def test_scrapers_that_come_and_go_leave_no_thread_and_no_descriptor() -> None:
    config = MetricsConfig(port=free_port(SOCK_STREAM))
    with closing(OpenMetricsExporter(config, VirtualClock())):
        before = descriptors(), threading.active_count()
        for time in range(TIMES // 4):
            with socket.create_connection(("127.0.0.1", config.port)) as scraper:
                scraper.sendall((b"", b"GET /", b"GET / HTTP/1.0\r\n\r\n")[time % 3])
        assert until(lambda: (descriptors(), threading.active_count()) == before)


def test_a_link_that_connects_again_leaves_no_descriptor() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as ground,
        closing(open_link(f"tcp:127.0.0.1:{ground.getsockname()[1]}")) as link,
    ):
        now_s = 0.0
        counts = set()

        def connected() -> bool:
            link.receive(now_s)
            return link.is_open

        for _ in range(TIMES):
            assert until(connected)
            counts.add(descriptors())
            ground.accept()[0].close()
            assert until(lambda: not connected())
            counts.add(descriptors())
            now_s += 60.0  # longer than it waits before it tries again
        assert max(counts) - min(counts) <= 2  # of the present connection
