"""What a simulated flight is made of, as data: pack, gauge, place and phases, from a TOML file.

Units are in the key names.
"""

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dronebms.errors import ConfigError
from dronebms.tomlfile import Finite, NotNegative, Positive, Section, read_text, validated
from sim.gaugespec import GaugeSpec
from sim.packspec import PackSpec
from sim.vendors import kind_named


def _some(phases: tuple["Phase", ...]) -> tuple["Phase", ...]:
    if not phases:
        raise ValueError("at least one phase")
    return phases


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Place(Section):
    """Where the flight starts, and which way it goes."""

    home_lat_deg: Annotated[float, Field(ge=-85.0, le=85.0)] = 47.3977
    home_lon_deg: Annotated[float, Field(ge=-180.0, le=180.0)] = 8.5456
    home_alt_m: Finite = 488.0  # above mean sea level
    bearing_deg: Annotated[float, Field(ge=0.0, lt=360.0)] = 60.0


class Phase(Section):
    """A stretch of the flight with one mean power."""

    name: str
    duration_s: Positive
    power_w: NotNegative  # mean, of everything on the pack
    gust_frac: Fraction = 0.0  # standard deviation of power over its mean
    armed: bool = True
    mode: str = "AUTO"  # of the autopilot
    outward_m_s: Finite = 0.0  # away from home; negative: towards it
    climb_m_s: Finite = 0.0


class Scenario(Section):
    """A whole flight."""

    name: str
    about: str = ""
    pack: PackSpec
    gauge: GaugeSpec = GaugeSpec()
    place: Place = Place()
    phases: Annotated[tuple[Phase, ...], AfterValidator(_some)] = Field(alias="phase", strict=False)

    @model_validator(mode="after")
    def _gauge_fits(self) -> "Scenario":
        kind, cells = kind_named(self.gauge.kind), self.pack.cells
        if cells not in kind.cells:
            least, most = kind.cells[0], kind.cells[-1]
            raise ValueError(f"a {kind.name} gauge is for {least} to {most} cells, not {cells}")
        return self

    @property
    def duration_s(self) -> float:
        """When the last phase ends, seconds from the start."""
        return sum(phase.duration_s for phase in self.phases)


def scenario_names() -> tuple[str, ...]:
    """Return the names of the shipped scenarios, sorted."""
    shipped = resources.files("sim").joinpath("scenarios").iterdir()
    return tuple(sorted(Path(item.name).stem for item in shipped if item.name.endswith(".toml")))


def load_scenario(name_or_path: str) -> Scenario:
    """Return a shipped scenario by its name, or one from a file: `x.toml`, `folder/x`.

    Raises:
        ConfigError: unknown name, unreadable file, or wrong keys: all of them, one a line.
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
    return f"{name!r} is no scenario ({', '.join(names)}) and no .toml file{hint}"
