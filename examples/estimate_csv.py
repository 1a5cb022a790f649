# SPDX-License-Identifier: Apache-2.0
"""Estimate the time to empty from a CSV flight: `python examples/estimate_csv.py FLIGHT.csv`."""

import sys
from pathlib import Path

from dronebms.estimation import Estimator
from dronebms.flightlogs import FlightSource, read_csv_log

flight = read_csv_log(Path(sys.argv[1]))
source = FlightSource(flight)
estimator = Estimator(flight.pack_data)
due_s = 0.0
for t_s in source.ticks():
    estimate = estimator.update(source.poll(t_s), source.vehicle(t_s))
    if t_s >= due_s and estimate.soc_pct is not None and estimate.remaining_s is not None:
        due_s = t_s + 60.0
        print(f"{t_s:.0f} s: {estimate.soc_pct:.0f} %, {estimate.remaining_s:.0f} s left")
