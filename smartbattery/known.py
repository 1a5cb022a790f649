"""What is known of a pack: values by the snapshot's field names, and how long each still holds."""

from smartbattery.registers import CELLS
from smartbattery.snapshot import BusCounts, Identity, Snapshot

CELL_FIELDS = tuple(row.field for row in CELLS)
BEYOND = "beyond_a"
_TEMPERATURES = ("temperature_degc", "external_degc")  # the hotter one counts


class Known:
    """Values, each with the time of its reading and the age at which it is over."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._read_at_s: dict[str, float] = {}
        self._max_age_s: dict[str, float] = {}

    def keep(self, name: str, value: float, now_s: float, max_age_s: float) -> None:
        """Take in a good value."""
        self._values[name] = value
        self._read_at_s[name] = now_s
        self._max_age_s[name] = max_age_s

    def drop(self, name: str) -> None:
        """Forget one value."""
        self._values.pop(name, None)
        self._read_at_s.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()
        self._read_at_s.clear()

    def leaps(self, name: str, value: float, leap: float) -> bool:
        """Return whether a value must be heard twice: it is the first, or far from the last."""
        last = self._values.get(name)
        return last is None or abs(value - last) > leap

    def last(self, name: str) -> float | None:
        """Return the last good value, however old."""
        return self._values.get(name)

    def fresh(self, name: str, now_s: float) -> float | None:
        """Return a value that still holds."""
        at_s = self._read_at_s.get(name)
        if at_s is None or now_s - at_s > self._max_age_s[name]:
            return None
        return self._values[name]

    def snapshot(
        self, now_s: float, cells: int, identity: Identity, counts: BusCounts, trouble: str | None
    ) -> Snapshot:
        """Return what still holds at `now_s`; `trouble` tells why when that is no voltage."""
        known = {
            name: value
            for name, value in self._values.items()
            if now_s - self._read_at_s[name] <= self._max_age_s[name]
        }
        return Snapshot(
            t_s=now_s,
            voltage_v=known.get("voltage_v"),
            current_a=known.get("current_a"),
            beyond_a=known.get(BEYOND),
            temperature_degc=max((known[n] for n in _TEMPERATURES if n in known), default=None),
            cells_v=tuple([known.get(name) for name in CELL_FIELDS[:cells]]),
            average_a=known.get("average_a"),
            max_error_pct=known.get("max_error_pct"),
            soc_pct=known.get("soc_pct"),
            remaining_mah=known.get("remaining_mah"),
            full_mah=known.get("full_mah"),
            time_to_empty_s=known.get("time_to_empty_s"),
            cycles=known.get("cycles"),
            charging_a=known.get("charging_a"),
            charging_v=known.get("charging_v"),
            status_raw=_whole(known.get("status_raw")),
            alert_raw=_whole(known.get("alert_raw")),
            safety_raw=_whole(known.get("safety_raw")),
            failure_raw=_whole(known.get("failure_raw")),
            operation_raw=_whole(known.get("operation_raw")),
            fet_degc=known.get("fet_degc"),
            identity=identity,
            read_at_s=dict(self._read_at_s),
            counts=counts,
            trouble=None if "voltage_v" in known else trouble,
        )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
