"""Identity of a DroneCAN pack, of which each data type states a part.

Two data types may state two serial numbers of one pack (model_instance_id and that of CBAT). The
identity must not change from the one to the other in flight: it is stated once every data type has
had its turn, each field by the best of them, and by that one from then on, after a swap too.
"""

from math import inf
from typing import Any

COLLECT_S = 6.0  # longer than the 5 s of BatteryPeriodic
_SERIAL = "serial"


class PackIdentification:
    """Collects what the node of a pack states. A lower rank is the better data type."""

    def __init__(self) -> None:
        self._stated: dict[str, dict[int, Any]] = {}  # by field, by rank
        self._chosen: dict[str, int] = {}  # rank by field
        self._began_s = -inf

    def begin(self, now_s: float) -> None:
        """Begin with another node; the choice of data types stays."""
        self._stated.clear()
        self._began_s = now_s

    def receive(self, rank: int, fields: dict[str, Any], *, first_only: bool = False) -> None:
        """Store the fields that a data type states.

        Args:
            rank: of the data type.
            fields: of `Identity`, by name.
            first_only: whether a later statement does not count.
        """
        for name, value in fields.items():
            stated = self._stated.setdefault(name, {})
            stated[rank] = stated.get(rank, value) if first_only else value

    def waits(self, now_s: float) -> bool:
        """Whether a node that has followed another one has yet to state its serial number.

        Without it, the values of another pack could be taken for those of the first one.
        """
        rank = self._chosen.get(_SERIAL)
        if rank is None or rank in self._stated.get(_SERIAL, {}):
            return False
        return now_s - self._began_s < COLLECT_S

    def identity(self, now_s: float) -> dict[str, Any]:
        """Fields of the identity that are known, by name."""
        collects = now_s - self._began_s < COLLECT_S
        found = {}
        for name, stated in self._stated.items():
            if self._chosen.get(name) not in stated:
                if collects:
                    continue
                self._chosen[name] = min(stated)
            found[name] = stated[self._chosen[name]]
        return found
