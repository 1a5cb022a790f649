# SPDX-License-Identifier: Apache-2.0
"""Values and actions that cannot be meant: refused, with the likely unit or what to write."""

from pathlib import Path

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import validated
from dronebms.service.config import Config

PACK = '[[battery]]\nbus = "/dev/i2c-1"\ncells = 6\ncapacity_mah = 16000\n'


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        validated(Config, text, "x.toml")
    return str(caught.value).removeprefix("x.toml: ")


def limit(limit_id: str, lines: str) -> str:
    return f'{PACK}[[limit]]\nid = "{limit_id}"\n{lines}\n'


@pytest.mark.parametrize(
    ("limit_id", "lines", "hint"),
    [
        ("cell_critical", "trip = 3300\nclear = 3400", "in millivolts? then write 3.3)"),
        ("cell_critical", "trip = 3.3\nclear = 3400", "in millivolts? then write 3.4)"),
        ("cell_sag", "trip = 3450", "in millivolts? then write 3.45)"),
        ("cell_high_critical", "trip = 4300", "in millivolts? then write 4.3)"),
        ("pack_low", "trip = 19800", "in millivolts? then write 19.8)"),
        ("pack_low", "trip = 3.3", "in volts of a cell? then write 19.8)"),
        ("spread_load", "trip = 300", "in millivolts? then write 0.3)"),
        ("hot_critical", "trip = 333.15", "in kelvin? then write 60)"),
        ("hot_critical", "trip = 3331.5", "in 0.1 kelvin, as the gauge sends it? then write 60)"),
        ("hot", "trip = 122", "in degrees Fahrenheit? then write 50)"),
        ("hot", "trip = -300", "expected -40 to 100 degC"),
        ("charging_hot", "trip = 323.15", "in kelvin? then write 50)"),
        ("charge_low", "trip = 0.15", "in a fraction? then write 15)"),
        ("worn", "trip = 0.8", "in a fraction? then write 80)"),
        ("charging_beyond", "trip = 110", "in percent? then write 1.1)"),
        ("time_low", "trip = 2", "in minutes? then write 120)"),
        ("time_low", "trip = 120000", "in milliseconds? then write 120)"),
        ("charging_long", "trip = 4", "in hours? then write 14400)"),
        ("stored_full", "trip = 24", "in hours? then write 86400)"),
        ("current_2s", "trip = 200000", "in milliamperes? then write 200)"),
        ("charging_fast", "trip = 16000", "in milliamperes? then write 16)"),
        ("current_60s", "trip = 16000", "in milliamperes? then write 16)"),
        ("lost", "trip = 10000", "in milliseconds? then write 10)"),
        ("lost", "trip = 1e9\nclear = 1.0", "expected 1 to 60 s"),
        ("cell_emergency", "trip = -100.0", "expected 1.5 to 4.8 V"),
        ("cell_critical", "trip = 0.5", "expected 1.5 to 4.8 V"),
        ("cell_emergency", "trip = 2.3", "expected trip of 2.47 to 4.8 V of a lipo cell, not 2.3"),
        ("cell_critical", "hold_s = 3000", "in milliseconds? then write 3)"),
        ("cell_critical", "hold_s = 1e9", "expected 0 to 60 s"),
        ("cell_critical", "clear_s = 1e9", "expected 0 to 600 s"),
        ("failed", "trip = 0", "expected 1 to 16"),
    ],
)
def test_a_threshold_in_another_unit_is_refused_with_the_likely_one(
    limit_id: str, lines: str, hint: str
) -> None:
    assert hint in refusal(limit(limit_id, lines))


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("capacity_mah", "16", "in ampere-hours? then write 16000)"),
        ("cutoff_cell_v", "3300", "in millivolts? then write 3.3)"),
        ("hover_a", "35000", "in milliamperes? then write 35)"),
        ("limp_home_a", "35000.0", "in milliamperes? then write 35)"),
        ("planned_s", "15", "in minutes? then write 900)"),
        ("planned_s", "900000", "in milliseconds? then write 900)"),
        ("continuous_c", "16000", "expected 0.05 to 300 C"),
    ],
)
def test_rated_data_in_another_unit_are_refused_with_the_likely_one(
    key: str, value: str, hint: str
) -> None:
    more = "" if key == "hover_a" else "hover_a = 35.0\n"
    sentence = refusal(f"{PACK}{more}{key} = {value}\n".replace("capacity_mah = 16000\n", "", 1))
    assert sentence.startswith(f"battery.1.{key}: ")
    assert hint in sentence


