"""An SBS 1.1 gauge: what it measures of a pack, and the bytes it answers with.

Words and blocks are encoded with the rows that the driver decodes with, as its kind has them
(`sim.vendors`); a plain one's replies end in a PEC. It errs as gauges do: steps of 10 mA, 1 mV and
0.1 K, gain and offset of the current, a stale full charge. Reads only: every write is refused and
counted.

Source: Smart Battery Data Specification 1.1; four measurements a second as TI's parts (SLUUBT5C).
"""

import math
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from sim.cell import SECONDS_PER_HOUR
from sim.pack import Pack
from sim.scenario import Scenario
from sim.vendors import blocks_of, kind_named, words_of
from smartbattery import registers as sbs
from smartbattery.bits import encode_block
from smartbattery.errors import NackError
from smartbattery.pec import pec, read_prefix
from smartbattery.registers import CELLS, Register
from smartbattery.vendors import BlockAsk, Via

_AVERAGED_S = 60.0
_SENSOR_LAG_S = 20.0
_CURRENT_DECIMALS = 2  # 10 mA
_DISCHARGING = 1 << 6  # BatteryStatus: also at rest (TI SLUUCH2)
_FULLY_CHARGED = 1 << 5
_FULLY_DISCHARGED = 1 << 4
_STILL_FULL_FRAC = 0.98
_RESTING_A = 0.05  # what is less is neither discharging nor charging
_RELEASED = b"\xff"  # what a host reads on after the last byte
_NO_CELL_V = 65.535  # 0xFFFF
_STARTING_S = 2.0  # from a reset until the values can be used
_SBS_1_1, _SBS_1_1_WITH_PEC = 2, sbs.PEC_VERSION
_CHEMISTRY_TEXTS = {"lipo": "LiP", "lihv": "LiP", "li-ion": "LION", "lifepo4": "LiFe"}
_TEXTS = {command: field for _, field, command in sbs.BLOCKS}


def word_reply(address: int, command: int, raw: int, *, with_pec: bool) -> bytes:
    """Return the bytes of a word on the wire, low byte first."""
    return _closed(address, command, raw.to_bytes(2, "little"), with_pec=with_pec)


def block_reply(address: int, command: int, data: bytes, *, with_pec: bool) -> bytes:
    """Return the bytes of a block on the wire, count first."""
    return _closed(address, command, bytes((len(data), *data)), with_pec=with_pec)


def _closed(address: int, command: int, data: bytes, *, with_pec: bool) -> bytes:
    return data + bytes((pec(data, read_prefix(address, command)),)) if with_pec else data


