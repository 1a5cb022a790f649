# SPDX-License-Identifier: Apache-2.0
"""Configurations of every form: sentences, and no exception but `ConfigError`."""

import random

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import Section, validated
from dronebms.protection.limits import every_limit
from dronebms.service.config import Config

TABLES = {
    "battery": ["bus", "address", "gauge", "mux_address", "mux_channel", "recovery", "cells",
                "capacity_mah", "chemistry", "cutoff_cell_v", "continuous_c", "burst_c",
                "limp_home_a", "hover_a", "planned_s"],
    "mavlink": ["url", "system_id", "vehicle", "battery_id", "accept_systems", "signing_key"],
    "limit": ["id", "trip", "clear", "hold_s", "clear_s", "severity"],
    "action": ["on", "do", "hold_s", "cooldown_s", "only_when_armed", "retry_s", "retries",
               "escalate", "speed_m_s", "climb_m_s"],
    "recording": ["dir", "max_mb", "max_days", "file_mb"],
    "state": ["dir"],
    "status": ["socket"],
    "metrics": ["address", "port"],
    "mqtt": ["host", "port", "topic", "period_s", "max_mb", "user", "password_file", "ca",
             "certificate", "key"],
    "charger": ["command", "topic"],
    "topology": [],
}  # fmt: skip
VALUES = [
    "0", "-1", "1", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "3.3", "9" * 20, "9" * 400,
    "true", '"x"', '""', '"\\u0000"', '"\\u001b[2J"', '"../../x"', f'"{"x" * 300}"', "[]", "{}",
    "[1, 2]", '["a", 1]', "[[]]", "{a = 1}", "[{}]", "0x16", "1979-05-27", "07:32:00",
    "1979-05-27T07:32:00Z", '"critical"', '"return"', '"land"', '"/dev/\\u0000"', '"sim:hover"',
    '"sim:\\u0000/x"', '"/proc/x"', '"udpout:a..b:1"', '"serial:\\u0000:1"',
]  # fmt: skip


def text_of(seed: int) -> str:
    """A configuration with random keys and values of every type."""
    dice = random.Random(seed)  # noqa: S311 - a seed gives one file
    parts = ['[[battery]]\nbus = "sim:hover"\n'] if dice.random() < 0.8 else []
    for table, keys in TABLES.items():
        if dice.random() < 0.3 and keys:
            wrong = "".join(
                f"{key} = {dice.choice(VALUES)}\n"
                for key in dice.sample(keys, dice.randint(1, len(keys)))
            )
            brackets = "[[{}]]\n" if dice.random() < 0.6 else "[{}]\n"
            head = brackets.format(table)
            if table == "limit" and dice.random() < 0.7:
                wrong = f'id = "{dice.choice(list(every_limit()))}"\n' + "".join(
                    row + "\n" for row in wrong.splitlines() if not row.startswith("id ")
                )
            parts.append(head + wrong)
    if dice.random() < 0.1:
        parts.insert(0, f"topology = {dice.choice(VALUES)}\n")
    return "".join(parts)


@pytest.mark.parametrize("part", range(4))
def test_a_file_with_values_of_every_type_has_sentences_and_no_other_exception(part: int) -> None:
    outcomes = set()
    for seed in range(part * 250, part * 250 + 250):
        text = text_of(seed)
        try:
            validated(Config, text, "x.toml")
        except ConfigError as error:
            outcomes.add("refused")
            lines = str(error).splitlines()
            assert lines, text
            assert all(line.isprintable() for line in lines), text
        else:
            outcomes.add("accepted")
    assert "refused" in outcomes


@pytest.mark.parametrize(
    ("table", "key"), [(table, key) for table, keys in TABLES.items() for key in keys]
)
def test_every_key_rejects_every_wrong_type_in_one_sentence(table: str, key: str) -> None:
    for value in VALUES if key != "bus" else [one for one in VALUES if one != '"sim:hover"']:
        text = f"[[{table}]]\n" if table in ("battery", "limit", "action") else f"[{table}]\n"
        with pytest.raises(ConfigError, match=r"^x\.toml"):  # there is no battery, or no bus
            validated(Config, f"{text}{key} = {value}\n", "x.toml")


def sections(model: type[Section]) -> list[type[Section]]:
    return [model, *(inner for one in model.__subclasses__() for inner in sections(one))]


@pytest.mark.parametrize("model", sections(Section), ids=lambda model: model.__name__)
def test_no_validator_of_a_table_sees_a_value_before_its_type(model: type[Section]) -> None:
    """A validator before the type check receives lists and tables, which are not hashable."""
    decorators = model.__pydantic_decorators__
    fields = [row.info.mode for row in decorators.field_validators.values()]
    models = [row.info.mode for row in decorators.model_validators.values()]
    assert {*fields, *models} <= {"after"}
