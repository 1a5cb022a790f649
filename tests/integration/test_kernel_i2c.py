# SPDX-License-Identifier: Apache-2.0
"""Our driver, the service and the kernel's own battery driver on a /dev/i2c-N of a real kernel.

A guest runs Debian's stock kernel under QEMU, for amd64 and for arm64 with the processor of a
Raspberry Pi 4, and in it Python: on this machine's architecture this very one from the host's
files, on another the Debian package of this repository. A process of it emulates a USB adapter for
the kernel's own driver: a CP2112 (native blocks, no PEC), then an i2c-tiny-usb (functionality of a
Raspberry Pi's adapter). Behind it is the virtual gauge, at one time of a flight.

By hand, on Debian 12 or newer, as any user:

    sudo apt-get install qemu-system-x86 qemu-system-arm
    pytest tests/integration/test_kernel_i2c.py

The first run fetches the kernels' packages with apt (70 MB each) and stores 10 to 30 MB of each in
`$DRONEBMS_KERNEL_CACHE` (`~/.cache/dronebms-kernel`). The output of the guest is stored in pytest's
temporary folder: console.log, and results.jsonl with a line for each check of kernel/agent.py.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from sim.emulator.smbus2_stub import SMBus
from tests.integration.debian import HOST, Missing
from tests.integration.kernel.calls import outcomes
from tests.integration.kernel.guest import Results, boot
from tests.integration.kernel.image import MACHINES, Machine, image
from tests.integration.package import PYTHON, built

pytestmark = pytest.mark.slow  # boots a guest
CP2112, TINY_USB = "CP2112", "i2c-tiny-usb"
PACK = Path(__file__).parent / "kernel" / "pack.toml"
AT_S = 60.0  # time of the flight, constant for the guest
POWER_W = 240.0  # of pack.toml


@pytest.fixture(scope="module", params=MACHINES, ids=lambda machine: machine.architecture)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    machine: Machine = request.param
    try:
        files = image(machine)
        debian, python = Path("/"), sys.executable
        if machine.architecture != HOST:
            package = built(machine.architecture, tmp_path_factory)
            package.add_dependencies()
            debian, python = package.root, PYTHON
        return boot(files, debian, python, tmp_path_factory.mktemp("guest"))
    except Missing as missing:
        pytest.skip(str(missing))


class Found:
    """Results of the agent on one adapter."""

    def __init__(self, results: Results, adapter: str) -> None:
        self.adapter = adapter
        self._results = results

    def __call__(self, check: str) -> Any:  # noqa: ANN401 - JSON, of another form for each check
        """The result of a check."""
        row = self._results[self.adapter, check]
        if "failed" in row:
            pytest.fail(f"in the guest, {check}: {row['failed']}", pytrace=False)
        return row["result"]

    def word(self, command: int) -> int:
        """A word of the gauge, unsigned."""
        return int(self("truth")["words"][str(command)])

    def signed(self, command: int) -> int:
        """A word of the gauge, signed."""
        word = self.word(command)
        return word - 0x10000 if word & 0x8000 else word


@pytest.fixture(params=[CP2112, TINY_USB])
def found(results: Results, request: pytest.FixtureRequest) -> Found:
    return Found(results, request.param)


@pytest.fixture
def tiny_usb(results: Results) -> Found:
    return Found(results, TINY_USB)


@pytest.fixture
def cp2112(results: Results) -> Found:
    return Found(results, CP2112)


def assert_is_the_pack(seen: dict[str, Any], found: Found) -> None:
    """Assert that a snapshot has the values of the gauge's words."""
    assert seen["voltage_v"] == pytest.approx(found.word(0x09) / 1000)
    assert seen["current_a"] == pytest.approx(-found.signed(0x0A) / 1000)
    assert seen["cells_v"] == pytest.approx([found.word(0x3F - k) / 1000 for k in range(4)])
    assert seen["trouble"] is None


# ------------------------------------------------------------------------- what we read


def test_the_pack_gives_what_its_flight_asks_for(found: Found) -> None:
    volts, amps = found.word(0x09) / 1000, -found.signed(0x0A) / 1000
    assert volts * amps == pytest.approx(POWER_W, rel=0.01)
    assert sum(found.word(0x3F - k) for k in range(4)) / 1000 == pytest.approx(volts, rel=0.01)


