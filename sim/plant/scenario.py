# SPDX-License-Identifier: Apache-2.0
"""Scenario file schema: pack, gauge, vehicle, air, place, and phases or waypoints of a flight.

Units are in the key names.
"""

import difflib
import math
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dronebms.core.errors import ConfigError
from dronebms.core.flight_plan import ItemKind
from dronebms.core.toml_schema import NotNegative, Positive, Section, read_text, validated
from sim.plant.faults import FaultSpec
from sim.plant.gauge_kinds import gauge_kind
from sim.plant.gauge_spec import GaugeSpec
from sim.plant.pack_spec import Degc, PackSpec
from sim.plant.waypoint_spec import FlightSpec, Rally, ReturnSpec, SpeedSpec, Waypoint

_EARTH_RADIUS_M = 6_371_000.0
_LARGEST_WORD = 0xFFFE  # 0xFFFF is unknown

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Place(Section):
    """Home and bearing of the flight."""

    home_lat_deg: Annotated[float, Field(ge=-85.0, le=85.0)] = 47.3977
    home_lon_deg: Annotated[float, Field(ge=-180.0, le=180.0)] = 8.5456
    home_alt_m: Annotated[float, Field(ge=-500.0, le=9000.0)] = 488.0  # above mean sea level
    bearing_deg: Annotated[float, Field(ge=0.0, lt=360.0)] = 60.0

    def at_deg(self, north_m: float, east_m: float) -> tuple[float, float]:
        """Latitude and longitude of a place near home."""
        north_deg = math.degrees(north_m / _EARTH_RADIUS_M)
        east_deg = math.degrees(east_m / _EARTH_RADIUS_M)
        shrink = math.cos(math.radians(self.home_lat_deg))
        return self.home_lat_deg + north_deg, self.home_lon_deg + east_deg / shrink


class VehicleSpec(Section):
    """A multirotor whose power is computed from its motion."""

    mass_kg: Annotated[float, Field(gt=0.0, le=1000.0)]  # at take-off, pack included
    payload_kg: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0  # in addition
    rotors: Annotated[int, Field(ge=1, le=64)]
    rotor_diameter_m: Annotated[float, Field(ge=0.02, le=20.0)]
    drag_area_m2: Annotated[float, Field(ge=0.0, le=10.0)] = 0.05  # area times coefficient
    avionics_w: NotNegative = 10.0  # also on the ground
    figure_of_merit: Annotated[float, Field(ge=0.1, le=0.8)] = 0.6  # ideal over real hover power
    induced_factor: Annotated[float, Field(ge=1.0, le=1.25)] = 1.15  # real over ideal induced power
    wake_overlap: Fraction = 0.4  # increase of induced power by rotors behind rotors, at speed
    drive_efficiency: Annotated[float, Field(ge=0.1, le=1.0)] = 0.75  # motors and controllers
    # Of a flight of waypoints; a phase states its speeds.
    max_airspeed_m_s: Annotated[float, Field(gt=0.0, le=60.0)] = 15.0
    acceleration_m_s2: Annotated[float, Field(ge=0.2, le=20.0)] = 2.0


class WindChange(Section):
    """Another mean wind, reached by a linear change that begins at `at_s`."""

    at_s: NotNegative
    within_s: Positive = 60.0
    wind_m_s: Annotated[float, Field(ge=0.0, le=40.0)]
    wind_from_deg: Annotated[float, Field(ge=0.0, lt=360.0)]


class AirSpec(Section):
    """Air of a flight whose power is computed."""

    temperature_degc: Degc | None = None  # at home; None: ambient temperature of the pack
    wind_m_s: Annotated[float, Field(ge=0.0, le=40.0)] = 0.0
    wind_from_deg: Annotated[float, Field(ge=0.0, lt=360.0)] = 0.0
    gust_m_s: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0  # standard deviation along the wind
    changes: tuple[WindChange, ...] = Field(default=(), alias="change", strict=False)


class Phase(Section):
    """A phase of the flight, with a stated mean power or one computed from its motion."""

    name: str
    duration_s: Positive
    power_w: NotNegative | None = None  # mean of the whole load; None: computed
    gust_frac: Fraction = 0.0  # standard deviation of power_w over its mean
    payload_kg: Annotated[float, Field(ge=0.0, le=1000.0)] | None = None  # from here on
    armed: bool = True
    mode: str = "AUTO"  # of the autopilot
    # Away from home; negative: towards it.
    outward_m_s: Annotated[float, Field(ge=-60.0, le=60.0)] = 0.0
    climb_m_s: Annotated[float, Field(ge=-30.0, le=30.0)] = 0.0


