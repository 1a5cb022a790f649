"""What a MAVLink client that nobody here wrote shows of our batteries.

The client is MAVSDK 4, which listens on a UDP port of loopback. It finds a vehicle by the heartbeat
of an autopilot, played by `FakeAutopilot`, and shows the batteries of that system. It does not show
cells, charge state, faults and energy.
"""

import asyncio
import contextlib
import importlib
import json
import math
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from dronebms.core.report import Report
from mavlink_bridge.bridge import Bridge, BridgeOptions
from mavlink_bridge.protocol.link import open_link
from sim.emulator.world import World
from sim.plant.ground_truth import GroundTruth
from sim.plant.scenario import load_scenario
from tests.mavlink_bridge.autopilot import ARDUPILOT, FakeAutopilot
from tests.mavlink_bridge.loopback import free_port
from tests.mavlink_bridge.reports import a_report

HOW_TO_GET_IT = "the MAVSDK client cannot be loaded: pip install 'mavsdk>=4.1'"
STEP_S = 0.05
FOUND_S = 10.0
SHOWN_S = 12.0
SEED = 3
SPEED = 10
DURATION_S = 300
SLACK_S = 6.0

Talk = Callable[[], None]  # says what is due, whenever it is called


def mavsdk(module: str) -> Any:  # noqa: ANN401 - the package is untyped
    try:
        return importlib.import_module(f"mavsdk.{module}")
    except Exception:  # noqa: BLE001 - it raises an error of its own when its library is missing
        pytest.skip(HOW_TO_GET_IT)


class GroundStation:
    """The batteries that the client shows."""

    def __init__(self, telemetry: Any) -> None:  # noqa: ANN401 - the package is untyped
        self._telemetry = telemetry
        self._seen: list[Any] = []

    async def watch(self) -> None:
        """Note every battery, for ever."""
        async for battery in self._telemetry.subscribe_battery():
            self._seen.append(battery)

    async def listens(self, seconds: float) -> list[tuple[float, Any]]:
        """Return the batteries of the next seconds, each with the moment it was shown."""
        first = len(self._seen)
        shown: list[tuple[float, Any]] = []
        end_s = monotonic() + seconds
        while monotonic() < end_s:
            await asyncio.sleep(STEP_S / 5)
            shown += [(monotonic(), battery) for battery in self._seen[first + len(shown) :]]
        return shown

    async def shows(self, condition: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - untyped
        """Return the first battery from now on of which it holds."""
        first, end_s = len(self._seen), monotonic() + SHOWN_S
        while monotonic() < end_s:
            for battery in self._seen[first:]:
                if condition(battery):
                    return battery
            await asyncio.sleep(STEP_S)
        return pytest.fail(f"not shown within {SHOWN_S} s: {self._seen[first:]}")


async def _keep_on(talk: Talk) -> None:
    while True:
        talk()
        await asyncio.sleep(STEP_S)


@contextlib.asynccontextmanager
async def ground_station(port: int, talk: Talk) -> AsyncIterator[GroundStation]:
    """Give a ground station on a port that has found a vehicle, while `talk` goes on."""
    client, plugin = mavsdk("asyncio"), mavsdk("asyncio.plugins.telemetry")
    kind = client.ComponentType.GROUND_STATION
    configuration = client.Configuration.create_with_component_type(kind)
    tasks = [asyncio.create_task(_keep_on(talk))]
    try:
        async with client.Mavsdk(configuration) as station:
            await station.add_any_connection(f"udpin://127.0.0.1:{port}")
            system = await station.first_autopilot(timeout_s=FOUND_S)
            assert system is not None, "no vehicle was found"
            ground = GroundStation(plugin.TelemetryAsync(system))
            tasks.append(asyncio.create_task(ground.watch()))
            yield ground
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):  # of `talk`; being cancelled is none
            raise end


@contextlib.contextmanager
def autopilot_for(port: int) -> Iterator[Talk]:
    """Give an autopilot that beats towards a port and acknowledges what the client asks for."""
    due_s = monotonic()

    def talk() -> None:
        nonlocal due_s
        autopilot.receive()
        if monotonic() >= due_s:
            due_s += 1.0
            autopilot.beat(armed=True)

    with contextlib.closing(
        FakeAutopilot(autopilot=ARDUPILOT, peer=("127.0.0.1", port))
    ) as autopilot:
        yield talk


