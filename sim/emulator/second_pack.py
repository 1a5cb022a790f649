# SPDX-License-Identifier: Apache-2.0
"""The second pack that a fault brings to the bus: in place of the pack in flight, or next to it."""

from sim.plant.faults import TWO_PACKS, WRONG_PACK, Fault
from sim.plant.gauge_kinds import gauge_kind
from sim.plant.scenario import Scenario

# Chemistry of a wrong pack, and its capacity.
_OTHER_CHEMISTRY = {"lipo": "li-ion", "lihv": "lipo", "li-ion": "lipo", "lifepo4": "li-ion"}
_OTHER_CAPACITY_FRAC = 0.75


def second_pack(scenario: Scenario, faults: tuple[Fault, ...]) -> Scenario | None:
    """Scenario of the second pack, for another seed; `None` when no fault brings one.

    A wrong pack has one cell less if its gauge allows, another chemistry and another capacity; the
    second of two packs is of the same kind.
    """
    names = {fault.name for fault in faults}
    if not names & {WRONG_PACK.name, TWO_PACKS.name}:
        return None
    pack = scenario.pack
    if WRONG_PACK.name in names:
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
