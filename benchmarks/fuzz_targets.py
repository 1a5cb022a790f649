# SPDX-License-Identifier: Apache-2.0
"""What reads bytes from outside, as one function of bytes each, for `benchmarks.fuzz`.

A function returns whatever the bytes are; the errors that its reader documents are caught, and
anything else that is raised or logged as an exception is a finding.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pymavlink.dialects.v20 import ardupilotmega as mavlink

import sim
from benchmarks.frames import Memory, framed
from dronebms.cli.main import main
from dronebms.cli.packs.learned_export import export_from_json
from dronebms.core.bounded_input import Window
from dronebms.core.clock import VirtualClock
from dronebms.core.errors import (
    ConfigError,
    FlightLogError,
    LinkError,
    RecordingError,
)
from dronebms.core.report import Report
from dronebms.core.state import adapter_of, decode, from_json, to_json
from dronebms.core.toml_schema import validated
from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.battery_messages import DATA_TYPES, BatteryMessage, MessageError
from dronebms.dronecan.battery_messages import decode as decode_payload
from dronebms.dronecan.bus_battery import BusBattery
from dronebms.dronecan.can_battery import CanBattery
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.frames import CanFrame
from dronebms.estimation.learning.learned_json import MALFORMED
from dronebms.flightlogs import FlightOptions, read_csv_log
from dronebms.flightlogs.autopilot_logs import read_flight_log
from dronebms.health.database import label_of, record_of
from dronebms.monitoring.pipeline import Pipeline
from dronebms.monitoring.restart_state import Latches, PipelineState
from dronebms.probe.recording import read_recording
from dronebms.recording.blocks import MAGIC, block_of, blocks_in
from dronebms.recording.reading import read_records
from dronebms.service.config import Config
from dronebms.telemetry.status_socket import _decoded
from mavlink_bridge import Bridge
from mavlink_bridge.vehicle.vehicle_control import VehicleControl
from sim.emulator.world import open_virtual
from sim.plant.scenario import Scenario
from smartbattery.bus import Bus
from smartbattery.errors import BusError, NackError
from smartbattery.gauge import Gauge
from smartbattery.pec import pec
from tests.dronecan.packs import GAUGE, INFO, frames, library_value
from tests.dronecan.wire import Wire
from tests.flightlogs.test_hostile_logs import BIN, TLOG, ULG
from tests.mavlink_bridge.reports import a_report

_ROOT = Path(__file__).parents[1]
_OPTIONS = FlightOptions(cells=4, chemistry="lipo", capacity_mah=5000.0)
_AUTOPILOT, _SYSTEM = 1, 1
_POLLS = 40
_AS_IT_IS = 255  # in place of a number of a message: the rest is the bytes of the link
_HEAD_BYTES, _MESSAGE_BYTES = 3, 2  # before the data of a CAN frame, before a payload
_OTHER_TYPES = 0xF0  # from it on a number is no index of DATA_TYPES
_CSV = b"t_s,voltage_v,current_a,cell1_v,gauge_soc_pct,armed\n0,16,20,4.0,90,1\n1,15.9,21,,89,0\n"


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        room: of the reader.
        reads: what it reads.
        run: reads the bytes.
        seeds: valid inputs to start from.
    """

    room: str
    reads: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]] = lambda: iter((b"",))


