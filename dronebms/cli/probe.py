"""The command `dronebms probe`: a look at a pack, or a scan for packs.

0 done; 1 no pack, one that has tripped or failed; options that go badly together are a
`ConfigError`.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from dronebms.cli.exit_codes import DONE, FAILED, print_stderr
from dronebms.core.clock import Clock, PacedClock, SystemClock
from dronebms.core.errors import ConfigError
from dronebms.probe.audit import AuditOptions, warnings_of
from dronebms.probe.prober import SIMULATED, Place, Prober, scan
from dronebms.probe.table import picture
from sim.emulator.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError
from smartbattery.linux_bus import LinuxBus


def probe(options: argparse.Namespace) -> int:
    """Look at a pack, once or until Ctrl-C, and return the exit code."""
    clock = PacedClock(SystemClock())
    if options.scan:
        return _scan(options, clock)
    channel = options.mux_address, options.mux_channel
    if options.bus is None:
        raise ConfigError("--bus says where the pack is; --scan finds out")
    if channel.count(None) == 1:
        raise ConfigError("both of --mux-address and --mux-channel, or neither")
    place = Place(options.bus, options.address, options.gauge, None if None in channel else channel)
    told = AuditOptions(options.cells, options.hover_a)
    console = Console(markup=False, highlight=False)
    code, going = DONE, True
    with ExitStack() as stack:
        prober = Prober(place, _opener(clock), clock, print_stderr, stack)
        if options.record is not None:
            prober.record(options.record)
        while going:
            try:
                look = prober.look()
            except BatteryError as error:
                print_stderr(str(error))
                code = FAILED
            else:
                code = FAILED if look.failed else DONE
                bus, warnings = prober.place.bus, warnings_of(look, told)
                as_json = options.json and json.dumps(look.to_json(bus, warnings))
                print(as_json or picture(look, bus, warnings, console), flush=True)
            going = options.watch and prober.wait()
    return code


def _scan(options: argparse.Namespace, clock: Clock) -> int:
    paths = [options.bus] if options.bus else sorted(map(str, Path("/dev").glob("i2c-*")))
    code = FAILED
    for place, what in scan(
        paths, options.address, _opener(clock), print_stderr, with_mux=options.mux
    ):
        code = DONE
        print(json.dumps(asdict(place) | {"text": what}) if options.json else f"{place}: {what}")
    if code:
        print_stderr(
            f"no pack at address 0x{options.address:02x} of {', '.join(paths) or 'any bus'}"
        )
    return code


def _opener(clock: Clock) -> Callable[[str], Bus]:
    """Return what opens a bus by its name."""

    def opened(name: str) -> Bus:
        scenario = name.removeprefix(SIMULATED)
        return LinuxBus(name) if scenario == name else open_virtual(scenario, clock)[0]

    return opened
