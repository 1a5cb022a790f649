# SPDX-License-Identifier: Apache-2.0
"""Publish sensor_msgs/BatteryState of each battery: `python ros2_battery_state.py [SOCKET]`.

Reads the status socket of a running service; topic `battery_N`, N from 0. It was not run with ROS:
pip has no rclpy, which is imported when the program starts. Its conversion is tested on a stand-in
with the fields of BatteryState.msg, where unknown is NaN and current is negative while discharging.
"""

import math
import sys
from pathlib import Path
from typing import Any

from dronebms.core import LinkError, Report, SystemClock
from dronebms.telemetry import read_status

RESTING_A = 0.1  # a smaller current neither charges nor discharges
FULL_RAW = 1 << 5  # BatteryStatus of a Smart Battery: fully charged
TECHNOLOGIES = {"li-ion": "LION", "lipo": "LIPO", "lihv": "LIPO", "lifepo4": "LIFE"}
HEALTH = (  # limits of protection; the first row of which one is tripped
    (("failed",), "DEAD"),
    (("cell_high_critical", "cell_high_emergency"), "OVERVOLTAGE"),
    (("hot_critical", "hot_emergency", "fet_critical", "gauge_hot"), "OVERHEAT"),
    (("cold_critical", "cold_emergency"), "COLD"),
    (("tripped", "implausible", "contradiction"), "UNSPEC_FAILURE"),
)


def known(value: float | None, factor: float = 1.0) -> float:
    """A number of the message: NaN for unknown."""
    return math.nan if value is None else value * factor


def filled(message: Any, report: Report) -> Any:  # noqa: ANN401 - sensor_msgs is not installed
    """Fill a BatteryState, except its header, from a report."""
    read, data, active = report.snapshot, report.pack_data, {*report.status.active}
    message.voltage, message.temperature = known(read.voltage_v), known(read.temperature_degc)
    message.current = known(read.current_a, -1.0)
    message.charge, message.capacity = known(read.remaining_mah, 1e-3), known(read.full_mah, 1e-3)
    message.design_capacity = known(data.capacity_mah, 1e-3)
    message.percentage = known(report.estimate.soc_pct, 0.01)
    message.cell_voltage = [known(cell_v) for cell_v in read.cells_v]
    message.cell_temperature = [math.nan for _ in read.cells_v]
    message.present, message.location = read.voltage_v is not None, f"battery {report.index + 1}"
    message.serial_number = str(read.identity.serial or "")
    resting = "FULL" if (read.status_raw or 0) & FULL_RAW else "NOT_CHARGING"
    loaded = "DISCHARGING" if (read.current_a or 0.0) > 0.0 else "CHARGING"
    status = "UNKNOWN" if read.current_a is None else resting
    if abs(read.current_a or 0.0) >= RESTING_A:
        status = loaded
    worst = next((health for ids, health in HEALTH if active & {*ids}), "GOOD")
    values = {
        "STATUS": status,
        "HEALTH": worst if message.present else "UNKNOWN",
        "TECHNOLOGY": TECHNOLOGIES.get(data.chemistry.name, "UNKNOWN"),
    }
    for field, value in values.items():
        constant = getattr(message, f"POWER_SUPPLY_{field}_{value}")
        setattr(message, f"power_supply_{field}".lower(), constant)
    return message


if __name__ == "__main__":
    import rclpy
    from sensor_msgs.msg import BatteryState

    rclpy.init()
    node, publishers = rclpy.create_node("dronebms"), {}
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "/run/dronebms/status.sock")
    try:
        for report in read_status(path, SystemClock()):
            topic = f"battery_{report.index}"
            if topic not in publishers:
                publishers[topic] = node.create_publisher(BatteryState, topic, 10)
            message = filled(BatteryState(), report)
            message.header.stamp = node.get_clock().now().to_msg()
            publishers[topic].publish(message)
    except LinkError as error:
        sys.exit(str(error))
