# SPDX-License-Identifier: Apache-2.0
"""Records of a recording: the values, and the line of JSON of each.

    {"batteries": [...], ...}   start: rated data, rules, and the state of each gauge at that time
    ["f", {...}]                flight plan of the vehicle in the steps that follow
    ["p", 0, 12.3, [...]]       poll of battery 0 at 12.3 s with its transfers
    ["s", 0, {...}]             snapshot of battery 0, of a source without transfers
    ["t", 12.3, {...}]          step of the loop at 12.3 s with this vehicle state

docs/recording.md describes every key. Times are seconds of the loop's clock.
"""

import json
import logging
import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    WrapSerializer,
)

from dronebms.core.errors import RecordingError
from dronebms.core.flight_plan import FlightPlan
from dronebms.core.pack_data import PARALLEL
from dronebms.core.service_defaults import AUTO
from dronebms.core.state import (
    MAX_BYTES,
    StoredFlightPlan,
    StoredPackData,
    adapter_of,
    from_json,
    to_json,
)
from dronebms.core.toml_schema import GaugeName
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.learning.learned_json import (
    MALFORMED,
    recalled_from_json,
    recalled_to_json,
)
from dronebms.estimation.learning.learned_pack import Recalled
from dronebms.protection.rules import NO_RULES, Rules
from smartbattery.bus_trace import Transfer
from smartbattery.errors import IntegrityError
from smartbattery.gauge_state import GaugeState
from smartbattery.snapshot import MAX_CELLS, Snapshot

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_log = logging.getLogger(__name__)


# Keys of the file, where the field of `GaugeState` has another name.
_GAUGE_KEYS = {
    "identity_values": "who",
    "next_slow": "turn",
    "received_s": "heard_s",
    "snapshot_s": "told_s",
}
_GAUGE_FIELDS = {key: name for name, key in _GAUGE_KEYS.items()}


def _gauge_row(state: object, dump: SerializerFunctionWrapHandler) -> object:
    row = dump(state)
    return row and {_GAUGE_KEYS.get(name, name): value for name, value in row.items()}


def _gauge_fields(row: object) -> object:
    if not isinstance(row, dict):
        return row
    return {_GAUGE_FIELDS.get(key, key): value for key, value in row.items()}


def _recalled_row(recalled: Recalled | None) -> object:
    return recalled and recalled_to_json(recalled)


