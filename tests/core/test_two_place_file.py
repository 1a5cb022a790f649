"""A file with two places: one write is lost at most, whatever is torn."""

from contextlib import closing
from pathlib import Path

import pytest

from dronebms.core.two_place_file import TwoPlaceFile

MARK, PLACE_BYTES = b"TEST", 64


def opened(path: Path, *, locks: bool = False) -> "closing[TwoPlaceFile]":
    return closing(TwoPlaceFile(path, MARK, PLACE_BYTES, locks=locks))


def test_any_flipped_bit_loses_the_last_write_at_most(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x"
    with opened(path) as file:
        assert (file.read(), file.is_empty, file.marks()) == (None, True, [b"", b""])
        for number in range(9):
            file.write(b"content %d" % number)
        assert (file.read(), file.is_empty, file.marks()) == (b"content 8", False, [MARK, MARK])
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        path.write_bytes(torn)
        with opened(path) as file:
            assert file.read() in (b"content 8", b"content 7")
    for size in range(PLACE_BYTES, len(data)):
        path.write_bytes(data[:size])
        with opened(path) as file:
            assert file.read() == b"content 7"  # in the first place


def test_a_run_after_the_first_one_overwrites_the_older_place(tmp_path: Path) -> None:
    for number in range(5):
        with opened(tmp_path / "x") as file:
            assert file.read() == (b"%d" % (number - 1) if number else None)
            file.write(b"%d" % number)


def test_content_that_is_longer_than_a_place_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "x") as file:
        for body in (b"a", b"b" * (PLACE_BYTES - 16)):
            file.write(body)
        with pytest.raises(ValueError, match="49 bytes are too many"):
            file.write(b"c" * (PLACE_BYTES - 15))
        assert file.read() == b"b" * (PLACE_BYTES - 16)


def test_a_locked_file_and_one_of_others_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with opened(path, locks=True) as file:
        assert file.is_own
        with pytest.raises(BlockingIOError):
            TwoPlaceFile(path, MARK, PLACE_BYTES, locks=True)
        path.chmod(0o620)
        assert not file.is_own
        assert not file.is_deleted
        path.unlink()
        assert file.is_deleted
        path.touch()
        assert file.is_deleted
