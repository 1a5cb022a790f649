"""What a BQ40 has beyond a plain gauge: manufacturer access, its data, and its safety logic.

A sealed part in front of a `VirtualGauge`, which answers everything else. A protection that trips
sets its bits and opens nothing. Selectors that act do here what they do on a drone: shutdown and
reset work on a sealed part, the rest is refused.

Units and signs as in `smartbattery.bq40`, whose rows encode every reply. Sources: TI SLUUCH2
(BQ40Z50-R4) and SLUUBT5C (BQ40Z80), the sections on protections and ManufacturerAccess; the
thresholds are set by hand near what those parts are delivered with.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf

from sim.gauge import VirtualGauge, block_reply
from sim.packspec import PackSpec
from smartbattery.bits import StatusWord, encode_block
from smartbattery.bq40 import Part
from smartbattery.errors import NackError
from smartbattery.pec import pec
from smartbattery.registers import ADDRESS, DESIGN, DESIGN_V, FULL

ACCESS, DATA, BLOCK_ACCESS = 0x00, 0x23, 0x44  # ManufacturerAccess, -Data, -BlockAccess
SHUTDOWN = 0x0010
RESETS = (0x0012, 0x0041)
_TWICE_WITHIN_S = 4.0  # a sealed part must be told so to shut down
_BEFORE_SELECTOR = {ACCESS: b"", BLOCK_ACCESS: b"\x02"}  # in a write: nothing, the block's count
_SELECTOR_BYTES = 2

# Bytes of a reply that are not just those of its fields: padded, or cut for another revision.
_LENGTHS = {
    "bq40z50-r4": {0x02: 11, 0x60: 26, 0x70: 32},
    "bq40z80": {0x02: 11, 0x70: 32, 0x72: 16},
}
_DEVICES = {"bq40z50-r4": 0x4500, "bq40z80": 0x4800}
_MADE = {  # 4.02, as one was read out (TI e2e thread 1108797)
    "version_raw": 0x0402, "build": 0x4F, "firmware_type_raw": 4, "gauge_version_raw": 0x0475,
    "hardware_raw": 0x00A0, "chemistry_raw": 0x1210,
}  # fmt: skip
_FET_DEGC_PER_A = 0.2
_WHOLE_DOD = 16384.0  # depth of discharge of an empty cell
_OVER_FULL_V = 0.1
_ALWAYS = frozenset({  # flags
    "PRES", "DSG", "CHG", "SEC0", "SEC1", "QEN", "RT", "GAUGE_EN", "FET_EN", "LF_EN", "PF_EN",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trip:
    """A limit of the gauge's own: trips when passed for `delay_s`, goes when `clear` is passed."""

    name: str  # the manual's mnemonic
    watched: str
    trip: float
    clear: float  # above `trip` for a lower limit; infinite: never
    delay_s: float

    def beyond(self, value: float) -> bool:
        """Return whether a value is past the limit."""
        return value < self.trip if self.trip < self.clear else value > self.trip

    def back(self, value: float) -> bool:
        """Return whether a value is good again."""
        return value > self.clear if self.trip < self.clear else value < self.clear


def safety_of(pack: PackSpec) -> tuple[Trip, ...]:
    """Return the protections of a gauge that was set up for a pack."""
    over_v, most_a = pack.row.full_cell_v + _OVER_FULL_V, pack.row.burst_c * pack.rated_mah / 1000.0
    return (
        Trip("CUV", "lowest_v", 2.5, 3.0, 2.0),
        Trip("COV", "highest_v", over_v, over_v - 0.4, 2.0),
        Trip("OCD1", "current_a", most_a, 0.2, 6.0),
        Trip("OTD", "temperature_degc", 65.0, 60.0, 2.0),
    )


FAILURES = (Trip("SUV", "lowest_v", 2.2, inf, 5.0),)


@dataclass(slots=True)
class Guard:
    """Which of some limits are passed, and which have tripped."""

    rows: tuple[Trip, ...]
    alerts: dict[str, float] = field(default_factory=dict)  # name, since when
    tripped: set[str] = field(default_factory=set)

    def update(self, values: Mapping[str, float], now_s: float) -> None:
        """Judge a measurement."""
        for row in self.rows:
            value = values[row.watched]
            if row.name in self.tripped:
                if row.back(value):
                    self.tripped.remove(row.name)
            elif not row.beyond(value):
                self.alerts.pop(row.name, None)
            elif now_s - self.alerts.setdefault(row.name, now_s) >= row.delay_s:
                del self.alerts[row.name]
                self.tripped.add(row.name)


