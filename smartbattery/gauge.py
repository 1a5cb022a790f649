"""One gauge on one bus: polls registers by their pace and turns words into a Snapshot.

Reads only; nothing here can write to a gauge. `poll` never raises `BatteryError`: what did not
arrive, or is not believable, is `None` and counted.
"""

from dataclasses import replace
from math import ceil, inf

from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, IntegrityError, NackError
from smartbattery.registers import (
    DESIGN,
    DESIGN_V,
    MANUFACTURED,
    MODE,
    SERIAL,
    SPECIFICATION,
    VOLTAGE,
    Register,
)
from smartbattery.snapshot import UNIDENTIFIED, BusCounts, Identity, Snapshot
from smartbattery.wire import Wire

_GONE_AFTER_S = 2.0  # unanswered for so long, the next answer may come from another pack
_UNWATCHED_S = 5.0  # so does one after a gap in which nobody asked
_SUM_TOLERANCE_FRAC = 0.03  # half a cell of sixteen: one that is missing is noticed
_NO_CELL_RAW = 0xFFFF
_ROUND_S = 5.0  # every slow register is asked at least this often, however rare the polls
_LEAST_PERIOD_S = 0.001
# Asked in turn too: a swapped pack is noticed, and what was read wrongly at first is mended.
_WHO = (SPECIFICATION, SERIAL, DESIGN)
_TURNS = (*sbs.SLOW, *_WHO)


