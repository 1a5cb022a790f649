# SPDX-License-Identifier: Apache-2.0
"""One simulated flight behind the real driver and pipeline."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from dronebms.core.errors import ConfigError
from dronebms.core.report import Report, Verdict
from dronebms.simulation.simulated_flight import SimOptions, Simulation

OUT_AND_BACK = """
[pack]
chemistry = "lipo"
cells = 6
cell_mah = 16000.0

[vehicle]
mass_kg = 5.0
rotors = 6
rotor_diameter_m = 0.38

[[fault]]
name = "hot_cell"
start_s = 30.0
size = 2.0

[flight]
return_at = "LIMIT"

[[waypoint]]
do = "takeoff"
height_m = 10.0

[[waypoint]]
north_m = 4000.0
east_m = 0.0
height_m = 10.0

[[waypoint]]
do = "return"
"""


def flown(folder: Path, limit: str) -> tuple[list[Report], Simulation]:
    path = folder / "mine.toml"
    path.write_text(OUT_AND_BACK.replace("LIMIT", limit), encoding="utf-8")
    with ExitStack() as stack:
        simulation = Simulation(SimOptions(str(path), speed=None), stack)
        planned_s = simulation.duration_s
        reports = list(simulation.reports())
    assert simulation.duration_s < planned_s
    return reports, simulation


def test_a_flight_returns_when_the_limit_of_its_file_trips(tmp_path: Path) -> None:
    reports, simulation = flown(tmp_path, "hot")
    tripped_s = next(report.t_s for report in reports if "hot" in report.status.active)
    turned_s = next(report.t_s for report in reports if report.vehicle.mode == "RTL")
    assert 0.0 < turned_s - tripped_s <= 0.2
    assert reports[-1].t_s == pytest.approx(simulation.duration_s, abs=0.11)
    assert not reports[-1].vehicle.armed
    assert reports[-1].vehicle.plan is not None


def test_a_flight_that_returns_is_the_same_twice(tmp_path: Path) -> None:
    once, twice = (flown(tmp_path, "hot")[0] for _ in range(2))
    assert once == twice


def test_a_mission_that_a_headwind_makes_impossible_is_returned_in_time() -> None:
    with ExitStack() as stack:
        simulation = Simulation(SimOptions("mission_headwind", speed=None), stack)
        reports = [each for each in simulation.reports() if each.vehicle.armed]
        truth = simulation.world.truth()
    before = reports[: [each.vehicle.mode for each in reports].index("RTL")]
    assert Verdict.NO not in {each.estimate.home_verdict for each in before}
    assert before[-1].estimate.mission_verdict is Verdict.NO
    assert truth.ended_s is None
    assert truth.soc_frac > 0.15


def test_a_limit_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="return_at: 'home_never' is not the id of a limit"):
        flown(tmp_path, "home_never")
