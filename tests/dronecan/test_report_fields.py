# SPDX-License-Identifier: Apache-2.0
"""Reports as BatteryInfo, BatteryInfoAux and CBAT, decoded by the package `dronecan`."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dronecan
import pytest
from hypothesis import given

from dronebms.core.report import ChargingAdvice, Report, ReportedCharge, Status
from dronebms.dronecan import dsdl, report_fields
from dronebms.dronecan.battery_messages import BATTERY_INFO, BATTERY_INFO_AUX, CBAT
from dronebms.dronecan.status_flags import BAD_BATTERY, BMS_ERROR, CHARGING, FLAGS, IN_USE
from dronebms.protection import limits
from dronebms.protection.limits import every_limit
from tests.dronecan.reports import IDENTITY, any_report, report_at

STEP = 1 / 1024  # of a float16, relative: half a step is rounded


def _decoded(name: str, fields: Mapping[str, object] | None) -> Any:  # noqa: ANN401 - an untyped package
    """What a receiver gets, by the code of the package alone."""
    assert fields is not None
    frames = dsdl.encode(dsdl.message(name, fields), transfer_id=5, priority=20, source=42)
    transfer = dronecan.transport.Transfer()
    transfer.from_frames(
        [dronecan.transport.Frame(frame.can_id, bytearray(frame.data)) for frame in frames]
    )
    return transfer.payload


def _info(report: Report) -> Any:  # noqa: ANN401 - an untyped package
    return _decoded(BATTERY_INFO.name, report_fields.battery_info(report, 3))


def _aux(report: Report) -> Any:  # noqa: ANN401 - an untyped package
    return _decoded(BATTERY_INFO_AUX.name, report_fields.battery_info_aux(report, 3))


def _cbat(report: Report) -> Any:  # noqa: ANN401 - an untyped package
    return _decoded(CBAT.name, report_fields.cbat(report))


def _without(report: Report, **changes: object) -> Report:
    return replace(report, snapshot=replace(report.snapshot, **changes))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- what is sent


def test_battery_info_has_the_values_of_the_report() -> None:
    info = _info(report_at(0.0))

    assert info.voltage == pytest.approx(22.83, rel=STEP)
    assert info.current == pytest.approx(31.25, rel=STEP)
    assert info.temperature == pytest.approx(27.4 + 273.15, rel=STEP)
    assert (info.state_of_charge_pct, info.state_of_charge_pct_stdev) == (77, 3)
    assert (info.state_of_health_pct, info.status_flags) == (93, IN_USE)
    assert (info.battery_id, info.model_instance_id) == (3, 4711)
    assert bytes(info.model_name) == b"Tattu P22 6S lipo"
    assert info.hours_to_full_charge == 0.0
    assert math.isnan(info.average_power_10sec)


def test_aux_has_cells_cycles_and_nominal_voltage() -> None:
    report = report_at(0.0)
    aux = _aux(report)

    assert list(aux.voltage_cell) == pytest.approx(report.snapshot.cells_v, abs=0.002)
    assert (aux.cycle_count, aux.over_discharge_count) == (37, 65535)
    assert aux.nominal_voltage == pytest.approx(6 * 3.84, rel=STEP)
    assert (aux.battery_id, aux.is_powering_off, aux.timestamp.usec) == (3, False, 0)


def test_cbat_has_the_values_of_the_report_with_the_current_as_px4_reads_it() -> None:
    cbat = _cbat(report_at(0.0))

    assert cbat.current == pytest.approx(-31.25)
    assert cbat.full_charge_capacity - cbat.remaining_capacity == pytest.approx(0.226 * 16000)
    assert (cbat.average_time_to_empty, cbat.average_time_to_full) == (12, 65535)
    assert (cbat.state_of_charge, cbat.max_error, cbat.serial_number) == (77, 3, 4711)
    assert (cbat.cell_count, len(cbat.voltage_cell)) == (6, 6)
    date = cbat.manufacture_date
    assert (1980 + (date >> 9), date >> 5 & 15, date & 31) == IDENTITY.date


@pytest.mark.parametrize("pct", [*range(0, 101, 5), 99.9, 0.1])
@pytest.mark.parametrize("capacity_mah", [1300.0, 5000.0, 16000.0, 30000.0, 88000.0])
def test_ardupilot_gets_the_consumed_charge_from_the_capacities(
    pct: float, capacity_mah: float
) -> None:
    report = report_at(0.0)
    pack_data = replace(report.pack_data, capacity_mah=capacity_mah)
    report = replace(report, pack_data=pack_data)
    reported = report_fields.charge_of(
        replace(report, reported=ReportedCharge(pct, None, (1 - pct / 100) * capacity_mah))
    )
    assert reported is not None
    report = replace(
        report, reported=ReportedCharge(pct, None, capacity_mah - reported.remaining_mah)
    )

    info, aux = _info(report), _aux(report)
    full_ah = info.full_charge_capacity_wh / aux.nominal_voltage
    left_ah = info.remaining_capacity_wh / aux.nominal_voltage

    consumed_mah, true_mah = 1000 * (full_ah - left_ah), (1 - pct / 100) * capacity_mah
    assert (
        min(true_mah, 1000 * full_ah) - 1e-3 <= consumed_mah <= true_mah + 2 * STEP * capacity_mah
    )
    assert full_ah == pytest.approx(capacity_mah / 1000, rel=STEP)


# ---------------------------------------------------------------------- unknown values


def test_a_pack_without_a_voltage_is_not_sent() -> None:
    silent = _without(report_at(0.0), voltage_v=None)

    assert report_fields.battery_info(silent, 0) is None
    assert report_fields.battery_info_aux(silent, 0) is None
    assert report_fields.cbat(silent) is None


def test_an_unknown_charge_is_127_and_capacities_that_ardupilot_does_not_convert() -> None:
    unknown = replace(report_at(0.0), reported=ReportedCharge())

    info, aux = _info(unknown), _aux(unknown)

    assert (info.state_of_charge_pct, info.state_of_charge_pct_stdev) == (127, 127)
    assert math.isnan(info.full_charge_capacity_wh)
    assert math.isnan(info.remaining_capacity_wh)
    assert aux.nominal_voltage == 0.0
    assert report_fields.cbat(unknown) is None


def test_unknown_current_temperature_health_and_counts_stay_unknown() -> None:
    report = _without(
        report_at(0.0), current_a=None, temperature_degc=None, cycles=None, cells_v=()
    )
    report = replace(report, estimate=replace(report.estimate, soh_pct=None))

    info, aux, cbat = _info(report), _aux(report), _cbat(report)

    assert all(map(math.isnan, (info.current, info.temperature, cbat.current, cbat.temperature)))
    assert (info.state_of_health_pct, cbat.state_of_health) == (127, 127)
    assert (aux.cycle_count, cbat.cycle_count) == (65535, 65535)
    assert (len(aux.voltage_cell), cbat.cell_count) == (0, 0)


def test_an_unknown_cell_keeps_its_place() -> None:
    cells = list(_aux(_without(report_at(0.0), cells_v=(3.8, None, 3.7))).voltage_cell)

    assert cells[0] == pytest.approx(3.8, abs=0.002)
    assert math.isnan(cells[1])
    assert cells[2] == pytest.approx(3.7, abs=0.002)


def test_px4_gets_no_more_cells_than_it_has_room_for() -> None:
    cbat = _cbat(_without(report_at(0.0), cells_v=(3.8,) * 20))

    assert (cbat.cell_count, len(cbat.voltage_cell)) == (14, 14)


def test_a_serial_number_of_gauges_that_were_never_programmed_is_not_sent() -> None:
    report = _without(report_at(0.0), identity=replace(IDENTITY, serial=1))

    assert (_info(report).model_instance_id, _cbat(report).serial_number) == (0, 0)


def test_time_to_full_is_sent_while_charging_alone() -> None:
    report = replace(report_at(0.0), charging=ChargingAdvice("go on", "", 1800.0))
    charging = replace(report, status=Status(0.0, charging=True))

    assert _info(report).hours_to_full_charge == 0.0
    assert _info(charging).hours_to_full_charge == 0.5
    assert _info(charging).status_flags == CHARGING
    unknown = replace(charging, charging=ChargingAdvice("go on", ""))
    assert math.isnan(_info(unknown).hours_to_full_charge)


# ---------------------------------------------------------------------- any report


@given(any_report())
def test_every_report_is_encoded_and_decoded_within_the_bounds_of_the_fields(
    report: Report,
) -> None:
    fields = report_fields.battery_info(report, 3)
    assert (fields is None) == (report.snapshot.voltage_v is None)
    if fields is None:
        return
    info, aux = _info(report), _aux(report)
    charge = report_fields.charge_of(report)

    for name in ("temperature", "voltage", "current", "hours_to_full_charge"):
        assert not math.isinf(getattr(info, name))
    assert info.state_of_charge_pct == 127 or 0 <= info.state_of_charge_pct <= 100
    assert info.state_of_charge_pct_stdev == 127 or 0 <= info.state_of_charge_pct_stdev <= 100
    assert info.state_of_health_pct == 127 or 0 <= info.state_of_health_pct <= 100
    assert len(info.model_name) <= 31
    assert len(aux.voltage_cell) in (0, len(report.snapshot.cells_v))
    # Known together or unknown together.
    known = charge is not None
    assert (info.state_of_charge_pct != 127) == known
    assert (aux.nominal_voltage > 0.0) == known
    assert math.isnan(info.full_charge_capacity_wh) != known
    if known:
        assert 0.0 <= info.remaining_capacity_wh <= info.full_charge_capacity_wh < 65504.0 + 1.0
    if known:
        cbat = _cbat(report)
        assert cbat.state_of_charge == info.state_of_charge_pct
        assert 0.0 <= cbat.remaining_capacity <= cbat.full_charge_capacity
        assert cbat.cell_count == len(cbat.voltage_cell) <= 14


@given(any_report())
def test_percentage_and_capacities_agree(report: Report) -> None:
    reported = report.reported
    charge = report_fields.charge_of(report)
    if charge is None or report.snapshot.voltage_v is None or reported.soc_pct is None:
        return
    if reported.consumed_mah != pytest.approx((1 - charge.pct / 100) * charge.full_mah):
        return  # of no stage
    info = _info(report)
    if info.full_charge_capacity_wh > 0.0:
        share = info.remaining_capacity_wh / info.full_charge_capacity_wh
        assert 100.0 * share == pytest.approx(info.state_of_charge_pct, abs=1.2)


# ---------------------------------------------------------------------- status flags


def test_every_limit_of_a_flag_exists_and_sets_it() -> None:
    report = report_at(0.0)
    for flag in FLAGS:
        for limit in flag.limits:
            assert limit in every_limit()
            tripped = replace(report, status=Status(0.0, active=(limit,)))
            assert _info(tripped).status_flags == IN_USE | flag.bit
            assert _cbat(tripped).status_flags == IN_USE | flag.bit


@pytest.mark.parametrize("fault", ["OVER_TEMPERATURE", "UNDER_TEMPERATURE", "OVER_CURRENT"])
def test_a_limit_with_a_fault_bit_has_its_flag(fault: str) -> None:
    bit = getattr(limits, fault)
    ours = {"OVER_TEMPERATURE": 8, "UNDER_TEMPERATURE": 16, "OVER_CURRENT": 32}[fault]
    faulty = {row.limit_id for row in every_limit().values() if row.fault_bits & bit}
    (flag,) = (flag for flag in FLAGS if flag.bit == ours)
    # FETs and a rate of change are no temperature of the battery.
    assert faulty - {"fet_critical", "warming_critical"} <= set(flag.limits)


def test_a_permanent_failure_is_a_bad_battery_and_a_lost_gauge_an_error() -> None:
    def flags(limit: str) -> int:
        found: int = _info(
            replace(report_at(0.0), status=Status(0.0, active=(limit,)))
        ).status_flags
        return found

    assert flags("failed") == IN_USE | BAD_BATTERY
    assert flags("lost") == IN_USE | BMS_ERROR
    assert flags("charge_low") == IN_USE
