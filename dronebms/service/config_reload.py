"""What of a changed configuration a running service takes over, and why not the rest."""

from collections.abc import Iterator, Mapping

from dronebms.service.config import Config

_REASONS = {  # for what is used at the start alone
    "battery": "packs are looked for",
    "mavlink": "the link is made",
    "status": "the socket is made",
    "recording": "a recording is begun",
    "state": "what is kept is read",
    "topology": "packs are put together",
    "metrics": "the server is made",
    "mqtt": "the broker is looked for",
}


def apply_reload(old: Config, new: Config) -> tuple[Config, list[str]]:
    """Return the configuration in force from now on, and a sentence for each key that waits.

    Limits, actions and the charger are taken over; for the rest the old one stands.
    """
    before, after = old.model_dump(), new.model_dump()
    waiting = [
        f"{key} waits for a restart: {reason} once, at the start"
        for section, reason in _REASONS.items()
        for key in _differing(section, before[section], after[section])
    ]
    topics = {one and one.topic for one in (old.charger, new.charger)}
    if len(topics) > 1:
        waiting.append(f"charger.topic waits for a restart: {_REASONS['mqtt']} once, at the start")
    return new.model_copy(update={name: getattr(old, name) for name in _REASONS}), waiting


def _differing(key: str, old: object, new: object) -> Iterator[str]:
    """Yield the keys, as a file would name them, whose values differ."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True), start=1):
            yield from _differing(f"{key}.{number}", *pair)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in old:
            yield from _differing(f"{key}.{name}", old[name], new[name])
    elif old != new:
        yield key
