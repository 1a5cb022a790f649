# SPDX-License-Identifier: Apache-2.0
"""Warnings of the audit: each with its cause and numbers, and none without a cause."""

import pytest

from dronebms.probe.audit import AuditOptions, warnings_of
from dronebms.probe.readout import read_pack
from smartbattery.registers import ADDRESS
from tests.scripted import MODE, SELECTORS, STATUS, WORDS, ScriptedPack, seen_bq40

ALERT, GAUGING, MANUFACTURING = 0x50, 0x56, 0x57
NO_OPTIONS = AuditOptions()


def warnings(pack: ScriptedPack, options: AuditOptions = NO_OPTIONS) -> tuple[str, ...]:
    return warnings_of(read_pack(pack, ADDRESS), options)


def test_a_good_pack_has_no_warnings() -> None:
    assert warnings(ScriptedPack(), AuditOptions(cells=4)) == ()


CASES: tuple[tuple[dict[int, int], str], ...] = (
    ({0x10: 4799}, "FullChargeCapacity is 79.98 % of DesignCapacity (4799 of 6000)"),
    ({0x10: 6601}, "FullChargeCapacity is 110.02 % of DesignCapacity (6601 of 6000)"),
    ({0x0C: 11}, "MaxError is 11 %: the gauge's state of charge may be off by that."),
    ({0x3E: 3769}, "Cell spread at rest 32 mV > 30 mV; cell 2 is the lowest"),
    ({0x19: 11100}, "DesignVoltage 11.10 V is 2.77 V for each of 4 cells"),
    ({MODE: 0xE000}, "Capacities are in 10 mWh (BatteryMode CAPM)"),
    ({MODE: 0x4000}, "BatteryMode AM is off"),
    ({MODE: 0x2000}, "BatteryMode CHGM is off"),
    ({MODE: 0x6080}, "BatteryMode CF: The gauge requests a full cycle"),
    ({STATUS: 0x0040}, "BatteryStatus INIT is off"),
    ({STATUS: 0x18C0}, "BatteryStatus OTA: The pack is too hot."),
    ({STATUS: 0x08C0}, "BatteryStatus TDA: Stop discharging now."),
    ({0x12: 100}, "AverageTimeToEmpty is 100 minutes without discharge."),
    (
        {0x0B: 0xF830, 0x12: 20},
        "AverageTimeToEmpty is 20 minutes, but 3400 mAh at 2 A last 102 minutes.",
    ),
    (
        {0x0A: 0xF830, 0x11: 160},
        "RunTimeToEmpty is 160 minutes, but 3400 mAh at 2 A last 102 minutes.",
    ),
    ({0x1C: 0}, "The serial number is 0 or unknown"),
    ({0x1B: 0}, "ManufactureDate is not programmed."),
)


@pytest.mark.parametrize(("changes", "warning"), CASES, ids=[text[:40] for _, text in CASES])
def test_each_fault_has_its_warning_with_numbers(changes: dict[int, int], warning: str) -> None:
    texts = warnings(ScriptedPack(WORDS | changes), AuditOptions(cells=4))
    assert [text for text in texts if text.startswith(warning)], texts


@pytest.mark.parametrize(
    "changes",
    [
        {0x10: 4800},
        {0x10: 6600},
        {0x0C: 10},
        {0x3E: 3771},
        {0x3E: 3700, 0x09: 15100, 0x0A: 0xF830},  # 2 A: not at rest
        {0x19: 12400},
        {0x0B: 0xF830, 0x12: 100},
        {0x0B: 0xF830, 0x12: 153},
    ],
    ids=str,
)
def test_a_value_at_the_edge_of_its_range_has_no_warning(changes: dict[int, int]) -> None:
    assert warnings(ScriptedPack(WORDS | changes), AuditOptions(cells=4)) == ()


def test_a_pack_without_pec_has_a_warning() -> None:
    pack = ScriptedPack(WORDS | {0x1A: 0x0021}, has_pec=False)
    assert warnings(pack) == ("The gauge sends no PEC: bit errors on the bus are not detected.",)


