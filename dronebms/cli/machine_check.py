# SPDX-License-Identifier: Apache-2.0
"""Whether a configuration works on this machine now: devices, permissions, ports, folders, hosts.

Only looks: nothing is written, no lock is taken, no device is opened. What `run` would retry is
found as well, because a user who checks wants to know it before the flight. Each finding has the
line that mends it: a command, or a line of the configuration.
"""

import errno
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dronebms.cli.devices import (
    CAN_TYPE,
    i2c_adapters,
    is_raspberry_pi,
    programs_at,
    programs_using,
    serial_ports,
)
from dronebms.core.clock import Clock, date_s
from dronebms.core.disk import real_path
from dronebms.core.report import ActionKind
from dronebms.core.service_defaults import STATE_DIR, STATUS_SOCKET
from dronebms.dronecan.can_url import CanUrl, multicast_group, parse_can_url
from dronebms.service.checkpoint import CHECKPOINT, unread_reason
from dronebms.service.config import Config
from dronebms.service.config.battery_config import BatteryConfig
from dronebms.service.outputs.vehicle_bridge import signing_path
from dronebms.service.sources.gauge_packages import trouble_of
from mavlink_bridge.protocol import signing_file
from mavlink_bridge.protocol.link import LinkUrl, Resolver, parse_url
from mavlink_bridge.protocol.transports import Address
from mavlink_bridge.vehicle import unread_originals
from smartbattery.device_lock import is_locked, lock_holder
from smartbattery.registers import ADDRESS

_RESOLVE_S = 5.0
_STEP_S = 0.05
_CONNECT_S = 2.0
_MB = 1e6
_IFF_UP = 1  # of if.h
_MODEMS = "ModemManager"  # opens serial ports to look for modems
_STOP = "sudo systemctl stop dronebms"
_PROCESS = re.compile(r"\(process (\d+)\)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not work now, or may not."""

    subject: str  # section or key of the configuration
    text: str
    mend: str  # the line that mends it
    works: bool = False  # False: it will not work now; True: only a part of it, or maybe


Trouble = tuple[str, str]  # what does not work, and the line that mends it


def machine_findings(config: Config, clock: Clock) -> list[Finding]:
    """Everything of a valid configuration that will not work on this machine as it is now."""
    found = [
        *_batteries(config),
        *_links(config, clock),
        *_unexpanded(config),
        *_folders(config),
        *_original_limits(config),
        *_signing(config),
        *_date(config),
        *_outputs(config, clock),
        *_can(config),
    ]
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------------- buses


def _batteries(config: Config) -> Iterator[Finding]:
    for number, battery in enumerate(config.battery, start=1):
        name = f"battery {number}"
        if battery.is_wired:
            for text, mend in _bus(battery):
                yield Finding(name, text, mend)
            if battery.address == ADDRESS << 1:
                yield Finding(
                    name,
                    f"address {battery.address:#04x} is the 8-bit form of {ADDRESS:#04x}, the "
                    f"usual address of a smart battery: write address = {ADDRESS:#04x}",
                    f"address = {ADDRESS:#04x}",
                )
        if battery.package is not None and (trouble := trouble_of(battery.bus)) is not None:
            yield Finding(name, *trouble)
        command = battery.recovery or []
        if command and shutil.which(command[0]) is None:
            text = f"recovery: there is no program {command[0]}"
            yield Finding(name, text, 'recovery = ["/path/to/program"]')


def _bus(battery: BatteryConfig) -> Iterator[Trouble]:
    path = Path(battery.adapter)
    wrong = _device(path, "i2c")
    if wrong is not None:
        present = i2c_adapters()
        listed = ", ".join(present) or "none; enable I2C, load i2c-dev"
        text, mend = wrong
        yield f"{text} (adapters: {listed})", mend or _adapter_mend(present)
    for address in (battery.address, battery.mux_address):
        holder = None if address is None else lock_holder(battery.adapter, address)
        if holder is not None:
            yield f"{battery.bus} address {address:#04x} is in use by {holder}", _ending(holder)
    number = path.name.removeprefix("i2c-")
    device = f"{number}-{battery.address:04x}"
    driver = Path(f"/sys/bus/i2c/devices/{device}/driver")
    if driver.exists():
        name = driver.resolve().name
        yield (
            f"the kernel driver {name} uses address {battery.address:#04x}",
            f"echo {device} | sudo tee /sys/bus/i2c/drivers/{name}/unbind",
        )


def _adapter_mend(present: list[str]) -> str:
    if present:
        return f'bus = "{present[0]}"'
    return "sudo raspi-config nonint do_i2c 0" if is_raspberry_pi() else "sudo modprobe i2c-dev"


def _device(path: Path, group: str) -> Trouble | None:
    """Why a character device cannot be used, `None` if it can; no mend for one that is absent."""
    try:
        if not stat.S_ISCHR(path.stat().st_mode):
            return f"{path} is no device", ""
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}", ""
    if os.access(path, os.R_OK | os.W_OK):
        return None
    group = _group_of(path) or group
    text = f"{path}: no permission, add the user to the group {group}"
    return text, f"sudo usermod -aG {group} $USER, then log in again"


