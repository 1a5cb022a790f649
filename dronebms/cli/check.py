"""The commands `dronebms check` and `dronebms ardupilot-script`.

`check` refuses what `run` refuses, with exit code 2. Exit code 1: something will not work on this
machine now, or the vehicle has a wrong parameter.
"""

import argparse
import os
import sys
from collections.abc import Iterator

from dronebms.cli.exit_codes import DONE, FAILED, print_stdout
from dronebms.core.clock import SystemClock
from dronebms.core.errors import ConfigError
from dronebms.core.number_format import printable
from dronebms.core.report import Action, ActionKind, Severity
from dronebms.protection.actions import explain
from dronebms.protection.current_governor import limp_home_notes
from dronebms.protection.limits import changed_limits, default_limits
from dronebms.service.config import Config, read_config
from dronebms.service.factories import refuse_unusable
from dronebms.service.machine_check import machine_findings
from mavlink_bridge.protocol.lua_driver import write_script
from mavlink_bridge.vehicle.parameter_check import VehicleUse, check_vehicle

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
    """Print what a configuration enables and what will not work, or compare a vehicle with it."""
    config = read_config(options.config)
    refuse_unusable(config)
    if options.vehicle is not None:
        use = VehicleUse(
            config.battery[0].capacity_mah,
            config.action_kinds(),
            feeds=all(battery.monitor is None for battery in config.battery),
        )
        lines, fits = check_vehicle(
            config.mavlink, use, options.vehicle, SystemClock(), set_wrong=options.set
        )
        print_stdout("\n".join(lines))
        return DONE if fits else FAILED
    if options.set:
        raise ConfigError("--set needs --vehicle")
    print_stdout("\n".join(_summary(config, every_limit=options.limits)))
    findings = machine_findings(config, SystemClock())
    for finding in findings:
        word = "warning" if finding.works else "will not work now"
        print(_coloured(printable(f"{word}: {finding.subject}: {finding.text}"), finding.works))
    return DONE if all(finding.works for finding in findings) else FAILED


def _summary(config: Config, *, every_limit: bool) -> Iterator[str]:
    """What a configuration enables: packs with their limits and actions, outputs."""
    changes = config.limit_changes()
    actions = [row.action() for row in config.action]
    named = {change.limit_id for change in changes} | {str(action.on) for action in actions}
    for number, battery in enumerate(config.battery, start=1):
        pack_data = battery.pack_data()
        limits = changed_limits(default_limits(pack_data), changes)
        model = "" if battery.pack_model is None else f", model {battery.pack_model}"
        yield f"battery {number}: {battery.place}{model}, MAVLink to {config.mavlink.url}"
        shown = [row for row in limits if every_limit or row.limit_id in named]
        notes = (*pack_data.assumed(), *limp_home_notes(pack_data))
        for line in (*notes, *explain(shown, actions)):
            yield f"  {line}"
        if len(shown) < len(limits):
            yield f"  {len(limits) - len(shown)} more limits: --limits"
    if config.vehicle.name is not None:
        yield f"vehicle: {config.vehicle.name}"
    for action in actions:
        yield _action_line(action)
    on = [name for name in _OUTPUTS if getattr(config, name) is not None]
    for name in on:
        yield f"{name}: {_OUTPUTS[name].format(getattr(config, name))}"
    if off := ", ".join(name for name in _OUTPUTS if name not in on):
        yield f"off: {off}"
    idle = any(
        row.do is ActionKind.REDUCE and not (row.speed_m_s or row.climb_m_s) for row in actions
    )
    if idle and config.mavlink.vehicle == "auto":
        yield "note: do = reduce without a speed does nothing on PX4"


def _action_line(action: Action) -> str:
    """One action: trigger, command, debounce, escalation."""
    on = f"{action.on.label} or worse" if isinstance(action.on, Severity) else action.on
    speeds = {"m/s": action.speed_m_s, "m/s climb": action.climb_m_s}
    speed = "".join(f", {value:g} {unit}" for unit, value in speeds.items() if value is not None)
    armed = " while armed" if action.only_when_armed else ""
    then = "" if action.escalate is None else f"; if it is not obeyed, {action.escalate.label}"
    return f"action: on {on}: {action.do.label}{speed} after {action.hold_s:g} s{armed}{then}"


def _coloured(text: str, works: bool) -> str:  # noqa: FBT001 - of a finding
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{33 if works else 31}m{text}\x1b[0m"


def ardupilot_script(options: argparse.Namespace) -> int:
    """Write the Lua driver."""
    print_stdout(str(write_script(options.out, force=options.force)))
    return DONE
