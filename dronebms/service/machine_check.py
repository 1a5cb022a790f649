"""Whether a configuration works on this machine now: devices, permissions, ports, folders, hosts.

Only looks: nothing is written, no lock is taken, no device is opened. What `run` would retry is
found as well, because a user who checks wants to know it before the flight.
"""

import errno
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dronebms.core.clock import Clock
from dronebms.core.report import ActionKind
from dronebms.service.checkpoint import CHECKPOINT
from dronebms.service.config import BatteryConfig, Config
from mavlink_bridge.protocol.link import LinkUrl, Resolver, parse_url
from mavlink_bridge.protocol.transports import Address
from smartbattery.device_lock import is_locked, lock_holder
from smartbattery.registers import ADDRESS

_RESOLVE_S, _STEP_S = 5.0, 0.05
_CONNECT_S = 2.0
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not work now, or may not."""

    subject: str  # section or key of the configuration
    text: str
    works: bool = False  # False: it will not work now; True: only a part of it, or maybe


def machine_findings(config: Config, clock: Clock) -> list[Finding]:
    """Everything of a valid configuration that will not work on this machine as it is now."""
    found = [
        *_batteries(config),
        *_link(parse_url(config.mavlink.url), clock),
        *_folders(config),
        *_outputs(config, clock),
    ]
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------------- buses


def _batteries(config: Config) -> Iterator[Finding]:
    for number, battery in enumerate(config.battery, start=1):
        if battery.is_wired:
            name = f"battery {number}"
            for text in _bus(battery):
                yield Finding(name, text)
            if battery.address == ADDRESS << 1:
                yield Finding(
                    name,
                    f"address {battery.address:#04x} is the 8-bit form of {ADDRESS:#04x}, the "
                    f"usual address of a smart battery: write address = {ADDRESS:#04x}",
                )
        command = battery.recovery or []
        if command and shutil.which(command[0]) is None:
            yield Finding(f"battery {number}", f"recovery: there is no program {command[0]}")


def _bus(battery: BatteryConfig) -> Iterator[str]:
    path = Path(battery.adapter)
    wrong = _device(path, "i2c")
    if wrong is not None:
        present = ", ".join(sorted(str(one) for one in Path("/dev").glob("i2c-*")))
        yield f"{wrong} (adapters: {present or 'none; enable I2C, load i2c-dev'})"
    for address in (battery.address, battery.mux_address):
        holder = None if address is None else lock_holder(battery.adapter, address)
        if holder is not None:
            yield f"{battery.bus} address {address:#04x} is in use by {holder}"
    number = path.name.removeprefix("i2c-")
    driver = Path(f"/sys/bus/i2c/devices/{number}-{battery.address:04x}/driver")
    if driver.exists():
        yield f"the kernel driver {driver.resolve().name} uses address {battery.address:#04x}"


def _device(path: Path, group: str) -> str | None:
    """Why a character device cannot be used, `None` if it can."""
    try:
        if not stat.S_ISCHR(path.stat().st_mode):
            return f"{path} is no device"
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    if os.access(path, os.R_OK | os.W_OK):
        return None
    return f"{path}: no permission, add the user to the group {_group_of(path) or group}"


def _group_of(path: Path) -> str | None:
    try:
        return path.group()
    except (KeyError, OSError):
        return None


# ---------------------------------------------------------------------- links


def _link(url: LinkUrl, clock: Clock) -> Iterator[Finding]:
    text = _serial(Path(url.path)) if url.kind == "serial" else _network(url, clock)
    if text is not None:
        yield Finding("mavlink", text)


def _serial(path: Path) -> str | None:
    wrong = _device(path, "dialout")
    if wrong is not None:
        return wrong
    users = _programs_using(path)
    if users:
        return f"{path} is in use by {', '.join(users)}"
    return f"{path} is in use by another program" if is_locked(path) else None


def _programs_using(path: Path) -> list[str]:
    """Programs that have a file open, as far as this user may see them."""
    real, found = str(path.resolve()), []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            if any(str(one.readlink()) == real for one in (folder / "fd").iterdir()):
                name = (folder / "comm").read_text(errors="replace").strip()
                found.append(f"{name} (process {folder.name})")
        except OSError:
            continue  # of another user, or ended
    return found


def _network(url: LinkUrl, clock: Clock) -> str | None:
    addresses = _resolved(url.host, url.port, clock)
    if isinstance(addresses, str):
        return addresses
    family, address = addresses[0]
    kind = socket.SOCK_STREAM if url.kind == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            if url.kind == "udpin":
                probe.bind(address)
            else:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                probe.connect(address)
        except OSError as error:
            place = f"{url.kind}:{url.host}:{url.port}"
            return f"{place}: {(error.strerror or str(error)).lower()}"
    return None


def _resolved(host: str, port: int, clock: Clock) -> list[Address] | str:
    """Addresses of a host, or why there are none."""
    resolver = Resolver(host, port)
    end_s = clock.now_s() + _RESOLVE_S
    try:
        while (addresses := resolver.addresses()) is None:
            if clock.now_s() >= end_s:
                return f"host {host!r} is not resolved within {_RESOLVE_S:g} s"
            clock.sleep_until(clock.now_s() + _STEP_S)
    except OSError as error:
        return str(error)
    return addresses


# ---------------------------------------------------------------------- folders, outputs


def _folders(config: Config) -> Iterator[Finding]:
    if config.recording is not None:
        wrong = _unwritable(Path(config.recording.dir))
        if wrong is not None:
            yield Finding("recording", wrong)
        elif (free_mb := _free_mb(Path(config.recording.dir))) < config.recording.max_mb:
            text = f"{free_mb:.0f} MB are free, max_mb is {config.recording.max_mb:g}"
            yield Finding("recording", text, works=True)
    stores = any(row.do == ActionKind.REDUCE.label for row in config.action)
    if config.state is not None or stores:
        wrong = _unwritable(config.vehicle_dir)
        if wrong is not None:
            yield Finding("state", wrong)
        elif is_locked(config.vehicle_dir / CHECKPOINT):
            path = config.vehicle_dir / CHECKPOINT
            yield Finding("state", f"{path} is in use by another dronebms run")


def _unwritable(folder: Path) -> str | None:
    """Why a folder can be neither written nor made, `None` if it can."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    if os.access(nearest, os.W_OK | os.X_OK) and not _is_pseudo(nearest):
        return None
    return f"{folder} cannot be {'written' if nearest == folder else 'made'}: no permission"