def _group_of(path: Path) -> str | None:
    try:
        return path.group()
    except (KeyError, OSError):
        return None


def _ending(holder: str) -> str:
    """Command that ends the program that uses a pack or a port."""
    if "dronebms run" in holder:
        return _STOP
    if holder.startswith(_MODEMS):  # it would be there again after the next start
        return f"sudo systemctl disable --now {_MODEMS}"
    found = _PROCESS.search(holder)
    return "end that program" if found is None else f"sudo kill {found[1]}"


# ---------------------------------------------------------------------- links


def _links(config: Config, clock: Clock) -> Iterator[Finding]:
    for link in config.mavlink:
        url = parse_url(link.url)
        found = _serial(Path(url.path)) if url.kind == "serial" else _network(url, clock)
        if found is not None:
            yield Finding(config.link_name(link), *found)


def _serial(path: Path) -> Trouble | None:
    wrong = _device(path, "dialout")
    if wrong is not None:
        text, mend = wrong
        return text, mend or _port_mend()
    users = programs_using(path)
    if users:
        text = f"{path} is in use by {', '.join(users)}"
        console = any("getty" in user for user in users)
        unit = f"sudo systemctl disable --now serial-getty@{path.resolve().name}"
        return text, unit if console else _ending(users[0])
    return (
        (f"{path} is in use by another program", f"sudo fuser -v {path}")
        if is_locked(path)
        else None
    )


def _port_mend() -> str:
    ports = serial_ports()
    if ports:
        return f'url = "serial:{ports[0]}"'
    if is_raspberry_pi():
        return "sudo raspi-config nonint do_serial_hw 0 && sudo reboot"
    return "plug in the cable; ls /dev/serial/by-id"


def _network(url: LinkUrl, clock: Clock) -> Trouble | None:
    addresses = _resolved(url.host, url.port, clock)
    if isinstance(addresses, str):
        return addresses, f"getent hosts {url.host}"
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
            return _refused(error, url)
    return None


def _refused(error: OSError, url: LinkUrl) -> Trouble:
    """What a socket refuses, and the line that mends it."""
    place = f"{url.kind}:{url.host}:{url.port}"
    text = f"{place}: {(error.strerror or str(error)).lower()}"
    if error.errno == errno.EADDRINUSE:
        users = programs_at("udpin" if url.kind == "udpin" else "tcp", url.port)
        by = f" by {', '.join(users)}" if users else ""
        return f"{text}{by}", _ending(users[0]) if users else f"sudo ss -lptu sport = :{url.port}"
    if error.errno == errno.EADDRNOTAVAIL:
        key = 'address = "127.0.0.1"' if url.kind == "metrics" else None
        return text, key or f'url = "{url.kind}:0.0.0.0:{url.port}"'
    if error.errno == errno.EACCES:
        return text, "a port above 1023"
    return text, f"start the program that listens at {url.host}:{url.port}"


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


