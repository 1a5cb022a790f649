# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut, reconstructed from the log of the file layer.

The rules are POSIX's, harsher than those of ext4: the content of a file is on the disk after its
fsync, a name after the fsync of its folder. Without it, pages (torn at sectors of 512 bytes, in any
order, each in any of its unsynced versions), sizes and the newest names of each folder may be
there or not. Names of one folder reach the disk in their order, as a journal keeps them.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TypeAlias

from tests.integration.storage.file_layer import Call, Record

SECTOR = 512
FOLDER = -1  # in the place of an inode
Content: TypeAlias = dict[PurePath, bytes | None]  # None: a folder
Entry: TypeAlias = tuple[str, int | None]  # name in a folder: its inode, None: deleted


@dataclass
class _File:
    """A file: what is on the disk, and its later writes and sizes."""

    synced: bytes = b""
    size: int = 0
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def write(self, at: int, data: bytes) -> None:
        self.pending.append((at, data))
        self._resize(max(self.size, at + len(data)))

    def truncate(self, size: int) -> None:
        # What was cut off reads as zeros when the file grows again.
        self.pending.append((size, bytes(max(self.size - size, 0))))
        self._resize(size)

    def sync(self) -> None:
        self.synced = self.content(lambda _: True, self.size)
        self.pending, self.sizes = [], []

    def content(self, is_there: Callable[[int], bool], size: int) -> bytes:
        """The content with some sectors of the unsynced writes, and a size that it had."""
        data = bytearray(self.synced)
        for at, new in self.pending:
            end = at + len(new)
            data.extend(bytes(max(end - len(data), 0)))
            begin = at
            while begin < end:
                until = min(end, (begin // SECTOR + 1) * SECTOR)
                if is_there(begin // SECTOR):
                    data[begin:until] = new[begin - at : until - at]
                begin = until
        data.extend(bytes(max(size - len(data), 0)))
        return bytes(data[:size])

    def _resize(self, size: int) -> None:
        self.size = size
        self.sizes.append(size)


@dataclass
class _Folder:
    """Names of a folder: changes in their order, so many of which are on the disk."""

    changes: list[tuple[Entry, ...]] = field(default_factory=list)
    synced: int = 0

    def sync(self) -> None:
        self.synced = len(self.changes)

    def names(self, count: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for change in self.changes[:count]:
            for name, inode in change:
                found.pop(name, None)
                if inode is not None:
                    found[name] = inode
        return found


class Disk:
    """A folder, empty and on the disk at first, that the records of a log change."""

    def __init__(self, root: Path) -> None:
        self.promised: frozenset[int] = frozenset()
        self._root = PurePath(root)
        self._files: dict[int, _File] = {}
        self._folders: dict[PurePath, _Folder] = {self._root: _Folder()}

    def take(self, record: Record) -> None:
        """Apply a record."""
        path, name = PurePath(record.path), PurePath(record.path).name
        match record.call:
            case Call.MARK:
                self.promised |= {record.number}
            case Call.CREATE:
                self._files[record.inode] = _File()
                self._change(path.parent, (name, record.inode))
            case Call.WRITE:
                self._files[record.inode].write(record.number, record.data)
            case Call.TRUNCATE:
                self._files[record.inode].truncate(record.number)
            case Call.SYNC:
                (self._folders.get(path) or self._files[record.inode]).sync()
            case Call.RENAME:
                self._rename(path, PurePath(record.other))
            case Call.UNLINK:
                self._change(path.parent, (name, None))
            case Call.MKDIR:
                self._folders[path] = _Folder()
                self._change(path.parent, (name, FOLDER))
            case Call.FAULT:
                pass

    def after_a_cut(self, seed: int) -> Iterator[tuple[str, Content]]:
        """What the folder may hold, by the name of what was lost."""
        folders = self._folders
        synced = {path: folder.synced for path, folder in folders.items()}
        newest = {path: len(folder.changes) for path, folder in folders.items()}
        yield "nothing unsynced", self._content(synced, lambda f: f.content(_none, len(f.synced)))
        yield "all", self._content(newest, lambda f: f.content(_all, f.size))
        yield "names alone", self._content(newest, lambda f: f.content(_none, len(f.synced)))
        yield "names and sizes", self._content(newest, lambda f: f.content(_none, f.size))
        yield "data alone", self._content(synced, lambda f: f.content(_all, f.size))
        for number in range(3):
            chance = random.Random(f"{seed} {number}")  # noqa: S311 - moments
            counts = {path: chance.randint(synced[path], newest[path]) for path in folders}

            def torn(file: _File, chance: random.Random = chance) -> bytes:
                size = chance.choice([len(file.synced), *file.sizes])
                return file.content(lambda _: chance.random() < 0.5, size)

            yield f"torn {number}", self._content(counts, torn)

    def _rename(self, path: PurePath, new: PurePath) -> None:
        folder = self._folders[path.parent]
        inode = folder.names(len(folder.changes))[path.name]
        if new.parent == path.parent:
            self._change(path.parent, (path.name, None), (new.name, inode))
            return
        # Of two folders either change may be lost.
        self._change(new.parent, (new.name, inode))
        self._change(path.parent, (path.name, None))

    def _change(self, folder: PurePath, *entries: Entry) -> None:
        self._folders[folder].changes.append(entries)

    def _content(self, counts: dict[PurePath, int], content: Callable[[_File], bytes]) -> Content:
        found: Content = {}
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            for name, inode in self._folders[folder].names(counts[folder]).items():
                path = folder / name
                if inode == FOLDER:
                    waiting.append(path)
                    found[path.relative_to(self._root)] = None
                else:
                    found[path.relative_to(self._root)] = content(self._files[inode])
        return found


def _all(_sector: int) -> bool:
    return True


def _none(_sector: int) -> bool:
    return False


def cuts(
    records: Sequence[Record], root: Path
) -> Iterator[tuple[int, frozenset[int], str, Content]]:
    """(Number of the record before the cut, promised states, what was lost, content)."""
    disk = Disk(root)
    for number, record in enumerate(records):
        disk.take(record)
        if record.call is not Call.FAULT:
            for name, content in disk.after_a_cut(number):
                yield number, disk.promised, name, content


def restore(content: Content, folder: Path) -> None:
    """Write the content into an empty folder."""
    for path, data in content.items():
        if data is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
    for path, data in content.items():
        if data is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
