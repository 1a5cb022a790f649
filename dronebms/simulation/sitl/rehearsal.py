# SPDX-License-Identifier: Apache-2.0
"""A configured service on virtual packs: what `dronebms sitl -c` changes of a configuration.

Limits, actions, recording, status socket and the options of MAVLink stay. The packs become virtual,
the link is that to the simulated vehicle, and the state goes to a folder of the run: neither the
history of real packs nor the stored parameters of a real vehicle mix with a simulation.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import ValidationError

from dronebms.core.errors import ConfigError
from dronebms.recording.gauge_tap import SteppedGauge, TappedGauge
from dronebms.service.config.battery_config import BatteryConfig
from dronebms.service.config.service_config import Config, StateConfig
from dronebms.service.machine import Wiring
from dronebms.simulation.simulated_flight import DEFAULT_FLIGHT
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.protocol.link import Link
from sim.plant.pack_spec import PackSpec
from sim.plant.scenario import Scenario, load_scenario, v_scale_of
from smartbattery.bus import Bus
from smartbattery.profiles import profile_named
from smartbattery.registers import ADDRESS

_LEFT_OUT = ("state", "metrics", "mqtt", "charger")


class VirtualMachine:
    """Virtual packs and a simulated vehicle (`dronebms.service.machine.Machine`)."""

    def __init__(self, link: Link, buses: Sequence[Bus]) -> None:
        self._link = link
        self._buses = buses

    def lock_packs(self, batteries: Sequence[BatteryConfig], stack: ExitStack) -> None:
        """Do nothing: no other program reads them."""

    def link(self, _config: MavlinkConfig, _stack: ExitStack) -> Link:
        """The simulated vehicle."""
        return self._link

    def sources(
        self, batteries: Sequence[BatteryConfig], wiring: Wiring
    ) -> dict[int, SteppedGauge]:
        """Gauges that the loop polls; a monitor of the vehicle measures its virtual pack itself."""
        return {
            index: SteppedGauge(
                TappedGauge(bus, ADDRESS, battery.cells, profile_named(battery.gauge)),
                index,
                wiring.on_poll,
            )
            for index, (bus, battery) in enumerate(zip(self._buses, batteries, strict=True))
            if battery.monitor is None
        }


def rehearsed(config: Config, url: str, folder: Path) -> Config:
    """The configuration with virtual packs.

    Args:
        config: of the service.
        url: link to the simulated vehicle.
        folder: of the state of this run.
    """
    plain = {"address": ADDRESS, "mux_address": None, "mux_channel": None, "recovery": None}
    changed = {
        "battery": [battery.model_copy(update=plain) for battery in config.battery],
        "mavlink": [config.vehicle_link.model_copy(update={"url": url})],
        **dict.fromkeys(_LEFT_OUT),
        "state": StateConfig(dir=str(folder)),
        "dronecan": config.dronecan if _is_simulated_can(config) else None,
    }
    return config.model_copy(update=changed)


def left_out(config: Config) -> str | None:
    """Sentence on the sections that a rehearsal does not use, `None` if there are none."""
    names = [f"[{name}]" for name in _LEFT_OUT if getattr(config, name) is not None]
    if config.dronecan is not None and not _is_simulated_can(config):
        names.append("[dronecan]")
    names += ["[[mavlink]] with role telemetry"] if config.telemetry_links else []
    return f"not used in a rehearsal: {', '.join(names)}" if names else None


def _is_simulated_can(config: Config) -> bool:
    """Whether the CAN bus is the one of a simulated vehicle; a virtual pack is sent to no other."""
    return config.dronecan is not None and config.dronecan.url.startswith(("mcast:", "mavcan"))


def scenario_of(battery: BatteryConfig, flight: str | None) -> Scenario:
    """Flight file of a configured battery.

    The file of the option, else that of a simulated bus, else the default one with the chemistry,
    cells and capacity of the configuration.

    Raises:
        ConfigError: the file cannot be used, or there is no virtual pack like the configured one.
    """
    if flight is not None or battery.is_virtual:
        return load_scenario(battery.scenario if flight is None else flight)
    scenario = load_scenario(DEFAULT_FLIGHT)
    pack = scenario.pack
    values = pack.model_dump() | {
        "chemistry": battery.chemistry,
        "cells": battery.cells or pack.cells,
        "parallel": 1,
        "cell_mah": battery.capacity_mah or pack.rated_mah,
        "cutoff_cell_v": battery.cutoff_cell_v,
    }
    if battery.chemistry != pack.chemistry:
        values |= {"resistance_mohm_ah": None, "ocv_bend_v": 0.0, "ocv_tilt_v": 0.0}
    try:
        changed = PackSpec.model_validate(values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(
            f"no virtual pack like {battery.place}: {reason}; use --flight"
        ) from error
    gauge = scenario.gauge.model_copy(update={"v_scale": v_scale_of(changed)})
    return scenario.model_copy(update={"pack": changed, "gauge": gauge})
