# SPDX-License-Identifier: Apache-2.0
"""Our batteries in an independent MAVLink client: MAVSDK 4.

The client listens on a UDP port of loopback. It finds a vehicle by the heartbeat of an autopilot,
played by `FakeAutopilot`, and reports the batteries of that system without cells, charge state,
faults and energy.
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
from functools import partial
from time import monotonic
from typing import Any

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report
from mavlink_bridge.bridge import Bridge, TelemetryLink
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.link import open_link
from sim.emulator.world import World
from sim.plant.ground_truth import GroundTruth
from sim.plant.scenario import load_scenario
from smartbattery.snapshot import Identity
from tests.mavlink_bridge.autopilot import ARDUPILOT, PX4, FakeAutopilot
from tests.mavlink_bridge.loopback import free_port
from tests.mavlink_bridge.reports import a_report

INSTALL = "the MAVSDK client cannot be loaded: pip install 'mavsdk>=4.1'"
STEP_S = 0.05
FOUND_S = 10.0
SHOWN_S = 12.0
SEED = 3
MAVSDK = 245  # system of the client
SPEED = 10
DURATION_S = 300
SLACK_S = 6.0

Step = Callable[[], None]  # sends the messages that are due


def mavsdk(module: str) -> Any:  # noqa: ANN401 - the package is untyped
    try:
        return importlib.import_module(f"mavsdk.{module}")
    except Exception:  # noqa: BLE001 - it raises an error of its own when its library is missing
        pytest.skip(INSTALL)


class GroundStation:
    """The batteries in the client, and the vehicle that it has found."""

    def __init__(self, telemetry: Any, system: Any) -> None:  # noqa: ANN401 - the package is untyped
        self.system = system
        self._telemetry = telemetry
        self._seen: list[Any] = []

    async def watch(self) -> None:
        """Store every battery."""
        async for battery in self._telemetry.subscribe_battery():
            self._seen.append(battery)

    async def listens(self, seconds: float) -> list[tuple[float, Any]]:
        """Batteries of the next seconds, each with the time of its arrival."""
        first = len(self._seen)
        shown: list[tuple[float, Any]] = []
        end_s = monotonic() + seconds
        while monotonic() < end_s:
            await asyncio.sleep(STEP_S / 5)
            shown += [(monotonic(), battery) for battery in self._seen[first + len(shown) :]]
        return shown

    async def shows(self, condition: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - untyped
        """First battery from now on that meets a condition."""
        first, end_s = len(self._seen), monotonic() + SHOWN_S
        while monotonic() < end_s:
            for battery in self._seen[first:]:
                if condition(battery):
                    return battery
            await asyncio.sleep(STEP_S)
        return pytest.fail(f"not shown within {SHOWN_S} s: {self._seen[first:]}")


async def _repeat(step: Step) -> None:
    while True:
        step()
        await asyncio.sleep(STEP_S)


@contextlib.asynccontextmanager
async def ground_station(port: int, step: Step) -> AsyncIterator[GroundStation]:
    """Give a ground station on a port that has found a vehicle, while `step` is repeated."""
    client, plugin = mavsdk("asyncio"), mavsdk("asyncio.plugins.telemetry")
    kind = client.ComponentType.GROUND_STATION
    configuration = client.Configuration.create_with_component_type(kind)
    tasks = [asyncio.create_task(_repeat(step))]
    try:
        async with client.Mavsdk(configuration) as station:
            await station.add_any_connection(f"udpin://127.0.0.1:{port}")
            system = await station.first_autopilot(timeout_s=FOUND_S)
            assert system is not None, "no vehicle was found"
            ground = GroundStation(plugin.TelemetryAsync(system), system)
            tasks.append(asyncio.create_task(ground.watch()))
            yield ground
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):  # of `step`, not a cancellation
            raise end


@contextlib.contextmanager
def autopilot_for(port: int) -> Iterator[Step]:
    """Give an autopilot that sends heartbeats to a port and acknowledges requests."""
    due_s = monotonic()

    def step() -> None:
        nonlocal due_s
        autopilot.receive()
        if monotonic() >= due_s:
            due_s += 1.0
            autopilot.beat(armed=True)

    with contextlib.closing(
        FakeAutopilot(autopilot=ARDUPILOT, peer=("127.0.0.1", port))
    ) as autopilot:
        yield step


class Flight:
    """`dronebms sim` as a user starts it, and its flight time."""

    def __init__(self, port: int) -> None:
        options = (
            f"sim --flight survey --seed {SEED} --speed {SPEED} --json --duration {DURATION_S}"
        )
        command = [sys.executable, "-m", "dronebms.cli", *options.split()]
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
        """Time of the flight at a time of the test's clock."""
        before = [row for row in self._seconds if row[0] <= received_s]
        assert before, "the flight has not started"
        return before[-1][1] + (received_s - before[-1][0]) * SPEED

    def close(self) -> None:
        """Stop it as a service manager does."""
        self._process.terminate()
        assert self._process.wait(10) == 0
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def truth_of_flight() -> list[GroundTruth]:
    """Ground truth, ten times a second."""
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
        step = stack.enter_context(autopilot_for(port))
        flight = stack.enter_context(contextlib.closing(Flight(port)))
        shown = asyncio.run(_fly(port, step))
    truth, spec = truth_of_flight(), load_scenario("survey").gauge
    judged = 0
    for received_s, battery in shown:
        t_s = flight.t_s(received_s)
        # The client may be late on a loaded machine: the truth of some seconds around.
        near = truth[max(int((t_s - SLACK_S) * 10), 0) : int((t_s + SLACK_S) * 10)]
        # BATTERY_STATUS has cells, and a client adds them up.
        _is_true(battery.voltage_v, [sum(at.cells_v) for at in near], 0.02)
        # Errors of the virtual gauge: gain, offset, four standard deviations of the noise.
        most_a = max(at.current_a for at in near)
        error_a = most_a * spec.current_gain_error_frac + spec.current_offset_a
        allowed_a = error_a + 4 * spec.current_noise_a + 0.01
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


