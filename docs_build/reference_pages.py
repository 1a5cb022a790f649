# SPDX-License-Identifier: Apache-2.0
"""Reference pages in docs/reference: one table for each kind of row in the code."""

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from docs_build.schema import configuration_schema, meanings
from dronebms.cli.exit_codes import EXIT_CODES
from dronebms.cli.options import OPTIONS, PAGES
from dronebms.core.chemistry import CHEMISTRIES, LIPO
from dronebms.core.known_cells import KNOWN_CELLS
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Report, ReportedCharge, Status
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.flightlogs.flight_log import BATTERY_COLUMNS, CELL_COLUMNS, VEHICLE_COLUMNS, Column
from dronebms.flightlogs.sidecar import OPTIONS as SIDECAR_OPTIONS
from dronebms.flightlogs.sidecar import Sidecar
from dronebms.protection.limits import Limit, default_limits, every_limit
from dronebms.telemetry.json_line import KEYS
from mavlink_bridge.protocol import messages
from mavlink_bridge.protocol.autopilot import RECEIVED_MESSAGES
from mavlink_bridge.protocol.flight_stacks import ARDUPILOT_ID
from mavlink_bridge.vehicle.parameter_check import PARAMETER_REQUIREMENTS
from smartbattery.profiles import PROFILES
from smartbattery.snapshot import Snapshot

_NOTE = "<!-- Made from the code by `make docs`; change the row there. -->"
_PACK = PackData(LIPO, cells=6, capacity_mah=5000.0)
# Units by the suffix of a name; a longer suffix first.
_UNITS = (
    ("_m_s", "m/s"), ("_kj_mol", "kJ/mol"), ("_from_deg", "deg"), ("_degc", "degC"),
    ("_deg", "deg"), ("_mah", "mAh"), ("_ohm", "ohm"), ("_pct", "%"), ("_frac", "0-1"),
    ("_mb", "MB"), ("_days", "days"), ("_wh", "Wh"), ("_hz", "Hz"), ("_v", "V"), ("_a", "A"),
    ("_w", "W"), ("_s", "s"), ("_c", "C"), ("_m", "m"), ("_k", "K/min"),
)  # fmt: skip


def reference_pages() -> dict[str, str]:
    """Text of each page by its path in the repository."""
    pages: dict[str, Callable[[], Iterable[str]]] = {
        "commands": _commands,
        "configuration": _configuration,
        "exit_codes": _exit_codes,
        "flight_csv": _flight_csv,
        "json": _json,
        "limits": _limits,
        "mavlink": _mavlink,
        "packs": _packs,
    }
    return {
        f"docs/reference/{name}.md": "\n".join([_NOTE, "", *page()]) + "\n"
        for name, page in pages.items()
    }


