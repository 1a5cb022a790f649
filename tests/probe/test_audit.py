"""What an audit says of a pack: each complaint for its reason, and none without."""

import pytest

from dronebms.probe.audit import AuditOptions, warnings_of
from dronebms.probe.readout import read_pack
from smartbattery.registers import ADDRESS
from tests.scripted import MODE, SELECTORS, STATUS, WORDS, ScriptedPack, seen_bq40

ALERT, GAUGING, MANUFACTURING = 0x50, 0x56, 0x57
NOBODY = AuditOptions()


def complaints(pack: ScriptedPack, told: AuditOptions = NOBODY) -> tuple[str, ...]:
    return warnings_of(read_pack(pack, ADDRESS), told)


def test_a_good_plain_pack_is_not_complained_of() -> None:
    assert complaints(ScriptedPack(), AuditOptions(cells=4)) == ()


CASES: tuple[tuple[dict[int, int], str], ...] = (
    ({0x10: 4799}, "The full charge is 79.98 % of the design capacity (4799 of 6000)"),
    ({0x10: 6601}, "The full charge is 110.02 % of the design capacity (6601 of 6000)"),
    ({0x0C: 11}, "The gauge itself expects its charge to be wrong by up to 11 %."),
    ({0x3E: 3769}, "At rest the cells differ by 32 mV, more than 30 mV; cell 2 is the lowest"),
    ({0x19: 11100}, "The design voltage of 11.10 V is 2.77 V for each of 4 cells"),
    ({MODE: 0xE000}, "Capacities are in 10 mWh (BatteryMode CAPM)"),
    ({MODE: 0x4000}, "BatteryMode AM is off"),
    ({MODE: 0x2000}, "BatteryMode CHGM is off"),
    ({MODE: 0x6080}, "BatteryMode CF: The gauge asks for a full cycle"),
    ({STATUS: 0x0040}, "BatteryStatus INIT is off"),
    ({STATUS: 0x18C0}, "BatteryStatus OTA: The pack is too hot."),
    ({STATUS: 0x08C0}, "BatteryStatus TDA: Stop discharging now."),
    ({0x12: 100}, "AverageTimeToEmpty tells 100 minutes though nothing is discharged."),
    (
        {0x0B: 0xF830, 0x12: 20},
        "AverageTimeToEmpty tells 20 minutes, but 3400 mAh at 2 A last 102.",
    ),
    ({0x0A: 0xF830, 0x11: 160}, "RunTimeToEmpty tells 160 minutes, but 3400 mAh at 2 A last 102."),
    ({0x1C: 0}, "The serial number is 0 or unknown"),
    ({0x1B: 0}, "The date of manufacture was never programmed."),
)


@pytest.mark.parametrize(("changes", "complaint"), CASES, ids=[text[:40] for _, text in CASES])
def test_each_fault_is_complained_of_with_its_numbers(
    changes: dict[int, int], complaint: str
) -> None:
    texts = complaints(ScriptedPack(WORDS | changes), AuditOptions(cells=4))
    assert [text for text in texts if text.startswith(complaint)], texts


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
def test_what_is_just_good_is_not_complained_of(changes: dict[int, int]) -> None:
    assert complaints(ScriptedPack(WORDS | changes), AuditOptions(cells=4)) == ()


def test_a_pack_without_pec_is_told() -> None:
    pack = ScriptedPack(WORDS | {0x1A: 0x0021}, has_pec=False)
    assert complaints(pack) == (
        "The gauge sends no PEC: a flipped bit on the wire goes unnoticed.",
    )


def test_cells_are_counted_against_what_was_told() -> None:
    assert complaints(ScriptedPack(), AuditOptions(cells=6)) == (
        "The gauge shows 4 cells, not the 6 that were told.",
        "The design voltage of 15.40 V is 2.57 V for each of 6 cells; 3.1 to 3.95 V is usual.",
    )
    unclear = WORDS | {0x3C: 0xFFFF}
    assert complaints(ScriptedPack(unclear))[0].startswith("The cells could not be counted")


