# SPDX-License-Identifier: Apache-2.0
"""Snapshots, flights and their transformations, for the tests of the core."""

import csv
import gzip
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.report import Estimate, Report
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.flightlogs import FlightOptions, FlightSource, read_csv_log
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import LimitChange
from dronebms.protection.rules import Rules
from smartbattery.snapshot import UNIDENTIFIED, Identity, Snapshot

FACTS = PackData(LIPO, cells=6, capacity_mah=5000.0, cutoff_cell_v=3.3)
Change = Callable[[Snapshot], Snapshot]


def look(
    t_s: float,
    cell_v: float = 3.8,
    current_a: float | None = 20.0,
    *,
    cells: int = 6,
    temperature_degc: float | None = 25.0,
    identity: Identity = UNIDENTIFIED,
) -> Snapshot:
    """A snapshot of a pack with equal cells, read at `t_s`."""
    names = ("voltage_v", "current_a", "temperature_degc")
    return Snapshot(
        t_s=t_s,
        voltage_v=cells * cell_v,
        current_a=current_a,
        temperature_degc=temperature_degc,
        cells_v=(cell_v,) * cells,
        identity=identity,
        read_at_s=dict.fromkeys((*names, *(f"cell{k + 1}_v" for k in range(cells))), t_s),
    )


@dataclass
class Scripted:
    """A source that returns a given snapshot."""

    snapshot: Snapshot

    def poll(self, now_s: float) -> Snapshot:
        """The snapshot, at its own time."""
        assert now_s == self.snapshot.t_s
        return self.snapshot


def watched(
    snapshots: Iterable[Snapshot],
    pack_data: PackData = FACTS,
    limit_changes: Sequence[LimitChange] = (),
) -> list[Report]:
    """Reports of a pipeline for snapshots."""
    source = Scripted(Snapshot(0.0))
    pipeline = Pipeline(source, pack_data, rules=Rules(tuple(limit_changes)))
    reports = []
    for snapshot in snapshots:
        source.snapshot = snapshot
        reports.append(pipeline.step(snapshot.t_s, UNKNOWN_VEHICLE))
    return reports


def flown(
    path: Path, change: Change | None = None, options: FlightOptions | None = None
) -> list[Report]:
    """Return the reports of a recorded flight, its snapshots changed on the way.

    A flight without a change and options is computed once per process.
    """
    if change is None and options is None:
        return list(_flown_unchanged(path))
    return _fly(path, change, options)


def _fly(path: Path, change: Change | None, options: FlightOptions | None) -> list[Report]:
    flight = read_csv_log(path, options=options or FlightOptions())
    source = FlightSource(flight)
    snapshots = (source.poll(t_s) for t_s in source.ticks())
    return watched((change(look) if change else look for look in snapshots), flight.pack_data)


@cache
def _flown_unchanged(path: Path) -> tuple[Report, ...]:
    return tuple(_fly(path, None, None))


def changed_at(t_s: float, **values: object) -> Change:
    """Return a change of the one snapshot at or after a time, and of no other."""
    done: list[float] = []

    def change(snapshot: Snapshot) -> Snapshot:
        if done or snapshot.t_s < t_s:
            return snapshot
        done.append(snapshot.t_s)
        return replace(snapshot, **values)  # type: ignore[arg-type]  # names are the caller's

    return change


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a flight, its truth included."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_flight(path: Path, rows: Sequence[dict[str, str]], sidecar: dict[str, object]) -> Path:
    """Write a flight with its sidecar, and return its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".json").write_text(json.dumps(sidecar), encoding="utf-8")
    return path


def sidecar_of(path: Path) -> dict[str, object]:
    """The content of a flight's sidecar."""
    text = path.with_name(path.name.replace(".csv.gz", ".json")).read_text(encoding="utf-8")
    content = json.loads(text)
    assert isinstance(content, dict)
    return content


def check_sane(estimate: Estimate) -> None:
    """Assert the invariants of every estimate."""
    state = estimate.state
    numbers: dict[str, float | None] = {
        f.name: getattr(estimate, f.name)
        for f in fields(estimate)
        if f.name not in {"state", "doubts"} and not isinstance(getattr(estimate, f.name), str)
    }
    for k, cell in enumerate((state.weakest, *state.cells)):
        numbers |= {f"{k} {field.name}": getattr(cell, field.name) for field in fields(cell)}
    for name, value in numbers.items():
        assert value is None or math.isfinite(value), f"{name} is {value}"
        assert value is None or value >= 0.0 or name[0].isalpha(), f"{name} is {value}"
    low_s, high_s = estimate.remaining_low_s, estimate.remaining_high_s
    if estimate.remaining_s is None:
        assert (low_s, high_s) == (None, None)
    else:
        assert low_s is not None
        assert high_s is not None
        assert 0.0 <= low_s <= estimate.remaining_s <= high_s
    assert estimate.soc_pct is None or 0.0 <= estimate.soc_pct <= 100.0
    for amps in (
        estimate.max_discharge_30s_a,
        estimate.max_discharge_a,
        estimate.max_discharge_2s_a,
    ):
        assert amps is None or amps >= 0.0
