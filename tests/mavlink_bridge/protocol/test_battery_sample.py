# SPDX-License-Identifier: Apache-2.0
"""BATTERY_STATUS of an autopilot as values: what is not measured is unknown."""

from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from mavlink_bridge.protocol.battery_sample import CURRENT_MAX_A, sample_of, summary_of

UNUSED = 65_535


def status(
    voltages: tuple[int, ...] = (16_000,),
    extended: tuple[int, ...] = (),
    **values: int,
) -> mavlink.MAVLink_battery_status_message:
    """A message, with the other fields as an autopilot sends them when they are unknown."""
    fields: dict[str, Any] = {
        "id": 0,
        "battery_function": 0,
        "type": 0,
        "temperature": 32_767,
        "voltages": [*voltages, *[UNUSED] * (10 - len(voltages))],
        "current_battery": -1,
        "current_consumed": -1,
        "energy_consumed": -1,
        "battery_remaining": -1,
        "time_remaining": 0,
        "charge_state": 0,
        "voltages_ext": [*extended, *[0] * (4 - len(extended))],
        "mode": 0,
        "fault_bitmask": 0,
    }
    return mavlink.MAVLink_battery_status_message(**fields | values)


@pytest.mark.parametrize(
    ("voltages", "extended", "voltage_v", "cells", "differ"),
    [
        pytest.param((16_000,), (), 16.0, 0, False, id="one voltage is the pack's"),
        pytest.param((65_534, 4_466), (), 70.0, 0, False, id="above 65.534 V in two fields"),
        pytest.param((4000,) * 4, (), 16.0, 4, False, id="PX4 1.12 divides it"),
        pytest.param((4001, 4001, 4000, 4000), (), 16.002, 4, False, id="rounded parts"),
        pytest.param((4010, 4000, 3990), (), 12.0, 3, True, id="measured cells"),
        pytest.param((4010,) + (4000,) * 9, (4000, 3990), 48.0, 12, True, id="twelve cells"),
        pytest.param((4010,) + (4000,) * 9, (UNUSED,) * 4, 40.01, 10, True, id="PX4 1.13"),
        pytest.param((4010, 4000), (4000,), 8.01, 2, True, id="cells before the tenth are unused"),
        pytest.param((4010, 0, 4000), (), None, 0, False, id="a cell of 0 V between others"),
        pytest.param((4010, UNUSED, 4000), (), None, 0, False, id="an unknown cell between others"),
        pytest.param((4010, 4000) + (0,) * 8, (), 8.01, 2, True, id="zeros for unused ones"),
        pytest.param((), (), None, 0, False, id="no voltage"),
        pytest.param((0,), (), None, 0, False, id="0 V"),
    ],
)  # fmt: skip
def test_voltages_are_those_of_the_pack_or_of_cells(
    voltages: tuple[int, ...],
    extended: tuple[int, ...],
    voltage_v: float | None,
    cells: int,
    differ: bool,  # noqa: FBT001 - a value of the table
) -> None:
    sample = sample_of(status(voltages, extended))
    assert sample.voltage_v == (None if voltage_v is None else pytest.approx(voltage_v))
    assert (len(sample.cells_v), sample.differ) == (cells, differ)


def test_the_largest_current_is_the_last_one_of_its_field() -> None:
    assert sample_of(status(current_battery=32_767)).current_a == pytest.approx(CURRENT_MAX_A)


def test_what_an_autopilot_does_not_measure_is_unknown() -> None:
    sample = sample_of(status())
    assert (sample.current_a, sample.temperature_degc, sample.soc_pct) == (None, None, None)
    assert sample_of(status(current_battery=-100)).current_a is None  # PX4's -1 A
    known = sample_of(status(current_battery=-99, temperature=-512, battery_remaining=0))
    assert (known.current_a, known.temperature_degc, known.soc_pct) == (-0.99, -5.12, 0.0)


@pytest.mark.parametrize(
    ("mv", "amps", "pct", "values"),
    [
        (16_123, 1234, 55, (16.123, 12.34, 55.0)),
        (65_534, -99, 0, (65.534, -0.99, 0.0)),
        (UNUSED, -1, -1, (None, None, None)),
        (0, -100, -1, (None, None, None)),
        (1, 0, 100, (0.001, 0.0, 100.0)),
        (16_000, -2, 1, (16.0, -0.02, 1.0)),
        (16_000, -101, 1, (16.0, -1.01, 1.0)),
    ],
)
def test_a_summary_has_the_pack_alone(
    mv: int, amps: int, pct: int, values: tuple[float | None, ...]
) -> None:
    message = mavlink.MAVLink_sys_status_message(0, 0, 0, 0, mv, amps, pct, 0, 0, 0, 0, 0, 0)
    sample = summary_of(message)
    found = sample.voltage_v, sample.current_a, sample.soc_pct
    assert found == tuple(None if one is None else pytest.approx(one) for one in values)
    assert (sample.cells_v, sample.differ, sample.temperature_degc) == ((), False, None)


@pytest.mark.parametrize(
    ("voltages", "cells", "differ"),
    [
        ((4999, 4999), 2, False),
        ((4999, 5000), 0, False),  # not that of a cell
        ((4000, 4002), 2, False),  # parts of a divided voltage
        ((4000, 4003), 2, True),
    ],
)
def test_cells_are_below_5_v_and_differ_by_more_than_rounding(
    voltages: tuple[int, ...], cells: int, *, differ: bool
) -> None:
    sample = sample_of(status(voltages))
    assert (len(sample.cells_v), sample.differ) == (cells, differ)
