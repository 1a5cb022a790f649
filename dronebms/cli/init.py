# SPDX-License-Identifier: Apache-2.0
"""The command `dronebms init`: writes a configuration from what is connected and a few answers.

The file is written whole after the last answer, or not at all.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from dronebms.cli.check import print_check
from dronebms.cli.exit_codes import DONE, print_stderr, print_stdout
from dronebms.cli.machine_search import Found, search
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.clock import SystemClock
from dronebms.core.errors import ConfigError
from dronebms.core.service_defaults import SIMULATED, STATE_DIR, STATUS_SOCKET
from dronebms.core.toml_schema import validated
from dronebms.service.config import Config
from mavlink_bridge.protocol.config import MavlinkConfig
from smartbattery.linux_bus import LinuxBus
from smartbattery.registers import ADDRESS

VIRTUAL = f"{SIMULATED}survey"
_VEHICLE = "mavlink:"
_SYSTEM = Path("/etc/dronebms.toml")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_NUMBERS = ("cells", "capacity_mah")
_COLUMN = 40  # of the comments in the file


@dataclass(frozen=True, slots=True)
class Pack:
    """Place of one pack, and the comment of its line."""

    bus: str
    address: int = ADDRESS
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the file is made of."""

    packs: tuple[Pack, ...]
    values: Mapping[str, str]  # by the name of the question; a missing one has no line

    @property
    def bus(self) -> str:
        """Bus of the first pack."""
        return self.packs[0].bus

    def with_value(self, name: str, value: str) -> "Answers":
        """The same, with one answer."""
        return replace(self, values={**self.values, name: value})


@dataclass(frozen=True, slots=True)
class Question:
    """One question, after that for the bus."""

    name: str  # of the answer and of the option
    text: str
    otherwise: str  # what an empty answer means
    of_pack: bool = True  # not asked for a virtual pack, which has its own data


# In the order of the file.
QUESTIONS = (
    Question("cells", "Cells in series", "the gauge's"),
    Question("capacity_mah", "Rated capacity, mAh", "the gauge's, or estimated"),
    Question("chemistry", "Chemistry: lipo, lihv, li-ion, lifepo4", "lipo"),
    Question("url", "Link to the flight controller", "", of_pack=False),
    Question("vehicle_name", "Name of the vehicle", "the autopilot's unique id", of_pack=False),
)


def init(options: argparse.Namespace) -> int:
    """Look at the machine, ask, write the file and check it."""
    is_root = os.geteuid() == 0
    out = options.out or (_SYSTEM if is_root else Path(_SYSTEM.name))
    if out.exists() and not options.force:
        raise ConfigError(f"{out} exists already; --force replaces it")
    if not (options.defaults or sys.stdin.isatty()):
        raise ConfigError("the questions need a terminal; --defaults asks none")
    _state_folder(is_root=is_root)  # refused before the search
    clock = SystemClock()
    with atomic_writer(out) as file:  # a place that cannot be written is refused before the search
        if sys.stderr.isatty():
            print_stderr("looking at I2C adapters, serial ports and MAVLink, up to 5 s ...")
        found = search(clock, LinuxBus)
        print_stdout("\n".join(found.lines()))
        text = configuration(found, options, out, is_root=is_root)
        file.write(text)
    print_stdout(f"{out} is written; what dronebms check prints of it:\n")
    print_check(out, validated(Config, text, str(out)))
    start = (
        "systemctl enable --now dronebms"
        if out == _SYSTEM
        else f"dronebms run -c {quote(str(out))}"
    )
    print_stdout(f"\nstart it: {start}")
    return DONE


def configuration(found: Found, options: argparse.Namespace, out: Path, *, is_root: bool) -> str:
    """Text of the file: of options first, then of answers, then of what was found.

    Raises:
        ConfigError: an option that `run` would refuse, or the input ends.
    """

    def refuse(answers: Answers) -> None:
        validated(Config, _text(answers, out, is_root=is_root), "")

    answers = _given(found, options)
    if options.bus is None and not options.defaults:
        answers = _asked_bus(answers, found, options, refuse)
    for question in QUESTIONS:
        virtual = question.of_pack and answers.bus.startswith(SIMULATED)
        if getattr(options, question.name) is None and not options.defaults and not virtual:
            answers = _asked(question, answers, refuse)
    text = _text(answers, out, is_root=is_root)
    validated(Config, text, "the configuration")
    return text


