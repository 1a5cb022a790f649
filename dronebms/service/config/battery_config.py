# SPDX-License-Identifier: Apache-2.0
"""Schema of one `[[battery]]`: where a pack is read, and what it is. Units are in the key names."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dronebms.core.chemistry import chemistry_of
from dronebms.core.disk import real_path
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.gauge_package import scheme_of, schemes
from dronebms.core.known_cells import known_cell
from dronebms.core.pack_data import PackData
from dronebms.core.plausible_range import (
    CapacityMah,
    CurrentA,
    CutoffV,
    FlightS,
    PackV,
    RateC,
)
from dronebms.core.service_defaults import AUTO, SIMULATED
from dronebms.core.toml_schema import (
    Argument,
    CellName,
    ChemistryName,
    GaugeName,
    Name,
    PrintableText,
    Section,
    one_of,
    sentence,
)
from dronebms.dronecan import battery_address
from dronebms.dronecan.battery_address import BatteryAddress, CanPack, parse_battery
from dronebms.dronecan.battery_messages import BATTERY_CONTINUOUS, BATTERY_INFO, CBAT
from mavlink_bridge.protocol.vehicle_battery import LAST_MONITOR
from mavlink_bridge.vehicle.battery_id import LAST_ID
from mavlink_bridge.vehicle.battery_reset import LAST_MONITOR as LAST_RESET
from smartbattery import multiplexer
from smartbattery.profiles import profile_named
from smartbattery.registers import CELLS
from smartbattery.snapshot import MAX_CELLS

_MONITOR = "mavlink:"
_MONITORS = {f"{_MONITOR}{monitor}": monitor for monitor in range(LAST_MONITOR + 1)}
_CAN = battery_address.PREFIX
_CURRENT_TYPES = {
    row.name.rpartition(".")[2]: row for row in (BATTERY_INFO, BATTERY_CONTINUOUS, CBAT)
}
_OWN = ("/dev/", SIMULATED, _MONITOR, _CAN)
_OF_A_CAN_PACK = ("nominal_v", "reverse_current", "ignore_status_flags")
_OF_A_GAUGE = ("address", "gauge", "mux_address", "mux_channel", "recovery")
_OF_NO_MONITOR = (*_OF_A_GAUGE, "component_id", "battery_id")  # it is not reported back


def _bus(text: str) -> str:
    if text.startswith(SIMULATED) and text != SIMULATED:
        _check_scenario(text.removeprefix(SIMULATED))
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
    low = multiplexer.ADDRESSES[0]
    high = multiplexer.ADDRESSES[-1]
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
    (`mavlink:0`), a CAN bus (`dronecan:socketcan:can0#1`). A gauge of another package
    (`jbd:/dev/ttyUSB0`) and a virtual pack (`sim:survey`) are places too."""
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
    """Name of a pack without a serial number of its own, such as one behind a power module. Its
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
        return self.bus.startswith(SIMULATED)

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
        return self.bus.removeprefix(SIMULATED)

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
        return str(real_path(Path(self.bus)))

    def pack_data(self) -> PackData:
        """Rated data of the pack, as far as it is configured."""
        row = self.model_dump(include={field.name for field in fields(PackData)})
        return PackData(**row | {"chemistry": chemistry_of(self.chemistry)})


def by_adapter(batteries: Sequence[BatteryConfig]) -> list[list[tuple[int, BatteryConfig]]]:
    """The batteries with a gauge and their indices, those of one adapter together."""
    found: dict[str, list[tuple[int, BatteryConfig]]] = {}
    for index, battery in enumerate(batteries):
        if not (battery.is_wired or battery.is_virtual):
            continue
        key = f"{battery.bus} {index}" if battery.is_virtual else battery.adapter
        found.setdefault(key, []).append((index, battery))
    return list(found.values())