def _can(config: Config) -> Iterator[Finding]:
    """Of the buses of packs that are read and sent."""
    used = {
        f"battery {number}": battery.can.bus
        for number, battery in enumerate(config.battery, start=1)
        if battery.can is not None
    }
    if config.dronecan is not None:
        used["dronecan"] = parse_can_url(config.dronecan.url)
    for subject, url in used.items():
        found = _unusable_can(url)
        if found is not None:
            yield Finding(subject, *found)


def _unusable_can(url: CanUrl) -> Trouble | None:
    """Why a CAN bus cannot be used now, `None` if it can."""
    if url.kind == "mavcan":
        return None  # the bus of the autopilot
    if url.kind == "slcan":
        return _serial(Path(url.place))
    if url.kind == "mcast":
        group = multicast_group(url)
        mend = f"sudo ip route add {group} dev lo && sudo ip link set lo multicast on"
        return None if _has_route(group) else (f"{url}: no route to the group {group}", mend)
    folder = Path("/sys/class/net") / url.place
    start = f"sudo ip link set {url.place} up type can bitrate 1000000"
    try:
        kind = int((folder / "type").read_text())
        is_up = int((folder / "flags").read_text(), 16) & _IFF_UP
    except OSError:
        return f"{url}: there is no interface {url.place}", "ip link show type can"
    if kind != CAN_TYPE:
        return f"{url}: the interface {url.place} is no CAN bus", "ip link show type can"
    return None if is_up else (f"{url}: the interface is down", start)


