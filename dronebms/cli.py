"""The command line: options in, exit codes and one-sentence errors out.

0 done, alarms included; 1 no pack, one that has tripped or failed, or a damaged recording; 2 an
option, a configuration or a file that cannot be used; 130 Ctrl-C. A closed pipe and SIGTERM end
silently.
"""

import argparse
import errno
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.progress import Progress

from dronebms import predictions
from dronebms.app import SimOptions, Simulation, serve
from dronebms.audit import Told, warnings_of
from dronebms.clock import Clock, PacedClock, SystemClock
from dronebms.config import read_config
from dronebms.errors import ConfigError, DroneBmsError, RecordingError
from dronebms.monitor import Report
from dronebms.options import DEMO_URL, UNUSABLE, parser
from dronebms.predictions import EachSecond
from dronebms.probing import SIMULATED, Place, Prober, scan
from dronebms.replay import Summary, replay
from dronebms.screen import Screen
from dronebms.screen_probe import picture
from dronebms.sidecar import FlightOptions
from dronebms.textline import clock_text, headless_line
from sim.world import open_virtual
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError
from smartbattery.linux import LinuxBus

DONE, FAILED, INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        commands = {"sim": _sim, "run": _run, "probe": _probe, "replay": _replay}
        options = parser(commands).parse_args(argv)
        code: int | None = options.run(options)
        sys.stdout.flush()
    except (DroneBmsError, BatteryError) as error:
        for line in str(error).splitlines():
            print(f"dronebms: {line}", file=sys.stderr)
        return FAILED if isinstance(error, (RecordingError, BatteryError)) else UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _leave_stdout()
        return DONE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _leave_stdout()
        print(f"dronebms: the output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED
    return code or DONE


def _leave_stdout() -> None:
    # Python would complain once more while it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(DONE)


# ---------------------------------------------------------------------- commands


def _sim(options: argparse.Namespace) -> None:
    speed = None if options.speed == "max" else options.speed
    url = options.mavlink
    if url is None and speed is not None:
        url = DEMO_URL  # at full speed nobody could follow, so only when asked
    asked = SimOptions(
        flight=options.flight,
        seed=options.seed,
        speed=speed,
        faults=tuple(options.fault),
        duration_s=options.duration,
        mavlink_url=None if url == "none" else url,
        record=options.record,
    )
    summary = Summary()
    with ExitStack() as stack:
        simulation = Simulation(asked, stack)
        if options.json or options.headless:
            show = _printer(as_json=options.json)
            for report in simulation.reports():
                show(report)
            return
        # The screen's own clock: however fast the flight goes, people see two pictures a second.
        screen = stack.enter_context(Screen(SystemClock(), link=simulation.link))
        for report in simulation.reports():
            screen(report)
            summary(report)
    print("\n".join(summary.lines(simulation.facts, f"simulated {options.flight}")))


def _printer(*, as_json: bool) -> Callable[[Report], None]:
    """Return a watcher that prints a line a second, and every event between the plain ones."""
    due = EachSecond()

    def print_report(report: Report) -> None:
        if not as_json:
            for event in report.status.events:
                text = f"{event.severity.label}: {event.text}" if event.tripped else event.text
                print(f"t={clock_text(event.t_s)}  {text}", flush=True)
        if due.due(report.t_s):
            print(predictions.text(report) if as_json else headless_line(report), flush=True)

    return print_report


def _replay(options: argparse.Namespace) -> None:
    told = FlightOptions(
        cells=options.cells,
        capacity_mah=options.capacity_mah,
        chemistry=options.chemistry,
        cutoff_cell_v=options.cutoff_cell_v,
    )
    # The predictions have stdout to themselves when they are asked for there.
    talk = sys.stderr if options.out == "-" else sys.stdout
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(options.flight.name, total=1.0)
        lines = replay(
            options.flight, told, options.out, lambda share: bar.update(task, completed=share)
        )
    print("\n".join(lines), file=talk)


def _run(options: argparse.Namespace) -> None:
    _log_to_stderr(as_json=options.log == "json")
    with ExitStack() as stack:
        serve(read_config(options.config), stack)


def _probe(options: argparse.Namespace) -> int:
    clock = PacedClock(SystemClock())
    if options.scan:
        return _scan(options, clock)
    channel = options.mux_address, options.mux_channel
    if options.bus is None:
        raise ConfigError("--bus says where the pack is; --scan finds out")
    if channel.count(None) == 1:
        raise ConfigError("both of --mux-address and --mux-channel, or neither")
    place = Place(options.bus, options.address, options.gauge, None if None in channel else channel)
    told = Told(options.cells, options.hover_a)
    console = Console(markup=False, highlight=False)
    code, going = DONE, True
    with ExitStack() as stack:
        prober = Prober(place, _opener(clock), clock, _say, stack)
        if options.record is not None:
            prober.record(options.record)
        while going:
            try:
                probe = prober.look()
            except BatteryError as error:
                _say(str(error))
                code = FAILED
            else:
                code = FAILED if probe.failed else DONE
                bus, warnings = prober.place.bus, warnings_of(probe, told)
                as_json = options.json and json.dumps(probe.to_json(bus, warnings))
                print(as_json or picture(probe, bus, warnings, console), flush=True)
            going = options.watch and prober.wait()
    return code


def _scan(options: argparse.Namespace, clock: Clock) -> int:
    paths = [options.bus] if options.bus else sorted(map(str, Path("/dev").glob("i2c-*")))
    code = FAILED
    for place, what in scan(paths, options.address, _opener(clock), _say, with_mux=options.mux):
        code = DONE
        print(json.dumps(asdict(place) | {"text": what}) if options.json else f"{place}: {what}")
    if code:
        _say(f"no pack at address 0x{options.address:02x} of {', '.join(paths) or 'any bus'}")
    return code


def _opener(clock: Clock) -> Callable[[str], Bus]:
    """Return what opens a bus by its name."""

    def opened(name: str) -> Bus:
        scenario = name.removeprefix(SIMULATED)
        return LinuxBus(name) if scenario == name else open_virtual(scenario, clock)[0]

    return opened


def _say(text: str) -> None:
    print(f"dronebms: {text}", file=sys.stderr)


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        row: dict[str, object] = {"level": record.levelname.lower(), "text": record.getMessage()}
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row | {"logger": record.name})


def _log_to_stderr(*, as_json: bool) -> None:
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(levelname)s %(message)s")
    handler.setFormatter(_JsonLines() if as_json else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


if __name__ == "__main__":
    sys.exit(main())
