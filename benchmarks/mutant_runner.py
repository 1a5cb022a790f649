# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of a room against changed programs, each in a process that is forked for it.

Starting Python and importing the packages takes longer than most tests, so a process that has done
that forks one child for each mutant. A mutant that changes the body of a function alone is run on
collected tests: the function gets another `__code__`. One that changes what runs at import gets a child
in which nothing of the project is imported yet. A child ends at the first test that fails.
"""

import ast
import builtins
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import NoReturn

import coverage
import hypothesis
import pytest

EXAMPLES = 10  # of each hypothesis test
CASES = 20  # of a test with parameters, and more while they are short
CASES_S = 1.0  # of processor time, traced, for all cases of a test
LONGEST_TEST_S = 0.5  # of processor time, traced
KILLED, SURVIVED, INVALID, TIMEOUT = "killed", "survived", "invalid", "timeout"
_SURVIVED, _KILLED, _INVALID = 10, 11, 12
_OUTCOMES = {_SURVIVED: SURVIVED, _KILLED: KILLED, _INVALID: INVALID}
_ARGUMENTS = (
    *("-q", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist", "--capture=sys"),
    *("-m", "not slow", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
_MEMORY_BYTES = 4 << 30
_LONG_CASES = 2  # then its other cases are left out, too
_SHORTEST_S = 3.0  # of processor time, for a mutant that does not end
_FUNCTION = 0x1  # inspect.CO_OPTIMIZED


@dataclass(frozen=True)
class Job:
    """A changed module and the tests to run on it, in their order."""

    key: str
    module: str  # dotted name
    path: Path
    source: str  # of the changed module
    tests: tuple[str, ...]
    usual_s: float  # of these tests on the unchanged program
    at_import: bool  # a line that runs while modules are imported or tests collected


@dataclass
class _Chosen:
    """A pytest plugin: the chosen tests in their order, with few examples of each property."""

    tests: Sequence[str] = ()
    run: Callable[[pytest.Session], None] | None = None
    failed: bool = False
    in_test: bool = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            test = getattr(item, "obj", None)
            own = getattr(test, "_hypothesis_internal_use_settings", None)
            if own is not None:
                few = hypothesis.settings(
                    own,
                    max_examples=min(own.max_examples, EXAMPLES),
                    derandomize=True,
                    database=None,
                    deadline=None,  # a busy machine is no change that was noticed
                    suppress_health_check=list(hypothesis.HealthCheck),
                )
                test._hypothesis_internal_use_settings = few  # type: ignore[union-attr]  # noqa: SLF001 - hypothesis has no public way
        cases: dict[str, list[pytest.Item]] = {}
        for item in items:
            cases.setdefault(_test_of(item), []).append(item)
        items[:] = [item for of_test in cases.values() for item in _spread_first(of_test)]
        if self.tests:
            by_id = {item.nodeid: item for item in items}
            items[:] = [by_id[test] for test in self.tests if test in by_id]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self.run is None:
            return None
        self.run(session)
        return True

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self) -> Generator[None, object, object]:
        self.in_test = True
        try:
            return (yield)
        finally:
            self.in_test = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed

    def seconds_of(
        self, items: Sequence[pytest.Item], trace: coverage.Coverage
    ) -> dict[str, float]:
        """Processor time of each test that passes within the limits."""
        seconds: dict[str, float] = {}
        long = Counter[str]()  # of the cases of one test
        count = Counter[str]()  # of the cases of one test that were run
        sum_s = defaultdict[str, float](float)  # of them
        signal.signal(signal.SIGPROF, self.too_long)
        for item, following in zip(items, [*items[1:], None], strict=True):
            name = _test_of(item)
            if long[name] >= _LONG_CASES or (count[name] >= CASES and sum_s[name] >= CASES_S):
                continue
            self.failed = False
            trace.switch_context(item.nodeid)
            start_s = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, LONGEST_TEST_S)
            try:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            except BaseException:  # noqa: BLE001 - the signal came at a bad moment
                self.failed = True
                item.session._setupstate.teardown_exact(None)  # noqa: SLF001 - as pytest ends a session
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            took_s = time.process_time() - start_s
            count[name] += 1
            sum_s[name] += took_s
            if took_s >= LONGEST_TEST_S:
                long[name] += 1
            elif not self.failed:
                seconds[item.nodeid] = took_s
        return seconds

    def too_long(self, _signal: int, _frame: object) -> None:
        """End a test, and nothing else of pytest."""
        if self.in_test:
            raise _TooLongError

    def items_pass(self, items: Sequence[pytest.Item]) -> bool:
        """Run tests until one fails."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return False
        return True


