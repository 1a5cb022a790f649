# SPDX-License-Identifier: Apache-2.0
"""Adapters, ports and interfaces of this machine, and the programs that use them.

Nothing is opened: the kernel's lists are read. Source: sysfs(5), proc_net(5), if_arp.h.
"""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

CAN_TYPE = 280  # ARPHRD_CAN
_MODEL = Path("/proc/device-tree/model")  # of a single-board computer
_PTY_MAJORS = range(136, 144)  # source: Documentation/admin-guide/devices.txt of Linux
_SOCKETS = {"udpin": ("udp", "udp6"), "tcp": ("tcp", "tcp6")}  # tables of /proc/net


def i2c_adapters() -> list[str]:
    """Device files of the I2C adapters, in the order of their numbers."""
    return _in_order(Path("/dev").glob("i2c-*"))


def serial_ports() -> list[str]:
    """Device files of the serial ports that have hardware."""
    drivers = Path("/sys/class/tty").glob("*/device/driver")
    names = (driver.parents[1].name for driver in drivers if not _is_placeholder(driver.parents[1]))
    return _in_order(path for name in names if (path := Path("/dev") / name).exists())


def _is_placeholder(port: Path) -> bool:
    """Whether the kernel has made a port without hardware. Source: sysfs-tty, PORT_UNKNOWN."""
    try:
        return (port / "type").read_text().strip() == "0"
    except OSError:
        return False


def is_raspberry_pi() -> bool:
    """Whether this computer is a Raspberry Pi."""
    try:
        return "Raspberry Pi" in _MODEL.read_text(errors="replace")
    except OSError:
        return False


def _in_order(paths: Iterable[Path]) -> list[str]:
    def key(text: str) -> list[int | str]:
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]

    return sorted(map(str, paths), key=key)


def can_interfaces() -> list[str]:
    """Names of the CAN interfaces."""
    kinds = {path.parent.name: path.read_text() for path in Path("/sys/class/net").glob("*/type")}
    return sorted(name for name, kind in kinds.items() if int(kind) == CAN_TYPE)


def programs_using(port: Path | int) -> list[str]:
    """Programs that have a port open, as far as this user may see them.

    Args:
        port: a character device, or the inode of a socket.
    """
    try:
        wanted = _device_of(port.stat()) if isinstance(port, Path) else (stat.S_IFSOCK, port, 0)
    except OSError:
        return []
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            if any(_is_open(one, wanted) for one in (folder / "fd").iterdir()):
                name = (folder / "comm").read_text(errors="replace").strip()
                found.append(f"{name} (process {folder.name})")
        except OSError:
            continue  # of another user, or ended
    return found


def _is_open(link: Path, wanted: tuple[int, int, int]) -> bool:
    try:
        return _device_of(link.stat()) == wanted
    except OSError:  # closed since
        return False


def _device_of(status: os.stat_result) -> tuple[int, int, int]:
    """What an open file is, whatever name it has in a container or behind a link."""
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFCHR:
        return kind, status.st_ino, 0
    # Each container counts its own pseudo-terminals from 0.
    is_pty = os.major(status.st_rdev) in _PTY_MAJORS
    return kind, status.st_rdev, status.st_dev if is_pty else 0


def programs_at(kind: str, port: int) -> list[str]:
    """Programs that have bound a port.

    Args:
        kind: `udpin`, or `tcp` for those that listen.
        port: its number.
    """
    found: list[str] = []
    for table in _SOCKETS[kind]:
        try:
            rows = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in map(str.split, rows):
            listens = kind == "udpin" or row[3] == "0A"  # TCP_LISTEN
            if listens and int(row[1].rpartition(":")[2], 16) == port:
                found += programs_using(int(row[9]))
    return found
