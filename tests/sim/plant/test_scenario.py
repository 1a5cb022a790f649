# SPDX-License-Identifier: Apache-2.0
"""Scenario files: all errors of one are reported at once."""

from pathlib import Path

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import Section
from sim.emulator.world import World
from sim.plant.scenario import (
    AirSpec,
    Phase,
    Place,
    VehicleSpec,
    WindChange,
    load_scenario,
    scenario_names,
)
from sim.plant.waypoint_spec import FlightSpec, Rally, ReturnSpec, SpeedSpec, Waypoint

NAMES = (
    "bq40, cold_climb, current_offset, half_full, hover, lost_string, lying_gauge, mission, "
    "mission_headwind, payload_drop, survey, weak_cell, worn_pack"
)
GOOD = """
[pack]
chemistry = "li-ion"
cells = 4
cell_mah = 5000
resistance_mohm_ah = 80

[[phase]]
name = "idle"
duration_s = 10
power_w = 5
armed = false
"""


VEHICLE = """
[vehicle]
mass_kg = 2.5
rotors = 4
rotor_diameter_m = 0.33
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_shipped_scenarios_load_and_bear_their_file_names() -> None:
    assert scenario_names() == tuple(NAMES.split(", "))
    for name in scenario_names():
        scenario = load_scenario(name)
        assert scenario.name == name
        assert scenario.about
        assert scenario.waypoints or scenario.phases[-1].duration_s == 20.0


def test_the_survey_is_a_20_minute_flight_of_a_6s_pack() -> None:
    survey = load_scenario("survey")
    assert 19 * 60 < World(survey).duration_s < 22 * 60
    assert (survey.pack.cells, survey.pack.rated_mah) == (6, 16000.0)
    assert survey.air is not None
    assert survey.air.gust_m_s > 1.0


def test_the_cold_climb_starts_at_freezing() -> None:
    pack = load_scenario("cold_climb").pack
    assert (pack.start_degc, pack.ambient_degc) == (0.0, 0.0)


def test_a_file_of_ones_own_loads(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, GOOD))
    assert scenario.name == "mine"
    assert scenario.pack.cutoff_cell_v is None
    assert World(scenario).duration_s == 10.0


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("cells = 4", "cels = 4").replace("power_w = 5", 'power_w = "five"')
    text = text.replace('"li-ion"', '"nimh"') + "gust_fraction = 0.1\n"
    with pytest.raises(ConfigError) as caught:
        load_scenario(written(tmp_path, text + "\n[wether]\n"))
    text = str(caught.value)
    assert len(text.splitlines()) == 6
    for key in ("pack.cells", "pack.cels", "pack.chemistry", "gust_fraction", "power_w", "wether"):
        assert sum(key in line for line in text.splitlines()) == 1
    assert "lipo, lihv, li-ion, lifepo4" in text
    assert "nearest is gust_frac" in text


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("cells = 4", "cells = 17", "pack.cells: expected less than or equal to 16"),
        ("cells = 4", "cells = 16", "gauge.v_scale = 1 is needed for 16 cells"),
        ("cells = 4", "cells = 4.5", "pack.cells: expected a valid integer"),
        ("cell_mah = 5000", "cell_mah = 0", "pack.cell_mah: expected greater than 0"),
        ("cell_mah = 5000", "cell_mah = nan", "pack.cell_mah: expected"),
        ("cell_mah = 5000", "cell_mah = inf", "pack.cell_mah: expected"),
        (
            "cell_mah = 5000",
            "cell_mah = 5000\nocv_bend_v = 0.9",
            "pack: expected an open-circuit voltage that does not fall",
        ),
        ("armed = false", "armed = 1", "phase.1.armed: expected a valid boolean"),
        ("[[phase]]", "[phase]", r"phase: expected \[\[phase\]\] in place of \[phase\]"),
        ("[pack]", "[gauge]\nmanufacturer = 'größer'\n[pack]", "gauge.manufacturer: expected"),
        ("[pack]", "[gauge]\nmanufactured = 1979-12-31\n[pack]", "gauge.manufactured: expected"),
        ("[pack]", "[pack", "is not TOML: .*line 2"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_scenario(written(tmp_path, GOOD.replace(old, new)))


def test_a_vehicle_takes_the_place_of_power(tmp_path: Path) -> None:
    text = VEHICLE + "[air]\nwind_m_s = 3\n" + GOOD.replace("power_w = 5\n", "")
    scenario = load_scenario(written(tmp_path, text))
    assert scenario.vehicle is not None
    assert scenario.vehicle.payload_kg == 0.0
    assert scenario.phases[0].power_w is None


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("power_w = 5\n", "", r": power_w is needed in phase 1, or a \[vehicle\] to compute it$"),
        ("[pack]", "[air]\n[pack]", r": \[air\] needs a \[vehicle\]$"),
        ("[pack]", f"{VEHICLE}mass_g = 1\n[pack]", "vehicle.mass_g is not a known key; .*mass_kg"),
        (
            "power_w = 5",
            "gust_frac = 0.1",
            ": gust_frac is for a phase with power_w; otherwise air",
        ),
        ("[pack]", f"{VEHICLE}rotors = 0\n[pack]", "is not TOML"),
        ("[pack]", f"{VEHICLE}figure_of_merit = 0.9\n[pack]", "expected less than or equal to 0.8"),
        ("[pack]", f"{VEHICLE}[air]\nwind_m_s = -1\n[pack]", "air.wind_m_s: expected greater"),
    ],
)
def test_a_power_that_cannot_be_computed_is_one_sentence(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_scenario(written(tmp_path, GOOD.replace(old, new, 1)))
    assert "\n" not in str(caught.value)


SECTIONS = (
    Phase, VehicleSpec, AirSpec, WindChange, Place,
    Waypoint, FlightSpec, SpeedSpec, ReturnSpec, Rally,
)  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_flight_is_explained(section: type[Section]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "flights.md").read_text(encoding="utf-8")
    keys = [field.alias or name for name, field in section.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.parametrize("flight", ["", "phase = []\n"])
def test_a_file_without_phases_and_waypoints_is_an_error(tmp_path: Path, flight: str) -> None:
    with pytest.raises(ConfigError, match=r"either \[\[phase\]\] or \[\[waypoint\]\] is needed"):
        load_scenario(written(tmp_path, flight + GOOD.partition("[[phase]]")[0]))


def test_phases_and_waypoints_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"either \[\[phase\]\] or \[\[waypoint\]\] is needed"):
        load_scenario(written(tmp_path, GOOD + "[[waypoint]]\ndo = 'return'\n"))


MISSION = GOOD.partition("[[phase]]")[0] + VEHICLE
TAKEOFF = "[[waypoint]]\ndo = 'takeoff'\nheight_m = 20\n"


def test_a_mission_loads(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, f"{MISSION}{TAKEOFF}[[waypoint]]\ndo = 'return'\n"))
    assert [item.do for item in scenario.waypoints] == ["takeoff", "return"]


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("do = 'fly'", "waypoint.2.do: expected one of takeoff, waypoint, loiter, delay, speed"),
        ("north_m = 5.0", "'waypoint': east_m is needed, height_m is needed"),
        ("do = 'takeoff'", "keys that fit 'takeoff': height_m is needed"),
        ("do = 'return'\nnorth_m = 5.0", "keys that fit 'return': north_m does not apply"),
        ("do = 'loiter'", "keys that fit 'loiter': one of hold_s and turns is needed"),
        ("do = 'loiter'\nhold_s = 5.0\nnorth_m = 1.0", "north_m, east_m and height_m are needed"),
        ("do = 'loiter'\nturns = 2.0", "turns and radius_m are needed together"),
        ("do = 'land'\neast_m = 2.0", "'land': north_m and east_m are needed together"),
        ("do = 'jump'\nto = 3", "mine.toml: waypoint 2 jumps to 3 of 2$"),
        ("do = 'speed'\nspeed_m_s = 2.0\nspeed = 'air'", "waypoint.2.speed: expected one of"),
        ("do = 'delay'\nhold_ms = 2.0", "hold_ms is not a known key; the nearest is hold_s"),
    ],
)  # fmt: skip
def test_an_item_that_cannot_be_flown_is_named(tmp_path: Path, item: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_scenario(written(tmp_path, f"{MISSION}{TAKEOFF}[[waypoint]]\n{item}\n"))


def test_every_wrong_item_is_named_at_once(tmp_path: Path) -> None:
    items = "[[waypoint]]\ndo = 'delay'\n[[waypoint]]\nnorth_m = 'far'\n[rally]\n"
    with pytest.raises(ConfigError) as caught:
        load_scenario(written(tmp_path, f"{MISSION}{items}[return]\nto = 'base'\n"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "return.to", "rally", "waypoint.1", "waypoint.2.north_m",
    ]  # fmt: skip


def test_what_a_mission_lacks_is_one_sentence(tmp_path: Path) -> None:
    text = GOOD.partition("[[phase]]")[0] + "[[waypoint]]\ndo = 'jump'\nto = 9\n"
    with pytest.raises(ConfigError) as caught:
        load_scenario(written(tmp_path, text))
    assert str(caught.value).endswith(
        "[[waypoint]] needs a [vehicle]; waypoint 1 is not a takeoff; waypoint 1 jumps to 9 of 1"
    )


CHANGE = "[[air.change]]\nat_s = 100\nwithin_s = 50\nwind_m_s = 9\nwind_from_deg = 20\n"


def test_changes_of_the_wind_follow_each_other(tmp_path: Path) -> None:
    later = CHANGE.replace("100", "149")
    text = f"{MISSION}[air]\n{CHANGE}{later}{TAKEOFF}"
    with pytest.raises(ConfigError, match=r"air.change\]\] begins while the one before"):
        load_scenario(written(tmp_path, text))
    scenario = load_scenario(written(tmp_path, text.replace("149", "150")))
    assert scenario.air is not None
    assert [change.at_s for change in scenario.air.changes] == [100.0, 150.0]


def test_what_applies_to_waypoints_alone_is_refused_for_phases(tmp_path: Path) -> None:
    text = f"{VEHICLE}[air]\n{CHANGE}[flight]\nreturn_at_s = 5\n{GOOD}"
    with pytest.raises(ConfigError) as caught:
        load_scenario(written(tmp_path, text))
    assert str(caught.value).endswith(
        "[flight] needs a [[waypoint]]; [[air.change]] needs a [[waypoint]]"
    )


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        load_scenario("survay")
    assert str(caught.value) == (
        f"'survay' is not a scenario ({NAMES}) or a .toml file; did you mean survey?"
    )


@pytest.mark.parametrize("name", ["", ".", "nul\0byte", "x" * 5000])
def test_an_empty_name_is_one_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a scenario") as caught:
        load_scenario(name)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in (str(tmp_path), str(tmp_path / "binary.toml"), str(tmp_path / "none.toml")):
        with pytest.raises(ConfigError, match=r"cannot be read|is not UTF-8") as caught:
            load_scenario(name)
        assert "\n" not in str(caught.value)
