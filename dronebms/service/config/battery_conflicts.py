# SPDX-License-Identifier: Apache-2.0
"""Why batteries of one configuration exclude each other: places, names and MAVLink ids."""

from collections.abc import Sequence

from dronebms.service.config.battery_config import BatteryConfig
from mavlink_bridge.protocol.config import MavlinkConfig
from mavlink_bridge.vehicle.battery_id import LAST_ID


def name_conflict(one: BatteryConfig, other: BatteryConfig) -> str | None:
    """Reason why two batteries cannot have one history, `None` if they have two or none."""
    if one.pack_id is None or one.pack_id != other.pack_id:
        return None
    return f"same pack_id {one.pack_id!r}"


def place_conflict(one: BatteryConfig, other: BatteryConfig) -> str | None:
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


def reset_conflict(batteries: Sequence[BatteryConfig], link: MavlinkConfig) -> str | None:
    """Reason why monitors of the vehicle cannot be reset, `None` if they can."""
    resets = [b.reset_monitor for b in batteries if b.reset_monitor is not None]
    twice = next((monitor for monitor in resets if resets.count(monitor) > 1), None)
    if twice is not None:
        return f"reset_monitor {twice} of one [[battery]] alone"
    if resets and link.vehicle == "px4":
        return "no reset_monitor with vehicle px4, which has no such command"
    return None


def id_conflict(batteries: Sequence[BatteryConfig], link: MavlinkConfig) -> str | None:
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
