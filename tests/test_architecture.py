"""What a machine can check of the design: who imports whom, how long things are, what is absent."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("smartbattery", "dronebms", "mavlink_bridge", "sim")
COMMAND_LINE = r"dronebms\.cli(_\w+)?"  # the entry and the commands beside it
# Import any room.
TOP = re.compile(rf"{COMMAND_LINE}|dronebms\.(app|campaign|options|service|sitl|wiring)")
FLEET = "dronebms.fleet"
BELOW = {
    "smartbattery": ("smartbattery",),
    "dronebms": ("dronebms", "smartbattery"),
    "mavlink_bridge": ("mavlink_bridge", "dronebms", "smartbattery"),
    "sim": ("sim", "dronebms", "smartbattery"),
}
OWNERS = {  # package: the only files that may import it
    "distributed": r"dronebms/fleet/.*",
    "paho": r"dronebms/fleet/.*",
    "prometheus_client": r"dronebms/fleet/.*",
    "matplotlib": r"dronebms/plots\.py",
    "pymavlink": r"mavlink_bridge/.*",
    "rich": r"dronebms/(screen\w*|cli(_\w+)?)\.py",
    "sqlalchemy": r"dronebms/fleet/.*",
    "smbus2": r"smartbattery/linux\.py",
    "time": r"dronebms/clock\.py",
}
TABLES = (
    "smartbattery/registers.py",
    "smartbattery/bq40.py",
    "dronebms/core/chemistry.py",
    "dronebms/estimation/model_parameters.py",
    "dronebms/protection/limits.py",
    "dronebms/cli/options.py",
    "dronebms/telemetry/metric_rows.py",
    "dronebms/analysis/panels.py",
    "dronebms/flightlogs/columns.py",
    "dronebms/health/flight_record.py",
    "dronebms/terminal/labels.py",
    "sim/emulator/bq40_data.py",
    "sim/plant/faults.py",
    "mavlink_bridge/protocol/flight_stacks.py",
)
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_SOURCE_LINES = 13_458
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
CATCHES_ALL = {"Exception", "BaseException"}
Node = TypeVar("Node", bound=ast.AST)


@cache
def sources() -> tuple[Path, ...]:
    return tuple(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """Return a file's name as a message shows it."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of every import, wherever in the file it stands.

    `from a import b` counts as `a` and, when there is such a module, as `a.b` too.
    """
    modules = {module_of(source) for source in sources()}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node.lineno, base
            inner = (f"{base}.{alias.name}" for alias in node.names)
            yield from ((node.lineno, module) for module in inner if module in modules)


def all_imports() -> Iterator[tuple[Path, int, str]]:
    for path in sources():
        for line, module in imports_of(path):
            yield path, line, module


def nodes(kind: type[Node]) -> Iterator[tuple[Path, Node]]:
    for path in sources():
        yield from ((path, node) for node in ast.walk(tree(path)) if isinstance(node, kind))


def report(complaints: Iterable[str]) -> None:
    text = "\n".join(complaints)
    if text:
        pytest.fail(text, pytrace=False)


def test_every_room_has_sources() -> None:
    modules = {module_of(path) for path in sources()}
    report(f"{room}/__init__.py:1: is missing." for room in ROOMS if room not in modules)


def test_imports_point_down_only() -> None:
    report(
        f"{name_of(path)}:{line}: {module_of(path)} must not import {module}: imports point down."
        for path, line, module in all_imports()
        if not TOP.fullmatch(module_of(path))
        and (
            TOP.fullmatch(module)
            or any(
                is_in(module, room) and room not in BELOW[module_of(path).split(".")[0]]
                for room in ROOMS
            )
        )
    )


def test_only_the_command_line_is_above_the_application() -> None:
    report(
        f"{name_of(path)}:{line}: nothing imports the command line, {module_of(path)} neither."
        for path, line, module in all_imports()
        if re.fullmatch(COMMAND_LINE, module)
        and module_of(path) != "dronebms.__main__"
        and (module == "dronebms.cli" or not re.fullmatch(COMMAND_LINE, module_of(path)))
    )


def test_what_only_a_fleet_needs_is_imported_by_the_fleet_alone() -> None:
    report(
        f"{name_of(path)}:{line}: {module} is for a fleet and is imported by {FLEET} alone."
        for path, line, module in all_imports()
        if is_in(module, FLEET) and not is_in(module_of(path), FLEET)
    )
    report(
        f"{name_of(path)}:{node.lineno}: only the command line loads {FLEET}, when it is asked to."
        for path, node in nodes(ast.Constant)
        if isinstance(node.value, str)
        and node.value.startswith(FLEET)
        and not re.fullmatch(COMMAND_LINE, module_of(path))
    )


def test_the_command_line_starts_without_the_fleet() -> None:
    code = (
        "import sys, dronebms.cli; sys.exit(any('fleet' in m or m == 'dask' for m in sys.modules))"
    )
    assert subprocess.run((sys.executable, "-c", code), check=False).returncode == 0  # noqa: S603 - ours


def test_a_service_with_real_packs_carries_no_simulation() -> None:
    code = "import sys, dronebms.cli.run; print({'sim', 'numpy.random'} & {*sys.modules})"
    told = subprocess.run((sys.executable, "-c", code), check=True, capture_output=True)  # noqa: S603 - ours
    assert told.stdout == b"set()\n"


def test_imports_are_absolute() -> None:
    report(
        f"{name_of(path)}:{node.lineno}: a relative import hides which room it reaches."
        for path, node in nodes(ast.ImportFrom)
        if node.level
    )


@pytest.mark.parametrize("package", OWNERS)
def test_a_package_has_one_owner(package: str) -> None:
    report(
        f"{name_of(path)}:{line}: {package} is imported by {OWNERS[package]} alone."
        for path, line, module in all_imports()
        if is_in(module, package) and not re.fullmatch(OWNERS[package], name_of(path))
    )


def test_files_are_short() -> None:
    report(
        f"{name_of(path)}:{lines_of(path)}: a file has at most {MAX_FILE_LINES} lines."
        for path in sources()
        if lines_of(path) > MAX_FILE_LINES and name_of(path) not in TABLES
    )


def test_functions_are_short() -> None:
    report(
        f"{name_of(path)}:{node.lineno}: {node.name} has {length} lines; "
        f"a function has at most {MAX_FUNCTION_LINES}."
        for path, node in nodes(ast.FunctionDef)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    )


def code_lines_of(path: Path) -> int:
    """Return how many lines hold code: no blank line, no comment, no docstring."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    explained: set[int] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            explained.update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    empty = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    code: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in (*empty, tokenize.ENCODING, tokenize.ENDMARKER):
                code.update(range(token.start[0], token.end[0] + 1))
    return len(code - explained)


