# SPDX-License-Identifier: Apache-2.0
"""Each TOML example of README and docs/ is read as it is printed; each named key exists.

An example of one section is completed with the sections that it needs. A commented line with a key
is an example, too.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from docs_build.schema import configuration_schema
from dronebms.service.config import read_config
from sim.plant.scenario import Scenario, load_scenario

ROOT = Path(__file__).parents[1]
SCENARIOS = ROOT / "sim" / "scenarios"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# Sections that an example needs but does not print, in the order in which they are added.
_NEEDED = (
    ("battery", '[[battery]]\nbus = "/dev/i2c-1"\n'),
    ("mavlink", '[mavlink]\nurl = "serial:/dev/ttyAMA0:921600"\n'),
    ("mqtt", '[mqtt]\nhost = "broker.example"\n'),
)
_COMMENTED_KEY = re.compile(r"^# (?=\[\[?\w+\]|\w+ = [^.]*$|on =|do =)", re.M)
_BLOCK = re.compile(r"^```toml\n(.*?)^```", re.M | re.S)
_INLINE = re.compile(r"`\[{1,2}([a-z]+)\]{1,2}(?: (\w+))?(?: = [^`\n]*)?`")


def examples() -> Iterator[tuple[str, str]]:
    """Name and text of each example, also with its commented keys."""
    for page in PAGES:
        for number, text in enumerate(_BLOCK.findall(page.read_text(encoding="utf-8")), start=1):
            yield f"{page.stem}-{number}", text
            uncommented = _COMMENTED_KEY.sub("", text)
            if uncommented != text:
                yield f"{page.stem}-{number}-with-commented-keys", uncommented


EXAMPLES = tuple(examples())
FLIGHT_SECTIONS = {field.alias or name for name, field in Scenario.model_fields.items()} - {
    "vehicle"  # a section of configurations, too
}


def completed(text: str) -> str:
    """An example of a configuration with the sections that it needs."""
    given = tomllib.loads(text)
    return "".join([text, *(added for name, added in _NEEDED if name not in given)])


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in EXAMPLES])
def test_each_example_is_read_as_printed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    if FLIGHT_SECTIONS & set(tomllib.loads(text)):
        shipped = (SCENARIOS / "hover.toml").read_text(encoding="utf-8")
        path.write_text(text if "[[phase]]" in text else shipped + text, encoding="utf-8")
        assert load_scenario(str(path)).phases
        return
    whole = completed(text)
    path.write_text(whole, encoding="utf-8")
    assert read_config(path).model_fields_set == set(tomllib.loads(whole))
    checker = jsonschema.Draft202012Validator(configuration_schema())
    assert [error.message for error in checker.iter_errors(tomllib.loads(whole))] == []


def test_both_kinds_of_example_are_found() -> None:
    kinds = [bool(FLIGHT_SECTIONS & set(tomllib.loads(text))) for _, text in EXAMPLES]
    assert (kinds.count(True) >= 2, kinds.count(False) >= 15) == (True, True)


def test_each_section_and_key_that_a_page_names_exists() -> None:
    schema = configuration_schema()
    sections = {name: _keys(schema, part) for name, part in schema["properties"].items()}
    unknown = []
    named = 0
    for page in PAGES:
        for section, key in _INLINE.findall(page.read_text(encoding="utf-8")):
            named += 1
            known = section in sections or section in FLIGHT_SECTIONS
            if not known or (section in sections and key and key not in sections[section]):
                unknown.append(f"{page.name}: [{section}] {key}")
    assert named > 50
    assert unknown == []


def _keys(schema: dict[str, object], part: object) -> set[str]:
    """Names of all properties below a part of the schema, references followed."""
    if isinstance(part, list):
        return {key for one in part for key in _keys(schema, one)}
    if not isinstance(part, dict):
        return set()
    found = set(part.get("properties", {}))
    if "$ref" in part:
        definitions = schema["$defs"]
        assert isinstance(definitions, dict)
        return found | _keys(schema, definitions[str(part["$ref"]).rpartition("/")[2]])
    return found | {key for one in part.values() for key in _keys(schema, one)}