def test_our_driver_reads_what_changes(found: Found) -> None:
    seen = found("snapshot")
    assert_is_the_pack(seen, found)
    assert seen["current_a"] > 0
    assert seen["temperature_degc"] == pytest.approx(found.word(0x08) / 10 - 273.15)
    assert seen["average_a"] == pytest.approx(-found.signed(0x0B) / 1000)
    assert seen["max_error_pct"] == found.word(0x0C)
    assert seen["soc_pct"] == found.word(0x0D)
    assert seen["remaining_mah"] == found.word(0x0F)
    assert seen["full_mah"] == found.word(0x10)
    assert seen["time_to_empty_s"] == found.word(0x12) * 60
    assert seen["status_raw"] == found.word(0x16)
    assert seen["cycles"] == found.word(0x17)


def test_our_driver_reads_who_the_pack_is_and_checks_its_pec(found: Found) -> None:
    identity = found("snapshot")["identity"]
    assert [identity[key] for key in ("manufacturer", "device", "chemistry")] == [
        "dronebms tests",
        "4S1P 5200",
        "LiP",
    ]
    assert found("truth")["texts"] == ["dronebms tests", "4S1P 5200", "LiP"]
    assert identity["pec"] is True
    assert identity["serial"] == found.word(0x1C) == 48060
    assert identity["date"] == [2024, 2, 29]
    assert identity["cells"] == 4
    assert identity["design_mah"] == found.word(0x18)
    assert identity["design_v"] == pytest.approx(found.word(0x19) / 1000)


def test_our_driver_writes_nothing(found: Found) -> None:
    assert found("snapshot")["refused_writes"] == 0


# ------------------------------------------------------------------------- adapters


def test_the_adapter_can_do_what_its_kind_can_do(cp2112: Found, tiny_usb: Found) -> None:
    assert cp2112("functions") == 0x0FFE8001
    assert tiny_usb("functions") == 0x0EFF0009  # that of i2c-bcm2835


def test_an_absent_address_and_a_refused_command_are_no_answer(tiny_usb: Found) -> None:
    ends = tiny_usb("absent")
    for what, place in (("address", "address 0x2a command 0x09"), ("command", "command 0x70")):
        assert ends[what]["error"] == "NackError"
        assert ends[what]["errno"] == "ENXIO"
        assert place in ends[what]["text"]


def test_a_cp2112_reports_a_refusal_and_a_held_bus_alike(cp2112: Found) -> None:
    ends = cp2112("absent")
    assert [ends[what]["errno"] for what in ("address", "command")] == ["ETIMEDOUT"] * 2
    assert [ends[what]["error"] for what in ("address", "command")] == ["BusTimeoutError"] * 2


def test_the_bus_works_after_a_refusal(found: Found) -> None:
    voltage = found.word(0x09).to_bytes(2, "little").hex()
    assert found("absent")["after"]["value"] == voltage


def test_the_kernels_own_block_read_gives_zeros_where_ours_is_right(tiny_usb: Found) -> None:
    read = tiny_usb("kernel_block")
    assert bytes.fromhex(read["kernel"]["value"]) == bytes(len("dronebms tests"))
    assert read["ours"] == "dronebms tests"


def test_a_native_block_read_is_as_right_as_ours(cp2112: Found) -> None:
    read = cp2112("kernel_block")
    assert bytes.fromhex(read["kernel"]["value"]) == b"dronebms tests"
    assert read["ours"] == "dronebms tests"


# ------------------------------------------------------------------------- the stand-in


def test_the_stand_in_for_smbus2_answers_every_call_as_the_kernel_does(tiny_usb: Found) -> None:
    bus = SMBus(1, pack=str(PACK), funcs=tiny_usb("functions"))
    bus.t_s = AT_S
    ours = [outcomes(bus, pec=pec) for pec in (False, True)]
    assert json.loads(json.dumps(ours)) == tiny_usb("calls")


# ------------------------------------------------------------------------- trouble


