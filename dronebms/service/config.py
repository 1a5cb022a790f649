"""Schema of the configuration file (docs/service.md). Units are in the key names."""

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from dronebms.core.chemistry import chemistry_of
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import TOPOLOGIES, PackData
from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity
from dronebms.core.toml_schema import (
    AUTO,
    ChemistryName,
    GaugeName,
    NonEmptyText,
    NotNegative,
    Positive,
    Section,
    one_of,
    read_text,
    validated,
)
from dronebms.protection.limits import (
    LimitChange,
    changed_limits,
    contradiction,
    default_limits,
    every_limit,
)
from dronebms.telemetry.config import MetricsConfig, MqttConfig, Topic
from mavlink_bridge.protocol.config import MavlinkConfig
from smartbattery import multiplexer
from smartbattery.registers import DESIGN

STATUS_SOCKET = "/run/dronebms/status.sock"
_MAX_SOCKET_BYTES = 107  # sun_path of unix(7), without the final zero
_VIRTUAL = "sim:"
_SEVERITIES = {severity.label: severity for severity in Severity if severity}


def _bus(text: str) -> str:
    if text.startswith("/dev/") or (text.startswith(_VIRTUAL) and text != _VIRTUAL):
        return text
    raise ValueError('a device such as "/dev/i2c-1", or "sim:SCENARIO"')


class BatteryConfig(Section):
    """One pack."""

    bus: Annotated[str, AfterValidator(_bus)]
    address: Annotated[int, Field(ge=0x03, le=0x77)] = 0x0B
    gauge: GaugeName = AUTO
    mux_address: (
        Annotated[int, Field(ge=multiplexer.ADDRESSES[0], le=multiplexer.ADDRESSES[-1])] | None
    ) = None
    mux_channel: (
        Annotated[int, Field(ge=multiplexer.CHANNELS[0], le=multiplexer.CHANNELS[-1])] | None
    ) = None
    recovery: Annotated[list[NonEmptyText], Field(min_length=1)] | None = None  # program, arguments
    cells: Annotated[int, Field(ge=1, le=16)] | None = None
    capacity_mah: Annotated[float, Field(ge=DESIGN.low, allow_inf_nan=False)] | None = None
    chemistry: ChemistryName = "lipo"
    cutoff_cell_v: Annotated[float, Field(ge=1.5, le=4.2)] | None = None
    continuous_c: Positive | None = None  # as the pack's maker rates it
    burst_c: Positive | None = None
    limp_home_a: Positive | None = None
    hover_a: Positive | None = None
    planned_s: Positive | None = None

    @model_validator(mode="after")
    def _is_reachable(self) -> "BatteryConfig":
        if (self.mux_address is None) != (self.mux_channel is None):
            raise ValueError("both mux_address and mux_channel, or neither")
        if self.is_virtual and (self.mux_address is not None or self.recovery is not None):
            raise ValueError("neither mux_address nor recovery with a simulated bus")
        if self.mux_address == self.address:
            raise ValueError("different addresses of the pack and its multiplexer")
        if self.continuous_c and self.burst_c and self.burst_c < self.continuous_c:
            raise ValueError("burst_c >= continuous_c")
        if self.planned_s and not (self.hover_a or self.limp_home_a):
            raise ValueError("hover_a or limp_home_a in addition to planned_s")
        return self

    @property
    def is_virtual(self) -> bool:
        """Whether the pack is simulated."""
        return self.bus.startswith(_VIRTUAL)

    @property
    def scenario(self) -> str:
        """Name of the simulated flight."""
        return self.bus.removeprefix(_VIRTUAL)

    @property
    def place(self) -> str:
        """Bus and address of the pack, for people."""
        place = f"{self.bus} address 0x{self.address:02x}"
        if self.mux_address is None:
            return place
        return f"{place} channel {self.mux_channel} of 0x{self.mux_address:02x}"

    @property
    def adapter(self) -> str:
        """The device, with symbolic links resolved."""
        return str(Path(self.bus).resolve())

    def pack_data(self) -> PackData:
        """Rated data of the pack, as far as it is configured."""
        row = self.model_dump(include={field.name for field in fields(PackData)})
        return PackData(**row | {"chemistry": chemistry_of(self.chemistry)})


