"""One gauge on one bus: polls registers by their pace and turns words into a Snapshot.

Reads only; nothing here can write to a gauge. `poll` never raises `BatteryError`: what did not
arrive, or is not believable, is `None` and counted.
"""

from dataclasses import replace
from math import ceil

from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.errors import BatteryError, IntegrityError, NackError
from smartbattery.registers import DESIGN, DESIGN_V, MANUFACTURED, MODE, SERIAL, VOLTAGE, Register
from smartbattery.snapshot import UNIDENTIFIED, BusCounts, Identity, Snapshot
from smartbattery.wire import Wire

_GONE_AFTER_S = 2.0  # silence after which the next answer may come from another pack
_SUM_TOLERANCE_FRAC = 0.05  # cells found must add up to the pack, or their number is unknown
_ROUND_S = 5.0  # every slow register is asked at least this often, however rare the polls
_TURNS = (*sbs.SLOW, SERIAL)  # the serial number is asked in turn: a swapped pack is noticed


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
        self._cells: tuple[Register, ...] = ()
        self._values: dict[str, float] = {}
        self._read_at_s: dict[str, float] = {}
        self._turn = 0
        self._polled_s: float | None = None
        self._heard_s: float | None = None

    def poll(self, now_s: float) -> Snapshot:
        """Ask the gauge what is due and return what is known at `now_s`."""
        if self._heard_s is not None and now_s - self._heard_s > _GONE_AFTER_S:
            self._forget()
        try:
            if self._identity is None:
                self._identity = self._identify(now_s)
            for row in (*sbs.FAST, *self._cells, *self._due(now_s)):
                self._read(row, now_s)
            self._check_serial(self._identity)
        except BatteryError as error:
            # Nothing more is asked on a bus that does not answer: each try may block for long.
            self._trouble = str(error)
        return self._snapshot(now_s)

    def _due(self, now_s: float) -> tuple[Register, ...]:
        """Return the slow registers whose turn it is: all at first, then one or a few a poll."""
        last_s, self._polled_s = self._polled_s, now_s
        if last_s is None:
            return _TURNS
        count = min(len(_TURNS), max(1, ceil(len(_TURNS) * (now_s - last_s) / _ROUND_S)))
        first, self._turn = self._turn, (self._turn + count) % len(_TURNS)
        return (_TURNS + _TURNS)[first : first + count]

    def _read(self, row: Register, now_s: float) -> None:
        try:
            raw = self._wire.word(row.command)
        except (NackError, IntegrityError) as error:
            self._trouble = str(error)
            if row is VOLTAGE and isinstance(error, NackError):
                raise  # absent: the other registers would say the same
            return
        self._heard_s = now_s
        value = row.decode(raw, self._powers[row.scaled_by])
        if row.capacity and not self._in_mah(now_s):
            value = None  # the unit is 10 mWh or unknown: not a charge
        if value is None:
            self._withheld += raw != row.unknown_raw
        else:
            self._values[row.field] = value
            self._read_at_s[row.field] = now_s

    # ------------------------------------------------------------------ who it is

    def _forget(self) -> None:
        """Let nothing of an old pack survive."""
        self._identity = None
        self._cells = ()
        self._values.clear()
        self._read_at_s.clear()
        self._polled_s = None
        self._heard_s = None

    def _identify(self, now_s: float) -> Identity:
        self._forget()
        self._powers = sbs.powers_of(self._wire.find_pec())
        for row in (MODE, VOLTAGE, SERIAL, DESIGN, DESIGN_V, MANUFACTURED):
            self._read(row, now_s)
        cells = self._told_cells or self._count_cells(now_s)
        self._cells = sbs.CELLS[:cells]
        texts = {field: self._wire.text(command) for _, field, command in sbs.BLOCKS}
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
        """Return how many cells answer from 0x3F downwards; 0 when they do not make the pack.

        A dead cell reads like an absent one, and one cell too few is how packs have been lost:
        the cells found must add up to the pack's own voltage.
        """
        count = 0
        for row in sbs.CELLS:
            self._read(row, now_s)
            if row.field not in self._values:
                break
            count += 1
        pack_v = self._values.get(VOLTAGE.field)
        sum_v = sum(self._values[row.field] for row in sbs.CELLS[:count])
        if pack_v is None or abs(sum_v - pack_v) > _SUM_TOLERANCE_FRAC * pack_v:
            return 0
        return count

    def _check_serial(self, identity: Identity) -> None:
        """Start again when the serial number says that this is another pack."""
        serial = self._values.get(SERIAL.field)
        if serial is None or serial == identity.serial:
            return
        if identity.serial is None:
            self._identity = replace(identity, serial=int(serial))
        # Without a PEC one wrong word must not throw a pack away: ask again.
        elif self._wire.has_pec or self._wire.word(SERIAL.command) == serial:
            self._forget()
        else:
            self._values[SERIAL.field] = identity.serial

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