def _is_pseudo(folder: Path) -> bool:
    """Whether a folder is in /proc or /sys, which take no files whatever their mode is."""
    return folder.resolve().parts[1:2] in (("proc",), ("sys",))


def _free_mb(folder: Path) -> float:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / _MB


def _outputs(config: Config, clock: Clock) -> Iterator[Finding]:
    if config.status is not None:
        wrong = _unusable_socket(Path(config.status.socket))
        if wrong is not None:
            yield Finding("status", wrong)
    if config.metrics is not None:
        url = LinkUrl("metrics", config.metrics.address, config.metrics.port)
        wrong = _unusable_server(url, clock)
        if wrong is not None:
            yield Finding("metrics", wrong)
    if config.mqtt is not None:
        addresses = _resolved(config.mqtt.host, config.mqtt.port, clock)
        if isinstance(addresses, str):
            yield Finding("mqtt", addresses)
        files = (config.mqtt.ca, config.mqtt.certificate, config.mqtt.key)
        for name in (*files, config.mqtt.password_file):
            if name is not None and not os.access(name, os.R_OK):
                yield Finding("mqtt", f"{name} cannot be read")
    command = None if config.charger is None else config.charger.command
    if command is not None and shutil.which(command[0]) is None:
        yield Finding("charger", f"there is no program {command[0]}")


def _unusable_socket(path: Path) -> str | None:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(0.0)
            code = client.connect_ex(str(path))
        return None if code == errno.ECONNREFUSED else f"{path} is in use by another dronebms run"
    return f"{path} exists and is no socket" if path.exists() else _unwritable(path.parent)


def _unusable_server(url: LinkUrl, clock: Clock) -> str | None:
    addresses = _resolved(url.host, url.port, clock)
    if isinstance(addresses, str):
        return addresses
    with socket.socket(addresses[0][0], socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(addresses[0][1])
        except OSError as error:
            return f"{url.host}:{url.port}: {(error.strerror or str(error)).lower()}"
    return None
