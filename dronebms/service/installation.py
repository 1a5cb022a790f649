# SPDX-License-Identifier: Apache-2.0
"""What a configuration needs of this installation: extras, packages of gauges, signing keys."""

from pathlib import Path

from dronebms.service.can_buses import can_bus_class
from dronebms.service.config import Config
from dronebms.service.outputs.output_sinks import metrics_exporter, mqtt_publisher
from dronebms.service.sources.gauge_packages import refuse_package
from mavlink_bridge.protocol.codec import read_key


def refuse_unusable(config: Config) -> None:
    """Refuse what can never work with this installation; `run` and `check` share it.

    Raises:
        ConfigError: an extra is not installed, the package of a gauge cannot be used, or the
            signing key cannot be read.
    """
    for link in config.mavlink:
        if link.signing_key is not None:
            read_key(Path(link.signing_key))
    if config.metrics is not None:
        metrics_exporter()
    if config.mqtt is not None:
        mqtt_publisher()
    if config.dronecan is not None or any(battery.can for battery in config.battery):
        can_bus_class()
    for battery in config.battery:
        if battery.package is not None:
            refuse_package(battery.bus, battery.cells)
