# SPDX-License-Identifier: Apache-2.0
"""Rated data of a pack: from the user, a sidecar or a scenario, completed by its gauge."""

from dataclasses import dataclass, replace

from dronebms.core.chemistry import LIHV, LIPO, Chemistry
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_identity import is_unique, name_of
from smartbattery.snapshot import Identity, Snapshot

PARALLEL = "parallel"
SERIES = "series"
TOPOLOGIES = (PARALLEL, SERIES)
SINGLE_READING_S = 0.95  # gauges measure once a second; polled at 10 Hz, one reading lasts less
REST_C = 0.05  # at rest at or below this current
_HOVER_FRAC = 0.9  # of limp_home_a
LOAD_C = 0.15  # loaded from this current on
CHARGE_C = 0.02  # charging from this current on
MAX_NAME = 200  # characters of the name of a pack, a model or a vehicle
# Of a cell, at rest or as the gauge has it charged: above a full LiPo with the tolerance of its
# charger (50 mV), and not above LiHV with that.
_LIHV_V = 4.26, 4.45
UNKNOWN_CAPACITY_AH = 5.0  # assumed where the rated capacity is unknown


@dataclass(frozen=True, slots=True)
class PackData:
    """Rated data of one pack; `None`: not configured; the gauge or the chemistry may give it."""

    chemistry: Chemistry
    cells: int | None = None
    capacity_mah: float | None = None  # rated
    cutoff_cell_v: float | None = None
    pack_id: str | None = None
    continuous_c: float | None = None  # maker's rating in C, the rated capacity per hour
    burst_c: float | None = None  # for 10 s
    limp_home_a: float | None = None  # least current that keeps the aircraft in the air
    hover_a: float | None = None  # mean current of the planned flight
    planned_s: float | None = None  # duration of the planned flight
    pack_model: str | None = None  # packs of one model have sister packs
    vehicle: str | None = None  # name of the airframe, whose flights share their usual power
    cell: str | None = None  # type of the cells, a row of `known_cells`
    full_seen_v: float | None = None  # that shows LiHV where LiPo is configured, see `seen`

    @property
    def capacity_ah(self) -> float:
        """Rated capacity; `UNKNOWN_CAPACITY_AH` where it is unknown."""
        return UNKNOWN_CAPACITY_AH if self.capacity_mah is None else self.capacity_mah / 1000.0

    @property
    def cutoff_v(self) -> float:
        """Voltage of the weakest cell under load at which the pack is empty."""
        configured = self.cutoff_cell_v
        return self.chemistry.cutoff_cell_v if configured is None else configured

    @property
    def low_v(self) -> float:
        """Voltage of the weakest cell under load at which a warning is due."""
        return self.cutoff_v + (self.chemistry.low_cell_v - self.chemistry.cutoff_cell_v)

    @property
    def expected_hover_a(self) -> float | None:
        """Mean current of a flight by the configuration; None where it has neither current."""
        if self.hover_a is None and self.limp_home_a is not None:
            return _HOVER_FRAC * self.limp_home_a
        return self.hover_a or None  # hover_a of a sidecar may be 0

    @property
    def curve(self) -> Chemistry:
        """Row of the open-circuit curve: of LiHV if its voltage was seen, or of a known cell."""
        if self.full_seen_v is not None:
            return LIHV
        if self.cell is None:
            return self.chemistry
        return replace(self.chemistry, ocv_v=known_cell(self.cell).ocv_v)

    def seen(self, snapshot: Snapshot) -> "PackData":
        """The same data; a LiPo pack with the voltage that LiHV alone has when full, noted so.

        Evidence is each cell above a full LiPo's voltage while it is not charged, or the charging
        voltage that the gauge asks for. A pack voltage alone is none: the number of cells may be
        wrong. Nothing is evidence of less than what is configured.
        """
        if self.chemistry is not LIPO or self.cell is not None or self.full_seen_v is not None:
            return self
        low_v, high_v = _LIHV_V
        volts = snapshot.known_cells_v()
        charging_a = -CHARGE_C * self.capacity_ah
        flows_a = snapshot.current_a
        rests = flows_a is not None and flows_a > charging_a
        known = volts and len(volts) == len(snapshot.cells_v)
        if rests and known and low_v < min(volts) <= max(volts) <= high_v:
            return replace(self, full_seen_v=min(volts))
        cells = self.cells or snapshot.identity.cells
        if cells and snapshot.charging_v and low_v < snapshot.charging_v / cells <= high_v:
            return replace(self, full_seen_v=snapshot.charging_v / cells)
        return self

    def completed(self, identity: Identity) -> "PackData":
        """The same data with cells and capacity from the gauge where they are not configured."""
        if self.cells is not None and self.capacity_mah is not None:
            return self
        cells = identity.cells if self.cells is None else self.cells
        mah = identity.design_mah if self.capacity_mah is None else self.capacity_mah
        return replace(self, cells=cells, capacity_mah=mah)

    def pack_key(self, identity: Identity) -> str | None:
        """Name under which the history of a pack is stored; `None`: nothing is stored.

        A pack without a unique serial number is stored under the configured `pack_id` alone, until
        another pack replaces it.
        """
        if is_unique(identity):
            return name_of(identity)
        return self.pack_id if identity.connection == 0 else None

    def model_key(self, identity: Identity) -> str | None:
        """Name of the model, under which sister packs are found; `None`: the model is unknown.

        The configured `pack_model`, else maker, device, rated capacity, cells and chemistry if the
        first four are all known.
        """
        if self.pack_model is not None:
            return self.pack_model
        known = self.completed(identity)
        cells = known.cells
        mah = known.capacity_mah
        if not (identity.manufacturer and identity.device and cells and mah):
            return None
        kind = f"{mah:.0f} mAh {cells}S {self.chemistry.name}"
        return f"{identity.manufacturer} {identity.device} {kind}"

    def latch_key(self, identity: Identity) -> str | None:
        """Name under which latched limits are stored, of a pack with a doubtful serial number too.

        Of two packs with one name the latch is that of the worse one, until the gauge clears it.
        """
        return name_of(identity) or self.pack_id

    def assumed(self) -> tuple[str, ...]:
        """One sentence for each value that is not configured and is assumed or estimated."""
        notes = []
        if self.capacity_mah is None:
            notes.append("the rated capacity is not given and will be estimated")
        if self.cutoff_cell_v is None:
            notes.append(
                f"the cut-off is not given: {self.cutoff_v:g} V a cell, "
                f"the usual one of {self.chemistry.name}"
            )
        if self.full_seen_v is not None:
            notes.append(
                f"a cell of {self.full_seen_v:.2f} V is no {self.chemistry.name}: the minutes left "
                f"are those of {LIHV.name}, the limits are not until it is configured"
            )
        return tuple(notes)
