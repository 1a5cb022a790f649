# SPDX-License-Identifier: Apache-2.0
"""Cost of reading a mission: the worst step of the bridge, its requests and bytes on the link.

    python -m benchmarks.mission_download [--items 500]

A vehicle in memory answers at once, as ArduPilot and as PX4; the bridge steps ten times a second of
virtual time. `step` is processor time of one step of the bridge in milliseconds, without the time of the vehicle; the
service's loop has 100 ms. Exits with 1 if a step takes more than 50 ms.
"""

import argparse
import sys
from time import process_time

from mavlink_bridge.bridge import Bridge
from tests.mavlink_bridge.fake_missions import MISSION, RALLY, MissionVehicle, survey
from tests.mavlink_bridge.fake_vehicle import ARDUPILOT, PX4

STEP_S = 0.1
MOST_MS = 50.0
READ_S, CHECK_S = 150.0, 200.0


class Metered(MissionVehicle):
    """A vehicle whose time does not count, and whose link counts bytes."""

    def __init__(self, autopilot: int, items: int) -> None:
        super().__init__(autopilot)
        self.lists = {MISSION: survey(items), RALLY: []}
        self.spent_s = 0.0
        self.bytes = 0

    def send(self, data: bytes, now_s: float) -> bool:
        """Take a frame."""
        start_s = process_time()
        self.bytes += len(data)
        sent = super().send(data, now_s)
        self.spent_s += process_time() - start_s
        return sent

    def receive(self, now_s: float) -> list[bytes]:
        """Frames of the vehicle."""
        frames = super().receive(now_s)
        self.bytes += sum(map(len, frames))
        return frames


def main() -> int:
    """Measure both stacks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--items", type=int, default=500)
    items = parser.parse_args().items
    print(
        f"{'autopilot':12}{'phase':10}{'step ms: mean':>14}{'worst':>8}{'bytes/s':>9}{'known after s':>15}"
    )
    worst_ms = 0.0
    for name, autopilot in (("ArduPilot", ARDUPILOT), ("PX4", PX4)):
        vehicle = Metered(autopilot, items)
        bridge, step, known_s = Bridge(vehicle), 0, None
        for phase, seconds in (("download", READ_S), ("checks", CHECK_S)):
            times_ms, vehicle.bytes = [], 0
            for _ in range(round(seconds / STEP_S)):
                vehicle.now_s = now_s = step * STEP_S
                if step % 10 == 0:
                    vehicle.beat()
                vehicle.spent_s, start_s = 0.0, process_time()
                plan = bridge.pump(now_s).plan
                times_ms.append((process_time() - start_s - vehicle.spent_s) * 1000.0)
                if known_s is None and plan is not None and plan.items is not None:
                    known_s = now_s
                step += 1
                if phase == "download" and known_s is not None and step * STEP_S > known_s + 1.0:
                    break
            mean_ms, most_ms = sum(times_ms) / len(times_ms), max(times_ms)
            rate = vehicle.bytes / len(times_ms) / STEP_S
            known = "never" if known_s is None else f"{known_s:.1f}"
            print(f"{name:12}{phase:10}{mean_ms:14.2f}{most_ms:8.2f}{rate:9.0f}{known:>15}")
            worst_ms = max(worst_ms, most_ms)
    return int(worst_ms > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
