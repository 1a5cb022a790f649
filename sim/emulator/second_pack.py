"""The other pack that a fault brings to the wire: instead of the one that flies, or beside it."""

from sim.plant import faults as wrong
from sim.plant.faults import Fault
from sim.plant.gauge_kinds import gauge_kind
from sim.plant.scenario import Scenario

# What a wrong pack is made of, and how much less it holds.
_OTHER_CHEMISTRY = {"lipo": "li-ion", "lihv": "lipo", "li-ion": "lipo", "lifepo4": "li-ion"}
_OTHER_CAPACITY_FRAC = 0.75


def second_pack(scenario: Scenario, faults: tuple[Fault, ...]) -> Scenario | None:
    """Return the flight of the other pack, to be flown with another seed; None if there is none.

    A wrong pack has a cell less if its gauge allows, another chemistry and capacity; a second one
    is of the same kind.
    """
    names = {fault.name for fault in faults}
    if not names & {wrong.WRONG_PACK.name, wrong.TWO_PACKS.name}:
        return None
    pack = scenario.pack
    if wrong.WRONG_PACK.name in names:
        fewer = pack.cells - 1 in gauge_kind(scenario.gauge.kind).cells
        other = {
            "chemistry": _OTHER_CHEMISTRY[pack.chemistry],
            "cells": pack.cells - fewer,
            "cell_mah": pack.cell_mah * _OTHER_CAPACITY_FRAC,
            "ocv_bend_v": 0.0,
            "ocv_tilt_v": 0.0,
        }
        pack = pack.model_copy(update=other)
    return scenario.model_copy(update={"pack": pack, "faults": ()})