class Bq40:
    """The device at one address; `update` after each measurement of its gauge.

    Attributes:
        selected: every selector that was ever sent, also those that were refused.
        shut_down: it never answers again.
    """

    def __init__(self, gauge: VirtualGauge, part: Part, pack: PackSpec) -> None:
        self.selected: list[int] = []
        self.shut_down = False
        self._gauge = gauge
        self._part = part
        self._cells = tuple(f"cell{k + 1}" for k in range(pack.cells))
        self._rated_v = gauge.values[DESIGN_V.field]
        self._safety, self._failure = Guard(safety_of(pack)), Guard(FAILURES)
        self._chosen: int | None = None
        self._shutdown_s = -inf
        self._now_s = 0.0
        self._lifetime: dict[str, float] = {}
        self._words = {word.selector: word for word in part.words}
        self._blocks = {block.selector: block for block in part.blocks}
        self.update(0.0)

    def update(self, now_s: float) -> None:
        """Judge what the gauge has measured."""
        self._now_s = now_s
        measured = self._gauge.values
        cells_v = [measured[f"{cell}_v"] for cell in self._cells]
        watched = {**measured, "lowest_v": min(cells_v), "highest_v": max(cells_v)}
        self._safety.update(watched, now_s)
        self._failure.update(watched, now_s)
        highest = {f"{cell}_max_v": v for cell, v in zip(self._cells, cells_v, strict=True)}
        highest["max_cell_difference_v"] = max(cells_v) - min(cells_v)
        highest["max_average_discharge_a"] = measured["average_a"]
        highest["max_discharge_a"] = measured["current_a"]
        for name, value in highest.items():
            self._lifetime[name] = max(value, self._lifetime.get(name, value))
        for cell, v in zip(self._cells, cells_v, strict=True):
            self._lifetime[f"{cell}_min_v"] = min(v, self._lifetime.get(f"{cell}_min_v", v))

    # ------------------------------------------------------------------ bytes

    def reply(self, tx: bytes, rx_len: int) -> bytes:
        """Return `rx_len` bytes to a read; a write selects.

        Raises:
            NackError: it is shut down, does not know the command, or is sealed against it.
        """
        if self.shut_down:
            raise NackError(f"0x{ADDRESS:02x} has shut down")
        if not rx_len and tx[:1] in (b"\x00", b"\x44"):
            self._select(_selector(tx))
            return b""
        if tx in (b"\x23", b"\x44") and rx_len:
            return self._chosen_reply(tx[0])[:rx_len].ljust(rx_len, b"\xff")
        return self._gauge.reply(tx, rx_len)

    def _select(self, selector: int) -> None:
        self.selected.append(selector)
        if selector == SHUTDOWN:
            self.shut_down = self._now_s - self._shutdown_s <= _TWICE_WITHIN_S
            self._shutdown_s = self._now_s
        elif selector in RESETS:
            self._chosen = None
            self._safety.alerts.clear()
            self._safety.tripped.clear()
            self._gauge.reset()
        elif selector in self._words or selector in self._blocks:
            self._chosen = selector
        else:
            raise NackError(f"0x{ADDRESS:02x} is sealed: no selector 0x{selector:04x}")

    def _chosen_reply(self, command: int) -> bytes:
        if self._chosen is None:
            raise NackError(f"0x{ADDRESS:02x} has nothing selected")
        echo = self._chosen.to_bytes(_SELECTOR_BYTES, "little") if command == BLOCK_ACCESS else b""
        data = echo + self._data(self._chosen)
        return block_reply(ADDRESS, command, data, with_pec=self._gauge.sends_pec)

    # ------------------------------------------------------------------ data

    def _data(self, selector: int) -> bytes:
        word = self._words.get(selector)
        if word is not None:
            return self._flags(word).to_bytes(word.length, "little")
        data = encode_block(self._blocks[selector], self._values())
        length = _LENGTHS[self._part.name].get(selector, len(data))
        return data[:length].ljust(length, b"\0")

    def _flags(self, word: StatusWord) -> int:
        """Return the bits of a word whose names hold now."""
        limits: dict[str, Collection[str]] = {
            "SafetyAlert": self._safety.alerts,
            "SafetyStatus": self._safety.tripped,
            "PFAlert": self._failure.alerts,
            "PFStatus": self._failure.tripped,
        }
        named = limits.get(word.name)
        if named is None:
            states = (
                ("SS", self._safety.tripped),
                ("PF", self._failure.tripped),
                ("INIT", self._gauge.starting),
            )
            named = _ALWAYS | {name for name, holds in states if holds}
        return sum(1 << row.bit for row in word.bits if row.name in named)

    def _values(self) -> dict[str, float]:
        """Return what the blocks are made of, by the names of their fields."""
        values = {**self._gauge.values, **self._lifetime, **_MADE}
        values["device"] = _DEVICES[self._part.name]
        values |= self._gauged(values)
        amps, degc, volts = values["current_a"], values["temperature_degc"], values["voltage_v"]
        values |= {"bat_pin_v": volts, "pack_pin_v": volts, "power_w": volts * amps}
        values["average_power_w"] = volts * values["average_a"]
        values["max_average_discharge_w"] = values["max_average_discharge_a"] * self._rated_v
        values["fet_degc"] = degc + _FET_DEGC_PER_A * abs(amps)
        for name in ("chip", "sensor1", "cell", "gauging", "user", "simulated", "ambient"):
            values[f"{name}_degc"] = degc
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

    def _gauged(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return charges and energies; the energy is at the design voltage."""
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


def _selector(tx: bytes) -> int:
    """Return the selector of a write.

    Raises:
        NackError: it is none, or its PEC is wrong.
    """
    head = _BEFORE_SELECTOR[tx[0]]
    end = 1 + len(head) + _SELECTOR_BYTES
    code = tx[end:]
    is_selector = tx[1:].startswith(head) and len(tx) in (end, end + 1)
    if not is_selector or (code and pec((ADDRESS << 1, *tx[:end])) != code[0]):
        raise NackError(f"0x{ADDRESS:02x} does not take {tx.hex(' ')}")
    return int.from_bytes(tx[end - _SELECTOR_BYTES : end], "little")
