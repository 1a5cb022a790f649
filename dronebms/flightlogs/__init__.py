# SPDX-License-Identifier: Apache-2.0
"""Flight logs: CSV tables and autopilot logs, read as a `Source` for replay.

`dronebms.flightlogs.autopilot_logs` reads the logs of autopilots; it loads pymavlink.
"""

from dronebms.flightlogs.csv_log import read_csv_log
from dronebms.flightlogs.flight_log import FlightLog, resolution_of
from dronebms.flightlogs.sidecar import NO_OPTIONS, FlightOptions, refuse_output
from dronebms.flightlogs.source import FlightSource

__all__ = [
    "NO_OPTIONS",
    "FlightLog",
    "FlightOptions",
    "FlightSource",
    "read_csv_log",
    "refuse_output",
    "resolution_of",
]
