"""Pack history of a fleet in PostgreSQL, by SQLAlchemy; the extra `fleet`.

Table and statements are those of `dronebms.health.database`.
"""

from collections.abc import Mapping

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from dronebms.core.errors import ConfigError
from dronebms.health.database import Row


class PostgresDatabase:
    """A server that many vehicles push their records to.

    Args:
        url: SQLAlchemy's, as postgresql+psycopg://user@host/name; libpq's own files and variables
            (~/.pgpass, PGPASSWORD, PGSSLMODE) apply to what it omits.

    Raises:
        ConfigError: an invalid URL; from `run` any error of the server.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = create_engine(url, poolclass=NullPool)
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            kind = url.partition(":")[0]
            raise ConfigError(f"{kind!r} is not a supported database: {error}") from error
        self.name = self._engine.url.render_as_string(hide_password=True)

    def run(self, sql: str, *values: Mapping[str, object]) -> list[Row]:
        """Run a statement with each set of values in one transaction; return the rows."""
        try:
            with self._engine.begin() as connection:
                result = connection.execute(text(sql), [dict(one) for one in values] or None)
                return [tuple(row) for row in result] if result.returns_rows else []
        except SQLAlchemyError as error:
            why = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise ConfigError(f"{self.name} cannot be used: {why}") from error
