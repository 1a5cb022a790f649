# SPDX-License-Identifier: Apache-2.0
"""Schema of the configuration file (docs/service.md). Units are in the key names."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import TOPOLOGIES, PackData
from dronebms.core.report import ActionKind
from dronebms.core.service_defaults import STATE_DIR, STATUS_SOCKET
from dronebms.core.toml_schema import (
    Argument,
    FilePath,
    Name,
    Positive,
    Section,
    one_of,
    read_text,
    validated,
)
from dronebms.dronecan.config import LAST_BATTERY, LAST_NODE, DronecanConfig
from dronebms.protection.limits import (
    LimitChange,
    changed_limits,
    default_limits,
    every_limit,
)
from dronebms.protection.trip_ranges import (
    implausible_limits,
)
from dronebms.service.config.battery_config import BatteryConfig
from dronebms.service.config.battery_conflicts import (
    id_conflict,
    name_conflict,
    place_conflict,
    reset_conflict,
)
from dronebms.service.config.contradicting_actions import contradictions
from dronebms.service.config.rule_config import SEVERITIES, ActionConfig, LimitConfig
from dronebms.telemetry.config import MetricsConfig, MqttConfig, Topic
from mavlink_bridge.protocol.config import TELEMETRY, VEHICLE, Links, MavlinkConfig
from mavlink_bridge.vehicle.battery_id import MAX_BATTERIES

_MAX_SOCKET_BYTES = 107  # sun_path of unix(7), without the final zero
_MAX_ROWS = 100  # each is compared with every other one, and evaluated in every step


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
    def _sections_agree(self) -> "Config":
        wrong = next(filter(None, (rule(self) for rule in _RULES)), None)
        if wrong is not None:
            raise ValueError(wrong)
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
        return tuple([row.change() for row in self.limit])


# ---------------------------------------------------------------------- rules between the sections


def _every_pack_has_its_own_address(config: Config) -> str | None:
    for second, later in enumerate(config.battery):
        for first, earlier in enumerate(config.battery[:second]):
            wrong = name_conflict(earlier, later) or place_conflict(earlier, later)
            if wrong is not None:
                return f"battery.{first + 1} and battery.{second + 1}: {wrong}"
    return None


def _vehicle_is_reachable(config: Config) -> str | None:
    numbers: dict[int, int] = {}  # of the battery, by the monitor
    for number, battery in enumerate(config.battery, start=1):
        if battery.monitor in numbers:
            first = numbers[battery.monitor]
            return f"battery.{first} and battery.{number}: same {battery.place}"
        if battery.monitor is not None:
            numbers[battery.monitor] = number
    if numbers and "url" not in config.vehicle_link.model_fields_set:
        return "[mavlink] url in addition to a bus mavlink:N"
    return None


def _forwarded_can_packs_are_reachable(config: Config) -> str | None:
    buses = [battery.can.bus for battery in config.battery if battery.can is not None]
    if not any(bus.kind == "mavcan" for bus in buses):
        return None
    if "url" not in config.vehicle_link.model_fields_set:
        return "[mavlink] url in addition to a bus dronecan:mavcan"
    if config.vehicle_link.vehicle == "px4":
        return "a CAN bus of this computer: PX4 forwards none over MAVLink"
    return None


def _batteries_are_distinct_on_mavlink(config: Config) -> str | None:
    link = config.vehicle_link
    return id_conflict(config.battery, link) or reset_conflict(config.battery, link)


def _sent_can_batteries_have_ids(config: Config) -> str | None:
    can = config.dronecan
    count = len(config.sent_to_can())
    if can is None:
        return None
    if can.url == "mavcan" and any(link.vehicle == "px4" for link in config.mavlink):
        return "dronecan.url of a CAN bus: PX4 forwards none over MAVLink"
    if not count:
        return "[dronecan] with a battery that the autopilot does not read itself"
    last = LAST_NODE - count + 1
    if can.node_id is not None and can.node_id > last:
        return f"dronecan.node_id of at most {last} with {count} batteries, each of which is a node"
    last = LAST_BATTERY - count + 1
    if can.battery_id > last:
        return f"dronecan.battery_id of at most {last} with {count} batteries"
    return None


def _received_can_packs_are_not_sent(config: Config) -> str | None:
    can = config.dronecan
    count = len(config.sent_to_can())
    for number, battery in enumerate(config.battery, start=1):
        address = battery.can
        if can is None or address is None or str(address.bus) != can.url:
            continue
        nodes = range(can.node_id or 0, (can.node_id or 0) + count)
        batteries = range(can.battery_id, can.battery_id + count)
        if address.battery_id in batteries or (can.node_id and address.node_id in nodes):
            return (
                f"battery.{number}: another id than {address.name}, which [dronecan] sends itself"
            )
    return None


def _socket_is_no_folder(config: Config) -> str | None:
    if config.status is None:
        return None
    socket = config.status.shown
    for name, section in (("state.dir", config.state), ("recording.dir", config.recording)):
        if section is not None and socket in (section.folder, *section.folder.parents):
            return f"another path for status.socket: {socket} is a folder of {name}"
    return None


def _charger_is_reachable(config: Config) -> str | None:
    if config.charger is not None and config.charger.topic is not None and config.mqtt is None:
        return "[mqtt] in addition to charger.topic"
    return None


def _limits_agree(config: Config) -> str | None:
    twice = {row.id for row in config.limit if [one.id for one in config.limit].count(row.id) > 1}
    if twice:
        return f"one row for limit {min(twice)!r}: write its keys into one [[limit]]"
    for number, battery in enumerate(config.battery, start=1):
        pack_data = battery.pack_data()
        try:
            limits = changed_limits(default_limits(pack_data), config.limit_changes())
        except ConfigError as error:
            return str(error)
        wrong = next(implausible_limits(limits, pack_data), None)
        if wrong is not None:
            return f"battery.{number}: {wrong}"
    return None


def _actions_agree(config: Config) -> str | None:
    severities = {limit_id: row.severity for limit_id, row in every_limit().items()}
    severities |= {
        row.id: SEVERITIES[row.severity] for row in config.limit if row.severity is not None
    }
    actions = [row.action() for row in config.action]
    is_px4 = config.vehicle_link.vehicle == "px4"
    return next(iter(contradictions(actions, severities, is_px4=is_px4)), None)


# Each gives what was expected, `None` where the sections agree.
_RULES: tuple[Callable[[Config], str | None], ...] = (
    _every_pack_has_its_own_address,
    _vehicle_is_reachable,
    _forwarded_can_packs_are_reachable,
    _batteries_are_distinct_on_mavlink,
    _sent_can_batteries_have_ids,
    _received_can_packs_are_not_sent,
    _socket_is_no_folder,
    _charger_is_reachable,
    _limits_agree,
    _actions_agree,
)


def read_config(path: Path) -> Config:
    """The configuration of a file.

    Raises:
        ConfigError: everything that is wrong with it, one sentence a line.
    """
    return validated(Config, read_text(path), str(path))
