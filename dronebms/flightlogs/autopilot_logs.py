"""Flight controllers' logs as flights: ArduPilot .bin, PX4 .ulg, and .tlog of ground stations.

Every battery sample is a row; beside it stands what was said of cells and vehicle since the row
before. Columns and units as in DESIGN.md, section 4; what a log does not know stays empty. Seconds
are the flight controller's since its boot, in a .tlog since the first message.
Source: ArduPilot AP_BattMonitor/LogStructure.h (a cell is logged 1 mV too high, no temperature as
0), PX4 msg/BatteryStatus.msg and VehicleStatus.msg, MAVLink common.xml.
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
from dronebms.flightlogs.columns import MAX_CELLS, VEHICLE_COLUMNS
from dronebms.flightlogs.csv_table import check_cells
from dronebms.flightlogs.sidecar import FlightOptions, read_pack_data
from dronebms.flightlogs.source import FlightLog, read_csv_log
from mavlink_bridge.protocol.autopilot import Autopilot, wind_of

Event: TypeAlias = tuple[float, dict[str, float]]  # when, values by column
Row: TypeAlias = dict[str, Any]
Found: TypeAlias = dict[str, object]  # what the log tells of the pack, by the keys of a sidecar
_LASTING = ("armed", "home_lat_deg", "home_lon_deg")  # said once, and true until it is said anew
_LONGEST_GAP_S = 86_400.0
_US_PER_S, _MM = 1e6, 1e-3
_STDERR = 2
_BIN, _ULG = b"\xa3\x95\x80\x80", b"ULog\x01\x12\x35"
_ARMED = 2  # VehicleStatus.arming_state
_HOME = 1  # ORGN.Type
_ABSENT_MV = (0, 65_535)
_CELL_MV = 5000  # more is no cell
_HUNDREDTH = 0.01
_NO_TEMPERATURE = 32_767
_STAMP = struct.Struct(">Q")  # microseconds before each frame
_V2 = 0xFD
_FRAMES = {_V2: 12, 0xFE: 8}  # first byte of a frame: bytes beside its payload
_SIGNATURE = 13
# What the readers of others raise on bytes that are no log.
_BROKEN = (AttributeError, LookupError, TypeError, ValueError, ULogException, struct.error)


def read_flight_log(path: Path, options: FlightOptions, battery: int = 0) -> FlightLog:
    """Return the flight of a log, or of a table of `read_csv_log`.

    Args:
        path: its ending says what it is.
        options: what the user knows of the pack.
        battery: which one of the vehicle, from 0.

    Raises:
        FlightError: it cannot be read, in one sentence.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        return read_csv_log(path, options=options)
    magic, events = reader
    found: Found = {}
    try:
        with path.open("rb") as file:
            begin = file.read(len(magic))
        if begin != magic:
            raise FlightLogError(f"{path} is no {path.suffix} log, or damaged from its beginning")
        with _silence():
            rows = _rows(events(path, battery, found), path)
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
        found["cells"] = max(cells)
    else:  # a percentage that is counted from nothing but a parameter is no gauge's
        columns.pop("gauge_soc_pct", None)
    pack_data = read_pack_data(path, path.with_suffix(".json"), options, found)
    check_cells(columns, pack_data.cells, path)
    return FlightLog(path.stem, pack_data, columns)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep other people's readers, one of them in C, from printing what they find damaged."""
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
    for t_s, said in sorted(events, key=lambda event: event[0]):
        values = {name: value for name, value in said.items() if isfinite(value)}
        lasting |= {name: values[name] for name in _LASTING if name in values}
        if rows and t_s - rows[-1]["t_s"] > _LONGEST_GAP_S:
            raise FlightLogError(f"{path}: more than a day lies before {t_s:.0f} s")
        if rows and rows[-1]["t_s"] == t_s:
            rows[-1] |= values
        elif "voltage_v" in said:
            rows.append({"t_s": t_s} | dict.fromkeys(("voltage_v", "current_a"), nan))
            rows[-1] |= lasting | pending | values
            pending = {}
        else:
            pending |= values
    return rows


def _wind(north_m_s: float, east_m_s: float) -> dict[str, float]:
    """Return the wind by where it goes to; exactly none is one that is not estimated."""
    if north_m_s == 0 == east_m_s:
        return {}
    return dict(zip(("wind_m_s", "wind_from_deg"), wind_of(north_m_s, east_m_s), strict=True))


