# SPDX-License-Identifier: Apache-2.0
"""Read a smart battery once and print it: `python examples/read_pack.py /dev/i2c-1`."""

import sys
from contextlib import closing

from dronebms.core import SystemClock
from smartbattery import Gauge, LinuxBus

with closing(LinuxBus(sys.argv[1])) as bus:
    pack = Gauge(bus).poll(SystemClock().now_s())
if pack.voltage_v is None:
    sys.exit(f"no pack: {pack.trouble}")
print(f"{pack.voltage_v:.3f} V, {pack.current_a} A, {pack.temperature_degc} degC, {pack.soc_pct} %")
for number, cell_v in enumerate(pack.cells_v, start=1):
    print(f"cell {number}: {cell_v} V")
