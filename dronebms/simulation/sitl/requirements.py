# SPDX-License-Identifier: Apache-2.0
"""Parameters that a simulated vehicle needs, so that a virtual pack is its battery."""

from dataclasses import dataclass

from dronebms.simulation.sitl.vehicle import SitlVehicle
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT, PX4

_SCRIPTED = 29.0  # BATT_MONITOR of a battery that the Lua driver fills with our reports
CLOSE = 1e-3
VOLTAGE = "SIM_BATT_VOLTAGE"
HOVER_THROTTLE = "MPC_THR_HOVER"


@dataclass(frozen=True, slots=True)
class SitlRequirement:
    """A parameter that a simulated vehicle needs; `value` `None`: of any value.

    A name that begins with _ belongs to the battery that is the load.
    """

    name: str
    value: float | None
    reason: str


_SIMULATED = "it is not a simulated vehicle"
_MEASURES = "or the vehicle does not measure the current of its simulation"
# fmt: off
SITL_REQUIREMENTS = {
    ARDUPILOT.name: (
        SitlRequirement(VOLTAGE,       None, _SIMULATED),
        SitlRequirement("_MONITOR",      4.0, f"{_MEASURES} (restart it after a change)"),
        SitlRequirement("_VOLT_PIN",    13.0, _MEASURES),
        SitlRequirement("_CURR_PIN",    12.0, _MEASURES),
        SitlRequirement("_VOLT_MULT",   10.1, _MEASURES),
        SitlRequirement("_AMP_PERVLT",  17.0, _MEASURES),
    ),
    PX4.name: (
        SitlRequirement("SIM_BAT_DRAIN", None, _SIMULATED),
        SitlRequirement("BAT1_SOURCE",    1.0, "or PX4 adds reports of its simulated battery"),
        SitlRequirement(HOVER_THROTTLE, None, "its load is computed from that"),
    ),
}
# fmt: on


def unmet_requirements(vehicle: SitlVehicle) -> list[str]:
    """Parameters of a vehicle that do not fit, a sentence each; chooses the battery to follow."""
    stack = vehicle.stack
    if stack.name not in SITL_REQUIREMENTS:
        return ["the vehicle is neither ArduPilot nor PX4"]
    if stack is ARDUPILOT:
        vehicle.battery_id = int(vehicle.read("BATT_MONITOR") == _SCRIPTED)
        vehicle.power_w = None  # it may be that of another battery
    problems: list[str] = []
    for row in SITL_REQUIREMENTS[stack.name]:
        name = ("BATT", "BATT2")[vehicle.battery_id] * row.name.startswith("_") + row.name
        value = vehicle.read(name)
        if value is None:
            # A parameter is mostly absent because an earlier one does not fit.
            return problems or [f"the vehicle has no parameter {name}: {row.reason}"]
        if row.value is not None and abs(value - row.value) >= CLOSE:
            problems.append(f"{name} is {value:g} and must be {row.value:g}, {row.reason}")
    return problems