# ---------------------------------------------------------------------- ArduPilot


def _of_bin(path: Path, battery: int, found: Found) -> Iterator[Event]:
    log = DFReader_binary(str(path))
    capacity = f"BATT{battery + 1 if battery else ''}_CAPACITY"
    try:
        while (row := log.recv_match(type=[*_BIN_ROWS, "PARM"])) is not None:
            kind, said = row.get_type(), row.to_dict()
            if kind != "PARM":
                if said.get("Inst", said.get("Instance", battery)) == battery:
                    yield row.TimeUS / _US_PER_S, _BIN_ROWS[kind](said)
            elif row.Name == capacity and row.Value > 0 and row.Value != said.get("Default"):
                found["capacity_mah"] = row.Value  # somebody has set it
    finally:
        log.filehandle.close()


def _bin_cells(row: Row) -> dict[str, float]:
    """Return the cells; 0 and 1 are those that a pack has not."""
    numbered = [(name[1:], raw) for name, raw in row.items() if name[1:].isdigit()]
    return {f"cell{number}_v": (raw - 1) * _MM for number, raw in numbered if raw > 1}


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


def _of_ulg(path: Path, battery: int, found: Found) -> Iterator[Event]:
    with path.open("rb") as file:
        log = ULog(file, list(_ULG_ROWS))
    for topic in log.data_list:
        if topic.multi_id == (battery if topic.name == _ULG_BATTERY else 0):
            names = list(topic.data)
            for values in zip(*[column.tolist() for column in topic.data.values()], strict=True):
                row = dict(zip(names, values, strict=True))
                if topic.name == _ULG_BATTERY and row.get("cell_count"):
                    found["cells"] = row["cell_count"]
                yield row["timestamp"] / _US_PER_S, _ULG_ROWS[topic.name](row)
    capacity_mah = log.initial_parameters.get(f"BAT{battery + 1}_CAPACITY", 0)
    if capacity_mah > 0:
        found["capacity_mah"] = float(capacity_mah)


def _ulg_battery(row: Row) -> dict[str, float]:
    """Return a sample; 0 V, -1 A and a charge of -1 are unknown, 0 V a cell that is not there."""
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


def _of_tlog(path: Path, battery: int, _found: Found) -> Iterator[Event]:
    """Yield the samples of one source of BATTERY_STATUS: by component, then by id."""
    heard, autopilot = list(_messages(path.read_bytes())), Autopilot(0)
    told = [message for _, message in heard if message.get_type() == "BATTERY_STATUS"]
    sources = sorted({(message.get_srcComponent(), message.id) for message in told})
    chosen = sources[battery : battery + 1]
    for at_us, message in heard:
        t_s = (at_us - heard[0][0]) / _US_PER_S
        autopilot.receive(message, t_s)
        is_battery = message.get_type() == "BATTERY_STATUS"
        if is_battery and (message.get_srcComponent(), message.id) in chosen:
            state = asdict(autopilot.state(t_s))
            names = (row.name for row in VEHICLE_COLUMNS if state[row.field] is not None)
            yield t_s, _sample(message) | {name: float(state[name]) for name in names}


def _messages(data: bytes) -> Iterator[tuple[int, mavlink.MAVLink_message]]:
    """Yield (microseconds, message) of what is whole; what is not is passed over."""
    codec, place = mavlink.MAVLink(None), 0
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
    """Return a sample; what is one number alone is the pack's voltage, or a part of it."""
    raw = [mv for mv in (*message.voltages, *message.voltages_ext) if mv not in _ABSENT_MV]
    are_cells = len(raw) > 1 and max(raw) < _CELL_MV
    cells = {f"cell{k}_v": mv * _MM for k, mv in enumerate(raw, 1)} if are_cells else {}
    amps, degc, pct = message.current_battery, message.temperature, message.battery_remaining
    return {
        "voltage_v": sum(raw) * _MM if raw else nan,
        "current_a": nan if amps == -1 else amps * _HUNDREDTH,
        "temperature_degc": nan if degc == _NO_TEMPERATURE else degc * _HUNDREDTH,
        "gauge_soc_pct": nan if pct < 0 else pct,
        **cells,
    }


_READERS = {".bin": (_BIN, _of_bin), ".ulg": (_ULG, _of_ulg), ".tlog": (b"", _of_tlog)}