def test_a_storm_of_refusals_passes(found: Found) -> None:
    storm = found("nack_storm")
    refusal = {CP2112: "BusTimeoutError", TINY_USB: "NackError"}[found.adapter]
    assert storm["ends"] == {"read": 67, refusal: 133}
    assert_is_the_pack(storm["after"], found)


def test_a_slave_that_stretches_every_transfer_is_read_whole(found: Found) -> None:
    assert_is_the_pack(found("slow"), found)
    assert found("slow")["identity"] == found("snapshot")["identity"]


def test_a_held_clock_is_an_error_and_ends_with_it(found: Found) -> None:
    ends = found("stuck")
    assert (ends["held"]["error"], ends["held"]["errno"]) == {
        CP2112: ("BusTimeoutError", "ETIMEDOUT"),
        TINY_USB: ("NackError", "EIO"),  # its driver has no other errno for it
    }[found.adapter]
    voltage = found.word(0x09).to_bytes(2, "little").hex()
    assert ends["after"]["value"] == voltage


def test_an_adapter_that_was_pulled_out_is_noticed_and_let_go(found: Found) -> None:
    seen = found("vanishing")
    assert {end["error"] for end in seen["gone"]} == {"BusAbsentError"}
    assert seen["released"] is True


def test_an_adapter_that_is_back_is_opened_by_its_path(found: Found) -> None:
    seen = found("vanishing")
    assert all("error" in end for end in seen["gone"])
    assert seen["paths"][0] == seen["paths"][1]
    assert seen["back"]["value"] == found.word(0x09).to_bytes(2, "little").hex()


# ------------------------------------------------------------------------- the reference


def test_the_kernels_battery_driver_reads_the_same_pack(found: Found) -> None:
    shown = found("judge")["shown"]
    numbers = {
        "voltage_now": found.word(0x09) * 1000,
        "current_now": found.signed(0x0A) * 1000,  # negative while discharging
        "current_avg": found.signed(0x0B) * 1000,
        "temp": found.word(0x08) - 2731,
        "capacity": found.word(0x0D),
        "capacity_error_margin": found.word(0x0C),
        "charge_now": found.word(0x0F) * 1000,
        "charge_full": found.word(0x10) * 1000,
        "charge_full_design": found.word(0x18) * 1000,
        "voltage_max_design": found.word(0x19) * 1000,
        "time_to_empty_avg": found.word(0x12) * 60,
        "cycle_count": found.word(0x17),
        "manufacture_year": 2024,
        "manufacture_month": 2,
        "manufacture_day": 29,
    }
    assert {name: int(shown[name]) for name in numbers} == numbers
    # It switches BatteryMode to 10 mWh for these, and back.
    design_v = found.word(0x19) / 1000
    energies = {"energy_now": 0x0F, "energy_full": 0x10, "energy_full_design": 0x18}
    for name, command in energies.items():
        assert int(shown[name]) / 1e6 == pytest.approx(
            found.word(command) / 1000 * design_v, abs=0.01
        )
    texts = {
        "status": "Discharging",
        "capacity_level": "Normal",
        "technology": "Li-poly",
        "manufacturer": "dronebms tests",
        "model_name": "4S1P 5200",
        "serial_number": f"{found.word(0x1C):04x}",
        "present": "1",
    }
    assert {name: shown[name] for name in texts} == texts


def test_our_driver_and_the_kernels_report_the_same_with_opposite_signs(found: Found) -> None:
    shown, seen = found("judge")["shown"], found("snapshot")
    assert int(shown["voltage_now"]) / 1e6 == pytest.approx(seen["voltage_v"])
    assert int(shown["current_now"]) / 1e6 == pytest.approx(-seen["current_a"])
    assert int(shown["temp"]) / 10 == pytest.approx(seen["temperature_degc"], abs=0.11)
    assert int(shown["charge_now"]) / 1000 == pytest.approx(seen["remaining_mah"])


def test_a_bound_kernel_driver_refuses_the_smbus_calls_and_no_raw_read(found: Found) -> None:
    bound = found("judge")["bound"]
    assert bound["read_word_data"]["errno"] == "EBUSY"
    assert bound["transfer"]["value"] == found.word(0x09).to_bytes(2, "little").hex()
    assert_is_the_pack(bound["snapshot"], found)


