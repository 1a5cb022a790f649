# SPDX-License-Identifier: Apache-2.0
"""BQ40 emulator: manufacturer access, data blocks and protections on top of a plain gauge.

A part in front of a `VirtualGauge`, which answers all other commands. It starts sealed; its factory
keys unseal it, and it then answers direct reads and accepts switches. A protection that trips sets
its flags, but the pack stays connected. Selectors that act do so here as on a drone: shutdown and
reset work on a sealed part; unknown selectors are refused.

Units and signs as in `smartbattery.bq40`, whose rows encode every reply. Sources: TI SLUUCH2
(BQ40Z50-R4) and SLUUBT5C (BQ40Z80), the sections on ManufacturerAccess and security modes.
"""

from collections.abc import Collection, Mapping
from math import inf

from sim.emulator import bq40_data as rows
from sim.emulator.bq40_protections import ProtectionStateMachine
from sim.emulator.bq40_security import SecurityState
from sim.emulator.gauge import VirtualGauge, block_reply
from sim.plant.pack_spec import PackSpec
from smartbattery.bq40 import Part
from smartbattery.errors import NackError
from smartbattery.fields import StatusWord, encode_block
from smartbattery.pec import pec
from smartbattery.registers import ADDRESS, CYCLES, DESIGN, DESIGN_V, FULL
from smartbattery.smbus import BLOCK_ACCESS

_TWICE_WITHIN_S = 4.0  # shutdown takes effect at the second command within this time
_SELECTOR_BYTES = 2
_LAST_COMMAND = 0xFF
_WHOLE_DOD = 16384.0  # depth of discharge of an empty cell
_FET_DEGC_PER_A = 0.2