@pytest.mark.parametrize(
    ("chemistry", "limit_id", "trip", "state"),
    [
        ("lipo", "cell_critical", 3.9, "half full"),
        ("lipo", "cell_low", 4.3, "full"),
        ("lipo", "cell_emergency", 3.85, "half full"),
        ("lifepo4", "cell_critical", 3.3, "half full"),
        ("li-ion", "cell_sag", 3.8, "half full"),
        ("lipo", "pack_low", 24.0, "half full"),
        ("lipo", "cell_high", 4.1, "full"),
        ("lipo", "hot", 20.0, "full"),
        ("lipo", "cold", 30.0, "full"),
    ],
)
def test_a_limit_that_a_sound_pack_at_rest_trips_is_refused(
    chemistry: str, limit_id: str, trip: float, state: str
) -> None:
    kind = f'{PACK}chemistry = "{chemistry}"\n'
    sentence = refusal(f'{kind}[[limit]]\nid = "{limit_id}"\ntrip = {trip}\n')
    assert f"a sound {state} {chemistry} pack at rest has" in sentence or "before" in sentence


def test_a_time_that_a_full_pack_does_not_last_is_refused() -> None:
    hovers = PACK + "hover_a = 35.0\n"
    text = hovers + '[[limit]]\nid = "time_low"\ntrip = {}\n'
    validated(Config, text.format(900), "x.toml")
    assert "a sound full lipo pack at rest has 1646" in refusal(text.format(1800))


@pytest.mark.parametrize(
    ("chemistry", "cutoff_v"), [("lifepo4", 3.9), ("lifepo4", 3.3), ("lipo", 3.9), ("li-ion", 3.75)]
)
def test_a_cutoff_that_a_sound_pack_at_rest_has_passed_is_refused(
    chemistry: str, cutoff_v: float
) -> None:
    text = f'{PACK}chemistry = "{chemistry}"\ncutoff_cell_v = {cutoff_v}\n'
    assert f"a sound full {chemistry} pack" in refusal(text) or "half full" in refusal(text)


@pytest.mark.parametrize("chemistry", ["lipo", "lihv", "li-ion", "lifepo4"])
def test_the_defaults_of_every_chemistry_and_usual_changes_are_accepted(chemistry: str) -> None:
    usual = (
        '[[limit]]\nid = "charge_low"\ntrip = 30\n[[limit]]\nid = "hot"\ntrip = 45.0\n'
        '[[limit]]\nid = "time_low"\ntrip = 180\n[[limit]]\nid = "home_turn"\ntrip = 200\n'
        '[[action]]\non = "critical"\ndo = "return"\nescalate = "land"\n'
        '[[action]]\non = "emergency"\ndo = "land"\n'
        '[[action]]\non = "governor"\ndo = "reduce"\nspeed_m_s = 3.0\nhold_s = 0.0\n'
        '[[action]]\non = "hot"\ndo = "reduce"\n[[action]]\non = "hot_critical"\ndo = "return"\n'
    )
    for cells in range(1, 17):
        pack = PACK.replace("cells = 6", f"cells = {cells}")
        config = validated(Config, f'{pack}chemistry = "{chemistry}"\n{usual}', "x.toml")
        assert len(config.limit) == 4


def test_shipped_and_documented_configurations_are_accepted() -> None:
    shipped = Path(__file__).parents[3] / "packaging/dronebms.toml"
    text = shipped.read_text(encoding="utf-8")
    validated(Config, text, "x.toml")
    whole = "\n".join(
        line.removeprefix("# ") if "=" in line or line.startswith("# [") else line
        for line in text.splitlines()
    )
    assert len(validated(Config, whole, "x.toml").action) == 1


# ---------------------------------------------------------------------- actions


