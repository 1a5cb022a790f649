# SPDX-License-Identifier: Apache-2.0
"""The writers of the product: short runs of the real code, and what a later start finds.

Each goes through numbered states. `promise(k)` states that state k is stored: it must be found
after whatever follows. `read` opens the files as the next start does, returns the states that are
in them, and raises `WrongStateError` for content that was never written.
"""

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import cast

from dronebms.cli.exit_codes import DONE
from dronebms.cli.main import main
from dronebms.cli.packs.learned_export import export_from_json
from dronebms.core.chemistry import LIPO
from dronebms.core.clock import boot_id
from dronebms.core.disk import make_folder
from dronebms.core.errors import ConfigError
from dronebms.core.pack_data import PackData
from dronebms.core.report import Severity
from dronebms.core.state import decode, encode
from dronebms.core.toml_schema import validated
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.estimation.cell.cell_parameters import CellParameters
from dronebms.estimation.learning import learned_json
from dronebms.estimation.learning.learned_pack import Keys, Learned, LearnedPack
from dronebms.estimation.learning.pack_memory import LEARNED_FOLDER, PackMemoryFolder
from dronebms.estimation.learning.usual_power import FlightPower
from dronebms.health.database import PackHistory
from dronebms.health.flight_record import LANDED, FlightRecord
from dronebms.health.pack_label import PackLabel
from dronebms.health.sink import PackHistorySink
from dronebms.health.sqlite import FILE, SqliteFile
from dronebms.monitoring.restart_state import LATCHES, PACKS, Latches
from dronebms.recording import archive
from dronebms.recording.archive import Bounds, Folder
from dronebms.recording.boots import BOOT_FILE
from dronebms.recording.reading import read_records
from dronebms.recording.recorder import Block, Recorder
from dronebms.recording.records import Recorded, Start, Step
from dronebms.service.checkpoint import CHECKPOINT, CheckpointFile
from dronebms.service.config import Config
from dronebms.telemetry.config import MqttConfig
from dronebms.telemetry.mqtt import MqttPublisher
from dronebms.telemetry.outbox import Outbox
from mavlink_bridge.protocol.signing_file import SigningState, TimestampFile
from mavlink_bridge.vehicle.saved_file import SavedFile
from tests.mavlink_bridge.reports import a_report, an_event

Promise = Callable[[int], None]
_log = logging.getLogger(__name__)
_WAIT_S = 90.0


class WrongStateError(Exception):
    """Content that was never written."""


@dataclass(frozen=True, slots=True)
class Writer:
    """One writer.

    Attributes:
        name: of it.
        write: a run in an empty folder, which the product creates.
        read: states in the folder.
        cut_write, cut_read: those for power cuts, where the product promises something else.
    """

    name: str
    write: Callable[[Path, Promise], None]
    read: Callable[[Path], set[int]]
    cut_write: Callable[[Path, Promise], None] | None = None
    cut_read: Callable[[Path], set[int]] | None = None


def _up_to(number: int) -> set[int]:
    return set(range(number + 1))


def _wait(until: Callable[[], bool]) -> None:
    end_s = monotonic() + _WAIT_S
    while not until():
        if monotonic() > end_s:
            raise TimeoutError
        sleep(0.001)


# ---------------------------------------------------------------------- recordings

_STEP_S, _STEPS = 2.0, 40
_NEXT_RUN_S = 1000.0
_BOUNDS = Bounds(1e6, 2000.0)


class _Promising(Folder):
    """The folder of recordings, with a promise for each block that was written."""

    def __init__(self, folder: Path, promise: Promise) -> None:
        self._promise = promise
        super().__init__(folder, _BOUNDS)

    def _write(self, block: Block) -> None:
        super()._write(block)
        if self._file is not None:
            self._promise(round(block.t_s / _STEP_S))


