# SPDX-License-Identifier: Apache-2.0
"""Fuel gauge driver: identifies a pack, polls its registers by their poll rate, makes Snapshots.

Reads only; there is no code here that writes a setting. `poll` never raises `BatteryError`: a value
that was not received, or is not plausible, is `None` and counted.
"""

from dataclasses import replace
from math import ceil, inf

from smartbattery import profiles
from smartbattery import registers as sbs
from smartbattery.bus import Bus
from smartbattery.cell_count import adds_up, detect_cell_count
from smartbattery.errors import (
    AdapterLimitError,
    BatteryError,
    BusError,
    IntegrityError,
    NackError,
    UnsupportedError,
)
from smartbattery.fields import decode_block
from smartbattery.gauge_state import BEYOND, GaugeState
from smartbattery.profiles import GENERIC, AccessMethod, BlockRead, PecMode, Profile, Query
from smartbattery.registers import MODE, SERIAL, TEMPERATURE, VOLTAGE, PollRate, Register
from smartbattery.smbus import SmbusDevice, TransferCounts
from smartbattery.snapshot import CELL_FIELDS, BusCounts, Identity, Snapshot

_ABSENT_AFTER_S = 2.0  # without a reply: the next one may come from another pack
_MAX_GAP_S = 5.0  # so may the first reply after a gap without polls
ROUND_S = 5.0  # every slow register is read at least this often, however rare the polls
SERIAL_S = 1.0  # longest time for which a pack swapped between two polls goes undetected
_MIN_PERIOD_S = 0.001
_TEXT_REPEATS = 2
_MAX_REFUSALS = 12  # of a command that never answered: pack or adapter cannot do it
_SUPPORTED = -inf  # in place of refusals: the command has answered
_NO_CELL_RAW = 0xFFFF
_IDENTITY = (*sbs.IDENTITY, sbs.MANUFACTURED)
_BOUNDS = {row.field: (row.low, row.high) for row in sbs.WORDS}
_MAX_STEPS = {row.field: row.max_step for row in sbs.WORDS}
_DEGC_BOUNDS = TEMPERATURE.low, TEMPERATURE.high


