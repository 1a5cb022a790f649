# SPDX-License-Identifier: Apache-2.0
"""What a user states of a pack: its name, tags, and how often it is due for maintenance.

A row of the pack history's table of packs; `None` is not stated. Flights, cycles and days count
from the last maintenance, or from the first flight in the history; days of one without a date from
the first flight after it that has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dronebms.core.clock import known_date
from dronebms.core.number_format import counted
from dronebms.health.flight_record import FlightRecord

_DAY_S = 86_400.0


# fmt: off
@dataclass(frozen=True, slots=True)
class PackLabel:
    """What a user states of one pack."""

    pack: str                               # as in the records of its flights
    name: str | None = None                 # one pack has it at a time
    tags: tuple[str, ...] = ()
    every_flights: float | None = None      # maintenance is due after so many flights
    every_cycles: float | None = None       # full charges drawn, of the rated capacity
    every_days: float | None = None
    serviced_unix_s: float | None = None    # the last maintenance; None if the clock was not set
    serviced_after: str | None = None       # id of the last flight before it
# fmt: on


@dataclass(frozen=True, slots=True)
class Use:
    """Use of a pack since its last maintenance; `None` is unknown."""

    flights: int
    cycles: float | None  # of the flights with a known rated capacity
    days: float | None


@dataclass(frozen=True, slots=True)
class Stay:
    """Flights of a pack on one vehicle, one after the other."""

    vehicle: str
    flights: int
    from_unix_s: float | None
    until_unix_s: float | None
    replaced_by: str | None  # the pack that flew next on that vehicle


def use_since_maintenance(
    label: PackLabel, flights: Sequence[FlightRecord], now_s: float | None
) -> Use:
    """Use of a pack.

    Args:
        label: of the pack.
        flights: of the pack, in their order.
        now_s: date, seconds since 1970; `None` if the clock is not set: days are unknown.
    """
    ids = [flight.flight_id for flight in flights]
    after = label.serviced_after
    since = flights[ids.index(after) + 1 :] if after in ids else list(flights)
    rated = [(one.used_mah, one.rated_mah) for one in since if one.rated_mah and one.used_mah]
    cycles = sum(used_mah / rated_mah for used_mah, rated_mah in rated) if rated else None
    first_s = next((one.started_unix_s for one in since if one.started_unix_s is not None), None)
    serviced_s = None if label.serviced_unix_s is None else known_date(label.serviced_unix_s)
    from_s = first_s if serviced_s is None else serviced_s
    days = None if from_s is None or now_s is None else max(now_s - from_s, 0.0) / _DAY_S
    return Use(len(since), 0.0 if not since else cycles, days)


@dataclass(frozen=True, slots=True)
class Due:
    """A bound of the use of a pack until its next maintenance."""

    unit: str  # flights, cycles, days
    done: float
    every: float

    @property
    def is_reached(self) -> bool:
        """Whether maintenance is due."""
        return self.done >= self.every

    @property
    def text(self) -> str:
        """Phrase for a user, behind the word maintenance."""
        left = round(max(self.every - self.done, 1.0))
        when = "due" if self.is_reached else f"in {counted(left, self.unit.removesuffix('s'))}"
        return f"{when}: {self.done:.0f} of {self.every:.0f} {self.unit}"


def maintenance(label: PackLabel, use: Use) -> tuple[Due, ...]:
    """The bounds that a user has set, and how much of each is used; unknown use is left out."""
    rows = (
        ("flights", float(use.flights), label.every_flights),
        ("cycles", use.cycles, label.every_cycles),
        ("days", use.days, label.every_days),
    )
    return tuple(
        Due(unit, done, every)
        for unit, done, every in rows
        if every is not None and done is not None
    )


def stays(pack: str, flights: Sequence[FlightRecord]) -> list[Stay]:
    """The vehicles that a pack has flown on, in order, and which pack followed it there.

    Args:
        pack: the pack.
        flights: of all packs, in their order; those without a vehicle are left out.
    """
    found: list[Stay] = []
    following: dict[tuple[str, str], str] = {}  # by place in a vehicle: the pack that flew next
    block: list[FlightRecord] = []

    def close() -> None:
        if block:
            place = _place(block[0])
            dates = [one.started_unix_s for one in block]
            after = following.get(place)
            found.append(
                Stay(place[0], len(block), dates[-1], dates[0], None if after == pack else after)
            )
            following[place] = pack
        block.clear()

    for flight in reversed([one for one in flights if one.vehicle is not None]):
        is_here = bool(block) and _place(block[0]) == _place(flight)
        if (flight.pack == pack) != is_here:
            close()
        if flight.pack == pack:
            block.append(flight)
        else:
            following[_place(flight)] = flight.pack
    close()
    return found[::-1]


def _place(flight: FlightRecord) -> tuple[str, str]:
    """Vehicle and battery of it: a vehicle may carry several packs at once."""
    return flight.vehicle or "", flight.flight_id.partition(":")[2].partition(":")[0]