class _Raise(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Raise an exception that is only in the log."""
        if record.exc_info is not None and record.exc_info[1] is not None:
            raise record.exc_info[1]


def raise_logged_exceptions() -> None:
    """Let an exception in the log be a finding, and print no other line."""
    logging.getLogger().handlers[:] = [_Raise(logging.ERROR)]
    logging.raiseExceptions = False


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a disk in memory
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))


def _file(ending: str, data: bytes) -> Path:
    path = _folder() / f"x.{ending}"
    path.write_bytes(data)
    return path


# ---------------------------------------------------------------------- gauge


class _Replies(Bus):
    """Replies of a gauge: a byte chooses a failure, a valid PEC, or the bytes as they are."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """The next bytes."""
        kind, reply = self.left[:1], self.left[1 : 1 + rx_len]
        self.left = self.left[1 + rx_len :]
        if not kind or kind < b"\x10":
            raise NackError("no answer")
        if kind < b"\x20":
            raise BusError("bus error")
        reply = reply.ljust(rx_len, b"\0")
        if kind < b"\xc0" and rx_len > 1:
            head = bytes((address << 1, *tx, address << 1 | 1))
            return reply[:-1] + bytes((pec(head + reply[:-1]),))
        return reply


def _gauge(data: bytes) -> None:
    replies = _Replies(data)
    gauge = Gauge(replies)
    for second in range(_POLLS):
        gauge.poll(float(second))
        if not replies.left:
            break


def _gauge_seeds() -> Iterator[bytes]:
    """The replies of the virtual packs."""
    for name in ("hover", "survey"):
        bus, _ = open_virtual(name, VirtualClock(), 1)
        found: list[bytes] = []

        class Copy(Bus):
            def transfer(
                self,
                address: int,
                tx: bytes,
                rx_len: int,
                bus: Bus = bus,
                found: list[bytes] = found,
            ) -> bytes:
                """The reply of the virtual pack."""
                reply = bus.transfer(address, tx, rx_len)
                found.append(b"\xff" + reply)
                return reply

        gauge = Gauge(Copy())
        for second in range(5):
            gauge.poll(float(second))
        yield b"".join(found)


# ---------------------------------------------------------------------- MAVLink and DroneCAN


def _mavlink(data: bytes) -> None:
    """Bytes of a link: half of them as payloads in frames with a right checksum."""
    link = Memory()
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        bridge = Bridge(link, system_id=_SYSTEM)
        bridge.vehicle_control = VehicleControl(Path(folder))
        vehicle = mavlink.MAVLink(None, _SYSTEM, _AUTOPILOT)
        beat = bytes(mavlink.MAVLink_heartbeat_message(2, 3, 128 | 1, 5, 4, 3).pack(vehicle))
        for step in range(8):
            now_s = 0.25 * step
            link.coming = [beat, *_messages(data[step::8] if data[:1] == b"i" else data)]
            bridge.pump(now_s)
            bridge(a_report(now_s))
            if data[:1] != b"i":
                break


_MESSAGES = tuple(sorted(mavlink.mavlink_map))
_SOURCES = ((1, 1), (255, 190), (1, 154), (1, 100), (7, 1))


def _messages(data: bytes) -> Iterator[bytes]:
    while len(data) > _MESSAGE_BYTES:
        number, source, data = data[0], data[1], data[2:]
        if number == _AS_IT_IS:
            yield data
            return
        if number >= len(_MESSAGES):
            continue
        kind = mavlink.mavlink_map[_MESSAGES[number]]
        size = kind.unpacker.size
        payload, data = data[:size].ljust(size, b"\0"), data[size:]
        yield framed(_MESSAGES[number], payload, _SOURCES[source % len(_SOURCES)], number)


def _mavlink_seeds() -> Iterator[bytes]:
    for number, message_id in enumerate(_MESSAGES):
        if number < _AS_IT_IS:
            yield bytes((number, 0)) + bytes(mavlink.mavlink_map[message_id].unpacker.size)
    sender = mavlink.MAVLink(None, 255, 190)
    yield b"\xff\0" + bytes(mavlink.MAVLink_heartbeat_message(6, 8, 0, 0, 0, 3).pack(sender))


def _can_payload(data: bytes) -> None:
    """Payloads of the data types of batteries."""
    if not data:
        return
    types = list(DATA_TYPES.values())
    data_type = types[data[0] % len(types)]
    try:
        values = decode_payload(data_type, data[1:])
    except MessageError:
        return
    mcast = CanUrl("mcast", "0")
    for pack in (CanPack(BatteryAddress(mcast, 1)), CanPack(BatteryAddress(mcast, 0), cells=6)):
        source = CanBattery(pack)
        for number in range(3):
            source.receive(BatteryMessage(data_type, 42, values), number / 2)
            source.poll(number / 2)


def _can_frames(data: bytes) -> None:
    """Frames: the node's number, the data type and the number of bytes, then the bytes."""
    wire = Wire()
    bus = CanBus(CanUrl("mcast", "0"), VirtualClock(), wire.open)
    source = BusBattery(CanPack(BatteryAddress(CanUrl("mcast", "0"), 1)), bus)
    bus.step(0.0)
    types, step_s = list(DATA_TYPES), 0.0
    while len(data) > _HEAD_BYTES:
        node, kind, size, data = data[0], data[1], data[2] % 9, data[3:]
        data_type = types[kind % len(types)] if kind < _OTHER_TYPES else kind << 4
        can_id = 20 << 24 | data_type << 8 | node & 0x7F
        wire.send(CanFrame(can_id, data[:size]))
        data = data[size:]
        if node & 0x80:
            step_s += 0.1
            bus.step(step_s)
    bus.step(step_s + 0.1)
    source.poll(step_s + 0.2)
    bus.close()


def _can_seeds() -> Iterator[bytes]:
    types = list(DATA_TYPES)
    content = b"".join(
        bytes((11, types.index(can_id >> 8 & 0xFFFF), len(data))) + data
        for can_id, data in frames(library_value(INFO, GAUGE), 11)
    )
    yield content
    yield content * 3


# ---------------------------------------------------------------------- files and texts


def _log_of(ending: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            read_flight_log(_file(ending, data), _OPTIONS)
        except FlightLogError:
            pass

    return run


def _table(data: bytes) -> None:
    try:
        read_csv_log(_file("csv", data), _OPTIONS)
    except FlightLogError:
        pass


def _config(data: bytes) -> None:
    for model in (Config, Scenario):
        try:
            validated(model, data.decode(errors="replace"), "x.toml")
        except ConfigError:
            pass


def _config_seeds() -> Iterator[bytes]:
    for folder in (
        _ROOT / "packaging",
        _ROOT / "examples",
        Path(sim.__file__).parent / "scenarios",
    ):
        for path in sorted(folder.glob("*.toml")):
            yield path.read_bytes()


def _recording(data: bytes) -> None:
    """A recording: the bytes of the file, or the text of its first block."""
    is_text = data[:1] == b"t"
    whole = MAGIC + block_of(0, data[1:]) if is_text else data[1:]
    try:
        for _ in read_records(_file("rec", whole)):
            pass
    except RecordingError:
        pass


def _recording_seeds() -> Iterator[bytes]:
    path = _folder() / "seed.rec"
    main(["sim", "--duration", "3", "--speed", "max", "--headless", "--record", str(path)])
    yield b"f" + path.read_bytes()
    with path.open("rb") as file:
        blocks = blocks_in(Window(file))
        texts = [block[0] for _, _, block in blocks if block is not None]
    yield b"t" + b"".join(texts)
    path.unlink()


def _probe(data: bytes) -> None:
    try:
        read_recording(_file("probe", data))
    except (ConfigError, RecordingError):
        pass


def _probe_seeds() -> Iterator[bytes]:
    path = _folder() / "seed.probe"
    main(["probe", "--bus", "sim:hover", "--record", str(path)])
    yield path.read_bytes()
    path.unlink()


def _state(data: bytes) -> None:
    try:
        parts = from_json(data, never=True)
    except ValueError:
        return
    PipelineState.from_json(parts, "battery")
    decode(Latches, parts, "latches")


def _state_seeds() -> Iterator[bytes]:
    clock = VirtualClock()
    bus, world = open_virtual("hover", clock, 1)
    pipeline = Pipeline(Gauge(bus, cells=world.pack_data().cells), world.pack_data(), [])
    for second in range(10):
        clock.sleep_until(float(second))
        pipeline.step(float(second), a_report().vehicle)
    yield to_json(pipeline.state(10.0).to_json())


def _export(data: bytes) -> None:
    """The file of `packs --export`."""
    try:
        content = from_json(data)
        export_from_json(content)
        for row in content.get("history", []):
            record_of(row)
        for row in content.get("labels", []):
            label_of(row)
    except MALFORMED:
        pass


def _export_seeds() -> Iterator[bytes]:
    place, flight, path = _folder() / "state", _folder() / "seed.csv", _folder() / "seed.json"
    rows = (f"{t},{16.6 - t * 0.002:.3f},20.0\n" for t in range(300))
    flight.write_text("t_s,voltage_v,current_a\n" + "".join(rows))
    pack = ["--cells", "4", "--chemistry", "lipo", "--capacity-mah", "5000", "--pack-id", "P"]
    main(["packs", "--add", str(flight), *pack, "--state-dir", str(place)])
    main(["packs", "--state-dir", str(place), "--export", str(path)])
    yield path.read_bytes()


def _status(data: bytes) -> None:
    for line in data.split(b"\n"):
        try:
            _decoded(line, Path("socket"))
        except LinkError:
            pass


def _status_seeds() -> Iterator[bytes]:
    yield adapter_of(Report).dump_json(a_report())


TARGETS = {
    "gauge": Target("smartbattery", "replies of a gauge", _gauge, _gauge_seeds),
    "mavlink": Target("mavlink_bridge", "MAVLink messages and bytes", _mavlink, _mavlink_seeds),
    "can_payload": Target("dronebms/dronecan", "payloads of batteries", _can_payload),
    "can_frames": Target("dronebms/dronecan", "CAN frames", _can_frames, _can_seeds),
    "csv": Target("dronebms/flightlogs", "flights as CSV", _table, lambda: iter((_CSV,))),
    "bin": Target("dronebms/flightlogs", "ArduPilot's .bin", _log_of("bin"), lambda: iter((BIN,))),
    "ulg": Target("dronebms/flightlogs", "PX4's .ulg", _log_of("ulg"), lambda: iter((ULG,))),
    "tlog": Target("dronebms/flightlogs", "telemetry logs", _log_of("tlog"), lambda: iter((TLOG,))),
    "config": Target("dronebms/core", "configurations and scenarios", _config, _config_seeds),
    "recording": Target("dronebms/recording", "recordings", _recording, _recording_seeds),
    "probe": Target("dronebms/probe", "recordings of a probe", _probe, _probe_seeds),
    "state": Target("dronebms/monitoring", "restart states", _state, _state_seeds),
    "export": Target("dronebms/estimation", "exports of other computers", _export, _export_seeds),
    "status": Target("dronebms/telemetry", "lines of the status socket", _status, _status_seeds),
}