async def _fly(port: int, step: Step) -> list[tuple[float, Any]]:
    async with ground_station(port, step) as ground:
        await ground.shows(lambda battery: battery.time_remaining_s > 0)
        return await ground.listens(6.0)


def test_the_client_shows_what_the_bridge_reports() -> None:
    port = free_port()
    now: list[Report] = [a_report()]
    with contextlib.ExitStack() as stack:
        autopilot_step = stack.enter_context(autopilot_for(port))
        link = stack.enter_context(contextlib.closing(open_link(f"udpout:127.0.0.1:{port}")))
        bridge = Bridge(link, vehicle="ardupilot", options=BridgeOptions(rate_hz=10.0))

        def step() -> None:
            autopilot_step()
            bridge.pump(monotonic())
            bridge(replace(now[0], t_s=monotonic()))

        whole, large, partly = asyncio.run(_three_packs(port, step, now))
    assert whole.voltage_v == pytest.approx(23.55, abs=1e-3)
    assert whole.current_battery_a == pytest.approx(12.34, abs=1e-3)
    assert whole.capacity_consumed_ah == pytest.approx(1.0, abs=1e-3)
    assert whole.remaining_percent == 80
    assert whole.temperature_degc == pytest.approx(25.12, abs=1e-3)
    assert whole.time_remaining_s == 600
    assert large.voltage_v == pytest.approx(56.0, abs=1e-3)
    assert large.remaining_percent == -1
    assert math.isnan(large.time_remaining_s)
    assert math.isnan(large.temperature_degc)
    assert math.isnan(large.current_battery_a)
    assert partly.voltage_v == pytest.approx(23.4, abs=1e-3)