class _TooLongError(BaseException):
    """A test that takes longer than is affordable for every mutant."""


@dataclass(frozen=True)
class Measured:
    """Tests of one file, or what is loaded before any test, on the unchanged program."""

    file: str  # "" for the imports
    lines: dict[str, dict[int, list[str]]]  # tests by path and line
    seconds: dict[str, float]  # of each test, traced
    left_out: list[str]  # tests that fail, are skipped or take too long
    modules: list[str]  # loaded ones that are not the project's


def measure(
    folders: Sequence[str], sources: Sequence[str], processes: int, known: Collection[str]
) -> Iterator[Measured]:
    """Run the files of tests that are not known, traced, in several processes."""
    pipes = []
    for number in range(processes):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            _measure_share(folders, sources, write, (number, processes), known)
        os.close(write)
        pipes.append(os.fdopen(read, encoding="utf-8"))
    left = list(pipes)
    while left:
        for pipe in select.select(left, (), ())[0]:
            line = pipe.readline()
            if not line:
                left.remove(pipe)
                continue
            file, lines, seconds, left_out, modules = json.loads(line)
            numbered = {
                path: {int(number): tests for number, tests in rows.items()}
                for path, rows in lines.items()
            }
            yield Measured(file, numbered, seconds, left_out, modules)
    if any(os.wait()[1] for _ in pipes):
        raise RuntimeError(f"the tests of {' '.join(folders)} could not all be measured")


def _measure_share(
    folders: Sequence[str],
    sources: Sequence[str],
    write: int,
    share: tuple[int, int],
    known: Collection[str],
) -> NoReturn:
    """Run a share of the files under a trace, n of m; write a line for each to a pipe."""
    own, processes = share

    def send(file: str, tests: Collection[str], seconds: dict[str, float]) -> None:
        trace.stop()
        data = trace.get_data()
        lines = {
            path: {
                line: sorted(found)
                for line, contexts in data.contexts_by_lineno(path).items()
                if (found := set(contexts) & set(tests))
            }
            for path in data.measured_files()
        }
        left_out = [test for test in tests if test and test not in seconds]
        row = json.dumps([file, lines, seconds, left_out, _foreign_modules()])
        os.write(write, row.encode() + b"\n")
        trace.erase()
        trace.start()

    def serve(session: pytest.Session) -> None:
        if own == 0:
            send("", ("",), {})
        by_file: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            by_file.setdefault(item.nodeid.partition("::")[0], []).append(item)
        for number, (file, items) in enumerate(by_file.items()):
            if number % processes == own and file not in known:
                seconds = plugin.seconds_of(items, trace)
                send(file, [item.nodeid for item in items], seconds)
        os._exit(0)

    plugin = _Chosen(run=serve)
    trace = coverage.Coverage(data_file=None, source=list(sources), config_file=False)
    trace.set_option("run:disable_warnings", ["no-data-collected"])  # where all tests are skipped
    _quiet()
    trace.start()
    pytest.main([*_ARGUMENTS, *folders], plugins=[plugin])
    os._exit(1)