class StatusConfig(Section):
    """The local socket for viewers."""

    socket: NonEmptyText = STATUS_SOCKET

    @field_validator("socket")
    @classmethod
    def _fits(cls, path: str) -> str:
        if len(path.encode()) > _MAX_SOCKET_BYTES:
            raise ValueError(f"a path of at most {_MAX_SOCKET_BYTES} bytes")
        return path


class StateConfig(Section):
    """Folder of the state that outlives a run; without it only vehicle parameters are stored."""

    dir: NonEmptyText


class RecordingConfig(Section):
    """Folder and bounds of the recordings."""

    dir: str
    max_mb: Positive = 512.0  # of all files
    max_days: Positive | None = None  # None: as long as there is room
    file_mb: Positive = 16.0  # a larger file is continued in another one

    @model_validator(mode="after")
    def _fits(self) -> "RecordingConfig":
        if self.max_mb < 2 * self.file_mb:
            raise ValueError("max_mb >= 2 * file_mb")
        return self


class LimitConfig(Section):
    """A change of one row of the protection table."""

    id: Annotated[str, one_of(every_limit())]
    trip: Annotated[float, Field(allow_inf_nan=False)] | None = None
    clear: Annotated[float, Field(allow_inf_nan=False)] | None = None
    hold_s: NotNegative | None = None
    clear_s: NotNegative | None = None
    severity: Severity | None = None

    @field_validator("severity", mode="before")
    @classmethod
    def _named(cls, name: object) -> object:
        if name not in _SEVERITIES:
            raise ValueError(f"one of {', '.join(_SEVERITIES)}")
        return _SEVERITIES[str(name)]

    @model_validator(mode="after")
    def _can_clear(self) -> "LimitConfig":
        if self.trip is not None and self.clear is not None:
            wrong = contradiction(every_limit()[self.id], self.trip, self.clear)
            if wrong is not None:
                raise ValueError(wrong)
        return self


_DOS = {do.label: do for do in ActionKind}
DoName = Annotated[str, one_of(_DOS)]


class ActionConfig(Section):
    """An action in addition to reporting and announcing."""

    on: Annotated[str, one_of((*_SEVERITIES, GOVERNOR, *every_limit()))]
    do: DoName
    hold_s: NotNegative = 2.0
    cooldown_s: NotNegative = 30.0
    only_when_armed: bool = True
    retry_s: Positive = 3.0
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    escalate: DoName | None = None
    speed_m_s: Positive | None = None
    climb_m_s: Positive | None = None

    @model_validator(mode="after")
    def _is_valid(self) -> "ActionConfig":
        do, escalate = _DOS[self.do], _DOS.get(self.escalate or "")
        if escalate is not None and not ActionKind.RETURN <= do < escalate:
            raise ValueError("do = return and an escalate that is more urgent")
        if do is not ActionKind.REDUCE and (
            self.speed_m_s is not None or self.climb_m_s is not None
        ):
            raise ValueError("speed_m_s and climb_m_s with do = reduce only")
        return self

    def action(self) -> Action:
        """The row as an `Action`."""
        row = self.model_dump()
        row["on"] = _SEVERITIES.get(self.on, self.on)
        row["do"] = _DOS[self.do]
        row["escalate"] = _DOS.get(self.escalate or "")
        return Action(**row)


