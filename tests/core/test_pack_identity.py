# SPDX-License-Identifier: Apache-2.0
"""Which identities are those of one pack."""

from dataclasses import replace

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.pack_data import PackData
from dronebms.core.pack_identity import difference, is_same_pack, is_unique, merged, name_of
from smartbattery.snapshot import UNIDENTIFIED, Identity

KNOWN = Identity(
    serial=1234, manufacturer="ACME", device="PACK6S", chemistry="LION", design_mah=16000.0,
    date=(2024, 3, 14), cells=6,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"serial": 1235}, "serial 1235, not 1234"),
        ({"serial": 0}, "serial 0, not 1234"),
        ({"manufacturer": "OTHER"}, "maker OTHER, not ACME"),
        ({"device": "PACK-LONG-RANGE"}, "device PACK-LON, not PACK6S"),
        ({"date": (2023, 11, 2)}, "date 23-11-02, not 24-03-14"),
        ({"chemistry": "LIFE"}, "type LIFE, not LION"),
        ({"cells": 5}, "cells 5, not 6"),
        ({"design_mah": 12000.0}, "12000 mAh, not 16000"),
    ],
)
def test_one_field_that_differs_is_another_pack_and_is_named(
    change: dict[str, object], text: str
) -> None:
    other = replace(KNOWN, **change)  # type: ignore[arg-type]  # fields of an Identity
    assert difference(KNOWN, other) == text
    assert not is_same_pack(KNOWN, other)
    assert not is_same_pack(other, KNOWN)
    assert len(f"WARNING: other pack: {text}") <= 50


@pytest.mark.parametrize(
    "field", ["serial", "manufacturer", "device", "chemistry", "date", "cells"]
)
def test_a_field_that_is_not_read_decides_nothing_and_is_completed(field: str) -> None:
    partly = replace(KNOWN, **{field: None})  # type: ignore[arg-type]  # a field of an Identity
    assert is_same_pack(KNOWN, partly)
    assert is_same_pack(partly, KNOWN)
    assert merged(KNOWN, partly) == KNOWN
    assert merged(partly, KNOWN) == KNOWN


def test_an_unchanged_identity_stays_the_same_object() -> None:
    assert merged(KNOWN, replace(KNOWN)) is KNOWN
    assert merged(KNOWN, replace(KNOWN, serial=None)) is KNOWN
    assert merged(KNOWN, replace(KNOWN, serial=KNOWN.serial and KNOWN.serial + 1)) is not KNOWN


@pytest.mark.parametrize("design_mah", [15900.0, 16100.0, 1600.0, 160_000.0])
def test_rounding_and_a_changed_scale_of_the_capacity_are_no_other_pack(design_mah: float) -> None:
    assert is_same_pack(KNOWN, replace(KNOWN, design_mah=design_mah))


def test_equal_data_of_another_connection_are_another_pack() -> None:
    assert not is_same_pack(KNOWN, replace(KNOWN, connection=1))
    assert not is_same_pack(UNIDENTIFIED, replace(UNIDENTIFIED, connection=1))


@pytest.mark.parametrize("serial", [None, 0, 1, 65535])
def test_a_pack_without_a_unique_serial_number_has_a_history_under_its_pack_id_alone(
    serial: int | None,
) -> None:
    pack = replace(KNOWN, serial=serial)
    assert not is_unique(pack)
    assert PackData(LIPO).pack_key(pack) is None
    named = PackData(LIPO, pack_id="A7")
    assert named.pack_key(pack) == "A7"
    assert named.pack_key(replace(pack, connection=1)) is None  # another pack, of no known name


def test_a_unique_pack_has_one_name_however_often_it_is_connected() -> None:
    name = "ACME PACK6S 2024-03-14 1234"
    assert name_of(KNOWN) == PackData(LIPO, pack_id="A7").pack_key(KNOWN) == name
    assert PackData(LIPO).pack_key(replace(KNOWN, connection=3)) == name


def test_the_model_is_the_configured_one_or_all_that_identifies_it() -> None:
    pack = replace(KNOWN, cells=6, design_mah=22000.0)
    assert PackData(LIPO).model_key(pack) == "ACME PACK6S 22000 mAh 6S lipo"
    assert PackData(LIPO, cells=12).model_key(pack) == "ACME PACK6S 22000 mAh 12S lipo"
    assert PackData(LIPO, pack_model="P22").model_key(pack) == "P22"
    assert PackData(LIPO, pack_model="P22").model_key(UNIDENTIFIED) == "P22"
    for unknown in (
        replace(pack, manufacturer=None),
        replace(pack, device=None),
        replace(pack, cells=None),
        replace(pack, design_mah=None),
    ):
        assert PackData(LIPO).model_key(unknown) is None
    assert PackData(LIPO).model_key(replace(pack, serial=7)) == PackData(LIPO).model_key(pack)


def test_a_latch_of_a_pack_with_a_doubtful_number_is_stored_too() -> None:
    assert PackData(LIPO).latch_key(replace(KNOWN, serial=0)) == "ACME PACK6S 2024-03-14 0"
    assert PackData(LIPO, pack_id="A7").latch_key(UNIDENTIFIED) == "A7"
    assert PackData(LIPO).latch_key(UNIDENTIFIED) is None
