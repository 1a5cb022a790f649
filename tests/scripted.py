# SPDX-License-Identifier: Apache-2.0
"""A pack whose gauge replies with given words, texts and manufacturer data, each with its PEC."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from smartbattery.errors import NackError
from smartbattery.pec import pec, read_prefix
from smartbattery.registers import ADDRESS

VECTORS = json.loads((Path(__file__).parent / "data" / "bq40.json").read_text())
DEVICE_NAME, MODE, STATUS, SPECIFICATION = 0x21, 0x03, 0x16, 0x1A
ACCESS = 0x44
SELECTORS = {"SafetyStatus": 0x51, "PFStatus": 0x53, "OperationStatus": 0x54}
SELECTORS |= {"StateOfHealth": 0x77, "FirmwareVersion": 0x02, "GaugeStatus3": 0x75}
SELECTORS |= {f"LifetimeDataBlock{k + 1}": 0x60 + k for k in range(5)}

# Four cells, 6 Ah, at rest, without a warning.
WORDS = {
    MODE: 0x6000, 0x08: 2982, 0x09: 15200, 0x0A: 0, 0x0B: 0, 0x0C: 1, 0x0D: 60, 0x0F: 3400,
    0x10: 5800, 0x12: 0xFFFF, STATUS: 0x00C0, 0x17: 81, 0x18: 6000, 0x19: 15400,
    SPECIFICATION: 0x0031, 0x1B: 0x58B1, 0x1C: 4711, 0x3C: 3800, 0x3D: 3801, 0x3E: 3799, 0x3F: 3800,
}  # fmt: skip


@dataclass
class ScriptedPack:
    """A bus with one gauge; logs its writes."""

    words: dict[int, int] = field(default_factory=WORDS.copy)
    device: str = "pack"
    has_pec: bool = True
    data: dict[int, bytes] = field(default_factory=dict)  # by selector
    written: list[bytes] = field(default_factory=list)
    _selector: int = 0

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply as a gauge."""
        if address != ADDRESS:
            raise NackError("no device")
        if rx_len == 0:
            self.written.append(tx)
            self._selector = int.from_bytes(tx[2:4], "little")
            if self._selector not in self.data:
                raise NackError("no such selector")
            return b""
        assert len(tx) == 1
        reply = self._reply(tx[0])
        if self.has_pec:
            reply += bytes((pec(reply, read_prefix(ADDRESS, tx[0])),))
        return reply[:rx_len].ljust(rx_len, b"\xff")

    def _reply(self, command: int) -> bytes:
        if command in self.words:
            return self.words[command].to_bytes(2, "little")
        if command == DEVICE_NAME:
            return bytes((len(self.device),)) + self.device.encode()
        if command == ACCESS and self._selector in self.data:
            data = self._selector.to_bytes(2, "little") + self.data[self._selector]
            return bytes((len(data),)) + data
        raise NackError(f"0x{command:02x} is refused")


def seen_bq40() -> ScriptedPack:
    """A BQ40Z50-R3 that replies with bytes recorded from real ones."""
    rows = [*VECTORS["words"], *VECTORS["blocks"]]
    data = {
        SELECTORS[row.get("word") or row["block"]]: bytes.fromhex(row["data"])
        for row in rows
        if row["source"] in {"framework-dump", "framework-readout"}
        and (row.get("word") or row["block"]) in SELECTORS
    }
    return ScriptedPack(device="bq40z50", data=data)
