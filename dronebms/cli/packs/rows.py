# SPDX-License-Identifier: Apache-2.0
"""What is known of each pack, as a row: flights, trends, what was learned, names, maintenance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dronebms.cli.packs.history import History
from dronebms.cli.packs.learned_export import EverythingLearned
from dronebms.core.clock import date_s
from dronebms.core.errors import ConfigError
from dronebms.estimation.learning.learned_pack import LearnedPack
from dronebms.estimation.learning.usual_power import FlightPower, UsualPower, usual_power
from dronebms.estimation.model_parameters import FITTED
from dronebms.health.ageing_trend import AgeingForecast, forecast_ageing
from dronebms.health.database import is_ordered
from dronebms.health.flight_record import FlightRecord
from dronebms.health.pack_label import PackLabel, Stay, Use, stays, use_since_maintenance


@dataclass(frozen=True, slots=True)
class PackRow:
    """What is known of one pack."""

    name: str
    flights: list[FlightRecord]
    forecast: AgeingForecast
    learned: LearnedPack | None
    usual: UsualPower | None  # of its vehicle, or its own
    label: PackLabel
    use: Use  # since its last maintenance
    stays: list[Stay]  # on vehicles

    @property
    def title(self) -> str:
        """Name that a user gave it, else what it is called in the history."""
        return self.label.name or self.name


def selected_rows(
    history: History, everything: EverythingLearned, name: str | None
) -> list[PackRow]:
    """All packs, or the named one.

    Args:
        history: flights and labels.
        everything: what was learned; its packs are packs without a flight too.
        name: pack, serial number or name that a user gave; None: all packs.

    Raises:
        ConfigError: no pack or several have this name.
    """
    by_pack: dict[str, list[FlightRecord]] = {}
    for flight in history.flights:
        by_pack.setdefault(flight.pack, []).append(flight)
    for pack in everything.packs:
        by_pack.setdefault(pack, [])
    serials = {pack: str(rows[-1].serial) for pack, rows in by_pack.items() if rows}
    given = {pack: label.name for pack, label in history.labels.items()}
    names = [
        pack
        for pack in by_pack
        if name in (None, pack, serials.get(pack)) or name == given.get(pack)
    ]
    if name is not None and len(names) != 1:
        found = f"{name!r} matches {'several packs' if names else 'no pack'} in {history.place}"
        there = [pack if pack not in given else given[pack] or pack for pack in names or by_pack]
        raise ConfigError(f"{found}; there are: {', '.join(map(repr, there))}")
    return [_row(pack, by_pack[pack], everything, history) for pack in names]


def _row(
    pack: str, flights: list[FlightRecord], everything: EverythingLearned, history: History
) -> PackRow:
    learned = everything.packs.get(pack)
    power: tuple[FlightPower, ...] = ()
    if learned is not None:
        vehicle = learned.vehicle
        power = learned.power if vehicle is None else everything.vehicles.get(vehicle, ())
    label = history.labels.get(pack, PackLabel(pack))
    in_order = is_ordered(flights, is_merged=history.is_merged)
    flown = history.flights
    if history.is_merged:
        flown = [flight for flight in flown if in_order and flight.started_unix_s is not None]
    return PackRow(
        pack,
        flights,
        forecast_ageing(flights, is_ordered=in_order),
        learned,
        usual_power(power, FITTED),
        label,
        use_since_maintenance(label, flights, date_s()),
        [_named(stay, history.labels) for stay in stays(pack, flown)],
    )


def _named(stay: Stay, labels: Mapping[str, PackLabel]) -> Stay:
    """The stay, with the name of the pack that followed if it has one."""
    label = None if stay.replaced_by is None else labels.get(stay.replaced_by)
    return stay if label is None or label.name is None else replace(stay, replaced_by=label.name)