def _given(found: Found, options: argparse.Namespace) -> Answers:
    """Answers of the options, completed by what was found.

    Raises:
        ConfigError: nothing may be assumed: an autopilot would receive a virtual pack.
    """
    packs = tuple(Pack(place.bus, place.address, text) for place, text in found.packs)
    if options.bus is not None:
        packs = (Pack(options.bus),)
    elif not packs and found.autopilot is not None:
        if options.defaults:
            raise ConfigError(
                f"no pack was found for the autopilot ({found.autopilot}): name it by --bus "
                f"/dev/i2c-N, --bus {_VEHICLE}0 --cells N, or --bus {VIRTUAL}"
            )
        packs = (Pack(f"{_VEHICLE}{next(iter(found.autopilot.monitors), 0)}"),)
    packs = packs or (Pack(VIRTUAL, comment="no pack was found"),)
    if packs[0].bus.startswith(SIMULATED):
        _refuse_pack_data(options)
    given = {question.name: getattr(options, question.name) for question in QUESTIONS}
    values = {name: value for name, value in given.items() if value is not None}
    return Answers(packs, {"url": _url(found, packs[0].bus), **values})


def _refuse_pack_data(options: argparse.Namespace) -> None:
    """Refuse the data of a pack that the file would not have: a virtual pack has its own.

    Raises:
        ConfigError: an option gives such data, and no question can name another pack.
    """
    given = [
        f"--{question.name.replace('_', '-')}"
        for question in QUESTIONS
        if question.of_pack and getattr(options, question.name) is not None
    ]
    if given and (options.defaults or options.bus is not None):
        found = "no pack was found" if options.bus is None else f"{options.bus} has its own data"
        raise ConfigError(f"{', '.join(given)}: {found}; name the pack by --bus, as /dev/i2c-1")


def _url(found: Found, bus: str) -> str:
    """The link of the autopilot that was found; without one a port of this machine.

    A virtual pack is never sent to a vehicle that was found, and MAVLink never to a serial port
    on which no autopilot was received: it may be another device.
    """
    if found.autopilot is None or bus.startswith(SIMULATED):
        return MavlinkConfig().url
    return found.autopilot.url


def _asked_bus(
    answers: Answers, found: Found, options: argparse.Namespace, refuse: Callable[[Answers], None]
) -> Answers:
    present = ", ".join(pack.bus for pack in answers.packs)
    can = found.can[0] if found.can else "can0"
    text = (
        f"Pack: /dev/i2c-N, {_VEHICLE}0 (the autopilot's own monitor), "
        f"dronecan:socketcan:{can}#ID or {VIRTUAL}"
    )

    def with_bus(bus: str) -> Answers:
        moved = replace(answers, packs=(Pack(bus),))
        return moved if options.url else moved.with_value("url", _url(found, bus))

    def check(bus: str) -> None:
        # A monitor of the autopilot needs the cells, which are the next question.
        moved = with_bus(bus)
        refuse(moved.with_value("cells", "1") if bus.startswith(_VEHICLE) else moved)

    bus = _ask(text, present, check)
    return answers if bus is None else with_bus(bus)


def _asked(question: Question, answers: Answers, refuse: Callable[[Answers], None]) -> Answers:
    needed = question.name == "cells" and answers.bus.startswith(_VEHICLE)
    otherwise = answers.values.get(question.name, question.otherwise)
    value = _ask(
        question.text,
        None if needed else otherwise,
        lambda value: refuse(answers.with_value(question.name, value)),
    )
    return answers if value is None else answers.with_value(question.name, value)


