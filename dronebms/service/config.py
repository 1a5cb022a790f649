# SPDX-License-Identifier: Apache-2.0
"""Schema of the configuration file (docs/service.md). Units are in the key names."""

import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from dronebms.core.chemistry import chemistry_of
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import TOPOLOGIES, PackData
from dronebms.core.plausible_range import (
    ActionHoldS,
    CapacityMah,
    ClimbMS,
    CooldownS,
    CurrentA,
    CutoffV,
    FlightS,
    LimitClearS,
    LimitHoldS,
    PackV,
    RateC,
    RetryS,
    SpeedMS,
)
from dronebms.core.report import GOVERNOR, Action, ActionKind, Severity
from dronebms.core.service_defaults import AUTO, STATUS_SOCKET
from dronebms.core.toml_schema import (
    Argument,
    CellName,
    ChemistryName,
    FilePath,
    Finite,
    GaugeName,
    Name,
    Positive,
    PrintableText,
    Section,
    one_of,
    read_text,
    sentence,
    validated,
)
from dronebms.dronecan import battery_address
from dronebms.dronecan.battery_address import BatteryAddress, CanPack, parse_battery
from dronebms.dronecan.battery_messages import BATTERY_CONTINUOUS, BATTERY_INFO, CBAT
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
from dronebms.service.contradicting_actions import contradictions
from dronebms.service.gauge_packages import scheme_of, schemes
from dronebms.telemetry.config import MetricsConfig, MqttConfig, Topic
from mavlink_bridge.protocol.config import TELEMETRY, VEHICLE, Links, MavlinkConfig
from mavlink_bridge.protocol.vehicle_battery import LAST_MONITOR
from mavlink_bridge.vehicle.battery_id import LAST_ID, MAX_BATTERIES
from mavlink_bridge.vehicle.battery_reset import LAST_MONITOR as LAST_RESET
from smartbattery import multiplexer
from smartbattery.profiles import profile_named
from smartbattery.registers import CELLS
from smartbattery.snapshot import MAX_CELLS

_MAX_SOCKET_BYTES = 107  # sun_path of unix(7), without the final zero
_VIRTUAL = "sim:"
_MONITOR = "mavlink:"
_MONITORS = {f"{_MONITOR}{monitor}": monitor for monitor in range(LAST_MONITOR + 1)}
_CAN = battery_address.PREFIX
_CURRENT_TYPES = {
    row.name.rpartition(".")[2]: row for row in (BATTERY_INFO, BATTERY_CONTINUOUS, CBAT)
}
_OWN = ("/dev/", _VIRTUAL, _MONITOR, _CAN)
_OF_A_CAN_PACK = ("nominal_v", "reverse_current", "ignore_status_flags")
_OF_A_GAUGE = ("address", "gauge", "mux_address", "mux_channel", "recovery")
_OF_NO_MONITOR = (*_OF_A_GAUGE, "component_id", "battery_id")  # it is not reported back
_LEAST_COOLDOWN_S = 5.0  # between two commands of a limit that trips again and again
_SEVERITIES = {severity.label: severity for severity in Severity if severity}


def _bus(text: str) -> str:
    if text.startswith(_VIRTUAL) and text != _VIRTUAL:
        _check_scenario(text.removeprefix(_VIRTUAL))
        return text
    if text in _MONITORS or text.startswith("/dev/"):
        return text
    if text.startswith(_CAN):
        return _can_battery(text)
    if text.startswith(_MONITOR):
        raise ValueError(f'"mavlink:0" to "mavlink:{LAST_MONITOR}", a monitor of the autopilot')
    found = schemes()
    if scheme_of(text) in found and text.partition(":")[2]:
        return text
    packages = "".join(f', "{scheme}:PLACE"' for scheme in found)
    raise ValueError(
        f'a device such as "/dev/i2c-1"{packages}, "mavlink:0", "dronecan:URL#ID" or "sim:SCENARIO"'
    )


def _can_battery(text: str) -> str:
    try:
        parse_battery(text)
    except LinkError as error:
        raise ValueError(str(error).partition(": expected ")[2]) from error
    return text


def _check_scenario(name: str) -> None:
    from sim.plant.scenario import load_scenario  # noqa: PLC0415 - real packs need no simulation

    try:
        load_scenario(name)
    except ConfigError as error:
        raise sentence("; ".join(str(error).splitlines())) from error


def _seven_bits(address: int) -> int:
    low, high = multiplexer.ADDRESSES[0], multiplexer.ADDRESSES[-1]
    if low <= address <= high:
        return address
    eight_bit = f" ({address:#04x} is the 8-bit form of {address >> 1:#04x})"
    hint = eight_bit if low <= address >> 1 <= high else ""
    raise ValueError(f"{low:#04x} to {high:#04x}{hint}")


