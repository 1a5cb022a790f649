# SPDX-License-Identifier: Apache-2.0
"""SQLite file of the pack history of a vehicle, in WAL mode.

Readers see whole rows while the service writes, and written rows survive `kill -9`. A file that is
damaged or not a pack history is never written to.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from dronebms.core.disk import is_of_the_disk, make_folder, real_path
from dronebms.core.errors import ConfigError, OutputError
from dronebms.health.database import Row

FILE = "packs.sqlite"  # in the folder of `[state] dir`
_BUSY_S = 5.0


def _is_of_the_disk(error: sqlite3.OperationalError | OSError) -> bool:
    if isinstance(error, OSError):
        return is_of_the_disk(error)
    primary = error.sqlite_errorcode & 0xFF  # an extended code has more in its higher bits
    return primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class SqliteFile:
    """An SQLite file, opened for each statement and checked before the first write.

    Raises:
        ConfigError: there is no such file, or it cannot be used.
    """

    def __init__(self, path: Path, *, writes: bool) -> None:
        self.name = str(path)
        self._path = path
        self._mode = "rwc" if writes else "ro"
        with self._errors():
            is_new = not path.exists() or not path.stat().st_size
            if is_new and writes:
                make_folder(path.parent)
            elif not is_new:
                self._check()
        if is_new and writes:
            self.run("PRAGMA journal_mode = WAL")  # stored in the file

    def run(self, sql: str, *values: Mapping[str, object]) -> list[Row]:
        """Run a statement with each set of values in one transaction; return the rows."""
        with self._errors(), closing(self._opened(self._mode)) as connection, connection:
            return [row for one in values or ({},) for row in connection.execute(sql, one)]

    def change(self, *statements: tuple[str, Mapping[str, object]]) -> None:
        """Run statements with their values in one transaction."""
        with self._errors(), closing(self._opened(self._mode)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")  # statements on tables would not begin it
            for sql, values in statements:
                connection.execute(sql, values)

    def _opened(self, mode: str) -> sqlite3.Connection:
        # Without a writer there is no WAL file, and a reader may not be permitted to create one.
        unwritten = mode == "ro" and not self._path.with_name(f"{self._path.name}-wal").exists()
        uri = f"{real_path(self._path).as_uri()}?mode={mode}" + "&immutable=1" * unwritten
        return sqlite3.connect(uri, uri=True, timeout=_BUSY_S)

    def _check(self) -> None:
        with closing(self._opened("ro")) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            sql = "SELECT name, type FROM sqlite_master WHERE type <> 'index'"
            kinds = dict(connection.execute(sql).fetchall())
        tables = {name for name, kind in kinds.items() if kind == "table"}
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        # Without the version its creation was interrupted. A view or a trigger is not ours, and may
        # never end.
        is_other = "passport_schema" not in tables and tables - {"flight", "pack"}
        if is_other or len(kinds) > len(tables):
            raise ConfigError(f"{self.name} is not a pack history and is not changed")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:  # busy, full, no such file
            why = getattr(error, "strerror", None) or error
            kind = OutputError if _is_of_the_disk(error) else ConfigError
            raise kind(f"{self.name} cannot be used: {why}") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.name} is damaged and is not changed: {error}") from error