def test_the_number_of_cells_is_compared_with_the_option() -> None:
    assert warnings(ScriptedPack(), AuditOptions(cells=6)) == (
        "The gauge has 4 cells, --cells is 6.",
        "DesignVoltage 15.40 V is 2.57 V for each of 6 cells; 3.1 to 3.95 V is usual.",
    )
    unclear = WORDS | {0x3C: 0xFFFF}
    assert warnings(ScriptedPack(unclear))[0].startswith("The number of cells is ambiguous")


def test_a_hover_current_is_compared_with_the_charge() -> None:
    assert warnings(ScriptedPack(), AuditOptions(hover_a=29.0)) == (
        "Hover at 29 A is 5.0 C: 5800 mAh last 12.0 minutes from full to empty.",
        "The recorded maximum discharge current is not available.",
        "This kind of gauge does not report the thresholds of its protections.",
    )


# ---------------------------------------------------------------------- a BQ40


def bq40(**data: str) -> ScriptedPack:
    """A sealed BQ40 with changed words, by selector in hex: `x51="01 00 00 00"`."""
    pack = seen_bq40()
    pack.words[0x10] = 5539
    pack.data[SELECTORS["OperationStatus"]] = bytes.fromhex("07 03 00 00")
    pack.data |= {int(key[1:], 16): bytes.fromhex(text) for key, text in data.items()}
    return pack


SEALED = "The gauge is sealed: the thresholds of its protections cannot be read."


def test_a_good_sealed_bq40_has_the_warning_of_its_seal_alone() -> None:
    assert warnings(bq40()) == (SEALED,)


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        ({"x51": "10 00 00 00"}, "SafetyStatus OCD1: The load current is above its first limit"),
        ({"x53": "00 00 02 00"}, "PFStatus DFETF: The discharging transistor does not switch off"),
        ({"x50": "01 00 00 00"}, "SafetyAlert CUV: A cell is below its under-voltage limit"),
        ({"x54": "07 23 00 00"}, "OperationStatus XDSG: Discharging is disabled."),
        ({"x54": "07 02 00 00"}, "The gauge is not sealed (unsealed): any program on the bus"),
        ({"x56": "00 04 00"}, "GaugingStatus R_DIS: The gauge is not learning resistances"),
        ({"x56": "00 94 00"}, "GaugingStatus NSFM: A resistance was computed as negative"),
        ({"x56": "00 00 00"}, "GaugingStatus QEN is off"),
        ({"x57": "68 00"}, "ManufacturingStatus FET_EN is off"),
        ({"x77": "b0 04 00 00"}, "State of health 20 % < 80 %."),
        ({"x75": "00" * 18 + "00 40" + "00" * 4}, "The Qmax of the gauge is 43 days old"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_each_state_of_a_bq40_has_its_warning(data: dict[str, str], warning: str) -> None:
    texts = warnings(bq40(**data))
    assert [text for text in texts if text.startswith(warning)], texts


def test_a_timer_on_hold_has_no_warning() -> None:
    assert warnings(bq40(x50="00 00 28 00")) == (SEALED,)


def test_an_old_qmax_update_is_reported_in_cycles() -> None:
    pack = bq40()
    pack.words[0x17] = 102  # learned at cycle 81
    assert warnings(pack)[0] == "The last Qmax update is 21 cycles old."


def test_a_hover_current_is_compared_with_the_recorded_maximum() -> None:
    assert "Hover at 9 A exceeds the recorded maximum of 8.281 A." in warnings(
        bq40(), AuditOptions(hover_a=9.0)
    )
    assert not any("exceeds" in text for text in warnings(bq40(), AuditOptions(hover_a=8.0)))


def test_a_status_word_without_reply_has_a_warning() -> None:
    pack = bq40()
    for name in ("SafetyStatus", "OperationStatus"):
        del pack.data[SELECTORS[name]]
    assert warnings(pack) == (
        "SafetyStatus did not answer: its flags are unknown.",
        "OperationStatus did not answer: its flags are unknown.",
    )


def test_a_device_name_alone_is_not_a_bq40() -> None:
    assert warnings(ScriptedPack(device="bq40z50")) == (
        "Neither DeviceType nor FirmwareVersion is a BQ40: status words were not read.",
    )
