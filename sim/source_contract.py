# SPDX-License-Identifier: Apache-2.0
"""Contract of a source of snapshots, for the tests of a package that adds one.

    from sim.source_contract import check_silence, check_snapshots

    known = check_snapshots(gauge, [step / 2 for step in range(40)])
    check_silence(gauge, from_s=20.0)  # after the device was taken away

`tests/contracts/test_source.py` runs it on every source of this program.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields

from dronebms.core.report import Source
from smartbattery.registers import CELLS, CURRENT, TEMPERATURE, WORDS
from smartbattery.snapshot import CELL_FIELDS, MAX_CELLS, Snapshot

SILENT_AFTER_S = 16.0  # by then every measured value is unknown: the slow registers hold for 15 s
_ROWS = {row.field: row for row in WORDS} | {"fet_degc": TEMPERATURE, "beyond_a": CURRENT}
_NUMBERS = tuple(field.name for field in fields(Snapshot) if field.name in _ROWS)
_MEASURED = ("voltage_v", "current_a", "temperature_degc", "soc_pct", "remaining_mah")


class ContractError(AssertionError):
    """A source breaks its contract; the text has the rule and the value."""


def check_snapshots(
    source: Source, times_s: Iterable[float], *, ahead_s: float = 0.0
) -> list[Snapshot]:
    """Poll a source and check each snapshot.

    Args:
        source: of a device that answers.
        times_s: of the polls, increasing.
        ahead_s: by which a thread may read later than the time of the poll.

    Returns:
        The snapshots that have a voltage.

    Raises:
        ContractError: a rule is broken, or no snapshot has a voltage.
    """
    known = []
    cells = 0
    for now_s in times_s:
        snapshot = source.poll(now_s)
        check_snapshot(snapshot, now_s, ahead_s=ahead_s)
        if snapshot.voltage_v is not None:
            known.append(snapshot)
        _rule(
            len(snapshot.cells_v) in (0, cells) or not cells,
            "the number of cells of a pack does not change",
            snapshot.cells_v,
        )
        cells = cells or len(snapshot.cells_v)
    _rule(bool(known), "a device that answers gives a voltage", None)
    return known


def check_silence(
    source: Source, from_s: float, polls: Sequence[float] = (1.0, 5.0, SILENT_AFTER_S, 120.0)
) -> None:
    """Poll a source whose device is silent since `from_s`: its values expire, and it states why.

    Raises:
        ContractError: a rule is broken.
    """
    for late_s in polls:
        snapshot = source.poll(from_s + late_s)
        check_snapshot(snapshot, from_s + late_s)
        if late_s < SILENT_AFTER_S:
            continue
        for name in _MEASURED:
            value = getattr(snapshot, name)
            _rule(value is None, f"{name} of a silent device is unknown", value)
        _rule(not any(snapshot.cells_v), "cells of a silent device are unknown", snapshot.cells_v)


def check_snapshot(snapshot: Snapshot, now_s: float, *, ahead_s: float = 0.0) -> None:
    """Check one snapshot of a poll at `now_s`.

    Raises:
        ContractError: a rule is broken.
    """
    _rule(isinstance(snapshot, Snapshot), "poll returns a Snapshot", snapshot)
    _rule(snapshot.t_s == now_s, f"t_s is the time of the poll, {now_s}", snapshot.t_s)
    for name in _NUMBERS:
        _check_number(name, getattr(snapshot, name))
    _rule(isinstance(snapshot.cells_v, tuple), "cells_v is a tuple", snapshot.cells_v)
    _rule(len(snapshot.cells_v) <= MAX_CELLS, f"a pack has {MAX_CELLS} cells at most",
          len(snapshot.cells_v))  # fmt: skip
    for name, value in zip(CELL_FIELDS, snapshot.cells_v, strict=False):
        _check_number(name, value)
    for name, at_s in snapshot.read_at_s.items():
        _rule(at_s <= now_s + ahead_s, f"{name} is not read in the future", at_s)
    if snapshot.voltage_v is None:
        _rule(bool(snapshot.trouble), "trouble states why there is no voltage", snapshot.trouble)
    else:
        age_s = snapshot.age_s("voltage_v")
        _rule(age_s is not None, "read_at_s has the time of the voltage", None)
        _rule(snapshot.trouble is None, "with a voltage there is no trouble", snapshot.trouble)


def _check_number(name: str, value: object) -> None:
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _rule(is_number, f"{name} is a number or None", value)
    row = CELLS[0] if name in CELL_FIELDS else _ROWS[name]
    number = float(value) if isinstance(value, int | float) else math.nan
    _rule(row.low <= number <= row.high, f"{name} is {row.low:g} to {row.high:g}", value)


def _rule(holds: bool, text: str, value: object) -> None:  # noqa: FBT001 - the rule itself
    if not holds:
        raise ContractError(f"{text}: {value!r}")
