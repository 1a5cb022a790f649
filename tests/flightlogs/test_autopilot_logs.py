# SPDX-License-Identifier: Apache-2.0
"""Logs of autopilots hold the values that the tools of their own projects print."""

import csv
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

import pytest

from dronebms.analysis.replay import reports
from dronebms.core.errors import FlightLogError
from dronebms.flightlogs import FlightLog, FlightOptions, FlightSource
from dronebms.flightlogs.autopilot_logs import read_flight_log

LOGS = Path(__file__).parents[1] / "data" / "logs"
BIN, ULG, TLOG = LOGS / "arducopter.bin", LOGS / "px4.ulg", LOGS / "arducopter.tlog"
LIPO_4S = FlightOptions(cells=4, chemistry="lipo")
LIPO = FlightOptions(chemistry="lipo")
Row = dict[str, Any]


def rows_of(flight: FlightLog) -> Iterator[dict[str, float]]:
    """Yield the rows without empty fields."""
    columns = flight.columns
    for index in range(len(columns["t_s"])):
        row = {name: column[index] for name, column in columns.items()}
        yield {name: value for name, value in row.items() if not math.isnan(value)}


def mavlogdump(path: Path, *kinds: str) -> list[Row]:
    """Messages that pymavlink's own tool prints."""
    tool = shutil.which("mavlogdump.py", path=str(Path(sys.executable).parent))
    assert tool is not None
    command = [
        sys.executable,
        tool,
        "--format",
        "json",
        "--types",
        ",".join(kinds),
        str(path),
    ]
    command += ["--show-source"] if path == TLOG else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - pymavlink's
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [{"kind": row["meta"]["type"]} | row["meta"] | row["data"] for row in rows]


def ulog2csv(path: Path, folder: Path) -> dict[str, list[Row]]:
    """Rows that pyulog's own tool writes, by topic."""
    command = [str(Path(sys.executable).with_name("ulog2csv")), "-o", str(folder), str(path)]
    subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - pyulog's
    found = {}
    for file in folder.glob("*_0.csv"):
        with file.open() as text:
            found[file.stem] = [{k: float(v) for k, v in r.items()} for r in csv.DictReader(text)]
    return found


def latest(rows: list[Row], t_s: float, time: Callable[[Row], float]) -> Row | None:
    """Newest row at `t_s` or before."""
    before = [row for row in rows if time(row) <= t_s]
    return before[-1] if before else None


# ---------------------------------------------------------------------- ArduPilot


def test_a_bin_has_the_samples_that_mavlogdump_prints() -> None:
    shown = mavlogdump(BIN, "BAT")
    rows = list(rows_of(read_flight_log(BIN, LIPO_4S)))
    assert len(rows) == len(shown) > 150
    for row, printed in zip(rows, shown, strict=True):
        assert row["t_s"] == pytest.approx(printed["TimeUS"] / 1e6)
        assert (row["voltage_v"], row["current_a"]) == (printed["Volt"], printed["Curr"])
        assert "temperature_degc" not in row  # logged as 0 where it is not measured
        assert "gauge_soc_pct" not in row  # counted from the default of a parameter


def test_a_bin_has_the_vehicle_state_that_mavlogdump_prints() -> None:
    def time(row: Row) -> float:
        return float(row["TimeUS"]) / 1e6

    kinds = ("POS", "GPS", "ARM", "ORGN")
    every = mavlogdump(BIN, *kinds)
    shown = {kind: [row for row in every if row["kind"] == kind] for kind in kinds}
    home = [row for row in shown["ORGN"] if row["Type"] == 1]
    compared = 0
    for row in rows_of(read_flight_log(BIN, LIPO_4S)):
        place, speed = (latest(shown[kind], row["t_s"], time) for kind in ("POS", "GPS"))
        if "lat_deg" in row and place is not None:
            compared += 1
            position = [row[name] for name in ("lat_deg", "lon_deg", "alt_m")]
            assert position == [place[name] for name in ("Lat", "Lng", "Alt")]
        if "climb_m_s" in row and speed is not None:
            compared += 1
            assert (row["ground_speed_m_s"], row["climb_m_s"]) == (speed["Spd"], -speed["VZ"])
        armed, at = latest(shown["ARM"], row["t_s"], time), latest(home, row["t_s"], time)
        assert row.get("armed") == (None if armed is None else armed["ArmState"])
        assert row.get("home_lat_deg") == (None if at is None else at["Lat"])
    assert compared > 200
    assert {row.get("armed") for row in rows_of(read_flight_log(BIN, LIPO_4S))} == {None, 1.0, 0.0}


def bin_of(*messages: tuple[int, str, str, str, bytes]) -> bytes:
    """A .bin in ArduPilot's layout: type, name, format, columns, payload."""
    head, formats = b"\xa3\x95", {}
    for kind, name, letters, columns, payload in messages:
        size = 3 + len(payload)
        text = name.encode().ljust(4, b"\0") + letters.encode().ljust(16, b"\0")
        formats[kind] = bytes((0x80, kind, size)) + text + columns.encode().ljust(64, b"\0")
    own = b"FMT\0" + b"BBnNZ".ljust(16, b"\0") + b"Type,Length,Name,Format,Columns".ljust(64, b"\0")
    data = head + bytes((0x80, 0x80, 89)) + own
    data += b"".join(head + row for row in formats.values())
    return data + b"".join(head + bytes((kind,)) + payload for kind, *_, payload in messages)


