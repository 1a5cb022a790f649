# SPDX-License-Identifier: Apache-2.0
"""Gauge kinds of the emulator, one for each profile in `smartbattery.profiles`.

The rows of the driver define the commands and their encoding; a kind holds the facts that a profile
does not. Sources: those of `smartbattery.profiles`.
"""

from dataclasses import dataclass, replace

from sim.plant.pack_spec import MAX_CELLS
from smartbattery import bq40, profiles
from smartbattery import registers as sbs
from smartbattery.profiles import AccessMethod, BlockRead, Profile, Query
from smartbattery.registers import Register


@dataclass(frozen=True, slots=True)
class GaugeKind:
    """One kind of gauge.

    Attributes:
        cells: possible cell counts.
        pec: whether its replies end in a PEC; None: as its SpecificationInfo states.
        zero_cells: number of cell registers that read 0 V without a cell.
        words: in addition to those of its profile.
        part: for manufacturer access.
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
    GaugeKind(profiles.GENERIC,   range(1, MAX_CELLS + 1)),
    GaugeKind(profiles.BQ40Z50,   range(1, 5), device="bq40z50", zero_cells=4, part=bq40.Z50_R4),
    GaugeKind(profiles.BQ40Z80,   range(2, 8),
              device="bq40z80", zero_cells=7, words=_4_TO_7, part=bq40.Z80),
    GaugeKind(profiles.BQ41Z50,   range(2, 5), device="bq41z50", zero_cells=4, part=bq40.Z41_50),
    GaugeKind(profiles.BQ41Z90,   range(3, MAX_CELLS + 1),
              device="bq41z90", zero_cells=16, words=sbs.CELLS[:4], part=bq40.Z41_90),
    GaugeKind(profiles.ROTOYE,    range(1, MAX_CELLS + 1)),
    GaugeKind(profiles.MAXELL,    range(1, MAX_CELLS + 1),
              manufacturer="Hitachi maxell", pec=False),
    GaugeKind(profiles.NEODESIGN, range(1, 11), pec=True),
    GaugeKind(profiles.SOLO,      range(1, 5), pec=True),
    GaugeKind(profiles.SOLO6,     range(1, 7), pec=True),
    GaugeKind(profiles.SUI,       range(1, 7), pec=False),
)
# fmt: on


def gauge_kind(name: str) -> GaugeKind:
    """The kind of a name in a scenario."""
    return next(kind for kind in KINDS if kind.name == name)


def words_of(kind: GaugeKind) -> dict[int, Register]:
    """Word registers of a kind by command."""
    plain = [row for row in sbs.WORDS if row not in sbs.CELLS]
    queries = (*(kind.profile.row(row) for row in plain), *_own_queries(kind.profile), *kind.words)
    return {query.command: query for query in queries if isinstance(query, Register)}


def blocks_of(kind: GaugeKind) -> dict[int, BlockRead]:
    """Blocks of a kind by command, without texts and manufacturer access."""
    queries = (*kind.profile.replaced, *_own_queries(kind.profile))
    blocks = (query for query in queries if isinstance(query, BlockRead))
    return {
        query.command: query for query in blocks if query.access is not AccessMethod.MANUFACTURER
    }


def _own_queries(profile: Profile) -> tuple[Query, ...]:
    count = () if profile.count is None else (profile.count,)
    return (*profile.cells, *count, *profile.extra)