def test_a_hover_current_is_set_against_the_charge_and_nothing_is_invented() -> None:
    assert complaints(ScriptedPack(), AuditOptions(hover_a=29.0)) == (
        "Hover at 29 A is 5.0 C: 5800 mAh last 12.0 minutes from full to empty.",
        "The most that this pack ever gave is not known in amperes.",
        "A gauge of this kind does not tell the set-points of its protections.",
    )


# ---------------------------------------------------------------------- a BQ40


def bq40(**data: str) -> ScriptedPack:
    """Return a sealed BQ40 with its words changed, by selector in hex: `x51="01 00 00 00"`."""
    pack = seen_bq40()
    pack.words[0x10] = 5539
    pack.data[SELECTORS["OperationStatus"]] = bytes.fromhex("07 03 00 00")
    pack.data |= {int(key[1:], 16): bytes.fromhex(text) for key, text in data.items()}
    return pack


SEALED = "The gauge is sealed: the set-points of its protections cannot be read or checked."


def test_a_sealed_bq40_that_was_seen_is_complained_of_for_its_seal_alone() -> None:
    assert complaints(bq40()) == (SEALED,)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"x51": "10 00 00 00"}, "SafetyStatus OCD1: The load current is above its first limit"),
        ({"x53": "00 00 02 00"}, "PFStatus DFETF: The discharging transistor does not switch off"),
        ({"x50": "01 00 00 00"}, "SafetyAlert CUV: A cell is below its under-voltage limit"),
        ({"x54": "07 23 00 00"}, "OperationStatus XDSG: Discharging is disabled."),
        ({"x54": "07 02 00 00"}, "The gauge is not sealed (unsealed): any program on the bus"),
        ({"x56": "00 04 00"}, "GaugingStatus R_DIS: The gauge does not learn resistances"),
        ({"x56": "00 94 00"}, "GaugingStatus NSFM: A resistance came out negative"),
        ({"x56": "00 00 00"}, "GaugingStatus QEN is off"),
        ({"x57": "68 00"}, "ManufacturingStatus FET_EN is off"),
        ({"x77": "b0 04 00 00"}, "The state of health is 20 %, below 80 %."),
        ({"x75": "00" * 18 + "00 40" + "00" * 4}, "What the gauge learns capacity from is 43 days"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_each_state_of_a_bq40_is_complained_of(data: dict[str, str], complaint: str) -> None:
    texts = complaints(bq40(**data))
    assert [text for text in texts if text.startswith(complaint)], texts


def test_a_timer_on_hold_is_no_complaint() -> None:
    assert complaints(bq40(x50="00 00 28 00")) == (SEALED,)


def test_a_capacity_that_was_learned_long_ago_is_told_in_cycles() -> None:
    pack = bq40()
    pack.words[0x17] = 102  # learned at cycle 81
    assert complaints(pack)[0] == "The capacity was last learned 21 cycles ago."


def test_a_hover_current_is_set_against_the_most_that_was_ever_given() -> None:
    assert "Hover at 9 A is more than the 8.281 A that this pack ever gave." in complaints(
        bq40(), AuditOptions(hover_a=9.0)
    )
    assert not any("ever gave" in text for text in complaints(bq40(), AuditOptions(hover_a=8.0)))


def test_a_status_word_that_does_not_answer_is_told() -> None:
    pack = bq40()
    for name in ("SafetyStatus", "OperationStatus"):
        del pack.data[SELECTORS[name]]
    assert complaints(pack) == (
        "SafetyStatus did not answer: what it would tell is unknown.",
        "OperationStatus did not answer: what it would tell is unknown.",
    )


def test_a_gauge_that_only_calls_itself_a_bq40_is_told() -> None:
    assert complaints(ScriptedPack(device="bq40z50")) == (
        "Neither DeviceType nor FirmwareVersion names a BQ40: status words were not read.",
    )