def action(on: str, do: str, more: str = "") -> str:
    return f'[[action]]\non = "{on}"\ndo = "{do}"\n{more}\n'


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (action("critical", "return") + action("critical", "land"), "with escalate = land"),
        (action("hot", "land", "hold_s = 60") + action("hot", "return"), "with escalate = land"),
        (
            action("critical", "land") + action("emergency", "return"),
            "land on critical also lands whenever emergency would return",
        ),
        (
            action("cell_critical", "return") + action("warning", "land"),
            "land on warning also lands whenever cell_critical would return",
        ),
        (action("hot", "return") + action("hot", "return", "hold_s = 9"), "twice: write one row"),
        (action("hot", "reduce") + action("hot", "reduce", "speed_m_s = 5"), "twice: write one"),
        (action("info", "return"), "on = warning or worse with do = return"),
        (action("governor", "land"), "do = reduce on governor"),
        (action("critical", "land", "only_when_armed = false"), "only_when_armed = true"),
        (action("critical", "return", "retry_s = 0.001"), "action.1.retry_s: expected 1 to 60 s"),
        (action("critical", "return", "retry_s = 3000"), "in milliseconds? then write 3)"),
        (action("critical", "return", "hold_s = 1e9"), "action.1.hold_s: expected 0 to 120 s"),
        (action("critical", "return", "cooldown_s = 0"), "cooldown_s of 5 s or more"),
        (action("critical", "return", "cooldown_s = 1e9"), "expected 0 to 3600 s"),
        (action("hot", "reduce", "speed_m_s = 0.01"), "action.1.speed_m_s: expected 1 to 100 m/s"),
        (action("hot", "reduce", "speed_m_s = 500"), "in centimetres per second? then write 5)"),
        (action("hot", "reduce", "climb_m_s = 0.001"), "expected 0.3 to 30 m/s"),
        (action("critical", "land", 'escalate = "return"'), "an escalate that is more urgent"),
        (action("critical", "reduce", 'escalate = "land"'), "an escalate that is more urgent"),
        (action("cell_crit", "land"), "of which cell_critical is the nearest"),
    ],
)
def test_actions_that_contradict_each_other_are_refused_with_what_to_write(
    rows: str, why: str
) -> None:
    assert why in refusal(PACK + rows)
    assert why in refusal(PACK + action("hot_emergency", "announce") + rows).replace(
        "action.2.", "action.1."
    )


@pytest.mark.parametrize("on", ["governor", "hot", "warning"])
def test_a_reduction_that_does_nothing_on_px4_is_refused(on: str) -> None:
    px4 = '[mavlink]\nvehicle = "px4"\n'
    assert "does nothing on PX4" in refusal(PACK + px4 + action(on, "reduce"))
    for key in ("speed_m_s", "climb_m_s"):
        validated(Config, PACK + px4 + action(on, "reduce", f"{key} = 3.0"), "x.toml")
    validated(Config, PACK + action(on, "reduce"), "x.toml")


def test_a_trigger_whose_limit_was_made_milder_is_judged_as_configured() -> None:
    rows = action("cell_critical", "return") + action("critical", "land")
    assert "also lands whenever" in refusal(PACK + rows)
    mild = '[[limit]]\nid = "cell_critical"\nseverity = "warning"\n'
    mild += '[[limit]]\nid = "cell_emergency"\nseverity = "warning"\n'
    validated(Config, PACK + rows + mild, "x.toml")


def test_a_critical_limit_is_not_hidden_and_has_one_row() -> None:
    assert "severity warning or worse of a limit that is critical" in refusal(
        limit("cell_critical", 'severity = "info"')
    )
    twice = limit("cell_sag", "trip = 3.5") + '[[limit]]\nid = "cell_sag"\ntrip = 3.55\n'
    assert "one row for limit 'cell_sag'" in refusal(twice)


def test_a_misspelt_scenario_is_refused_with_the_nearest_one() -> None:
    sentence = refusal('[[battery]]\nbus = "sim:hoover"\n')
    assert "did you mean hover?" in sentence
    assert sentence.startswith("battery.1.bus: ")


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("/dev/ttyAMA0", "serial:/dev/ttyAMA0"),
        ("serial:/dev/ttyAMA0,921600", "serial:/dev/ttyAMA0:921600"),
        ("udp:10.0.0.1:14550", "udpout:10.0.0.1:14550"),
    ],
)
def test_a_url_of_another_form_is_refused_with_ours(url: str, meant: str) -> None:
    sentence = refusal(f'{PACK}[mavlink]\nurl = "{url}"\n')
    assert f"did you mean {meant}?" in sentence
    assert sentence.startswith("mavlink.url: expected ")
