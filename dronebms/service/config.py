# SPDX-License-Identifier: Apache-2.0
"""Schema of the configuration file (docs/service.md). Units are in the key names."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import TOPOLOGIES, PackData
from dronebms.core.plausible_range import (
    ActionHoldS,
    ClimbMS,
    CooldownS,
    LimitClearS,
    LimitHoldS,
    RetryS,
    SpeedMS,
)
from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity
from dronebms.core.service_defaults import STATE_DIR, STATUS_SOCKET
from dronebms.core.toml_schema import (
    Argument,
    FilePath,
    Finite,
    Name,
    Positive,
    Section,
    one_of,
    read_text,
    sentence,
    validated,
)
from dronebms.dronecan.config import LAST_BATTERY, LAST_NODE, DronecanConfig
from dronebms.protection.limits import (
    LimitChange,
    changed_limits,
    contradiction,
    default_limits,
    every_limit,
)
from dronebms.protection.trip_ranges import (
    implausible_clear,
    implausible_limits,
    implausible_trip,
    too_mild,
)
from dronebms.service.battery_config import BatteryConfig
from dronebms.service.battery_conflicts import (
    id_conflict,
    name_conflict,
    place_conflict,
    reset_conflict,
)
from dronebms.service.contradicting_actions import contradictions
from dronebms.telemetry.config import MetricsConfig, MqttConfig, Topic
from mavlink_bridge.protocol.config import TELEMETRY, VEHICLE, Links, MavlinkConfig
from mavlink_bridge.vehicle.battery_id import MAX_BATTERIES

_MAX_SOCKET_BYTES = 107  # sun_path of unix(7), without the final zero
_LEAST_COOLDOWN_S = 5.0  # between two commands of a limit that trips again and again
_MAX_ROWS = 100  # each is compared with every other one, and evaluated in every step
_SEVERITIES = {severity.label: severity for severity in Severity if severity}


class StatusConfig(Section):
    """The local socket for viewers."""

    socket: FilePath = STATUS_SOCKET
    """Path of the status socket."""

    @field_validator("socket")
    @classmethod
    def _fits(cls, path: str) -> str:
        if len(path.encode()) > _MAX_SOCKET_BYTES:
            raise ValueError(f"a path of at most {_MAX_SOCKET_BYTES} bytes")
        return path

    @property
    def shown(self) -> Path:
        """The path, absolute; the socket itself is made by the path as written, which is short."""
        return Path(self.socket).absolute()


class StateConfig(Section):
    """Folder of the state that outlives a run; without it only vehicle parameters are stored."""

    dir: FilePath
    """Folder of the pack history, of what is learned of packs and of the restart state."""

    @property
    def folder(self) -> Path:
        """The same, absolute: of the current folder if `dir` is relative."""
        return Path(self.dir).absolute()


class RecordingConfig(Section):
    """Folder and bounds of the recordings."""

    dir: FilePath
    """Folder of the recordings."""
    max_mb: Positive = 512.0
    """Size of all recordings, in MB; the oldest are deleted first, those of an incident last."""
    max_days: Positive | None = None
    """Age in days above which a recording is deleted; none: as long as there is room."""
    file_mb: Positive = 16.0
    """Size in MB above which a recording is continued in another file."""

    @property
    def folder(self) -> Path:
        """`dir`, absolute: of the current folder if it is relative."""
        return Path(self.dir).absolute()

    @model_validator(mode="after")
    def _fits(self) -> "RecordingConfig":
        if self.max_mb < 2 * self.file_mb:
            raise ValueError(f"max_mb >= 2 * file_mb, {2 * self.file_mb:g}")
        return self


class VehicleConfig(Section):
    """The vehicle that the packs fly on."""

    name: Name | None = None
    """Name of the vehicle, whose flights share their usual power; else the autopilot's unique id.
    """


class LimitConfig(Section):
    """A change of one row of the protection table."""

    id: Annotated[str, one_of(every_limit())]
    """Id of the limit."""
    trip: Finite | None = None
    """Value at which the limit trips, in the unit of its quantity."""
    clear: Finite | None = None
    """Value at which the limit clears; else moved along with `trip`."""
    hold_s: LimitHoldS | None = None
    """Time that the value must be beyond `trip` before the limit trips."""
    clear_s: LimitClearS | None = None
    """Time that the value must be beyond `clear` before the limit clears."""
    severity: Annotated[str, one_of(_SEVERITIES)] | None = None
    """Severity of the limit."""

    @field_validator("trip", "clear")
    @classmethod
    def _is_plausible(cls, value: float | None, info: ValidationInfo) -> float | None:
        limit_id = info.data.get("id")
        if value is None or limit_id is None:
            return value
        check = implausible_trip if info.field_name == "trip" else implausible_clear
        wrong = check(limit_id, value)
        if wrong is not None:
            raise ValueError(wrong)
        return value

    @model_validator(mode="after")
    def _is_no_secret(self) -> "LimitConfig":
        row = every_limit()[self.id]
        if self.severity is not None and too_mild(row, _SEVERITIES[self.severity]):
            raise ValueError(f"severity warning or worse of a limit that is {row.severity.label}")
        return self

    @model_validator(mode="after")
    def _can_clear(self) -> "LimitConfig":
        if self.trip is not None and self.clear is not None:
            wrong = contradiction(every_limit()[self.id], self.trip, self.clear)
            if wrong is not None:
                raise sentence(wrong)
        return self


_DOS = {do.label: do for do in ActionKind}
DoName = Annotated[str, one_of(_DOS)]


class ActionConfig(Section):
    """An action in addition to reporting and announcing."""

    on: Annotated[str, one_of((*_SEVERITIES, GOVERNOR, *every_limit()))]
    """Trigger: a severity (this one or worse), the id of a limit, or `governor`."""
    do: DoName
    """What is done while the trigger holds."""
    hold_s: ActionHoldS = 2.0
    """Time that the trigger must hold before the action begins."""
    cooldown_s: CooldownS = 30.0
    """Time from the end of the action until it can begin again."""
    only_when_armed: bool = True
    """Whether the action is done on an armed vehicle alone."""
    retry_s: RetryS = 3.0
    """Time for the vehicle to comply before the command is repeated."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often the command is repeated."""
    escalate: DoName | None = None
    """More urgent action after the last retry; with `do = "return"` alone."""
    speed_m_s: SpeedMS | None = None
    """Speed that `reduce` allows, in addition to the current."""
    climb_m_s: ClimbMS | None = None
    """Climb rate that `reduce` allows, in addition to the current."""

    @model_validator(mode="after")
    def _is_valid(self) -> "ActionConfig":
        do = _DOS[self.do]
        escalate = _DOS.get(self.escalate or "")
        if escalate is not None and not ActionKind.RETURN <= do < escalate:
            raise ValueError("do = return and an escalate that is more urgent")
        if do is not ActionKind.REDUCE and (
            self.speed_m_s is not None or self.climb_m_s is not None
        ):
            raise ValueError("speed_m_s and climb_m_s with do = reduce only")
        if do < ActionKind.REDUCE:
            return self
        if not self.only_when_armed:
            raise ValueError(f"only_when_armed = true with do = {self.do}: nothing is commanded "
                             "to a disarmed vehicle")  # fmt: skip
        if self.cooldown_s < _LEAST_COOLDOWN_S:
            raise ValueError(f"cooldown_s of {_LEAST_COOLDOWN_S:g} s or more with do = {self.do}")
        if do > ActionKind.REDUCE and self.on == Severity.INFO.label:
            raise ValueError(f"on = warning or worse with do = {self.do}: info is no alarm")
        if do > ActionKind.REDUCE and self.on == GOVERNOR:
            raise ValueError("do = reduce on governor, which limits the current in normal flight; "
                             f"for do = {self.do} a limit or a severity")  # fmt: skip
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

    command: Annotated[list[Argument], Field(min_length=1)] | None = None
    """Program and its arguments; `reduce` or `stop` is added as the last one."""
    topic: Topic | None = None
    """MQTT topic of the charger; needs `[mqtt]`."""

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

    battery: Annotated[list[BatteryConfig], Field(min_length=1, max_length=MAX_BATTERIES)]
    """The packs, in the order of their numbers."""
    mavlink: Links = Field(default_factory=lambda: [MavlinkConfig()])
    """The link to the flight controller; several as `[[mavlink]]`, one of them to the vehicle."""
    vehicle: VehicleConfig = VehicleConfig()
    """What the vehicle is called."""
    status: StatusConfig | None = None
    """The status socket, for `dronebms status`; off without this section."""
    recording: RecordingConfig | None = None
    """Recordings of every transfer; off without this section."""
    state: StateConfig | None = None
    """State that outlives a run; without this section only vehicle parameters are stored."""
    limit: Annotated[list[LimitConfig], Field(max_length=_MAX_ROWS)] = Field(default_factory=list)
    """Changes of rows of the limit table."""
    action: Annotated[list[ActionConfig], Field(max_length=_MAX_ROWS)] = Field(default_factory=list)
    """Actions on the vehicle; none without a row."""
    charger: ChargerConfig | None = None
    """Control of a charger; off without this section."""
    metrics: MetricsConfig | None = None
    """OpenMetrics for a scraper; off without this section; extra `metrics`."""
    mqtt: MqttConfig | None = None
    """Messages to a broker; off without this section; extra `mqtt`."""
    dronecan: DronecanConfig | None = None
    """Packs as batteries on a CAN bus; off without this section; extra `dronecan`."""
    topology: Annotated[str, one_of(TOPOLOGIES)] = TOPOLOGIES[0]
    """How several batteries are connected."""

    @model_validator(mode="after")
    def _every_pack_has_its_own_address(self) -> "Config":
        for second, later in enumerate(self.battery):
            for first, earlier in enumerate(self.battery[:second]):
                wrong = name_conflict(earlier, later) or place_conflict(earlier, later)
                if wrong is not None:
                    raise ValueError(f"battery.{first + 1} and battery.{second + 1}: {wrong}")
        return self

    @model_validator(mode="after")
    def _vehicle_is_reachable(self) -> "Config":
        numbers: dict[int, int] = {}  # of the battery, by the monitor
        for number, battery in enumerate(self.battery, start=1):
            if battery.monitor in numbers:
                raise ValueError(
                    f"battery.{numbers[battery.monitor]} and battery.{number}: same {battery.place}"
                )
            if battery.monitor is not None:
                numbers[battery.monitor] = number
        if numbers and "url" not in self.vehicle_link.model_fields_set:
            raise ValueError("[mavlink] url in addition to a bus mavlink:N")
        return self

    @model_validator(mode="after")
    def _forwarded_can_packs_are_reachable(self) -> "Config":
        buses = [battery.can.bus for battery in self.battery if battery.can is not None]
        if not any(bus.kind == "mavcan" for bus in buses):
            return self
        if "url" not in self.vehicle_link.model_fields_set:
            raise ValueError("[mavlink] url in addition to a bus dronecan:mavcan")
        if self.vehicle_link.vehicle == "px4":
            raise ValueError("a CAN bus of this computer: PX4 forwards none over MAVLink")
        return self

    @model_validator(mode="after")
    def _batteries_are_distinct_on_mavlink(self) -> "Config":
        wrong = id_conflict(self.battery, self.vehicle_link) or reset_conflict(
            self.battery, self.vehicle_link
        )
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _can_batteries_have_ids(self) -> "Config":
        can = self.dronecan
        count = len(self.sent_to_can())
        if can is None:
            return self
        if can.url == "mavcan" and any(link.vehicle == "px4" for link in self.mavlink):
            raise ValueError("dronecan.url of a CAN bus: PX4 forwards none over MAVLink")
        if not count:
            raise ValueError("[dronecan] with a battery that the autopilot does not read itself")
        last = LAST_NODE - count + 1
        if can.node_id is not None and can.node_id > last:
            raise ValueError(f"dronecan.node_id of at most {last} with {count} batteries, each "
                             "of which is a node")  # fmt: skip
        last = LAST_BATTERY - count + 1
        if can.battery_id > last:
            raise ValueError(f"dronecan.battery_id of at most {last} with {count} batteries")
        return self

    @model_validator(mode="after")
    def _can_packs_are_not_ours(self) -> "Config":
        can = self.dronecan
        count = len(self.sent_to_can())
        for number, battery in enumerate(self.battery, start=1):
            address = battery.can
            if can is None or address is None or str(address.bus) != can.url:
                continue
            nodes = range(can.node_id or 0, (can.node_id or 0) + count)
            batteries = range(can.battery_id, can.battery_id + count)
            if address.battery_id in batteries or (can.node_id and address.node_id in nodes):
                raise ValueError(f"battery.{number}: another id than {address.name}, which "
                                 "[dronecan] sends itself")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _socket_is_no_folder(self) -> "Config":
        if self.status is None:
            return self
        socket = self.status.shown
        for name, section in (("state.dir", self.state), ("recording.dir", self.recording)):
            if section is not None and socket in (section.folder, *section.folder.parents):
                raise ValueError(f"another path for status.socket: {socket} is a folder of {name}")
        return self

    @model_validator(mode="after")
    def _charger_is_reachable(self) -> "Config":
        if self.charger is not None and self.charger.topic is not None and self.mqtt is None:
            raise ValueError("[mqtt] in addition to charger.topic")
        return self

    @model_validator(mode="after")
    def _limits_agree(self) -> "Config":
        twice = {row.id for row in self.limit if [one.id for one in self.limit].count(row.id) > 1}
        if twice:
            raise ValueError(f"one row for limit {min(twice)!r}: write its keys into one [[limit]]")
        for number, battery in enumerate(self.battery, start=1):
            pack_data = battery.pack_data()
            try:
                limits = changed_limits(default_limits(pack_data), self.limit_changes())
            except ConfigError as error:
                raise ValueError(str(error)) from error
            wrong = next(implausible_limits(limits, pack_data), None)
            if wrong is not None:
                raise ValueError(f"battery.{number}: {wrong}")
        return self

    @model_validator(mode="after")
    def _actions_agree(self) -> "Config":
        severities = {limit_id: row.severity for limit_id, row in every_limit().items()}
        severities |= {
            row.id: _SEVERITIES[row.severity] for row in self.limit if row.severity is not None
        }
        actions = [row.action() for row in self.action]
        wrong = contradictions(actions, severities, is_px4=self.vehicle_link.vehicle == "px4")
        if wrong:
            raise ValueError(wrong[0])
        return self

    def sent_to_can(self) -> list[int]:
        """Indices of the batteries that [dronecan] sends: those that no other sender does."""
        return [index for index, battery in enumerate(self.battery) if battery.monitor is None]

    @property
    def vehicle_link(self) -> MavlinkConfig:
        """The link whose autopilot is followed and commanded."""
        return next(one for one in self.mavlink if one.role == VEHICLE)

    @property
    def telemetry_links(self) -> list[MavlinkConfig]:
        """The other links."""
        return [one for one in self.mavlink if one.role == TELEMETRY]

    def link_name(self, link: MavlinkConfig) -> str:
        """Name of a link for people: its section, with a number if there are several."""
        several = len(self.mavlink) > 1
        return f"mavlink {self.mavlink.index(link) + 1}" if several else "mavlink"

    def pack_data(self) -> list[PackData]:
        """Rated data of the packs, as far as they are configured, with the vehicle's name."""
        name = self.vehicle.name
        return [replace(battery.pack_data(), vehicle=name) for battery in self.battery]

    @property
    def vehicle_dir(self) -> Path:
        """Folder of the original vehicle parameters, which are stored in any case."""
        return Path(STATE_DIR) if self.state is None else self.state.folder

    def action_kinds(self) -> frozenset[ActionKind]:
        """What the actions do to the vehicle: reduce, return, land."""
        actions = [row.action() for row in self.action]
        kinds = {do for one in actions for do in (one.do, one.escalate) if do is not None}
        return frozenset(do for do in kinds if do >= ActionKind.REDUCE)

    def limit_changes(self) -> tuple[LimitChange, ...]:
        """The rows as `limits.changed_limits` takes them."""
        return tuple(
            LimitChange(
                row.id,
                row.trip,
                row.clear,
                row.hold_s,
                row.clear_s,
                None if row.severity is None else _SEVERITIES[row.severity],
            )
            for row in self.limit
        )


def read_config(path: Path) -> Config:
    """The configuration of a file.

    Raises:
        ConfigError: everything that is wrong with it, one sentence a line.
    """
    return validated(Config, read_text(path), str(path))
