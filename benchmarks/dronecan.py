# SPDX-License-Identifier: Apache-2.0
"""Cost of DroneCAN: packs that are read from a bus, alone and in a flood of foreign frames.

    python -m benchmarks.dronecan [SECONDS]

The bus is UDP multicast in this machine; another process sends four packs with BatteryInfo and
BatteryInfoAux, encoded by the package `dronecan`, at 10 Hz.
"""

import resource
import subprocess
import sys
import time
from contextlib import closing, suppress

from dronebms.core.clock import SystemClock
from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.bus_battery import BusBattery
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import CanFrame
from dronebms.dronecan.transports import open_transport

BUS = CanUrl("mcast", "250")
PACKS, RATE_HZ, FLOOD_HZ = 4, 10, 10_000
FOREIGN = CanFrame(20 << 24 | 1034 << 8 | 99, bytes(7) + b"\xc0")  # esc.Status


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def receive(seconds: float, flood_hz: int) -> None:
    """Read the packs, and print what it costs and how late anything is."""
    clock = SystemClock()
    bus = CanBus(BUS, clock)
    sources = [BusBattery(CanPack(BatteryAddress(BUS, number)), bus) for number in range(PACKS)]
    peer = subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", "benchmarks.dronecan", "--send", str(seconds + 10.0), str(flood_hz)]
    )
    bus.start()
    with closing(bus):
        while not all(source.poll(clock.now_s()).cells_v for source in sources):
            clock.sleep_until(clock.now_s() + 0.1)
        start_s, start_cpu_s = clock.now_s(), _cpu_s()
        late_s, age_s, ticks = 0.0, 0.0, 0
        while ticks < seconds * 10:
            ticks += 1
            clock.sleep_until(start_s + ticks / 10)
            late_s = max(late_s, clock.now_s() - start_s - ticks / 10)
            polls = [source.poll(clock.now_s()) for source in sources]
            age_s = max([age_s, *(poll.age_s("voltage_v") or 0.0 for poll in polls)])
        share = (_cpu_s() - start_cpu_s) / (clock.now_s() - start_s)
        counts = dict(bus.counts)
    with suppress(subprocess.TimeoutExpired):
        peer.wait(10.0)
    frames = f"{flood_hz} foreign frames/s" if flood_hz else "no other frames"
    print(
        f"{PACKS} packs at {RATE_HZ} Hz, {frames}: {share:.1%} of a core, "
        f"oldest voltage {age_s:.2f} s, loop late by {late_s * 1000.0:.0f} ms at most, {counts}"
    )


def send(seconds: float, flood_hz: int) -> None:
    """Send the packs, and a flood between them."""
    from tests.dronecan.packs import AUX, GAUGE, GAUGE_AUX, INFO, frames, library_value  # noqa: PLC0415 - loads the package

    rows = [
        CanFrame(*one)
        for number in range(PACKS)
        for name, fields in ((AUX, GAUGE_AUX), (INFO, GAUGE))
        for one in frames(library_value(name, fields | {"battery_id": number}), 40 + number)
    ]
    with closing(open_transport(BUS)) as port:
        start_s = time.monotonic()
        for tick in range(int(seconds * 100)):
            for _ in range(flood_hz // 100):
                port.send(FOREIGN)
            if tick % (100 // RATE_HZ) == 0:
                for frame in rows:
                    port.send(frame)
            time.sleep(max(start_s + tick / 100 - time.monotonic(), 0.0))


def main() -> None:
    """Run both parts."""
    if sys.argv[1:2] == ["--send"]:
        send(float(sys.argv[2]), int(sys.argv[3]))
        return
    seconds = float(sys.argv[1]) if sys.argv[1:] else 20.0
    for flood_hz in (0, FLOOD_HZ):
        receive(seconds, flood_hz)


if __name__ == "__main__":
    main()
