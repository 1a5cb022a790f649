# SPDX-License-Identifier: Apache-2.0
"""Logs of rounded values: a quantity that stands between two steps is no frozen gauge."""

from collections.abc import Iterator
from math import sin
from pathlib import Path

import pytest

from dronebms.analysis.replay import reports
from dronebms.core.chemistry import LIPO
from dronebms.core.report import Report
from dronebms.flightlogs import FlightOptions, read_csv_log, resolution_of

OPTIONS = FlightOptions(cells=4, capacity_mah=5000.0, chemistry="lipo")
CURRENT_A, CAPACITY_AH = 12.0, 5.0
LENGTH_S = 1200


def cell_v(t_s: float) -> float:
    """Voltage of a cell under a steady load."""
    used = t_s * CURRENT_A / 3600.0 / CAPACITY_AH
    return LIPO.open_circuit_v(0.98 - used) - 0.05


def log(folder: Path, step_v: float, step_a: float, until_s: int = LENGTH_S) -> Path:
    """A hover whose values are rounded, and stand still after `until_s`."""
    path = folder / "hover.csv"
    rows = ["t_s,voltage_v,current_a"]
    for t_s in range(LENGTH_S):
        at_s = min(t_s, until_s)
        amps = round((CURRENT_A + 0.2 * sin(at_s)) / step_a) * step_a
        volts = round(4 * cell_v(at_s) / step_v) * step_v
        rows.append(f"{t_s},{volts:.4f},{amps:.3f}")
    path.write_text("\n".join(rows))
    return path


def replayed(path: Path) -> Iterator[Report]:
    return reports(path, OPTIONS, lambda _: None)


def first_frozen_s(path: Path) -> float | None:
    frozen = (r.t_s for r in replayed(path) if "frozen" in (r.snapshot.trouble or ""))
    return next(frozen, None)


@pytest.mark.parametrize(("step_v", "step_a"), [(0.1, 1.0), (0.1, 0.5), (0.05, 1.0), (0.2, 2.0)])
def test_a_voltage_that_stands_between_two_steps_is_known(
    tmp_path: Path, step_v: float, step_a: float
) -> None:
    flown = list(replayed(log(tmp_path, step_v, step_a)))
    assert all(report.snapshot.voltage_v is not None for report in flown)
    tripped = {event.limit_id for report in flown for event in report.status.events}
    assert not {"silent", "lost", "blind", "implausible"} & tripped
    assert all(report.estimate.remaining_s is not None for report in flown[60:])


@pytest.mark.parametrize(("step_v", "step_a"), [(0.001, 0.001), (0.01, 0.01), (0.001, 1.0)])
def test_a_frozen_gauge_in_a_fine_log_is_found_after_half_a_minute(
    tmp_path: Path, step_v: float, step_a: float
) -> None:
    assert first_frozen_s(log(tmp_path, step_v, step_a, until_s=300)) == pytest.approx(331, abs=6)


@pytest.mark.parametrize("step_v", [0.1, 0.5, 5.0])
def test_a_frozen_gauge_in_a_coarse_log_is_found_before_a_sixth_of_the_charge_is_used(
    tmp_path: Path, step_v: float
) -> None:
    found_s = first_frozen_s(log(tmp_path, step_v, 1.0, until_s=300))
    assert found_s is not None
    begun_s = 0.0 if step_v == 5.0 else 200.0  # values of one step stand from the beginning
    assert begun_s < found_s < 300.0 + 0.16 * CAPACITY_AH * 3600.0 / CURRENT_A


@pytest.mark.parametrize(
    ("columns", "expected_v"),
    [
        ({"voltage_v": [16.0, 15.9, 15.9, 15.7]}, 0.025),
        ({"voltage_v": [16.0, 15.9], "cell1_v": [4.0, 3.95]}, 0.025),
        ({"voltage_v": [16.0, 15.9], "cell1_v": [4.0, 3.995]}, 0.005),
        ({"voltage_v": [16.0, 15.9], "cell1_v": [4.0, 4.0]}, 0.025),
        ({"voltage_v": [16.0, 16.0]}, 0.0),
        ({"voltage_v": [4 * 0.1 + 15.6, 16.000000001, 15.9]}, 0.025),
        ({"voltage_v": [16.0 - k * 0.0009 for k in range(2000)]}, 0.0),
    ],
)
def test_the_resolution_of_a_log_is_its_finest_step(
    tmp_path: Path, columns: dict[str, list[float]], expected_v: float
) -> None:
    columns |= {"cell4_v": columns["cell1_v"]} if "cell1_v" in columns else {}
    rows = zip(*columns.values(), strict=True)
    lines = [f"{t_s},12,{','.join(map(str, row))}" for t_s, row in enumerate(rows)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join([f"t_s,current_a,{','.join(columns)}", *lines]))
    found = resolution_of(read_csv_log(path, OPTIONS))
    assert found.cell_v == pytest.approx(expected_v, abs=1e-6)
    assert found.current_a == 0.0