def unit_of(name: str) -> str:
    """Unit of a value by the suffix of its name, "" without one."""
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Lines of a Markdown table."""

    def line(cells: Sequence[object]) -> str:
        return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"

    yield line(head)
    yield f"|{'---|' * len(head)}"
    yield from map(line, rows)


def _number(value: float) -> str:
    return f"{value:,.10g}".replace(",", " ")


def _code(text: object) -> str:
    return f"`{text}`"


# ---------------------------------------------------------------------- commands, exit codes


def _commands() -> Iterator[str]:
    yield "# Commands and options"
    yield ""
    yield "`dronebms --version` prints the version, `dronebms COMMAND --help` what stands here; `man dronebms` has it too."
    for page in PAGES:
        yield from ["", f"## dronebms {page.name}", "", page.description, ""]
        options = [row for row in OPTIONS if page.name in row.commands.split()]
        shown = [(_option(row.names, row.metavar, row.kind), row.help or "") for row in options]
        yield from table(("option", "meaning"), shown)
        yield from ["", f"    {page.example.partition('. Flights')[0]}"]


def _option(names: str, metavar: str | None, kind: object) -> str:
    value = "" if metavar is None or metavar == names.upper() else f" {metavar}"
    if isinstance(kind, tuple):
        value = f" {{{','.join(kind)}}}"
    return ", ".join(_code(f"{name}{value}") for name in names.split())


def _exit_codes() -> Iterator[str]:
    yield "# Exit codes"
    yield ""
    yield from table(("code", "meaning"), EXIT_CODES.items())


# ---------------------------------------------------------------------- configuration


def _configuration() -> Iterator[str]:
    schema = configuration_schema()
    yield "# Configuration"
    yield ""
    yield from _paragraph(
        "Every key of the file of `dronebms run -c FILE.toml`. A key without a default may be left out, unless it is needed. "
        "The same rows are the JSON schema `dronebms.schema.json`, with which an editor completes the file. "
        "What the sections are for: [the service](../service.md), [protection](../protection.md), [fleets](../fleet.md)."
    )
    top = {key: row for key, row in schema["properties"].items() if _table_of(row, schema) is None}
    yield from ["", "## Top level", "", *_keys(top, schema.get("required", ()))]
    for key, row in schema["properties"].items():
        table = _table_of(row, schema)
        if table is not None:
            name = f"[[{key}]]" if row.get("type") == "array" else f"[{key}]"
            yield from ["", f"## {name}", "", row["description"], ""]
            yield from _keys(table["properties"], table.get("required", ()))


def _table_of(row: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """Model of a section, `None` for a plain key."""
    for one in (row, row.get("items", {}), *row.get("anyOf", ())):
        if "$ref" in one:
            table: dict[str, Any] = schema["$defs"][one["$ref"].rpartition("/")[2]]
            return table
    return None


def _keys(rows: dict[str, Any], required: Sequence[str]) -> Iterator[str]:
    def default(key: str, row: dict[str, Any]) -> str:
        if key in required:
            return "needed"
        if "default" not in row:
            return ""
        is_address = key.endswith("address") and isinstance(row["default"], int)
        return _code(f"{row['default']:#04x}") if is_address else _literal(row["default"])

    yield from table(
        ("key", "unit", "values", "default", "meaning"),
        [
            (
                _code(key),
                unit_of(key),
                _values(row),
                default(key, row),
                " ".join(row["description"].split()),
            )
            for key, row in rows.items()
        ],
    )


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return _code(str(value).lower())
    if isinstance(value, float):
        return _code(f"{value:g}")
    return _code(list(value) if isinstance(value, tuple) else value)


def _values(row: dict[str, Any]) -> str:
    names = row.get("enum") or ([row["const"]] if "const" in row else [])
    if {*every_limit()} <= {*names}:
        return (
            "a severity, `governor` or [a limit](limits.md)"
            if "governor" in names
            else "[a limit](limits.md)"
        )
    if names:
        return " ".join(map(_code, names))
    if row["type"] == "array":
        return f"list of {_values(row['items'])}"
    low, high = row.get("minimum", row.get("exclusiveMinimum")), row.get("maximum")
    kind = {"integer": "whole number", "number": "number", "string": "text"}.get(row["type"], "")
    kind = kind or str(row["type"])
    if low is None:
        return kind
    if high is None:
        return (
            f"{kind} above {_number(low)}"
            if "exclusiveMinimum" in row
            else f"{kind} from {_number(low)}"
        )
    return f"{_number(low)} to {_number(high)}"


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, 160, break_long_words=False, break_on_hyphens=False)


# ---------------------------------------------------------------------- limits


def _limits() -> Iterator[str]:
    limits = default_limits(_PACK)
    yield "# Limits"
    yield ""
    yield from _paragraph(
        f"The {len(limits)} rows for a {_PACK.cells}S {_PACK.capacity_mah:g} mAh pack of {_PACK.chemistry.name} without a configuration, worst first. "
        "`dronebms check -c FILE.toml --limits` prints those of a configuration. `[[limit]]` changes a row "
        "([keys](configuration.md#limit)); why the rows are as they are: [protection](../protection.md#limits). "
        "The values of a quantity have the unit of its suffix; one without a suffix is a count."
    )
    yield ""
    yield from table(
        ("id", "severity", "meaning", "trips at", "for", "clears at", "for", "fault bits"),
        [_limit_row(row) for row in sorted(limits, key=lambda row: -row.severity)],
    )


def _limit_row(row: Limit) -> tuple[str, ...]:
    unit = unit_of(row.quantity)
    sign, back = (">=", "<=") if row.rising else ("<=", ">=")
    return (
        _code(row.limit_id),
        row.severity.label,
        row.label,
        f"`{row.quantity}` {sign} {row.trip:g} {unit}".rstrip(),
        f"{row.hold_s:g} s",
        "latched in flight" if row.latch else f"{back} {row.clear:g} {unit}".rstrip(),
        f"{row.clear_s:g} s",
        str(row.fault_bits) if row.fault_bits else "",
    )


# ---------------------------------------------------------------------- JSON, CSV


def _json() -> Iterator[str]:
    yield "# JSON keys"
    yield ""
    yield from _paragraph(
        "The keys of a line of [the predictions](../predictions.md). Unknown is `null`, never 0. Current is positive while discharging."
    )
    yield ""
    yield from table(
        ("key", "unit, values", "meaning"),
        [(_code(row.name), row.unit, row.meaning) for row in KEYS],
    )


def _flight_csv() -> Iterator[str]:
    yield "# Flight CSV"
    yield ""
    yield from _paragraph(
        "The columns of a [flight log](../flight_logs.md) and the keys of its sidecar. A value outside the range is a spike: withheld and counted."
    )
    yield from ["", "## Columns", ""]
    first, last = CELL_COLUMNS[0], CELL_COLUMNS[-1]
    rows = [("`t_s`", "s", "", "time of the logger's clock; grows; needed")]
    rows += [_column_row(row) for row in BATTERY_COLUMNS]
    rows.append(
        (
            f"`{first.name}` to `{last.name}`",
            "V",
            _range(first),
            "voltage of each cell, the last one is that of the last cell",
        )
    )
    rows += [_column_row(row) for row in VEHICLE_COLUMNS]
    yield from table(("column", "unit", "range", "meaning"), rows)
    yield from ["", "## Sidecar", ""]
    texts = meanings(Sidecar)
    yield from table(
        ("key", "option", "unit", "meaning"),
        [
            (
                _code(name),
                _code(SIDECAR_OPTIONS.get(name, f"--{name.replace('_', '-')}")),
                unit_of(name),
                texts.get(name, ""),
            )
            for name in Sidecar.model_fields
        ],
    )


def _column_row(row: Column) -> tuple[str, str, str, str]:
    return _code(row.name), unit_of(row.name), _range(row), row.meaning


def _range(row: Column) -> str:
    return f"{_number(row.low)} to {_number(row.high)}"


# ---------------------------------------------------------------------- packs


def _packs() -> Iterator[str]:
    yield "# Packs and gauges"
    yield ""
    yield from _paragraph(
        "What is known of packs, by rows of the code. A gauge is identified by reading it; `gauge` of `[[battery]]` "
        "([configuration](configuration.md#battery)) names one that is not. What each of them was tried with, and gauges of other packages: [gauges](../gauges.md); how to wire one: [hardware](../hardware.md)."
    )
    yield from [
        "",
        "## Gauges",
        "",
        "Each with plain SBS 1.1 registers, as far as the row does not differ.",
        "",
    ]
    yield from table(
        ("`gauge`", "identified by", "cells", "packet error code", "source"),
        [
            (
                _code(row.name),
                ", ".join(map(_code, row.names)),
                f"up to {row.max_cells}",
                row.pec.value,
                row.source,
            )
            for row in PROFILES
        ],
    )
    yield from ["", "## Chemistries", ""]
    yield from table(
        ("`chemistry`", "full", "low", "cut-off", "continuous", "10 s", "hot", "cold", "source"),
        [
            (
                _code(row.name), f"{row.full_cell_v:g} V", f"{row.low_cell_v:g} V",
                f"{row.cutoff_cell_v:g} V", f"{row.continuous_c:g} C", f"{row.burst_c:g} C",
                f"{row.hot_degc:g} degC", f"{row.cold_degc:g} degC", row.source,
            )
            for row in CHEMISTRIES
        ],
    )  # fmt: skip
    yield from [
        "",
        "## Cells",
        "",
        "Types whose open-circuit voltage was measured: `cell` of `[[battery]]`.",
        "",
    ]
    yield from table(
        ("`cell`", "maker", "chemistry", "rated", "source"),
        [
            (_code(row.name), row.maker, row.chemistry.name, f"{row.rated_mah:g} mAh", row.source)
            for row in KNOWN_CELLS
        ],
    )


# ---------------------------------------------------------------------- MAVLink


def _mavlink() -> Iterator[str]:
    yield "# MAVLink messages"
    yield ""
    yield from _paragraph(
        "Every field that is sent, as the encoders of `mavlink_bridge/protocol/messages.py` fill it. The values are those of a "
        f"{_PACK.cells}S {_PACK.capacity_mah:g} mAh pack in flight, and of one of which nothing is known. "
        "The meaning of a field is that of [MAVLink's common messages](https://mavlink.io/en/messages/common.html); which component sends what, and when: [the vehicle](../service.md#the-vehicle)."
    )
    known, unknown = _report(known=True), _report(known=False)
    encoders: tuple[Callable[[Report], Any], ...] = (
        messages.battery_status,
        lambda report: messages.smart_battery_info(report, battery_id=0),
        lambda report: messages.battery_info(report, battery_id=0),
        lambda report: messages.heartbeat(state=messages.battery_state(report)),
    )
    for encode in encoders:
        sent, blank = encode(known), encode(unknown)
        units = getattr(sent, "fieldunits_by_name", {})
        yield from ["", f"## {sent.get_type()}", ""]
        yield from table(
            ("field", "unit", "in flight", "nothing known"),
            [
                (
                    _code(name),
                    units.get(name, ""),
                    _value(getattr(sent, name)),
                    _value(getattr(blank, name)),
                )
                for name in sent.get_fieldnames()
            ],
        )
    yield from ["", "## Received", "", "What the bridge reads of the autopilot.", ""]
    yield from table(
        ("message", "id", "value expires after", "requested every"),
        [
            (row.name, row.message_id, _seconds(row.max_age_s), _seconds(row.request_period_s))
            for row in RECEIVED_MESSAGES
        ],
    )
    yield from [
        "",
        "## Parameters",
        "",
        "What `dronebms check -c FILE.toml --vehicle URL` compares, and `--set` sets while disarmed.",
        "",
    ]
    yield from table(
        ("parameter", "stack", "range", "reason"),
        [
            (
                _code(row.name),
                "ArduPilot" if row.autopilot == ARDUPILOT_ID else "PX4",
                _parameter_range(row.least, row.most, row.times),
                row.reason,
            )
            for row in PARAMETER_REQUIREMENTS
        ],
    )


def _parameter_range(least: float, most: float, times: str | None) -> str:
    factor = "" if times is None else f" x `{times}`"
    if least == most:
        return f"{least:g}{factor}"
    if math.isinf(most):
        return f"from {least:g}{factor}"
    return f"{least:g} to {most:g}{factor}"


def _seconds(value_s: float | None) -> str:
    if value_s is None:
        return ""
    return "once" if math.isinf(value_s) else f"{value_s:g} s"


def _value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value not in ("", b"") else '""'


def _report(*, known: bool) -> Report:
    t_s = 60.0
    reported = ReportedCharge()
    pack = _PACK if known else PackData(LIPO)
    snapshot, estimate = Snapshot(t_s), Estimate(t_s)
    if known:
        volts = (3.9, 3.91, 3.9, 3.89, 3.9, 3.9)
        snapshot = Snapshot(
            t_s, voltage_v=23.4, current_a=25.0, temperature_degc=31.5, cells_v=volts,
            full_mah=4900.0, cycles=12,
        )  # fmt: skip
        estimate = Estimate(t_s, soc_pct=78.2, soh_pct=98.0)
        reported = ReportedCharge(78.2, 540.0, 1080.0, 24.6, 430.0)
    return Report(
        t_s=t_s, index=0, pack_data=pack, snapshot=snapshot, vehicle=UNKNOWN_VEHICLE,
        estimate=estimate, status=Status(t_s), reported=reported,
    )  # fmt: skip
