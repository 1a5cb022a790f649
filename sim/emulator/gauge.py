# SPDX-License-Identifier: Apache-2.0
"""SBS 1.1 gauge emulator: measurements of a simulated pack, and the bytes of its replies.

The rows of the driver encode words and blocks, as its kind has them (`gauge_kinds`); replies of a
plain gauge end in a PEC. Its errors are those of real gauges: steps of 10 mA, 1 mV and 0.1 K, gain
and offset of the current, an outdated full charge capacity, a charge that is smoothed, sticks and
drops to 0 at the end. BatteryMode can be written; every other write is refused.

Source: Smart Battery Data Specification 1.1; four measurements a second as TI's parts (SLUUBT5C).
"""

import math
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from sim.emulator.capacity_learning import RESTING_A, CapacityLearning, ReportedCapacity
from sim.plant.ageing import ageing_of
from sim.plant.cell import SECONDS_PER_HOUR
from sim.plant.gauge_kinds import blocks_of, gauge_kind, words_of
from sim.plant.pack import Pack
from sim.plant.scenario import Scenario
from smartbattery import registers as sbs
from smartbattery.errors import NackError
from smartbattery.fields import encode_block
from smartbattery.pec import pec, read_prefix
from smartbattery.profiles import AccessMethod, BlockRead
from smartbattery.registers import CELLS, Register

_AVERAGE_S = 60.0
_SENSOR_LAG_S = 20.0
_CURRENT_DECIMALS = 2  # 10 mA
_OPEN_THERMISTOR_DEGC = -55.0  # TI: -50 degC or less is an open thermistor
_DISCHARGING = sbs.BATTERY_STATUS.mask("DSG")  # also at rest (TI SLUUCH2)
_FULLY_CHARGED = sbs.BATTERY_STATUS.mask("FC")
_FULLY_DISCHARGED = sbs.BATTERY_STATUS.mask("FD")
_FULL_FRAC = 0.98
_RELEASED = b"\xff"  # a host that reads on after the last byte
_NO_CELL_V = 65.535  # 0xFFFF
_STARTING_S = 2.0  # from a reset until the values are valid
_ASLEEP_AFTER_S = 5.0
_WORD_BYTES = 2
_MODE_COMMAND = bytes((sbs.MODE.command,))
_MODE_WRITABLE = 0xE300  # CAPM, CHGM, AM, PB, CC
_ERROR_PCT = 0.05  # of MaxError for each cycle since the last update (TI SLUUCH2)
_TEN_MWH_PER_MAH_V = 0.1
_SBS_1_1 = 2
_SBS_1_1_WITH_PEC = sbs.PEC_VERSION
_CHEMISTRY_TEXTS = {"lipo": "LiP", "lihv": "LiP", "li-ion": "LION", "lifepo4": "LiFe"}
_TEXTS = {command: field for _, field, command in sbs.TEXTS}


def word_reply(address: int, command: int, raw: int, *, with_pec: bool) -> bytes:
    """Bytes of a word on the bus, low byte first."""
    return _with_pec(address, command, raw.to_bytes(2, "little"), with_pec=with_pec)


def block_reply(address: int, command: int, data: bytes, *, with_pec: bool) -> bytes:
    """Bytes of a block on the bus, count first."""
    return _with_pec(address, command, bytes((len(data), *data)), with_pec=with_pec)


def _with_pec(address: int, command: int, data: bytes, *, with_pec: bool) -> bytes:
    return data + bytes((pec(data, read_prefix(address, command)),)) if with_pec else data


