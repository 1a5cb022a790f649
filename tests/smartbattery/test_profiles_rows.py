# SPDX-License-Identifier: Apache-2.0
"""What each kind of pack has in place of plain SBS, against the numbers of its source."""

import pytest

from smartbattery.fields import decode_block, encode_block
from smartbattery.profiles import (
    GENERIC,
    PROFILES,
    AccessMethod,
    BlockRead,
    PecMode,
    Profile,
    profile_named,
    profile_of,
)
from smartbattery.registers import CELLS, FAST, IDENTITY, SLOW, PollRate, Register

BLOCK, RAW, MAC = AccessMethod.BLOCK, AccessMethod.RAW, AccessMethod.MANUFACTURER
ByName = dict[str, Profile]
NAMED: ByName = {row.name: row for row in PROFILES}
# Most cells, command of the count with its greatest value, PEC, manufacturer access.
ROWS: dict[str, tuple[int, tuple[int, int] | None, PecMode, bool]] = {
    "generic": (16, None, PecMode.DETECT, False),
    "bq40z50": (4, None, PecMode.DETECT, True),
    "bq40z80": (7, None, PecMode.DETECT, True),
    "bq41z50": (4, None, PecMode.DETECT, True),
    "bq41z90": (16, None, PecMode.DETECT, True),
    "rotoye": (16, (0x40, 16), PecMode.DETECT, False),
    "maxell": (16, None, PecMode.DETECT, False),
    "neodesign": (10, (0x5C, 10), PecMode.ALWAYS, False),
    "solo": (4, None, PecMode.ALWAYS, False),
    "solo6": (6, None, PecMode.ALWAYS, False),
    "sui": (6, None, PecMode.NEVER, False),
}
# Name of a block: command or selector, access, bytes, seconds of validity, how often, its fields.
STATUS = (MAC, 4, 15.0, PollRate.SLOW)
BLOCKS: dict[str, dict[str, tuple[int, AccessMethod, int, float, PollRate, tuple[str, ...]]]] = {
    "solo": {
        "Cells4": (0x28, BLOCK, 8, 2.0, PollRate.FAST, tuple(f"cell{k}_v" for k in range(1, 5))),
        "CurrentLong": (0x2A, BLOCK, 4, 2.0, PollRate.FAST, ("current_a",)),
    },
    "solo6": {
        "Cells6": (0x29, BLOCK, 12, 2.0, PollRate.FAST, tuple(f"cell{k}_v" for k in range(1, 7))),
        "CurrentLong": (0x2A, BLOCK, 4, 2.0, PollRate.FAST, ("current_a",)),
    },
    "sui": {
        "Cells4": (0x28, RAW, 8, 2.0, PollRate.FAST, tuple(f"cell{k}_v" for k in range(1, 5))),
        "CurrentLong": (0x2A, RAW, 4, 2.0, PollRate.FAST, ("current_a",)),
    },
    "bq40z50": {
        "SafetyAlert": (0x50, *STATUS, ("alert_raw",)),
        "SafetyStatus": (0x51, *STATUS, ("safety_raw",)),
        "PFStatus": (0x53, *STATUS, ("failure_raw",)),
        "OperationStatus": (0x54, *STATUS, ("operation_raw",)),
        "DAStatus2": (0x72, MAC, 16, 15.0, PollRate.SLOW, ("fet_degc",)),
    },
    "bq40z80": {
        "DAStatus1": (0x71, MAC, 32, 2.0, PollRate.FAST, tuple(f"cell{k}_v" for k in range(1, 5))),
        "DAStatus3": (0x7B, MAC, 18, 2.0, PollRate.FAST, ("cell5_v", "cell6_v", "cell7_v")),
        "SafetyAlert": (0x50, *STATUS, ("alert_raw",)),
        "SafetyStatus": (0x51, *STATUS, ("safety_raw",)),
        "PFStatus": (0x53, *STATUS, ("failure_raw",)),
        "OperationStatus": (0x54, *STATUS, ("operation_raw",)),
        "DAStatus2": (0x72, MAC, 16, 15.0, PollRate.SLOW, ("fet_degc",)),
    },
    "bq41z50": {"OperationStatus": (0x54, *STATUS, ("operation_raw",))},
    "bq41z90": {
        "CellVoltages": (
            *(0x0341, MAC, 32, 2.0, PollRate.FAST),
            tuple(f"cell{k}_v" for k in range(1, 17)),
        ),
    },
}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda row: row.name)
def test_a_kind_of_pack_has_its_cells_count_pec_and_access(profile: Profile) -> None:
    most, count, pec, access = ROWS[profile.name]
    assert (profile.max_cells, profile.pec, profile.manufacturer_access) == (most, pec, access)
    if count is None:
        assert profile.count is None
        return
    command, greatest = count
    row = profile.count
    assert row is not None
    assert (row.command, row.field) == (command, "cells")
    words = {raw: row.decode(raw) for raw in (0, 1, 2, greatest, greatest + 1, 0x8001, 0xFFFF)}
    expected = {raw: float(raw) if 1 <= raw <= greatest else None for raw in words}
    assert words == expected


