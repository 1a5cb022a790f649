"""Takes absurd readings and stalled gauges out before anything is estimated, judged or told.

Both flight stacks latch what they are told once. So a value that leaps further than a pack can is
not believed until it has lasted longer than one update of a slow gauge; until then the value
before it stands. Readings that do not move at all under load come from a gauge that has stalled:
they are unknown after half a minute. Volts, amperes, degC, seconds; discharge is positive.
Source: recorded flights; there the largest step is 9 % of voltage, and 18 s of standing still.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dronebms.core.pack_data import SINGLE_READING_S, PackData
from smartbattery.snapshot import Snapshot

_LEAP_V_FRAC = 0.2
_LEAP_BURSTS = 2.0  # of what the chemistry gives for 10 s
_LEAP_K = 10.0
_UNTOLD_MAH = 10_000.0
_STALLED_S = 30.0
_LOAD_C = 0.3  # less is the ground, where a pack may well stand still


@dataclass(slots=True)
class _Value:
    """One quantity: what is believed of it, and since when something else is read."""

    believed: float | None = None
    since_s: float | None = None

    def take(self, value: float | None, read_s: float, leap: float) -> float | None:
        """Return what is believed now."""
        lasts = self.since_s is not None and read_s - self.since_s >= SINGLE_READING_S
        if value is None or self.believed is None or abs(value - self.believed) <= leap or lasts:
            self.believed, self.since_s = value, None
        elif self.since_s is None:
            self.since_s = read_s
        return self.believed


@dataclass(slots=True)
class _Pack:
    """What has been read of one pack."""

    serial: int | None
    values: dict[str, _Value] = field(default_factory=dict)
    reading: tuple[object, ...] = ()
    moved_s: float = 0.0
    settled_s: float | None = None  # when all that is believed was last read


class PlausibilityCheck:
    """Believes one battery's snapshots, or does not."""

    def __init__(self) -> None:
        self._pack = _Pack(None)

    def check(self, snapshot: Snapshot, pack_data: PackData) -> Snapshot:
        """Return the snapshot with what is believable of it."""
        if snapshot.identity.serial != self._pack.serial:
            self._pack = _Pack(snapshot.identity.serial)
        capacity_ah = (pack_data.capacity_mah or _UNTOLD_MAH) / 1000.0
        still_s = self._still_s(snapshot, _LOAD_C * capacity_ah)
        if still_s > _STALLED_S:
            trouble = f"the gauge's values have stood still for {still_s:.0f} s"
            return snapshot.unknown(snapshot.t_s, trouble)
        leap_a = _LEAP_BURSTS * pack_data.chemistry.burst_c * capacity_ah
        degc, cells_v = snapshot.temperature_degc, enumerate(snapshot.cells_v, start=1)
        believed = replace(
            snapshot,
            voltage_v=self._voltage(snapshot, "voltage_v", snapshot.voltage_v),
            current_a=self._value(snapshot, "current_a", snapshot.current_a, leap_a),
            temperature_degc=self._value(snapshot, "temperature_degc", degc, _LEAP_K),
            cells_v=tuple([self._voltage(snapshot, f"cell{k}_v", v) for k, v in cells_v]),
        )
        return replace(believed, read_at_s=self._read_at_s(snapshot))

    def _read_at_s(self, snapshot: Snapshot) -> Mapping[str, float]:
        """Return when values were read: while one is in doubt the pack has not been read anew."""
        pack, read_at_s = self._pack, snapshot.read_at_s
        if all(value.since_s is None for value in pack.values.values()):
            pack.settled_s = read_at_s.get("voltage_v")
        elif pack.settled_s is not None:
            return {**read_at_s, "voltage_v": pack.settled_s}
        return read_at_s

    def _still_s(self, snapshot: Snapshot, load_a: float) -> float:
        """Return for how long exactly the same has been read while there is a load."""
        pack, current_a = self._pack, snapshot.current_a
        read_s = snapshot.read_at_s.get("voltage_v", snapshot.t_s)
        reading = (snapshot.voltage_v, current_a, snapshot.cells_v)
        if reading != pack.reading or current_a is None or current_a < load_a:
            pack.reading, pack.moved_s = reading, read_s
        return read_s - pack.moved_s

    def _voltage(self, snapshot: Snapshot, name: str, value: float | None) -> float | None:
        before_v = self._pack.values.setdefault(name, _Value()).believed
        # Of the larger: the way back from what was believed is no leap either.
        leap_v = _LEAP_V_FRAC * max(before_v or 0.0, value or 0.0)
        return self._value(snapshot, name, value, leap_v)

    def _value(
        self, snapshot: Snapshot, name: str, value: float | None, leap: float
    ) -> float | None:
        known = self._pack.values.setdefault(name, _Value())
        return known.take(value, snapshot.read_at_s.get(name, snapshot.t_s), leap)
