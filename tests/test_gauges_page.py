"""The table of known gauges in docs/gauges.md is that of the program."""

from pathlib import Path

from dronebms.core.gauge_package import GAUGE_INTERFACE, GAUGES
from smartbattery.profiles import GENERIC, PROFILES, PecMode, Profile

PAGE = (Path(__file__).parents[1] / "docs" / "gauges.md").read_text(encoding="utf-8")
PEC = {PecMode.DETECT: "detected", PecMode.ALWAYS: "yes", PecMode.NEVER: "no"}


def row_of(profile: Profile) -> str:
    texts = ", ".join(f"`{name}`" for name in profile.names) or "must be named"
    recognised = "anything else" if profile is GENERIC else texts
    cells = (f"`{profile.name}`", str(profile.max_cells), recognised, PEC[profile.pec])
    return f"| {' | '.join((*cells, profile.source))} |"


def test_the_table_of_known_gauges_is_that_of_the_program() -> None:
    shown = [line for line in PAGE.splitlines() if line.startswith("| `")][1:]
    assert shown == [row_of(profile) for profile in PROFILES]


def test_the_page_has_the_interface_of_packages() -> None:
    assert f'[project.entry-points."{GAUGES}"]' in PAGE
    assert f"INTERFACE = {GAUGE_INTERFACE}\n" in PAGE
