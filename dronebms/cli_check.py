"""`dronebms check` and `dronebms ardupilot-script`: what would run and act, and the vehicle's side.

Exit code 1 is a vehicle with a wrong parameter.
"""

import argparse

from dronebms.actions import explain
from dronebms.cli_exit import DONE, FAILED
from dronebms.clock import SystemClock
from dronebms.config import read_config
from dronebms.errors import ConfigError
from dronebms.governor import unstated
from dronebms.limits import changed_limits, default_limits
from mavlink_bridge.script import write_script
from mavlink_bridge.vehiclecheck import check_vehicle


def check(options: argparse.Namespace) -> int:
    """Print what a configuration does, or how a vehicle fits it."""
    config = read_config(options.config)
    if options.vehicle is None:
        if options.set:
            raise ConfigError("--set needs --vehicle: it says which one")
        changes, actions = config.limit_changes(), [row.action() for row in config.action]
        for number, battery in enumerate(config.battery, start=1):
            facts = battery.facts()
            limits = changed_limits(default_limits(facts), changes)
            print(f"battery {number}: {battery.place}, told to {config.mavlink.url}")
            for line in (*facts.assumed(), *unstated(facts), *explain(limits, actions)):
                print(f"  {line}")
        return DONE
    lines, fits = check_vehicle(config, options.vehicle, SystemClock(), set_wrong=options.set)
    print("\n".join(lines))
    return DONE if fits else FAILED


def ardupilot_script(options: argparse.Namespace) -> None:
    """Write the Lua driver."""
    print(write_script(options.out, force=options.force))