def run(jobs: Sequence[Job], folders: Sequence[str], processes: int) -> Iterator[tuple[str, str]]:
    """Key and outcome of each job; `processes` mutants run at a time."""
    fast: list[tuple[Job, dict[tuple[str, int], CodeType]]] = []
    slow: list[tuple[Job, CodeType]] = []
    for job in jobs:
        try:
            changed = _compiled(job.source, job.path)
        except (SyntaxError, ValueError):
            yield job.key, INVALID
            continue
        bodies = None if job.at_import else _changed_bodies(job.path, changed)
        if bodies is None:
            slow.append((job, changed))
        else:
            fast.append((job, bodies))
    if fast:
        yield from _run_collected(fast, folders, processes)
    starts = [(job, partial(_import_and_test, job, code)) for job, code in slow]
    yield from _in_children(starts, processes)


def _test_of(item: pytest.Item) -> str:
    """Name of a test without its parameters."""
    return item.nodeid.partition("[")[0]


def _spread_first(items: Sequence[pytest.Item]) -> Sequence[pytest.Item]:
    """All items; first CASES of them that are spread evenly."""
    chosen = {k * len(items) // CASES for k in range(CASES)}
    return [items[k] for k in sorted(range(len(items)), key=lambda k: k not in chosen)]


def preload(modules: Iterable[str]) -> None:
    """Import packages of others, so that a child does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - a child imports it, or not, itself
                continue


def _run_collected(
    jobs: Sequence[tuple[Job, dict[tuple[str, int], CodeType]]],
    folders: Sequence[str],
    processes: int,
) -> Iterator[tuple[str, str]]:
    """Collect the tests in a child, which forks one child of its own for each job."""

    def serve(session: pytest.Session) -> None:
        by_id = {item.nodeid: item for item in session.items}
        functions = _functions()
        gc.freeze()

        def test(job: Job, bodies: dict[tuple[str, int], CodeType]) -> int:
            for function in functions.get(str(job.path), ()):
                code = function.__code__
                changed = bodies.get((code.co_qualname, code.co_firstlineno))
                if changed is not None:
                    function.__code__ = changed
            items = [by_id[test] for test in job.tests if test in by_id]
            return _SURVIVED if plugin.items_pass(items) else _KILLED

        starts = [(job, partial(test, job, bodies)) for job, bodies in jobs]
        for key, outcome in _in_children(starts, processes):
            os.write(write, f"{key}\t{outcome}\n".encode())
        os._exit(0)

    plugin = _Chosen(run=serve)
    read, write = os.pipe()
    server = os.fork()
    if server == 0:
        os.close(read)
        _quiet()
        pytest.main([*_ARGUMENTS, *folders], plugins=[plugin])
        os._exit(1)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        for line in pipe:
            key, outcome = line.rstrip("\n").split("\t")
            yield key, outcome
    os.waitpid(server, 0)


def _import_and_test(job: Job, code: CodeType) -> int:
    """Run the tests with a module that is imported from changed code."""
    sys.meta_path.insert(0, _Finder(job.module, job.path, code))
    try:
        importlib.import_module(job.module)
    except Exception:  # noqa: BLE001 - whatever a changed module raises
        return _INVALID
    files: dict[str, list[str]] = {}
    for test in job.tests:
        files.setdefault(test.partition("::")[0], []).append(test)
    for file, tests in files.items():
        if pytest.main([*_ARGUMENTS, "-x", file], plugins=[_Chosen(tests)]) != pytest.ExitCode.OK:
            return _KILLED
    return _SURVIVED


@dataclass(frozen=True)
class _Finder:
    """Finds one module, with changed code."""

    module: str
    path: Path
    code: CodeType

    def find_spec(
        self, name: str, _path: object = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Spec of the changed module, None for others."""
        if name != self.module:
            return None
        loader = _Loader(name, str(self.path))
        loader.code = self.code
        return spec_from_file_location(name, self.path, loader=loader)


class _Loader(SourceFileLoader):
    code: CodeType

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - of importlib's protocol
        """The changed code."""
        return self.code


def _in_children(
    starts: Sequence[tuple[Job, Callable[[], int]]], processes: int
) -> Iterator[tuple[str, str]]:
    """Run each job in a child, `processes` at a time."""
    waiting, running = list(reversed(starts)), dict[int, tuple[Job, float]]()
    while waiting or running:
        while waiting and len(running) < processes:
            job, start = waiting.pop()
            pid = os.fork()
            if pid == 0:
                _be_child(job, start)
            running[pid] = job, time.monotonic()
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in running:
            job, _ = running.pop(ended)
            outcome = KILLED if os.WIFEXITED(status) else TIMEOUT
            yield job.key, _OUTCOMES.get(os.waitstatus_to_exitcode(status), outcome)
            continue
        for pid, (job, since_s) in running.items():
            if time.monotonic() - since_s - _without_processor_s(pid) > 6 * _longest_s(job):
                os.killpg(pid, signal.SIGKILL)
        select.select((), (), (), 0.005)


def _without_processor_s(pid: int) -> float:
    """Seconds in which a process could run and had no processor: a busy machine is no time-out."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) * 1e-9
    except (OSError, IndexError):  # it has ended, or the kernel does not count it
        return 0.0


def _be_child(job: Job, start: Callable[[], int]) -> NoReturn:
    os.setpgid(0, 0)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    limit_s = int(_longest_s(job))
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    builtins.CosmicRayTestingException = type("CosmicRayTestingException", (Exception,), {})  # type: ignore[attr-defined]
    _quiet()
    code = _KILLED
    try:
        code = start()
    finally:
        os._exit(code)


def _longest_s(job: Job) -> float:
    return _SHORTEST_S + 5.0 * job.usual_s


def _quiet() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(nothing, target)


def _foreign_modules() -> list[str]:
    """Names of the loaded modules that are not the project's."""
    own = {path.name for path in Path.cwd().iterdir() if (path / "__init__.py").is_file()}
    return [name for name in sys.modules if name.partition(".")[0] not in own | {"__main__"}]


def _compiled(source: str, path: Path) -> CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "is" with a literal
        return compile(source, str(path), "exec")


def _functions() -> dict[str, list[FunctionType]]:
    """Every function there is, by the path of its module."""
    found: dict[str, list[FunctionType]] = {}
    for one in gc.get_objects():
        if type(one) is FunctionType:
            found.setdefault(one.__code__.co_filename, []).append(one)
    return found


def _nested(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]


def _changed_bodies(path: Path, changed: CodeType) -> dict[tuple[str, int], CodeType] | None:
    """Code of each function of a changed module; None if more than bodies of functions differ."""
    original = _compiled(path.read_text(encoding="utf-8"), path)
    if not _same_outside_functions(original, changed):
        return None
    found: dict[tuple[str, int], CodeType] = {}
    left = _nested(changed)
    while left:
        code = left.pop()
        left += _nested(code)
        key = (code.co_qualname, code.co_firstlineno)
        if code.co_flags & _FUNCTION:
            if key in found:
                return None  # two of one name on one line
            found[key] = code
    return found


def _same_outside_functions(one: CodeType, other: CodeType) -> bool:
    """Whether modules or classes differ in the bodies of their functions alone."""

    def constants(code: CodeType) -> list[tuple[type, object]]:
        return [(type(c), c) for c in code.co_consts if not isinstance(c, CodeType)]

    mine, others = _nested(one), _nested(other)
    return (
        one.co_code == other.co_code
        and one.co_names == other.co_names
        and constants(one) == constants(other)
        and [(c.co_qualname, c.co_firstlineno) for c in mine]
        == [(c.co_qualname, c.co_firstlineno) for c in others]
        and all(
            a.co_flags & _FUNCTION or _same_outside_functions(a, b)
            for a, b in zip(mine, others, strict=True)
        )
    )


def unobservable_spans(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """First and last place (line, column) of what runs for type checkers or memory alone.

    Annotations, the test of `if TYPE_CHECKING`, and `slots` of a dataclass.
    """
    found: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign | ast.arg):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            found.append(node.returns)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found.append(node.test)
        elif isinstance(node, ast.keyword) and node.arg == "slots":
            found.append(node.value)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        for node in found
        if node is not None
    ]
