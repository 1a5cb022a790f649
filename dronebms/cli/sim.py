# SPDX-License-Identifier: Apache-2.0
"""The commands `dronebms sim` and `dronebms sitl`: simulated flights of a virtual pack."""

import argparse
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace

from dronebms.analysis.summary import Summary
from dronebms.cli.exit_codes import DONE, print_stderr, print_stdout
from dronebms.cli.options import DEMO_URL
from dronebms.cli.waiting import waiting
from dronebms.core.clock import OncePerSecond, SystemClock
from dronebms.core.errors import ConfigError
from dronebms.core.number_format import clock_text
from dronebms.core.report import Report
from dronebms.presentation.phrases import headless_line
from dronebms.service import log_output
from dronebms.service.config import read_config
from dronebms.simulation.simulated_flight import DEFAULT_FLIGHT, SimOptions, Simulation
from dronebms.simulation.sitl import FOUND_S, Sitl
from dronebms.telemetry import json_line
from dronebms.terminal.display import Display


def sim(options: argparse.Namespace) -> int:
    """Fly a simulated flight."""
    speed = None if options.speed == "max" else options.speed
    # At full speed a receiver cannot keep up, so there is no default.
    url = DEMO_URL if options.mavlink is None and speed is not None else options.mavlink
    simulated = replace(_sim_options(options, None if url == "none" else url), speed=speed)
    with ExitStack() as stack:
        _show(Simulation(simulated, stack), options, stack)
    return DONE


def sitl(options: argparse.Namespace) -> int:
    """Follow a simulated vehicle, with the service of a configuration if one is given.

    Raises:
        ConfigError: a configuration that cannot be used, or --record with one.
    """
    config = None if options.config is None else read_config(options.config)
    if config is not None:
        if options.record is not None:
            raise ConfigError(
                "--record: with -c the section [recording] of the configuration records"
            )
        if options.headless or options.json:
            log_output.start(SystemClock(), as_json=False)
        else:  # the display has the events
            logging.getLogger("dronebms").addHandler(logging.NullHandler())
            logging.getLogger("mavlink_bridge").addHandler(logging.NullHandler())
    with ExitStack() as stack:
        simulated = _sim_options(options, options.vehicle)
        with waiting(f"waiting for a vehicle on {options.vehicle}, {FOUND_S:.0f} s at most"):
            flown = Sitl(simulated, stack, SystemClock(), print_stderr, config)
        _show(flown, options, stack)
    return DONE


def _sim_options(options: argparse.Namespace, url: str | None) -> SimOptions:
    return SimOptions(
        flight=options.flight,
        seed=options.seed,
        faults=tuple(options.fault),
        duration_s=options.duration,
        mavlink_url=url,
        record=options.record,
    )


def _show(flown: Simulation | Sitl, options: argparse.Namespace, stack: ExitStack) -> None:
    """Run a flight to its end, with the chosen output."""
    if options.json or options.headless:
        _print(_with_link_notices(flown), as_json=options.json)
        return
    summary = Summary()
    with stack.pop_all() as held:
        # The viewer's clock: two screens a second, however fast the flight is simulated.
        display = held.enter_context(Display(SystemClock(), link=flown.link))
        for report in flown.reports():
            display(report)
            if display.closed:
                return
            summary(report)
    title = f"simulated {options.flight or DEFAULT_FLIGHT}"
    print_stdout("\n".join(summary.lines(flown.pack_data, title)))


def _with_link_notices(flown: Simulation | Sitl) -> Iterator[Report]:
    """The reports; each change of the link's trouble is a line on stderr."""
    last: str | None = None
    for report in flown.reports():
        trouble = flown.link_trouble()
        if trouble != last:
            print_stderr(trouble or "the MAVLink link works again")
        last = trouble
        yield report


def _print(reports: Iterable[Report], *, as_json: bool) -> None:
    """Print a line a second, without `as_json` also every event."""
    due = OncePerSecond()
    for report in reports:
        for event in () if as_json else report.status.events:
            print(f"t={clock_text(event.t_s)}  {event.text}", flush=True)
        if due.due(report.t_s):
            print(json_line.text(report) if as_json else headless_line(report), flush=True)