def _battery_id(battery_id: int) -> int:
    if 0 <= battery_id <= LAST_ID:
        return battery_id
    raise ValueError(f"0 to {LAST_ID} (255 is the battery that PX4 receives)")


class BatteryConfig(Section):
    """One pack."""

    bus: Annotated[PrintableText, AfterValidator(_bus)]
    """Where the pack is read: an I2C adapter (`/dev/i2c-1`), a monitor of the autopilot
    (`mavlink:0`), a CAN bus (`dronecan:socketcan:can0#1`), a gauge of another package
    (`jbd:/dev/ttyUSB0`) or a virtual pack (`sim:survey`)."""
    address: Annotated[int, Field(ge=0x03, le=0x77)] = 0x0B
    """7-bit address of the gauge on the bus."""
    gauge: GaugeName = AUTO
    """Profile of the gauge; `auto` identifies it by reading."""
    mux_address: Annotated[int, AfterValidator(_seven_bits)] | None = None
    """Address of the multiplexer in front of the pack; needs `mux_channel`."""
    mux_channel: (
        Annotated[int, Field(ge=multiplexer.CHANNELS[0], le=multiplexer.CHANNELS[-1])] | None
    ) = None
    """Channel of the multiplexer that the pack is on."""
    recovery: Annotated[list[Argument], Field(min_length=1)] | None = None
    """Program and its arguments that free a stuck bus."""
    cells: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = None
    """Cells in series; else the gauge's. Needed with a monitor of the autopilot."""
    capacity_mah: CapacityMah | None = None
    """Rated capacity; else the gauge's, or estimated."""
    cell: CellName | None = None
    """Type of the cells, if it is a known one, such as `P42A`; its chemistry applies."""
    chemistry: ChemistryName = "lipo"
    """Chemistry of the cells."""
    cutoff_cell_v: CutoffV | None = None
    """Voltage of the weakest cell under load at which the pack is empty; else the chemistry's."""
    continuous_c: RateC | None = None
    """Continuous discharge current in C, as the pack's maker rates it; else the chemistry's."""
    burst_c: RateC | None = None
    """Discharge current for 10 s in C, as the pack's maker rates it; else the chemistry's."""
    limp_home_a: CurrentA | None = None
    """Least current that keeps the aircraft in the air; else 1.1 times the mean power in flight."""
    hover_a: CurrentA | None = None
    """Mean current of this pack in flight, that `planned_s` is compared with."""
    planned_s: FlightS | None = None
    """Duration of the next flight: no-go if the charge does not last for it at `hover_a`."""
    component_id: Annotated[int, Field(ge=2, le=250)] | None = None
    """MAVLink component of the pack; else 180 of the first one, 181 of all others."""
    battery_id: Annotated[int, AfterValidator(_battery_id)] | None = None
    """BATTERY_STATUS.id of the pack; else a free one."""
    reset_monitor: Annotated[int, Field(ge=1, le=LAST_RESET)] | None = None
    """Battery monitor of ArduPilot (1: `BATT_`, 2: `BATT2_`) that is reset on the ground when the
    pack was replaced; none without it."""
    pack_id: Name | None = None
    """Name of a pack without a serial number of its own, such as one behind a power module: its
    history and what is learned of it are stored under that name; change it with the pack."""
    pack_model: Name | None = None
    """Model of the pack: a new pack starts from packs of its model; else maker, device, capacity
    and cells."""
    nominal_v: PackV | None = None
    """Of a DroneCAN pack: nominal voltage, by which its energies are charges; else as it states."""
    reverse_current: list[Annotated[str, one_of(_CURRENT_TYPES)]] = Field(default_factory=list)
    """Of a DroneCAN pack: messages whose current has the other sign than autopilots expect."""
    ignore_status_flags: bool = False
    """Of a DroneCAN pack: whether its maker has given the status flags another sense."""

    @model_validator(mode="after")
    def _is_of_the_cell(self) -> "BatteryConfig":
        if self.cell is None:
            return self
        row = known_cell(self.cell)
        given = "chemistry" in self.model_fields_set
        if given and row.chemistry.name != self.chemistry:
            raise ValueError(f"chemistry {row.chemistry.name} for cell {row.name}")
        if self.capacity_mah and not row.makes_up(self.capacity_mah):
            raise ValueError(
                f"capacity_mah of {row.name} cells in parallel, {row.rated_mah:g} mAh each"
            )
        return self.model_copy(update={"chemistry": row.chemistry.name})

    @model_validator(mode="after")
    def _is_of_the_vehicle(self) -> "BatteryConfig":
        if self.monitor is None:
            return self
        wrong = [name for name in _OF_NO_MONITOR if name in self.model_fields_set]
        if wrong:
            raise ValueError(f"no {wrong[0]} with a monitor of the autopilot")
        if self.cells is None:
            raise ValueError("cells in addition to a monitor of the autopilot")
        return self

    @model_validator(mode="after")
    def _is_of_the_bus(self) -> "BatteryConfig":
        names = _OF_A_CAN_PACK if self.can is None else _OF_A_GAUGE
        wrong = [name for name in names if name in self.model_fields_set]
        if wrong and self.can is not None:
            raise ValueError(f"no {wrong[0]} with a DroneCAN pack")
        if wrong:
            raise ValueError(f"{wrong[0]} with a DroneCAN pack alone")
        return self

    @model_validator(mode="after")
    def _is_of_a_package(self) -> "BatteryConfig":
        wrong = [name for name in _OF_A_GAUGE if name in self.model_fields_set]
        if wrong and self.package is not None:
            raise ValueError(f"no {wrong[0]} with a gauge of another package")
        return self

    @model_validator(mode="after")
    def _has_cells_of_its_gauge(self) -> "BatteryConfig":
        profile = profile_named(self.gauge)
        most = len(CELLS) if profile is None else profile.max_cells
        on_smbus = self.is_wired or self.is_virtual
        if on_smbus and self.cells is not None and self.cells > most:
            raise ValueError(f"cells of at most {most}, which gauge {self.gauge} measures")
        return self

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
        burst_c = self.burst_c or chemistry_of(self.chemistry).burst_c
        if self.capacity_mah and self.limp_home_a:
            most_a = burst_c * self.capacity_mah / 1000.0
            if self.limp_home_a > most_a:
                raise ValueError(
                    f"limp_home_a of at most {most_a:g} A, the pack's current for 10 s"
                )
        if self.planned_s and not (self.hover_a or self.limp_home_a):
            raise ValueError("hover_a or limp_home_a in addition to planned_s")
        return self

    @property
    def is_virtual(self) -> bool:
        """Whether the pack is simulated."""
        return self.bus.startswith(_VIRTUAL)

    @property
    def is_wired(self) -> bool:
        """Whether the pack has a gauge on an adapter of this machine."""
        return self.bus.startswith("/dev/")

    @property
    def package(self) -> str | None:
        """Scheme of a gauge of another package, `None` of any other battery."""
        return None if self.bus.startswith(_OWN) else scheme_of(self.bus)

    @property
    def monitor(self) -> int | None:
        """BATTERY_STATUS.id of the autopilot's monitor, `None` of a pack with a gauge."""
        return _MONITORS.get(self.bus)

    @property
    def can(self) -> BatteryAddress | None:
        """Address of a DroneCAN pack, `None` of any other."""
        return parse_battery(self.bus) if self.bus.startswith(_CAN) else None

    def can_pack(self) -> CanPack | None:
        """A DroneCAN pack as it is read, `None` of any other."""
        if self.can is None:
            return None
        reversed_types = frozenset(_CURRENT_TYPES[name].type_id for name in self.reverse_current)
        return CanPack(
            self.can, self.cells, self.nominal_v, reversed_types, self.ignore_status_flags
        )

    @property
    def scenario(self) -> str:
        """Name of the simulated flight."""
        return self.bus.removeprefix(_VIRTUAL)

    @property
    def place(self) -> str:
        """Bus and address of the pack, for people."""
        if self.monitor is not None:
            return f"battery monitor {self.monitor} of the autopilot"
        if self.can is not None:
            return f"DroneCAN {self.can.name}"
        if self.package is not None:
            return self.bus
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

    socket: FilePath = STATUS_SOCKET
    """Path of the status socket."""

    @field_validator("socket")
    @classmethod
    def _fits(cls, path: str) -> str:
        if len(path.encode()) > _MAX_SOCKET_BYTES:
            raise ValueError(f"a path of at most {_MAX_SOCKET_BYTES} bytes")
        return path


