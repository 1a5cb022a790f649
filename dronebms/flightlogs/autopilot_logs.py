"""Logs of autopilots as flight logs: ArduPilot .bin, PX4 .ulg, and .tlog of ground stations.

Every battery sample is a row, together with the cells and the vehicle's state logged since the row
before. Columns and units are in docs/flight_logs.md; a value that is not logged is an empty field.
Seconds are the autopilot's since its boot, in a .tlog since the first message.
Source: ArduPilot AP_BattMonitor/LogStructure.h (a cell is logged 1 mV too high, an unknown
temperature as 0), PX4 msg/BatteryStatus.msg and VehicleStatus.msg, MAVLink common.xml.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from math import hypot, isfinite, nan
from pathlib import Path
from typing import Any, TypeAlias

from pymavlink.DFReader import DFReader_binary
from pymavlink.dialects.v20 import common as mavlink
from pyulog import ULog
from pyulog.exceptions import ULogException

from dronebms.core.errors import FlightLogError
from dronebms.flightlogs.csv_log import read_csv_log
from dronebms.flightlogs.flight_log import (
    LONGEST_GAP_S,
    MAX_CELLS,
    VEHICLE_COLUMNS,
    FlightLog,
    check_cells,
)
from dronebms.flightlogs.sidecar import FlightOptions, read_pack_data
from mavlink_bridge.protocol.autopilot import Autopilot, wind_of

Event: TypeAlias = tuple[float, dict[str, float]]  # time, values by column
Row: TypeAlias = dict[str, Any]
Logged: TypeAlias = dict[str, object]  # rated data of the pack, by the keys of a sidecar
_LASTING = ("armed", "home_lat_deg", "home_lon_deg")  # logged once, valid until the next
_US_PER_S = 1e6
_MILLI = 1e-3
_STDERR = 2
_BIN, _ULG = b"\xa3\x95\x80\x80", b"ULog\x01\x12\x35"
_ARMED = 2  # VehicleStatus.arming_state
_HOME = 1  # ORGN.Type
_ABSENT_MV = (0, 65_535)
_CELL_MV = 5000  # a higher voltage is not that of a cell
_HUNDREDTH = 0.01
_NO_TEMPERATURE = 32_767
_STAMP = struct.Struct(">Q")  # microseconds before each frame
_V2 = 0xFD
_FRAMES = {_V2: 12, 0xFE: 8}  # first byte of a frame: bytes in addition to its payload
_SIGNATURE = 13
# Errors that pymavlink and pyulog raise on damaged logs.
_BROKEN = (AttributeError, LookupError, TypeError, ValueError, ULogException, struct.error)


def read_flight_log(path: Path, options: FlightOptions, battery: int = 0) -> FlightLog:
    """Read the log of an autopilot, or a table by `read_csv_log`.

    Args:
        path: the log; its ending selects the format.
        options: rated data of the pack that the user gives.
        battery: index of the vehicle's battery, from 0.

    Raises:
        FlightLogError: the log cannot be read, in one sentence.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        return read_csv_log(path, options=options)
    magic, events = reader
    logged: Logged = {}
    try:
        with path.open("rb") as file:
            begin = file.read(len(magic))
        if begin != magic:
            raise FlightLogError(f"{path} is not a {path.suffix} log, or its beginning is damaged")
        with _silence():
            rows = _rows(events(path, battery, logged), path)
    except OSError as error:
        raise FlightLogError(f"{path} cannot be read: {error.strerror or error}") from error
    except _BROKEN as error:
        raise FlightLogError(f"{path} is damaged: {error!r:.80}") from error
    if not rows:
        raise FlightLogError(f"{path} has no sample of battery {battery + 1}")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name, nan) for row in rows] for name in names}
    cells = [int(name[4:-2]) for name in names if name.startswith("cell")]
    if cells:
        logged["cells"] = max(cells)
    else:  # without cells there is no gauge: the percentage is counted from a parameter
        columns.pop("gauge_soc_pct", None)
    pack_data = read_pack_data(path, path.with_suffix(".json"), options, logged)
    check_cells(columns, pack_data.cells, path)
    return FlightLog(path.stem, pack_data, columns)


@contextmanager
def _silence() -> Iterator[None]:
    """Discard the output of the log readers, one of them in C, on damaged logs."""
    stderr = os.dup(_STDERR)
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        try:
            os.dup2(nothing.fileno(), _STDERR)
            yield
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)


