# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes."""

import errno
import fcntl
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dronebms.core import atomic_file
from dronebms.core.atomic_file import atomic_writer, created
from dronebms.core.errors import ConfigError
from dronebms.probe import recording
from dronebms.recording import blocks


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "predictions.jsonl"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_final_name_does_not_exist_until_the_block_ends(place: Path) -> None:
    with atomic_writer(place) as file:
        file.write("µ\n")
        file.flush()
        assert not place.exists()
        assert len(names_in(place.parent)) == 1
    assert place.read_bytes() == "µ\n".encode()
    assert names_in(place.parent) == [place.name]


def test_bytes_are_written_through_the_buffer(place: Path) -> None:
    with atomic_writer(place) as file:
        file.buffer.write(b"\x89PNG\r\n")
    assert place.read_bytes() == b"\x89PNG\r\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, BrokenPipeError])
def test_after_an_exception_only_the_old_file_is_there(
    place: Path, error: type[BaseException]
) -> None:
    place.write_text("old")
    with pytest.raises(error), atomic_writer(place) as file:  # noqa: PT012  # the block is under test
        file.write("new")
        raise error
    assert place.read_text() == "old"
    assert names_in(place.parent) == [place.name]


def test_a_new_file_has_default_permissions(place: Path) -> None:
    ordinary = place.with_name("ordinary")
    ordinary.write_text("")
    with atomic_writer(place) as file:
        file.write("new")
    assert mode_of(place) == mode_of(ordinary)


def test_a_replaced_file_keeps_its_permissions(place: Path) -> None:
    place.write_text("a longer old text")
    place.chmod(0o640)
    with atomic_writer(place) as file:
        file.write("new")
    assert mode_of(place) == 0o640
    assert place.read_text() == "new"


def test_a_symbolic_link_stays_one(place: Path) -> None:
    link = place.with_name("link")
    link.symlink_to(place.name)
    with atomic_writer(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert place.read_text() == "new"


def test_a_pipe_is_written_and_not_replaced(place: Path) -> None:
    os.mkfifo(place)
    reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with atomic_writer(place) as file:
            file.write("through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert place.is_fifo()
    assert names_in(place.parent) == [place.name]


def test_a_full_device_is_one_sentence() -> None:
    with (
        pytest.raises(ConfigError, match=r"^/dev/full cannot be written: No space left on device$"),
        atomic_writer(Path("/dev/full")) as file,
    ):
        file.write("lost")


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_running_out_of_space_leaves_no_file(place: Path) -> None:
    with (
        no_file_above(1000),
        pytest.raises(ConfigError, match=r"jsonl cannot be written: File too large$"),
        atomic_writer(place) as file,
    ):
        file.write("x" * 100_000)
    assert names_in(place.parent) == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from dronebms.core import atomic_file
from dronebms.core.atomic_file import atomic_writer, created
with atomic_writer(Path(sys.argv[1])) as file:
    file.write("half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_has_left_is_removed_by_the_next_write(place: Path) -> None:
    for name in ("predictions", "p" * 60):  # longer than what the temporary name has of it
        path = place.with_name(f"{name}.jsonl")
        killed = subprocess.run([sys.executable, "-c", _KILLED, path], check=False)  # noqa: S603 - ours
        assert killed.returncode == -signal.SIGKILL
        assert [left.suffix for left in place.parent.iterdir()] == [".part"]
        with atomic_writer(path) as file:
            file.write("whole")
        assert names_in(place.parent) == [path.name]
        assert path.read_text() == "whole"
        path.unlink()


def test_the_temporary_file_of_a_running_writer_stays(place: Path) -> None:
    with atomic_writer(place) as first:
        first.write("first")
        with atomic_writer(place) as second:
            second.write("second")
        assert place.read_text() == "second"
    assert place.read_text() == "first"
    assert names_in(place.parent) == [place.name]


def test_files_of_other_names_are_not_taken_for_left_ones(place: Path) -> None:
    others = (".predictions-.part", ".predictions-0123456.part", ".other-01234567.part", "x.part")
    for name in others:
        place.with_name(name).write_text("")
    place.with_name(".predictions-01234567.part").mkdir()
    with atomic_writer(place) as file:
        file.write("new")
    assert len(names_in(place.parent)) == len(others) + 2


def test_a_file_that_grows_appears_with_its_first_data(place: Path) -> None:
    place.with_name(".predictions-01234567.part").write_text("of a kill")
    with created(place, b"first ") as file:
        assert place.read_bytes() == b"first "
        file.write(b"second")
    assert place.read_bytes() == b"first second"
    with pytest.raises(FileExistsError):
        created(place, b"another")
    assert place.read_bytes() == b"first second"
    assert names_in(place.parent) == [place.name]


@pytest.mark.parametrize("name", ["write_all", "sync_folder"])
def test_a_file_that_cannot_be_created_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_file, name, fail)
    with pytest.raises(OSError, match="No space left"):
        created(place, b"first")
    assert names_in(place.parent) == []


def test_a_folder_that_cannot_be_listed_is_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: object) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with atomic_writer(place) as file:
        file.write("new")
    monkeypatch.undo()
    assert names_in(place.parent) == [place.name]


def test_a_temporary_file_that_is_taken_before_it_is_locked_is_replaced(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def lock(_file: object, how: int) -> None:
        if how == fcntl.LOCK_EX and not taken:
            taken.extend(place.parent.glob(".*.part"))
            taken[0].unlink()

    monkeypatch.setattr(fcntl, "flock", lock)
    with atomic_writer(place) as file:
        file.write("whole")
    assert len(taken) == 1
    assert place.read_text() == "whole"
    assert names_in(place.parent) == [place.name]


def test_a_path_that_cannot_be_written_is_one_sentence(place: Path) -> None:
    place.write_text("a file")
    bad = {
        place.parent: "it is a directory",
        place / "below.jsonl": "Not a directory",
        place.parent / "absent" / "p.jsonl": "No such file or directory",
        place.with_name("n" * 300): "File name too long",
    }
    for path, reason in bad.items():
        with pytest.raises(ConfigError) as caught, atomic_writer(path) as file:
            file.write("new")
        assert str(caught.value) == f"{path} cannot be written: {reason}"
    assert names_in(place.parent) == [place.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run as another user")
def test_a_directory_without_permission_is_one_sentence(place: Path) -> None:
    place.parent.chmod(0o500)
    with (
        pytest.raises(ConfigError, match=r"cannot be written: Permission denied$"),
        atomic_writer(place) as file,
    ):
        file.write("new")
    assert names_in(place.parent) == []


@pytest.mark.parametrize("kind", ["database", "recording", "readout"])
def test_no_output_replaces_what_was_recorded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "database":
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE flight (id)")
    else:
        path.write_bytes({"recording": blocks.MAGIC, "readout": recording.MAGIC}[kind])
    before = path.read_bytes()
    why = "cannot be written: it is a database or a recording"
    with pytest.raises(ConfigError, match=why), atomic_writer(path) as file:
        file.write("{}")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