class VirtualGauge:
    """The device at one address; `update` measures, `reply` answers from the last measurement.

    Attributes:
        refused_writes: number of writes, those of BatteryMode included.
        sends_pec: whether its replies end in a PEC.
        learning: its capacity learning.
        open_thermistor: whether the wire of the thermistor is broken.
    """

    def __init__(
        self, scenario: Scenario, pack: Pack, random: np.random.Generator, seed: int
    ) -> None:
        self._spec = spec = scenario.gauge
        kind = gauge_kind(spec.kind)
        self._words = words_of(kind)
        self._blocks = blocks_of(kind)
        self.sends_pec = spec.pec if kind.pec is None else kind.pec
        self._address = sbs.ADDRESS
        self._pack = pack
        self._random = random
        self.refused_writes = 0
        self.open_thermistor = False
        self._powers = sbs.powers_of(spec.ip_scale << 12 | spec.v_scale << 8)
        # It learned the capacity some cycles ago, without the loss since then.
        cells = scenario.pack
        rated_ah = cells.rated_mah / 1000.0
        held_frac = ageing_of(cells.chemistry).capacity_left_frac(cells.cycles, cells.age_days)
        held_frac *= cells.actual_capacity_frac
        unlearned_frac = min(spec.learned_cycles_ago / max(spec.cycles, 1), 1.0)
        learned_ah = rated_ah * (held_frac + max(1.0 - held_frac, 0.0) * unlearned_frac)
        charge_frac = float(np.mean(pack.cells.charge_frac)) + spec.start_error_frac
        full_ah = learned_ah * (1.0 + spec.full_error_frac)
        self.learning = CapacityLearning(rated_ah, full_ah, cells.chemistry)
        self._start_ah = full_ah * min(max(charge_frac, 0.0), 1.0)
        self._reported = ReportedCapacity(spec, self._start_ah)
        self._wake_s = spec.wake_s
        self._addressed_s = -math.inf
        self._counted_ah = 0.0  # drawn since the start, as measured
        self._drawn_ah = 0.0  # drawn since the start
        self._updated_s = 0.0
        self._minute: deque[tuple[float, float]] = deque()  # (time, charge) of the last minute
        self._sensor_degc = float(np.max(pack.cells.temperature_degc))
        self._replies: dict[int, bytes] = {}
        self._texts = {
            "manufacturer": spec.manufacturer or kind.manufacturer,
            "device": spec.device or kind.device,
            "chemistry": _CHEMISTRY_TEXTS[scenario.pack.chemistry],
        }
        self._ready_s = 0.0
        self._values = self._constant_values(scenario, seed)
        self._values |= {row.field: 0.0 for row in CELLS[: kind.zero_cells]}
        self.update(0.0)

    def _constant_values(self, scenario: Scenario, seed: int) -> dict[str, float]:
        spec = self._spec
        rated = scenario.pack
        made = spec.manufactured
        version = _SBS_1_1_WITH_PEC if spec.pec else _SBS_1_1
        charging_v = rated.cells * rated.row.full_cell_v  # its word has no scale
        known = {} if charging_v > sbs.CHARGING_V.high else {sbs.CHARGING_V.field: charging_v}
        return known | {
            sbs.MAX_ERROR.field: spec.max_error_pct + _ERROR_PCT * spec.learned_cycles_ago,
            sbs.MODE.field: spec.mode_raw,
            sbs.CYCLES.field: spec.cycles,
            sbs.SPECIFICATION.field: spec.ip_scale << 12 | spec.v_scale << 8 | version << 4 | 1,
            sbs.DESIGN.field: rated.rated_mah,
            sbs.DESIGN_V.field: rated.cells * float(np.median(rated.row.ocv_v)),
            sbs.MANUFACTURED.field: made.day | made.month << 5 | (made.year - 1980) << 9,
            sbs.CHARGING_A.field: rated.row.charge_c * rated.rated_mah / 1000.0,
            sbs.SERIAL.field: 1 + (spec.serial - 1 + seed) % 0xFFFF,
            sbs.FULL.field: self.learning.full_ah * 1000.0,
            "cells": rated.cells,
        }

    @property
    def values(self) -> Mapping[str, float]:
        """Values of the last measurement, by the field names of the driver's rows."""
        return MappingProxyType(self._values)

    @property
    def starting(self) -> bool:
        """Whether its values are not yet valid after a reset."""
        return self._updated_s < self._ready_s

    def reset(self) -> None:
        """Reset as at power-on: the charge counted since then is lost."""
        self._counted_ah = 0.0
        self._reported = ReportedCapacity(self._spec, self._start_ah)
        self.learning.last_reading = None
        self._minute.clear()
        self._ready_s = self._updated_s + _STARTING_S
        self._gauge_charge(self._updated_s, self._values["current_a"])
        self._replies.clear()

    def update(self, now_s: float, blind_cell: int | None = None, offset_a: float = 0.0) -> None:
        """Measure; `blind_cell` reads 0xFFFF this time, `offset_a` is added to the current."""
        spec = self._spec
        pack = self._pack
        values = self._values
        dt_s = now_s - self._updated_s
        noise = self._random.standard_normal(len(pack.cells_v) + 3)
        drawn_ah = float(pack.drawn_ah)
        if dt_s > 0.0:
            mean_a = (drawn_ah - self._drawn_ah) * SECONDS_PER_HOUR / dt_s
        else:
            mean_a = float(pack.current_a)
        measured_a = mean_a * (1.0 + spec.current_gain_error_frac) + spec.current_offset_a
        measured_a += float(noise[0]) * spec.current_noise_a + offset_a
        self._counted_ah += measured_a * dt_s / SECONDS_PER_HOUR
        self._drawn_ah = drawn_ah
        self._updated_s = now_s
        values["current_a"] = round(measured_a, _CURRENT_DECIMALS)
        values["voltage_v"] = float(pack.voltage_v) + float(noise[1]) * spec.voltage_noise_v
        cells_v = (pack.cells_v + noise[3:] * spec.voltage_noise_v).tolist()
        for row, cell_v in zip(CELLS, cells_v, strict=False):
            values[row.field] = cell_v
        self._follow_temperature(dt_s, float(noise[2]))
        if self.open_thermistor:
            values["temperature_degc"] = _OPEN_THERMISTOR_DEGC
        self._gauge_charge(now_s, measured_a, dt_s)
        if blind_cell is not None:
            values[CELLS[blind_cell].field] = _NO_CELL_V
        self._replies.clear()

    def _follow_temperature(self, dt_s: float, noise: float) -> None:
        hottest_degc = float(np.maximum.reduce(self._pack.cells.temperature_degc))
        lag = 1.0 - math.exp(-dt_s / _SENSOR_LAG_S)
        self._sensor_degc += (hottest_degc - self._sensor_degc) * lag
        noise_k = noise * self._spec.temperature_noise_degc
        self._values["temperature_degc"] = self._sensor_degc + noise_k
        self._values["external_degc"] = hottest_degc
        self._values["chip_degc"] = self._sensor_degc

    def _gauge_charge(self, now_s: float, measured_a: float, dt_s: float = 0.0) -> None:
        """Compute charge, average current, time to empty and status from the charge counted."""
        minute = self._minute
        values = self._values
        minute.append((now_s, self._counted_ah))
        while now_s - minute[0][0] > _AVERAGE_S:
            minute.popleft()
        since_s, since_ah = minute[0]
        average_a = measured_a
        if now_s > since_s:
            average_a = (self._counted_ah - since_ah) * SECONDS_PER_HOUR / (now_s - since_s)
        if -RESTING_A < average_a < RESTING_A:
            self._rest(now_s)
        elif self.learning.rest_s is not None:
            self.learning.end_rest()
        full_ah = self.learning.full_ah
        remaining_ah = min(max(self._start_ah - self._counted_ah, 0.0), full_ah)
        remaining_ah = self._reported.reported_ah(remaining_ah, full_ah, dt_s, self._pack)
        values["average_a"] = average_a
        values["remaining_mah"] = remaining_ah * 1000.0
        values["soc_pct"] = remaining_ah / full_ah * 100.0
        if average_a > RESTING_A:
            minutes = math.floor(remaining_ah / average_a * 60.0)
            values["time_to_empty_s"] = min(minutes * 60.0, sbs.TIME_TO_EMPTY.high)
        else:
            values.pop("time_to_empty_s", None)  # not discharging
        status = 0 if self.starting else sbs.STATUS_INITIALIZED
        status |= _DISCHARGING if average_a > -RESTING_A else 0
        status |= _FULLY_CHARGED if remaining_ah >= _FULL_FRAC * full_ah else 0
        status |= _FULLY_DISCHARGED if remaining_ah <= 0.0 else 0
        values["status_raw"] = status

    def _rest(self, now_s: float) -> None:
        """Continue a rest, and correct the charge when it gives a reading."""
        charge_frac = self.learning.rest(now_s, self._counted_ah, self._pack)
        if charge_frac is None:
            return
        full_ah = self.learning.full_ah
        self._values[sbs.FULL.field] = full_ah * 1000.0
        if self.learning.updates:
            self._values[sbs.MAX_ERROR.field] = self._spec.max_error_pct
        self._start_ah = charge_frac * full_ah + self._counted_ah

    def alarm(self, bits: int) -> None:
        """Set flags of BatteryStatus until the next measurement."""
        self._values["status_raw"] = int(self._values["status_raw"]) | bits

    def addressed(self) -> float:
        """Seconds of clock stretching after its address: a sleeping gauge wakes up first."""
        last_s = self._addressed_s
        self._addressed_s = self._updated_s
        return self._wake_s if self._addressed_s - last_s > _ASLEEP_AFTER_S else 0.0

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Reply to a read of one command with `rx_len` bytes.

        Raises:
            NackError: a write, or a command that this gauge does not have.
        """
        if not tx:
            return _RELEASED * rx_len  # an address without a command
        if len(tx) != 1 or not rx_len:
            self.refused_writes += 1
            if self._accepts_mode(tx, rx_len):
                return b""
            raise NackError(f"0x{self._address:02x} refuses a write: {tx.hex(' ')}")
        command = tx[0]
        whole = self._replies.get(command)
        if whole is None:
            whole = self._replies[command] = self._whole_reply(command)
        return whole[:rx_len].ljust(rx_len, _RELEASED)

    def _accepts_mode(self, tx: bytes, rx_len: int) -> bool:
        """Whether this is a write of BatteryMode, with or without a PEC; it takes effect."""
        end = 1 + _WORD_BYTES
        if rx_len or tx[:1] != _MODE_COMMAND or len(tx) not in (end, end + 1):
            return False
        if len(tx) > end and pec((self._address << 1, *tx[:end])) != tx[end]:
            return False
        written = int.from_bytes(tx[1:end], "little") & _MODE_WRITABLE
        read_only = int(self._values[sbs.MODE.field]) & ~_MODE_WRITABLE
        self._values[sbs.MODE.field] = read_only | written
        self._replies.clear()
        return True

    def _whole_reply(self, command: int) -> bytes:
        row = self._words.get(command)
        raw = None if row is None else self._raw(row)
        if raw is not None:
            return word_reply(self._address, command, raw, with_pec=self.sends_pec)
        if command in self._blocks:
            return self._block(self._blocks[command])
        if command in _TEXTS:
            text = self._texts[_TEXTS[command]].encode("ascii")
            return block_reply(self._address, command, text, with_pec=self.sends_pec)
        raise NackError(f"0x{self._address:02x} has no command 0x{command:02x}")

    def _block(self, query: BlockRead) -> bytes:
        data = encode_block(query.block, self._values)
        reply = _with_pec if query.access is AccessMethod.RAW else block_reply
        return reply(self._address, query.command, data, with_pec=self.sends_pec)

    def _raw(self, row: Register) -> int | None:
        value = self._values.get(row.field)
        if value is None:
            return row.unknown_raw
        if row.capacity and int(self._values[sbs.MODE.field]) & sbs.MODE_CAPACITY_IN_10MWH:
            value *= self._values[sbs.DESIGN_V.field] * _TEN_MWH_PER_MAH_V
        return row.encode(value, self._powers[row.scaled_by])
