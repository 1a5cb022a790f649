"""One gauge on one bus: asks what is due by its pace and turns the answers into a Snapshot.

Reads only; nothing here can write a setting. `poll` never raises `BatteryError`: what did not
arrive, or is not believable, is `None` and counted.
"""

from dataclasses import astuple, replace
from math import ceil, inf

from smartbattery import profiles
from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.cell_count import counted
from smartbattery.errors import BatteryError, IntegrityError, NackError, UnsupportedError
from smartbattery.fields import decode_block
from smartbattery.gauge_state import BEYOND, CELL_FIELDS, Known
from smartbattery.profiles import GENERIC, Ask, BlockAsk, Pec, Profile, Via
from smartbattery.registers import MODE, SERIAL, TEMPERATURE, VOLTAGE, Pace, Register
from smartbattery.smbus import Counts, Wire
from smartbattery.snapshot import BusCounts, Identity, Snapshot

_GONE_AFTER_S = 2.0  # unanswered for so long, the next answer may come from another pack
_UNWATCHED_S = 5.0  # so does one after a gap in which nobody asked
_ROUND_S = 5.0  # everything slow is asked at least this often, however rare the polls
SERIAL_S = 1.0  # so long at most passes a pack for the old one, swapped between two polls
_LEAST_PERIOD_S = 0.001
_REFUSALS = 12  # from a pack that never answered this, but all the rest: it does not have it
_PROVEN = -inf
_NO_CELL_RAW = 0xFFFF
_BOUNDS = {row.field: (row.low, row.high) for row in sbs.WORDS}
_LEAPS = {row.field: row.leap for row in sbs.WORDS}
_DEGC_BOUNDS = TEMPERATURE.low, TEMPERATURE.high


