# SPDX-License-Identifier: Apache-2.0
"""Atomic file writes."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dronebms.core.atomic_file import atomic_writer
from dronebms.core.errors import ConfigError


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
