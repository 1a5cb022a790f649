# SPDX-License-Identifier: Apache-2.0
"""Generated files equal what the code generates; a shell, man and a schema reader accept them."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest

from docs_build.command_line import SHELLS
from docs_build.generated import ROOT, generated_files, stale_files
from docs_build.reference_pages import unit_of
from docs_build.schema import configuration_schema
from dronebms.cli.options import PAGES
from dronebms.flightlogs.flight_log import BATTERY_COLUMNS, VEHICLE_COLUMNS
from dronebms.protection.limits import every_limit
from dronebms.service.config.battery_config import BatteryConfig
from dronebms.telemetry.config import MqttConfig
from dronebms.telemetry.json_line import KEYS

PACKAGING = ROOT / "packaging"
CONFIGURATIONS = (PACKAGING / "dronebms.toml", ROOT / "examples" / "any_drone.toml")


def installed(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing; install it with: sudo apt install {name}")
    return path


def test_every_generated_file_is_up_to_date() -> None:
    assert stale_files() == [], "run `make docs` and commit the files"


def test_a_stale_or_absent_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("docs_build.generated.ROOT", tmp_path)
    files = generated_files()
    assert stale_files() == list(files)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert stale_files() == []
    (tmp_path / "packaging/dronebms.1").write_text("other", encoding="utf-8")
    assert stale_files() == ["packaging/dronebms.1"]


# ---------------------------------------------------------------------- completion, man page


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dronebms pro", {"probe"}),
        ("dronebms probe --sc", {"--scan"}),
        ("dronebms probe --gauge bq40z5", {"bq40z50"}),
        ("dronebms check -", {"-c", "--config", "--limits", "--vehicle"}),
    ],
)
def test_bash_completes_commands_options_and_choices(line: str, expected: set[str]) -> None:
    words = line.split()
    script = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_shtab_dronebms "$1" "${@: -1}" "${@: -2:1}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    file = PACKAGING / "completion" / SHELLS["bash"]
    done = subprocess.run(  # noqa: S603 - our own script
        [installed("bash"), "-c", script, "bash", str(file), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected <= set(done.stdout.split())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_accept_their_script(shell: str) -> None:
    file = PACKAGING / "completion" / SHELLS[shell]
    done = subprocess.run(  # noqa: S603 - our own script
        [installed(shell), "-n", str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_of_each_shell_has_every_command(shell: str) -> None:
    text = (PACKAGING / "completion" / SHELLS[shell]).read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.name not in text] == []


def test_man_renders_every_command_without_a_warning() -> None:
    done = subprocess.run(  # noqa: S603 - our own page
        [installed("man"), "--warnings=w", "-l", str(PACKAGING / "dronebms.1")],
        capture_output=True,
        text=True,
        check=True,
        env={"MANWIDTH": "100", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
    assert [page.name for page in PAGES if f"dronebms {page.name}\n" not in done.stdout] == []


# ---------------------------------------------------------------------- JSON schema


def errors_of(text: str) -> list[str]:
    checker = jsonschema.Draft202012Validator(configuration_schema())
    return [f"{one.json_path} {one.message}" for one in checker.iter_errors(tomllib.loads(text))]


def test_the_schema_is_one_and_accepts_the_shipped_configurations() -> None:
    jsonschema.Draft202012Validator.check_schema(configuration_schema())
    for path in CONFIGURATIONS:
        assert errors_of(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "$ 'battery' is a required property"),
        ('[[battery]]\nbus = "/dev/i2c-1"\ncels = 6\n', "$.battery[0] Additional properties"),
        ('[[battery]]\nbus = "/dev/i2c-1"\ncells = 60\n', "$.battery[0].cells 60 is greater"),
        (
            '[[battery]]\nbus = "/dev/i2c-1"\ncutoff_cell_v = 3300.0\n',
            "$.battery[0].cutoff_cell_v 3300.0 is greater than the maximum of 4.2",
        ),
        (
            '[[battery]]\nbus = "/dev/i2c-1"\nchemistry = "nimh"\n',
            "$.battery[0].chemistry 'nimh' is not one of",
        ),
        (
            '[[battery]]\nbus = "/dev/i2c-1"\n[[action]]\non = "criticall"\ndo = "land"\n',
            "$.action[0].on 'criticall' is not one of",
        ),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(text: str, place: str) -> None:
    assert any(line.startswith(place) for line in errors_of(text)), errors_of(text)


def test_every_key_of_the_schema_has_a_description() -> None:
    schema = configuration_schema()
    tables = {"Config": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, table in tables.items()
        for key, row in table["properties"].items()
        if not row.get("description")
    ]
    assert bare == []


# ---------------------------------------------------------------------- reference pages


def cells_of(page: str) -> list[list[str]]:
    """Cells of the rows of a page's tables."""
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [re.split(r" (?<!\\)\| ", row.strip("| ")) for row in rows]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("limits", set(every_limit())),
        ("json", {row.name for row in KEYS}),
        ("exit_codes", {"0", "1", "2", "75", "130"}),
        ("flight_csv", {row.name for row in (*BATTERY_COLUMNS, *VEHICLE_COLUMNS)}),
        ("configuration", set(BatteryConfig.model_fields) | set(MqttConfig.model_fields)),
    ],
)
def test_each_row_of_the_code_is_on_its_page_with_a_meaning(page: str, names: set[str]) -> None:
    rows = {row[0].strip("`"): row for row in cells_of(page)}
    assert names <= set(rows)
    assert [name for name in names if not rows[name][-1].strip("- ")] == []


def test_a_unit_is_that_of_the_suffix() -> None:
    units = {"speed_m_s": "m/s", "hold_s": "s", "cutoff_cell_v": "V", "burst_c": "C", "cells": ""}
    assert {name: unit_of(name) for name in units} == units
