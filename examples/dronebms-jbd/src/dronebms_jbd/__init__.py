# SPDX-License-Identifier: Apache-2.0
"""A JBD battery management board on a UART, as a gauge of dronebms (`bus = "jbd:/dev/ttyUSB0"`)."""

import os
import re
from pathlib import Path

from dronebms.core import ConfigError
from dronebms_jbd.gauge import JbdGauge, open_serial

INTERFACE = 1
_PLACE = re.compile(r"jbd:(?P<path>/[^@]+)(@(?P<baud>\d{4,7}))?")
_BAUD = 9600


def open_gauge(bus: str, cells: int | None) -> JbdGauge:  # noqa: ARG001 - the board counts its cells
    """The gauge of a bus; the port is opened by the first poll.

    Raises:
        ConfigError: the bus names no port.
    """
    path, baud = _place(bus)
    return JbdGauge(f"jbd {path}", lambda: open_serial(path, baud))


def trouble_of(bus: str) -> tuple[str, str] | None:
    """What will not work now, and the line that mends it; opens nothing."""
    path = Path(_place(bus)[0])
    if not path.exists():
        return f"{path}: no such port", 'bus = "jbd:/dev/serial/by-id/..."'
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path}: no permission", "sudo adduser $USER dialout"
    return None


def _place(bus: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(bus)
    if found is None:
        raise ConfigError('expected "jbd:/dev/ttyUSB0" or "jbd:/dev/ttyUSB0@115200"')
    return found["path"], int(found["baud"] or _BAUD)
