# SPDX-License-Identifier: Apache-2.0
"""Commands and options of the command line, as rows, and their parser.

A new option is a row of `OPTIONS`, a new command a row of `PAGES`.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dronebms import __version__
from dronebms.cli import option_values as values
from dronebms.cli.exit_codes import UNUSABLE, Command
from dronebms.core.chemistry import CHEMISTRIES
from dronebms.core.number_format import printable
from dronebms.core.service_defaults import AUTO, PERIOD_S, STATE_DIR, STATUS_SOCKET
from smartbattery.multiplexer import ADDRESSES as MUXES
from smartbattery.multiplexer import CHANNELS
from smartbattery.profiles import PROFILES
from smartbattery.registers import ADDRESS, CELLS
from smartbattery.snapshot import MAX_CELLS

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

# As argparse words them.
_UNRECOGNIZED = "unrecognized arguments: "
_MISSING = "the following arguments are required: "
_MAX_RUNS = 1_000_000
_MAX_JOBS = 1024
_MAX_BATTERIES = 16
_PAGE = ("127.0.0.1", 8420)
DEMO_URL = "udpout:127.0.0.1:14550"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence; an option has its whole name.

    A beginning such as --headles would change its meaning with the next option that is added.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - those of argparse
        super().__init__(**settings, allow_abbrev=False)
        self._given: Sequence[str] = ()  # arguments in front of --, for the hint of an error

    def format_help(self) -> str:
        """The help, with the names of flights and faults."""
        from sim.plant.faults import FAULTS  # noqa: PLC0415 - for help alone
        from sim.plant.scenario import scenario_names  # noqa: PLC0415 - for help alone

        names = {
            "flights": ", ".join(scenario_names()),
            "faults": ", ".join(fault.name for fault in FAULTS),
        }
        self.epilog = self.epilog and self.epilog.format_map(names)
        return super().format_help()

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        """Print a message; a help or a version that cannot be written is an error, too."""
        if file is sys.stdout:
            print(message, end="", flush=True)
        else:
            super()._print_message(message, file)

    def parse_known_args(  # type: ignore[override]  # of its overloads those in use
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """The options; arguments of no use end the program here, where the command is known."""
        self._given = [*takewhile("--".__ne__, sys.argv[1:] if args is None else args)]
        options, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"{_UNRECOGNIZED}{' '.join(rest)}")
        self._check_pairs(options)
        return options, rest

    def _check_pairs(self, options: argparse.Namespace) -> None:
        """Refuse an option that would have no effect with, or without, another one."""
        command = self.prog.rpartition(" ")[2]
        actions = self._option_string_actions
        given = {
            name
            for name, action in actions.items()
            if getattr(options, action.dest, action.default) != action.default
        }
        for row in PAIRS:
            others = given.intersection(row.others.split())
            if row.command != command or row.name not in given:
                continue
            if row.together and not others:
                self.error(f"{row.name} needs {row.others.replace(' ', ' or ')}")
            if not row.together and others:
                self.error(f"{min(others)} has no effect with {row.name}")

    def error(self, message: str) -> NoReturn:
        """End with one sentence, which names the nearest command or option of a mistyped one."""
        # A mistyped option is the cause of one that is missing.
        unknown = [word for word in self._given if self._is_unknown(word)]
        if message.startswith(_MISSING) and unknown:
            message = f"{_UNRECOGNIZED}{' '.join(unknown)}"
        hint = _hint(message, list(self._option_string_actions))
        text = f"{self.prog}: {message}{hint}; see {self.prog} --help"
        self.exit(UNUSABLE, f"{printable(text)}\n")

    def _is_unknown(self, word: str) -> bool:
        return word.startswith("--") and word.partition("=")[0] not in self._option_string_actions


def _hint(message: str, options: Sequence[str]) -> str:
    """What was meant by a mistyped command, or by an option that the parser does not have."""
    found = re.match(rf"(?:argument COMMAND: invalid choice: '|{_UNRECOGNIZED})([\w-]+)", message)
    if found is None:
        return ""
    word = found[1]
    known = options if word.startswith("-") else [page.name for page in PAGES]
    having = " ".join(row.commands for row in OPTIONS if word in row.names.split()).split()
    if word.startswith("-") and having:
        return f"; it is an option of {', '.join(having)}"
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


@dataclass(frozen=True, slots=True)
class Page:
    """Help of a command; {flights} and {faults} in the example are filled in."""

    name: str
    summary: str
    description: str
    example: str


@dataclass(frozen=True, slots=True)
class Option:
    """An option of commands, or without dashes a positional argument.

    `kind` is the type of the value: `bool` a flag, `list` a repeatable text, a tuple a choice,
    else a function of the text.
    """

    names: str  # separated by blanks
    commands: str  # separated by blanks
    help: str | None
    metavar: str | None = None
    kind: Callable[[str], object] | tuple[str, ...] = str
    default: object = None
    required: bool = False

    def add_to(self, command: argparse.ArgumentParser) -> None:
        """Add the option to the parser of a command."""
        kinds: dict[object, dict[str, Any]] = {
            bool: {"action": "store_true"},
            list: {"action": "append", "default": [], "type": values.text_option},
            values.optional: {"nargs": "?"},
        }
        choice = "choices" if isinstance(self.kind, tuple) else "type"
        settings: dict[str, Any] = {"help": self.help, "metavar": self.metavar}
        settings |= {"default": self.default, "required": self.required or None}
        settings |= kinds.get(self.kind, {choice: self.kind})
        given = {key: value for key, value in settings.items() if value is not None}
        command.add_argument(*self.names.split(), **given)


@dataclass(frozen=True, slots=True)
class Pair:
    """An option of a command that excludes others, or with `together` needs one of them."""

    command: str
    name: str
    others: str  # separated by blanks
    together: bool = False


# fmt: off
PAGES = (
    Page("sim", "fly a simulated flight through the real gauge driver",
         "Fly a simulated flight: a virtual pack at SMBus byte level, the real driver, estimator and protection, MAVLink output, and the terminal display.",
         "dronebms sim --flight cold_climb --speed 10. Flights: {flights}. Faults: {faults}."),
    Page("run", "run the service",
         f"Read the configured batteries every {PERIOD_S:g} s, evaluate the limits and report to the autopilot, until stopped.",
         "dronebms run -c /etc/dronebms.toml"),
    Page("status", "show the status of a running service",
         "Show the status of a running service until q or Ctrl-C; read-only, for any number of viewers. The service needs a section [status] in its configuration. Exit code 1: no service found.",
         "dronebms status --json"),
    Page("web", "show the status of a running service in a browser",
         "Serve the status of a running service as a live page for phone, tablet and desktop; read-only. For this computer alone, unless --listen and --token are given. The service needs a section [status] in its configuration. Needs the extra web.",
         "dronebms web --listen 0.0.0.0:8420 --token /etc/dronebms/web.token"),
    Page("probe", "read a pack once: every register decoded, and warnings",
         "Read every register and status word of a pack, and print warnings. Never writes a setting. Exit code 1: no pack, or a pack with a tripped protection or a permanent failure.",
         "dronebms probe --bus /dev/i2c-1 --cells 6 --hover-a 35"),
    Page("replay", "replay a recorded flight through the same estimator",
         "Replay a flight (.csv, .csv.gz with its .json), a recording, or the log of an autopilot (ArduPilot .bin, PX4 .ulg, .tlog).",
         "dronebms replay flight.csv.gz --out predictions.jsonl"),
    Page("report", "write a flight as one page for a technician, with plots",
         "Replay a flight, recording or log and write one self-contained HTML page: summary, tripped limits, plots, and lines to sign. Needs the extra report.",
         "dronebms report flight.csv.gz -o report.html"),
    Page("plot", "draw a flight as one picture",
         "Replay a flight, recording or log and draw its plots as PNG or SVG. Needs the extra report.",
         "dronebms plot flight.csv.gz -o flight.png"),
    Page("sitl", "fly a virtual pack with a simulated vehicle (SITL)",
         "Follow a simulated ArduPilot or PX4: its load and its clock drive the virtual pack of a scenario. An ArduPilot receives the pack's voltage, and the service reports to the same vehicle. With -c it is the configured service, which acts on the vehicle as it will in flight. "
         "Reads the vehicle's parameters and sets SIM_BATT_VOLTAGE, which is restored at the end. Exit code 2: no vehicle within 30 s, or a vehicle with unsuitable parameters.",
         "dronebms sitl --vehicle udpin:127.0.0.1:14560 -c /etc/dronebms.toml"),
    Page("check", "validate a configuration, or compare a vehicle with it",
         "Refuse what run refuses and print what the configuration enables. Name what will not work on this machine now: a device, permission, port, folder, host or program. With --vehicle: compare the vehicle's parameters. Exit code 1 when something will not work or a parameter is wrong.",
         "dronebms check -c /etc/dronebms.toml --vehicle serial:/dev/ttyAMA0:921600"),
    Page("init", "write a configuration from what is connected",
         "Look for packs on I2C, serial ports, CAN interfaces and the heartbeat of an autopilot, without writing to any of them. Ask for what cannot be seen, and write a commented configuration, followed by what check prints of it. An option answers its question; --defaults asks none. "
         "Default file: /etc/dronebms.toml for root, else dronebms.toml in this folder.",
         "dronebms init --bus mavlink:0 --cells 6"),
    Page("ardupilot-script", "write the Lua driver that makes ArduPilot use this battery",
         "Write dronebms.lua for the vehicle's APM/scripts folder (ArduPilot 4.5 and newer). A modified driver is replaced only with --force.",
         "dronebms ardupilot-script -o ."),
    Page("packs", "show the history of packs: ageing, weak cells",
         "Show the trends over the flights of each pack, or every flight of one pack, and what was learned of packs, models and vehicles. A service with [state] dir in its configuration stores the pack history.",
         f"dronebms packs 1001 --state-dir {STATE_DIR}"),
    Page("campaign", "fly many seeds of a simulated flight, and print statistics",
         "Fly many seeds of a simulated flight on all cores. Results are stored line by line; the same command continues with the missing runs, also with a larger --runs.",
         "dronebms campaign survey --runs 200 --fault weak_cell. Flights: {flights}. Faults: {faults}."),
)

OPTIONS = (
    Option("--flight", "sim", "a shipped flight or a TOML file (survey)", "NAME", values.text_option, "survey"),
    Option("--flight", "sitl", "a shipped flight or a TOML file (the configured pack, else survey)", "NAME", values.text_option),
    Option("--speed", "sim", "times real time, or max (1)", "X", values.speed, 1.0),
    Option("--duration", "sim sitl campaign", "stop after this many seconds of flight", "S", values.positive),
    Option("--seed", "sim sitl", "same seed, same flight (1)", "N", values.seed, 1),
    Option("--fault", "sim sitl campaign", "inject a fault, NAME[=SIZE][@START[-END]]; may be repeated", "NAME", list),
    Option("--headless", "sim sitl", "print one line a second, no display", kind=bool),
    Option("--socket", "status web", f"status socket of the service ({STATUS_SOCKET})", "PATH", values.path_option, Path(STATUS_SOCKET)),
    Option("--plain", "status", "sentences for screen readers and logs, no screen", kind=bool),
    Option("--bell", "status", "ring the terminal's bell once when the severity rises to a warning or above", kind=bool),
    Option("--json", "sim sitl status", "print the predictions, one JSON line a second", kind=bool),
    Option("--listen", "web", f"address of the page ({_PAGE[0]}:{_PAGE[1]}); any but this computer's own needs --token", "HOST:PORT", values.listen, _PAGE),
    Option("--token", "web", "file with a word of 16 characters or more that opens the page, as ?token= in its URL", "FILE", values.path_option),
    Option("--mavlink", "sim", f"MAVLink output ({DEMO_URL}; none with --speed max), or none", "URL", values.text_option),
    Option("--record", "sim sitl", "record the transfers for dronebms replay", "FILE", values.file_option),
    Option("--vehicle", "sitl", "link to the simulated vehicle: udpin:HOST:PORT, udpout:HOST:PORT or tcp:HOST:PORT", "URL", values.text_option, required=True),
    Option("-c --config", "run check", "configuration file", "FILE.toml", values.path_option, required=True),
    Option("-c --config", "sitl", "fly the service of this configuration: limits, actions, recording", "FILE.toml", values.path_option),
    Option("--vehicle", "check", "compare the parameters of the vehicle at this link", "URL", values.text_option),
    Option("--set", "check", "with --vehicle: correct wrong parameters, on the ground", kind=bool),
    Option("--defaults", "init", "ask nothing: what is found, else a virtual pack", kind=bool),
    Option("-o --out", "init", "output file", "FILE.toml", values.file_option),
    Option("--force", "init", "replace an existing file", kind=bool),
    Option("--bus", "init", "/dev/i2c-N, mavlink:ID (a monitor of the autopilot), dronecan:URL#ID or sim:SCENARIO", "BUS", values.text_option),
    Option("--cells", "init", "cells in series", "N"),
    Option("--capacity-mah", "init", "rated capacity", "MAH"),
    Option("--chemistry", "init", None, kind=tuple(row.name for row in CHEMISTRIES)),
    Option("--url", "init", "link to the flight controller: udpout:HOST:PORT, udpin:, tcp: or serial:PATH[:BAUD]", "URL", values.text_option),
    Option("--vehicle-name", "init", "name of the vehicle, whose flights share their usual power", "NAME", values.name),
    Option("-o --out", "ardupilot-script", "output folder (.)", "DIR", values.path_option, Path()),
    Option("--force", "ardupilot-script", "replace a modified driver", kind=bool),
    Option("--limits", "check", "print every limit", kind=bool),
    Option("--log", "run", "format of the log (text)", kind=("text", "json"), default="text"),
    Option("--bus", "probe", "/dev/i2c-N, sim:SCENARIO or a recording of --record", "BUS", values.text_option),
    Option("--gauge", "probe", "profile of the gauge (auto)", kind=(AUTO, *(row.name for row in PROFILES)), default=AUTO),
    Option("--address", "probe", "7-bit address of the gauge (0x0b)", "N", values.between(0x03, 0x77), ADDRESS),
    Option("--cells", "probe", "cells in series, to compare with", "N", values.between(1, len(CELLS))),
    Option("--hover-a", "probe", "current of the vehicle in hover, to compare with", "N", values.positive),
    Option("--mux-address", "probe", "address of the multiplexer in front of the pack", "N", values.between(MUXES[0], MUXES[-1])),
    Option("--mux-channel", "probe", "channel of the multiplexer", "N", values.between(CHANNELS[0], CHANNELS[-1])),
    Option("--json", "probe", "print one JSON line per readout", kind=bool),
    Option("--watch", "probe", "read every second until Ctrl-C", kind=bool),
    Option("--record", "probe", "record every transfer", "FILE", values.file_option),
    Option("--scan", "probe", "find the packs on every /dev/i2c-*", kind=bool),
    Option("--mux", "probe", "with --scan: also behind multiplexers", kind=bool),
    Option("flight", "replay report plot", None, "FLIGHT", values.path_option),
    Option("--out", "replay", "output file of the predictions; - is stdout", "P.jsonl", values.stream_option),
    Option("--battery", "replay report plot packs", "number of the battery in an autopilot's log (1)", "N", values.between(1, _MAX_BATTERIES), 1),
    Option("-o --out", "report", "output file; - is stdout", "FILE.html", values.output_option, required=True),
    Option("-o --out", "plot", "output file", "FILE.png|FILE.svg", values.path_option, required=True),
    Option("--cells", "replay report plot packs", "cells in series", "N", values.between(1, MAX_CELLS)),
    Option("--capacity-mah", "replay report plot packs", "rated capacity", "MAH", values.positive),
    Option("--chemistry", "replay report plot packs", None, kind=tuple(row.name for row in CHEMISTRIES)),
    Option("--cell", "replay report plot packs", "type of the cells, if their curve was measured", "TYPE", values.name),
    Option("--cutoff-cell-v", "replay report plot packs", "cut-off voltage of a cell", "V", values.positive),
    Option("--pack-id", "replay report plot packs", "name of the pack, if it has no serial number", "NAME", values.name),
    Option("--pack-model", "replay report plot packs", "model of the pack: packs of one model are sister packs", "NAME", values.name),
    Option("--vehicle-name", "replay report plot packs", "name of the vehicle, whose flights share their usual power", "NAME", values.name),
    Option("--state-dir", "replay", "folder of [state] dir: use the pack memory of earlier flights and update it once with this one. For a recording it replaces the recorded pack memory", "DIR", values.path_option),
    Option("--state-dir", "report plot", "folder of [state] dir: use the pack memory of earlier flights, which stays as it is; not for a recording", "DIR", values.path_option),
    Option("serial", "packs", "serial number, given name or full name of one pack", "SERIAL", values.optional),
    Option("--name", "packs", "give the pack a name, which stands for it; an empty one takes it away", "NAME", values.new_name),
    Option("--tag", "packs", "add tags to the pack", "TAG[,TAG]", values.names, ()),
    Option("--untag", "packs", "remove tags from the pack", "TAG[,TAG]", values.names, ()),
    Option("--service-every", "packs", "maintenance of the pack, or of all packs, is due after so many flights, cycles, days", "flights=N,cycles=N,days=N", values.maintenance_intervals, ()),
    Option("--serviced", "packs", "the pack was maintained today: count from here", kind=bool),
    Option("--state-dir", "packs", f"folder of [state] dir ({STATE_DIR})", "DIR", values.path_option, Path(STATE_DIR)),
    Option("--add", "packs", "add a recorded flight to the pack history, once; may be repeated", "FLIGHT", list),
    Option("--json", "packs", "print one JSON line per pack", kind=bool),
    Option("--csv", "packs", "write the flights as CSV; - is stdout", "FILE", values.output_option),
    Option("--database", "packs", "read the database of a fleet instead (extra fleet)", "URL", values.text_option),
    Option("--export", "packs", "write everything that was learned, and the history, to one file for another computer; - is stdout", "FILE", values.output_option),
    Option("--import", "packs", "merge such a file: of a pack that both know, the state after more flights stays", "FILE", values.path_option),
    Option("--push", "packs", "copy the flights to the database of a fleet; duplicates are skipped", "URL", values.text_option),
    Option("scenario", "campaign", "a shipped flight or a TOML file", "SCENARIO", values.text_option),
    Option("--runs", "campaign", "number of seeds", "N", values.between(1, _MAX_RUNS), required=True),
    Option("--seed", "campaign", "first seed (1)", "FIRST", values.seed, 1),
    Option("--jobs", "campaign", "parallel processes (all cores)", "J", values.between(1, _MAX_JOBS)),
    Option("--out", "campaign", "results file (campaign-SCENARIO.jsonl)", "FILE", values.file_option),
    Option("--json", "campaign", "print the table as one JSON object", kind=bool),
    Option("--scheduler", "campaign", "use the workers of this Dask scheduler", "tcp://HOST:PORT", values.scheduler),
)

PAIRS = (
    Pair("status", "--json", "--plain --bell"),
    Pair("probe", "--scan", "--watch --record --cells --hover-a --gauge --mux-address --mux-channel"),
    Pair("probe", "--mux", "--scan", together=True),
    Pair("check", "--set", "--vehicle", together=True),
    Pair("check", "--vehicle", "--limits"),
    Pair("campaign", "--scheduler", "--jobs"),
    Pair("packs", "--database", "--add --import"),
)
# fmt: on


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser; it stores the chosen command in `run`."""
    root = _Parser(
        prog="dronebms",
        description="Reads a drone's smart battery, estimates the time to empty, evaluates its "
        "limits, and reports to the autopilot.",
    )
    root.add_argument("--version", action="version", version=f"dronebms {__version__}")
    # Not `required`, which would hide a mistyped option in front of the command.
    root.set_defaults(run=lambda _: root.error("a command is missing"))
    known = root.add_subparsers(title="commands", metavar="COMMAND")
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