class Scenario(Section):
    """A scenario: one simulated flight."""

    name: str
    about: str = ""
    pack: PackSpec
    gauge: GaugeSpec = GaugeSpec()
    place: Place = Place()
    vehicle: VehicleSpec | None = None
    air: AirSpec | None = None
    flight: FlightSpec | None = None  # None: the defaults, of waypoints
    speeds: SpeedSpec | None = None  # None: unknown to the autopilot of a flight of phases
    returns: ReturnSpec | None = Field(default=None, alias="return")  # None: the same
    rally: tuple[Rally, ...] = Field(default=(), strict=False)
    phases: tuple[Phase, ...] = Field(default=(), alias="phase", strict=False)
    waypoints: tuple[Waypoint, ...] = Field(default=(), alias="waypoint", strict=False)
    faults: tuple[FaultSpec, ...] = Field(default=(), alias="fault", strict=False)

    @model_validator(mode="after")
    def _gauge_fits(self) -> "Scenario":
        kind = gauge_kind(self.gauge.kind)
        cells = self.pack.cells
        if cells not in kind.cells:
            least = kind.cells[0]
            most = kind.cells[-1]
            raise ValueError(f"a {kind.name} gauge is for {least} to {most} cells, not {cells}")
        if self.gauge.v_scale < v_scale_of(self.pack):
            raise ValueError(f"gauge.v_scale = 1 is needed for {cells} cells: Voltage has 16 bits")
        return self

    @model_validator(mode="after")
    def _flight_is_one(self) -> "Scenario":
        if bool(self.phases) == bool(self.waypoints):
            raise ValueError("either [[phase]] or [[waypoint]] is needed")
        if self.waypoints:
            problems = self._waypoint_problems()
        else:
            changes = self.air.changes if self.air else ()
            tables = {"[flight]": self.flight, "[[air.change]]": changes}
            problems = [f"{name} needs a [[waypoint]]" for name, given in tables.items() if given]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _waypoint_problems(self) -> list[str]:
        """What is wrong with the mission as a whole."""
        problems = [] if self.vehicle else ["[[waypoint]] needs a [vehicle]"]
        first = self.waypoints[0]
        last = len(self.waypoints)
        if first.do != ItemKind.TAKEOFF:
            problems.append("waypoint 1 is not a takeoff")
        for number, item in enumerate(self.waypoints, 1):
            if item.to is not None and item.to > last:
                problems.append(f"waypoint {number} jumps to {item.to} of {last}")
        changes = self.air.changes if self.air else ()
        ends_s = [0.0, *(change.at_s + change.within_s for change in changes)]
        if any(change.at_s < end_s for change, end_s in zip(changes, ends_s, strict=False)):
            problems.append("an [[air.change]] begins while the one before it is under way")
        return problems

    @model_validator(mode="after")
    def _power_is_known(self) -> "Scenario":
        if self.vehicle is None and self.air is not None:
            raise ValueError("[air] needs a [vehicle]")
        if any(phase.power_w is None and phase.gust_frac > 0.0 for phase in self.phases):
            raise ValueError(
                "gust_frac is for a phase with power_w; otherwise air.gust_m_s sets the gusts"
            )
        numbers = (n for n, phase in enumerate(self.phases, 1) if phase.power_w is None)
        if self.vehicle is None and (unknown := ", ".join(map(str, numbers))):
            raise ValueError(f"power_w is needed in phase {unknown}, or a [vehicle] to compute it")
        return self


def v_scale_of(pack: PackSpec) -> int:
    """The least VScale of a gauge with which the voltage of a full pack fits into its word."""
    return int(pack.cells * pack.row.full_cell_v * 1000.0 > _LARGEST_WORD)


def scenario_names() -> tuple[str, ...]:
    """Names of the shipped scenarios, sorted."""
    shipped = resources.files("sim").joinpath("scenarios").iterdir()
    return tuple(sorted(Path(item.name).stem for item in shipped if item.name.endswith(".toml")))


def load_scenario(name_or_path: str) -> Scenario:
    """A shipped scenario by its name, or one from a file: `x.toml`, `folder/x`.

    Raises:
        ConfigError: unknown name, unreadable file, or invalid keys: all of them, one a line.
    """
    path = Path(name_or_path)
    if name_or_path in scenario_names():
        shipped = resources.files("sim").joinpath("scenarios", f"{name_or_path}.toml")
        text = shipped.read_text(encoding="utf-8")
    elif path.suffix == ".toml" or len(path.parts) > 1:
        text = read_text(path)
    else:
        raise ConfigError(_unknown(name_or_path))
    return validated(Scenario, text, name_or_path, {"name": path.stem})


def _unknown(name: str) -> str:
    names = scenario_names()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{name!r} is not a scenario ({', '.join(names)}) or a .toml file{hint}"
