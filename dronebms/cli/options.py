"""What the command line accepts, as rows: commands, their options, and the types of values.

A new option is a row of `OPTIONS`; a new command one of `PAGES`. No command runs here.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dronebms.cli.commands import Command
from dronebms.core.chemistry import CHEMISTRIES
from dronebms.core.toml_schema import AUTO
from dronebms.monitoring.loop import PERIOD_S
from dronebms.service.config import STATUS_SOCKET
from smartbattery.multiplexer import ADDRESSES as MUXES
from smartbattery.multiplexer import CHANNELS
from smartbattery.profiles import PROFILES
from smartbattery.registers import ADDRESS, CELLS

_UNUSABLE = 2
_STATE_DIR = "/var/lib/dronebms"
_MOST_RUNS, _MOST_JOBS, _MOST_BATTERIES = 1_000_000, 1024, 16
DEMO_URL = "udpout:127.0.0.1:14550"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def format_help(self) -> str:
        """Return the help, with the names that a simulation knows."""
        from sim.plant.faults import FAULTS  # noqa: PLC0415 - a service with real packs carries no
        from sim.plant.scenario import scenario_names  # noqa: PLC0415 - simulation

        names = {
            "flights": ", ".join(scenario_names()),
            "faults": ", ".join(fault.name for fault in FAULTS),
        }
        self.epilog = self.epilog and self.epilog.format_map(names)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        self.exit(_UNUSABLE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _speed(text: str) -> float | str:
    return text if text == "max" else _positive(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 is needed, not {text!r}")
    return value


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"a whole number from 0 on is needed, not {text!r}")
    return int(text)


def _scheduler(text: str) -> str:
    if not re.fullmatch(r"tcp://[^\s:/]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"tcp://HOST:PORT is needed, not {text!r}")
    return text


def _between(low: int, high: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            form = "#04x" if text.startswith("0x") else "d"
            raise argparse.ArgumentTypeError(
                f"{low:{form}} to {high:{form}} is needed, not {text!r}"
            )
        return value

    return whole


def _output(text: str) -> Path:
    return Path("/dev/stdout" if text == "-" else text)


def _maybe(text: str) -> str:
    """Take a positional argument that may be left out."""
    return text


@dataclass(frozen=True, slots=True)
class Page:
    """A command as its --help shows it; {flights} and {faults} in the example are filled in."""

    name: str
    summary: str
    description: str
    example: str


@dataclass(frozen=True, slots=True)
class Option:
    """What a command takes: an option, or without dashes a positional argument.

    `kind` makes the value: `bool` is a flag, `list` may be repeated, a tuple is a choice, anything
    else is called with the text.
    """

    names: str  # separated by blanks
    commands: str  # separated by blanks
    help: str | None
    metavar: str | None = None
    kind: Callable[[str], object] | tuple[str, ...] = str
    default: object = None
    required: bool = False

    def add_to(self, command: argparse.ArgumentParser) -> None:
        """Make a command take it."""
        kinds: dict[object, dict[str, Any]] = {
            bool: {"action": "store_true"},
            list: {"action": "append", "default": []},
            _maybe: {"nargs": "?"},
        }
        choice = "choices" if isinstance(self.kind, tuple) else "type"
        words: dict[str, Any] = {"help": self.help, "metavar": self.metavar}
        words |= {"default": self.default, "required": self.required or None}
        words |= kinds.get(self.kind, {choice: self.kind})
        told = {key: value for key, value in words.items() if value is not None}
        command.add_argument(*self.names.split(), **told)


# fmt: off
PAGES = (
    Page("sim", "fly a simulated flight behind the real gauge driver",
         "Fly a simulated flight: a virtual pack at the SMBus byte level, the real driver, estimator and protection, MAVLink out, a display in the terminal.",
         "dronebms sim --flight cold_climb --speed 10. Flights: {flights}. Faults: {faults}."),
    Page("run", "the service",
         f"Read the batteries of a configuration every {PERIOD_S:g} s, guard them and tell the flight controller, until stopped.",
         "dronebms run -c /etc/dronebms.toml"),
    Page("status", "a live display of a running service",
         "Show what a running service tells, until Ctrl-C; any number may look, and nothing is changed by it. Its configuration needs a section [status]. Exit code 1: no service is found.",
         "dronebms status --json"),
    Page("probe", "a look at a pack: every register decoded, and warnings",
         "Read every register and status word of a pack, and say what is wrong with it. Never writes a setting. Exit code 1: no pack, or one that has tripped or failed.",
         "dronebms probe --bus /dev/i2c-1 --cells 6 --hover-a 35"),
    Page("replay", "a recorded flight through the same estimator",
         "Replay a flight (.csv, .csv.gz with its .json), a recording, or the log of a flight controller (ArduPilot .bin, PX4 .ulg, .tlog).",
         "dronebms replay flight.csv.gz --out predictions.jsonl"),
    Page("report", "a flight as one page for a technician, with plots",
         "Replay a flight, recording or log as replay does and write one HTML page that needs nothing else: plots, extremes, what tripped, and lines to sign. Needs the extra report.",
         "dronebms report flight.csv.gz -o report.html"),
    Page("plot", "a flight as one picture",
         "Replay a flight, recording or log as replay does and draw it, as PNG or SVG. Needs the extra report.",
         "dronebms plot flight.csv.gz -o flight.png"),
    Page("sitl", "a virtual pack behind a simulated vehicle",
         "Follow a simulated ArduPilot or PX4: its load and its clock drive the virtual pack of a flight's file, an ArduPilot gets the pack's voltage, and the service reports to the same vehicle. "
         "Reads the vehicle's parameters and sets one, SIM_BATT_VOLTAGE, which it puts back at its end. Exit code 2: no vehicle within 30 s, or one that is set wrongly.",
         "dronebms sitl --vehicle udpin:127.0.0.1:14560 --flight hover"),
    Page("check", "what a configuration does, or how a vehicle fits it",
         "Validate a configuration and say what would run and act: each limit and what follows from it. With --vehicle: compare the vehicle's parameters; exit code 1 when one is wrong.",
         "dronebms check -c /etc/dronebms.toml --vehicle serial:/dev/ttyAMA0:921600"),
    Page("ardupilot-script", "write the Lua driver that makes ArduPilot use this battery",
         "Write dronebms.lua, for the vehicle's APM/scripts folder (ArduPilot 4.5 and newer). A driver that was changed by hand is not replaced without --force.",
         "dronebms ardupilot-script -o ."),
    Page("packs", "the passports of packs: how they age, which cell is weak",
         "Show what the flights of each pack say together; of one pack every flight. Passports are kept by a service whose configuration has [state] dir.",
         "dronebms packs 1001 --state-dir /var/lib/dronebms"),
    Page("campaign", "many seeds of a simulated flight on all cores, and a table of what came of them",
         "Fly many seeds of a simulated flight on all cores. What is flown is kept line by line; the same command goes on with what is missing, also with more runs.",
         "dronebms campaign survey --runs 200 --fault weak_cell. Flights: {flights}. Faults: {faults}."),
)

OPTIONS = (
    Option("--flight", "sim sitl", "a shipped flight or a TOML file (survey)", "NAME", default="survey"),
    Option("--speed", "sim", "times real time, or max (1)", "X", _speed, 1.0),
    Option("--duration", "sim sitl campaign", "stop after so many seconds of flight", "S", _positive),
    Option("--seed", "sim sitl", "same seed, same flight (1)", "N", _seed, 1),
    Option("--fault", "sim sitl campaign", "something that goes wrong, NAME[=SIZE][@START[-END]]; may be repeated", "NAME", list),
    Option("--headless", "sim sitl", "print one line a second, no display", kind=bool),
    Option("--socket", "status", f"where the service is found ({STATUS_SOCKET})", "PATH", Path, Path(STATUS_SOCKET)),
    Option("--plain", "status", "sentences for screen readers and logs, no picture", kind=bool),
    Option("--json", "sim sitl status", "print the predictions, one JSON line a second", kind=bool),
    Option("--mavlink", "sim", f"where BATTERY_STATUS goes ({DEMO_URL}; none with --speed max); none: nowhere", "URL"),
    Option("--record", "sim sitl", "record the transfers, for dronebms replay", "FILE", Path),
    Option("--vehicle", "sitl", "where the simulated vehicle is: udpin:HOST:PORT, udpout:HOST:PORT or tcp:HOST:PORT", "URL", required=True),
    Option("-c --config", "run check", "the configuration", "FILE.toml", Path, required=True),
    Option("--vehicle", "check", "compare the parameters of the vehicle at this link", "URL"),
    Option("--set", "check", "with --vehicle: set what is wrong, on the ground", kind=bool),
    Option("-o --out", "ardupilot-script", "the folder to write it to (.)", "DIR", Path, Path()),
    Option("--force", "ardupilot-script", "replace a driver that was changed", kind=bool),
    Option("--log", "run", "how log lines look (text)", kind=("text", "json"), default="text"),
    Option("--bus", "probe", "/dev/i2c-N, sim:SCENARIO or a recording of --record", "BUS"),
    Option("--gauge", "probe", "kind of pack (auto)", kind=(AUTO, *(row.name for row in PROFILES)), default=AUTO),
    Option("--address", "probe", "7-bit (0x0b)", "N", _between(0x03, 0x77), ADDRESS),
    Option("--cells", "probe", "cells in series, to compare with", "N", _between(1, len(CELLS))),
    Option("--hover-a", "probe", "what the vehicle draws in hover, to compare with", "N", _positive),
    Option("--mux-address", "probe", "of the multiplexer before the pack", "N", _between(MUXES[0], MUXES[-1])),
    Option("--mux-channel", "probe", "its channel", "N", _between(CHANNELS[0], CHANNELS[-1])),
    Option("--json", "probe", "one JSON line a look", kind=bool),
    Option("--watch", "probe", "look every second until Ctrl-C", kind=bool),
    Option("--record", "probe", "write down every transfer", "FILE", Path),
    Option("--scan", "probe", "find the packs on every /dev/i2c-*", kind=bool),
    Option("--mux", "probe", "with --scan: also behind multiplexers", kind=bool),
    Option("flight", "replay report plot", None, "FLIGHT", Path),
    Option("--out", "replay", "write the predictions there; - is stdout", "P.jsonl"),
    Option("--battery", "replay report plot", "which battery of a flight controller's log (1)", "N", _between(1, _MOST_BATTERIES), 1),
    Option("-o --out", "report", "the page; - is stdout", "FILE.html", _output, required=True),
    Option("-o --out", "plot", "the picture", "FILE.png|FILE.svg", Path, required=True),
    Option("--cells", "replay report plot", "cells in series", "N", int),
    Option("--capacity-mah", "replay report plot", "rated capacity", "MAH", _positive),
    Option("--chemistry", "replay report plot", None, kind=tuple(row.name for row in CHEMISTRIES)),
    Option("--cutoff-cell-v", "replay report plot", "volts of the weakest cell at which the pack is empty", "V", _positive),
    Option("--state-dir", "replay", "recall from there what earlier flights taught of the pack, and keep what this one teaches, once; a recording goes by it instead of by what its run knew", "DIR", Path),
    Option("serial", "packs", "one pack: its serial number, or its whole name", "SERIAL", _maybe),
    Option("--state-dir", "packs", f"the folder of [state] dir ({_STATE_DIR})", "DIR", Path, Path(_STATE_DIR)),
    Option("--add", "packs", "replay a recorded flight into the passport; may be repeated; a flight twice is one", "FLIGHT", list),
    Option("--json", "packs", "print a JSON line a pack", kind=bool),
    Option("--csv", "packs", "write the flights as a table", "FILE", Path),
    Option("--database", "packs", "read a fleet's database instead (extra fleet)", "URL"),
    Option("--push", "packs", "copy the flights to a fleet's database; what is there already stays one", "URL"),
    Option("scenario", "campaign", "a shipped flight or a TOML file", "SCENARIO"),
    Option("--runs", "campaign", "how many seeds", "N", _between(1, _MOST_RUNS), required=True),
    Option("--seed", "campaign", "the first of them (1)", "FIRST", _seed, 1),
    Option("--jobs", "campaign", "processes at once (all cores)", "J", _between(1, _MOST_JOBS)),
    Option("--out", "campaign", "where the flights are kept (campaign-SCENARIO.jsonl)", "FILE", Path),
    Option("--json", "campaign", "print the table as one JSON object", kind=bool),
    Option("--scheduler", "campaign", "fly on the workers of this Dask scheduler", "tcp://HOST:PORT", _scheduler),
)
# fmt: on


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser; the chosen command is left in `run`."""
    root = _Parser(
        prog="dronebms",
        description="Reads a drone's smart battery, says how long it lasts, guards it, and tells "
        "the flight controller.",
    )
    known = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for page in PAGES:
        epilog = f"example: {page.example}"
        command = known.add_parser(
            page.name, help=page.summary, description=page.description, epilog=epilog
        )
        command.set_defaults(run=commands[page.name])
        for option in OPTIONS:
            if page.name in option.commands.split():
                option.add_to(command)
    return root