class Flight:
    """`dronebms sim` as a user starts it, and when it was where in its flight."""

    def __init__(self, port: int) -> None:
        words = f"sim --flight survey --seed {SEED} --speed {SPEED} --json --duration {DURATION_S}"
        command = [sys.executable, "-m", "dronebms.cli", *words.split()]
        command += ["--mavlink", f"udpout:127.0.0.1:{port}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
        self._seconds: list[tuple[float, float]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seconds.append((monotonic(), float(json.loads(line)["t_s"])))

    def t_s(self, received_s: float) -> float:
        """Return the flight's time at a moment of the test's clock."""
        before = [row for row in self._seconds if row[0] <= received_s]
        assert before, "the flight had not begun"
        return before[-1][1] + (received_s - before[-1][0]) * SPEED

    def close(self) -> None:
        """Stop it as a service manager would."""
        self._process.terminate()
        assert self._process.wait(10) == 0
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def truth_of_flight() -> list[GroundTruth]:
    """Return the simulator's truth, ten times a second."""
    world = World(load_scenario("survey"), SEED)
    truth = []
    for step in range(DURATION_S * 10 + 1):
        world.advance(step / 10)
        truth.append(world.truth())
    return truth


@pytest.mark.slow
def test_the_client_shows_the_truth_of_a_simulated_flight() -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        talk = stack.enter_context(autopilot_for(port))
        flight = stack.enter_context(contextlib.closing(Flight(port)))
        shown = asyncio.run(_fly(port, talk))
    truth, spec = truth_of_flight(), load_scenario("survey").gauge
    judged = 0
    for received_s, battery in shown:
        t_s = flight.t_s(received_s)
        # The client may show it late on a busy machine: the truth of some seconds round then.
        near = truth[max(int((t_s - SLACK_S) * 10), 0) : int((t_s + SLACK_S) * 10)]
        # BATTERY_STATUS carries cells, and a client adds them up.
        _is_true(battery.voltage_v, [sum(at.cells_v) for at in near], 0.02)
        # The virtual gauge errs as its scenario says: gain, offset, four deviations of its noise.
        most_a = max(at.current_a for at in near)
        erring_a = most_a * spec.current_gain_error_frac + spec.current_offset_a
        allowed_a = erring_a + 4 * spec.current_noise_a + 0.01
        _is_true(battery.current_battery_a, [at.current_a for at in near], allowed_a)
        _is_true(battery.temperature_degc, [at.temperature_degc for at in near], 0.5)
        _is_true(battery.remaining_percent, [100 * at.soc_frac for at in near], 4.0)
        judged += 1
    assert judged >= 20
    _judge_time_left(shown, flight)


def _is_true(shown: float, truth: list[float], resolution: float) -> None:
    assert min(truth) - resolution <= shown <= max(truth) + resolution


def _judge_time_left(shown: list[tuple[float, Any]], flight: Flight) -> None:
    received_s, battery = shown[-1]
    t_s = flight.t_s(received_s)
    world = World(load_scenario("survey"), SEED)
    world.advance(t_s)
    left_s = world.remaining_s()
    assert left_s is not None
    assert battery.time_remaining_s == pytest.approx(left_s, rel=0.3)


async def _fly(port: int, talk: Talk) -> list[tuple[float, Any]]:
    async with ground_station(port, talk) as ground:
        await ground.shows(lambda battery: battery.time_remaining_s > 0)
        return await ground.listens(6.0)


def test_the_client_shows_what_the_bridge_reports() -> None:
    port = free_port()
    now: list[Report] = [a_report()]
    with contextlib.ExitStack() as stack:
        autopilot_talks = stack.enter_context(autopilot_for(port))
        link = stack.enter_context(contextlib.closing(open_link(f"udpout:127.0.0.1:{port}")))
        bridge = Bridge(link, vehicle="ardupilot", options=BridgeOptions(rate_hz=10.0))

        def talk() -> None:
            autopilot_talks()
            bridge.pump(monotonic())
            bridge(replace(now[0], t_s=monotonic()))

        asyncio.run(_compare(port, talk, now))


async def _compare(port: int, talk: Talk, now: list[Report]) -> None:
    async with ground_station(port, talk) as ground:
        shown = await ground.shows(lambda battery: battery.id == 0)
        assert shown.voltage_v == pytest.approx(23.55, abs=1e-3)
        assert shown.current_battery_a == pytest.approx(12.34, abs=1e-3)
        assert shown.capacity_consumed_ah == pytest.approx(1.0, abs=1e-3)
        assert shown.remaining_percent == 80
        assert shown.temperature_degc == pytest.approx(25.12, abs=1e-3)
        assert shown.time_remaining_s == 600

        # A second pack, of 14 cells, of which little is known.
        now[0] = a_report(
            index=1,
            cells_v=(4.0,) * 14,
            voltage_v=56.0,
            current_a=None,
            temperature_degc=None,
            soc_pct=None,
            remaining_s=None,
            full_mah=None,
            used_mah=None,
        )
        shown = await ground.shows(lambda battery: battery.id == 1)
        assert shown.voltage_v == pytest.approx(56.0, abs=1e-3)
        assert shown.remaining_percent == -1
        assert math.isnan(shown.time_remaining_s)
        assert math.isnan(shown.temperature_degc)
        assert math.isnan(shown.current_battery_a)

        # One cell is not heard: the pack keeps its voltage.
        now[0] = a_report(index=2, cells_v=(3.9, None, 3.9, 3.9, 3.9, 3.9), voltage_v=23.4)
        shown = await ground.shows(lambda battery: battery.id == 2)
        assert shown.voltage_v == pytest.approx(23.4, abs=1e-3)
