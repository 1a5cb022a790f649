# SPDX-License-Identifier: Apache-2.0
"""Recording of a probe: a magic line, a line with bus, address and profile, a line a transfer."""

import json
from pathlib import Path

from dronebms.core.atomic_file import RECORDED_RUN
from dronebms.core.bounded_input import BoundError, read_bytes
from dronebms.core.errors import ConfigError, RecordingError
from dronebms.probe.place import HOLDER, Place
from smartbattery.bus_trace import Transfer
from smartbattery.errors import IntegrityError

MAGIC = b"dronebms-probe 1\n"
_EXPECTED = f"expected /dev/i2c-N, sim:SCENARIO or a recording of {HOLDER}"
_MAX_BYTES = 64 << 20  # of a recording: a readout has some 10 kB


def recorded_line(content: object) -> bytes:
    """A line of the file."""
    return json.dumps(content).encode() + b"\n"


def read_recording(path: Path) -> tuple[Place, list[Transfer]]:
    """Place and transfers of a recording; an incomplete last line is ignored.

    Raises:
        ConfigError: the file cannot be read, or is no recording of a probe.
        RecordingError: the recording is damaged.
    """
    try:
        data = read_bytes(path, _MAX_BYTES)
    except BoundError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such bus or file; {_EXPECTED}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if data.startswith(RECORDED_RUN):
        raise ConfigError(f"{path} is the recording of a flight: see dronebms replay")
    if not data.startswith(MAGIC):
        raise ConfigError(f"{path} is no bus: {_EXPECTED}")
    rows = []
    for number, line in enumerate(data.split(b"\n")[1:-1], start=2):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{path} line {number} is damaged") from error
    match rows:
        case [[str(bus), int(address), str(gauge)], *transfers]:
            try:
                return Place(bus, address, gauge), [Transfer.from_json(row) for row in transfers]
            except IntegrityError as error:
                raise RecordingError(f"{path} is damaged: {error}") from error
    raise RecordingError(f"{path} is damaged: line 2 has no bus and address")