class VirtualGauge:
    """The device at one address; `update` measures, `reply` answers from the last measurement.

    Attributes:
        refused_writes: how often something else than a read was asked.
        sends_pec: whether its replies end in one.
    """

    def __init__(
        self, scenario: Scenario, pack: Pack, random: np.random.Generator, seed: int
    ) -> None:
        self._spec = spec = scenario.gauge
        kind = kind_named(spec.kind)
        self._words, self._blocks = words_of(kind), blocks_of(kind)
        self.sends_pec = spec.pec if kind.pec is None else kind.pec
        self._address = sbs.ADDRESS
        self._pack = pack
        self._random = random
        self.refused_writes = 0
        self._powers = sbs.powers_of(spec.ip_scale << 12)
        # It was taught the sound pack: a cell that has failed since is news to it.
        taught_ah = scenario.pack.rated_mah / 1000.0 * scenario.pack.actual_capacity_frac
        charge_frac = float(np.mean(pack.cells.charge_frac)) + spec.start_error_frac
        self._full_ah = taught_ah * (1.0 + spec.full_error_frac)
        self._start_ah = self._full_ah * min(max(charge_frac, 0.0), 1.0)
        self._counted_ah = 0.0  # what it believes was drawn since the start
        self._drawn_ah = 0.0  # what was
        self._updated_s = 0.0
        self._minute: deque[tuple[float, float]] = deque()  # (time, counted) of the last minute
        self._sensor_degc = float(np.max(pack.cells.temperature_degc))
        self._replies: dict[int, bytes] = {}
        self._texts = {
            "manufacturer": spec.manufacturer or kind.manufacturer,
            "device": spec.device or kind.device,
            "chemistry": _CHEMISTRY_TEXTS[scenario.pack.chemistry],
        }
        self._ready_s = 0.0
        self._values = self._constant_values(scenario, seed)
        self._values |= {row.field: 0.0 for row in CELLS[: kind.zeros]}
        self.update(0.0)

    def _constant_values(self, scenario: Scenario, seed: int) -> dict[str, float]:
        spec, rated = self._spec, scenario.pack
        made = spec.manufactured
        version = _SBS_1_1_WITH_PEC if spec.pec else _SBS_1_1
        return {
            sbs.MAX_ERROR.field: spec.max_error_pct,
            sbs.MODE.field: 0.0,  # capacities in mAh
            sbs.CYCLES.field: spec.cycles,
            sbs.SPECIFICATION.field: spec.ip_scale << 12 | version << 4 | 1,
            sbs.DESIGN.field: rated.rated_mah,
            sbs.DESIGN_V.field: rated.cells * float(np.median(rated.row.ocv_v)),
            sbs.MANUFACTURED.field: made.day | made.month << 5 | (made.year - 1980) << 9,
            sbs.SERIAL.field: 1 + (spec.serial - 1 + seed) % 0xFFFF,
            sbs.FULL.field: self._full_ah * 1000.0,
            "cells": rated.cells,
        }

    @property
    def values(self) -> Mapping[str, float]:
        """What was last measured or worked out, under the names of the driver's rows."""
        return MappingProxyType(self._values)

    @property
    def starting(self) -> bool:
        """Whether a reset was so short ago that its values are not to be used."""
        return self._updated_s < self._ready_s

    def reset(self) -> None:
        """Start again as at power-on: what has been drawn since then is forgotten."""
        self._counted_ah = 0.0
        self._minute.clear()
        self._ready_s = self._updated_s + _STARTING_S
        self._gauge_charge(self._updated_s, self._values["current_a"])
        self._replies.clear()

    def update(self, now_s: float, blind_cell: int | None = None) -> None:
        """Measure; `blind_cell` is one whose voltage comes out as 0xFFFF this time."""
        spec, pack, values = self._spec, self._pack, self._values
        dt_s = now_s - self._updated_s
        noise = self._random.standard_normal(len(pack.cells_v) + 3)
        drawn_ah = float(pack.drawn_ah)
        if dt_s > 0.0:
            mean_a = (drawn_ah - self._drawn_ah) * SECONDS_PER_HOUR / dt_s
        else:
            mean_a = float(pack.current_a)
        seen_a = mean_a * (1.0 + spec.current_gain_error_frac) + spec.current_offset_a
        seen_a += float(noise[0]) * spec.current_noise_a
        self._counted_ah += seen_a * dt_s / SECONDS_PER_HOUR
        self._drawn_ah, self._updated_s = drawn_ah, now_s
        values["current_a"] = round(seen_a, _CURRENT_DECIMALS)
        values["voltage_v"] = float(pack.voltage_v) + float(noise[1]) * spec.voltage_noise_v
        cells_v = (pack.cells_v + noise[3:] * spec.voltage_noise_v).tolist()
        for row, cell_v in zip(CELLS, cells_v, strict=False):
            values[row.field] = cell_v
        self._follow_temperature(dt_s, float(noise[2]))
        self._gauge_charge(now_s, seen_a)
        if blind_cell is not None:
            values[CELLS[blind_cell].field] = _NO_CELL_V
        self._replies.clear()

    def _follow_temperature(self, dt_s: float, noise: float) -> None:
        hottest_degc = float(np.maximum.reduce(self._pack.cells.temperature_degc))
        lag = 1.0 - math.exp(-dt_s / _SENSOR_LAG_S)
        self._sensor_degc += (hottest_degc - self._sensor_degc) * lag
        shown_degc = self._sensor_degc + noise * self._spec.temperature_noise_degc
        self._values["temperature_degc"] = shown_degc
        self._values["external_degc"] = hottest_degc

    def _gauge_charge(self, now_s: float, seen_a: float) -> None:
        """Work out charge, averages, time to empty and status from what was counted."""
        minute, values = self._minute, self._values
        minute.append((now_s, self._counted_ah))
        while now_s - minute[0][0] > _AVERAGED_S:
            minute.popleft()
        since_s, since_ah = minute[0]
        average_a = seen_a
        if now_s > since_s:
            average_a = (self._counted_ah - since_ah) * SECONDS_PER_HOUR / (now_s - since_s)
        remaining_ah = min(max(self._start_ah - self._counted_ah, 0.0), self._full_ah)
        values["average_a"] = average_a
        values["remaining_mah"] = remaining_ah * 1000.0
        values["soc_pct"] = remaining_ah / self._full_ah * 100.0
        if average_a > _RESTING_A:
            minutes = remaining_ah / average_a * 60.0
            values["time_to_empty_s"] = math.floor(minutes) * 60.0
        else:
            values.pop("time_to_empty_s", None)  # not discharging
        status = 0 if self.starting else sbs.STATUS_INITIALIZED
        status |= _DISCHARGING if average_a > -_RESTING_A else 0
        status |= _FULLY_CHARGED if remaining_ah >= _STILL_FULL_FRAC * self._full_ah else 0
        status |= _FULLY_DISCHARGED if remaining_ah <= 0.0 else 0
        values["status_raw"] = status

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Return `rx_len` bytes to a read of one command.

        Raises:
            NackError: a write, or a command that this gauge does not have.
        """
        if not tx and not rx_len:
            return b""  # only its address was called
        if len(tx) != 1 or not rx_len:
            self.refused_writes += 1
            raise NackError(f"0x{self._address:02x} takes no write: {tx.hex(' ')}")
        command = tx[0]
        whole = self._replies.get(command)
        if whole is None:
            whole = self._replies[command] = self._whole_reply(command)
        return whole[:rx_len].ljust(rx_len, _RELEASED)

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
        raise NackError(f"0x{self._address:02x} does not know command 0x{command:02x}")

    def _block(self, ask: BlockAsk) -> bytes:
        data = encode_block(ask.block, self._values)
        reply = _closed if ask.via is Via.BARE else block_reply
        return reply(self._address, ask.command, data, with_pec=self.sends_pec)

    def _raw(self, row: Register) -> int | None:
        value = self._values.get(row.field)
        if value is None:
            return row.unknown_raw
        return row.encode(value, self._powers[row.scaled_by])