BAT = (4, "BAT", "QBfffffcfBBB",
       "TimeUS,Inst,Volt,VoltR,Curr,CurrTot,EnrgTot,Temp,Res,RemPct,H,SH")  # fmt: skip
BCL = (5, "BCL", "QBfHHHHHHHHHHHH", "TimeUS,Instance,Volt,V1,V2,V3,V4,V5,V6,V7,V8,V9,V10,V11,V12")
PARM = (3, "PARM", "QNff", "TimeUS,Name,Value,Default")


def sample(us: int, battery: int, volts: float, centi_degc: int = 0) -> bytes:
    power = (volts, volts, 9.5, 1.0, 1.0)
    return pack("<QBfffffhfBBB", us, battery, *power, centi_degc, 0.0, 77, 1, 0)


def cells(us: int, battery: int, *raw: int) -> bytes:
    return pack("<QBf12H", us, battery, 15.0, *raw, *[0] * (12 - len(raw)))


def test_the_cells_of_a_bin_are_a_millivolt_lower_than_logged_and_of_the_chosen_battery(
    tmp_path: Path,
) -> None:
    path = tmp_path / "two.BIN"
    path.write_bytes(
        bin_of(
            (*PARM, pack("<Q16sff", 1, b"BATT_CAPACITY", 3300.0, 3300.0)),
            (*PARM, pack("<Q16sff", 1, b"BATT2_CAPACITY", 5200.0, 3300.0)),
            (*BAT, sample(1_000_000, 0, 16.5)),
            (*BAT, sample(1_000_000, 1, 15.0, 2150)),
            (*BCL, cells(1_000_000, 1, 3751, 3752, 3753, 3754)),
            (*BAT, sample(1_100_000, 1, 15.1, 2150)),
        )
    )
    flight = read_flight_log(path, LIPO, battery=1)
    assert (flight.pack_data.cells, flight.pack_data.capacity_mah) == (4, 5200.0)
    first, second = rows_of(flight)
    assert first == pytest.approx(
        {"t_s": 1.0, "voltage_v": 15.0, "current_a": 9.5, "temperature_degc": 21.5,
         "gauge_soc_pct": 77.0, "cell1_v": 3.75, "cell2_v": 3.751, "cell3_v": 3.752,
         "cell4_v": 3.753}
    )  # fmt: skip
    assert second["t_s"] == 1.1
    pack_data = read_flight_log(path, LIPO_4S).pack_data
    assert pack_data.capacity_mah is None  # 3300 is ArduPilot's default, not the user's value


# ---------------------------------------------------------------------- PX4


def test_a_ulg_has_the_samples_and_the_vehicle_state_that_ulog2csv_writes(tmp_path: Path) -> None:
    shown = ulog2csv(ULG, tmp_path)

    def time(row: Row) -> float:
        return float(row["timestamp"]) * 1e-6

    topics = {name.removeprefix("px4_").removesuffix("_0"): rows for name, rows in shown.items()}
    rows = list(rows_of(read_flight_log(ULG, LIPO)))
    assert len(rows) == len(topics["battery_status"]) > 20
    compared = 0
    for row, written in zip(rows, topics["battery_status"], strict=True):
        assert row["t_s"] == pytest.approx(time(written), abs=1e-9)
        assert row["voltage_v"] == pytest.approx(written["voltage_v"], rel=1e-6)
        if written["current_a"] != -1:
            assert row["current_a"] == pytest.approx(written["current_a"], rel=1e-6)
        for k in range(3):
            if (cell_v := written[f"voltage_cell_v[{k}]"]) > 0:
                assert row[f"cell{k + 1}_v"] == pytest.approx(cell_v, rel=1e-6)
        assert "cell4_v" not in row
        state = latest(topics["vehicle_status"], row["t_s"], time)
        assert row.get("armed") == (None if state is None else float(state["arming_state"] == 2))
        place = latest(topics["vehicle_global_position"], row["t_s"], time)
        if place is not None and "lat_deg" in row:
            compared += 1
            assert (row["lat_deg"], row["lon_deg"]) == (place["lat"], place["lon"])
    assert compared >= 5
    assert read_flight_log(ULG, LIPO).pack_data.cells == 3


# ---------------------------------------------------------------------- MAVLink


