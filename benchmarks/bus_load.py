# SPDX-License-Identifier: Apache-2.0
"""Measures the share of a 100 kHz wire that the driver uses: `python -m benchmarks.bus_load`.

A snapshot of 15 registers with PEC (voltage, current, 12 cells and one slow one in turn) is read
from a wire that counts the time of each transfer (nine clocks a byte, START, repeated START, STOP and
4.7 us bus free time; SMBus 2.0). The host time in between is processor time of the driver alone: the
replies are prepared. The peers are the wire itself, and smbus2 alone: two messages for each transfer,
its `i2c_rdwr` without the kernel, and the bytes of the reply.
"""

import statistics
import time

import smbus2

from benchmarks.reference import machine, spread
from sim.emulator.gauge import word_reply
from smartbattery import registers as sbs
from smartbattery.errors import NackError
from smartbattery.gauge import Gauge

CELLS = 12
POLLS = 2000
ROUNDS = 7
VALUES = {
    sbs.VOLTAGE: 46.8, sbs.CURRENT: 31.5, sbs.TEMPERATURE: 31.0, sbs.RELATIVE_SOC: 71.0,
    sbs.REMAINING: 11000.0, sbs.STATUS: 0xC0, sbs.MODE: 0.0, sbs.FULL: 15500.0,
    sbs.TIME_TO_EMPTY: 1200.0, sbs.AVERAGE: 31.0, sbs.MAX_ERROR: 2.0, sbs.CYCLES: 41.0,
    sbs.SPECIFICATION: 0x31, sbs.DESIGN: 16000.0, sbs.DESIGN_V: 44.4, sbs.SERIAL: 4711.0,
}  # fmt: skip


class ChargingWire:
    """A gauge with constant replies, on a wire that counts its busy time."""

    def __init__(self) -> None:
        words = VALUES | dict.fromkeys(sbs.CELLS[:CELLS], 3.9)
        self._replies = {
            row.command: word_reply(sbs.ADDRESS, row.command, row.encode(value), with_pec=True)
            for row, value in words.items()
        }
        self.busy_s = 0.0
        self.transfers = 0

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply, and add the time of the transfer."""
        self.transfers += 1
        self.busy_s += ((2 + len(tx) + rx_len) * 9 + 3) / 100_000.0 + 4.7e-6
        reply = self._replies.get(tx[0])
        if reply is None:
            raise NackError(f"0x{address:02x} {tx.hex()}")
        return reply[:rx_len]


def measure() -> tuple[float, float, float]:
    """Return (registers, wire seconds, host seconds) of one poll."""
    wire = ChargingWire()
    gauge = Gauge(wire, cells=CELLS)
    for step in range(30):  # identified, and every register read once
        gauge.poll(step / 10)
    before, busy_s, start_s = wire.transfers, wire.busy_s, time.process_time()
    for step in range(30, 30 + POLLS):
        gauge.poll(step / 10)
    host_s = time.process_time() - start_s
    return (wire.transfers - before) / POLLS, (wire.busy_s - busy_s) / POLLS, host_s / POLLS


def smbus2_alone(transfers: int) -> float:
    """Return seconds that smbus2 takes for the transfers of one poll, without a kernel."""
    bus = smbus2.SMBus()
    start_s = time.process_time()
    for _ in range(POLLS * transfers):
        reply = smbus2.i2c_msg.read(sbs.ADDRESS, 3)
        bus.i2c_rdwr(smbus2.i2c_msg.write(sbs.ADDRESS, b"\x09"), reply)
        bytes(reply)
    return (time.process_time() - start_s) / POLLS


def main() -> None:
    """Measure and print."""
    vars(smbus2.smbus2)["ioctl"] = lambda *_: 0  # in place of the kernel
    rounds, alone = [], []
    for _ in range(ROUNDS):
        rounds.append(measure())
        alone.append(smbus2_alone(round(rounds[0][0])))
    registers, wire_s = rounds[0][:2]
    host_s = statistics.median(host for _, _, host in rounds)
    print(machine())
    print(
        f"a snapshot of {registers:.0f} registers with PEC: {wire_s * 1e3:.2f} ms on a 100 kHz wire"
    )
    print(
        f"host: {host_s * 1e6:.0f} us of processor time, {host_s / wire_s:.1%} of the wire's, "
        f"{spread([row[2] / one for row, one in zip(rounds, alone, strict=True)], 2)} of smbus2 alone"
    )
    print(
        f"snapshots a second: {1 / (wire_s + host_s):.1f}, {wire_s / (wire_s + host_s):.1%} of the {1 / wire_s:.1f} that the wire can carry"
    )


if __name__ == "__main__":
    main()
