# SPDX-License-Identifier: Apache-2.0
"""Pack history: a record per flight, state of health measured from it, and the ageing trend.

`dronebms.health.postgres` holds a fleet's database; it loads SQLAlchemy.
"""

from dronebms.health.ageing_trend import AgeingForecast, Trend, WeakCell, forecast_ageing
from dronebms.health.database import Database, PackHistory
from dronebms.health.flight_detection import FlightDetector
from dronebms.health.flight_record import FlightRecord
from dronebms.health.sink import PackHistorySink
from dronebms.health.sqlite import SqliteFile

__all__ = [
    "AgeingForecast",
    "Database",
    "FlightDetector",
    "FlightRecord",
    "PackHistory",
    "PackHistorySink",
    "SqliteFile",
    "Trend",
    "WeakCell",
    "forecast_ageing",
]