def test_a_tlog_has_the_samples_of_each_source_that_mavlogdump_prints() -> None:
    shown = mavlogdump(TLOG, "BATTERY_STATUS")
    first_s = min(row["timestamp"] for row in mavlogdump(TLOG, "HEARTBEAT", "BATTERY_STATUS"))
    compared = 0
    for battery, component in ((0, 1), (1, 180)):
        printed = [row for row in shown if row["srcComponent"] == component]
        rows = list(rows_of(read_flight_log(TLOG, LIPO_4S, battery)))
        by_time = {round(row["timestamp"] - first_s, 3): row for row in printed}
        assert len(rows) == len(by_time)
        for row in rows:
            message = by_time[round(row["t_s"], 3)]
            mv = [v for v in message["voltages"] if v != 65535]
            assert row["voltage_v"] == pytest.approx(sum(mv) / 1000)
            assert row.get("current_a", -0.01) == pytest.approx(message["current_battery"] / 100)
            if component == 180:
                cells_v = [row[f"cell{k}_v"] for k in (1, 2, 3, 4)]
                assert cells_v == pytest.approx([v / 1000 for v in mv])
            compared += 1
    assert compared > 100
    last = list(rows_of(read_flight_log(TLOG, LIPO_4S)))[-1]
    (*_, place) = mavlogdump(TLOG, "GLOBAL_POSITION_INT")
    assert last["lat_deg"] == pytest.approx(place["lat"] / 1e7, abs=1e-6)
    assert last["armed"] in (0.0, 1.0)
    assert "home_lat_deg" in last


# ---------------------------------------------------------------------- all of them


@pytest.mark.parametrize(("path", "battery"), [(BIN, 0), (ULG, 0), (TLOG, 0), (TLOG, 1)])
def test_a_log_replays_like_any_flight(path: Path, battery: int) -> None:
    def read(path: Path, options: FlightOptions) -> FlightLog:
        return read_flight_log(path, options, battery)

    options = LIPO if path is ULG else LIPO_4S
    steps = list(reports(path, options, lambda _: None, read=read))
    assert len(steps) >= len(read(path, options).columns["t_s"])
    assert any(report.vehicle.armed for report in steps) or path is not BIN
    assert any(report.estimate.soc_pct is not None for report in steps)
    times_s = read(path, options).columns["t_s"]
    assert all(a < b for a, b in pairwise(times_s))
    assert FlightSource(read(path, options)).poll(times_s[-1]).voltage_v is not None


def test_the_error_names_the_option_that_a_log_needs() -> None:
    with pytest.raises(FlightLogError, match="needs cells and chemistry: give --cells and --chem"):
        read_flight_log(BIN, FlightOptions())
    with pytest.raises(
        FlightLogError, match=r"px4.ulg needs chemistry: give --chemistry, or write"
    ):
        read_flight_log(ULG, FlightOptions())
    with pytest.raises(FlightLogError, match=r"battery 3; it has samples of battery 1$"):
        read_flight_log(BIN, LIPO_4S, 2)
    with pytest.raises(FlightLogError, match=r"end with cell3_v, but the pack has 4 cells"):
        read_flight_log(ULG, LIPO_4S)


@pytest.mark.parametrize("path", [BIN, ULG, TLOG], ids=lambda path: path.suffix)
def test_a_file_that_is_not_a_log_is_one_sentence(path: Path, tmp_path: Path) -> None:
    other = tmp_path / f"x{path.suffix.upper()}"
    for data in (b"", b"\0" * 5000, b"t_s,voltage_v\n" * 99, BIN.read_bytes()[3:], b"ULog" * 500):
        other.write_bytes(data)
        with pytest.raises(FlightLogError) as caught:
            read_flight_log(other, LIPO_4S)
        assert str(caught.value).startswith(str(other))
        assert "\n" not in str(caught.value)
    with pytest.raises(FlightLogError, match="No such file"):
        read_flight_log(tmp_path / f"none{path.suffix}", LIPO_4S)
    with pytest.raises(FlightLogError, match="cannot be read: Is a directory"):
        read_flight_log(Path(shutil.copytree(LOGS, tmp_path / f"d{path.suffix}")), LIPO_4S)


@pytest.mark.parametrize("path", [BIN, ULG, TLOG], ids=lambda path: path.suffix)
def test_a_damaged_log_is_a_flight_or_one_sentence_and_prints_nothing(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, other = path.read_bytes(), tmp_path / f"x{path.suffix}"
    sentences: list[str] = []
    random, flights = Random(1), 0  # noqa: S311 - seeded damage, not a secret
    for turn in range(36):
        if turn % 3 == 0:
            bad = data[: random.randrange(len(data))]
        elif turn % 3 == 1:
            at = random.randrange(len(data))
            bad = data[:at] + random.randbytes(64) + data[at + 64 :]
        else:
            spots = bytearray(data)
            for _ in range(20):
                spots[random.randrange(len(data))] ^= 1 << random.randrange(8)
            bad = bytes(spots)
        other.write_bytes(bad)
        try:
            list(FlightSource(read_flight_log(other, LIPO if path is ULG else LIPO_4S)).ticks())
            flights += 1
        except FlightLogError as error:
            sentences.append(str(error))
    assert flights > 12
    assert all(text.startswith(str(other)) and "\n" not in text for text in sentences)
    assert capfd.readouterr() == ("", "")