def _ask(text: str, otherwise: str | None, check: Callable[[str], object]) -> str | None:
    """An answer that passes a check; `None` for an empty one where that is allowed.

    Raises:
        ConfigError: the input ends.
    """
    prompt = f"{text}: " if otherwise is None else f"{text} [{otherwise}]: "
    while True:
        try:
            answer = input(prompt).strip()
        except EOFError as error:
            raise ConfigError("the input ended before the last answer; nothing is written") from (
                error
            )
        if not answer and otherwise is not None:
            return None
        try:
            check(answer)
        except ConfigError as error:
            print_stdout(str(error).removeprefix(": ").replace("\n: ", "\n"))
        else:
            return answer


# ---------------------------------------------------------------------- the file


def _state_folder(*, is_root: bool) -> Path:
    """Folder of state and recordings.

    Raises:
        ConfigError: a user without a home, as in a container.
    """
    if is_root:
        return Path(STATE_DIR)
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry in the list of users
        home = Path()
    if not (home.is_absolute() and os.environ.get("HOME", str(home))):
        raise ConfigError("this user has no home folder, for state and recordings: set HOME")
    return home / ".local/state/dronebms"


def _text(answers: Answers, out: Path, *, is_root: bool) -> str:
    """The file, of at most 30 lines for one or two packs."""
    folder = _state_folder(is_root=is_root)
    socket = Path(STATUS_SOCKET) if is_root else folder / "status.sock"
    values = answers.values
    lines = [
        f"# Configuration of dronebms. Check it: dronebms check -c {quote(str(out))}",
        "# After a change: systemctl reload dronebms",
    ]
    for number, pack in enumerate(answers.packs):
        lines += ["", *_battery(pack, values, first=not number)]
    lines += [
        "",
        "[vehicle]",
        _row("name", values.get("vehicle_name"), "else the autopilot's unique id", "lifter 2"),
        "[mavlink]",
        _row("url", values["url"], "udpout:HOST:PORT, udpin:, tcp:, serial:PATH:BAUD"),
        "[status]",
        _row("socket", str(socket), "for dronebms status" + ("" if is_root else " --socket")),
        "[recording]",
        _row("dir", str(folder / "recordings"), "the oldest are deleted first"),
        "[state]",
        _row("dir", str(folder), "what is learned of packs, pack history"),
        "",
        f"# [[limit]] rows change a table: dronebms check --limits -c {quote(str(out))}",
        f"{'# [[action]]':{_COLUMN}} # acts on the vehicle; nothing does without a row",
        _row("on", None, "a limit, or a severity", "cell_critical"),
        _row("do", None, "reduce, return, land", "return"),
    ]
    return "\n".join(lines) + "\n"


def _battery(pack: Pack, values: Mapping[str, str], *, first: bool) -> Sequence[str]:
    rows = ["[[battery]]", _row("bus", pack.bus, pack.comment)]
    if pack.bus.startswith("/dev/"):
        rows.append(f"address = {pack.address:#04x}")
    if pack.bus.startswith(SIMULATED):
        return rows
    # A monitor of the autopilot has neither cells nor a rated capacity.
    is_monitor = pack.bus.startswith(_VEHICLE)
    cells = "needed: a monitor measures the pack alone" if is_monitor else "else the gauge's"
    capacity = "else estimated" if is_monitor else "else the gauge's"
    data = (
        _row("cells", values.get("cells"), cells, "6"),
        _row("capacity_mah", values.get("capacity_mah"), capacity, "16000"),
        _row("chemistry", values.get("chemistry"), "lipo, lihv, li-ion, lifepo4", "lipo"),
    )
    return [*rows, *(row for row in data if first or not row.startswith("#"))]


def _row(key: str, value: str | None, comment: str, example: str = "") -> str:
    """One line of a key; without a value a comment with an example."""
    text = example if value is None else value
    is_number = key in _NUMBERS and _NUMBER.fullmatch(text)
    literal = text if is_number else json.dumps(text, ensure_ascii=False)
    line = f"{'# ' if value is None else ''}{key} = {literal}"
    return f"{line:{_COLUMN}} # {comment}" if comment else line