class ChargerConfig(Section):
    """Program and MQTT topic that control a charger by `reduce` and `stop`; not while armed."""

    command: Annotated[list[NonEmptyText], Field(min_length=1)] | None = None
    topic: Topic | None = None

    @model_validator(mode="after")
    def _is_something(self) -> "ChargerConfig":
        if self.command is None and self.topic is None:
            raise ValueError("command, topic or both")
        return self

    @property
    def place(self) -> str:
        """Program and topic, for people."""
        program = None if self.command is None else f"the program {shlex.join(self.command)}"
        topic = None if self.topic is None else f"the MQTT topic {self.topic}"
        return " and ".join(filter(None, (program, topic)))


class Config(Section):
    """A whole file."""

    battery: Annotated[list[BatteryConfig], Field(min_length=1)]
    mavlink: MavlinkConfig = MavlinkConfig()
    status: StatusConfig | None = None
    recording: RecordingConfig | None = None
    state: StateConfig | None = None
    limit: list[LimitConfig] = Field(default_factory=list)
    action: list[ActionConfig] = Field(default_factory=list)
    charger: ChargerConfig | None = None
    metrics: MetricsConfig | None = None
    mqtt: MqttConfig | None = None
    topology: Annotated[str, one_of(TOPOLOGIES)] = TOPOLOGIES[0]  # of several batteries

    @model_validator(mode="after")
    def _every_pack_has_its_own_address(self) -> "Config":
        for second, later in enumerate(self.battery):
            for first, earlier in enumerate(self.battery[:second]):
                wrong = _conflict(earlier, later)
                if wrong is not None:
                    raise ValueError(f"battery.{first + 1} and battery.{second + 1}: {wrong}")
        return self

    @model_validator(mode="after")
    def _charger_is_reachable(self) -> "Config":
        if self.charger is not None and self.charger.topic is not None and self.mqtt is None:
            raise ValueError("[mqtt] in addition to charger.topic")
        return self

    @model_validator(mode="after")
    def _limits_agree(self) -> "Config":
        for battery in self.battery:
            try:
                changed_limits(default_limits(battery.pack_data()), self.limit_changes())
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    @property
    def vehicle_dir(self) -> Path:
        """Folder of the original vehicle parameters, which are stored in any case."""
        return Path("/var/lib/dronebms" if self.state is None else self.state.dir)

    def limit_changes(self) -> tuple[LimitChange, ...]:
        """The rows as `limits.changed_limits` takes them."""
        return tuple(
            LimitChange(row.id, row.trip, row.clear, row.hold_s, row.clear_s, row.severity)
            for row in self.limit
        )


def by_adapter(batteries: Sequence[BatteryConfig]) -> list[list[tuple[int, BatteryConfig]]]:
    """The batteries with their indices, those of one adapter together."""
    found: dict[str, list[tuple[int, BatteryConfig]]] = {}
    for index, battery in enumerate(batteries):
        key = f"{battery.bus} {index}" if battery.is_virtual else battery.adapter
        found.setdefault(key, []).append((index, battery))
    return list(found.values())


def _conflict(one: BatteryConfig, other: BatteryConfig) -> str | None:
    """Reason why two batteries cannot be read together, `None` if they can."""
    if one.is_virtual or other.is_virtual or one.adapter != other.adapter:
        return None
    places = (one.mux_address, one.mux_channel), (other.mux_address, other.mux_channel)
    if one.address == other.address and places[0] == places[1]:
        return f"same bus and address 0x{one.address:02x}"
    if one.address == other.address and (None, None) in places:
        return (
            f"address 0x{one.address:02x} before and behind a multiplexer; "
            "both would answer at once"
        )
    if {one.mux_address, other.mux_address} & {one.address, other.address}:
        return "a pack has the address of a multiplexer"
    if one.recovery and other.recovery and one.recovery != other.recovery:
        return "one bus with two recovery programs"
    return None


def read_config(path: Path) -> Config:
    """The configuration of a file.

    Raises:
        ConfigError: everything that is wrong with it, one sentence a line.
    """
    return validated(Config, read_text(path), str(path))
