# SPDX-License-Identifier: Apache-2.0
"""File of the outcomes of a campaign: its flight, then a line for each seed."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.disk import not_written
from dronebms.core.errors import ConfigError
from dronebms.simulation.campaign import Campaign
from dronebms.simulation.statistics import OUTCOME_JSON, FlightOutcome

_MOST_BYTES = 1 << 28  # of the outcomes: half a million flights


class ResultsFile:
    """Outcomes of a campaign by seed, in a file with one appended line each.

    Args:
        path: the file; seeds in it are not flown again.
        campaign: the flight; the file's first line.
        warn: receives the warning about an incomplete last line, which is dropped.

    Raises:
        ConfigError: the file is of another campaign, damaged, or cannot be read or written.
    """

    def __init__(self, path: Path, campaign: Campaign, warn: Callable[[str], None]) -> None:
        self._path = path
        self._head = json.dumps(asdict(campaign)).encode() + b"\n"
        try:
            # A missing folder or permission is an error before the first flight.
            path.parent.stat()
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if path.exists() and not path.is_file() and not path.is_dir():
                raise ConfigError(f"{path} cannot be used: it is not a file")
            data = read_bytes(path, _MOST_BYTES) if path.exists() else b""
            head, *lines = (data or self._head).splitlines(keepends=True)
            if head != self._head:
                raise ConfigError(
                    f"{path} is not of this scenario, faults, duration and version; "
                    "name another file with --out"
                )
            if lines and not lines[-1].endswith(b"\n"):
                warn(f"{path}: the last line is incomplete and is dropped")
                os.truncate(path, len(data) - len(lines.pop()))
            rows = [OUTCOME_JSON.validate_json(line) for line in lines]
        except OSError as error:
            raise ConfigError(f"{path} cannot be used: {error.strerror}") from error
        except BoundError as error:
            raise ConfigError(f"{path} cannot be used: {error}") from error
        except ValidationError as error:
            damaged = error.errors()[0]["input"]
            raise ConfigError(f"{path}: a line is damaged: {damaged!r:.80}") from error
        self.rows: dict[int, FlightOutcome] = {row.seed: row for row in rows}

    def add(self, row: FlightOutcome) -> None:
        """Append an outcome, rounded as the file has it."""
        line = OUTCOME_JSON.dump_json(row) + b"\n"
        self.rows[row.seed] = OUTCOME_JSON.validate_json(line)
        try:
            with self._path.open("ab") as file:
                is_new = not file.seek(0, os.SEEK_END)
                file.write(self._head + line if is_new else line)
        except OSError as error:
            raise not_written(self._path, error) from error
