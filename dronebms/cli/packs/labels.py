# SPDX-License-Identifier: Apache-2.0
"""What a user states of packs: names, tags, and when maintenance is due and was done."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from dronebms.cli.packs.history import History
from dronebms.cli.packs.rows import PackRow
from dronebms.core.clock import date_s
from dronebms.core.errors import ConfigError
from dronebms.health.database import PackHistory
from dronebms.health.pack_label import PackLabel
from dronebms.health.sqlite import FILE, SqliteFile


def changes_labels(options: argparse.Namespace) -> bool:
    """Whether a command states something of a pack."""
    given = options.tag, options.untag, options.service_every, options.serviced
    return options.name is not None or any(given)


def store_labels(
    options: argparse.Namespace, selected: Sequence[PackRow], history: History
) -> None:
    """Store what the user states of the selected packs.

    Raises:
        ConfigError: what is stated of one pack is stated of several, a name is taken, or the
            history is that of a fleet.
    """
    of_one = options.name is not None or options.serviced or options.tag or options.untag
    if options.serial is None and of_one:
        raise ConfigError("--name, --tag, --untag and --serviced are those of one pack: name it")
    if options.database is not None:
        raise ConfigError("the names of packs are stored in a --state-dir, and copied by --push")
    taken = {row.name for row in selected} if options.name else set()
    for pack, label in history.labels.items():
        if options.name and options.name == label.name and pack not in taken:
            raise ConfigError(f"{options.name!r} is the name of another pack, {pack!r}")
    others = {text for one in history.flights for text in (one.pack, str(one.serial))}
    if options.name and options.name in others - taken:
        raise ConfigError(f"{options.name!r} is the serial number or full name of a pack")
    store = PackHistory(SqliteFile(options.state_dir / FILE, writes=True), writes=True)
    for row in selected:
        store.put_label(_changed(row, options))


def _changed(row: PackRow, options: argparse.Namespace) -> PackLabel:
    label = row.label
    if options.name is not None:
        label = replace(label, name=options.name or None)
    tags = dict.fromkeys((*label.tags, *options.tag))
    label = replace(label, tags=tuple(tag for tag in tags if tag not in options.untag))
    for unit, every in options.service_every:
        label = replace(label, **{f"every_{unit}": every})
    if options.serviced:
        last = row.flights[-1].flight_id if row.flights else None
        label = replace(label, serviced_unix_s=date_s(), serviced_after=last)
    return label