class StateConfig(Section):
    """Folder of the state that outlives a run; without it only vehicle parameters are stored."""

    dir: FilePath
    """Folder of the pack history, of what is learned of packs and of the restart state."""


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
        do, escalate = _DOS[self.do], _DOS.get(self.escalate or "")
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
    limit: list[LimitConfig] = Field(default_factory=list)
    """Changes of rows of the limit table."""
    action: list[ActionConfig] = Field(default_factory=list)
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
                wrong = _name_conflict(earlier, later) or _conflict(earlier, later)
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
            raise ValueError(f"[mavlink] url in addition to a bus {_MONITOR}N")
        return self

    @model_validator(mode="after")
    def _forwarded_can_packs_are_reachable(self) -> "Config":
        buses = [battery.can.bus for battery in self.battery if battery.can is not None]
        if not any(bus.kind == "mavcan" for bus in buses):
            return self
        if "url" not in self.vehicle_link.model_fields_set:
            raise ValueError(f"[mavlink] url in addition to a bus {_CAN}mavcan")
        if self.vehicle_link.vehicle == "px4":
            raise ValueError("a CAN bus of this computer: PX4 forwards none over MAVLink")
        return self

    @model_validator(mode="after")
    def _batteries_are_distinct_on_mavlink(self) -> "Config":
        wrong = _id_conflict(self.battery, self.vehicle_link) or _reset_conflict(
            self.battery, self.vehicle_link
        )
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _can_batteries_have_ids(self) -> "Config":
        can, count = self.dronecan, len(self.sent_to_can())
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
        can, count = self.dronecan, len(self.sent_to_can())
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
        return Path("/var/lib/dronebms" if self.state is None else self.state.dir)

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


