"""One gauge on one bus: asks what is due by its pace and turns the answers into a Snapshot.

Reads only; nothing here can write a setting. `poll` never raises `BatteryError`: what did not
arrive, or is not believable, is `None` and counted.
"""

from dataclasses import astuple, replace
from math import ceil, inf

from smartbattery import profiles
from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.cell_count import detect_cell_count
from smartbattery.errors import BatteryError, IntegrityError, NackError, UnsupportedError
from smartbattery.fields import decode_block
from smartbattery.gauge_state import BEYOND, CELL_FIELDS, GaugeState
from smartbattery.profiles import GENERIC, AccessMethod, BlockRead, PecMode, Profile, Query
from smartbattery.registers import MODE, SERIAL, TEMPERATURE, VOLTAGE, PollRate, Register
from smartbattery.smbus import SmbusDevice, TransferCounts
from smartbattery.snapshot import BusCounts, Identity, Snapshot

_ABSENT_AFTER_S = 2.0  # unanswered for so long, the next answer may come from another pack
_MAX_GAP_S = 5.0  # so does one after a gap in which nobody asked
_ROUND_S = 5.0  # everything slow is asked at least this often, however rare the polls
SERIAL_S = 1.0  # so long at most passes a pack for the old one, swapped between two polls
_LEAST_PERIOD_S = 0.001
_REFUSALS = 12  # from a pack that never answered this, but all the rest: it does not have it
_PROVEN = -inf
_NO_CELL_RAW = 0xFFFF
_BOUNDS = {row.field: (row.low, row.high) for row in sbs.WORDS}
_MAX_STEPS = {row.field: row.max_step for row in sbs.WORDS}
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
        self._device = SmbusDevice(bus, address)
        self._configured_cells = cells
        self._configured_profile = profile
        self._powers = sbs.powers_of(0)
        self._state = GaugeState()
        self._use(profile or GENERIC, cells or 0)

    def poll(self, now_s: float) -> Snapshot:
        """Ask the gauge what is due and return what is known at `now_s`."""
        received_s = self._state.received_s
        if self._state.polled_s - received_s > _ABSENT_AFTER_S or now_s - received_s > _MAX_GAP_S:
            self._reset()
        try:
            if self._state.identity is None:
                self._state.identity = self._identify(now_s)
            due = self._due(now_s)
            for ask in (*self._fast, *due):
                self._read(ask, now_s)
            if not self._state.cells and sbs.DESIGN in due:
                cells = self._find_cells(now_s)
                self._state.identity = replace(self._state.identity, cells=cells or None)
            self._check_identity()
        except BatteryError as error:
            # Nothing more is asked on a bus that does not answer: each try may block for long.
            self._state.trouble = str(error)
        return self._snapshot(now_s)

    def state(self) -> GaugeState:
        """Return all that the last poll has left, for another gauge to go on from."""
        return self._state.copy()

    def restore(self, known: GaugeState) -> Snapshot | None:
        """Ask and decide from now on as the gauge that knew this; return what it last told."""
        self._state = known.copy()
        self._powers = sbs.powers_of(int(known.identity_values.get(sbs.SPECIFICATION.field) or 0))
        self._use(profiles.profile_named(known.profile) or GENERIC, known.cells)
        self._device.has_pec = known.has_pec
        self._device.counts = TransferCounts(*astuple(known.counts)[:-1])
        return None if known.snapshot_s is None else known.snapshot(known.snapshot_s)

    def _due(self, now_s: float) -> tuple[Query, ...]:
        """Return what slow is due: everything at first, then one or a few a poll, and who it is."""
        period_s = max(now_s - self._state.polled_s, _LEAST_PERIOD_S)
        self._state.polled_s = now_s
        count = ceil(len(self._slow) / max(1, int(_ROUND_S / period_s)))
        first, self._state.next_slow = (
            self._state.next_slow,
            (self._state.next_slow + count) % len(self._slow),
        )
        due = (self._slow + self._slow)[first : first + count]
        if now_s - self._state.serial_s >= SERIAL_S:
            self._state.serial_s, due = now_s, (SERIAL, *due)
        return due

    # ------------------------------------------------------------------ asking

    def _read(self, ask: Query, now_s: float) -> int | None:
        """Take in one answer; return its word, None when none came or it is a block."""
        if self._state.refused.get(ask.command, 0) >= _REFUSALS:
            return None
        try:
            if isinstance(ask, BlockRead):
                self._store_block(ask, self._block(ask), now_s)
                return None
            raw = self._device.read_word(ask.command)
            self._state.received_s = now_s
            self._state.refused[ask.command] = _PROVEN
            self._store_word(ask, raw, now_s)
        except (NackError, IntegrityError, UnsupportedError) as error:
            self._count_refusal(ask, error)
            return None
        return raw

    def _count_refusal(
        self, ask: Query, error: NackError | IntegrityError | UnsupportedError
    ) -> None:
        if ask is VOLTAGE:
            self._state.trouble = str(error)
            if not isinstance(error, IntegrityError):
                raise error  # absent: the others would say the same
        elif isinstance(error, NackError) and ask not in self._fast:
            self._state.refused[ask.command] = self._state.refused.get(ask.command, 0) + 1

    def _block(self, ask: BlockRead) -> bytes:
        if ask.access is AccessMethod.MANUFACTURER:
            return self._device.read_manufacturer(ask.command, ask.length)
        if ask.access is AccessMethod.RAW:
            return self._device.read_raw(ask.command, ask.length)
        return self._device.read_block(ask.command, ask.length)

    def _store_block(self, ask: BlockRead, data: bytes, now_s: float) -> None:
        self._state.received_s = now_s
        self._state.refused[ask.command] = _PROVEN
        values = self._plausible(ask, data)
        if any(
            self._state.needs_confirmation(name, value, _max_step(name))
            for name, value in values.items()
        ):
            again = self._plausible(ask, self._block(ask))
            values = {
                name: value
                for name, value in again.items()
                if abs(value - values.get(name, inf)) <= _max_step(name)
            }
        for name, value in values.items():
            self._state.store(name, value, now_s, ask.max_age_s)

    def _plausible(self, ask: BlockRead, data: bytes) -> dict[str, float]:
        values = {}
        for name, value in decode_block(ask.block, data).items():
            low, high = _BOUNDS.get(name) or (_DEGC_BOUNDS if "_degc" in name else (-inf, inf))
            if low <= value <= high:
                values[name] = value
            elif name not in CELL_FIELDS[self._state.cells :]:  # a place that has no cell
                self._state.withheld += 1
        return values

    def _store_word(self, row: Register, raw: int, now_s: float) -> None:
        is_known = raw != row.unknown_raw and (not row.capacity or self._in_mah(now_s))
        power = self._powers[row.scaled_by]
        if row is sbs.CURRENT:
            self._state.drop(BEYOND)
            if row.is_saturated(raw) and self._device.read_word(row.command) == raw:
                self._state.store(BEYOND, row.scaled(raw, power), now_s, row.max_age_s)
                self._state.drop(row.field)
        value = row.decode(raw, power) if is_known else None
        if value is not None and self._state.needs_confirmation(row.field, value, row.max_step):
            again = row.decode(self._device.read_word(row.command), power)
            value = None if again is None or abs(again - value) > row.max_step else again
        if value is not None:
            self._state.store(row.field, value, now_s, row.max_age_s)
        elif is_known or row.poll_rate is PollRate.FAST:  # one word of nonsense ends no fresh value
            self._state.withheld += 1
            if row is VOLTAGE:
                self._state.trouble = f"Voltage 0x{raw:04x} is not believable"
        else:  # the gauge does not know, or counts in 10 mWh: what it said before is over
            self._state.drop(row.field)

    # ------------------------------------------------------------------ who it is

    def _reset(self) -> None:
        """Let nothing of an old pack survive."""
        self._use(self._configured_profile or GENERIC, self._configured_cells or 0)
        self._state.clear()

    def _use(self, profile: Profile, cells: int) -> None:
        """Read by this profile, and this many cells."""
        self._profile = profile
        self._state.profile, self._state.cells = profile.name, cells
        self._fast, self._slow = profile.fast(cells), profile.slow()

    def _identify(self, now_s: float) -> Identity:
        self._reset()
        specification_raw = self._device.detect_pec()
        if self._profile.pec is not PecMode.DETECT:
            self._device.has_pec = self._profile.pec is PecMode.ALWAYS
        self._powers = sbs.powers_of(specification_raw or 0)
        for row in (MODE, VOLTAGE, SERIAL, sbs.DESIGN, sbs.DESIGN_V, sbs.MANUFACTURED):
            self._read(row, now_s)
        if self._state.last_value(VOLTAGE.field) is None:  # booting, or zeros from nobody
            raise IntegrityError(f"not identified: {self._state.trouble}")
        texts = {field: self._device.read_text(command) for _, field, command in sbs.BLOCKS}
        if self._configured_profile is None:
            self._use(
                profiles.profile_of(texts["manufacturer"], texts["device"]), self._state.cells
            )
        cells = self._find_cells(now_s)
        self._state.identity_values = {
            row.field: self._state.last_value(row.field) for row in sbs.IDENTITY
        }
        self._state.identity_values[sbs.SPECIFICATION.field] = specification_raw
        serial = self._state.last_value(SERIAL.field)
        date_raw = self._state.last_value(sbs.MANUFACTURED.field)
        return Identity(
            serial=None if serial is None else int(serial),
            manufacturer=texts["manufacturer"],
            device=texts["device"],
            chemistry=texts["chemistry"],
            design_mah=self._state.last_value(sbs.DESIGN.field),
            design_v=self._state.last_value(sbs.DESIGN_V.field),
            date=None if date_raw is None else sbs.date_of(int(date_raw)),
            cells=cells or None,
            pec=self._device.has_pec,
            gauge=self._profile.name,
        )

    def _find_cells(self, now_s: float) -> int:
        """Return the number of cells, and read so many: told, counted by the gauge, or found."""
        profile, cells = self._profile, self._configured_cells
        if cells is None and profile.count is not None:
            self._read(profile.count, now_s)
            cells = int(self._state.last_value(profile.count.field) or 0)
        if cells is None:
            cells = self._detect_cells(now_s)
        elif any(
            isinstance(ask, Register) and self._read(ask, now_s) is None
            for ask in profile.cells[:cells]
        ):
            cells = 0  # not laid out as it was told: what answers may be other cells than it seems
        cells = min(cells, profile.max_cells)
        self._use(profile, cells)
        return cells

    def _detect_cells(self, now_s: float) -> int:
        names = CELL_FIELDS[: self._profile.max_cells]
        for name in names:
            self._state.drop(name)
        doubtful = False
        for ask in self._profile.cells:
            raw = self._read(ask, now_s)
            if isinstance(ask, BlockRead):
                doubtful = self._state.last_value(names[-1]) is None  # its last place is empty
            elif raw is None or raw == _NO_CELL_RAW:
                break
            else:
                doubtful |= self._state.last_value(ask.field) is None
        return detect_cell_count(
            [self._state.valid_value(name, now_s) for name in names],
            self._state.valid_value(VOLTAGE.field, now_s),
            self._state.last_value(sbs.DESIGN_V.field),
            doubtful=doubtful,
        )

    def _check_identity(self) -> None:
        """Start again when the gauge says what the identified pack would not.

        These rows have no `max_step`: what is known of them was heard twice, so one wrong word does
        not throw a pack away.
        """
        for row in sbs.IDENTITY:
            if self._state.last_value(row.field) not in (
                None,
                self._state.identity_values[row.field],
            ):
                self._reset()
                self._state.trouble = f"another pack, or another {row.name}: identifying it"
                return

    # ------------------------------------------------------------------ what is known

    def _in_mah(self, now_s: float) -> bool:
        mode_raw = self._state.valid_value(MODE.field, now_s)
        return mode_raw is not None and not int(mode_raw) & sbs.MODE_CAPACITY_IN_10MWH

    def _snapshot(self, now_s: float) -> Snapshot:
        spent = self._device.counts
        self._state.has_pec = self._device.has_pec
        self._state.counts = BusCounts(
            spent.transfers, spent.nacks, spent.timeouts, spent.pec_errors, self._state.withheld
        )
        return self._state.snapshot(now_s)


def _max_step(name: str) -> float:
    """Return the change of a block's value that is believed at once."""
    return _MAX_STEPS.get(name, 0.0 if name.endswith("_raw") else inf)