def test_next_to_a_bound_kernel_driver_ours_warns_and_writes_nothing(found: Found) -> None:
    bound = found("judge")["bound"]
    assert bound["write"]["error"] == "UnsupportedError"
    assert bound["writes"] == 0
    for sentence in (bound["write"]["text"], bound["logged"][0]):
        assert "address 0x0b belongs to the kernel driver sbs-battery" in sentence
        assert re.search(r"echo \d+-000b \| sudo tee .*/sbs-battery/unbind$", sentence)


# ------------------------------------------------------------------------- the programs


def test_the_probe_shows_every_register_of_the_pack(cp2112: Found) -> None:
    probe = cp2112("probe")
    assert (probe["code"], probe["logged"]) == (0, "")
    printed = json.loads(probe["printed"])
    assert re.fullmatch(r"/dev/i2c-\d+", printed["bus"])
    assert (printed["address"], printed["serial"]) == (0x0B, cp2112.word(0x1C))
    words = {row["command"]: row["raw"] for row in printed["registers"] if row["supported"]}
    texts = [bytes.fromhex(words.pop(command)).decode() for command in (0x20, 0x21, 0x22)]
    assert texts == cp2112("truth")["texts"]
    assert words == {int(command): word for command, word in cp2112("truth")["words"].items()}


def test_a_new_configuration_names_the_bus_and_the_address_of_the_pack(tiny_usb: Found) -> None:
    seen = tiny_usb("installed")
    assert (seen["init"]["code"], seen["init"]["logged"]) == (0, "")
    volts = tiny_usb.word(0x09) / 1000
    assert f"packs: {seen['path']} {volts:.3f} V" in seen["init"]["printed"]
    lines = seen["file"].splitlines()
    assert len(lines) <= 30
    (battery,) = tomllib.loads(seen["file"])["battery"]
    assert (battery["bus"], battery["address"]) == (seen["path"], 0x0B)


def test_the_check_of_a_new_configuration_finds_nothing_wrong(tiny_usb: Found) -> None:
    check = tiny_usb("installed")["check"]
    assert (check["code"], check["logged"]) == (0, "")
    marks = {line.split()[0] for line in check["printed"].splitlines() if line[:1].strip()}
    assert marks <= {"ok", "note"}, check["printed"]
    assert check["transfers"] == []  # it opens no device


def test_the_search_writes_nothing_and_touches_no_other_device(tiny_usb: Found) -> None:
    """One word is read at the usual address of a pack; an EEPROM stays as it is."""
    seen = tiny_usb("installed")
    read = seen["init"]["transfers"]
    assert read
    assert {(address, written) for address, written, _ in read} == {(0x0B, "09")}
    assert all(count in {2, 3} for _, _, count in read)  # a word, and its PEC
    assert seen["run"]["addresses"] == [0x0B]
    assert seen["eeprom_read"] == bytes(range(16)).hex()  # it answers, before the search
    assert seen["eeprom"] == [bytes(range(256)).hex(), 16]
    assert seen["refused_writes"] == 0


def test_the_service_reports_the_pack_over_mavlink_until_it_is_stopped(tiny_usb: Found) -> None:
    """With the file that `init` wrote."""
    service = tiny_usb("installed")["run"]
    assert service["code"] == 0, service["logged"]
    assert not re.search("warning|error", service["logged"], re.IGNORECASE), service["logged"]
    codec = mavlink.MAVLink(None)
    received = [codec.parse_char(bytes.fromhex(frame)) for frame in service["frames"]]
    assert "HEARTBEAT" in [message.get_type() for message in received], service["logged"]
    statuses = [message for message in received if message.get_type() == "BATTERY_STATUS"]
    assert len(statuses) >= 3
    for status in statuses:
        assert status.get_srcComponent() == mavlink.MAV_COMP_ID_BATTERY
        assert status.voltages == [tiny_usb.word(0x3F - k) for k in range(4)] + [0xFFFF] * 6
        assert status.current_battery == pytest.approx(-tiny_usb.signed(0x0A) / 10, abs=1)  # cA
        assert status.temperature == pytest.approx(tiny_usb.word(0x08) * 10 - 27315, abs=5)  # cdegC