def by_adapter(batteries: Sequence[BatteryConfig]) -> list[list[tuple[int, BatteryConfig]]]:
    """The batteries with a gauge and their indices, those of one adapter together."""
    found: dict[str, list[tuple[int, BatteryConfig]]] = {}
    for index, battery in enumerate(batteries):
        if not (battery.is_wired or battery.is_virtual):
            continue
        key = f"{battery.bus} {index}" if battery.is_virtual else battery.adapter
        found.setdefault(key, []).append((index, battery))
    return list(found.values())


def _name_conflict(one: BatteryConfig, other: BatteryConfig) -> str | None:
    """Reason why two batteries cannot have one history, `None` if they have two or none."""
    if one.pack_id is None or one.pack_id != other.pack_id:
        return None
    return f"same pack_id {one.pack_id!r}"


def _conflict(one: BatteryConfig, other: BatteryConfig) -> str | None:
    """Reason why two batteries cannot be read together, `None` if they can."""
    if not (one.is_wired and other.is_wired) or one.adapter != other.adapter:
        own = one.can is not None and one.can == other.can
        own |= one.package is not None and one.bus == other.bus
        return f"same {one.place}" if own else None
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


def _reset_conflict(batteries: Sequence[BatteryConfig], link: MavlinkConfig) -> str | None:
    """Reason why monitors of the vehicle cannot be reset, `None` if they can."""
    resets = [b.reset_monitor for b in batteries if b.reset_monitor is not None]
    twice = next((monitor for monitor in resets if resets.count(monitor) > 1), None)
    if twice is not None:
        return f"reset_monitor {twice} of one [[battery]] alone"
    if resets and link.vehicle == "px4":
        return "no reset_monitor with vehicle px4, which has no such command"
    return None


def _id_conflict(batteries: Sequence[BatteryConfig], link: MavlinkConfig) -> str | None:
    """Reason why the MAVLink ids of the batteries cannot be used, `None` if they can."""
    for number, battery in enumerate(batteries, start=1):
        if battery.component_id == link.component_id:
            return f"battery.{number}: component_id {link.component_id} is this computer's"
    reported = {n: b for n, b in enumerate(batteries, start=1) if b.monitor is None}
    without = [n for n, battery in reported.items() if battery.battery_id is None]
    if without and len(without) < len(reported):
        return f"battery.{without[0]}: battery_id in every [[battery]] or in none"
    if reported and not without and link.battery_id >= 0:
        return "battery_id in each [[battery]] or in [mavlink], not in both"
    names = {b.monitor: f"battery.{n}, which is a monitor" for n, b in enumerate(batteries, 1)}
    for place, (number, battery) in enumerate(reported.items()):
        given = battery.battery_id
        battery_id = link.battery_id + place if given is None else given
        if given is None and link.battery_id < 0:
            continue
        if battery_id in names or battery_id > LAST_ID:
            taken = f"beyond {LAST_ID}" if battery_id > LAST_ID else f"that of {names[battery_id]}"
            return f"battery.{number}: battery_id {battery_id} is {taken}"
        names[battery_id] = f"battery.{number}"
    return None


def read_config(path: Path) -> Config:
    """The configuration of a file.

    Raises:
        ConfigError: everything that is wrong with it, one sentence a line.
    """
    return validated(Config, read_text(path), str(path))