def _rows(events: Iterable[Event], path: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    lasting: dict[str, float] = {}
    pending: dict[str, float] = {}
    for t_s, event in sorted(events, key=lambda event: event[0]):
        values = {name: value for name, value in event.items() if isfinite(value)}
        lasting |= {name: values[name] for name in _LASTING if name in values}
        if rows and t_s - rows[-1]["t_s"] > LONGEST_GAP_S:
            raise FlightLogError(f"{path}: more than a day before {t_s:.0f} s is missing")
        if rows and rows[-1]["t_s"] == t_s:
            rows[-1] |= values
        elif "voltage_v" in event:
            rows.append({"t_s": t_s} | dict.fromkeys(("voltage_v", "current_a"), nan))
            rows[-1] |= lasting | pending | values
            pending = {}
        else:
            pending |= values
    return rows


def _wind(north_m_s: float, east_m_s: float) -> dict[str, float]:
    """Wind from its north and east components; exactly 0 means that it is not estimated."""
    if north_m_s == 0 == east_m_s:
        return {}
    return dict(zip(("wind_m_s", "wind_from_deg"), wind_of(north_m_s, east_m_s), strict=True))


# ---------------------------------------------------------------------- ArduPilot


def _of_bin(path: Path, battery: int, logged: Logged) -> Iterator[Event]:
    log = DFReader_binary(str(path))
    capacity = f"BATT{battery + 1 if battery else ''}_CAPACITY"
    try:
        while (row := log.recv_match(type=[*_BIN_ROWS, "PARM"])) is not None:
            kind, values = row.get_type(), row.to_dict()
            if kind != "PARM":
                if values.get("Inst", values.get("Instance", battery)) == battery:
                    yield row.TimeUS / _US_PER_S, _BIN_ROWS[kind](values)
            elif row.Name == capacity and row.Value > 0 and row.Value != values.get("Default"):
                logged["capacity_mah"] = row.Value  # set by the user
    finally:
        log.filehandle.close()


def _bin_cells(row: Row) -> dict[str, float]:
    """Cell voltages; 0 and 1 mean that there is no such cell."""
    numbered = [(name[1:], raw) for name, raw in row.items() if name[1:].isdigit()]
    return {f"cell{number}_v": (raw - 1) * _MILLI for number, raw in numbered if raw > 1}


_BIN_ROWS: Mapping[str, Callable[[Row], dict[str, float]]] = {
    "BAT": lambda row: {
        "voltage_v": row["Volt"],
        "current_a": row["Curr"],
        "temperature_degc": row.get("Temp") or nan,
        "gauge_soc_pct": row.get("RemPct", nan),
    },
    "BCL": _bin_cells,
    "BCL2": _bin_cells,
    "ARM": lambda row: {"armed": row["ArmState"]},
    "POS": lambda row: {"lat_deg": row["Lat"], "lon_deg": row["Lng"], "alt_m": row["Alt"]},
    "GPS": lambda row: (
        {} if row.get("I") else {"ground_speed_m_s": row["Spd"], "climb_m_s": -row["VZ"]}
    ),
    "XKF2": lambda row: {} if row.get("C") else _wind(row["VWN"], row["VWE"]),
    "ORGN": lambda row: (
        {"home_lat_deg": row["Lat"], "home_lon_deg": row["Lng"]} if row["Type"] == _HOME else {}
    ),
}


# ---------------------------------------------------------------------- PX4


def _of_ulg(path: Path, battery: int, logged: Logged) -> Iterator[Event]:
    with path.open("rb") as file:
        log = ULog(file, list(_ULG_ROWS))
    for topic in log.data_list:
        if topic.multi_id == (battery if topic.name == _ULG_BATTERY else 0):
            names = list(topic.data)
            for values in zip(*[column.tolist() for column in topic.data.values()], strict=True):
                row = dict(zip(names, values, strict=True))
                if topic.name == _ULG_BATTERY and row.get("cell_count"):
                    logged["cells"] = row["cell_count"]
                yield row["timestamp"] / _US_PER_S, _ULG_ROWS[topic.name](row)
    capacity_mah = log.initial_parameters.get(f"BAT{battery + 1}_CAPACITY", 0)
    if capacity_mah > 0:
        logged["capacity_mah"] = float(capacity_mah)


def _ulg_battery(row: Row) -> dict[str, float]:
    """Battery sample; 0 V, -1 A and a charge of -1 are unknown, a cell of 0 V does not exist."""
    cells_v = (row.get(f"voltage_cell_v[{k}]", 0.0) for k in range(MAX_CELLS))
    return {
        "voltage_v": row["voltage_v"] or nan,
        "current_a": nan if row["current_a"] == -1 else row["current_a"],
        "temperature_degc": row.get("temperature", nan),
        "gauge_soc_pct": nan if row["remaining"] < 0 else row["remaining"] * 100,
        **{f"cell{k}_v": cell_v for k, cell_v in enumerate(cells_v, 1) if cell_v > 0},
    }


_ULG_BATTERY = "battery_status"
_ULG_ROWS: Mapping[str, Callable[[Row], dict[str, float]]] = {
    _ULG_BATTERY: _ulg_battery,
    "vehicle_status": lambda row: {"armed": float(row["arming_state"] == _ARMED)},
    "vehicle_global_position": lambda row: {
        "lat_deg": row["lat"], "lon_deg": row["lon"], "alt_m": row["alt"],
    },
    "vehicle_local_position": lambda row: {
        "ground_speed_m_s": hypot(row["vx"], row["vy"]), "climb_m_s": -row["vz"],
    },
    "wind": lambda row: _wind(row["windspeed_north"], row["windspeed_east"]),
    "home_position": lambda row: {"home_lat_deg": row["lat"], "home_lon_deg": row["lon"]},
}  # fmt: skip


# ---------------------------------------------------------------------- MAVLink


def _of_tlog(path: Path, battery: int, _logged: Logged) -> Iterator[Event]:
    """Yield the samples of one source of BATTERY_STATUS: by component, then by id."""
    messages = list(_messages(path.read_bytes()))
    autopilot = Autopilot(0)
    reports = [message for _, message in messages if message.get_type() == "BATTERY_STATUS"]
    sources = sorted({(message.get_srcComponent(), message.id) for message in reports})
    chosen = sources[battery : battery + 1]
    for at_us, message in messages:
        t_s = (at_us - messages[0][0]) / _US_PER_S
        autopilot.receive(message, t_s)
        is_battery = message.get_type() == "BATTERY_STATUS"
        if is_battery and (message.get_srcComponent(), message.id) in chosen:
            state = asdict(autopilot.state(t_s))
            names = (row.name for row in VEHICLE_COLUMNS if state[row.field] is not None)
            yield t_s, _sample(message) | {name: float(state[name]) for name in names}


def _messages(data: bytes) -> Iterator[tuple[int, mavlink.MAVLink_message]]:
    """Yield (microseconds, message) of each valid frame; damaged bytes are skipped."""
    codec = mavlink.MAVLink(None)
    place = 0
    while place + _STAMP.size + 2 < len(data):
        begin = place + _STAMP.size
        size = _FRAMES.get(data[begin], 0)
        size += data[begin + 1] + (_SIGNATURE if data[begin] == _V2 and data[begin + 2] & 1 else 0)
        message = None
        if data[begin] in _FRAMES:
            try:
                message = codec.decode(bytearray(data[begin : begin + size]))
            except mavlink.MAVError:
                pass
        if message is not None:
            yield _STAMP.unpack_from(data, place)[0], message
        place = place + 1 if message is None else begin + size


def _sample(message: mavlink.MAVLink_message) -> dict[str, float]:
    """Battery sample; one voltage, or several above 5 V, add up to the pack, others are cells."""
    raw = [mv for mv in (*message.voltages, *message.voltages_ext) if mv not in _ABSENT_MV]
    are_cells = len(raw) > 1 and max(raw) < _CELL_MV
    cells = {f"cell{k}_v": mv * _MILLI for k, mv in enumerate(raw, 1)} if are_cells else {}
    amps, degc, pct = message.current_battery, message.temperature, message.battery_remaining
    return {
        "voltage_v": sum(raw) * _MILLI if raw else nan,
        "current_a": nan if amps == -1 else amps * _HUNDREDTH,
        "temperature_degc": nan if degc == _NO_TEMPERATURE else degc * _HUNDREDTH,
        "gauge_soc_pct": nan if pct < 0 else pct,
        **cells,
    }


_READERS = {".bin": (_BIN, _of_bin), ".ulg": (_ULG, _of_ulg), ".tlog": (b"", _of_tlog)}
