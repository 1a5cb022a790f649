"""`dronebms check` and `dronebms ardupilot-script`: what would run and act, and the vehicle's side.

Exit code 1 is a vehicle with a wrong parameter.
"""

import argparse

from dronebms.cli.exit_codes import DONE, FAILED
from dronebms.core.clock import SystemClock
from dronebms.core.errors import ConfigError
from dronebms.protection.actions import explain
from dronebms.protection.current_governor import limp_home_notes
from dronebms.protection.limits import changed_limits, default_limits
from dronebms.service.config import read_config
from mavlink_bridge.protocol.lua_driver import write_script
from mavlink_bridge.vehicle.parameter_check import check_vehicle

# What runs beside the packs, each by its section, and how a line tells of it.
_BESIDE = {
    "status": "viewers are served at {0.socket}",
    "recording": "in {0.dir}, at most {0.max_mb:g} MB",
    "state": "what is learned is kept in {0.dir}",
    "charger": "{0.place}, told to reduce or stop while the vehicle is not armed",
    "metrics": "served at {0.address}, port {0.port}",
    "mqtt": "told to {0.host}, port {0.port}, topic {0.topic}",
}


def check(options: argparse.Namespace) -> int:
    """Print what a configuration does, or how a vehicle fits it."""
    config = read_config(options.config)
    if options.vehicle is None:
        if options.set:
            raise ConfigError("--set needs --vehicle: it says which one")
        changes, actions = config.limit_changes(), [row.action() for row in config.action]
        for number, battery in enumerate(config.battery, start=1):
            pack_data = battery.pack_data()
            limits = changed_limits(default_limits(pack_data), changes)
            print(f"battery {number}: {battery.place}, told to {config.mavlink.url}")
            for line in (
                *pack_data.assumed(),
                *limp_home_notes(pack_data),
                *explain(limits, actions),
            ):
                print(f"  {line}")
        on = [name for name in _BESIDE if getattr(config, name) is not None]
        for name in on:
            print(f"{name}: {_BESIDE[name].format(getattr(config, name))}")
        if off := ", ".join(name for name in _BESIDE if name not in on):
            print(f"off: {off}")
        return DONE
    lines, fits = check_vehicle(
        config.mavlink,
        config.battery[0].capacity_mah,
        options.vehicle,
        SystemClock(),
        set_wrong=options.set,
    )
    print("\n".join(lines))
    return DONE if fits else FAILED


def ardupilot_script(options: argparse.Namespace) -> None:
    """Write the Lua driver."""
    print(write_script(options.out, force=options.force))