class Bq40:
    """The device at one address; `update` after each measurement of its gauge.

    Attributes:
        selected: every selector that was received, refused ones included.
        shut_down: whether it has stopped answering.
        security: its security mode.
    """

    def __init__(self, gauge: VirtualGauge, part: Part, pack: PackSpec) -> None:
        self.selected: list[int] = []
        self.shut_down = False
        self._gauge = gauge
        self._part = part
        self._cells = tuple(f"cell{k + 1}" for k in range(pack.cells))
        self._rated_v = gauge.values[DESIGN_V.field]
        self._safety = ProtectionStateMachine(rows.safety_limits(pack))
        self._failure = ProtectionStateMachine(rows.permanent_fail_limits(pack))
        self.security = SecurityState()
        self._enabled = set(rows.INITIAL_FLAGS)
        self._selector: int | None = None
        self._shutdown_s = -inf
        self._now_s = 0.0
        self._lifetime: dict[str, float] = {}
        self._words = {word.selector: word for word in part.words}
        self._blocks = {block.selector: block for block in part.blocks}
        every = (*self._words, *self._blocks)
        direct = [code for code in every if rows.FIRST_DIRECT <= code <= _LAST_COMMAND]
        self._own = {bytes((command,)) for command in (0x23, BLOCK_ACCESS, *direct)}
        self.update(0.0)

    def update(self, now_s: float) -> None:
        """Evaluate the last measurement of the gauge."""
        self._now_s = now_s
        measured = self._gauge.values
        cells_v = [measured[f"{cell}_v"] for cell in self._cells]
        quantities = {
            **measured,
            "lowest_v": min(cells_v),
            "highest_v": max(cells_v),
            "charging_a": -measured["current_a"],
            "fet_degc": _fet_degc(measured),
        }
        self._safety.update(quantities, now_s)
        if "PF_EN" in self._enabled:
            self._failure.update(quantities, now_s)
        flags = self._safety.flags() | self._failure.flags()
        self._gauge.alarm(sum(rows.ALARMS[name] for name in flags if name))
        if "LF_EN" in self._enabled:
            self._record_lifetime(cells_v, measured)

    def _record_lifetime(self, cells_v: list[float], measured: Mapping[str, float]) -> None:
        """Store the extremes of the measurements."""
        highest = {f"{cell}_max_v": v for cell, v in zip(self._cells, cells_v, strict=True)}
        highest["max_cell_difference_v"] = max(cells_v) - min(cells_v)
        highest["max_average_discharge_a"] = measured["average_a"]
        highest["max_discharge_a"] = measured["current_a"]
        lowest = {f"{cell}_min_v": v for cell, v in zip(self._cells, cells_v, strict=True)}
        lowest["max_charge_a"] = min(measured["current_a"], 0.0)
        lowest["min_healthy_full_mah"] = measured[FULL.field]
        lifetime = self._lifetime
        for name, value in highest.items():
            lifetime[name] = max(value, lifetime.get(name, value))
        for name, value in lowest.items():
            lifetime[name] = min(value, lifetime.get(name, value))

    def addressed(self) -> float:
        """Seconds of clock stretching after its address, as of its gauge."""
        return 0.0 if self.shut_down else self._gauge.addressed()

    def reset(self) -> None:
        """Reset as at power-on; a permanent failure remains."""
        self._selector = None
        self.security = SecurityState()
        self._safety.reset()
        self._gauge.reset()

    # ------------------------------------------------------------------ bytes

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Reply to a read with `rx_len` bytes; a write selects.

        Raises:
            NackError: it is shut down, does not support the command, or is sealed against it.
        """
        if self.shut_down:
            raise NackError(f"0x{ADDRESS:02x} has shut down")
        if not rx_len and tx[:1] in (b"\x00", b"\x44"):
            self._select(_selector(tx))
            return b""
        self.security.first_key = None
        whole = self._own_reply(tx) if rx_len and tx in self._own else None
        if whole is None:
            return self._gauge.reply(tx, rx_len)
        return whole[:rx_len].ljust(rx_len, b"\xff")

    def _own_reply(self, tx: bytes) -> bytes | None:
        """The reply to a command of this part; `None` while it is sealed against the command."""
        if tx in (b"\x23", b"\x44"):
            return self._selected_reply(tx[0])
        if self.security.mode is rows.SEALED:
            return None
        return block_reply(ADDRESS, tx[0], self._data(tx[0]), with_pec=self._gauge.sends_pec)

    def _select(self, selector: int) -> None:
        self.selected.append(selector)
        if self.security.accepts(selector, self._now_s):
            return
        if selector == rows.SHUTDOWN:
            self.shut_down = self._now_s - self._shutdown_s <= _TWICE_WITHIN_S
            self._shutdown_s = self._now_s
        elif selector in rows.RESETS:
            self.reset()
        elif selector in self._words or selector in self._blocks:
            self._selector = selector
        else:
            self._do_unsealed(selector)

    def _do_unsealed(self, selector: int) -> None:
        if self.security.mode is rows.SEALED:
            raise NackError(f"0x{ADDRESS:02x} is sealed: no selector 0x{selector:04x}")
        if selector == rows.SEAL:
            self.security = SecurityState()
        elif selector == rows.RESET_LIFETIME:
            self._lifetime.clear()
        elif selector == rows.RESET_FAILURES:
            self._failure.reset()
        elif selector in rows.SWITCHES:
            self._enabled ^= {rows.SWITCHES[selector]}
        else:
            raise NackError(f"0x{ADDRESS:02x} has no selector 0x{selector:04x}")

    def _selected_reply(self, command: int) -> bytes:
        if self._selector is None:
            raise NackError(f"0x{ADDRESS:02x} has nothing selected")
        data = self._data(self._selector)
        if command == BLOCK_ACCESS:  # with an echo
            data = self._selector.to_bytes(_SELECTOR_BYTES, "little") + data
        return block_reply(ADDRESS, command, data, with_pec=self._gauge.sends_pec)

    # ------------------------------------------------------------------ data

    def _data(self, selector: int) -> bytes:
        word = self._words.get(selector)
        if word is not None:
            return self._flags(word).to_bytes(word.length, "little")
        data = encode_block(self._blocks[selector], self._values())
        length = rows.LENGTHS[self._part.name].get(selector, len(data))
        return data[:length].ljust(length, b"\0")

    def _flags(self, word: StatusWord) -> int:
        """Flags of a status word that are set now."""
        limits: dict[str, Collection[str]] = {
            "SafetyAlert": self._safety.alerts,
            "SafetyStatus": self._safety.tripped,
            "PFAlert": self._failure.alerts,
            "PFStatus": self._failure.tripped,
        }
        named = limits.get(word.name)
        if named is None:
            learning = self._gauge.learning
            states = (
                ("SS", self._safety.tripped),
                ("PF", self._failure.tripped),
                ("INIT", self._gauge.starting),
                ("REST", learning.rested),
                ("VOK", learning.last_reading is not None),
                ("QMax", learning.updates % 2),
            )
            named = self._enabled | self.security.mode | {name for name, is_set in states if is_set}
        return sum(1 << row.bit for row in word.bits if row.name in named)

    def _values(self) -> dict[str, float]:
        """Values of all blocks by field name."""
        values = {**self._gauge.values, **self._lifetime, **rows.VERSIONS}
        if self._part.device is not None:
            values["device"] = self._part.device
        values |= self._capacities(values)
        amps = values["current_a"]
        degc = values["temperature_degc"]
        volts = values["voltage_v"]
        values |= {"bat_pin_v": volts, "pack_pin_v": volts, "power_w": volts * amps}
        values["average_power_w"] = volts * values["average_a"]
        values["max_average_discharge_w"] = values["max_average_discharge_a"] * self._rated_v
        values["fet_degc"] = _fet_degc(values)
        for name in ("sensor1", "cell", "gauging", "user", "simulated", "ambient"):
            values[f"{name}_degc"] = degc
        updates = self._gauge.learning.updates
        events = {**self._safety.events, "qmax": updates} if updates else self._safety.events
        for name, count in events.items():
            values[f"{name.lower()}_events"] = count
            values[f"{name.lower()}_last_cycle"] = values[CYCLES.field]
        values["time_total_s"] = self._now_s
        spent_frac = 1.0 - values["soc_pct"] / 100.0
        for cell in self._cells:
            cell_v = values[f"{cell}_v"]
            values |= {
                f"{cell}_a": amps,
                f"{cell}_w": amps * cell_v,
                f"{cell}_uncompensated_v": cell_v,
                f"{cell}_dod_raw": spent_frac * _WHOLE_DOD,
                f"{cell}_now_dod_raw": spent_frac * _WHOLE_DOD,
                f"{cell}_qmax_mah": values[FULL.field],
            }
        return values

    def _capacities(self, values: Mapping[str, float]) -> dict[str, float]:
        """Charges and energies; the energy is at the design voltage."""
        charges = {
            "true_remaining": values["remaining_mah"],
            "filtered_remaining": values["remaining_mah"],
            "true_full": values[FULL.field],
            "filtered_full": values[FULL.field],
            "healthy_full": values[FULL.field],
            "initial": values[DESIGN.field],
        }
        energies = {f"{name}_wh": mah / 1000.0 * self._rated_v for name, mah in charges.items()}
        return {f"{name}_mah": mah for name, mah in charges.items()} | energies


def _fet_degc(values: Mapping[str, float]) -> float:
    """Temperature of the transistors; their sensor is the chip's own."""
    return values["chip_degc"] + _FET_DEGC_PER_A * abs(values["current_a"])


def _selector(tx: bytes) -> int:
    """The selector in a write.

    Raises:
        NackError: the write is not a selector, or its PEC is wrong.
    """
    head = rows.BEFORE_SELECTOR[tx[0]]
    end = 1 + len(head) + _SELECTOR_BYTES
    code = tx[end:]
    is_selector = tx[1:].startswith(head) and len(tx) in (end, end + 1)
    if not is_selector or (code and pec((ADDRESS << 1, *tx[:end])) != code[0]):
        raise NackError(f"0x{ADDRESS:02x} refuses {tx.hex(' ')}")
    return int.from_bytes(tx[end - _SELECTOR_BYTES : end], "little")
