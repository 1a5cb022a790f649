# SPDX-License-Identifier: Apache-2.0
"""Logs of earlier autopilots, of several batteries and vehicles, and of a clock that was set."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.errors import FlightLogError
from dronebms.flightlogs import FlightLog, FlightOptions, FlightSource
from dronebms.flightlogs.autopilot_logs import read_flight_log
from smartbattery.snapshot import MAX_CELLS
from tests.flightlogs.test_autopilot_logs import BAT, bin_of, rows_of, sample
from tests.flightlogs.test_hostile_logs import message, ulg_of

LIPO = FlightOptions(chemistry="lipo")
Message = tuple[int, str, str, str, bytes]


def of_cells(cells: int) -> FlightOptions:
    return FlightOptions(cells=cells, chemistry="lipo")


def log_of(folder: Path, name: str, data: bytes, cells: int = 3, battery: int = 0) -> FlightLog:
    path = folder / name
    path.write_bytes(data)
    return read_flight_log(path, of_cells(cells), battery)


# ---------------------------------------------------------------------- ArduPilot


def early_bat(kind: int, name: str, us: int, volts: float) -> Message:
    """A sample of ArduPilot 3.6 to 4.0: the battery stands in the name."""
    return kind, name, "Qffff", "TimeUS,Volt,VoltR,Curr,CurrTot", struct.pack(
        "<Qffff", us, volts, volts, 20.0, 1.0
    )  # fmt: skip


def early_bcl(kind: int, name: str, us: int, *raw: int) -> Message:
    letters, fields = "Qf" + "H" * len(raw), ",".join(f"V{k + 1}" for k in range(len(raw)))
    return kind, name, letters, f"TimeUS,Volt,{fields}", struct.pack(
        f"<Qf{len(raw)}H", us, 11.1, *raw
    )  # fmt: skip


def early_log() -> bytes:
    rows = []
    for us in range(1_000_000, 20_000_000, 1_000_000):
        rows += [
            early_bat(10, "BAT", us, 22.2),
            early_bat(11, "BAT2", us + 500, 11.1),
            early_bcl(12, "BCL", us, *[3701 + k for k in range(6)]),
            early_bcl(13, "BCL2", us + 500, 3704, 3701, 3698, 1),
        ]
    return bin_of(*rows)


def test_the_number_in_the_name_of_an_early_message_is_that_of_the_battery(tmp_path: Path) -> None:
    for battery, cells, volts, first_cell_v in ((0, 6, 22.2, 3.700), (1, 3, 11.1, 3.703)):
        log = log_of(tmp_path, "early.bin", early_log(), cells, battery)
        assert len(log.columns["t_s"]) == 19
        assert max(log.columns["voltage_v"]) == pytest.approx(volts)
        assert log.columns["cell1_v"][3] == pytest.approx(first_cell_v)
        assert log.pack_data.cells == cells
        assert f"cell{cells + 1}_v" not in log.columns


def test_the_cells_above_twelve_are_those_of_their_instance(tmp_path: Path) -> None:
    fields = ",".join(f"V{k}" for k in range(1, 13))
    rows: list[Message] = []
    for us in (1_000_000, 2_000_000):
        rows += [(*BAT, sample(us, n, 52.0)) for n in (0, 1)]
        rows += [
            (5, "BCL", "QBf" + "H" * 12, f"TimeUS,Instance,Volt,{fields}",
             struct.pack("<QBf12H", us, n, 52.0, *[3701 + 10 * n + k for k in range(12)]))
            for n in (0, 1)
        ]  # fmt: skip
        for n in (0, 1):
            cells_13_14 = struct.pack("<QBHH", us, n, 3721 + 10 * n, 3722 + 10 * n)
            rows.append((6, "BCL2", "QBHH", "TimeUS,Instance,V13,V14", cells_13_14))
    for battery in (0, 1):
        log = log_of(tmp_path, "many.bin", bin_of(*rows), 14, battery)
        (*_, last) = rows_of(log)
        assert last["cell1_v"] == pytest.approx(3.700 + 0.01 * battery)
        assert last["cell14_v"] == pytest.approx(3.721 + 0.01 * battery)


@pytest.mark.parametrize(
    ("letters", "fields", "values", "time_s"),
    [
        # DataFlash of ArduCopter 3.2, 3.3 and 3.4: hundredths without a scale, then numbers.
        ("IhIhhhf", "TimeMS,ThrOut,ThrInt,Volt,Curr,Vcc,CurrTot",
         (500, 9, 1620, 2050, 5000, 1.0), 1e-3),
        ("QhhhHfh", "TimeUS,Throttle,Volt,Curr,Vcc,CurrTot,Volt2",
         (500, 1620, 2050, 5000, 1.0, 0), 1e-6),
        ("Qfff", "TimeUS,Volt,Curr,CurrTot", (16.2, 20.5, 1.0), 1e-6),
    ],
)  # fmt: skip
def test_the_battery_of_the_earliest_logs_is_in_curr(
    tmp_path: Path, letters: str, fields: str, values: tuple[float, ...], time_s: float
) -> None:
    sizes = {"I": "I", "h": "h", "f": "f", "Q": "Q", "H": "H"}
    layout = "<" + "".join(sizes[letter] for letter in letters)
    rows = [
        (10, "CURR", letters, fields, struct.pack(layout, round(k / time_s), *values))
        for k in range(1, 60)
    ]
    log = log_of(tmp_path, "curr.bin", bin_of(*rows), 4)
    assert list(log.columns["t_s"]) == [float(k) for k in range(1, 60)]
    assert list(log.columns["voltage_v"]) == pytest.approx([16.2] * 59, rel=1e-6)
    assert list(log.columns["current_a"]) == pytest.approx([20.5] * 59, rel=1e-6)


def test_the_week_of_an_early_gps_message_is_not_its_time(tmp_path: Path) -> None:
    gps = "BIHBcLLeeEefI", "Status,TimeMS,Week,NSats,HDop,Lat,Lng,RelAlt,Alt,Spd,GCrs,VZ,T"
    rows: list[Message] = []
    for k in range(1, 20):
        rows += [
            (10, "CURR", "IhIhhhf", "TimeMS,ThrOut,ThrInt,Volt,Curr,Vcc,CurrTot",
             struct.pack("<IhIhhhf", 1000 * k, 500, 9, 1620, 2050, 5000, 1.0)),
            (11, "GPS", *gps, struct.pack("<BIHBhiiiiIifI", 3, 400_000_000 + 1000 * k, 1800, 9, 90,
                                          0, 0, 0, 0, 500, 0, -1.5, 1000 * k - 100)),
            (12, "EV", "IB", "TimeMS,Id", struct.pack("<IB", 1000 * k - 50, 10 if k > 5 else 11)),
        ]  # fmt: skip
    (*_, last) = rows_of(log_of(tmp_path, "gps.bin", bin_of(*rows), 4))
    assert last == pytest.approx(
        {"t_s": 19.0, "voltage_v": 16.2, "current_a": 20.5, "ground_speed_m_s": 5.0,
         "climb_m_s": 1.5, "armed": 1.0}
    )  # fmt: skip


@pytest.mark.parametrize("shipped_mah", [1760.0, 3300.0])
def test_a_capacity_as_shipped_is_not_that_of_the_pack(tmp_path: Path, shipped_mah: float) -> None:
    for value_mah, found_mah in ((shipped_mah, None), (5200.0, 5200.0)):
        row = struct.pack("<Q16sf", 1, b"BATT_CAPACITY", value_mah)
        data = bin_of((3, "PARM", "QNf", "TimeUS,Name,Value", row), early_bat(10, "BAT", 10, 11.1))
        assert log_of(tmp_path, "p.bin", data).pack_data.capacity_mah == found_mah


# ---------------------------------------------------------------------- PX4


def ulg(
    cells_v: list[list[float]], count: int, slots: int, volts: float, more: bytes = b""
) -> bytes:
    layout = (
        "uint64_t timestamp;float voltage_v;float current_a;float remaining;int32_t cell_count;"
        f"float[{slots}] voltage_cell_v;"
    )
    return ulg_of(layout, *(
        struct.pack(f"<Qfffi{slots}f", 1_000_000 * k, volts, 12.0, 0.8, count, *row)
        for k, row in enumerate(cells_v, 1)
    ), more=more)  # fmt: skip


def test_cells_that_px4_divided_are_not_measured(tmp_path: Path) -> None:
    for cells, slots in ((6, 10), (12, 10), (12, 14)):
        filled = [3.7] * min(cells, slots) + [0.0] * (slots - min(cells, slots))
        log = log_of(tmp_path, "d.ulg", ulg([filled] * 20, cells, slots, 3.7 * cells), cells)
        assert log.pack_data.cells == cells
        assert not any(name.startswith(("cell", "gauge")) for name in log.columns)
        assert "divided" in log.notes[0]
        log = read_flight_log(tmp_path / "d.ulg", LIPO)
        assert log.pack_data.cells == cells


def test_a_dronecan_battery_in_the_first_cell_is_no_pack_of_one_cell(tmp_path: Path) -> None:
    data = ulg([[22.2, 0.0, 0.0, 0.0]] * 20, 1, 4, 22.2)
    assert "cell1_v" not in log_of(tmp_path, "c.ulg", data, 6).columns
    with pytest.raises(FlightLogError, match="needs cells: give --cells"):
        read_flight_log(tmp_path / "c.ulg", LIPO)


def test_the_cells_that_a_log_has_no_room_for_are_unknown(tmp_path: Path) -> None:
    rows = [[3.70 + 0.001 * ((k + n) % 9) for k in range(10)] for n in range(20)]
    log = log_of(tmp_path, "m.ulg", ulg(rows, 12, 10, 44.4), 12)
    source = FlightSource(log)
    cells_v = source.poll(20.0).cells_v
    assert len(cells_v) == 12
    assert cells_v[9] == pytest.approx(rows[-1][9])
    assert cells_v[10:] == (None, None)


# ---------------------------------------------------------------------- telemetry

SECOND_S = 1.7e9


def beat(*, armed: bool) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_heartbeat_message(2, 3, 128 if armed else 0, 4, 4, 3)


def battery(mv: int, number: int = 0) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_battery_status_message(
        number, 0, 1, 2500, [mv] + [65_535] * 9, 2000, 100, -1, 80, 0, 1, [0] * 4, 0, 0
    )


def summary(mv: int) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_sys_status_message(0, 0, 0, 100, mv, 2000, 80, 0, 0, 0, 0, 0, 0)


def boot_time(ms: int) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_system_time_message(0, ms)


Row = tuple[float, int, mavlink.MAVLink_message]


def tlog_of(*rows: Row) -> bytes:
    senders = {system: mavlink.MAVLink(None, system, 1) for system in range(256)}
    return b"".join(
        struct.pack(">Q", round(at_s * 1e6)) + message.pack(senders[system])
        for at_s, system, message in rows
    )


def test_the_vehicles_of_a_telemetry_log_are_apart(tmp_path: Path) -> None:
    rows: list[Row] = []
    for k in range(30):
        at_s = SECOND_S + k
        rows += [(at_s, 1, beat(armed=False)), (at_s + 0.1, 1, battery(22_200)),
                 (at_s + 0.2, 2, beat(armed=True)), (at_s + 0.3, 2, battery(11_100, 3)),
                 (at_s + 0.4, 2, battery(11_400, 5))]  # fmt: skip
    expected = ((22.2, 0.0, 6), (11.1, 1.0, 3), (11.4, 1.0, 3))
    for number, (volts, armed, cells) in enumerate(expected):
        log = log_of(tmp_path, "v.tlog", tlog_of(*rows), cells, number)
        assert set(log.columns["voltage_v"]) == {volts}
        assert set(log.columns["armed"]) == {armed}
        assert len(log.columns["t_s"]) == 30
    with pytest.raises(
        FlightLogError,
        match=r"no sample of battery 4; it has samples of battery 1 \(system 1, component 1, id 0\)"
        r", battery 2 \(system 2, component 1, id 3\), battery 3 \(system 2, component 1, id 5\)$",
    ):
        read_flight_log(tmp_path / "v.tlog", LIPO, 3)


def test_sys_status_is_the_battery_of_a_vehicle_without_battery_status(tmp_path: Path) -> None:
    rows: list[Row] = [(SECOND_S + k, 1, summary(16_200 - k)) for k in range(60)]
    log = log_of(tmp_path, "s.tlog", tlog_of(*rows), 4)
    assert list(log.columns["voltage_v"]) == pytest.approx([16.2 - k / 1000 for k in range(60)])
    assert set(log.columns["current_a"]) == {20.0}
    assert not any(name.startswith(("cell", "gauge")) for name in log.columns)
    both = [*rows, *((at_s, system, battery(15_000)) for at_s, system, _ in rows)]
    log = log_of(tmp_path, "b.tlog", tlog_of(*both), 4)
    assert set(log.columns["voltage_v"]) == {15.0}


def without_volts(number: int = 0) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_battery_status_message(
        number, 0, 1, 32_767, [65_535] * 10, 2000, -1, -1, 80
    )  # fmt: skip


def test_the_voltage_of_a_component_may_be_in_its_sys_status_alone(tmp_path: Path) -> None:
    gimbal = mavlink.MAVLink(None, 1, 154)
    frames, with_gimbal = [], b""
    for k in range(60):
        both: list[Row] = [
            (SECOND_S + k, 1, summary(16_200 - k)),
            (SECOND_S + k, 1, without_volts()),
        ]
        frames += both
        stamp = struct.pack(">Q", round((SECOND_S + k + 0.5) * 1e6))
        with_gimbal += tlog_of(both[k % 2], both[1 - k % 2]) + stamp + battery(7_400).pack(gimbal)
    alone = log_of(tmp_path, "v.tlog", tlog_of(*frames), 4)
    log = log_of(tmp_path, "v.tlog", with_gimbal, 4)
    for read in (alone, log):
        assert list(read.columns["voltage_v"]) == pytest.approx(
            [16.2 - k / 1000 for k in range(60)]
        )
    assert alone.notes == ()
    assert log.notes == (
        "v.tlog has samples of battery 1 (system 1, component 1, SYS_STATUS), battery 2 "
        "(system 1, component 154, id 0); battery 1 (system 1, component 1, SYS_STATUS) is read",
    )
    gimbal_log = log_of(tmp_path, "v.tlog", with_gimbal, 2, battery=1)
    assert set(gimbal_log.columns["voltage_v"]) == {7.4}


def test_samples_without_a_voltage_are_one_sentence(tmp_path: Path) -> None:
    for data in (
        tlog_of(*((SECOND_S + k, 1, without_volts()) for k in range(60))),
        tlog_of(*((SECOND_S + k, 1, summary(65_535)) for k in range(60))),
    ):
        with pytest.raises(FlightLogError, match=r"v\.tlog: voltage_v has no value but 0 and unkn"):
            log_of(tmp_path, "v.tlog", data, 4)
    zeros = bin_of(*(early_bat(10, "BAT", k * 1_000_000, 0.0) for k in range(1, 20)))
    with pytest.raises(FlightLogError, match=r"z\.bin: voltage_v has no value but 0 and unknown"):
        log_of(tmp_path, "z.bin", zeros)


@pytest.mark.parametrize("data", [b"", b"no log at all\n" * 99, bytes(5000)])
def test_a_file_without_messages_is_no_telemetry_log(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FlightLogError, match=r"n\.tlog is not a \.tlog log"):
        log_of(tmp_path, "n.tlog", data)


def seconds_of(kind: str, seconds: list[float]) -> bytes:
    """A log of an autopilot whose samples have these times."""
    us = [round(t_s * 1e6) for t_s in seconds]
    if kind == "bin":
        return bin_of(*(early_bat(10, "BAT", t_us, 11.1 - k * 0.01) for k, t_us in enumerate(us)))
    fields = "uint64_t timestamp;float voltage_v;float current_a;float remaining"
    samples = (struct.pack("<Qfff", t_us, 11.1 - k * 0.01, 9, 0.9) for k, t_us in enumerate(us))
    return ulg_of(fields, *samples)


@pytest.mark.parametrize("kind", ["bin", "ulg"])
def test_a_log_of_two_boots_is_not_mixed(tmp_path: Path, kind: str) -> None:
    times_s = [*range(5, 65), *range(2, 50)]
    with pytest.raises(
        FlightLogError, match=r"goes back from 64\.0 to 2\.0 s: logs of two boots\?"
    ):
        log_of(tmp_path, f"two.{kind}", seconds_of(kind, [*map(float, times_s)]))


@pytest.mark.parametrize("kind", ["bin", "ulg"])
@pytest.mark.parametrize("place", [0, 1, 30, 58, 59])
@pytest.mark.parametrize("damaged_s", [0.0, 4_000.0, 9e5, 9e9])
def test_one_damaged_time_does_not_lose_a_log(
    tmp_path: Path, kind: str, place: int, damaged_s: float
) -> None:
    times_s = [100.0 + k for k in range(60)]
    data = seconds_of(kind, [*times_s[:place], damaged_s, *times_s[place + 1 :]])
    found = log_of(tmp_path, f"d.{kind}", data).columns["t_s"]
    undecided = (place, damaged_s) in {(0, 0.0), (59, 4_000.0)}  # may be a gap
    expected = times_s[:place] + times_s[place + 1 :]
    assert list(found) == pytest.approx(sorted([*expected, damaged_s]) if undecided else expected)


def test_a_temperature_that_px4_has_not_is_unknown(tmp_path: Path) -> None:
    fields = "uint64_t timestamp;float voltage_v;float current_a;float remaining;float temperature"
    for degc, is_known in ((0.0, False), (21.5, True)):
        samples = (struct.pack("<Qffff", k * 1_000_000, 11.1, 9, 0.9, degc) for k in range(1, 60))
        log = log_of(tmp_path, "t.ulg", ulg_of(fields, *samples))
        assert ("temperature_degc" in log.columns) is is_known


def flight(steps_s: dict[int, float], gaps_s: dict[int, float], *, has_boot: bool) -> Iterator[Row]:
    """A flight of 300 s at 1 Hz; the clock of the log is set, the link is away."""
    stamp_s, boot_s = SECOND_S, 100.0
    for k in range(300):
        away_s = gaps_s.get(k, 0.0)
        stamp_s += 1.0 + away_s + steps_s.get(k, 0.0)
        boot_s += 1.0 + away_s
        yield stamp_s, 1, beat(armed=True)
        yield stamp_s + 0.1, 1, battery(22_200 - 10 * k)
        if has_boot:
            yield stamp_s + 0.2, 1, boot_time(round(1000 * (boot_s + 0.2)))


@pytest.mark.parametrize("step_s", [-1.69e9, -3600.0, -30.5, 30.5, 3600.0, 3e8])
@pytest.mark.parametrize("at", [1, 30, 298])
def test_a_clock_that_is_set_neither_loses_nor_stretches_a_flight(
    tmp_path: Path, step_s: float, at: int
) -> None:
    for has_boot in (True, False):
        if not has_boot and 0 < step_s < 86_400:
            continue  # nothing shows that it is no gap of the link
        rows = flight({at: step_s}, {}, has_boot=has_boot)
        columns = log_of(tmp_path, "c.tlog", tlog_of(*rows), 6).columns
        assert len(columns["t_s"]) >= 299
        assert list(columns["voltage_v"]) == sorted(columns["voltage_v"], reverse=True)
        assert columns["t_s"][-1] - columns["t_s"][0] == pytest.approx(299.0, abs=1.5)


@pytest.mark.parametrize("has_boot", [True, False])
def test_a_gap_of_the_link_stays_a_gap(tmp_path: Path, *, has_boot: bool) -> None:
    rows = list(flight({}, {100: 60.0, 200: 400.0}, has_boot=has_boot))
    columns = log_of(tmp_path, "g.tlog", tlog_of(*rows), 6).columns
    assert columns["t_s"][-1] - columns["t_s"][0] == pytest.approx(299.0 + 460.0)
    assert columns["t_s"][100] - columns["t_s"][99] == pytest.approx(61.0)


def test_a_clock_set_during_a_gap_leaves_the_gap(tmp_path: Path) -> None:
    rows = flight({150: -7200.0, 250: 7200.0}, {150: 60.0}, has_boot=True)
    columns = log_of(tmp_path, "x.tlog", tlog_of(*rows), 6).columns
    assert columns["t_s"][-1] - columns["t_s"][0] == pytest.approx(299.0 + 60.0, abs=1.5)
    assert columns["t_s"][150] - columns["t_s"][149] == pytest.approx(61.0, abs=1.5)


# ---------------------------------------------------------------------- all of them


def test_the_batteries_that_a_log_has_are_named(tmp_path: Path) -> None:
    with pytest.raises(FlightLogError, match=r"battery 3; it has samples of battery 1, battery 2$"):
        log_of(tmp_path, "early.bin", early_log(), 3, 2)
    second = ulg([[0.0]] * 20, 0, 1, 11.1).replace(
        b"A" + struct.pack("<BH", 0, 7), b"A" + struct.pack("<BH", 1, 7)
    )
    with pytest.raises(FlightLogError, match=r"battery 1; it has samples of battery 2$"):
        log_of(tmp_path, "second.ulg", second)
    assert len(log_of(tmp_path, "second.ulg", second, 3, 1).columns["t_s"]) == 20
    log = log_of(tmp_path, "early.bin", early_log(), 6)
    assert log.notes == ("early.bin has samples of battery 1, battery 2; battery 1 is read",)


@pytest.mark.parametrize(
    ("cells", "cause"),
    [(1, "more cells"), (3, "more cells")]
    + [(cells, "of one cell, or another pack") for cells in (20, MAX_CELLS)],
)
def test_cells_that_the_voltage_of_a_log_cannot_be_of_are_refused(
    tmp_path: Path, cells: int, cause: str
) -> None:
    row = struct.pack("<QBfffffhfBBB", 1, 0, 23.4, 23.4, 9.5, 1.0, 1.0, 0, 0.0, 77, 1, 0)
    with pytest.raises(
        FlightLogError, match=rf"voltage_v 23.4 is not that of {cells} cells: {cause}\?"
    ):
        log_of(tmp_path, "w.bin", bin_of((*BAT, row)), cells)


SMALL_UID = "000600000000383638393239510d0035002d"  # that pyulog prints
UDID = bytes(range(0x21, 0x2D))  # of an STM32
GUID = bytes([0, 6, 0, 0, 0, 0, *UDID])  # PX4's form of it


def version(uid2: bytes) -> mavlink.MAVLink_message:
    zeros = [0] * 8
    return mavlink.MAVLink_autopilot_version_message(
        0, 0, 0, 0, 0, zeros, zeros, zeros, 0, 0, 0, list(uid2.ljust(18, b"\0"))
    )


@pytest.mark.parametrize("uid2", [UDID, GUID])
def test_every_log_names_the_board_as_its_autopilot_does(tmp_path: Path, uid2: bytes) -> None:
    rows: list[Row] = [(SECOND_S, 1, beat(armed=True)), (SECOND_S, 1, version(uid2))]
    rows += [(SECOND_S + k, 1, summary(16_200)) for k in range(5)]
    telemetry = log_of(tmp_path, "u.tlog", tlog_of(*rows), 4)
    assert telemetry.uid == FlightSource(telemetry).vehicle(1.0).uid == uid2.hex()
    if uid2 == UDID:
        board = "CubeOrange {:08X} {:08X} {:08X}".format(*struct.unpack("<3I", UDID))
        text = (9, "MSG", "QZ", "TimeUS,Message", struct.pack("<Q64s", 1, b"ArduCopter V4.6.1")), (
            9, "MSG", "QZ", "TimeUS,Message", struct.pack("<Q64s", 2, board.encode()))  # fmt: skip
        own = log_of(tmp_path, "u.bin", bin_of(*text, early_bat(10, "BAT", 10, 11.1)))
    else:
        info = b"\x11char[36] sys_uuid" + GUID.hex().encode()
        own = log_of(tmp_path, "u.ulg", ulg([[0.0]] * 20, 0, 1, 11.1, message("I", info)))
    assert own.uid == FlightSource(own).vehicle(1.0).uid == uid2.hex()


def test_a_text_that_is_no_id_names_no_board(tmp_path: Path) -> None:
    row = struct.pack("<Q64s", 1, b"EKF3 IMU0 00330033 is using GPS")
    messages = (9, "MSG", "QZ", "TimeUS,Message", row), early_bat(10, "BAT", 10, 11.1)
    assert log_of(tmp_path, "n.bin", bin_of(*messages)).uid is None
    info = message("I", b"\x11char[36] sys_uuid" + b"0" * 36)
    assert log_of(tmp_path, "n.ulg", ulg([[0.0]] * 20, 0, 1, 11.1, info)).uid is None


@pytest.mark.parametrize(
    ("name", "cells", "number", "samples", "volts", "uid"),
    [
        ("dronekit_flight.tlog", 3, 0, 2868, (10.5, 12.4), None),
        ("pymavlink_test.bin", 3, 0, None, (10.0, 13.0), "290036000351363031373231"),
        ("pyulog_sample_log_small.ulg", 6, 0, None, (22.0, 24.0), SMALL_UID),
        ("pyulog_sample_log_small.ulg", 12, 1, None, (49.0, 51.0), SMALL_UID),
    ],
)
def test_public_logs_are_read(
    name: str,
    cells: int,
    number: int,
    samples: int | None,
    volts: tuple[float, float],
    uid: str | None,
) -> None:
    folder = os.environ.get("DRONEBMS_FLIGHTS")
    if folder is None or not (Path(folder) / "logs" / name).exists():
        pytest.skip("no public logs: set DRONEBMS_FLIGHTS to the folder that contains logs/")
    log = read_flight_log(Path(folder) / "logs" / name, of_cells(cells), number)
    known = sorted(log.columns["voltage_v"])
    middle = known[len(known) // 2]
    assert volts[0] < middle < volts[1]
    assert not any(column.startswith("cell") for column in log.columns)
    assert samples is None or abs(len(known) - samples) <= 5
    assert log.uid == uid
