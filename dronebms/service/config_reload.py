# SPDX-License-Identifier: Apache-2.0
"""Configuration of a running service that is read again: what changes now, what waits and why.

A thread reads and validates the file: a file system that blocks, and a long file, delay no step of
the loop.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from dronebms.core.errors import ConfigError
from dronebms.service.config import Config, read_config

_REASONS = {  # what is used at the start only
    "battery": "adapters are opened",
    "mavlink": "the link is opened",
    "vehicle": "its flights are recalled",
    "status": "the socket is opened",
    "recording": "a recording begins",
    "state": "stored state is read",
    "topology": "packs are combined",
    "metrics": "the server starts",
    "mqtt": "the broker is connected",
    "dronecan": "the bus is opened",
}
_SLOW_S = 3.0  # of a reading, until the log has it
_log = logging.getLogger(__name__)


def read_again(path: Path) -> Config:
    """The configuration of a file, in flight.

    Raises:
        ConfigError: everything that is wrong with it, or it is a pipe, which would hold up the
            flight.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no regular file")
    return read_config(path)


class ConfigReading:
    """Reads the file of a running service again, in a thread. For the loop's thread.

    One reading runs at a time: a request during one begins another after it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_requested = False
        self._reading: Future[Config] | None = None
        self._begun_s = 0.0
        self._is_late = False  # as logged

    @property
    def is_pending(self) -> bool:
        """Whether a request has no result yet."""
        return self._is_requested or self._reading is not None

    def request(self) -> None:
        """Read the file with the next step."""
        self._is_requested = True

    def step(self, now_s: float) -> Future[Config] | None:
        """The reading that has ended since the last step: a configuration or an exception."""
        reading = self._reading
        if reading is None:
            if self._is_requested:
                self._begin(now_s)
            return None
        if reading.done():
            self._reading = None
            return reading
        if now_s - self._begun_s > _SLOW_S and not self._is_late:
            self._is_late = True
            _log.error("the configuration is not changed yet: %s is read slowly", self._path)
        return None

    def _begin(self, now_s: float) -> None:
        self._is_requested = False
        self._begun_s = now_s
        self._is_late = False
        self._reading = Future()
        arguments = (self._path, self._reading)
        threading.Thread(target=_read, args=arguments, name="reload", daemon=True).start()


def _read(path: Path, reading: Future[Config]) -> None:
    try:
        config = read_again(path)
    except Exception as error:  # noqa: BLE001 - `Service.reload` logs it
        reading.set_exception(error)
    else:
        reading.set_result(config)


def apply_reload(old: Config, new: Config) -> tuple[Config, list[str]]:
    """Configuration in force from now on, and a sentence for each key that waits for a restart.

    Limits, actions and the charger are those of `new`, everything else is that of `old`.
    """
    before = old.model_dump()
    after = new.model_dump()
    waiting = [
        f"{key} waits for a restart: {reason} once, at the start"
        for section, reason in _REASONS.items()
        for key in _differing(section, *_as_written(section, before, after))
    ]
    topics = {one and one.topic for one in (old.charger, new.charger)}
    if len(topics) > 1:
        waiting.append(f"charger.topic waits for a restart: {_REASONS['mqtt']} once, at the start")
    return new.model_copy(update={name: getattr(old, name) for name in _REASONS}), waiting


def _as_written(section: str, *dumps: Mapping[str, Any]) -> list[Any]:
    """Values of a section in each configuration; a single link has no number."""
    values = [dump[section] for dump in dumps]
    single = section == "mavlink" and all(len(value) == 1 for value in values)
    return [value[0] for value in values] if single else values


def _differing(key: str, old: object, new: object) -> Iterator[str]:
    """Keys, as in the file, whose values differ."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True), start=1):
            yield from _differing(f"{key}.{number}", *pair)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in old:
            yield from _differing(f"{key}.{name}", old[name], new[name])
    elif old != new:
        yield key
