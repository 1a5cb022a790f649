# SPDX-License-Identifier: Apache-2.0
"""The service on the second link of a simulated vehicle, stepped by the clock of the vehicle.

Its parts are the real ones, over a real link; only the readings of the pack are given.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Action, ActionKind, ActionRequest, Severity, Sink, Source
from dronebms.core.toml_schema import validated
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.rules import Rules
from dronebms.service.config import Config
from dronebms.service.service import Service as WholeService
from mavlink_bridge.bridge import Bridge
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.link import open_link
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from smartbattery.snapshot import Snapshot
from tests.integration.ardupilot import ArduPilot
from tests.mavlink_bridge.reports import a_report, as_estimated

GOOD: dict[str, Any] = {
    "cells_v": (4.0, 4.01, 3.99),
    "voltage_v": 12.0,
    "current_a": 28.0,
    "soc_pct": 80.9,
    "full_mah": 5000.0,
}
GAUGED = ("voltage_v", "current_a", "temperature_degc", "soc_pct", "remaining_mah", "full_mah")
REDUCE = Action(Severity.WARNING, ActionKind.REDUCE)


class Service:
    """The loop of the service, stepped by the clock of the vehicle."""

    def __init__(self, vehicle: ArduPilot, folder: Path | None = None, **options: Any) -> None:  # noqa: ANN401 - BridgeOptions'
        self.link = open_link(f"udpin:127.0.0.1:{vehicle.companion}")
        self.bridge = Bridge(self.link, options=BridgeOptions(rate_hz=5.0, **options))
        if folder is not None:
            self.bridge.vehicle_control = VehicleControl(folder)
        self.values = dict(GOOD)
        self.max_a: float | None = None
        self.action = REDUCE
        self.vehicle = vehicle
        self.state: VehicleState = UNKNOWN_VEHICLE
        vehicle.each = self.step
        vehicle.closing.callback(self.link.close)

    def step(self, now_s: float) -> None:
        """Read messages and send those that are due."""
        self.state = self.bridge.pump(now_s)
        drawn = self.vehicle.last.get((1, 1))  # the monitor that measures the current of the motors
        if self.vehicle.armed and drawn is not None:
            current_a = drawn.current_battery / 100
            # Without a resistance of the pack ArduPilot limits nothing.
            cells = tuple(4.1 - 0.01 * current_a for _ in range(3))
            self.values |= {"current_a": current_a, "cells_v": cells, "voltage_v": sum(cells)}
        report = a_report(now_s, **self.values)
        report = replace(report, reported=as_estimated(report))
        if self.max_a is not None:
            request = ActionRequest(self.action, (0, 0, 1), "governor", self.max_a)
            report = replace(report, requests=(request,))
        self.bridge(report)

    def crash(self) -> None:
        """End like SIGKILL: nothing is sent any more, and the port is free."""
        self.vehicle.each = lambda _now_s: None
        self.link.close()


def check_arming(vehicle: ArduPilot, service: Service) -> None:
    """Arming is refused without the service, and for a failed cell; then nothing is wrong."""
    step, vehicle.each = vehicle.each, lambda _now_s: None
    vehicle.wait_ready()
    assert vehicle.command(400, 1) != 0
    assert any("no service" in text for text in vehicle.texts), vehicle.texts
    vehicle.each = step
    service.values["fault_bits"] = 1 << 2
    vehicle.fly(10.0)
    assert vehicle.command(400, 1) != 0
    assert any("battery 1: cell failed" in text for text in vehicle.texts), vehicle.texts
    theirs, ours = vehicle.last[1, 0], vehicle.last[180, 2]
    assert theirs.voltages == ours.voltages == [4000, 4010, 3990] + [65535] * 7
    service.values.pop("fault_bits")


class Pack:
    """A pack in flight with a variable third cell; the values of its gauge are consistent."""

    def __init__(self) -> None:
        self.weak_v = 3.8
        self._flicker_v = 0.0

    def poll(self, now_s: float) -> Snapshot:
        """Snapshot of the given time."""
        self._flicker_v = 0.003 - self._flicker_v
        cells = (3.8 + self._flicker_v, 3.81, self.weak_v)
        left_mah = 4000.0 - 10.0 * now_s / 3.6
        return Snapshot(
            now_s, sum(cells), 10.0, 30.0, cells, soc_pct=left_mah / 50, remaining_mah=left_mah,
            full_mah=5000.0,
        )  # fmt: skip


class GaugedPack:
    """A LiPo pack of 5 Ah with a gauge whose readings agree, so that its charge is known."""

    def __init__(self, start_mah: float = 4000.0, current_a: float = 10.0) -> None:
        self.weak_v: float | None = None  # of the third cell; None: as the others
        self.current_a = current_a
        self._start_mah = start_mah

    def left_mah(self, now_s: float) -> float:
        """Charge that is left."""
        return self._start_mah - self.current_a * now_s / 3.6

    def poll(self, now_s: float) -> Snapshot:
        """Snapshot of the given time."""
        left_mah = self.left_mah(now_s)
        cell_v = LIPO.open_circuit_v(left_mah / 5000.0) - 0.006 * self.current_a
        third_v = cell_v - 0.001 * (now_s % 2.0) if self.weak_v is None else self.weak_v
        snapshot = Snapshot(
            now_s, cell_v * 2 + third_v, self.current_a, 30.0, (cell_v, cell_v + 0.002, third_v),
            soc_pct=left_mah / 50.0, remaining_mah=left_mah, full_mah=5000.0,
        )  # fmt: skip
        names = [name for name in GAUGED if getattr(snapshot, name) is not None]
        read = [*names, *(f"cell{number}_v" for number in (1, 2, 3))]
        return replace(snapshot, read_at_s=dict.fromkeys(read, now_s))


def guarded(
    vehicle: ArduPilot, folder: Path, *actions: Action, also: Sink = lambda _report: None
) -> Pack:
    """Connect a pack with the limits and actions of the service; `also` gets each report."""
    pack = Pack()
    connect(pack, Service(vehicle, folder), *actions, also=also)
    return pack


def connect(
    pack: Source, service: Service, *actions: Action, also: Sink = lambda _report: None
) -> None:
    """Connect a pack of three LiPo cells and 5 Ah, in place of the reports of a service."""
    bridge = service.bridge
    pack_data = PackData(LIPO, cells=3, capacity_mah=5000.0, cutoff_cell_v=3.3)
    pipeline = Pipeline(pack, pack_data, (bridge, also), rules=Rules(actions=actions))

    def step(now_s: float) -> None:
        pipeline.step(now_s, bridge.pump(now_s))

    service.vehicle.each = step


class Served:
    """A service of a configuration, stepped by the clock of the vehicle."""

    def __init__(self, vehicle: ArduPilot, config: str) -> None:
        stack = vehicle.closing.enter_context(ExitStack())
        service = WholeService(validated(Config, config, "c.toml"), stack, vehicle.clock)
        self._times = [vehicle.clock.now_s()]
        self._steps = service.reports(iter(self._times.pop, None))
        self.reports = [next(self._steps)]
        vehicle.each = self.step

    def step(self, now_s: float) -> None:
        """Take a step."""
        self._times.append(now_s)
        self.reports.append(next(self._steps))

    @property
    def mean_v(self) -> float:
        """Mean voltage of the last 5 s."""
        volts = [one.snapshot.voltage_v for one in self.reports[-50:]]
        return fmean(volt for volt in volts if volt is not None)
