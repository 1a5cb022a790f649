# SPDX-License-Identifier: Apache-2.0
"""Identity of a DroneCAN pack, of which each data type states a part.

Two data types may state two serial numbers and names of one pack (BatteryInfo, CBAT and
BatteryPeriodic). What names a pack must not depend on which message came first, and must not change
in flight: it is chosen once, when every data type that is sent each second has had its turn, and
comes from the same data types from then on, after a swap too. As with a gauge, no value is used
before.
"""

from collections.abc import Mapping
from math import inf
from typing import Any

from dronebms.dronecan.battery_messages import (
    BATTERY_INFO,
    BATTERY_INFO_AUX,
    BATTERY_PERIODIC,
    CBAT,
    DataType,
)

FAST_S = 2.5  # longer than the period of BatteryInfo and of CBAT, twice
COLLECT_S = 6.0  # longer than the 5 s of BatteryPeriodic
_FAST = (CBAT.type_id, BATTERY_INFO.type_id)  # the better one first
_EVERY = (*_FAST, BATTERY_PERIODIC.type_id, BATTERY_INFO_AUX.type_id)
_SERIAL = "serial"
_NAMES = (_SERIAL, "manufacturer", "device", "date")
_OF_A_PACK = (*_NAMES, "cells")


class PackIdentification:
    """Collects what the node of a pack states."""

    def __init__(self) -> None:
        self._stated: dict[str, dict[int, Any]] = {}  # by field, by data type
        self._chosen: dict[str, int] = {}  # data type by field
        self._named_by: tuple[int, ...] | None = None
        self._is_fast = False  # whether one of the fast data types was received
        self._began_s = -inf

    def begin(self, now_s: float) -> None:
        """Begin with another node or pack; the chosen data types stay."""
        self._stated.clear()
        self._named_by = None
        self._is_fast = False
        self._began_s = now_s

    def receive(
        self, data_type: DataType, fields: Mapping[str, Any], *, first_only: bool = False
    ) -> None:
        """Store the fields that a message states.

        Args:
            data_type: of the message.
            fields: of `Identity`, by name.
            first_only: whether a later statement does not count.
        """
        self._is_fast |= data_type.type_id in _FAST
        for name, value in fields.items():
            stated = self._stated.setdefault(name, {})
            first = stated.get(data_type.type_id, value)
            stated[data_type.type_id] = first if first_only else value

    def contradicts(self, data_type: DataType, fields: Mapping[str, Any]) -> bool:
        """Whether a data type states another pack than it did before."""
        return any(
            self._stated.get(name, {}).get(data_type.type_id, value) != value
            for name, value in fields.items()
            if name in _OF_A_PACK
        )

    def waits(self, now_s: float) -> bool:
        """Whether what names the pack may still come.

        Without it, the values of another pack could be taken for those of the one before.
        """
        serial_of = self._chosen.get(_SERIAL)
        if serial_of is not None and serial_of in self._stated.get(_SERIAL, {}):
            return False
        return self._collects(now_s) and (serial_of is not None or not self._chosen)

    def identity(self, now_s: float) -> dict[str, Any]:
        """Fields of the identity that are known, by name."""
        collects = self._collects(now_s)
        found = {}
        if self._named_by is None and not collects:
            has_serial = not set(_FAST).isdisjoint(self._stated.get(_SERIAL, ()))
            self._named_by = _FAST if has_serial else _EVERY
        for name, stated in self._stated.items():
            if self._chosen.get(name) not in stated:
                allowed = (self._named_by or ()) if name in _NAMES else _EVERY
                best = next((one for one in allowed if one in stated), None)
                if collects or best is None:
                    continue
                self._chosen[name] = best
            found[name] = stated[self._chosen[name]]
        return found

    def _collects(self, now_s: float) -> bool:
        fast = self._is_fast and not self._chosen
        return now_s - self._began_s < (FAST_S if fast else COLLECT_S)
