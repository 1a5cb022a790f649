# SPDX-License-Identifier: Apache-2.0
"""Values that flow through the pipeline, the chemistries, the clocks and the errors; no I/O."""

from dronebms.core.chemistry import CHEMISTRIES, Chemistry, chemistry_of
from dronebms.core.clock import Clock, OncePerSecond, PacedClock, SystemClock, VirtualClock
from dronebms.core.errors import (
    ConfigError,
    DroneBmsError,
    FlightLogError,
    InUseError,
    LinkError,
    RecordingError,
)
from dronebms.core.flight_plan import FlightPlan, ItemKind, MissionItem, Place, ReturnPlan
from dronebms.core.gauge_package import GAUGE_INTERFACE, GaugePackage, PackageGauge
from dronebms.core.pack_data import PackData
from dronebms.core.report import (
    Action,
    ActionKind,
    ActionRequest,
    CellState,
    ChargingAdvice,
    Estimate,
    Event,
    PackState,
    PreflightVerdict,
    Report,
    Severity,
    Sink,
    Source,
    Status,
    SupplyStatus,
    Verdict,
)
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState

__all__ = [
    "CHEMISTRIES",
    "GAUGE_INTERFACE",
    "UNKNOWN_VEHICLE",
    "Action",
    "ActionKind",
    "ActionRequest",
    "CellState",
    "ChargingAdvice",
    "Chemistry",
    "Clock",
    "ConfigError",
    "DroneBmsError",
    "Estimate",
    "Event",
    "FlightLogError",
    "FlightPlan",
    "GaugePackage",
    "InUseError",
    "ItemKind",
    "LinkError",
    "MissionItem",
    "OncePerSecond",
    "PacedClock",
    "PackData",
    "PackState",
    "PackageGauge",
    "Place",
    "PreflightVerdict",
    "RecordingError",
    "Report",
    "ReturnPlan",
    "Severity",
    "Sink",
    "Source",
    "Status",
    "SupplyStatus",
    "SystemClock",
    "VehicleState",
    "Verdict",
    "VirtualClock",
    "chemistry_of",
]
