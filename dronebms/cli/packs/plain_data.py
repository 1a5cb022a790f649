# SPDX-License-Identifier: Apache-2.0
"""Packs for other programs: a JSON line for each pack, their flights as CSV."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from dronebms.cli.packs.rows import PackRow
from dronebms.core.atomic_file import atomic_writer
from dronebms.core.number_format import csv_field
from dronebms.estimation.model_parameters import FITTED
from dronebms.health.capacity import pack_capacity
from dronebms.health.flight_record import FlightRecord
from dronebms.health.pack_label import maintenance


def json_of(row: PackRow) -> dict[str, object]:
    """The object of a pack."""
    learned = None
    if row.learned is not None:
        capacity_pct, sd_pct = row.learned.capacity_pct
        resistance_pct, resistance_sd_pct = row.learned.resistance_pct(FITTED)
        learned = {
            "model": row.learned.model,
            "vehicle": row.learned.vehicle,
            "flights": row.learned.flights,
            "rated_mah": row.learned.rated_mah,
            "capacity_pct": capacity_pct,
            "capacity_sd_pct": sd_pct,
            "resistance_pct": resistance_pct,
            "resistance_sd_pct": resistance_sd_pct,
            "usual_w": None if row.usual is None else row.usual.mean_w,
            "usual_sd_pct": None if row.usual is None else 100.0 * row.usual.sd,
        }
    known = pack_capacity(row.flights)
    return {
        "pack": row.name,
        "name": row.label.name,
        "tags": list(row.label.tags),
        "maintenance": [asdict(due) for due in maintenance(row.label, row.use)],
        "vehicles": list(map(asdict, row.stays)),
        "capacity": None if known is None else asdict(known),
        "outlook": asdict(row.forecast),
        "flights": list(map(asdict, row.flights)),
        "learned": learned,
    }


def write_csv(flights: Sequence[FlightRecord], path: Path) -> None:
    """Write flights, a column for each field.

    Raises:
        ConfigError: the file cannot be written.
    """
    with atomic_writer(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(FlightRecord))
        for flight in flights:
            values = asdict(flight).values()
            writer.writerow(json.dumps(v) if isinstance(v, tuple) else csv_field(v) for v in values)