@pytest.mark.parametrize("profile", PROFILES, ids=lambda row: row.name)
def test_a_kind_of_pack_has_its_blocks(profile: Profile) -> None:
    queries = (*profile.fast(16), *profile.slow(), *profile.replaced)
    blocks = {one.name: one for one in queries if isinstance(one, BlockRead)}
    found = {
        name: (
            *(one.command, one.access, one.length, one.max_age_s, one.poll_rate),
            tuple(row.name for row in one.block.fields),
        )
        for name, one in blocks.items()
    }
    assert found == BLOCKS.get(profile.name, {})
    for one in blocks.values():
        assert max(row.offset + row.size for row in one.block.fields) <= one.length
        assert one.block.selector == one.command


def block(profile: str, name: str) -> BlockRead:
    queries = (*NAMED[profile].fast(16), *NAMED[profile].slow())
    return next(one for one in queries if isinstance(one, BlockRead) and one.name == name)


def test_blocks_of_cells_are_millivolts_one_after_the_other() -> None:
    data = bytes.fromhex("6810691067106510")  # 4200, 4201, 4199, 4197 mV
    for profile in ("solo", "sui"):
        values = decode_block(block(profile, "Cells4").block, data)
        assert values == pytest.approx(
            {"cell1_v": 4.2, "cell2_v": 4.201, "cell3_v": 4.199, "cell4_v": 4.197}
        )
    six = decode_block(block("solo6", "Cells6").block, data + bytes.fromhex("640f650f"))
    assert six["cell5_v"] == pytest.approx(3.94)
    assert six["cell6_v"] == pytest.approx(3.941)


@pytest.mark.parametrize("profile", ["solo", "sui"])
def test_a_long_current_is_milliamperes_positive_while_discharging(profile: str) -> None:
    rows = block(profile, "CurrentLong").block
    assert decode_block(rows, (-45_000).to_bytes(4, "little", signed=True)) == {
        "current_a": pytest.approx(45.0)
    }
    assert encode_block(rows, {"current_a": -70.0}) == (70_000).to_bytes(4, "little")


@pytest.mark.parametrize("name", ["SafetyAlert", "SafetyStatus", "PFStatus", "OperationStatus"])
def test_a_status_word_has_32_bits(name: str) -> None:
    (value,) = decode_block(block("bq40z50", name).block, bytes.fromhex("01020380")).values()
    assert value == 0x80030201


def test_cells_of_plain_words_are_where_their_source_has_them() -> None:
    for profile in ("generic", "maxell", "rotoye"):
        assert [one.command for one in NAMED[profile].cells] == [0x3F - k for k in range(16)]
    assert [one.command for one in NAMED["neodesign"].cells] == [0x30 + k for k in range(10)]
    for profile in ("bq40z50", "bq41z50"):
        assert NAMED[profile].cells == CELLS[:4]


@pytest.mark.parametrize("cells", [0, 1, 4, 16])
def test_every_poll_reads_as_many_words_as_there_are_cells_and_every_block(cells: int) -> None:
    assert GENERIC.fast(cells) == (*FAST, *CELLS[:cells])
    z80 = NAMED["bq40z80"].fast(cells)
    assert [one.name for one in z80] == ["Voltage", "Current", "DAStatus1", "DAStatus3"]
    solo = NAMED["solo"].fast(cells)
    assert [one.name for one in solo] == ["Voltage", "CurrentLong", "Cells4"]
    assert GENERIC.slow() == (*SLOW, *IDENTITY)


def test_a_maxell_reports_half_of_its_capacities() -> None:
    rows = {one.field: one for one in NAMED["maxell"].slow() if isinstance(one, Register)}
    plain = {one.field: one for one in GENERIC.slow() if isinstance(one, Register)}
    for field in ("remaining_mah", "full_mah"):
        assert rows[field].decode(3000) == 6000.0
        assert plain[field].decode(3000) == 3000.0
    for field in rows.keys() - {"remaining_mah", "full_mah"}:
        assert rows[field] == plain[field]


def test_a_rotoye_has_an_external_temperature() -> None:
    (row,) = [one for one in NAMED["rotoye"].extra if isinstance(one, Register)]
    assert (row.command, row.field) == (0x48, "external_degc")
    assert row.decode(2982) == pytest.approx(25.05)


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (("TI", "BQ40Z50-R2"), "bq40z50"),
        (("bq40z80", None), "bq40z80"),
        ((None, "bq41z50"), "bq41z50"),
        (("x", "BQ41Z90abc"), "bq41z90"),
        (("Hitachi Maxell", "B"), "maxell"),
        (("maxell", "bq40"), "generic"),
        ((None, None), "generic"),
        (("", "a bq40z50"), "generic"),  # not at its beginning
    ],
)
def test_a_pack_is_known_by_the_beginning_of_its_texts(
    texts: tuple[str | None, ...], name: str
) -> None:
    assert profile_of(*texts).name == name


def test_every_profile_is_found_by_its_name() -> None:
    assert [profile_named(name) for name in ROWS] == [NAMED[name] for name in ROWS]
    assert profile_named("bq40") is None
