# SPDX-License-Identifier: Apache-2.0
"""Send BATTERY_STATUS of a virtual pack: `python send_battery_status.py udpout:127.0.0.1:14550`."""

import sys
from contextlib import closing

from dronebms.core import SystemClock
from dronebms.monitoring import Pipeline
from mavlink_bridge import Bridge, open_link
from sim import open_virtual
from smartbattery import Gauge

clock = SystemClock()
bus, world = open_virtual("survey", clock)
with closing(open_link(sys.argv[1])) as link:
    bridge = Bridge(link)
    pipeline = Pipeline(Gauge(bus), world.pack_data(), [bridge])
    while (now_s := clock.now_s()) < world.duration_s:
        pipeline.step(now_s, bridge.pump(now_s))
        clock.sleep_until(now_s + 0.1)