def _has_route(host: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex((host, 1)) == 0


# ---------------------------------------------------------------------- folders, outputs


def _unexpanded(config: Config) -> Iterator[Finding]:
    """Paths that a shell would change: the service makes a folder with the name ~."""
    written = [
        ("recording", "dir", config.recording and config.recording.dir, STATE_DIR),
        ("state", "dir", config.state and config.state.dir, STATE_DIR),
        ("status", "socket", config.status and config.status.socket, STATUS_SOCKET),
    ]
    for section, key, path, usual in written:
        if path and path.startswith(("~", "$")):
            text = f"{path} is taken as it is written: ~ and $ have no meaning there"
            yield Finding(section, text, f'{key} = "{usual}"', works=True)


def _folders(config: Config) -> Iterator[Finding]:
    if config.recording is not None:
        wrong = _unwritable(config.recording.folder)
        if wrong is not None:
            yield Finding("recording", *wrong)
        elif (free_mb := _free_mb(config.recording.folder)) < config.recording.max_mb:
            text = f"{free_mb:.0f} MB are free, max_mb is {config.recording.max_mb:g}"
            yield Finding("recording", text, f"max_mb = {0.8 * free_mb:.0f}", works=True)
    stores = any(row.do == ActionKind.REDUCE.label for row in config.action)
    if config.state is not None or stores:
        wrong = _unwritable(config.vehicle_dir)
        if wrong is not None:
            yield Finding("state", *wrong)
        elif is_locked(config.vehicle_dir / CHECKPOINT):
            path = config.vehicle_dir / CHECKPOINT
            yield Finding("state", f"{path} is in use by another dronebms run", _STOP)
        elif (unread := unread_reason(config.vehicle_dir / CHECKPOINT)) is not None:
            text = f"earlier faults unknown: {unread}; the next run is no-go until it is restarted"
            yield Finding("state", text, _aside(config.vehicle_dir / CHECKPOINT), works=True)


def _signing(config: Config) -> Iterator[Finding]:
    """Files with the times of signed frames that the next run does not use."""
    for link in config.mavlink:
        if link.signing_key is None or config.state is None:
            continue
        path = signing_path(link, config.state)
        if (unread := signing_file.unread_reason(path)) is not None:
            text = (
                f"signing times unknown: {unread}; the next run begins again, and accepts signed "
                "frames of the last minute once more, without a date those of any time"
            )
            yield Finding(config.link_name(link), text, _aside(path), works=True)


def _aside(path: Path) -> str:
    """Command that puts a file aside, also a folder or a pipe in its place."""
    return f"sudo mv --backup=numbered {path} {path}.aside"


def _original_limits(config: Config) -> Iterator[Finding]:
    """Files with original values of a vehicle that the next run cannot read."""
    for file in unread_originals(config.vehicle_dir):
        text = (
            f"original limits unknown: {file.reason}; the vehicle may still be limited, and reduce "
            "does nothing until the file is mended, or moved when the vehicle has its own limits"
        )
        mend = _aside(file.path)
        if file.is_denied:
            owner = f"sudo chown --reference={config.vehicle_dir} {file.path}"
            mend = f"{owner} && sudo chmod u+rw {file.path}"
        yield Finding("state", text, mend, works=True)


def _date(config: Config) -> Iterator[Finding]:
    """What a clock that is not set costs, where something uses its date."""
    if date_s() is not None:
        return
    mend = "timedatectl set-ntp true; without a network a real-time clock, or the time of a GPS"
    if config.state is not None:
        text = "the clock of this computer is not set: flights have no date until it is"
        yield Finding("state", text, mend, works=True)
    if config.mqtt is not None and config.mqtt.ca is not None:
        text = "the clock of this computer is not set: no certificate is valid until it is"
        yield Finding("mqtt", text, mend, works=True)


def _unwritable(folder: Path) -> Trouble | None:
    """Why a folder can be neither written nor made, `None` if it can."""
    nearest = folder
    # A link in a circle or to nothing is there, and leads nowhere.
    while not (nearest.exists() or nearest.is_symlink()) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        return f"{nearest} is no folder", "a folder in its place"
    if _is_pseudo(nearest):
        return f"{folder} cannot be made: no permission", "a folder of a disk"
    if os.access(nearest, os.W_OK | os.X_OK):
        return None
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        place = real_path(nearest)
        disk = next(one for one in (place, *place.parents) if one.is_mount())
        return f"{folder}: read-only file system", f"sudo mount -o remount,rw {disk}"
    text = f"{folder} cannot be {'written' if nearest == folder else 'made'}: no permission"
    return text, f"sudo install -d -o $USER {folder}; the unit of systemd needs nothing"


def _is_pseudo(folder: Path) -> bool:
    """Whether a folder is in /proc or /sys, which take no files whatever their mode is."""
    return real_path(folder).parts[1:2] in (("proc",), ("sys",))


def _free_mb(folder: Path) -> float:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / _MB


def _outputs(config: Config, clock: Clock) -> Iterator[Finding]:
    if config.status is not None:
        yield from _if_wrong("status", _unusable_socket(Path(config.status.socket)))
    if config.metrics is not None:
        url = LinkUrl("metrics", config.metrics.address, config.metrics.port)
        yield from _if_wrong("metrics", _unusable_server(url, clock))
    if config.mqtt is not None:
        addresses = _resolved(config.mqtt.host, config.mqtt.port, clock)
        if isinstance(addresses, str):
            yield Finding("mqtt", addresses, f"getent hosts {config.mqtt.host}")
        files = (config.mqtt.ca, config.mqtt.certificate, config.mqtt.key)
        for name in (*files, config.mqtt.password_file):
            if name is not None and not os.access(name, os.R_OK):
                yield Finding("mqtt", f"{name} cannot be read", f"ls -l {name}")
    command = None if config.charger is None else config.charger.command
    if command is not None and shutil.which(command[0]) is None:
        text = f"there is no program {command[0]}"
        yield Finding("charger", text, 'command = ["/path/to/program"]')


def _if_wrong(subject: str, trouble: Trouble | None) -> Iterator[Finding]:
    if trouble is not None:
        yield Finding(subject, *trouble)


def _unusable_socket(path: Path) -> Trouble | None:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(0.0)
            code = client.connect_ex(str(path))
        text = f"{path} is in use by another dronebms run"
        return None if code == errno.ECONNREFUSED else (text, _STOP)
    if path.exists():
        return f"{path} exists and is no socket", "another path"
    return _unwritable(path.parent)


def _unusable_server(url: LinkUrl, clock: Clock) -> Trouble | None:
    addresses = _resolved(url.host, url.port, clock)
    if isinstance(addresses, str):
        return addresses, f"getent hosts {url.host}"
    with socket.socket(addresses[0][0], socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(addresses[0][1])
        except OSError as error:
            text, mend = _refused(error, url)
            return text.removeprefix("metrics:"), mend
    return None
