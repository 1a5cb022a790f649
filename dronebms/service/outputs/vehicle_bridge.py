# SPDX-License-Identifier: Apache-2.0
"""The bridge of a service to its vehicle: links, options, signing keys and their timestamps."""

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from dronebms.core.clock import date_s
from dronebms.service.config.service_config import (
    Config,
    StateConfig,
)
from mavlink_bridge.bridge import Bridge, TelemetryLink
from mavlink_bridge.components import BridgeOptions
from mavlink_bridge.protocol.codec import read_key
from mavlink_bridge.protocol.config import VEHICLE, MavlinkConfig
from mavlink_bridge.protocol.link import Link
from mavlink_bridge.protocol.signing_file import (
    BackgroundTimestamps,
    TimestampFile,
    TimestampStore,
)
from mavlink_bridge.vehicle.battery_id import BatteryAddress

SIGNING = "signing"  # file of the timestamps; that of a telemetry link ends with a name
_NAME_LETTERS = 8
_log = logging.getLogger(__name__)


def bridge_of(config: Config, links: Sequence[Link], stack: ExitStack) -> Bridge:
    """The bridge to the vehicle, over open links.

    Args:
        config: of the service; its state folder has the signing timestamps.
        links: of each section in its order.
        stack: closes the timestamps.

    Raises:
        ConfigError: a signing key cannot be read.
    """
    main = config.vehicle_link
    common = BridgeOptions(
        report_time=main.report_time,
        component_id=main.component_id,
        unix_s=date_s() or 0.0,
        pack_voltage_only=main.pack_voltage_only,
        batteries=tuple(
            [
                BatteryAddress(one.component_id, one.battery_id, one.reset_monitor)
                for one in config.battery
            ]
        ),
    )
    opened = {one.url: link for one, link in zip(config.mavlink, links, strict=True)}
    files: dict[bytes, TimestampStore | None] = {}
    options = {
        one.url: _options_of(one, common, config.state, files, stack)
        for one in (main, *config.telemetry_links)
    }
    return Bridge(
        opened[main.url],
        system_id=main.system_id,
        vehicle=main.vehicle,
        first_battery_id=main.battery_id,
        options=options[main.url],
        telemetry=[
            TelemetryLink(one.url, opened[one.url], options[one.url])
            for one in config.telemetry_links
        ],
    )


def _options_of(
    config: MavlinkConfig,
    common: BridgeOptions,
    state: StateConfig | None,
    files: dict[bytes, TimestampStore | None],
    stack: ExitStack,
) -> BridgeOptions:
    """Options of one link; `files`: of the timestamps of each key, completed."""
    options = replace(common, accept_systems=config.accept_systems)
    if config.signing_key is None:
        return options
    key = read_key(Path(config.signing_key))
    if key not in files and state is None:
        _log.warning("no [state]: a signed frame can be repeated after a restart")
        files[key] = None
    elif key not in files and state is not None:
        store = BackgroundTimestamps(TimestampFile(signing_path(config, state)))
        files[key] = stack.enter_context(closing(store))
    return replace(options, key=key, timestamps=files[key])


def signing_path(config: MavlinkConfig, state: StateConfig) -> Path:
    """File of the timestamps of a link."""
    name = SIGNING if config.role == VEHICLE else f"{SIGNING}.{_file_name(config.url)}"
    return state.folder / name


def _file_name(url: str) -> str:
    """A file name of a link, the same in every run."""
    return hashlib.sha256(url.encode()).hexdigest()[:_NAME_LETTERS]
