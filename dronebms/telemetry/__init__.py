# SPDX-License-Identifier: Apache-2.0
"""Outputs of the reports: JSON lines, status socket, MQTT, OpenMetrics.

`MqttPublisher` and `OpenMetricsExporter` need an extra and are imported from their modules.
"""

from dronebms.telemetry.status_socket import StatusServer, read_status

__all__ = ["StatusServer", "read_status"]
