# SPDX-License-Identifier: Apache-2.0
"""A readout of a pack: decoding of recorded bytes, and that no setting is written."""

import random
from dataclasses import dataclass, field

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.probe.readout import Readout, read_pack
from sim.emulator.world import World, open_virtual
from sim.plant.scenario import load_scenario
from smartbattery.bq40 import PARTS, READ_SELECTORS
from smartbattery.bus_trace import RecordingBus, Transfer
from smartbattery.errors import BatteryError, BusTimeoutError, NackError, UnsupportedError
from smartbattery.profiles import PROFILES, profile_named
from smartbattery.registers import ADDRESS
from tests.scripted import ACCESS, MODE, SELECTORS, VECTORS, WORDS, ScriptedPack, seen_bq40


def virtual(scenario: str, log: list[Transfer] | None = None) -> Readout:
    bus = open_virtual(scenario, VirtualClock())[0]
    return read_pack(bus if log is None else RecordingBus(bus, log.append), ADDRESS)


# ---------------------------------------------------------------------- words


def test_every_word_of_a_virtual_pack_is_its_ground_truth() -> None:
    found, truth = virtual("survey"), World(load_scenario("survey"), 1, ()).truth()
    assert found.gauge == "generic"
    assert found.number("Voltage") == pytest.approx(truth.voltage_v, abs=0.01)
    assert found.number("CellVoltage1") == pytest.approx(truth.cells_v[0], abs=0.01)
    assert found.number("Current") == pytest.approx(truth.current_a, abs=0.2)
    assert found.number("DesignCapacity") == 16000
    rows = {row.name: row for row in found.registers}
    assert rows["ManufactureDate"].value == "2025-03-14"
    assert rows["SpecificationInfo"].value == "SBS 1.1 with PEC, V x1, A x10"
    assert rows["BatteryStatus"].value == "OK"
    assert rows["DeviceName"].value == "6S2P 16000"
    assert (rows["Voltage"].command, rows["Voltage"].unit) == (0x09, "V")


def test_a_register_without_reply_is_not_supported() -> None:
    absent = {row.name: row for row in virtual("survey").registers if not row.supported}
    assert {"AtRate", "RunTimeToEmpty", "CellVoltage7", "CellVoltage16"} <= absent.keys()
    assert all((row.raw, row.value) == (None, None) for row in absent.values())


def test_a_word_for_unknown_is_supported_without_value() -> None:
    found = read_pack(ScriptedPack(), ADDRESS)
    row = next(row for row in found.registers if row.name == "AverageTimeToEmpty")
    assert (row.raw, row.value, row.supported) == (0xFFFF, None, True)


def test_capacities_in_10_mwh_are_energies() -> None:
    found = read_pack(ScriptedPack(WORDS | {MODE: 0xE000, 0x04: 0xFF9C}), ADDRESS)
    rows = {row.name: row for row in found.registers}
    assert (rows["FullChargeCapacity"].value, rows["FullChargeCapacity"].unit) == (58, "Wh")
    assert (rows["AtRate"].value, rows["AtRate"].unit) == (1, "W")
    assert found.snapshot.full_mah is None


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_pack_can_be_read_with_every_profile(profile: object) -> None:
    named = profile_named(getattr(profile, "name", ""))
    pack = ScriptedPack(has_pec=named is None or named.pec.name != "NEVER")
    found = read_pack(pack, ADDRESS, named)
    assert found.number("Voltage") == 15.2
    assert found.gauge == getattr(profile, "name", "")
    rows = [row for row in found.registers if row.name == "OperationStatus"]
    assert not any(row.supported for row in rows)


def test_a_bq41z50_shows_what_is_documented_of_it() -> None:
    data = {0x54: bytes.fromhex("87 03 00 04"), 0x75: bytes(24), 0x76: bytes(19)}
    found = read_pack(ScriptedPack(device="bq41z50", data=data), ADDRESS)
    assert found.gauge == "bq41z50"
    assert found.snapshot.cells_v == pytest.approx((3.8, 3.799, 3.801, 3.8))
    assert found.snapshot.operation_raw == 0x04000387
    flags = {flag.name for flag in found.status if flag.register == "OperationStatus"}
    assert flags == {"PRES", "DSG", "CHG", "BTP_INT", "SEC0", "SEC1", "STORAGEM"}


# ---------------------------------------------------------------------- a BQ40


def test_recorded_bytes_of_a_bq40_decode_to_their_documented_values() -> None:
    found = read_pack(seen_bq40(), ADDRESS)
    assert (found.gauge, found.security, found.failed) == ("bq40z50-r3", "unsealed", False)
    seen = next(row for row in VECTORS["words"] if row["data"] == "87 02 00 10")
    assert found.flags("OperationStatus") == set(seen["bits"].split())
    for row in VECTORS["blocks"]:
        if row["source"] == "framework-dump":
            for name, value in row["values"].items():
                assert found.number(f"{row['block']}.{name}") == pytest.approx(value), name
    assert not found.answered("PFAlert")
    assert not found.answered("DAStatus1")


@pytest.mark.parametrize("register", ["SafetyStatus", "PFStatus"])
@pytest.mark.parametrize("bit", range(32))
def test_every_bit_of_a_protection_word_has_a_text_and_is_a_failure(
    register: str, bit: int
) -> None:
    pack = seen_bq40()
    pack.data[SELECTORS[register]] = (1 << bit).to_bytes(4, "little")
    found = read_pack(pack, ADDRESS)
    part = next(part for part in PARTS if part.name == "bq40z50-r3")
    known = {row.bit: row for word in part.words if word.name == register for row in word.bits}
    (flag,) = (flag for flag in found.status if flag.register == register)
    assert flag.bit == bit
    assert flag.name == (known[bit].name if bit in known else f"bit {bit}")
    assert flag.text.endswith("." if bit in known else "documented")
    assert found.failed