class Gauge:
    """A gauge by its profile.

    Args:
        bus: the wire; this object is its only user while it polls.
        address: 7-bit.
        cells: cells in series when known; otherwise found by asking.
        profile: how this kind of pack departs from plain SBS; None finds it out by reading.
    """

    def __init__(
        self,
        bus: Bus,
        address: int = sbs.ADDRESS,
        *,
        cells: int | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._wire = Wire(bus, address)
        self._told_cells = cells
        self._told_profile = profile
        self._powers = sbs.powers_of(0)
        self._known = Known()
        self._use(profile or GENERIC, cells or 0)

    def poll(self, now_s: float) -> Snapshot:
        """Ask the gauge what is due and return what is known at `now_s`."""
        heard_s = self._known.heard_s
        if self._known.polled_s - heard_s > _GONE_AFTER_S or now_s - heard_s > _UNWATCHED_S:
            self._forget()
        try:
            if self._known.identity is None:
                self._known.identity = self._identify(now_s)
            due = self._due(now_s)
            for ask in (*self._fast, *due):
                self._ask(ask, now_s)
            if not self._known.cells and sbs.DESIGN in due:
                cells = self._find_cells(now_s)
                self._known.identity = replace(self._known.identity, cells=cells or None)
            self._check_who()
        except BatteryError as error:
            # Nothing more is asked on a bus that does not answer: each try may block for long.
            self._known.trouble = str(error)
        return self._snapshot(now_s)

    def known(self) -> Known:
        """Return all that the last poll has left, for another gauge to go on from."""
        return self._known.copy()

    def go_on(self, known: Known) -> Snapshot | None:
        """Ask and decide from now on as the gauge that knew this; return what it last told."""
        self._known = known.copy()
        self._powers = sbs.powers_of(int(known.who.get(sbs.SPECIFICATION.field) or 0))
        self._use(profiles.profile_named(known.profile) or GENERIC, known.cells)
        self._wire.has_pec = known.has_pec
        self._wire.counts = Counts(*astuple(known.counts)[:-1])
        return None if known.told_s is None else known.snapshot(known.told_s)

    def _due(self, now_s: float) -> tuple[Ask, ...]:
        """Return what slow is due: everything at first, then one or a few a poll, and who it is."""
        period_s = max(now_s - self._known.polled_s, _LEAST_PERIOD_S)
        self._known.polled_s = now_s
        count = ceil(len(self._slow) / max(1, int(_ROUND_S / period_s)))
        first, self._known.turn = self._known.turn, (self._known.turn + count) % len(self._slow)
        due = (self._slow + self._slow)[first : first + count]
        if now_s - self._known.serial_s >= SERIAL_S:
            self._known.serial_s, due = now_s, (SERIAL, *due)
        return due

    # ------------------------------------------------------------------ asking

    def _ask(self, ask: Ask, now_s: float) -> int | None:
        """Take in one answer; return its word, None when none came or it is a block."""
        if self._known.refused.get(ask.command, 0) >= _REFUSALS:
            return None
        try:
            if isinstance(ask, BlockAsk):
                self._take_block(ask, self._block(ask), now_s)
                return None
            raw = self._wire.word(ask.command)
            self._known.heard_s = now_s
            self._known.refused[ask.command] = _PROVEN
            self._take_word(ask, raw, now_s)
        except (NackError, IntegrityError, UnsupportedError) as error:
            self._note_refusal(ask, error)
            return None
        return raw

    def _note_refusal(self, ask: Ask, error: NackError | IntegrityError | UnsupportedError) -> None:
        if ask is VOLTAGE:
            self._known.trouble = str(error)
            if not isinstance(error, IntegrityError):
                raise error  # absent: the others would say the same
        elif isinstance(error, NackError) and ask not in self._fast:
            self._known.refused[ask.command] = self._known.refused.get(ask.command, 0) + 1

    def _block(self, ask: BlockAsk) -> bytes:
        if ask.via is Via.MANUFACTURER:
            return self._wire.manufacturer(ask.command, ask.length)
        if ask.via is Via.BARE:
            return self._wire.bare(ask.command, ask.length)
        return self._wire.block(ask.command, ask.length)

    def _take_block(self, ask: BlockAsk, data: bytes, now_s: float) -> None:
        self._known.heard_s = now_s
        self._known.refused[ask.command] = _PROVEN
        values = self._believable(ask, data)
        if any(self._known.leaps(name, value, _leap(name)) for name, value in values.items()):
            again = self._believable(ask, self._block(ask))
            values = {
                name: value
                for name, value in again.items()
                if abs(value - values.get(name, inf)) <= _leap(name)
            }
        for name, value in values.items():
            self._known.keep(name, value, now_s, ask.max_age_s)

    def _believable(self, ask: BlockAsk, data: bytes) -> dict[str, float]:
        values = {}
        for name, value in decode_block(ask.block, data).items():
            low, high = _BOUNDS.get(name) or (_DEGC_BOUNDS if "_degc" in name else (-inf, inf))
            if low <= value <= high:
                values[name] = value
            elif name not in CELL_FIELDS[self._known.cells :]:  # a place that has no cell
                self._known.withheld += 1
        return values

    def _take_word(self, row: Register, raw: int, now_s: float) -> None:
        is_told = raw != row.unknown_raw and (not row.capacity or self._in_mah(now_s))
        power = self._powers[row.scaled_by]
        if row is sbs.CURRENT:
            self._known.drop(BEYOND)
            if row.is_end(raw) and self._wire.word(row.command) == raw:
                self._known.keep(BEYOND, row.scaled(raw, power), now_s, row.max_age_s)
                self._known.drop(row.field)
        value = row.decode(raw, power) if is_told else None
        if value is not None and self._known.leaps(row.field, value, row.leap):
            again = row.decode(self._wire.word(row.command), power)
            value = None if again is None or abs(again - value) > row.leap else again
        if value is not None:
            self._known.keep(row.field, value, now_s, row.max_age_s)
        elif is_told or row.pace is Pace.FAST:  # one word of nonsense ends no fresh value
            self._known.withheld += 1
            if row is VOLTAGE:
                self._known.trouble = f"Voltage 0x{raw:04x} is not believable"
        else:  # the gauge does not know, or counts in 10 mWh: what it said before is over
            self._known.drop(row.field)

    # ------------------------------------------------------------------ who it is

    def _forget(self) -> None:
        """Let nothing of an old pack survive."""
        self._use(self._told_profile or GENERIC, self._told_cells or 0)
        self._known.clear()

    def _use(self, profile: Profile, cells: int) -> None:
        """Read by this profile, and this many cells."""
        self._profile = profile
        self._known.profile, self._known.cells = profile.name, cells
        self._fast, self._slow = profile.fast(cells), profile.slow()

    def _identify(self, now_s: float) -> Identity:
        self._forget()
        specification_raw = self._wire.find_pec()
        if self._profile.pec is not Pec.FOUND:
            self._wire.has_pec = self._profile.pec is Pec.ALWAYS
        self._powers = sbs.powers_of(specification_raw or 0)
        for row in (MODE, VOLTAGE, SERIAL, sbs.DESIGN, sbs.DESIGN_V, sbs.MANUFACTURED):
            self._ask(row, now_s)
        if self._known.last(VOLTAGE.field) is None:  # booting, or zeros from nobody
            raise IntegrityError(f"not identified: {self._known.trouble}")
        texts = {field: self._wire.text(command) for _, field, command in sbs.BLOCKS}
        if self._told_profile is None:
            self._use(
                profiles.profile_of(texts["manufacturer"], texts["device"]), self._known.cells
            )
        cells = self._find_cells(now_s)
        self._known.who = {row.field: self._known.last(row.field) for row in sbs.WHO}
        self._known.who[sbs.SPECIFICATION.field] = specification_raw
        serial = self._known.last(SERIAL.field)
        date_raw = self._known.last(sbs.MANUFACTURED.field)
        return Identity(
            serial=None if serial is None else int(serial),
            manufacturer=texts["manufacturer"],
            device=texts["device"],
            chemistry=texts["chemistry"],
            design_mah=self._known.last(sbs.DESIGN.field),
            design_v=self._known.last(sbs.DESIGN_V.field),
            date=None if date_raw is None else sbs.date_of(int(date_raw)),
            cells=cells or None,
            pec=self._wire.has_pec,
            gauge=self._profile.name,
        )

    def _find_cells(self, now_s: float) -> int:
        """Return the number of cells, and read so many: told, counted by the gauge, or found."""
        profile, cells = self._profile, self._told_cells
        if cells is None and profile.count is not None:
            self._ask(profile.count, now_s)
            cells = int(self._known.last(profile.count.field) or 0)
        if cells is None:
            cells = self._count_cells(now_s)
        elif any(
            isinstance(ask, Register) and self._ask(ask, now_s) is None
            for ask in profile.cells[:cells]
        ):
            cells = 0  # not laid out as it was told: what answers may be other cells than it seems
        cells = min(cells, profile.most_cells)
        self._use(profile, cells)
        return cells

    def _count_cells(self, now_s: float) -> int:
        names = CELL_FIELDS[: self._profile.most_cells]
        for name in names:
            self._known.drop(name)
        doubtful = False
        for ask in self._profile.cells:
            raw = self._ask(ask, now_s)
            if isinstance(ask, BlockAsk):
                doubtful = self._known.last(names[-1]) is None  # its last place is empty
            elif raw is None or raw == _NO_CELL_RAW:
                break
            else:
                doubtful |= self._known.last(ask.field) is None
        return counted(
            [self._known.fresh(name, now_s) for name in names],
            self._known.fresh(VOLTAGE.field, now_s),
            self._known.last(sbs.DESIGN_V.field),
            doubtful=doubtful,
        )

    def _check_who(self) -> None:
        """Start again when the gauge says what the identified pack would not.

        These rows have no `leap`: what is known of them was heard twice, so one wrong word does
        not throw a pack away.
        """
        for row in sbs.WHO:
            if self._known.last(row.field) not in (None, self._known.who[row.field]):
                self._forget()
                self._known.trouble = f"another pack, or another {row.name}: identifying it"
                return

    # ------------------------------------------------------------------ what is known

    def _in_mah(self, now_s: float) -> bool:
        mode_raw = self._known.fresh(MODE.field, now_s)
        return mode_raw is not None and not int(mode_raw) & sbs.MODE_CAPACITY_IN_10MWH

    def _snapshot(self, now_s: float) -> Snapshot:
        spent = self._wire.counts
        self._known.has_pec = self._wire.has_pec
        self._known.counts = BusCounts(
            spent.transfers, spent.nacks, spent.timeouts, spent.pec_errors, self._known.withheld
        )
        return self._known.snapshot(now_s)


def _leap(name: str) -> float:
    """Return the change of a block's value that is believed at once."""
    return _LEAPS.get(name, 0.0 if name.endswith("_raw") else inf)
