"""The command line: options in, exit codes and one-sentence errors out.

0 done, alarms included; 1 no pack, one that has tripped or failed, or a damaged recording; 2 an
option, a configuration or a file that cannot be used; 130 Ctrl-C. A closed pipe and SIGTERM end
silently.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import FrameType
from typing import NoReturn

from dronebms import logs, predictions
from dronebms.app import SimOptions, Simulation
from dronebms.cli_campaign import campaign
from dronebms.cli_check import ardupilot_script, check
from dronebms.cli_exit import DONE, FAILED, INTERRUPTED, say
from dronebms.cli_extras import fleet_sinks
from dronebms.cli_packs import packs
from dronebms.cli_probe import probe
from dronebms.cli_replay import replay
from dronebms.cli_report import plot, report
from dronebms.cli_status import status
from dronebms.clock import SystemClock
from dronebms.errors import DroneBmsError, RecordingError
from dronebms.monitor import Report
from dronebms.options import DEMO_URL, UNUSABLE, parser
from dronebms.predictions import EachSecond
from dronebms.replay import Summary
from dronebms.screen import Screen
from dronebms.service import serve
from dronebms.sitl import Sitl
from dronebms.textline import clock_text, headless_line
from smartbattery.errors import BatteryError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        options = parser(COMMANDS).parse_args(argv)
        code: int | None = options.run(options)
        sys.stdout.flush()
    except (DroneBmsError, BatteryError) as error:
        for line in str(error).splitlines():
            say(line)
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
        say(f"the output cannot be written: {error.strerror}")
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
    asked = replace(_asked(options, None if url == "none" else url), speed=speed)
    with ExitStack() as stack:
        _show(Simulation(asked, stack), options, stack)


def _sitl(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        asked = _asked(options, options.vehicle)
        _show(Sitl(asked, stack, SystemClock(), say), options, stack)


def _asked(options: argparse.Namespace, url: str | None) -> SimOptions:
    return SimOptions(
        flight=options.flight,
        seed=options.seed,
        faults=tuple(options.fault),
        duration_s=options.duration,
        mavlink_url=url,
        record=options.record,
    )


def _show(flown: Simulation | Sitl, options: argparse.Namespace, stack: ExitStack) -> None:
    """Show a flight as it was asked for, to its end."""
    if options.json or options.headless:
        show = _printer(as_json=options.json)
        for report in flown.reports():
            show(report)
        return
    summary = Summary()
    with stack.pop_all() as held:
        # The screen's own clock: however fast the flight goes, people see two pictures a second.
        screen = held.enter_context(Screen(SystemClock(), link=flown.link))
        for report in flown.reports():
            screen(report)
            summary(report)
    print("\n".join(summary.lines(flown.facts, f"simulated {options.flight}")))


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


def _run(options: argparse.Namespace) -> None:
    logs.start(SystemClock(), as_json=options.log == "json")
    with ExitStack() as stack:
        serve(options.config, stack, [fleet_sinks])


COMMANDS = {
    "sim": _sim,
    "sitl": _sitl,
    "run": _run,
    "status": status,
    "probe": probe,
    "replay": replay,
    "report": report,
    "plot": plot,
    "check": check,
    "ardupilot-script": ardupilot_script,
    "packs": packs,
    "campaign": campaign,
}

if __name__ == "__main__":
    sys.exit(main())
