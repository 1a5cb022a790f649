# SPDX-License-Identifier: Apache-2.0
"""Identity of a pack: the one rule by which two readings come from the same pack.

Maker, device, date of manufacture and serial number together identify a pack (Smart Battery Data
Specification 1.1, 5.1.27); chemistry, design capacity and number of cells do not change either. A
field that one of both does not have decides nothing. Many cheap gauges report 0, 1 or 65535 for
every pack: such packs have equal data, and `Identity.connection` distinguishes them, which
`dronebms.monitoring.pack_recognition` counts.
"""

import math
from dataclasses import fields, replace
from typing import Any

from smartbattery.snapshot import Identity

DOUBTFUL_SERIALS = 0, 1, 0xFFFF  # of gauges that were never programmed
_FIELDS = (  # of an Identity, and as a pilot reads them
    ("serial", "serial"), ("manufacturer", "maker"), ("device", "device"), ("date", "date"),
    ("chemistry", "type"), ("cells", "cells"),
)  # fmt: skip
_CAPACITY_LOG = math.log10(1.02)  # a word of a capacity may be rounded
_SHOWN = 8  # characters, so that a STATUSTEXT holds both


def is_same_pack(known: Identity, read: Identity) -> bool:
    """Whether both can be of one pack, connected once."""
    if known is read:  # mostly: a stage keeps the object that it has received
        return True
    return known.connection == read.connection and difference(known, read) is None


def difference(known: Identity, read: Identity) -> str | None:
    """First field of another pack, such as "serial 8, not 7"; `None` if no field differs."""
    if known is read:
        return None
    for name, label in _FIELDS:
        before = getattr(known, name)
        now = getattr(read, name)
        if None not in (before, now) and before != now:
            return f"{label} {_shown(now)}, not {_shown(before)}"
    before_mah = known.design_mah
    now_mah = read.design_mah
    if before_mah and now_mah and _differ(before_mah, now_mah):
        return f"{now_mah:.0f} mAh, not {before_mah:.0f}"
    return None


def _differ(before_mah: float, now_mah: float) -> bool:
    """Whether two design capacities differ by more than rounding and a changed IPScale."""
    powers = math.log10(now_mah / before_mah)
    return abs(powers - round(powers)) > _CAPACITY_LOG


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        year, month, day = value
        return f"{year % 100:02}-{month:02}-{day:02}"
    return f"{value}"[:_SHOWN]


def merged(known: Identity, read: Identity) -> Identity:
    """The identity that was read, completed by the fields that were known before.

    It is the known object where nothing has changed, so that a comparison is short.
    """
    if known is read or known == read:
        return known
    before: dict[str, Any] = {row.name: getattr(known, row.name) for row in fields(known)}
    missing = {name: value for name, value in before.items() if getattr(read, name) is None}
    if not missing:
        return read
    complete = replace(read, **missing)
    return known if complete == known else complete


def is_unique(identity: Identity) -> bool:
    """Whether the serial number distinguishes this pack from others of its kind."""
    return identity.serial is not None and identity.serial not in DOUBTFUL_SERIALS


def name_of(identity: Identity) -> str | None:
    """Maker, device, date and serial number as one name; `None` without a serial number."""
    if identity.serial is None:
        return None
    date = identity.date and "{:04}-{:02}-{:02}".format(*identity.date)
    parts = (identity.manufacturer, identity.device, date, str(identity.serial))
    return " ".join(filter(None, parts))