def test_the_source_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    counted = [path for path in sources() if name_of(path) not in TABLES]
    code, all_lines = sum(map(code_lines_of, counted)), sum(map(lines_of, sources()))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{code} lines of code without tables and docstrings, of {MAX_SOURCE_LINES} "
            f"({all_lines} lines in all source files)\n"
        )
    assert code < MAX_SOURCE_LINES


def test_every_module_says_what_it_is_for() -> None:
    report(
        f"{name_of(path)}:1: a module begins with a docstring."
        for path in sources()
        if not ast.get_docstring(tree(path))
    )


def test_nothing_is_left_unfinished() -> None:
    places = [ROOT / place for place in (*ROOMS, "tests", "benchmarks", "docs")]
    texts = [path for place in places for path in place.rglob("*") if path.is_file()]
    texts += [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile"]
    report(
        f"{name_of(path)}:{number}: {found[0]} is work that was not done."
        for path in texts
        if path.suffix in {"", ".lua", ".md", ".py", ".toml"}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if (found := UNFINISHED.search(line))
    )


def keeps_everything(handler: ast.ExceptHandler) -> bool:
    """Return whether it catches everything and does not, tidied up, let it go on."""
    caught = [handler.type] if handler.type is not None else [ast.Name("BaseException")]
    names = {part.id for kind in caught for part in ast.walk(kind) if isinstance(part, ast.Name)}
    last = handler.body[-1]
    return bool(names & CATCHES_ALL) and not (isinstance(last, ast.Raise) and last.exc is None)


def test_one_place_alone_catches_everything() -> None:
    handlers = [(path, node) for path, node in nodes(ast.ExceptHandler) if keeps_everything(node)]
    found = [(name_of(path), node.lineno) for path, node in handlers]
    report(
        f"{name}:{line}: only around a sink in dronebms/monitoring/pipeline.py catches everything."
        for name, line in found
        if name != "dronebms/monitoring/pipeline.py"
    )
    assert [name for name, _ in found] == ["dronebms/monitoring/pipeline.py"], (
        "once in dronebms/monitoring/pipeline.py"
    )


def test_only_the_command_line_prints() -> None:
    report(
        f"{name_of(path)}:{node.lineno}: only the command line prints."
        for path, node in nodes(ast.Call)
        if isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not re.fullmatch(COMMAND_LINE, module_of(path))
    )


def test_no_module_has_state_that_changes() -> None:
    report(
        f"{name_of(path)}:{node.lineno}: `global` makes a module's state change; use an object."
        for path, node in nodes(ast.Global)
    )


def test_no_attribute_is_made_up() -> None:
    report(
        f"{name_of(path)}:{node.lineno}: {node.name} hides what an object has."
        for path, node in nodes(ast.FunctionDef)
        if node.name in {"__getattr__", "__getattribute__", "__setattr__"}
    )
    report(
        f"{name_of(path)}:{node.lineno}: {node.name} has a metaclass."
        for path, node in nodes(ast.ClassDef)
        if any(keyword.arg == "metaclass" for keyword in node.keywords)
    )
