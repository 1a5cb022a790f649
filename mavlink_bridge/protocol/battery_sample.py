# SPDX-License-Identifier: Apache-2.0
"""Values of a BATTERY_STATUS or SYS_STATUS: one rule for a live vehicle and a telemetry log.

A power module measures the pack alone. ArduPilot then sends its voltage in `voltages[0]`, what is
above 65.534 V in the next field; PX4 up to 1.12 divides it by a configured number of cells. Equal
cells are therefore no measured ones, until two of them differ.
Source: MAVLink common.xml; ArduPilot GCS_Common.cpp `send_battery_status`; PX4
streams/BATTERY_STATUS.hpp, where an unknown current, -1 A, is sent as -100 cA.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pymavlink.dialects.v20 import common as mavlink

CURRENT_MAX_A = 327.67  # of the field; it stands for any larger current
_MILLI = 1e-3
_HUNDREDTH = 0.01
_ABSENT_MV = (0, 65_535)
_CELL_MV = 5000  # a higher voltage is not that of a cell
DIVIDED_MV = 2  # by which the parts of a divided voltage differ
_UNKNOWN_CA = (-1, -100)
_NO_TEMPERATURE = 32_767


@dataclass(frozen=True, slots=True)
class BatterySample:
    """Values of one BATTERY_STATUS; `None` is unknown."""

    voltage_v: float | None
    cells_v: tuple[float, ...]  # empty without; may be a divided voltage
    differ: bool  # whether the cells differ, so that they are measured
    current_a: float | None
    temperature_degc: float | None
    soc_pct: float | None  # counted by the autopilot from a parameter, unless there is a gauge


def sample_of(message: mavlink.MAVLink_battery_status_message) -> BatterySample:
    """The values of a message; of voltages with a gap between them none is known."""
    first_mv = _without_end(message.voltages)
    whole = len(first_mv) == len(message.voltages)
    mv = [*first_mv, *(_without_end(message.voltages_ext) if whole else ())]
    if any(one in _ABSENT_MV for one in mv):
        mv = []
    are_cells = len(mv) > 1 and max(mv) < _CELL_MV
    amps = message.current_battery
    degc = message.temperature
    pct = message.battery_remaining
    return BatterySample(
        voltage_v=sum(mv) * _MILLI if mv else None,
        cells_v=tuple([one * _MILLI for one in mv]) if are_cells else (),
        differ=are_cells and max(mv) - min(mv) > DIVIDED_MV,
        current_a=None if amps in _UNKNOWN_CA else amps * _HUNDREDTH,
        temperature_degc=None if degc == _NO_TEMPERATURE else degc * _HUNDREDTH,
        soc_pct=None if pct < 0 else float(pct),
    )


def summary_of(message: mavlink.MAVLink_sys_status_message) -> BatterySample:
    """The values of a SYS_STATUS: the first battery of an autopilot without BATTERY_STATUS."""
    mv = message.voltage_battery
    amps = message.current_battery
    pct = message.battery_remaining
    return BatterySample(
        voltage_v=None if mv in _ABSENT_MV else mv * _MILLI,
        cells_v=(),
        differ=False,
        current_a=None if amps in _UNKNOWN_CA else amps * _HUNDREDTH,
        temperature_degc=None,
        soc_pct=None if pct < 0 else float(pct),
    )


def _without_end(voltages_mv: Sequence[int]) -> Sequence[int]:
    """The voltages without the unused ones at the end."""
    used = [k for k, one in enumerate(voltages_mv, 1) if one not in _ABSENT_MV]
    return voltages_mv[: max(used, default=0)]
