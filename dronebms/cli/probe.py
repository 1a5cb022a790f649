# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms probe`: reads a pack, or scans for packs.

Exit code 1: no pack, or a pack with a tripped protection or a permanent failure.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict

from rich.console import Console

from dronebms.cli.devices import i2c_adapters
from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.core.clock import Clock, PacedClock, SystemClock
from dronebms.core.errors import ConfigError
from dronebms.core.number_format import printable
from dronebms.core.service_defaults import SIMULATED
from dronebms.dronecan import battery_address
from dronebms.probe.audit import AuditOptions, warnings_of
from dronebms.probe.place import Place
from dronebms.probe.prober import Prober
from dronebms.probe.scan import scan
from dronebms.probe.table import render
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError
from smartbattery.linux_bus import LinuxBus


def probe(options: argparse.Namespace) -> int:
    """Read a pack once, or until Ctrl-C with --watch."""
    clock = PacedClock(SystemClock())
    if options.scan:
        return _scan(options, clock)
    channel = options.mux_address, options.mux_channel
    _refuse_bus(options.bus)
    if channel.count(None) == 1:
        raise ConfigError("--mux-address and --mux-channel need each other")
    place = Place(options.bus, options.address, options.gauge, None if None in channel else channel)
    audit_options = AuditOptions(options.cells, options.hover_a)
    console = Console(markup=False, highlight=False)
    code = DONE
    more = True
    with ExitStack() as stack:
        prober = Prober(place, _opener(clock), clock, print_stderr, stack)
        if options.record is not None:
            prober.record(options.record)
        while more:
            try:
                readout = prober.read()
            except BatteryError as error:
                print_stderr(str(error))
                code = FAILED
            else:
                code = FAILED if readout.failed else DONE
                bus = prober.place.bus
                warnings = warnings_of(readout, audit_options)
                if options.json:
                    print(json.dumps(readout.to_json(bus, warnings)), flush=True)
                else:
                    print(render(readout, bus, warnings, console), flush=True)
            more = options.watch and prober.wait()
    return code


def _refuse_bus(bus: str | None) -> None:
    """Refuse a bus that is missing or has no gauge on SMBus.

    Raises:
        ConfigError: for such a bus.
    """
    if bus is None:
        raise ConfigError("--bus is missing; --scan lists the buses with a pack")
    others = {battery_address.PREFIX: "a DroneCAN pack", "mavlink:": "an autopilot's monitor"}
    for start, what in others.items():
        if bus.startswith(start):
            raise ConfigError(f"probe reads gauges on SMBus; run and status show {what}")


def _scan(options: argparse.Namespace, clock: Clock) -> int:
    paths = [options.bus] if options.bus else i2c_adapters()
    code = FAILED
    for place, text in scan(
        paths, options.address, _opener(clock), print_stderr, with_mux=options.mux
    ):
        code = DONE
        row = json.dumps(asdict(place) | {"text": text})
        print(row if options.json else printable(f"{place}: {text}"))
    if code:
        print_stderr(
            f"no pack at address 0x{options.address:02x} of {', '.join(paths) or 'any bus'}"
        )
    return code


def _opener(clock: Clock) -> Callable[[str], Bus]:
    """Function that opens a device or a simulation by its name."""

    def open_bus(name: str) -> Bus:
        scenario = name.removeprefix(SIMULATED)
        return LinuxBus(name) if scenario == name else open_virtual(scenario, clock)[0]

    return open_bus
