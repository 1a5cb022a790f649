"""Virtual gauges of every kind that `smartbattery.profiles` reads, as differences from a plain one.

Which command answers with what is taken from the rows that the driver decodes with; here is what a
profile does not say. Sources: those of `smartbattery.profiles`.
"""

from dataclasses import dataclass, replace

from smartbattery import bq40, profiles
from smartbattery import registers as sbs
from smartbattery.profiles import AccessMethod, BlockRead, Profile, Query
from smartbattery.registers import Register

_MOST_CELLS = 15  # that 16 bits of millivolts hold


@dataclass(frozen=True, slots=True)
class GaugeKind:
    """One kind of gauge.

    Attributes:
        cells: how many there may be behind it.
        pec: whether its replies end in one; None: as its SpecificationInfo claims.
        zeros: so many places for a cell answer 0 V when there is none.
        words: beyond those of its profile.
        part: who answers manufacturer access.
    """

    profile: Profile
    cells: range
    manufacturer: str = "virtual"
    device: str = "sbs"
    pec: bool | None = None
    zero_cells: int = 0
    words: tuple[Register, ...] = ()
    part: bq40.Part | None = None

    @property
    def name(self) -> str:
        """Name in a scenario: the profile's."""
        return self.profile.name


# A BQ40Z80 has words for cells 4 to 7 alone, where a plain gauge has those for 1 to 4.
_4_TO_7 = tuple(replace(row, command=0x3F - k) for k, row in enumerate(sbs.CELLS[3:7]))

# fmt: off
KINDS = (
    GaugeKind(profiles.GENERIC,   range(1, _MOST_CELLS + 1)),
    GaugeKind(profiles.BQ40Z50,   range(1, 5), device="bq40z50", zero_cells=4, part=bq40.Z50_R4),
    GaugeKind(profiles.BQ40Z80,   range(2, 8),
              device="bq40z80", zero_cells=7, words=_4_TO_7, part=bq40.Z80),
    GaugeKind(profiles.ROTOYE,    range(1, _MOST_CELLS + 1)),
    GaugeKind(profiles.MAXELL,    range(1, _MOST_CELLS + 1),
              manufacturer="Hitachi maxell", pec=False),
    GaugeKind(profiles.NEODESIGN, range(1, 11), pec=True),
    GaugeKind(profiles.SOLO,      range(1, 5), pec=True),
    GaugeKind(profiles.SOLO6,     range(1, 7), pec=True),
    GaugeKind(profiles.SUI,       range(1, 7), pec=False),
)
# fmt: on


def gauge_kind(name: str) -> GaugeKind:
    """Return the kind that a scenario names."""
    return next(kind for kind in KINDS if kind.name == name)


def words_of(kind: GaugeKind) -> dict[int, Register]:
    """Return the word commands of a kind of gauge; a cell that is not there has no value."""
    plain = [row for row in sbs.WORDS if row not in sbs.CELLS]
    asks = (*(kind.profile.row(row) for row in plain), *_own_asks(kind.profile), *kind.words)
    return {ask.command: ask for ask in asks if isinstance(ask, Register)}


def blocks_of(kind: GaugeKind) -> dict[int, BlockRead]:
    """Return the block commands of a kind of gauge, without texts and manufacturer access."""
    asks = (*kind.profile.replaced, *_own_asks(kind.profile))
    blocks = (ask for ask in asks if isinstance(ask, BlockRead))
    return {ask.command: ask for ask in blocks if ask.access is not AccessMethod.MANUFACTURER}


def _own_asks(profile: Profile) -> tuple[Query, ...]:
    count = () if profile.count is None else (profile.count,)
    return (*profile.cells, *count, *profile.extra)
