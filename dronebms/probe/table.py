# SPDX-License-Identifier: Apache-2.0
"""A readout as text for a terminal or a pipe: registers, status, bus load, and warnings last.

The last lines are those that a terminal shows. Units follow the values.
"""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from dronebms.core.number_format import printable
from dronebms.probe.readout import Reading, Readout
from smartbattery.bus_load import POLLS_HZ

_MILLI = 1000.0
_PERCENT = 100.0


def render(readout: Readout, bus: str, warnings: Sequence[str], console: Console) -> str:
    """The text, rendered for a console without markup."""
    with console.capture() as drawn:
        console.print(printable(_title(readout, bus)), style="bold")
        console.print(_registers(readout.registers), soft_wrap=not console.is_terminal)
        absent = ", ".join(row.name for row in readout.registers if not row.supported)
        sentences = [f"not supported: {absent or 'none'}", "", *_flag_lines(readout)]
        sentences += [_bus_line(readout), "", *(f"! {text}" for text in warnings)]
        if not warnings:
            sentences.append("no warnings")
        for sentence in sentences:
            style = "yellow" if sentence.startswith("!") else ""
            console.print(printable(sentence), style=style, soft_wrap=not console.is_terminal)
    return "\n".join(line.rstrip() for line in drawn.get().splitlines())


def _title(readout: Readout, bus: str) -> str:
    identity = readout.snapshot.identity
    pack = " ".join(filter(None, (identity.manufacturer, identity.device)))
    sealed = "" if readout.security is None else f", {readout.security}"
    cells = "cells unknown" if identity.cells is None else f"{identity.cells} cells"
    place = f"{bus} address 0x{readout.address:02x}"
    return f"{place}: {readout.gauge}{sealed}; {pack or 'unnamed'}, {cells}"


def _registers(rows: Sequence[Reading]) -> Table:
    """A line for each register; the fields of a block share one."""
    table = Table(box=None, pad_edge=False, header_style="")
    for title in ("command", "register", "raw", "value"):
        table.add_column(title, overflow="fold", no_wrap=title != "value")
    supported = (row for row in rows if row.supported)
    for (command, name), group in groupby(supported, lambda row: (row.command, _block(row))):
        first, *others = fields = list(group)
        is_word = isinstance(first.raw, int) and not others
        raw = f"0x{first.raw:04x}" if is_word else ""
        table.add_row(f"0x{command:02x}", name, raw, printable(", ".join(map(_value, fields))))
    return table


def _block(row: Reading) -> str:
    return row.name.partition(".")[0]


def _value(row: Reading) -> str:
    field = row.name.partition(".")[2]
    value = "-" if row.value is None else str(row.value)
    if row.unit == "raw" and isinstance(row.raw, int):
        return f"{field} 0x{row.raw:x}"
    return f"{field} {value} {row.unit}".strip()


def _flag_lines(readout: Readout) -> list[str]:
    return [f"{flag.register} {flag.bit} {flag.name}: {flag.text}" for flag in readout.status]


def _bus_line(readout: Readout) -> str:
    load = readout.bus_load
    poll_ms = load.poll_s * _MILLI
    round_ms = load.round_s * _MILLI
    return (
        f"bus load: {load.share_frac * _PERCENT:.0f} % at {POLLS_HZ:g} polls per second; "
        f"a poll takes {poll_ms:.1f} ms, a full cycle {round_ms:.1f} ms (computed for 100 kHz)"
    )