@pytest.mark.parametrize(("operation", "failed"), [("00 0b 00 00", True), ("00 13 00 00", True)])
def test_operation_status_alone_is_a_failure(
    operation: str,
    failed: bool,  # noqa: FBT001 - a row
) -> None:
    pack = seen_bq40()
    pack.data[SELECTORS["OperationStatus"]] = bytes.fromhex(operation)
    del pack.data[SELECTORS["SafetyStatus"]], pack.data[SELECTORS["PFStatus"]]
    assert read_pack(pack, ADDRESS).failed == failed


def test_absent_cells_and_sensors_have_no_value() -> None:
    found = virtual("bq40")
    assert found.gauge == "bq40z80"
    assert found.security == "sealed"
    assert found.number("DAStatus3.cell7_v") is None
    assert found.number("DAStatus2.sensor2_degc") is None
    assert found.number("DAStatus1.cell1_v") == pytest.approx(4.20, abs=0.02)
    names = {"DAStatus1", "DAStatus2", "DAStatus3", "StateOfHealth", "LifetimeDataBlock1"}
    names |= {"GaugeStatus1", "GaugeStatus2", "GaugeStatus3"}
    assert names <= {row.name.partition(".")[0] for row in found.registers if row.supported}


# ---------------------------------------------------------------------- writes


def test_nothing_is_written_to_a_generic_gauge() -> None:
    log: list[Transfer] = []
    virtual("survey", log)
    assert {(len(row.tx), row.rx_len > 0) for row in log} == {(1, True)}


@pytest.mark.parametrize("scenario", ["bq40", "seen"])
def test_only_read_selectors_are_written_to_a_bq40(scenario: str) -> None:
    log: list[Transfer] = []
    if scenario == "seen":
        read_pack(RecordingBus(seen_bq40(), log.append), ADDRESS)
    else:
        virtual(scenario, log)
    writes = [row.tx for row in log if row.rx_len == 0 or len(row.tx) > 1]
    assert len(writes) > 20
    for tx in writes:
        assert tx[:2] == bytes((ACCESS, 2))
        assert len(tx) == 5, "two bytes of selector and a PEC"
        assert int.from_bytes(tx[2:4], "little") in READ_SELECTORS


# ---------------------------------------------------------------------- errors


@dataclass
class Dying:
    """A bus that ends after some transfers."""

    bus: ScriptedPack
    left: int
    error: BatteryError

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass on, until the end."""
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.bus.transfer(address, tx, rx_len)


@pytest.mark.parametrize("left", range(0, 120, 7))
def test_a_bus_that_fails_in_a_readout_is_an_error(
    left: int,
) -> None:
    with pytest.raises(BatteryError, match=r"held|stopped"):
        read_pack(Dying(seen_bq40(), left, BusTimeoutError("held")), ADDRESS)


@dataclass
class ShortBlocks:
    """An adapter that cannot carry more than 32 bytes, or no writes at all."""

    bus: ScriptedPack
    writes: bool

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Pass on supported transfers."""
        if rx_len > 33 or (rx_len == 0 and not self.writes):
            raise UnsupportedError("the adapter cannot do this")
        return self.bus.transfer(address, tx, rx_len)


def test_registers_beyond_the_adapter_are_not_supported() -> None:
    found = read_pack(ShortBlocks(seen_bq40(), writes=True), ADDRESS)
    assert found.gauge == "bq40z50-r3"
    assert found.answered("SafetyStatus")
    assert not found.answered("LifetimeDataBlock1")
    plain = read_pack(ShortBlocks(seen_bq40(), writes=False), ADDRESS)
    assert plain.gauge == "bq40z50"
    assert plain.number("Voltage") == 15.2


def test_a_missing_pack_is_an_error_with_its_address() -> None:
    with pytest.raises(BatteryError, match="no pack at address 0x0c: "):
        read_pack(ScriptedPack(), 0x0C)


@dataclass
class Noise:
    """A gauge with transmission errors: some replies are refused, truncated or have a bit error."""

    bus: ScriptedPack
    random: random.Random
    frac: float = 0.15
    kinds: set[str] = field(default_factory=set)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Corrupt the reply, or pass it on."""
        reply = self.bus.transfer(address, tx, rx_len)
        if self.random.random() > self.frac:
            return reply
        kind = self.random.choice(("refused", "cut", "flipped"))
        self.kinds.add(kind)
        if kind == "refused":
            raise NackError("busy")
        if kind == "cut" or not reply:
            return reply[:-1]
        bit = self.random.randrange(8 * rx_len)
        return (int.from_bytes(reply, "big") ^ 1 << bit).to_bytes(rx_len, "big")


def test_corrupted_replies_never_become_a_value() -> None:
    truth = {row.name: row.raw for row in read_pack(seen_bq40(), ADDRESS).registers}
    readouts, kinds = 0, set()
    for seed in range(200):
        bus = Noise(seen_bq40(), random.Random(seed))  # noqa: S311 - a test
        try:
            found = read_pack(bus, ADDRESS)
        except BatteryError:
            continue
        readouts += 1
        kinds |= bus.kinds
        for row in found.registers:
            assert row.raw in {truth.get(row.name), None}, row.name
    assert readouts > 100
    assert kinds == {"refused", "cut", "flipped"}
