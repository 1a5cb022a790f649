# SPDX-License-Identifier: Apache-2.0
"""Rules of the design: what a fresh interpreter loads, and that the linters catch each offence."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.code_lines import FLYING, room_of
from tests.lint import language, module_state, sentences

ROOT = Path(__file__).parents[1]
ROOTS = ("smartbattery", "dronebms", "mavlink_bridge", "sim")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")


def loaded_by(code: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after running `code`."""
    words = (sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)")
    done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return set(done.stdout.split())


def test_every_file_is_counted_in_its_room_and_every_folder_of_one_that_flies_too() -> None:
    files = [path for root in ROOTS for path in (ROOT / root).rglob("*.py")]
    rooms = {path: room_of(path.relative_to(ROOT)) for path in files}
    folders = {f"dronebms/{path.name}" for path in (ROOT / "dronebms").iterdir() if path.is_dir()}
    assert {*rooms.values()} <= {*ROOTS, *folders}
    flying = {path for path, room in rooms.items() if room in FLYING}
    assert flying == {path for room in FLYING for path in (ROOT / room).rglob("*.py")}


@pytest.mark.parametrize(
    "module",
    [
        "dronebms.core.report",
        "mavlink_bridge.protocol.messages",
        "dronebms.telemetry.status_socket",
    ],
)
def test_a_value_and_its_encoders_load_neither_numpy_nor_the_estimator(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not {"numpy", "dronebms.estimation.estimator"} & loaded


def test_the_face_of_core_loads_no_third_party_package() -> None:
    loaded = loaded_by("from dronebms.core import Report, Estimate, Status, ConfigError")
    assert not {"numpy", "pydantic", "dronebms.core.toml_schema"} & loaded


def test_the_smbus_library_loads_no_other_package() -> None:
    loaded = loaded_by("from smartbattery import Gauge, LinuxBus")
    assert not {"dronebms", "numpy", "pydantic", "smbus2"} & loaded


def test_the_command_line_starts_without_extras_and_commands() -> None:
    loaded = loaded_by("import dronebms.cli.main")
    heavy = {
        "dask",
        "paho",
        "prometheus_client",
        "matplotlib",
        "sqlalchemy",
        "pydantic",
        "rich",
        "uvicorn",
        "starlette",
    }
    assert not heavy & loaded


def test_a_service_with_real_packs_carries_no_simulation() -> None:
    assert not {"sim", "numpy.random"} & loaded_by("import dronebms.cli.run")


def ruff_rules(code: str, file: str = "dronebms/monitoring/offence.py") -> set[str]:
    """Rules that `code` breaks by this project's ruff configuration, as if it stood in `file`."""
    words = ("-m", "ruff", "check", "--no-cache", "--output-format=concise", "--stdin-filename")
    done = subprocess.run(  # noqa: S603 - the linter of this environment
        (sys.executable, *words, file, "-"),
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return set(re.findall(r"^\S+:\d+:\d+: ([A-Z]+\d+)", done.stdout, re.MULTILINE))


CLEAN = '"""A module."""\n\nVALUES = {"a": 1}\n'
BANNED_CALLS = {
    "dynamic import": "import importlib\n\nROOM = importlib.import_module('sim.emulator.world')\n",
    "dynamic import by name": "from importlib import import_module\n\nimport_module('sim')\n",
    "wall clock": "from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n",
    "monotonic clock": "import time\n\nNOW_S = time.monotonic()\n",
    "suppressed": "from contextlib import suppress\n\nwith suppress(Exception):\n    int('x')\n",
    "pickle": "import pickle\n\nSTATE = pickle.dumps(1)\n",
}


def test_ruff_accepts_a_clean_module() -> None:
    assert ruff_rules(CLEAN) == set()


@pytest.mark.parametrize("code", BANNED_CALLS.values(), ids=BANNED_CALLS)
def test_ruff_catches_a_banned_call(code: str) -> None:
    assert "TID251" in ruff_rules(f'"""A module."""\n\n{code}')


def test_ruff_catches_print_outside_the_command_line() -> None:
    printing = '"""A module."""\n\nprint(1)\n'
    assert "T201" in ruff_rules(printing)
    assert "T201" not in ruff_rules(printing, "dronebms/cli/offence.py")


WRITES = {
    "subscript": "CACHE = {}\n\ndef f(key):\n    CACHE[key] = 1\n",
    "nested": 'CACHE = {"a": {}}\n\ndef f(key):\n    CACHE["a"][key] = 1\n',
    "del": "CACHE = dict(a=1)\n\ndef f():\n    del CACHE['a']\n",
    "augmented": "CACHE: set[int] = set()\n\nclass A:\n    def f(self):\n        CACHE.add(1)\n",
    "list": "SEEN = [n for n in range(3)]\n\ndef f():\n    SEEN.append(4)\n",
    "update in a branch": "if True:\n    CACHE = {}\n\ndef f():\n    CACHE.setdefault(1, 2)\n",
    "global": "COUNT = 0\n\ndef f():\n    global COUNT\n    COUNT += 1\n",
    "made-up attribute": "class A:\n    def __getattr__(self, name):\n        return name\n",
    "metaclass": "class A(metaclass=type):\n    pass\n",
}


@pytest.mark.parametrize("code", WRITES.values(), ids=WRITES)
def test_the_module_state_lint_catches_a_write(code: str) -> None:
    assert len(list(module_state.offences(code))) == 1


def test_the_module_state_lint_accepts_tables_and_local_names() -> None:
    code = (
        'ROWS = {"a": 1}\nNAMES = [*ROWS]\n\ndef f(NAMES):\n    NAMES.append(1)\n'
        "    found = dict(ROWS)\n    found['b'] = 2\n    return found, ROWS.get('a')\n"
    )
    assert list(module_state.offences(code)) == []


def test_no_module_has_state_that_changes() -> None:
    assert list(module_state.check(module_state.files())) == []


LONG = " ".join(["word"] * 26)
LONG_TEXTS = {
    "paragraph": f"A sentence.\n\n{LONG}.\n",
    "over two lines": f"{LONG[:60]}\n{LONG[61:]}.\n",
    "after another sentence": f"A sentence. {LONG.capitalize()}.\n",
    "after a semicolon": f"word; {LONG[5:]}.\n",
    "item of a list": f"- one\n- {LONG}\n",
    "second line of an item": f"- {LONG[:60]}\n  {LONG[61:]}\n",
    "second paragraph of an item": f"- one\n\n    {LONG}\n",
    "cell of a table": f"| a | b |\n|---|---|\n| one | {LONG} |\n",
    "heading": f"## {LONG}\n",
    "link": f"[{LONG}](page.md#place)\n",
    "quotation": f"> {LONG}\n",
    "next to code": f"```\n{LONG}\n```\n{LONG}\n",
    "with code": f"`a b c` {LONG[5:]}\n",
}
SHORT_TEXTS = {
    "25 words": LONG[5:] + ".\n",
    "two sentences": f"{LONG[:64]}. Word {LONG[65:]}.\n",
    "a sentence that begins with code": f"{LONG[:64]}. `word` {LONG[65:]}.\n",
    "items": f"- {LONG[:64]}\n- {LONG[65:]}\n",
    "cells": f"| {LONG[:64]} | {LONG[65:]} |\n",
    "paragraphs": f"{LONG[:64]}\n\n{LONG[65:]}\n",
    "heading and paragraph": f"# {LONG[:64]}\n{LONG[65:]}\n",
    "block of code": f"```toml\n{LONG}\n```\n",
    "block of code in a list": f"- one\n\n  ```toml\n  {LONG}\n  ```\n",
    "indented code": f"Text:\n\n    {LONG}\n",
    "code": f"`{LONG}`\n",
    "address of a link": f"[one](page.md#{LONG.replace(' ', '-')}) and an ![image](a.svg)\n",
    "comment": f"<!-- {LONG} -->\n",
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_the_sentence_lint_catches_a_long_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    found = list(sentences.check([tmp_path / "page.md"], tmp_path))
    assert [(name, count) for name, _, count, _ in found] == [("page.md", 26)]


@pytest.mark.parametrize("text", SHORT_TEXTS.values(), ids=SHORT_TEXTS)
def test_the_sentence_lint_accepts_short_sentences(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    assert list(sentences.check([tmp_path / "page.md"], tmp_path)) == []


def test_the_sentence_lint_names_the_line_at_which_a_block_begins(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# Title\n\nOne.\n\n```\ncode\n```\n\nTwo.\n{LONG}.\n")
    ((_, line, _, _),) = sentences.check([tmp_path / "page.md"], tmp_path)
    assert line == 9


def test_no_sentence_of_the_user_pages_is_long() -> None:
    pages = list(sentences.files())
    assert {"README.md", "index.md", "json.md"} <= {page.name for page in pages}
    assert list(sentences.check(pages)) == []


BANNED = "".join(("to", "ld"))  # not spelled out: the lint reads this file too


@pytest.mark.parametrize(
    "text",
    [f"# is {BANNED} so", f"self._{BANNED}_s = 1", f"class {BANNED.title()}Value:", BANNED.upper()],
)
def test_the_language_lint_catches_a_banned_word(text: str) -> None:
    found = list(language.hits("dronebms/core/offence.py", f"first line\n{text}\n"))
    assert [(line, word.lower()) for line, word in found] == [(2, BANNED)]


def test_the_language_lint_reads_file_names_and_leaves_other_words() -> None:
    assert list(language.hits(f"sim/{BANNED}.py", "")) == [(0, BANNED)]
    assert list(language.hits("sim/gauge.py", "tolerance, unfold, besides, header, saying")) == []


UPWARD = {
    "dronebms/estimation/estimator.py": "from dronebms.terminal.display import Screen",
    "dronebms/core/number_format.py": "from sim.emulator.world import World",
    "smartbattery/bus.py": "from dronebms.core.report import Report",
    "sim/plant/pack.py": "from sim.emulator.bus import VirtualBus",
    "dronebms/recording/records.py": "import smbus2",
}
BROKEN = (
    "Imports point down only, over the four roots",
    "Every room of dronebms has its layer",
    "The emulator is built on the plant",
    "smbus2 is imported by smartbattery alone",
)


def broken_contracts(tree: Path) -> set[str]:
    """Names of the contracts that import-linter finds broken in a tree with this configuration."""
    shutil.copy(ROOT / "pyproject.toml", tree)
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(  # noqa: S603 - the linter of this environment
        (sys.executable, "-c", code, "--no-cache"),
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return set(re.findall(r"^(.+) BROKEN\b", done.stdout, re.MULTILINE))


def test_import_linter_catches_imports_that_point_up(tmp_path: Path) -> None:
    for root in ROOTS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / root, tmp_path / root, ignore=ignored)
    assert broken_contracts(tmp_path) == set()
    for file, line in UPWARD.items():
        with (tmp_path / file).open("a", encoding="utf-8") as module:
            module.write(f"\n{line}\n")
    assert set(BROKEN) <= broken_contracts(tmp_path)


def texts() -> Iterator[Path]:
    for place in (*ROOTS, "tests", "benchmarks", "research", "examples", "docs"):
        yield from (path for path in (ROOT / place).rglob("*") if path.is_file())
    yield from (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile")


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        if path.suffix in {"", ".lua", ".md", ".py", ".toml", ".html"}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_every_program_takes_options_by_their_whole_names_alone() -> None:
    short = []
    for folder in ("benchmarks", "docs_build", "research", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("ArgumentParser"):
                    options = {one.arg: ast.unparse(one.value) for one in call.keywords}
                    if options.get("allow_abbrev") != "False":
                        short.append(f"{path}:{call.lineno}")
    assert not short


def test_one_statement_sets_one_value_unless_values_are_exchanged() -> None:
    found = []
    for path in (path for root in ROOTS for path in (ROOT / root).rglob("*.py")):
        for one in ast.walk(ast.parse(path.read_text())):
            if not isinstance(one, ast.Assign) or not isinstance(one.value, ast.Tuple):
                continue
            (target, *_), values = one.targets, one.value.elts
            if not isinstance(target, ast.Tuple) or len(target.elts) != len(values):
                continue
            names = {ast.unparse(name) for name in target.elts}
            used = {
                ast.unparse(part)
                for value in values
                for part in ast.walk(value)
                if isinstance(part, ast.Name | ast.Attribute | ast.Subscript)
            }
            if not names & used and not any(isinstance(v, ast.Starred) for v in values):
                found.append(f"{path.relative_to(ROOT)}:{one.lineno}")
    assert found == []


def test_every_module_of_the_coverage_gate_exists() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is missing; install it with: sudo apt install make")
    words = (make, "--dry-run", "--always-make", "test-all")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - our own Makefile
    modules = re.findall(r"--cov=(\S+)", done.stdout)
    assert len(modules) > 10
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module