def _record(folder: Path, promise: Promise) -> None:
    archive._RETRY_S = 0.01
    hot = an_event("HOT", Severity.CRITICAL)
    for run in range(2):
        store = _Promising(folder / "runs", promise)
        recorder = Recorder(store, Start((Recorded(PackData(LIPO), 11),)))
        for step in range(run * _STEPS // 2, (run + 1) * _STEPS // 2):
            recorder.stepped(step * _STEP_S, UNKNOWN_VEHICLE, [hot] * (step == 2))
            _wait(store._queue.empty)
        recorder.close()


def _recorded(folder: Path) -> set[int]:
    found: set[int] = set()
    runs = folder / "runs"
    recorder = Recorder(Folder(runs, _BOUNDS), Start((Recorded(PackData(LIPO), 11),)))
    recorder.stepped(_NEXT_RUN_S, UNKNOWN_VEHICLE)
    recorder.close()
    for path in sorted(runs.rglob("*")):
        if path.is_dir() or path.name == BOOT_FILE:
            continue
        if path.suffix != ".rec":
            raise WrongStateError(f"{path} was left")
        if not path.stat().st_size:
            raise WrongStateError(f"{path} is empty")
        times_s = [one.t_s for one in read_records(path) if isinstance(one, Step)]
        if times_s != sorted(times_s) or any(t_s % _STEP_S for t_s in times_s):
            raise WrongStateError(f"{path} has other steps than those recorded")
        if path.parent == runs:
            found |= {round(t_s / _STEP_S) for t_s in times_s}
    found.remove(round(_NEXT_RUN_S / _STEP_S))
    return found


# ---------------------------------------------------------------------- state


_LATCHES = [
    Latches({f"pack {number}": ("failed",) for number in range(count)}) for count in range(9)
]


def _latched(step: int) -> int:
    """Number of latched limits at a step."""
    return step // 4


def _parts(step: int) -> dict[str, object]:
    latches = encode(_LATCHES[_latched(step)])
    return {PACKS: [{"step": step, "body": "x" * 9000}], LATCHES: latches}


def _checkpoint(folder: Path, promise: Promise) -> None:
    for run in range(2):
        with closing(CheckpointFile(folder / CHECKPOINT)) as file:
            for step in range(run * 6, (run + 1) * 6):
                file.step(file.start_s + step, partial(_parts, step))
                if file._trouble is None:
                    promise(step)


def _checkpointed(folder: Path) -> set[int]:
    with closing(CheckpointFile(folder / CHECKPOINT)) as file:
        parts = dict(file.parts)
    if PACKS not in parts:
        return set()
    step = cast("list[dict[str, int]]", parts[PACKS])[0]["step"]
    if {key: parts[key] for key in (PACKS, LATCHES)} != _parts(step):
        raise WrongStateError(f"step {step} is mixed with another one")
    return _up_to(step)


def _latch(folder: Path, promise: Promise) -> None:
    """As `_checkpoint`; the latches are promised, once the thread that syncs them is done."""
    for run in range(2):
        with closing(CheckpointFile(folder / CHECKPOINT)) as file:
            for step in range(run * 10, (run + 1) * 10):
                file.step(file.start_s + step, partial(_parts, step))
                _wait(partial(_is_synced, file))
                promise(_latched(step))


def _is_synced(file: CheckpointFile | TimestampFile) -> bool:
    return file._file is None or not file._file.is_syncing


def _latches(folder: Path) -> set[int]:
    with closing(CheckpointFile(folder / CHECKPOINT)) as file:  # refused or not: of any age
        latches = decode(Latches, file.parts.get(LATCHES), "latches") or Latches()
    if latches != _LATCHES[len(latches.packs)]:
        raise WrongStateError(f"{latches}")
    return _up_to(len(latches.packs)) if LATCHES in file.parts else set()


def _sign(folder: Path, promise: Promise) -> None:
    for run in range(2):
        with closing(TimestampFile(folder / "signing")) as file:
            for number in range(run * 6, (run + 1) * 6):
                file.write(SigningState(boot_id(), number, number, ((1, 1, 1, number),) * 60))
                if file._trouble is None:
                    promise(number)


def _sign_for_a_cut(folder: Path, promise: Promise) -> None:
    """The times of 30 s ago are promised: the file is synced so often."""
    for run in range(2):
        with closing(TimestampFile(folder / "signing")) as file:
            for number in range(run * 6, (run + 1) * 6):
                file._synced = None  # half a minute later
                file.write(SigningState(boot_id(), number, number, ((1, 1, 1, number),) * 60))
                _wait(partial(_is_synced, file))
                promise(number)


def _signed(folder: Path) -> set[int]:
    with closing(TimestampFile(folder / "signing")) as file:
        state = file.state
    if state is None:
        return set()
    if state != SigningState(state.boot_id, state.own, state.own, ((1, 1, 1, state.own),) * 60):
        raise WrongStateError("times of different moments")
    return _up_to(state.own)


_MOST = {f"P{one}": 9.0 for one in range(9)}


def _limits_file(folder: Path) -> SavedFile:
    return SavedFile(folder / "vehicle", (3, 1, "speed"), "a1", _MOST)


def _save_parameters(folder: Path, promise: Promise) -> None:
    for run in range(2):
        file = _limits_file(folder)
        for number in range(run * 3, (run + 1) * 3):
            trouble = file.store(dict.fromkeys(_MOST, float(number)))
            if trouble is None:
                promise(number)
            else:
                _log.error("%s", trouble)  # as SavedParameters does


def _saved_parameters(folder: Path) -> set[int]:
    loaded = _limits_file(folder).load()
    values = loaded.values
    if not loaded.is_known or [*folder.glob("vehicle/*.damaged*")]:
        raise WrongStateError("damaged")
    numbers = {int(value) for value in values.values()}
    if len(numbers) > 1 or len(values) not in (0, 9):
        raise WrongStateError(f"{values}")
    return _up_to(max(numbers, default=-1))


# ---------------------------------------------------------------------- history and learned packs


def _flight(number: int) -> FlightRecord:
    return FlightRecord(f"run-0-{number}", LANDED, "pack", flown_s=float(number))


def _put_flights(folder: Path, promise: Promise) -> None:
    for run in range(2):
        sink = PackHistorySink(folder, lambda: 1.8e9)
        sink._stopping.set()  # its thread opens the database and ends
        sink._thread.join()
        for number in range(run * 3, (run + 1) * 3):
            sink._write([_flight(number)])
            if not sink._failed:
                promise(number)


def _history(folder: Path) -> PackHistory:
    return PackHistory(SqliteFile(folder / FILE, writes=True), writes=True)


def _flights(folder: Path) -> set[int]:
    flights = _history(folder).flights()
    found = {int(flight.flown_s or 0) for flight in flights}
    if [replace(flight, sequence=None) for flight in flights] != [*map(_flight, sorted(found))]:
        raise WrongStateError(f"{flights}")
    return found


def _label(folder: Path, promise: Promise) -> None:
    """A name moves from pack to pack, as `dronebms packs PACK --name` moves it."""
    for number in range(5):
        try:
            _history(folder).put_label(PackLabel(f"pack {number}", name="blue"))
        except ConfigError as error:
            _log.error("%s", error)
        else:
            promise(number)


def _labelled(folder: Path) -> set[int]:
    named = [label.pack for label in _history(folder).labels().values() if label.name == "blue"]
    packs = _history(folder).labels()
    if len(named) != bool(packs):
        raise WrongStateError(f"{named} of {[*packs]} have the name")
    return _up_to(int(named[0].split()[1])) if named else set()


def _learned(number: int) -> Learned:
    size = learned_json.STATE_SIZE
    cells = CellParameters(
        mean=(0.01 * number,) * size,
        covariance=tuple(
            tuple(0.01 * (row == column) for column in range(size)) for row in range(size)
        ),
    )
    pack = LearnedPack(cells, 0.0, 0.0, 5000.0, number, model="model", vehicle="vehicle")
    return Learned(pack, FlightPower(f"flight {number}", 800.0 + number, 600.0))


def _learn(folder: Path, promise: Promise) -> None:
    for run in range(2):
        memory = PackMemoryFolder(folder / "learned")
        for number in range(run * 2, (run + 1) * 2):
            try:
                memory.store(Keys("pack", "model", "vehicle"), _learned(number))
            except ConfigError as error:
                _log.error("%s", error)
            else:
                promise(number)


def _relearned(folder: Path) -> set[int]:
    memory = PackMemoryFolder(folder / "learned")
    pack = memory.load("pack")
    if pack is not None and pack != _learned(pack.flights).pack:
        raise WrongStateError("a pack that was never stored")
    packs, flights = memory.packs_of("model"), memory.vehicle("vehicle")
    if packs not in ([], ["pack"]):
        raise WrongStateError(f"{packs}")
    known = {int(flight.mean_w - 800.0) for flight in flights}
    if [*flights] != [_learned(number).power for number in sorted(known)]:
        raise WrongStateError(f"{flights}")
    return known & _up_to(-1 if pack is None or not packs else pack.flights)


# ---------------------------------------------------------------------- queue of MQTT


def _publish(folder: Path, promise: Promise) -> None:
    with socket.socket() as closed:  # bound, not listening: no broker answers
        closed.bind(("127.0.0.1", 0))
        config = MqttConfig(host="127.0.0.1", port=closed.getsockname()[1], period_s=1.0)
        for run in range(2):
            publisher = MqttPublisher(config, folder / "outbox.sqlite")
            for number in range(run * 4, (run + 1) * 4):
                publisher(a_report(float(number)))
                _wait(partial(_is_stored, publisher))
                if publisher.is_durable:
                    promise(number)
            publisher.close()


def _is_stored(publisher: MqttPublisher) -> bool:
    return not publisher._inbox


def _queued(folder: Path) -> set[int]:
    make_folder(folder)
    with closing(Outbox(str(folder / "outbox.sqlite"), 1e6)) as box:
        rows = [json.loads(payload) for _, _, payload in box.after(0, 1000)]
    times_s = [row["t_s"] for row in rows]
    if times_s != sorted(times_s):
        raise WrongStateError(f"{times_s}")
    return {round(t_s) for t_s in times_s}


# ---------------------------------------------------------------------- outputs of commands

# They stand next to the folder that the product creates: a command makes none.

_OUTPUTS = 2  # of each command, one after the other to the same name
_HTML_END = "</html>"


def _command(promise: Promise, number: int, *argv: object) -> None:
    if main([str(one) for one in argv]) == DONE:
        promise(number)


def _inputs(folder: Path) -> Iterator[Path]:
    """Flights that differ in their name and length, outside of what is tortured."""
    for number in range(_OUTPUTS):
        path = folder / f"flight-{number}.csv"
        lines = (f"{t},{16.6 - 0.004 * t:.3f},20.0\n" for t in range(40 + 20 * number))
        path.write_text("t_s,voltage_v,current_a\n" + "".join(lines))
        yield path


_PACK = ("--cells", 4, "--chemistry", "lipo", "--capacity-mah", 5000)


def _predict(folder: Path, promise: Promise) -> None:
    with TemporaryDirectory() as place:
        for number, flight in enumerate(_inputs(Path(place))):
            _command(promise, number, "replay", flight, *_PACK, "--out", folder.parent / "p.jsonl")


def _predicted(folder: Path) -> set[int]:
    path = folder.parent / "p.jsonl"
    if not path.exists():
        return set()
    times_s = [json.loads(line)["t_s"] for line in path.read_text().splitlines()]
    number = (len(times_s) - 40) // 20
    if times_s != [float(t) for t in range(40 + 20 * number)]:
        raise WrongStateError(f"{len(times_s)} lines, until {times_s[-1:]}")
    return _up_to(number)


def _report(folder: Path, promise: Promise) -> None:
    with TemporaryDirectory() as place:
        for number, flight in enumerate(_inputs(Path(place))):
            _command(promise, number, "report", flight, *_PACK, "-o", folder.parent / "r.html")


def _reported(folder: Path) -> set[int]:
    path = folder.parent / "r.html"
    if not path.exists():
        return set()
    text = path.read_text()
    found = [number for number in range(_OUTPUTS) if f"flight-{number}.csv" in text]
    if len(found) != 1 or not text.rstrip().endswith(_HTML_END):
        raise WrongStateError(f"a page of {found} with {len(text)} characters")
    return _up_to(found[0])


def _export(folder: Path, promise: Promise) -> None:
    with TemporaryDirectory() as place:
        for number in range(_OUTPUTS):
            state = Path(place) / str(number)
            PackMemoryFolder(state / LEARNED_FOLDER).store(Keys("pack"), _learned(number))
            _command(
                promise, number, "packs", "--state-dir", state, "--export", folder.parent / "x.json"
            )


def _exported(folder: Path) -> set[int]:
    path = folder.parent / "x.json"
    if not path.exists():
        return set()
    everything = export_from_json(json.loads(path.read_text()))
    pack = everything.packs["pack"]
    if everything.packs != {"pack": _learned(pack.flights).pack}:
        raise WrongStateError(f"{everything}")
    return _up_to(pack.flights)


def _init(folder: Path, promise: Promise) -> None:
    for number in range(_OUTPUTS):
        options = ("--defaults", "--force", "--bus", "sim:hover", "--vehicle-name", number)
        _command(promise, number, "init", *options, "-o", folder.parent / "c.toml")


def _configured(folder: Path) -> set[int]:
    path = folder.parent / "c.toml"
    if not path.exists():
        return set()
    config = validated(Config, path.read_text(), path.name)
    return _up_to(int(config.vehicle.name or -1))


WRITERS = (
    Writer("recording", _record, _recorded),
    Writer("checkpoint", _checkpoint, _checkpointed, _latch, _latches),
    Writer("signing", _sign, _signed, _sign_for_a_cut),
    Writer("vehicle parameters", _save_parameters, _saved_parameters),
    Writer("pack history", _put_flights, _flights),
    Writer("pack names", _label, _labelled),
    Writer("learned packs", _learn, _relearned),
    Writer("MQTT queue", _publish, _queued),
    Writer("replay --out", _predict, _predicted),
    Writer("packs --export", _export, _exported),
    Writer("report", _report, _reported),
    Writer("init", _init, _configured),
)