def _recalled_of(row: Any) -> Recalled | None:  # noqa: ANN401 - any JSON value
    return None if row is None else recalled_from_json(row)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A battery of a recording: rated data, address and gauge, with which it is replayed."""

    pack_data: Annotated[StoredPackData, Field(alias="facts")]
    address: Annotated[int, Field(ge=0, le=0x7F)]
    gauge: GaugeName = AUTO
    # State of its gauge; None: not polled yet.
    known: Annotated[
        GaugeState | None, WrapSerializer(_gauge_row), BeforeValidator(_gauge_fields)
    ] = None
    # Learned in earlier flights of pack, sister packs and vehicle; None: none was identified.
    recalled: Annotated[
        Recalled | None, PlainValidator(_recalled_of), PlainSerializer(_recalled_row)
    ] = None


@dataclass(frozen=True, slots=True)
class Start:
    """Record: the batteries and rules, with which a replay can begin here."""

    batteries: tuple[Recorded, ...]
    rules: Rules = NO_RULES
    topology: str = PARALLEL
    t_s: float | None = None  # of the previous step
    # State of an earlier run that this one continues from (`pipeline.stored_parts`).
    restart: dict[str, Any] | None = None
    plan_crc: int | None = None  # CRC-32 of the line with the flight plan; None: no plan


@dataclass(frozen=True, slots=True)
class Poll:
    """Record: a poll of battery `index`."""

    index: int
    t_s: float
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """Record: what a source without transfers has given for battery `index`."""

    index: int
    snapshot: Snapshot

    @property
    def t_s(self) -> float:
        """Time of the snapshot."""
        return self.snapshot.t_s


@dataclass(frozen=True, slots=True)
class Step:
    """Record: a step of the loop."""

    t_s: float
    vehicle: VehicleState


@dataclass(frozen=True, slots=True)
class Planned:
    """Record: the flight plan of the vehicle in the steps that follow; a part of each when read."""

    plan: FlightPlan | None


Record: TypeAlias = Start | Poll | Shown | Step
_OF_A_SOURCE = {field.name for field in fields(Snapshot)} - {"rejected", "disputed", "other_pack"}
_MAX_VALUE = 2.0**32
# In their order; the links of this computer decide nothing, and a plan has its own record.
_NOT_IN_A_STEP = ("link_trouble", "can_trouble", "second_sender", "telemetry_links", "plan")
_VEHICLE = {field.name: None for field in fields(VehicleState) if field.name not in _NOT_IN_A_STEP}


def text_of(record: Record | Planned) -> bytes:
    """A record as a line."""
    row: object
    if isinstance(record, Poll):
        transfers = [transfer.to_json() for transfer in record.transfers]
        row = ["p", record.index, record.t_s, transfers]
    elif isinstance(record, Shown):
        shown = adapter_of(Snapshot).dump_python(
            record.snapshot, mode="json", exclude_defaults=True
        )
        row = ["s", record.index, shown]
    elif isinstance(record, Step):
        every = ((name, getattr(record.vehicle, name)) for name in _VEHICLE)
        known = {name: value for name, value in every if value is not None}
        row = ["t", record.t_s, known]
    elif isinstance(record, Planned):
        plan = record.plan
        row = ["f", plan and _plan_row(plan)]
    else:
        row = adapter_of(Start).dump_python(record, by_alias=True)
    return _ENCODER.encode(row).encode() + b"\n"


def _plan_row(plan: FlightPlan) -> object:
    return adapter_of(StoredFlightPlan).dump_python(plan, mode="json", exclude_defaults=True)


def plan_line(plan: FlightPlan | None) -> bytes:
    """The record of a flight plan as a line.

    Raises:
        RecordingError: a reader would refuse it.
    """
    line = text_of(Planned(plan))
    record_of(line, "the flight plan of the vehicle")
    return line


def record_of(line: bytes, place: str) -> Record | Planned:
    """The record of a line.

    Args:
        line: with or without its end.
        place: of the line, for the error.

    Raises:
        RecordingError: the line is no record.
    """
    try:
        match from_json(line, MAX_BYTES, never=True):
            case ["p", int(index), int() | float() as t_s, [*transfers]] if math.isfinite(t_s):
                return Poll(index, t_s, tuple(Transfer.from_json(row) for row in transfers))
            case ["s", int(index), dict(row)]:
                return Shown(index, _snapshot(row))
            case ["t", int() | float() as t_s, dict(known)] if (
                math.isfinite(t_s) and known.keys() <= _VEHICLE.keys()
            ):
                return Step(t_s, _vehicle(known))
            case ["f", None]:
                return Planned(None)
            case ["f", dict(row)]:
                # From JSON, because only there a strict validation accepts a list for a tuple.
                return Planned(
                    adapter_of(StoredFlightPlan).validate_json(to_json(row), strict=True)
                )
            case {"batteries": _} as row:
                if row.get("kept") is not None:
                    _log.warning("%s: the state before a restart is of an older version", place)
                start: Start = adapter_of(Start).validate_python(row)
                return start
    except (*MALFORMED, IndexError, RecursionError, IntegrityError) as error:
        what = f"{error}".splitlines()[0]
        raise RecordingError(f"{place} has an invalid record: {what:.80}") from error
    raise RecordingError(f"{place} has a record of an unknown kind")


def _snapshot(row: dict[str, object]) -> Snapshot:
    """A snapshot as a source gives it: with the types of its fields, and numbers of a battery."""
    # From JSON, because only there a strict validation accepts a list for a tuple.
    snapshot: Snapshot = adapter_of(Snapshot).validate_json(to_json(row), strict=True)
    numbers = [value for value in row.values() if isinstance(value, int | float)]
    cells_v = snapshot.known_cells_v()
    if len(snapshot.cells_v) > MAX_CELLS or any(abs(x) > _MAX_VALUE for x in (*numbers, *cells_v)):
        raise ValueError("a value that no battery has")
    if not row.keys() <= _OF_A_SOURCE:
        raise ValueError("a field that no source gives")
    return snapshot


def _vehicle(known: dict[str, object]) -> VehicleState:
    """State of a vehicle whose values have the types of their fields and are finite."""
    if not known:
        return UNKNOWN_VEHICLE
    if -math.inf in known.values():
        raise ValueError("a value of the vehicle is not finite")
    state: VehicleState = adapter_of(VehicleState).validate_python(known)
    return state
