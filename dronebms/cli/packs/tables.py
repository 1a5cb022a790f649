# SPDX-License-Identifier: Apache-2.0
"""Packs as text: a line for each pack, and the page of one pack."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from dronebms.cli.packs.learned_export import EverythingLearned
from dronebms.cli.packs.rows import PackRow
from dronebms.core.clock import known_date
from dronebms.core.number_format import DASH, counted, number, printable
from dronebms.estimation.learning.usual_power import usual_power
from dronebms.estimation.model_parameters import FITTED
from dronebms.health.findings import capacity_text, day_text, findings, maintenance_text
from dronebms.health.flight_record import FlightRecord
from dronebms.protection.limits import limit_label

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*%#"
_DRAWN = 40  # flights in a row of bars
_HOURS_PER_DAY = 24.0
_ROWS = (  # of one pack: title, unit, decimals, column
    ("relative capacity", "", 2, "relative_capacity"),
    ("resistance", "mohm", 2, "resistance_mohm"),
    ("cell spread, rest", "mV", 0, "spread_rest_mv"),
    ("cell spread, load", "mV", 0, "spread_load_mv"),
    ("lowest cell below", "mV", 0, "lowest_by_mv"),
    ("hottest", "degC", 0, "hottest_degc"),
)
_LEAST_WIDTH = 76  # of a table of six columns
_LABEL_TITLES = ("tags", "maintenance")  # where a pack has some
_TITLES = (
    "pack",
    "flights",
    "last",
    "capacity",
    "capacity trend",
    "resistance trend",
    "findings",
)


def in_width(table: Table, width: int) -> Table:
    """The table, or on a narrow screen a line for each of its values."""
    if width >= _LEAST_WIDTH:
        return table
    lines = Table(box=None, pad_edge=False, show_header=False)
    lines.add_column()
    lines.add_column(overflow="fold")
    for place, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if place:
            lines.add_row()
        for column, value in zip(table.columns, row, strict=True):
            lines.add_row(column.header, value)
    return lines


def tables(selected: Sequence[PackRow], everything: EverythingLearned) -> list[Table]:
    """A line for each pack, each learned pack and each vehicle; no table without lines."""
    flown = [row for row in selected if row.flights]
    texts = [(", ".join(row.label.tags), maintenance_text(row.label, row.use)) for row in flown]
    labelled = [number for number in range(2) if any(text[number] for text in texts)]
    history = _table(
        [*_TITLES[:1], *(_LABEL_TITLES[number] for number in labelled), *_TITLES[1:]],
        [
            (name, *(printable(text[number]) or DASH for number in labelled), *rest)
            for (name, *rest), text in zip(map(_history_line, flown), texts, strict=True)
        ],
    )
    titles = "learned pack", "model", "vehicle", "flights", "capacity", "resistance"
    learned = _table(titles, [_learned_line(row) for row in selected if row.learned is not None])
    found = ((name, usual_power(each, FITTED), each) for name, each in everything.vehicles.items())
    vehicles = [
        (printable(name), str(len(each)), f"{usual.mean_w:.0f} W", f"{100.0 * usual.sd:.0f} %")
        for name, usual, each in found
        if usual is not None
    ]
    powers = _table(("vehicle", "flights", "usual power", "next flight within"), vehicles)
    return [table for table in (history, learned, powers) if table.row_count]


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for title in titles:
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def _history_line(row: PackRow) -> tuple[str, ...]:
    trends = row.forecast.capacity, row.forecast.resistance
    shares = (DASH if trend is None else f"{trend.now:.0%}" for trend in trends)
    day = day_text(row.flights[-1].started_unix_s)
    found = "; ".join(findings(row.flights, row.forecast))
    capacity = capacity_text(row.flights)
    return (printable(row.title), str(len(row.flights)), day, capacity, *shares, found)


def _learned_line(row: PackRow) -> tuple[str, ...]:
    learned = row.learned
    if learned is None:
        return ()
    capacity_pct, sd_pct = learned.capacity_pct
    resistance_pct, resistance_sd_pct = learned.resistance_pct(FITTED)
    return (
        printable(row.title),
        printable(learned.model or DASH),
        printable(learned.vehicle or DASH),
        str(learned.flights),
        f"{capacity_pct:.0f} % of {learned.rated_mah / 1000.0:.1f} Ah (+- {sd_pct:.0f} %)",
        f"{resistance_pct:.0f} % of usual (+- {resistance_sd_pct:.0f} %)",
    )


def print_pack(row: PackRow, console: Console) -> None:
    """Print one pack: newest values, a bar for each flight, findings, and what was learned."""
    lines = [f"{row.name}: no flight in the history"]
    if row.flights:
        lines = _history_lines(row, console)
    if row.learned is not None:
        _, model, vehicle, count, capacity, resistance = _learned_line(row)
        usual = (
            ""
            if row.usual is None
            else f", {row.usual.mean_w:.0f} W (+- {100.0 * row.usual.sd:.0f} %)"
        )
        known = f"capacity {capacity}, resistance {resistance}"
        lines.append(f"learned in {counted(int(count), 'flight')}: {known}")
        lines.append(f"model {model}, vehicle {vehicle}{usual}")
    for line in lines:
        console.print(printable(line))


def _history_lines(row: PackRow, console: Console) -> list[str]:
    flights = row.flights
    last = row.flights[-1]
    kind = f"{last.chemistry} {last.cells or DASH} cells, {number(last.rated_mah, 'mAh')}"
    flown = counted(len(flights), "flight")
    lines = [f"{row.title}: {kind}, {flown}, last {day_text(last.started_unix_s)}"]
    lines += _label_lines(row)
    lines.append(f"{'capacity':18}{capacity_text(flights)}")
    bars = _BARS if console.encoding.lower().startswith("utf") else _ASCII_BARS
    for title, unit, decimals, name in _ROWS:
        values = [getattr(flight, name) for flight in flights[-_DRAWN:]]
        newest = next((value for value in reversed(values) if value is not None), None)
        lines.append(f"{title:18}{number(newest, unit, decimals):>12}  {_bars_of(values, bars)}")
    lines += _storage_lines(flights)
    excursions = [f"{limit_label(name)} {seconds:.0f} s" for name, seconds, _ in last.excursions]
    lines.append(f"tripped limits in the last flight: {', '.join(excursions) or 'none'}")
    return [*lines, *findings(flights, row.forecast)]


def _label_lines(row: PackRow) -> list[str]:
    """Full name, tags, maintenance, and the vehicles of a pack."""
    lines = [f"{'pack':18}{row.name}"] if row.label.name else []
    lines += [f"{'tags':18}{', '.join(row.label.tags)}"] if row.label.tags else []
    due = maintenance_text(row.label, row.use)
    serviced_s = row.label.serviced_unix_s
    if serviced_s is not None or row.label.serviced_after is not None:
        date_s = None if serviced_s is None else known_date(serviced_s)
        last = "last on an unknown date" if date_s is None else f"last {day_text(date_s)}"
        due = "; ".join(filter(None, (due, last)))
    lines += [f"{'maintenance':18}{due}"] if due else []
    for stay in row.stays:
        text = f"{stay.vehicle}: {counted(stay.flights, 'flight')}, {day_text(stay.from_unix_s)}"
        text += f" to {day_text(stay.until_unix_s)}" if stay.flights > 1 else ""
        after = "" if stay.replaced_by is None else f", replaced by {stay.replaced_by}"
        lines.append(f"{'vehicle':18}{text}{after}")
    return lines


def _storage_lines(flights: Sequence[FlightRecord]) -> list[str]:
    """Time at a high charge, and how often a cell deviated."""
    stored_h = [one.above_90_h for one in flights if one.above_90_h is not None]
    lines = []
    if stored_h:
        days = sum(stored_h) / _HOURS_PER_DAY
        lines.append(f"{'above 90 %':18}{number(days, 'days', 1):>12}  while it was read")
    counts = [one.cell_deviations for one in flights if one.cell_deviations]
    if counts:
        cells = [sum(row[k] or 0.0 for row in counts if k < len(row)) for k in range(_most(counts))]
        most = [f"cell {k} {n:.0f}" for k, n in enumerate(cells, 1) if n]
        lines.append(f"{'cell deviations':18}{number(sum(cells), '', 0):>12}  {', '.join(most)}")
    return lines


def _most(rows: Sequence[Sequence[object]]) -> int:
    return max(map(len, rows))


def _bars_of(values: Sequence[float | None], bars: str) -> str:
    """A bar character for each value, scaled to their range; a blank for unknown."""
    known = [value for value in values if value is not None]
    low = min(known, default=0.0)
    high = max(known, default=0.0)
    step = (high - low) / (len(bars) - 1) or 1.0
    return "".join(" " if value is None else bars[round((value - low) / step)] for value in values)
