"""The commands `dronebms check` and `dronebms ardupilot-script`.

Exit code 1: the vehicle has a wrong parameter.
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

# Optional outputs by their section, and their line.
_OUTPUTS = {
    "status": "socket {0.socket}",
    "recording": "{0.dir}, at most {0.max_mb:g} MB",
    "state": "{0.dir}",
    "charger": "reduce and stop to {0.place} while the vehicle is not armed",
    "metrics": "http://{0.address}:{0.port}/metrics",
    "mqtt": "{0.host}:{0.port}, topic {0.topic}",
}


def check(options: argparse.Namespace) -> int:
    """Print the limits and outputs of a configuration, or the parameters of a vehicle."""
    config = read_config(options.config)
    if options.vehicle is None:
        if options.set:
            raise ConfigError("--set needs --vehicle")
        changes = config.limit_changes()
        actions = [row.action() for row in config.action]
        for number, battery in enumerate(config.battery, start=1):
            pack_data = battery.pack_data()
            limits = changed_limits(default_limits(pack_data), changes)
            print(f"battery {number}: {battery.place}, MAVLink to {config.mavlink.url}")
            for line in (
                *pack_data.assumed(),
                *limp_home_notes(pack_data),
                *explain(limits, actions),
            ):
                print(f"  {line}")
        on = [name for name in _OUTPUTS if getattr(config, name) is not None]
        for name in on:
            print(f"{name}: {_OUTPUTS[name].format(getattr(config, name))}")
        if off := ", ".join(name for name in _OUTPUTS if name not in on):
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


def ardupilot_script(options: argparse.Namespace) -> int:
    """Write the Lua driver."""
    print(write_script(options.out, force=options.force))
    return DONE
