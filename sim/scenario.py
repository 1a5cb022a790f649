"""What a simulated flight is made of, as data: pack, gauge, place and phases, from a TOML file.

Units are in the key names.
"""

import difflib
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dronebms.chemistry import Chemistry, chemistry_of
from dronebms.errors import ConfigError
from dronebms.tomlfile import (
    ChemistryName,
    NotNegative,
    Positive,
    Section,
    one_of,
    read_text,
    validated,
)
from sim.cell import truth_curve_v
from sim.vendors import KINDS, kind_named

_MOST_CELLS = 15  # 4.35 V each, and Voltage still fits its 16 bits of millivolts


def _some(phases: tuple["Phase", ...]) -> tuple["Phase", ...]:
    if not phases:
        raise ValueError("at least one phase")
    return phases


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Signed = Annotated[float, Field(ge=-0.9, le=0.9)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Cooling = Annotated[float, Field(ge=10.0, allow_inf_nan=False)]
Degc = Annotated[float, Field(ge=-60.0, le=100.0)]
Text = Annotated[str, Field(pattern=r"^[ -~]{1,32}$")]  # ASCII that fits an SMBus block
Made = Annotated[date, Field(ge=date(1980, 1, 1), le=date(2107, 12, 31))]  # what a word can hold


class PackSpec(Section):
    """The cells as they really are; the rated values are what is printed on the pack."""

    chemistry: ChemistryName
    cells: Annotated[int, Field(ge=1, le=_MOST_CELLS)]  # in series
    parallel: Annotated[int, Field(ge=1)] = 1
    cell_mah: Positive  # rated, of one of the parallel cells
    cutoff_cell_v: Positive | None = None  # what the user would set; None: the chemistry's
    actual_capacity_frac: Positive = 0.96  # of the rated one
    capacity_spread_frac: Annotated[float, Field(ge=0.0, le=0.2)] = 0.008  # standard deviation
    resistance_mohm_ah: Positive  # of a cell at 25 degC after 20 s of load, times its capacity
    resistance_spread_frac: Annotated[float, Field(ge=0.0, le=0.3)] = 0.07  # standard deviation
    ocv_bend_v: Finite = 0.0  # how the open-circuit voltage departs from the chemistry's table
    ocv_tilt_v: Finite = 0.0
    wire_mohm: NotNegative = 1.5
    start_charge_frac: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    start_degc: Degc = 22.0
    ambient_degc: Degc = 20.0
    cooling_s: Cooling = 900.0  # time constant of a cell to the air

    @property
    def row(self) -> Chemistry:
        """Row of the chemistry table."""
        return chemistry_of(self.chemistry)

    @property
    def rated_mah(self) -> float:
        """Capacity that is printed on the pack."""
        return self.cell_mah * self.parallel

    @model_validator(mode="after")
    def _curve_rises(self) -> "PackSpec":
        truth_curve_v(self.row, self.ocv_bend_v, self.ocv_tilt_v)
        return self


class GaugeSpec(Section):
    """A gauge of some kind and how it errs."""

    kind: Annotated[str, one_of(kind.name for kind in KINDS)] = "generic"
    manufacturer: Text | None = None  # None: the kind's own
    device: Text | None = None
    serial: Annotated[int, Field(ge=1, le=0xFFFF)] = 1000  # of seed 0; every seed is another pack
    manufactured: Made = date(2025, 3, 14)
    cycles: Annotated[int, Field(ge=0, le=0xFFFE)] = 12
    pec: bool = True
    ip_scale: Annotated[int, Field(ge=0, le=3)] = 0  # currents and capacities x 10^n
    max_error_pct: Annotated[int, Field(ge=0, le=100)] = 3
    full_error_frac: Signed = 0.0  # of the full charge it believes in
    start_error_frac: Signed = 0.0  # of the charge it believes in at the start
    current_gain_error_frac: Signed = 0.0
    current_offset_a: Finite = 0.0
    current_noise_a: NotNegative = 0.03  # standard deviations of one measurement
    voltage_noise_v: NotNegative = 0.001
    temperature_noise_degc: NotNegative = 0.05


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
