# SPDX-License-Identifier: Apache-2.0
"""docs/gauges.md has the interface of packages, and each word of the parts known in part."""

from pathlib import Path

from dronebms.core.gauge_package import GAUGE_INTERFACE, GAUGES
from smartbattery.bq40 import Z41_50, Z41_90

PAGE = (Path(__file__).parents[1] / "docs" / "gauges.md").read_text(encoding="utf-8")


def test_the_page_has_the_interface_of_packages() -> None:
    assert f'[project.entry-points."{GAUGES}"]' in PAGE
    assert f"INTERFACE = {GAUGE_INTERFACE}\n" in PAGE


def test_the_page_names_every_word_and_block_of_the_parts_that_are_known_in_part() -> None:
    names = [word.name for word in Z41_50.words] + [block.name for block in Z41_50.blocks]
    assert [name for name in names if name not in PAGE] == []
    (block,) = Z41_90.blocks
    assert f"0x{block.selector:04x}" in PAGE