class Gauge:
    """A plain SBS 1.1 gauge; cells as words from 0x3F downwards.

    Args:
        bus: the wire; this object is its only user while it polls.
        address: 7-bit.
        cells: cells in series when known; otherwise found by asking.
    """

    def __init__(self, bus: Bus, address: int = sbs.ADDRESS, *, cells: int | None = None) -> None:
        self._wire = Wire(bus, address)
        self._told_cells = cells
        self._withheld = 0
        self._trouble: str | None = None
        self._identity: Identity | None = None
        self._powers = sbs.powers_of(0)
        self._cells = sbs.CELLS[: cells or 0]
        self._values: dict[str, float] = {}
        self._read_at_s: dict[str, float] = {}
        self._who: dict[str, float | None] = {}  # the values that the identity was made of
        self._turn = 0
        self._polled_s = -inf  # since it is identified
        self._heard_s = 0.0

    def poll(self, now_s: float) -> Snapshot:
        """Ask the gauge what is due and return what is known at `now_s`."""
        unanswered_s = self._polled_s - self._heard_s
        if unanswered_s > _GONE_AFTER_S or now_s - self._heard_s > _UNWATCHED_S:
            self._forget()
        try:
            if self._identity is None:
                self._identity = self._identify(now_s)
            due = self._due(now_s)
            for row in (*sbs.FAST, *self._cells, *due):
                self._read(row, now_s)
            if not self._cells and SERIAL in due:
                self._cells = sbs.CELLS[: self._count_cells(now_s)]
                self._identity = replace(self._identity, cells=len(self._cells) or None)
            self._check_who(now_s)
        except BatteryError as error:
            # Nothing more is asked on a bus that does not answer: each try may block for long.
            self._trouble = str(error)
        return self._snapshot(now_s)

    def _due(self, now_s: float) -> tuple[Register, ...]:
        """Return the slow registers whose turn it is: all at first, then one or a few a poll."""
        period_s = max(now_s - self._polled_s, _LEAST_PERIOD_S)
        self._polled_s = now_s
        count = ceil(len(_TURNS) / max(1, int(_ROUND_S / period_s)))
        first, self._turn = self._turn, (self._turn + count) % len(_TURNS)
        return (_TURNS + _TURNS)[first : first + count]

    def _read(self, row: Register, now_s: float) -> int | None:
        """Take in one register and return its word, None when none came."""
        try:
            raw = self._wire.word(row.command)
        except (NackError, IntegrityError) as error:
            if row is VOLTAGE:
                self._trouble = str(error)
                if isinstance(error, NackError):
                    raise  # absent: the other registers would say the same
            return None
        self._heard_s = now_s
        is_told = raw != row.unknown_raw and (not row.capacity or self._in_mah(now_s))
        value = row.decode(raw, self._powers[row.scaled_by]) if is_told else None
        if value is not None:
            self._values[row.field] = value
            self._read_at_s[row.field] = now_s
        elif is_told:
            self._withheld += 1
            if row is VOLTAGE:
                self._trouble = f"Voltage 0x{raw:04x} is not believable"
        else:  # the gauge does not know, or counts in 10 mWh: what it said before is over
            self._drop(row)
        return raw

    def _drop(self, row: Register) -> None:
        self._values.pop(row.field, None)
        self._read_at_s.pop(row.field, None)

    # ------------------------------------------------------------------ who it is

    def _forget(self) -> None:
        """Let nothing of an old pack survive."""
        self._identity = None
        self._cells = sbs.CELLS[: self._told_cells or 0]
        self._values.clear()
        self._read_at_s.clear()
        self._polled_s = -inf

    def _identify(self, now_s: float) -> Identity:
        self._forget()
        specification_raw = self._wire.find_pec()
        self._powers = sbs.powers_of(specification_raw or 0)
        for row in (MODE, VOLTAGE, SERIAL, DESIGN, DESIGN_V, MANUFACTURED):
            self._read(row, now_s)
        if VOLTAGE.field not in self._values:  # booting, or zeros from nobody
            raise IntegrityError(f"not identified: {self._trouble}")
        cells = self._told_cells or self._count_cells(now_s)
        self._cells = sbs.CELLS[:cells]
        texts = {field: self._wire.text(command) for _, field, command in sbs.BLOCKS}
        self._who = {row.field: self._values.get(row.field) for row in _WHO}
        self._who[SPECIFICATION.field] = specification_raw
        serial = self._values.get(SERIAL.field)
        date_raw = self._values.get(MANUFACTURED.field)
        return Identity(
            serial=None if serial is None else int(serial),
            manufacturer=texts["manufacturer"],
            device=texts["device"],
            chemistry=texts["chemistry"],
            design_mah=self._values.get(DESIGN.field),
            design_v=self._values.get(DESIGN_V.field),
            date=None if date_raw is None else sbs.date_of(int(date_raw)),
            cells=cells or None,
            pec=self._wire.has_pec,
        )

    def _count_cells(self, now_s: float) -> int:
        """Return how many cells answer from 0x3F downwards; 0 when that is not certain.

        One cell too few is how packs have been lost. A word that is no cell's voltage may be a
        dead cell or a place without one: nobody can tell. One that did not come is missed by the
        sum: the cells found must add up to the pack's own voltage.
        """
        found_v = []
        for row in sbs.CELLS:
            raw = self._read(row, now_s)
            if raw is None or raw == _NO_CELL_RAW:
                break
            cell_v = row.decode(raw)
            if cell_v is None:
                return 0
            found_v.append(cell_v)
        pack_v = self._fresh(VOLTAGE, now_s)
        if pack_v is None or abs(sum(found_v) - pack_v) > _SUM_TOLERANCE_FRAC * pack_v:
            return 0
        return len(found_v)

    def _check_who(self, now_s: float) -> None:
        """Start again when the gauge says twice what the identified pack would not."""
        for row in _WHO:
            value = self._values.get(row.field)
            if value is None or value == self._who[row.field]:
                continue
            self._drop(row)  # one wrong word must not throw a pack away: ask again
            self._read(row, now_s)
            if self._values.get(row.field) == value:
                self._forget()
                self._trouble = f"another pack, or another {row.name}: identifying it"
                return

    # ------------------------------------------------------------------ what is known

    def _in_mah(self, now_s: float) -> bool:
        mode_raw = self._fresh(MODE, now_s)
        return mode_raw is not None and not int(mode_raw) & sbs.MODE_CAPACITY_IN_10MWH

    def _fresh(self, row: Register, now_s: float) -> float | None:
        at_s = self._read_at_s.get(row.field)
        if at_s is None or now_s - at_s > row.max_age_s:
            return None
        return self._values[row.field]

    def _snapshot(self, now_s: float) -> Snapshot:
        def fresh(row: Register) -> float | None:
            return self._fresh(row, now_s)

        voltage_v, status_raw = fresh(VOLTAGE), fresh(sbs.STATUS)
        counts = self._wire.counts
        return Snapshot(
            t_s=now_s,
            voltage_v=voltage_v,
            current_a=fresh(sbs.CURRENT),
            temperature_degc=fresh(sbs.TEMPERATURE),
            cells_v=tuple([fresh(row) for row in self._cells]),
            average_a=fresh(sbs.AVERAGE),
            max_error_pct=fresh(sbs.MAX_ERROR),
            soc_pct=fresh(sbs.RELATIVE_SOC),
            remaining_mah=fresh(sbs.REMAINING),
            full_mah=fresh(sbs.FULL),
            time_to_empty_s=fresh(sbs.TIME_TO_EMPTY),
            cycles=fresh(sbs.CYCLES),
            status_raw=None if status_raw is None else int(status_raw),
            identity=self._identity or UNIDENTIFIED,
            read_at_s=dict(self._read_at_s),
            counts=BusCounts(
                counts.transfers, counts.nacks, counts.timeouts, counts.pec_errors, self._withheld
            ),
            trouble=self._trouble if voltage_v is None else None,
        )
