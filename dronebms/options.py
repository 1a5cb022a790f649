"""What the command line accepts: the parser and its types. No command runs here."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, TypeAlias

from dronebms.app import PERIOD_S
from dronebms.chemistry import CHEMISTRIES
from dronebms.config import AUTO
from sim.faults import FAULTS
from sim.scenario import scenario_names
from smartbattery.mux import ADDRESSES as MUXES
from smartbattery.mux import CHANNELS
from smartbattery.registers import ADDRESS, CELLS
from smartbattery.vendors import PROFILES

UNUSABLE = 2
DEMO_URL = "udpout:127.0.0.1:14550"

Command: TypeAlias = Callable[[argparse.Namespace], int | None]  # exit code, None is 0


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: {message}; see {self.prog} --help\n")


def _speed(text: str) -> float | str:
    if text == "max":
        return text
    return _positive(text)


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


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser; the chosen command is left in `run`."""
    root = _Parser(
        prog="dronebms",
        description="Reads a drone's smart battery, says how long it lasts, guards it, and tells "
        "the flight controller.",
    )
    known = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    adders = {"sim": _add_sim, "run": _add_run, "probe": _add_probe, "replay": _add_replay}
    for name, add in adders.items():
        add(known).set_defaults(run=commands[name])
    return root


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - the type has no public name


def _add_sim(commands: _Commands) -> _Parser:
    sim = commands.add_parser(
        "sim",
        help="fly a simulated flight behind the real gauge driver",
        description="Fly a simulated flight: a virtual pack at the SMBus byte level, the real "
        "driver, estimator and protection, MAVLink out, a display in the terminal.",
        epilog=f"example: dronebms sim --flight cold_climb --speed 10. "
        f"Flights: {', '.join(scenario_names())}. "
        f"Faults: {', '.join(fault.name for fault in FAULTS)}.",
    )
    sim.add_argument(
        "--flight",
        default="survey",
        metavar="NAME",
        help="a shipped flight or a TOML file (survey)",
    )
    sim.add_argument(
        "--speed", type=_speed, default=1.0, metavar="X", help="times real time, or max (1)"
    )
    sim.add_argument(
        "--duration", type=_positive, metavar="S", help="stop after so many seconds of flight"
    )
    sim.add_argument(
        "--seed", type=_seed, default=1, metavar="N", help="same seed, same flight (1)"
    )
    sim.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help="something that goes wrong, NAME or NAME@SECONDS; may be repeated",
    )
    _add_outputs(sim)
    return sim


def _add_outputs(sim: _Parser) -> None:
    sim.add_argument("--headless", action="store_true", help="print one line a second, no display")
    sim.add_argument(
        "--json", action="store_true", help="print the predictions, one JSON line a second"
    )
    sim.add_argument(
        "--mavlink",
        metavar="URL",
        help=f"where BATTERY_STATUS goes ({DEMO_URL}; none with --speed max); none: nowhere",
    )
    sim.add_argument(
        "--record", type=Path, metavar="FILE", help="record the transfers, for dronebms replay"
    )


def _add_run(commands: _Commands) -> _Parser:
    run = commands.add_parser(
        "run",
        help="the service",
        description=f"Read the batteries of a configuration every {PERIOD_S:g} s, guard them and "
        "tell the flight controller, until stopped.",
        epilog="example: dronebms run -c /etc/dronebms.toml",
    )
    run.add_argument(
        "-c", "--config", type=Path, required=True, metavar="FILE.toml", help="the configuration"
    )
    run.add_argument(
        "--log", choices=("text", "json"), default="text", help="how log lines look (text)"
    )
    return run


def _add_probe(commands: _Commands) -> _Parser:
    probe = commands.add_parser(
        "probe",
        help="a look at a pack: every register decoded, and warnings",
        description="Read every register and status word of a pack, and say what is wrong with it. "
        "Never writes a setting. Exit code 1: no pack, or one that has tripped or failed.",
        epilog="example: dronebms probe --bus /dev/i2c-1 --cells 6 --hover-a 35",
    )
    probe.add_argument(
        "--bus", metavar="BUS", help="/dev/i2c-N, sim:SCENARIO or a recording of --record"
    )
    names = [AUTO, *(profile.name for profile in PROFILES)]
    probe.add_argument("--gauge", choices=names, default=AUTO, help="kind of pack (auto)")
    for name, kind, default, text in (
        ("address", _between(0x03, 0x77), ADDRESS, "7-bit (0x0b)"),
        ("cells", _between(1, len(CELLS)), None, "cells in series, to compare with"),
        ("hover-a", _positive, None, "what the vehicle draws in hover, to compare with"),
        ("mux-address", _between(MUXES[0], MUXES[-1]), None, "of the multiplexer before the pack"),
        ("mux-channel", _between(CHANNELS[0], CHANNELS[-1]), None, "its channel"),
    ):
        probe.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=text)
    probe.add_argument("--json", action="store_true", help="one JSON line a look")
    probe.add_argument("--watch", action="store_true", help="look every second until Ctrl-C")
    probe.add_argument("--record", type=Path, metavar="FILE", help="write down every transfer")
    probe.add_argument("--scan", action="store_true", help="find the packs on every /dev/i2c-*")
    probe.add_argument("--mux", action="store_true", help="with --scan: also behind multiplexers")
    return probe


def _add_replay(commands: _Commands) -> _Parser:
    replay = commands.add_parser(
        "replay",
        help="a recorded flight through the same estimator",
        description="Replay a flight (.csv, .csv.gz with its .json) or a recording.",
        epilog="example: dronebms replay flight.csv.gz --out predictions.jsonl",
    )
    replay.add_argument("flight", type=Path, metavar="FLIGHT")
    replay.add_argument("--out", metavar="P.jsonl", help="write the predictions there; - is stdout")
    replay.add_argument("--cells", type=int, metavar="N", help="cells in series")
    replay.add_argument("--capacity-mah", type=_positive, metavar="MAH", help="rated capacity")
    replay.add_argument("--chemistry", choices=[row.name for row in CHEMISTRIES])
    replay.add_argument(
        "--cutoff-cell-v",
        type=_positive,
        metavar="V",
        help="volts of the weakest cell at which the pack is empty",
    )
    return replay