class Gauge:
    """A fuel gauge at one address of a bus.

    Args:
        bus: used by this object alone while it polls.
        address: 7-bit.
        cells: cells in series; `None`: detected.
        profile: deviations of this kind of pack from plain SBS; `None`: detected.
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
        """Read the registers that are due; the values that are valid at `now_s`."""
        received_s = self._state.received_s
        if self._state.polled_s - received_s > _ABSENT_AFTER_S or now_s - received_s > _MAX_GAP_S:
            self._reset()
        try:
            if self._state.identity is None:
                self._state.identity = self._identify(now_s)
                self._state.identified_s = now_s
            due = self._due(now_s)
            for query in (*self._fast, *due):
                self._read(query, now_s)
            if not self._state.cells and sbs.DESIGN in due:
                cells = self._find_cells(now_s)
                self._state.identity = replace(self._state.identity, cells=cells or None)
            self._check_identity()
        except BatteryError as error:
            # A bus that does not answer is left alone until the next poll: each try may block.
            self._state.trouble = str(error)
        return self._snapshot(now_s)

    def state(self) -> GaugeState:
        """State after the last poll, from which another gauge can continue."""
        return self._state.copy()

    def restore(self, state: GaugeState) -> Snapshot | None:
        """Continue from a saved state; its newest snapshot, `None` when there was none."""
        self._state = state.copy()
        self._powers = sbs.powers_of(int(state.identity_values.get(sbs.SPECIFICATION.field) or 0))
        self._use(profiles.profile_named(state.profile) or GENERIC, state.cells)
        self._device.has_pec = state.has_pec
        counts = state.counts
        self._device.counts = TransferCounts(
            counts.transfers, counts.nacks, counts.timeouts, counts.pec_errors
        )
        return None if state.snapshot_s is None else state.snapshot(state.snapshot_s)

    def _due(self, now_s: float) -> tuple[Query, ...]:
        """Slow registers that are due: all at first, then one or a few a poll; and the serial."""
        period_s = max(now_s - self._state.polled_s, _MIN_PERIOD_S)
        new_round = now_s // ROUND_S != self._state.polled_s // ROUND_S
        self._state.polled_s = now_s
        count = ceil(len(self._slow) / max(1, int(ROUND_S / period_s)))
        first = self._state.next_slow
        self._state.next_slow = (first + count) % len(self._slow)
        due = (self._slow + self._slow)[first : first + count]
        if now_s - self._state.serial_s >= SERIAL_S:
            self._state.serial_s = now_s
            due = (SERIAL, *due)
        # Last: recordings of an earlier version end the poll here.
        return (*due, sbs.MANUFACTURED) if new_round else due

    # ------------------------------------------------------------------ reading

    def _read(self, query: Query, now_s: float) -> int | None:
        """Read and store one register or block; the raw word, `None` for a block or no reply."""
        if self._state.refused.get(query.command, 0) >= _MAX_REFUSALS:
            return None
        try:
            if isinstance(query, BlockRead):
                self._store_block(query, self._block(query), now_s)
                return None
            raw = self._device.read_word(query.command)
            self._state.received_s = now_s
            self._state.refused[query.command] = _SUPPORTED
            self._store_word(query, raw, now_s)
        except (NackError, IntegrityError, UnsupportedError) as error:
            if self._is_absent(query, error):
                raise  # every other read would fail too
            return None
        return raw

    def _is_absent(
        self, query: Query, error: NackError | IntegrityError | UnsupportedError
    ) -> bool:
        """Count a refusal; whether the gauge is absent.

        It does not raise the error: a frame that has it as a variable would be kept by its
        traceback, and both by each other until garbage is searched.
        """
        if query is VOLTAGE:
            self._state.trouble = str(error)
            return not isinstance(error, IntegrityError)
        is_refusal = isinstance(error, NackError) and query not in self._fast
        if is_refusal or isinstance(error, AdapterLimitError):
            self._state.refused[query.command] = self._state.refused.get(query.command, 0) + 1
        return False

    def _block(self, query: BlockRead) -> bytes:
        if query.access is AccessMethod.MANUFACTURER:
            return self._device.read_manufacturer(query.command, query.length)
        if query.access is AccessMethod.RAW:
            return self._device.read_raw(query.command, query.length)
        return self._device.read_block(query.command, query.length)

    def _store_block(self, query: BlockRead, data: bytes, now_s: float) -> None:
        state = self._state
        state.received_s = now_s
        state.refused[query.command] = _SUPPORTED
        values = self._plausible(query, data, now_s)
        if any(state.needs_confirmation(name, v, _max_step(name)) for name, v in values.items()):
            again = self._plausible(query, self._block(query), now_s)
            values = {
                name: value
                for name, value in again.items()
                if abs(value - values.get(name, inf)) <= _max_step(name)
            }
        for name, value in values.items():
            state.store(name, value, now_s, query.max_age_s)

    def _plausible(self, query: BlockRead, data: bytes, now_s: float) -> dict[str, float]:
        """Values of a block within their bounds; the others are counted."""
        values = {}
        for name, value in decode_block(query.block, data).items():
            low, high = _BOUNDS.get(name) or (_DEGC_BOUNDS if "_degc" in name else (-inf, inf))
            if low <= value <= high:
                values[name] = value
            elif name not in CELL_FIELDS[self._state.cells :]:  # beyond the last cell
                self._state.withhold(name, now_s)
        return values

    def _store_word(self, row: Register, raw: int, now_s: float) -> None:
        state = self._state
        is_known = raw != row.unknown_raw and (not row.capacity or self._in_mah(now_s))
        power = self._powers[row.scaled_by]
        if row is sbs.CURRENT:
            state.drop(BEYOND)
            if row.is_saturated(raw) and self._device.read_word(row.command) == raw:
                state.store(BEYOND, row.scaled(raw, power), now_s, row.max_age_s)
                state.drop(row.field)
        value = row.decode(raw, power) if is_known else None
        if value is not None and state.needs_confirmation(row.field, value, row.max_step):
            value = self._confirmed(row, value, power, now_s)
        if value is not None:
            state.store(row.field, value, now_s, row.max_age_s)
        elif is_known or row.poll_rate is PollRate.FAST:
            state.withhold(row.field, now_s)
            if row is VOLTAGE:
                state.trouble = f"Voltage 0x{raw:04x} is not plausible"
        else:  # the gauge reports "unknown", or counts in 10 mWh: the last value no longer applies
            state.drop(row.field)

    def _confirmed(self, row: Register, value: float, power: int, now_s: float) -> float | None:
        """The second reading of a value, `None` if it differs.

        Other programs switch the unit of capacity for their own reads (kernel sbs-battery): before
        the second reading of a capacity BatteryMode is read again.
        """
        if row.capacity and not self._is_still_in_mah(now_s):
            return None
        again = row.decode(self._device.read_word(row.command), power)
        return None if again is None or abs(again - value) > row.max_step else again

    # ------------------------------------------------------------------ identification

    def _reset(self) -> None:
        """Discard all state of the previous pack."""
        self._use(self._configured_profile or GENERIC, self._configured_cells or 0)
        self._state.clear()

    def _use(self, profile: Profile, cells: int) -> None:
        """Read the registers of this profile and this number of cells."""
        self._profile = profile
        self._state.profile = profile.name
        self._state.cells = cells
        self._fast = profile.fast(cells)
        self._slow = profile.slow()

    def _identify(self, now_s: float) -> Identity:
        self._reset()
        specification_raw = self._device.detect_pec()
        if self._profile.pec is not PecMode.DETECT:
            self._device.has_pec = self._profile.pec is PecMode.ALWAYS
        self._powers = sbs.powers_of(specification_raw or 0)
        for row in (MODE, VOLTAGE, SERIAL, sbs.DESIGN, sbs.DESIGN_V, sbs.MANUFACTURED):
            self._read(row, now_s)
        if self._state.last_value(VOLTAGE.field) is None:  # starting up, or zeros without a gauge
            raise IntegrityError(f"not identified: {self._state.trouble}")
        texts = {field: self._text(command) for _, field, command in sbs.TEXTS}
        if self._configured_profile is None:
            profile = profiles.profile_of(texts["manufacturer"], texts["device"])
            self._use(profile, self._state.cells)
        cells = self._find_cells(now_s)
        self._state.identity_values = {
            row.field: self._state.last_value(row.field) for row in _IDENTITY
        }
        self._state.identity_values[sbs.SPECIFICATION.field] = specification_raw
        self._state.identity_values[MODE.field] = self._state.last_value(MODE.field)
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

    def _text(self, command: int) -> str | None:
        """Text block; without a PEC two equal readings in a row confirm it, or it is unknown.

        A flipped bit in a name would make another pack of this one.
        """
        text = self._device.read_text(command)
        if self._device.has_pec:
            return text
        for _ in range(_TEXT_REPEATS):
            before = text
            try:
                text = self._device.read_text(command)
            except BusError:  # the end of a recording that an earlier version made
                return before
            if text == before:
                return text
        return None

    def _find_cells(self, now_s: float) -> int:
        """Find the number of cells and read these from now on; 0 when it is uncertain.

        The configured count, else the gauge's own, else the one detected from the cell voltages.
        """
        profile = self._profile
        cells = self._configured_cells
        if cells is None and profile.count is not None:
            self._read(profile.count, now_s)
            cells = int(self._state.last_value(profile.count.field) or 0)
        if cells is None:
            cells = self._detect_cells(now_s) or 0
        elif self._has_other_cells(profile.cells[:cells], now_s):
            cells = 0  # the registers contradict the count: a voltage may be that of another cell
        cells = min(cells, profile.max_cells)
        self._use(profile, cells)
        return cells

    def _has_other_cells(self, queries: tuple[Query, ...], now_s: float) -> bool:
        """Whether words do not belong to the cells of the count: a refused one, or mostly 0 V.

        A BQ40Z80 by another name has words for cells 4 to 7 alone, where a plain gauge has those
        for 1 to 4; without a cell they read 0. A dead cell is one of few, or the sum includes it.
        """
        raws = [self._read(query, now_s) for query in queries if isinstance(query, Register)]
        words = [raw for raw in raws if raw is not None]
        if len(words) < len(raws):
            return True
        pack_v = self._state.valid_value(VOLTAGE.field, now_s)
        sum_v = sum(map(sbs.CELLS[0].scaled, words))
        return words.count(0) > len(words) / 2 and (pack_v is None or not adds_up(sum_v, pack_v))

    def _detect_cells(self, now_s: float) -> int | None:
        names = CELL_FIELDS[: self._profile.max_cells]
        for name in names:
            self._state.drop(name)
        ambiguous = False
        for query in self._profile.cells:
            raw = self._read(query, now_s)
            if isinstance(query, BlockRead):
                ambiguous = self._state.last_value(names[-1]) is None  # its last cell is missing
            elif raw is None or raw == _NO_CELL_RAW:
                break
            else:
                ambiguous |= self._state.last_value(query.field) is None
        return detect_cell_count(
            [self._state.valid_value(name, now_s) for name in names],
            self._state.valid_value(VOLTAGE.field, now_s),
            self._state.last_value(sbs.DESIGN_V.field),
            ambiguous=ambiguous,
        )

    def _check_identity(self) -> None:
        """Identify again when a register differs from that of the identified pack.

        These rows have `max_step` 0: two readings confirm each change, so that a single wrong word
        does not discard the pack. The scales of a pack do not change: once they have been read
        again as identified, other ones are a fault, and are not used.
        """
        state = self._state
        for row in _IDENTITY:
            value = state.last_value(row.field)
            known = state.identity_values.get(row.field, value)
            if row is sbs.SPECIFICATION and known is not None:
                again = state.read_at_s.get(row.field, -inf) > state.identified_s
                state.scales_confirmed |= again and value == known
                if state.scales_confirmed and sbs.differ_in_scale(int(value or known), int(known)):
                    continue
            if value not in (None, known):
                self._reset()
                self._state.trouble = f"another pack, or another {row.name}: identifying it"
                return

    # ------------------------------------------------------------------ snapshot

    def _in_mah(self, now_s: float) -> bool:
        mode_raw = self._state.valid_value(MODE.field, now_s)
        return mode_raw is not None and not int(mode_raw) & sbs.MODE_CAPACITY_IN_10MWH

    def _is_still_in_mah(self, now_s: float) -> bool:
        try:
            return self._read(MODE, now_s) is not None and self._in_mah(now_s)
        except BusError:  # a recording that an earlier version made has no such reading
            return True

    def _snapshot(self, now_s: float) -> Snapshot:
        counts = self._device.counts
        state = self._state
        state.has_pec = self._device.has_pec
        state.counts = BusCounts(
            counts.transfers, counts.nacks, counts.timeouts, counts.pec_errors, state.withheld
        )
        return state.snapshot(now_s)


def _max_step(name: str) -> float:
    """Change of a block's value that is accepted without a second reading."""
    return _MAX_STEPS.get(name, 0.0 if name.endswith("_raw") else inf)
