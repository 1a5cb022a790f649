# SPDX-License-Identifier: Apache-2.0
"""A gauge that counts in 10 mWh gives no charge in mAh to any stage."""

from importlib.resources import files
from pathlib import Path

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import VirtualClock
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.monitoring.pipeline import Pipeline
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import NackError
from smartbattery.gauge import Gauge
from smartbattery.registers import DESIGN, FULL, REMAINING


class WithoutCapacities:
    """A bus whose gauge refuses its capacities."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Do one transfer."""
        if tx[0] in (REMAINING.command, FULL.command, DESIGN.command):
            raise NackError("refused")
        return self._bus.transfer(address, tx, rx_len)


def flown(path: Path, mode_raw: str) -> list[tuple[Estimate, Status]]:
    text = (files("sim") / "scenarios" / "survey.toml").read_text()
    path.write_text(text.replace("[gauge]", f"[gauge]\nmode_raw = {mode_raw}", 1))
    clock = VirtualClock()
    virtual, _ = open_virtual(str(path), clock, 1)
    in_mah = mode_raw == "0x6001"
    pipeline = Pipeline(
        Gauge(WithoutCapacities(virtual) if in_mah else virtual, cells=6), PackData(LIPO, cells=6)
    )
    seen = []
    for step in range(900):
        clock.sleep_until(step / 10)
        report = pipeline.step(step / 10, UNKNOWN_VEHICLE)
        assert report.pack_data.capacity_mah is None
        seen.append((report.estimate, report.status))
        assert step == 0 or report.snapshot.soc_pct is not None
    return seen


def test_a_gauge_in_10_mwh_is_judged_as_one_without_capacities(tmp_path: Path) -> None:
    path = tmp_path / "flight.toml"
    assert flown(path, "0xE001") == flown(path, "0x6001")
