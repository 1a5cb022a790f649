# SPDX-License-Identifier: Apache-2.0
"""Module-state lint: finds module-level containers that are written, and attributes made up.

`python -m tests.lint.module_state [FILES]` prints `file:line: sentence` for each hit and exits with
1 when there is one.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("smartbattery", "dronebms", "mavlink_bridge", "sim")

MUTABLE_NODES = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MUTABLE_CALLS = re.compile(
    r"dict|list|set|bytearray|defaultdict|OrderedDict|Counter|deque|ChainMap|Weak\w+(Dictionary|Set)"
)
WRITING_METHODS = re.compile(
    r"append|add|update|setdefault|pop|popitem|clear|extend|insert|remove|discard|sort|reverse|"
    r"(append|extend|pop)left|rotate|subtract|move_to_end|\w+_update|__(set|del)item__"
)
MADE_UP = frozenset({"__getattr__", "__getattribute__", "__setattr__", "__delattr__"})


def is_mutable(value: ast.expr | None) -> bool:
    """Whether an expression makes a container that can be written."""
    if isinstance(value, MUTABLE_NODES):
        return True
    if not isinstance(value, ast.Call):
        return False
    function = value.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return MUTABLE_CALLS.fullmatch(name) is not None


def module_containers(tree: ast.Module) -> frozenset[str]:
    """Names that the module binds to a mutable container, also inside if and try."""
    names: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Assign) and is_mutable(node.value):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        if isinstance(node, ast.AnnAssign | ast.NamedExpr) and is_mutable(node.value):
            names.update(target.id for target in (node.target,) if isinstance(target, ast.Name))
        pending.extend(ast.iter_child_nodes(node))
    return frozenset(names)


def name_below(node: ast.expr) -> str:
    """The name that a subscript or attribute chain begins with; empty when it is no name."""
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def local_names(function: ast.AST) -> frozenset[str]:
    """Names that a function binds itself: its arguments and plain assignments."""
    names: set[str] = set()
    declared_outside: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            names.add(node.arg)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if isinstance(node, ast.Global):
            declared_outside.update(node.names)
    return frozenset(names - declared_outside)


def targets_of(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that a statement writes to, each of a tuple by itself."""
    written: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        written = list(node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.AsyncFor):
        written = [node.target]
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        written = [node.optional_vars]
    while written:
        target = written.pop()
        if isinstance(target, ast.Tuple | ast.List):
            written.extend(target.elts)
        else:
            yield target


def written_names(node: ast.AST) -> Iterator[str]:
    """Yield the name of each container whose content a node changes."""
    for target in targets_of(node):
        if isinstance(target, ast.Subscript) or isinstance(node, ast.AugAssign | ast.Delete):
            yield name_below(target)
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute) and WRITING_METHODS.fullmatch(function.attr):
        yield name_below(function.value)


def writes_in(node: ast.AST, containers: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of each write to one of `containers` below `node`, scope by scope."""
    for child in ast.iter_child_nodes(node):
        visible = containers
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            visible = containers - local_names(child)
        line = getattr(child, "lineno", 0)
        for name in written_names(child):
            if name in visible:
                yield line, name
        yield from writes_in(child, visible)


def offences(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, sentence) of each offence in a module's source."""
    tree = ast.parse(source)
    for line, name in writes_in(tree, module_containers(tree)):
        yield line, f"{name} is module state that is written; pass an object"
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node.lineno, "`global` makes module state; pass an object"
        elif isinstance(node, ast.FunctionDef) and node.name in MADE_UP:
            yield node.lineno, f"{node.name} hides the attributes of an object"
        elif isinstance(node, ast.ClassDef) and any(
            word.arg == "metaclass" for word in node.keywords
        ):
            yield node.lineno, f"{node.name} has a metaclass"


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield every module of the product."""
    for room in ROOMS:
        yield from sorted((root / room).rglob("*.py"))


def check(paths: Iterable[Path], root: Path = ROOT) -> Iterator[tuple[str, int, str]]:
    """Yield (file, line, sentence) of each offence in `paths`."""
    for path in paths:
        absolute = path.resolve()
        name = absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(path)
        for line, sentence in offences(path.read_text(encoding="utf-8")):
            yield name, line, sentence


def main(arguments: list[str] | None = None) -> int:
    """Print the offences; the exit code is 1 when there is any."""
    parser = argparse.ArgumentParser(prog="python -m tests.lint.module_state", allow_abbrev=False)
    parser.add_argument("files", nargs="*", type=Path, help="files; default: all of the product")
    options = parser.parse_args(arguments)
    found = list(check(options.files or files()))
    for name, line, sentence in found:
        sys.stdout.write(f"{name}:{line}: {sentence}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
