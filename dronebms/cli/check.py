# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms check`.

It refuses what `run` refuses, with exit code 2. Exit code 1: something will not work on this
machine now, or the vehicle has a wrong parameter.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from dronebms.cli.exit_codes import DONE, FAILED, print_stdout
from dronebms.cli.machine_check import machine_findings
from dronebms.cli.result_rows import SCREEN, Mark, Row, fitting
from dronebms.cli.waiting import waiting
from dronebms.core.clock import SystemClock
from dronebms.core.number_format import counted
from dronebms.core.pack_data import PackData
from dronebms.core.report import Action, ActionKind, Severity
from dronebms.protection.actions import explain
from dronebms.protection.current_governor import limp_home_notes
from dronebms.protection.limits import changed_limits, default_limits
from dronebms.service.config import Config, read_config
from dronebms.service.installation import refuse_unusable
from dronebms.service.sources.gauge_packages import package_of
from mavlink_bridge.protocol.config import VEHICLE
from mavlink_bridge.vehicle.parameter_check import VehicleUse, check_vehicle

# Optional outputs by their section, and their line.
_OUTPUTS = {
    "status": "socket {0.shown}",
    "recording": "{0.folder}, at most {0.max_mb:g} MB",
    "state": "{0.folder}",
    "charger": "reduce and stop to {0.place} while the vehicle is not armed",
    "metrics": "http://{0.address}:{0.port}/metrics",
    "mqtt": "{0.host}:{0.port}, topic {0.topic}",
    "dronecan": "{0.sends} at {0.rate_hz:g} Hz to {0.url}, {0.nodes}",
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
        with waiting(f"comparing the parameters of a vehicle on {options.vehicle}"):
            lines, fits = check_vehicle(
                config.vehicle_link, use, options.vehicle, SystemClock(), set_wrong=options.set
            )
        print_stdout("\n".join(lines))
        return DONE if fits else FAILED
    return print_check(options.config, config, every_limit=options.limits)


def print_check(path: Path, config: Config, *, every_limit: bool = False) -> int:
    """Print what a valid configuration enables, and what will not work; return the exit code."""
    wrong = [*_advice(config), *_wrong(config)]
    failures = sum(row.mark is Mark.FAILS for row in wrong)
    wrong.append(_result(path, failures, len(wrong) - failures))
    subjects = {row.subject for row in wrong}
    shown = [row for row in _summary(config) if row.subject not in subjects]
    if every_limit:
        print_stdout("\n".join(_limit_table(config)))
    else:
        shown = fitting(shown, SCREEN[1] - sum(len(row.lines()) for row in wrong))
    for row in (*shown, *wrong):
        print("\n".join(row.lines()))
    return FAILED if failures else DONE


def _wrong(config: Config) -> list[Row]:
    """What will not work on this machine now."""
    return [
        Row(Mark.WARNING if one.works else Mark.FAILS, one.subject, one.text, one.mend)
        for one in machine_findings(config, SystemClock())
    ]


def _advice(config: Config) -> Iterator[Row]:
    """What a valid configuration leaves without effect."""
    idle = any(
        row.do == ActionKind.REDUCE.label and not (row.speed_m_s or row.climb_m_s)
        for row in config.action
    )
    if idle and config.vehicle_link.vehicle == "auto":
        text = "do = reduce without a speed does nothing on PX4"
        yield Row(Mark.WARNING, "actions", text, "speed_m_s = 5.0")


def _result(path: Path, failures: int, warnings: int) -> Row:
    if failures:
        return Row(Mark.FAILS, str(path), f"{counted(failures, 'thing')} will not work now")
    if warnings:
        return Row(Mark.WARNING, str(path), "works, see the warnings above")
    return Row(Mark.OK, str(path), "works on this machine")


def _summary(config: Config) -> Iterator[Row]:
    """What a configuration enables: packs, link, limits, actions, outputs."""
    for number, battery in enumerate(config.battery, start=1):
        name = f"battery {number}"
        pack = battery.pack_data()
        model = "" if battery.pack_model is None else f", model {battery.pack_model}"
        yield Row(Mark.OK, name, f"{battery.place}, {_rated(pack)}{model}")
        if battery.package is not None:
            yield Row(Mark.OK, name, f"gauge of {package_of(battery.bus).name}")
        if battery.reset_monitor is not None:
            text = f"ArduPilot's monitor {battery.reset_monitor} is reset after a swap"
            yield Row(Mark.OK, name, text)
        for note in (*pack.assumed(), *limp_home_notes(pack)):
            yield Row(Mark.NOTE, name, note)
    if config.vehicle.name is not None:
        yield Row(Mark.OK, "vehicle", config.vehicle.name)
    for link in config.mavlink:
        role = "" if link.role == VEHICLE else ", telemetry alone"
        yield Row(Mark.OK, config.link_name(link), f"{link.url}{role}")
    changed = [change.limit_id for change in config.limit_changes()]
    limits = default_limits(config.battery[0].pack_data())
    of_them = f", changed: {', '.join(changed)}" if changed else ""
    yield Row(Mark.OK, "limits", f"{len(limits)}{of_them} (--limits prints them)")
    for row in config.action:
        yield Row(Mark.OK, "action", _action_line(row.action()))
    on = [name for name in _OUTPUTS if getattr(config, name) is not None]
    for name in on:
        yield Row(Mark.OK, name, _OUTPUTS[name].format(getattr(config, name)))
    if off := ", ".join(name for name in _OUTPUTS if name not in on):
        yield Row(Mark.NOTE, "off", off)


def _rated(pack: PackData) -> str:
    """Configured data of a pack."""
    cells = "" if pack.cells is None else f"{pack.cells}S "
    capacity = "" if pack.capacity_mah is None else f"{pack.capacity_mah:g} mAh "
    return f"{cells}{capacity}{pack.cell or pack.chemistry.name}"


def _limit_table(config: Config) -> Iterator[str]:
    """Every limit of each battery, with what follows."""
    actions = [row.action() for row in config.action]
    for number, battery in enumerate(config.battery, start=1):
        yield f"battery {number}"
        limits = changed_limits(default_limits(battery.pack_data()), config.limit_changes())
        for line in explain(limits, actions):
            yield f"  {line}"


def _action_line(action: Action) -> str:
    """One action: trigger, command, debounce, escalation."""
    on = f"{action.on.label} or worse" if isinstance(action.on, Severity) else action.on
    speeds = {"m/s": action.speed_m_s, "m/s climb": action.climb_m_s}
    speed = "".join(f", {value:g} {unit}" for unit, value in speeds.items() if value is not None)
    armed = " while armed" if action.only_when_armed else ""
    then = "" if action.escalate is None else f"; if it is not obeyed, {action.escalate.label}"
    return f"on {on}: {action.do.label}{speed} after {action.hold_s:g} s{armed}{then}"
