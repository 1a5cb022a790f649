"""Scenario files: all errors of one are reported at once."""

from pathlib import Path

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import Section
from sim.plant.scenario import AirSpec, Phase, Place, VehicleSpec, load_scenario, scenario_names

NAMES = (
    "bq40, cold_climb, current_offset, half_full, hover, lost_string, lying_gauge, payload_drop, "
    "survey, weak_cell, worn_pack"
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
        assert scenario.phases[-1].duration_s == 20.0


def test_the_survey_is_a_20_minute_flight_of_a_6s_pack() -> None:
    survey = load_scenario("survey")
    assert 19 * 60 < survey.duration_s < 22 * 60
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
    assert scenario.duration_s == 10.0


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
        ("cells = 4", "cells = 16", "pack.cells: expected less than or equal to 15"),
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
        ("[[phase]]", "[phase]", "phase: expected a valid tuple"),
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


@pytest.mark.parametrize("section", [Phase, VehicleSpec, AirSpec, Place])
def test_every_key_of_a_flight_is_explained(section: type[Section]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "flights.md").read_text(encoding="utf-8")
    assert [key for key in section.model_fields if f"`{key}`" not in text] == []


def test_a_file_without_phases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="phase is needed"):
        load_scenario(written(tmp_path, GOOD.partition("[[phase]]")[0]))


def test_a_flight_without_phases_is_refused(tmp_path: Path) -> None:
    text = "phase = []\n" + GOOD.partition("[[phase]]")[0]
    with pytest.raises(ConfigError, match="phase: expected at least one phase"):
        load_scenario(written(tmp_path, text))


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
