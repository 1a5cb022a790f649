# SPDX-License-Identifier: Apache-2.0
"""Configuration of a running service that is read again: what changes now, what waits and why."""

from collections.abc import Iterator, Mapping
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


def read_again(path: Path) -> Config:
    """The configuration of a file, in flight.

    Raises:
        ConfigError: everything that is wrong with it, or it is a pipe, which would hold up the
            flight.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no regular file")
    return read_config(path)


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
