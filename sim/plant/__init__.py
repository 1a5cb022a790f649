# SPDX-License-Identifier: Apache-2.0
"""Physical models of a simulated flight: cells, pack, ageing, multirotor, atmosphere, flight."""

from sim.plant.faults import FAULTS, Fault, parse_fault
from sim.plant.flight_profile import FlightProfile
from sim.plant.ground_truth import GroundTruth
from sim.plant.pack import Pack, after_flight, build_pack, build_packs
from sim.plant.pack_spec import PackSpec
from sim.plant.scenario import Scenario, load_scenario, scenario_names

__all__ = [
    "FAULTS",
    "Fault",
    "FlightProfile",
    "GroundTruth",
    "Pack",
    "PackSpec",
    "Scenario",
    "after_flight",
    "build_pack",
    "build_packs",
    "load_scenario",
    "parse_fault",
    "scenario_names",
]
