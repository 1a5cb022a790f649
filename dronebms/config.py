"""The service's configuration: what a TOML file may say (DESIGN.md, section 4).

Units are in the key names.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from dronebms.battery import BatteryFacts
from dronebms.chemistry import CHEMISTRIES, chemistry_of
from dronebms.limits import LimitChange, Severity, limit_ids
from dronebms.tomlfile import Section, read_text, validated

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


def _bus(text: str) -> str:
    if text.startswith("/dev/") or (text.startswith("sim:") and len(text) > len("sim:")):
        return text
    raise ValueError('a device such as "/dev/i2c-1", or "sim:SCENARIO"')


def _chemistry(name: str) -> str:
    names = [row.name for row in CHEMISTRIES]
    if name not in names:
        raise ValueError(f"one of {', '.join(names)}")
    return name


class BatteryConfig(Section):
    """One pack."""

    bus: Annotated[str, AfterValidator(_bus)]
    address: Annotated[int, Field(ge=0x03, le=0x77)] = 0x0B
    gauge: Literal["auto"] = "auto"
    cells: Annotated[int, Field(ge=1, le=16)] | None = None
    capacity_mah: Positive | None = None
    chemistry: Annotated[str, AfterValidator(_chemistry)] = "lipo"
    cutoff_cell_v: Annotated[float, Field(ge=1.5, le=4.2)] | None = None

    def facts(self) -> BatteryFacts:
        """Return what is told of the pack."""
        return BatteryFacts(
            chemistry=chemistry_of(self.chemistry),
            cells=self.cells,
            capacity_mah=self.capacity_mah,
            cutoff_cell_v=self.cutoff_cell_v,
        )


class MavlinkConfig(Section):
    """The link to the flight controller."""

    url: str = "udpout:127.0.0.1:14550"
    system_id: Annotated[int, Field(ge=1, le=255)] = 1
    vehicle: Literal["auto", "ardupilot", "px4"] = "auto"


class StatusConfig(Section):
    """The local stream for viewers."""

    socket: str = "/run/dronebms/status.sock"


class RecordingConfig(Section):
    """Where runs are recorded."""

    dir: str


def _limit_id(name: str) -> str:
    ids = limit_ids()
    if name not in ids:
        raise ValueError(f"one of {', '.join(ids)}")
    return name


class LimitConfig(Section):
    """A change of one row of the protection table."""

    id: Annotated[str, AfterValidator(_limit_id)]
    trip: Annotated[float, Field(allow_inf_nan=False)] | None = None
    clear: Annotated[float, Field(allow_inf_nan=False)] | None = None
    hold_s: NotNegative | None = None
    clear_s: NotNegative | None = None
    severity: Severity | None = None

    @field_validator("severity", mode="before")
    @classmethod
    def _named(cls, name: object) -> object:
        names = [severity.label for severity in Severity if severity]
        if name not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return Severity[str(name).upper()]


class Config(Section):
    """A whole file."""

    battery: Annotated[tuple[BatteryConfig, ...], Field(min_length=1, max_length=2, strict=False)]
    mavlink: MavlinkConfig = MavlinkConfig()
    status: StatusConfig | None = None
    recording: RecordingConfig | None = None
    limit: Annotated[tuple[LimitConfig, ...], Field(strict=False)] = ()

    def limit_changes(self) -> tuple[LimitChange, ...]:
        """Return the changes as `limits.changed_limits` takes them."""
        return tuple(
            LimitChange(row.id, row.trip, row.clear, row.hold_s, row.clear_s, row.severity)
            for row in self.limit
        )


def read_config(path: Path) -> Config:
    """Return a configuration file.

    Raises:
        ConfigError: everything that is wrong with it, one sentence a line.
    """
    return validated(Config, read_text(path), str(path))
