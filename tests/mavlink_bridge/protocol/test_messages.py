# SPDX-License-Identifier: Apache-2.0
"""Encoding of BATTERY_STATUS: exact bytes, and the values that receivers decode."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.chemistry import CHEMISTRIES, Chemistry
from dronebms.core.pack_data import PackData
from dronebms.core.report import Event, ReportedCharge, Severity
from mavlink_bridge.protocol.messages import (
    battery_info,
    battery_status,
    chunks,
    heartbeat,
    smart_battery_info,
    text_severity,
)
from tests.mavlink_bridge.consumers import ground_station, px4
from tests.mavlink_bridge.reports import FLYING, SIX_CELLS_V, a_report, an_event
from tests.mavlink_bridge.wire import CRC_EXTRA, PAYLOAD, battery_status_frame, x25


def statustext(event: Event, text_id: int) -> tuple[mavlink.MAVLink_statustext_message, ...]:
    """STATUSTEXT of an event."""
    return chunks(event.text, text_severity(event), text_id)


FRAMES = json.loads(
    (Path(__file__).parents[2] / "data" / "mavlink" / "battery_status.json").read_text()
)["frames"]
NOT_NUMBERS = (None, math.nan, math.inf, -math.inf)
FLOATS = (
    "voltage_v", "current_a", "temperature_degc", "full_mah", "remaining_mah", "soc_pct",
    "remaining_s",
)  # fmt: skip
NOTHING_KNOWN: dict[str, Any] = dict.fromkeys(FLOATS) | {"cells_v": ()}
UNUSED_MV = 0xFFFF
SIX_MV = (3900, 3910, 3920, 3930, 3940, 3950)


def packed(
    message: mavlink.MAVLink_message, *, sequence: int = 0, system: int = 1, component: int = 180
) -> bytes:
    codec = mavlink.MAVLink(None, system, component)
    codec.seq = sequence
    return bytes(message.pack(codec))


def sent(**values: Any) -> mavlink.MAVLink_battery_status_message:  # noqa: ANN401 - see a_report
    """BATTERY_STATUS of a report as a receiver decodes it."""
    frame = packed(battery_status(a_report(**values)))
    return mavlink.MAVLink(None).decode(bytearray(frame))


# Exact bytes.


def test_the_checksum_has_its_published_check_value() -> None:
    assert x25(b"123456789") == 0x6F91


def test_the_message_has_the_fields_of_common_xml() -> None:
    message = mavlink.MAVLink_battery_status_message
    assert (message.id, message.crc_extra, message.unpacker.size) == (147, CRC_EXTRA, 54)
    assert PAYLOAD.size == 54


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["name"])
def test_frames_of_other_programs_are_reproduced_to_the_byte(frame: dict[str, Any]) -> None:
    message = battery_status(a_report(**(NOTHING_KNOWN | frame["values"])))
    for name, value in frame["ours"].items():
        setattr(message, name, value)
    expected = bytes.fromhex(frame["hex"])
    assert (
        packed(message, sequence=expected[4], system=expected[5], component=expected[6]) == expected
    )


def test_a_flying_6s_pack_is_these_53_bytes() -> None:
    frame = packed(battery_status(FLYING), sequence=7)
    assert frame == battery_status_frame(
        cells_mv=SIX_MV,
        current_ca=1234,
        consumed_mah=1000,
        consumed_hj=720,
        temperature_cdegc=2512,
        remaining_pct=80,
        remaining_s=600,
        sequence=7,
    )
    assert len(frame) == 53


def test_a_full_14s_pack_with_a_fault_is_these_63_bytes() -> None:
    cells_v = tuple(4.0 + 0.001 * cell for cell in range(14))
    frame = packed(battery_status(a_report(cells_v=cells_v, fault_bits=16)))
    assert frame == battery_status_frame(
        cells_mv=tuple(range(4000, 4010)),
        extended_mv=tuple(range(4010, 4014)),
        current_ca=1234,
        consumed_mah=1000,
        consumed_hj=720,
        temperature_cdegc=2512,
        remaining_pct=80,
        remaining_s=600,
        charge_state=6,
        faults=16,
    )
    assert len(frame) == 63


def test_a_pack_of_unknown_values_is_these_53_bytes() -> None:
    frame = packed(battery_status(a_report(**(NOTHING_KNOWN | {"cells_v": (None,) * 6}))))
    assert frame == battery_status_frame(cells_mv=())
    assert len(frame) == 53  # the state OK is the only extension field


def test_a_heartbeat_is_these_21_bytes() -> None:
    frame = packed(heartbeat(), sequence=3)
    # custom_mode, type BATTERY, autopilot INVALID, base_mode, system_status ACTIVE, version
    body = bytes([9, 0, 0, 3, 1, 180, 0, 0, 0]) + bytes([0, 0, 0, 0, 36, 8, 0, 4, 3])
    assert frame == b"\xfd" + body + x25(body + bytes([50])).to_bytes(2, "little")
    assert len(frame) == 21


# Field by field.


@pytest.mark.parametrize(
    ("voltage_v", "slots_mv"),
    [
        (23.4, [23400]),
        (0.0, [0]),
        (65.534, [65534]),
        (65.535, [65534, 1]),
        (75.534, [65534, 10000]),
        (131.068, [65534, 65534]),
        (655.34, [65534] * 10),
        (655.341, []),
        (-0.1, []),
        (math.nan, []),
        (math.inf, []),
        (None, []),
    ],
)
def test_a_pack_without_cells_is_sent_as_one_voltage(
    voltage_v: float | None, slots_mv: list[int]
) -> None:
    message = sent(cells_v=(), voltage_v=voltage_v)
    assert message.voltages == slots_mv + [UNUSED_MV] * (10 - len(slots_mv))
    assert message.voltages_ext == [0, 0, 0, 0]
    assert ground_station(message).voltage_v == pytest.approx(sum(slots_mv) / 1000)


@pytest.mark.parametrize("unknown", [None, math.nan, -0.001, 65.5351, 1e308])
@pytest.mark.parametrize("place", range(6))
def test_an_unknown_cell_neither_shifts_the_others_nor_counts_as_empty(
    place: int, unknown: float | None
) -> None:
    cells_v = (*SIX_CELLS_V[:place], unknown, *SIX_CELLS_V[place + 1 :])
    message = sent(cells_v=cells_v, voltage_v=23.55)
    assert message.voltages == [23550] + [UNUSED_MV] * 9
    assert ground_station(message).voltage_v == 23.55
    assert px4(message).voltage_v == 23.55


def test_an_unknown_cell_of_a_pack_of_unknown_voltage_leaves_all_unknown() -> None:
    assert sent(cells_v=(3.9, None, 3.9), voltage_v=None).voltages == [UNUSED_MV] * 10


def test_an_empty_cell_is_sent_as_empty() -> None:
    message = sent(cells_v=(3.9, 0.0, 3.9))
    assert message.voltages[:4] == [3900, 0, 3900, UNUSED_MV]
    assert px4(message).cells == 3


def test_an_empty_cell_after_the_tenth_is_not_sent_as_unused() -> None:
    message = sent(cells_v=(4.0,) * 10 + (0.0, 4.0))
    assert message.voltages_ext == [1, 4000, 0, 0]
    assert ground_station(message).voltage_v == pytest.approx(44.001)


@pytest.mark.parametrize("cells", [1, 6, 10, 11, 14, 15, 16])
def test_ground_stations_see_the_voltage_of_any_pack(cells: int) -> None:
    message = sent(cells_v=(4.0,) * cells, voltage_v=4.0 * cells)
    assert ground_station(message).voltage_v == pytest.approx(4.0 * cells)


@pytest.mark.parametrize("cells", [1, 6, 10, 11, 14, 16])
def test_px4_sees_the_voltage_of_any_pack_that_is_sent_for_it(cells: int) -> None:
    report = a_report(cells_v=(4.0,) * cells, voltage_v=4.0 * cells)
    message = battery_status(report, cells_max=10)
    assert px4(message).voltage_v == pytest.approx(4.0 * cells)
    assert ground_station(message).voltage_v == pytest.approx(4.0 * cells)


@pytest.mark.parametrize(
    ("current_a", "current_ca"),
    [
        (12.34, 1234),
        (-5.0, -500),
        (0.0, 0),
        (-0.0099, 0),
        (-0.01, 0),
        (-0.0101, -2),
        (-0.02, -2),
        (327.67, 32767),
        (400.0, 32767),
        (-400.0, -32768),
        *((value, -1) for value in NOT_NUMBERS),
    ],
)
def test_current(current_a: float | None, current_ca: int) -> None:
    assert sent(current_a=current_a).current_battery == current_ca


@pytest.mark.parametrize(
    ("temperature_degc", "temperature_cdegc"),
    [(25.12, 2512), (-10.0, -1000), (327.67, 32766), (-400.0, -32768)]
    + [(value, 0x7FFF) for value in NOT_NUMBERS],
)
def test_temperature(temperature_degc: float | None, temperature_cdegc: int) -> None:
    assert sent(temperature_degc=temperature_degc).temperature == temperature_cdegc


@pytest.mark.parametrize(
    ("soc_pct", "remaining_pct"),
    [(80.99, 80), (100.0, 100), (101.5, 100), (5.999, 5), (0.0, 0), (-3.0, 0)]
    + [(value, -1) for value in NOT_NUMBERS],
)
def test_percentages_are_rounded_down(soc_pct: float | None, remaining_pct: int) -> None:
    assert sent(soc_pct=soc_pct).battery_remaining == remaining_pct


@pytest.mark.parametrize(("low_s", "expected"), [(400.9, 400), (0.0, 1), (None, 600)])
def test_the_bound_of_the_time_is_sent_where_it_is_chosen_and_known(
    low_s: float | None, expected: int
) -> None:
    report = a_report(remaining_s=600.7, remaining_low_s=low_s)
    assert battery_status(report).time_remaining == 600
    assert battery_status(report, low_time=True).time_remaining == expected


@pytest.mark.parametrize(
    ("remaining_s", "time_remaining"),
    [(600.9, 600), (1.0, 1), (0.4, 1), (0.0, 1), (-5.0, 1), (1e12, 0x7FFFFFFF)]
    + [(value, 0) for value in NOT_NUMBERS],
)
def test_a_time_to_empty_of_0_is_not_sent_as_unknown(
    remaining_s: float | None, time_remaining: int
) -> None:
    message = sent(remaining_s=remaining_s)
    assert message.time_remaining == time_remaining
    assert ground_station(message).remaining_s == (time_remaining or None)


@pytest.mark.parametrize(
    ("consumed_mah", "current_consumed"),
    [(1000.4, 1000), (0.0, 0), (-50.0, 0), (1e12, 0x7FFFFFFF)] + [(v, -1) for v in NOT_NUMBERS],
)
def test_the_consumption(consumed_mah: float | None, current_consumed: int) -> None:
    report = replace(a_report(), reported=ReportedCharge(80.0, None, consumed_mah))
    assert battery_status(report).current_consumed == current_consumed


@pytest.mark.parametrize(
    ("consumed_wh", "energy_consumed"),
    [(20.0, 720), (0.0, 0), (-1.0, 0), (1e12, 0x7FFFFFFF)] + [(v, -1) for v in NOT_NUMBERS],
)
def test_energy(consumed_wh: float | None, energy_consumed: int) -> None:
    report = replace(a_report(), reported=ReportedCharge(80.0, None, 900.0, consumed_wh))
    assert battery_status(report).energy_consumed == energy_consumed


@pytest.mark.parametrize(
    ("severity", "fault_bits", "charging", "charge_state"),
    [
        (Severity.OK, 0, False, mavlink.MAV_BATTERY_CHARGE_STATE_OK),
        (Severity.INFO, 0, False, mavlink.MAV_BATTERY_CHARGE_STATE_OK),
        (Severity.WARNING, 0, False, mavlink.MAV_BATTERY_CHARGE_STATE_LOW),
        (Severity.CRITICAL, 0, False, mavlink.MAV_BATTERY_CHARGE_STATE_CRITICAL),
        (Severity.EMERGENCY, 0, False, mavlink.MAV_BATTERY_CHARGE_STATE_EMERGENCY),
        (Severity.OK, 0, True, mavlink.MAV_BATTERY_CHARGE_STATE_CHARGING),
        (Severity.WARNING, 0, True, mavlink.MAV_BATTERY_CHARGE_STATE_LOW),
        (Severity.WARNING, 16, False, mavlink.MAV_BATTERY_CHARGE_STATE_UNHEALTHY),
        (Severity.OK, 16, True, mavlink.MAV_BATTERY_CHARGE_STATE_UNHEALTHY),
        (Severity.EMERGENCY, 4, False, mavlink.MAV_BATTERY_CHARGE_STATE_FAILED),
    ],
)
def test_charge_state(
    severity: Severity,
    fault_bits: int,
    charging: bool,  # noqa: FBT001 - a column
    charge_state: int,
) -> None:
    message = sent(severity=severity, fault_bits=fault_bits, charging=charging)
    assert (message.charge_state, message.fault_bitmask) == (charge_state, fault_bits)


@pytest.mark.parametrize("current_a", [-0.11, -0.75, -10.0, math.nan, None])
def test_a_current_alone_is_no_charge(current_a: float | None) -> None:
    state = sent(severity=Severity.OK, fault_bits=0, current_a=current_a).charge_state
    assert state == mavlink.MAV_BATTERY_CHARGE_STATE_OK  # an offset, or a moment of regeneration


@pytest.mark.parametrize("chemistry", CHEMISTRIES, ids=lambda chemistry: chemistry.name)
def test_the_chemistry_is_sent(chemistry: Chemistry) -> None:
    expected = {"lipo": "LIPO", "lihv": "LIPO", "li-ion": "LION", "lifepo4": "LIFE"}[chemistry.name]
    message = battery_status(replace(FLYING, pack_data=PackData(chemistry)))
    assert message.type == getattr(mavlink, f"MAV_BATTERY_TYPE_{expected}")


def test_a_battery_has_the_given_id_or_its_index() -> None:
    assert battery_status(a_report(index=1)).id == 1
    assert battery_status(a_report(index=1), battery_id=7).id == 7


# Texts.


def test_a_short_text_is_one_message() -> None:
    (message,) = statustext(an_event("cell 3 is at 3.21 V", Severity.CRITICAL), 9)
    assert (message.text, message.severity) == (
        "cell 3 is at 3.21 V",
        mavlink.MAV_SEVERITY_CRITICAL,
    )
    assert (message.id, message.chunk_seq) == (0, 0)


@pytest.mark.parametrize("length", [49, 50, 51, 99, 100, 101, 150, 250])
def test_a_receiver_can_join_the_chunks_of_a_text(length: int) -> None:
    text = "".join(chr(ord("a") + place % 26) for place in range(length))
    pieces = statustext(an_event(text), 9)
    assert "".join(chunk.text for chunk in pieces) == text
    assert [chunk.chunk_seq for chunk in pieces] == list(range(len(pieces)))
    if len(pieces) > 1:
        assert {chunk.id for chunk in pieces} == {9}
        assert len(pieces[-1].text) < 50
        assert all(len(chunk.text) == 50 for chunk in pieces[:-1])


def test_a_text_is_cut_at_250_characters() -> None:
    assert sum(len(chunk.text) for chunk in statustext(an_event("x" * 10_000), 1)) == 250


def test_characters_that_are_not_ascii_are_replaced() -> None:
    (message,) = statustext(an_event("61 °C"), 1)
    assert message.text == "61 ?C"


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        (Severity.OK, mavlink.MAV_SEVERITY_INFO),
        (Severity.INFO, mavlink.MAV_SEVERITY_INFO),
        (Severity.WARNING, mavlink.MAV_SEVERITY_WARNING),
        (Severity.CRITICAL, mavlink.MAV_SEVERITY_CRITICAL),
        (Severity.EMERGENCY, mavlink.MAV_SEVERITY_EMERGENCY),
    ],
)
def test_a_text_has_the_severity_of_its_limit_and_is_a_notice_when_that_clears(
    severity: Severity, expected: int
) -> None:
    assert statustext(an_event(severity=severity), 1)[0].severity == expected
    cleared = statustext(an_event(severity=severity, tripped=False), 1)[0]
    assert cleared.severity == mavlink.MAV_SEVERITY_NOTICE


# Any values.

ANY = st.none() | st.floats() | st.integers(-(10**6), 10**6)
ANY_VALUES = st.fixed_dictionaries(
    dict.fromkeys(FLOATS, ANY)
    | {
        "cells_v": st.lists(ANY, max_size=20).map(tuple),
        "severity": st.sampled_from(Severity),
        "fault_bits": st.integers(0, 2**40),
    }
)


GAUGE_PCT = 79.0  # of the varied report


def is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def is_near(reported: float, value: float, resolution: float, low: float, high: float) -> bool:
    return abs(reported - min(max(value, low), high)) <= resolution * 1.001


ENDLESS = {"cells_v": (), "severity": Severity.OK, "fault_bits": 0, "soc_pct": math.inf}


@settings(max_examples=400, deadline=None)
@example(dict.fromkeys(FLOATS) | ENDLESS)
@given(ANY_VALUES)
def test_any_value_is_sent_within_its_resolution_or_as_unknown(values: dict[str, Any]) -> None:
    message = sent(**values)
    shown = ground_station(message)
    assert (shown.temperature_degc is None) is not is_number(values["temperature_degc"])
    if shown.temperature_degc is not None:
        assert is_near(shown.temperature_degc, values["temperature_degc"], 0.005, -327.68, 327.66)
    assert (shown.current_a is None) is not is_number(values["current_a"])
    if shown.current_a is not None:
        assert is_near(shown.current_a, values["current_a"], 0.01, -327.68, 327.67)
    assert (shown.remaining_pct is None) is not is_number(values["soc_pct"])
    if shown.remaining_pct is not None:
        bound = GAUGE_PCT if values["current_a"] is None else math.inf
        assert is_near(shown.remaining_pct, min(values["soc_pct"], bound), 1.0, 0, 100)
        assert shown.remaining_pct <= max(values["soc_pct"], 0)
    known = is_number(values["remaining_s"]) and is_number(values["soc_pct"])
    assert (shown.remaining_s is None) is not known  # without a percentage all is unknown
    if shown.remaining_s is not None:
        assert is_near(shown.remaining_s, values["remaining_s"], 1.0, 0, 0x7FFFFFFF)
    assert message.current_consumed == -1 or is_number(values["soc_pct"])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.none() | st.floats(0.5, 5.0), max_size=20).map(tuple),
    st.none() | st.floats(0.0, 100.0),
    st.sampled_from((10, 14)),
)
def test_the_sum_of_a_receiver_is_that_of_the_cells_or_the_pack_or_0(
    cells_v: tuple[float | None, ...], voltage_v: float | None, cells_max: int
) -> None:
    message = battery_status(a_report(cells_v=cells_v, voltage_v=voltage_v), cells_max=cells_max)
    shown_v = ground_station(message).voltage_v
    known = [cell_v for cell_v in cells_v if cell_v is not None]
    if 0 < len(known) == len(cells_v) <= cells_max:
        assert shown_v == pytest.approx(sum(known), abs=0.0005 * len(known) + 1e-9)
    else:
        assert shown_v == pytest.approx(voltage_v or 0.0, abs=0.000501)
    if cells_max == 10:
        assert px4(message).voltage_v == shown_v


@pytest.mark.parametrize("cells", range(15))
def test_the_voltages_have_ten_and_four_places(cells: int) -> None:
    message = battery_status(a_report(cells_v=(3.9,) * cells))
    assert (len(message.voltages), len(message.voltages_ext)) == (10, 4)


@pytest.mark.parametrize(
    ("cells", "sent"), [(None, 0), (1, 1), (6, 6), (254, 254), (255, 255), (256, 255)]
)
def test_the_number_of_cells_fits_its_field(cells: int | None, sent: int) -> None:
    report = a_report()
    report = replace(report, pack_data=replace(report.pack_data, cells=cells))
    assert smart_battery_info(report, battery_id=0).cells_in_series == sent
    assert battery_info(report, battery_id=0).cells_in_series == sent
