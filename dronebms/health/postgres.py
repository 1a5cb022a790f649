# SPDX-License-Identifier: Apache-2.0
"""Pack history of a fleet in PostgreSQL, by SQLAlchemy; the extra `fleet`.

Table and statements are those of `dronebms.health.database`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from dronebms.core.errors import ConfigError
from dronebms.health.database import Row

_BACKEND = "postgresql"
_DRIVER = f"{_BACKEND}+psycopg"  # that of the extra


class PostgresDatabase:
    """A server that many vehicles push their records to.

    Args:
        url: SQLAlchemy's, as postgresql://user@host/name; libpq's own files and variables
            (~/.pgpass, PGPASSWORD, PGSSLMODE) apply to what it omits.

    Raises:
        ConfigError: an invalid URL; from `run` any error of the server.
    """

    def __init__(self, url: str) -> None:
        kind = url.partition(":")[0]
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() != _BACKEND:  # SQLite would create a file to read it
                raise ConfigError(
                    f"{kind!r} is not a supported database: expected postgresql://USER@HOST/NAME"
                )
            if parsed.drivername == _BACKEND:
                parsed = parsed.set(drivername=_DRIVER)
            self._engine = create_engine(parsed, poolclass=NullPool)
            if self._engine.dialect.is_async:
                raise ConfigError(f"{kind!r} is not a supported database: its driver is async")
        except ValueError as error:  # a port that is none; the text may have the password
            raise ConfigError(
                f"{kind!r} is not a supported database: a wrong host or port in its URL"
            ) from error
        except ArgumentError as error:  # no URL; the text may have a password
            raise ConfigError("a wrong URL: expected postgresql://USER@HOST/NAME") from error
        except (SQLAlchemyError, ImportError) as error:
            raise ConfigError(f"{kind!r} is not a supported database: {error}") from error
        self.name = self._engine.url.render_as_string(hide_password=True)

    def change(self, *statements: tuple[str, Mapping[str, object]]) -> None:
        """Run statements with their values in one transaction."""
        with self._errors(), self._engine.begin() as connection:
            for sql, values in statements:
                connection.execute(text(sql), dict(values))

    def run(self, sql: str, *values: Mapping[str, object]) -> list[Row]:
        """Run a statement with each set of values in one transaction; return the rows."""
        with self._errors(), self._engine.begin() as connection:
            result = connection.execute(text(sql), [dict(one) for one in values] or None)
            return [tuple(row) for row in result] if result.returns_rows else []

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, UnicodeError) as error:  # also of the name of the host
            why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise ConfigError(f"{self.name} cannot be used: {why}") from error