async def _three_packs(port: int, step: Step, now: list[Report]) -> list[Any]:
    """What the client shows of a whole pack, of one with few known values, and of one cell less."""
    few_known = a_report(
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
    # One cell is unknown: the pack voltage is still shown.
    partly = a_report(index=2, cells_v=(3.9, None, 3.9, 3.9, 3.9, 3.9), voltage_v=23.4)
    shown = []
    async with ground_station(port, step) as ground:
        for index, report in enumerate((now[0], few_known, partly)):
            now[0] = report
            shown.append(await ground.shows(partial(_has_id, index)))
    return shown


def test_the_client_decodes_a_battery_info_that_it_has_requested() -> None:
    """By the definition of the message in the client, which pymavlink does not have."""
    port = free_port()
    identity = Identity(serial=4711, manufacturer="Maker", device="Pack", date=(2025, 3, 9))
    report = a_report(identity=identity, soh_pct=97.6, cycles=37.0, full_mah=4900.0)
    report = replace(report, pack_data=PackData(LIPO, 6, 5000.0, burst_c=40.0))
    with contextlib.ExitStack() as stack:
        autopilot_step = stack.enter_context(autopilot_for(port))
        link = stack.enter_context(contextlib.closing(open_link(f"udpout:127.0.0.1:{port}")))
        bridge = Bridge(link, vehicle="ardupilot", options=BridgeOptions(accept_systems=(MAVSDK,)))

        def step() -> None:
            autopilot_step()
            bridge.pump(monotonic())
            bridge(replace(report, t_s=monotonic()))

        acknowledgement, info = asyncio.run(_request(port, step))
    assert acknowledgement["result"] == 0
    assert info == {
        "id": 0,
        "battery_function": 1,
        "type": 1,
        "state_of_health": 98,
        "cells_in_series": 6,
        "cycle_count": 37,
        "weight": 0,
        "discharge_minimum_voltage": pytest.approx(3.3),
        "charging_minimum_voltage": 0.0,
        "resting_minimum_voltage": 0.0,
        "charging_maximum_voltage": pytest.approx(4.2),
        "charging_maximum_current": 0.0,
        "nominal_voltage": 0.0,
        "discharge_maximum_current": 0.0,
        "discharge_maximum_burst_current": 200.0,
        "design_capacity": 5.0,
        "full_charge_capacity": pytest.approx(4.9),
        "manufacture_date": "09032025",
        "serial_number": "4711",
        "name": "Maker_Pack",
    }


def test_the_client_on_a_telemetry_link_shows_the_batteries_of_the_vehicle() -> None:
    """The client has a link of its own; the vehicle, PX4 here, is on another one."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        vehicle = stack.enter_context(contextlib.closing(FakeAutopilot(autopilot=PX4)))
        # The client finds a system by an autopilot on its link, which a router brings there.
        autopilot_step = stack.enter_context(autopilot_for(port))
        links = [
            stack.enter_context(contextlib.closing(open_link(url)))
            for url in (vehicle.url, f"udpout:127.0.0.1:{port}")
        ]
        options = BridgeOptions(accept_systems=(MAVSDK,))
        telemetry = [TelemetryLink("ground", links[1], options)]
        bridge = Bridge(links[0], vehicle="px4", telemetry=telemetry)
        due_s = monotonic()

        def step() -> None:
            nonlocal due_s
            autopilot_step()
            bridge.pump(monotonic())
            bridge(a_report(monotonic()))
            vehicle.receive()
            if vehicle.peer is not None and monotonic() >= due_s:
                due_s += 1.0
                vehicle.beat(armed=True)

        shown, acknowledgement, info = asyncio.run(_shown_and_requested(port, step))
        assert bridge.stack.name == "px4"  # ArduPilot on the link of the client is not the vehicle
        assert bridge.counts["other_vehicle"] == 0
    assert shown.voltage_v == pytest.approx(23.55, abs=1e-3)
    assert (shown.remaining_percent, shown.time_remaining_s) == (80, 600)
    assert (acknowledgement["result"], info["id"]) == (0, 0)


async def _shown_and_requested(port: int, step: Step) -> tuple[Any, Any, Any]:
    """What the client shows of the first battery, and what it gets on request."""
    async with ground_station(port, step) as ground:
        shown = await ground.shows(partial(_has_id, 0))
        return (shown, *await _requested(ground))


async def _request(port: int, step: Step) -> tuple[Any, Any]:
    async with ground_station(port, step) as ground:
        await ground.shows(partial(_has_id, 0))
        return await _requested(ground)


async def _requested(ground: GroundStation) -> tuple[Any, Any]:
    """Fields of the answer to a request for BATTERY_INFO of the first battery, and of the info."""
    direct = mavsdk("asyncio.plugins.mavlink_direct")
    target = {"target_system": 1, "target_component": 180}
    fields = target | {"command": 512, "confirmation": 0, "param1": 372.0}
    fields |= {f"param{number}": 0.0 for number in range(2, 8)}
    plugin = direct.MavlinkDirectAsync(ground.system)
    infos = plugin.subscribe_message("BATTERY_INFO")
    first = asyncio.create_task(anext(infos))
    await asyncio.sleep(STEP_S)
    request = direct.MavlinkMessage("COMMAND_LONG", 0, 0, 1, 180, json.dumps(fields))
    acknowledgement = await plugin.send_command(request)
    message = await asyncio.wait_for(first, SHOWN_S)
    await infos.aclose()
    assert (message.system_id, message.component_id) == (1, 180)
    values = json.loads(message.fields_json)
    return json.loads(acknowledgement.fields_json), {
        name: value for name, value in values.items() if not name.startswith("message_")
    }


def _has_id(index: int, battery: Any) -> bool:  # noqa: ANN401 - MAVSDK's battery has no types
    return bool(battery.id == index)
