# SPDX-License-Identifier: Apache-2.0
"""No file is read or expanded past a bound: one sentence, little time, little memory."""

import gzip
import os
import re
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dronebms.core import bounded_input
from dronebms.core.bounded_input import BoundError, Lines, Window, read_bytes, read_stored
from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import Section, read_text, validated
from tests.special_files import special_file

MOST_BYTES = 40e6
MARK = re.compile(b"MARK")


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def packed(path: Path, chunk: bytes, count: int, head: bytes = b"") -> Path:
    with gzip.open(path, "wb", 6) as file:
        file.write(head)
        for _ in range(count):
            file.write(chunk)
    return path


def refusal(path: Path) -> str:
    try:
        read(path)
    except BoundError as error:
        return str(error)
    return ""


def read(path: Path) -> int:
    """Number of lines of a table."""
    count = 0
    with closing(Lines(path)) as lines:
        for _ in lines:
            lines.row_chars = 0
            count += 1
    return count


def test_a_file_is_read_up_to_its_bound_and_no_device_further(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10)
    assert read_bytes(path, 10) == b"x" * 10
    with pytest.raises(BoundError, match="more than 9 bytes"):
        read_bytes(path, 9)
    with little_memory(), pytest.raises(BoundError, match="more than 1048576 bytes"):
        read_bytes(Path("/dev/zero"))


def test_a_pipe_is_read_as_its_writer_writes_and_not_waited_for_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sink = os.pipe()
    # What is left after 100,000 bytes has a place in the pipe, so that the writer ends by itself.
    writer = threading.Thread(target=lambda: [os.write(sink, b"x" * 5000) for _ in range(24)])
    writer.start()
    with pytest.raises(BoundError, match="more than 99999 bytes"):
        read_bytes(Path(f"/dev/fd/{source}"), 99_999)
    writer.join()
    os.read(source, 200_000)
    os.write(sink, b"phrase")
    os.close(sink)
    assert read_bytes(Path(f"/dev/fd/{source}")).endswith(b"phrase")
    os.close(source)
    monkeypatch.setattr(bounded_input, "_WAIT_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BoundError, match=r"a pipe without data for 0\.05 s"):
        read_bytes(tmp_path / "pipe")


def test_a_file_that_cannot_be_opened_leaves_no_open_file(tmp_path: Path) -> None:
    before = os.listdir("/dev/fd")  # noqa: PTH208 - numbers
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(OSError, match="directory"):
            read_bytes(path)
    assert os.listdir("/dev/fd") == before  # noqa: PTH208


LINES: list[tuple[str, Callable[[Path], Path], str]] = [
    ("zeros without a line end", lambda p: packed(p / "x.gz", bytes(1 << 20), 60), "longer than"),
    ("one field", lambda p: packed(p / "x.gz", b"1" * (1 << 20), 60, b"a,b\n"), "longer than"),
    ("blank lines", lambda p: packed(p / "x.gz", b"\n" * (1 << 20), 20), "more than 10000 blank"),
    ("equal rows", lambda p: packed(p / "x.gz", b"1,1\n" * (1 << 18), 20), "compressed to less"),
]


@pytest.mark.parametrize(("make", "reason"), [pytest.param(*row[1:], id=row[0]) for row in LINES])
def test_a_compressed_bomb_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    path = make(tmp_path)
    if reason == "longer than":  # of many short lines none stays in memory
        with little_memory():
            assert refusal(path).startswith(reason)
    else:
        assert refusal(path).startswith(reason)


def test_a_table_has_a_bounded_number_of_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_input, "MAX_LINES", 1000)
    (tmp_path / "x.csv").write_bytes(b"1\n" * 1001)
    assert refusal(tmp_path / "x.csv") == "more than 1000 lines"
    (tmp_path / "x.csv").write_bytes(b"1\n" * 1000)
    assert read(tmp_path / "x.csv") == 1000


def test_a_row_of_many_lines_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'"\n","' * 20_000)
    with closing(Lines(tmp_path / "x.csv")) as lines, pytest.raises(BoundError):
        list(lines)


def test_a_flight_of_constant_columns_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    with gzip.open(path, "wt") as file:
        for k in range(45_000):
            file.write(f"{k * 0.02:.2f}" + ",16.000" * 44 + "\n")
    assert read(path) == 45_000


@pytest.mark.parametrize("kind", ["zeros", "pipe"])
def test_a_table_is_a_regular_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        Lines(special_file(tmp_path, kind))


@pytest.mark.parametrize("size", [0, 1, 5, 1 << 20, (1 << 20) + 3, 3_000_000])
def test_a_window_gives_the_bytes_of_the_file(tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "x", os.urandom(size)
    path.write_bytes(data)
    with path.open("rb") as file:
        window = Window(file)
        for place in range(0, size + 1, 9973):
            assert window.bytes_at(place, 20) == data[place : place + 20]
        assert window.bytes_at(size + 5, 20) == b""


def test_a_window_finds_marks_across_its_parts(tmp_path: Path) -> None:
    path, chunk = tmp_path / "x", 1 << 20
    places = [0, 7, chunk - 1, 2 * chunk - 2, 3 * chunk, 3 * chunk + 100]
    data = bytearray(3 * chunk + 200)
    for place in places:
        data[place : place + 4] = b"MARK"
    path.write_bytes(data)
    with path.open("rb") as file:
        window, found = Window(file), []
        place = window.find(MARK, 0)
        while place >= 0:
            found.append(place)
            place = window.find(MARK, place + 1)
    assert found == places


def test_a_window_of_a_device_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_input, "MAX_FILE_BYTES", 1 << 24)
    with Path("/dev/zero").open("rb") as file, little_memory(), pytest.raises(BoundError):
        Window(file).find(MARK, 0)


class _Model(Section):
    a: int = 0


TOMLS = [
    ("deep", f"a = {'[' * 100_000}", "is not TOML: nested too deeply"),
    ("inline tables", f"a = {'{a=' * 1000}", "is not TOML: nested too deeply"),
    ("digits", f"a = '{'9' * 3990}'", "a: expected a valid integer"),
    ("a long line", f"a = {'9' * 5000}", "line 1: longer than 4096 characters"),
    ("parts", "b=1\n" + ".".join("a" * 50_000), "line 2: longer than 4096 characters"),
    ("many keys", "\n".join(f"k{n} = 1" for n in range(50_000)), "k0 is not a known key"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in TOMLS])
def test_a_hostile_toml_is_refused(text: str, sentence: str) -> None:
    if not sentence.startswith("line") and "\n" not in text:
        text = text[:4000]  # a longer line is refused as such
    with pytest.raises(ConfigError) as caught:
        validated(_Model, text, "x.toml")
    lines = str(caught.value).splitlines()
    assert sentence in lines[0]
    assert len(lines) <= 101
    assert all(len(line) < 5000 for line in lines)


def test_a_toml_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    for path in (tmp_path / "x.toml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="more than 1048576 bytes"):
            read_text(path)


@pytest.mark.parametrize("kind", ["zeros", "pipe", "folder", "long"])
def test_a_stored_file_is_a_regular_one_of_bounded_length(tmp_path: Path, kind: str) -> None:
    with pytest.raises((OSError, BoundError)):
        read_stored(special_file(tmp_path, kind))
    (tmp_path / "x").write_bytes(b"content")
    assert read_stored(tmp_path / "x") == b"content"
