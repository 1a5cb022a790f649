# SPDX-License-Identifier: Apache-2.0
"""Crafted and damaged logs of autopilots: a flight or one sentence, in bounded time and memory."""

import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.core.errors import FlightLogError
from dronebms.flightlogs import FlightLog, FlightOptions, read_csv_log
from dronebms.flightlogs.autopilot_logs import read_flight_log
from tests.flightlogs.test_autopilot_logs import BAT, BCL, PARM, bin_of, cells, sample
from tests.special_files import special_file

OPTIONS = FlightOptions(cells=4, chemistry="lipo")
ULG_HEAD = b"ULog\x01\x12\x35\x01" + bytes(8)
MOST_BYTES = 50e6
Value = int | float


def message(letter: str, payload: bytes) -> bytes:
    return struct.pack("<HB", len(payload), ord(letter)) + payload


def ulg_of(fields: str, *samples: bytes, more: bytes = b"") -> bytes:
    """A .ulg with samples of battery_status."""
    data = ULG_HEAD + message("B", bytes(40)) + more
    data += message("F", f"battery_status:{fields}".encode())
    data += message("A", struct.pack("<BH", 0, 7) + b"battery_status")
    return data + b"".join(message("D", struct.pack("<H", 7) + row) for row in samples)


BATTERY = (
    "uint64_t timestamp;float voltage_v;float current_a;float remaining;float[4] voltage_cell_v;"
)


def battery(us: int, volts: float = 15.2) -> bytes:
    cells_v = [volts / 4 + 0.004, volts / 4 - 0.004, volts / 4, volts / 4]
    return struct.pack("<Qfff4f", us, volts, 12.0, 0.8, *cells_v)


ULG = ulg_of(BATTERY, *(battery(k * 100_000) for k in range(1, 60)))
BIN = bin_of(
    (*PARM, struct.pack("<Q16sff", 1, b"BATT_CAPACITY", 5200.0, 3300.0)),
    *((*BAT, sample(k * 100_000, 0, 15.2)) for k in range(1, 60)),
    *((*BCL, cells(k * 100_000, 0, 3801, 3801, 3801, 3801)) for k in range(1, 60)),
)


def status(mv: int = 3800) -> mavlink.MAVLink_message:
    return mavlink.MAVLink_battery_status_message(
        0, 0, 1, 2500, [mv + 3, mv, mv, mv] + [65_535] * 6, 1200, 100, -1, 80, 0, 1, [0] * 4, 0, 0
    )


def tlog_of(*rows: tuple[float, mavlink.MAVLink_message]) -> bytes:
    sender = mavlink.MAVLink(None, 1, 1)
    beat = mavlink.MAVLink_heartbeat_message(2, 3, 128, 4, 4, 3)
    out = b""
    for at_s, one in rows:
        for sent in (beat, one):
            out += struct.pack(">Q", round(at_s * 1e6)) + sent.pack(sender)
    return out


TLOG = tlog_of(*((1.7e9 + k / 10, status()) for k in range(60)))
LOGS = {"bin": BIN, "ulg": ULG, "tlog": TLOG}


def read(folder: Path, kind: str, data: bytes) -> FlightLog | str:
    path = folder / f"x.{kind}"
    path.write_bytes(data)
    try:
        return read_flight_log(path, OPTIONS)
    except FlightLogError as error:
        sentence = str(error)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    return sentence.removeprefix(str(path))


@pytest.mark.parametrize("kind", LOGS)
def test_a_small_log_is_a_flight(tmp_path: Path, kind: str) -> None:
    flight = read(tmp_path, kind, LOGS[kind])
    assert isinstance(flight, FlightLog)
    assert len(flight.columns["t_s"]) in {59, 60}
    assert flight.columns["cell4_v"][7] == pytest.approx(3.8)


@pytest.mark.parametrize("absurd", [float("nan"), float("inf"), -float("inf"), 1e30, 0.5])
def test_numbers_of_batteries_and_cells_that_are_none_raise_nothing(
    tmp_path: Path, absurd: float
) -> None:
    samples = [struct.pack("<Qfff", k * 100_000, absurd, 15.2, 12.0) for k in range(1, 60)]
    numbered = [(4, "BAT", "Qfff", "TimeUS,Inst,Volt,Curr", row) for row in samples]
    assert read(tmp_path, "bin", bin_of(*numbered)) == " has no sample of a battery"
    counted = ulg_of(
        f"{BATTERY}float cell_count;",
        *(battery(k * 100_000) + struct.pack("<f", absurd) for k in range(1, 60)),
    )
    flight = read(tmp_path, "ulg", counted)
    assert isinstance(flight, FlightLog)
    assert flight.pack_data.cells == 4


@pytest.mark.parametrize("first", [False, True], ids=["MAVLink 2", "MAVLink 1"])
def test_a_telemetry_log_may_end_at_any_byte(tmp_path: Path, *, first: bool) -> None:
    sender = mavlink.MAVLink(None, 1, 1)
    beat = mavlink.MAVLink_heartbeat_message(2, 3, 128, 4, 4, 3)
    data = b"".join(
        struct.pack(">Q", 1_700_000_000_000_000 + k * 100_000)
        + one.pack(sender, force_mavlink1=first)
        for k, one in enumerate([beat, status(), beat, status()])
    )
    frame_bytes = len(data) // 2
    whole = read(tmp_path, "tlog", data)
    assert isinstance(whole, FlightLog)
    assert len(whole.columns["t_s"]) == 2
    for end in range(len(data) - 1, frame_bytes - 1, -1):
        flight = read(tmp_path, "tlog", data[:end])
        assert isinstance(flight, FlightLog)
        assert len(flight.columns["t_s"]) == 1


def csv_of(times_s: Sequence[float]) -> bytes:
    head = "t_s,voltage_v,current_a,cell1_v,cell2_v,cell3_v,cell4_v\n"
    return (head + "".join(f"{t_s},15.2,12,3.8,3.8,3.8,3.8\n" for t_s in times_s)).encode()


OF_TIMES: dict[str, Callable[[Sequence[float]], bytes]] = {
    "csv": csv_of,
    "bin": lambda times_s: bin_of(*((*BAT, sample(round(t * 1e6), 0, 15.2)) for t in times_s)),
    "ulg": lambda times_s: ulg_of(BATTERY, *(battery(round(t * 1e6)) for t in times_s)),
    "tlog": lambda times_s: tlog_of(*((t, status()) for t in times_s)),
}


@pytest.mark.parametrize("kind", OF_TIMES)
def test_a_log_whose_clock_stands_is_one_sentence(tmp_path: Path, kind: str) -> None:
    assert read(tmp_path, kind, OF_TIMES[kind]([1000.0] * 300)) == (
        ": all 300 samples have one time: the clock of the logger stood or ran back"
    )


@pytest.mark.parametrize("kind", OF_TIMES)
@pytest.mark.parametrize("step_s", [0.5, 0.9, 2.0])
def test_a_log_whose_clock_runs_back_is_one_sentence(
    tmp_path: Path, kind: str, step_s: float
) -> None:
    sentence = read(tmp_path, kind, OF_TIMES[kind]([1000.0 - step_s * k for k in range(300)]))
    assert isinstance(sentence, str)
    assert "one time" in sentence or "goes back" in sentence or "decreases" in sentence


@pytest.mark.parametrize("kind", OF_TIMES)
def test_samples_that_a_coarse_clock_hides_are_counted(tmp_path: Path, kind: str) -> None:
    flight = read(tmp_path, kind, OF_TIMES[kind]([1000.0 + k // 5 for k in range(300)]))
    assert isinstance(flight, FlightLog)
    assert len(flight.columns["t_s"]) == 60
    (note,) = flight.notes
    assert note == f"x.{kind}: 240 of 300 samples have the time of a later one and are left out"
    flight = read(tmp_path, kind, OF_TIMES[kind]([1000.0 + k - (k % 20 == 1) for k in range(300)]))
    assert isinstance(flight, FlightLog)
    assert (len(flight.columns["t_s"]), flight.notes) == (285, ())


def test_a_pack_voltage_that_an_autopilot_divided_is_no_cell_of_a_telemetry_log(
    tmp_path: Path,
) -> None:
    divided = [3800] * 4 + [65_535] * 6
    rows = [(1.7e9 + k / 10, status()) for k in range(60)]
    for _, row in rows:
        row.voltages = divided
    flight = read(tmp_path, "tlog", tlog_of(*rows))
    assert isinstance(flight, FlightLog)
    assert flight.columns["voltage_v"][7] == pytest.approx(15.2)
    assert not {"cell1_v", "gauge_soc_pct"} & flight.columns.keys()


def formats(name: str, letters: str, columns: str, size: int) -> bytes:
    """A .bin with a description of BAT of any content, and rows of zeros of its length."""
    head = struct.pack("<BB4s16s64s", 4, size, name.encode(), letters.encode(), columns.encode())
    rows = b"".join(b"\xa3\x95\x04" + bytes(max(size - 3, 0)) for _ in range(50))
    return bin_of() + b"\xa3\x95\x80" + head + rows


BINS = [
    ("unknown letter", formats("BAT", "Q\xffff", "TimeUS,Volt,Curr", 19)),
    ("length of nothing", formats("BAT", "Qff", "TimeUS,Volt,Curr", 0)),
    ("length of the head", formats("BAT", "Qff", "TimeUS,Volt,Curr", 3)),
    ("longer than its letters", formats("BAT", "Qff", "TimeUS,Volt,Curr", 255)),
    ("no columns", formats("BAT", "Qff", "", 19)),
    ("one name twice", formats("BAT", "Qff", "TimeUS,TimeUS,TimeUS", 19)),
    ("texts for numbers", formats("BAT", "nnn", "TimeUS,Volt,Curr", 15)),
    ("describes itself",
     bin_of() + b"\xa3\x95\x80" + struct.pack("<BB4s16s64s", 128, 3, b"FMT", b"B", b"x")),
    ("marks and nothing else", BIN[:89] + b"\xa3\x95" * 400_000),
    ("zeros", BIN[:89] + bytes(4 << 20)),
    ("times of years", bin_of(*((*BAT, sample(k * 10**14, 0, 15.2)) for k in range(60)))),
    ("times an hour apart",
     bin_of(*((*BAT, sample(k * 3_600_000_000, 0, 15.2)) for k in range(60)))),
]  # fmt: skip
NESTED = b"".join(message("F", f"t{k}:{f't{k + 1} x;' * 9}".encode()) for k in range(40))
ULGS = [
    ("endless array", ulg_of(f"float[{'9' * 60}] x;{BATTERY}", battery(1))),
    ("long array", ulg_of(f"float[99999] x;{BATTERY}", battery(1))),
    ("no array", ulg_of(f"float[x] x;{BATTERY}", battery(1))),
    ("contains itself", ulg_of(f"battery_status x;{BATTERY}", battery(1))),
    ("nested without end", ulg_of(f"t0 x;{BATTERY}", battery(1), more=NESTED)),
    ("unknown type", ulg_of(f"complex x;{BATTERY}", battery(1))),
    ("no time", ulg_of("float voltage_v;float current_a;", bytes(8))),
    ("one name twice", ulg_of(f"float voltage_v;{BATTERY}", bytes(4) + battery(1))),
    ("no fields", ulg_of("", b"")),
    ("only padding", ulg_of("uint8_t[9] _padding0;", bytes(9))),
    ("later format", ULG_HEAD + message("B", bytes(8) + b"\x02" + bytes(31)) + ULG[59:]),
    ("appended everywhere",
     ULG_HEAD
     + message("B", bytes(8) + b"\x01" + bytes(7) + struct.pack("<3Q", 17, 18, 2**63))
     + ULG[59:]),
    ("zeros", ULG + bytes(4 << 20)),
    ("samples of nothing",
     ulg_of(BATTERY, more=message("A", struct.pack("<BH", 0, 0) + b"other"))
     + b"\0\0D" * 50 + b"\1\0D\0" * 50),
    ("letters", ULG + b"D" * (1 << 20)),
    ("parameters",
     ULG + b"".join(message("P", bytes((n,)) + b"float BAT1_CAPACITY" + b"\xff" * 4)
                    for n in range(40))),
    ("times of years", ulg_of(BATTERY, *(battery(k * 10**14) for k in range(60)))),
    ("numbers that are none",
     ulg_of(BATTERY, *(struct.pack("<Q", k) + b"\x01\x00\xa0\x7f" * 7 for k in range(9)))),
    ("times at the end", ulg_of(BATTERY, battery(2**64 - 1), battery(2**64 - 2))),
]  # fmt: skip
TLOGS = [
    ("first bytes of frames", b"\xfe" * (2 << 20)),
    ("empty frames", (b"\0" * 8 + b"\xfd\0") * 300_000),
    ("wrong checksums", (bytes(8) + b"\xfd\x03\0\0\0\1\1\0\0\0abcde") * 30_000),
    ("an hour apart", tlog_of(*((1.7e9 + k * 3600, status()) for k in range(60)))),
    ("zeros", bytes(4 << 20)),
]
HOSTILE = [
    pytest.param(kind, data, id=f"{kind}: {name}")
    for kind, rows in (("bin", BINS), ("ulg", ULGS), ("tlog", TLOGS))
    for name, data in rows
]


@pytest.mark.parametrize(("kind", "data"), HOSTILE)
def test_a_crafted_log_is_a_flight_or_one_sentence_in_little_memory(
    tmp_path: Path, kind: str, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    tracemalloc.start()
    try:
        read(tmp_path, kind, data)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["zeros", "pipe"])
@pytest.mark.parametrize("ending", [".bin", ".ulg", ".tlog", ".csv", ".csv.gz"])
def test_a_log_is_a_regular_file(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"log{ending}"
    path.symlink_to(special_file(tmp_path, kind))
    reader = read_csv_log if ".csv" in ending else read_flight_log
    with pytest.raises(FlightLogError, match="cannot be read: not a regular file"):
        reader(path, OPTIONS)


def test_a_log_with_a_clock_that_was_set_keeps_the_seconds_of_the_flight(tmp_path: Path) -> None:
    from_1970 = [(1000.0 + k, status()) for k in range(30)]
    today = [(1.7e9 + k, status()) for k in range(30, 300)]
    back = [(1.6e9 + k, status()) for k in range(300, 330)]
    flight = read(tmp_path, "tlog", tlog_of(*from_1970, *today, *back))
    assert isinstance(flight, FlightLog)
    times_s = flight.columns["t_s"]
    assert len(times_s) >= 328
    assert times_s[-1] - times_s[0] == pytest.approx(327)


def test_gaps_and_damage_are_named(tmp_path: Path) -> None:
    apart = {"bin": dict(BINS)["times an hour apart"], "tlog": dict(TLOGS)["an hour apart"]}
    for kind, data in apart.items():
        sentence = str(read(tmp_path, kind, data))
        assert "battery sample" in sentence
        assert "gaps of more than a day together" in sentence
    damaged = {
        "bin": dict(BINS)["marks and nothing else"],
        "ulg": dict(ULGS)["letters"],
        "tlog": dict(TLOGS)["wrong checksums"],
    }
    for kind, data in damaged.items():
        assert "damaged at more than 10000 places" in str(read(tmp_path, kind, data))
    assert isinstance(read(tmp_path, "ulg", dict(ULGS)["zeros"]), FlightLog)


def mutated(data: bytes, random: Random) -> bytes:
    """Flip, cut, splice, zero, insert or repeat bytes."""
    made = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if not made:
            break
        at, count = random.randrange(len(made)), random.choice((1, 2, 8, 64))
        match random.randrange(6):
            case 0:
                made[at] ^= 1 << random.randrange(8)
            case 1:
                made[at : at + count] = random.randbytes(count)
            case 2:
                made[at:at] = random.randbytes(count)
            case 3:
                del made[at : at + count]
            case 4:
                made[at : at + count] = random.choice((b"\0", b"\xff")) * count
            case _:
                other = random.randrange(len(made))
                made[at : at + count] = made[other : other + count]
        made = made or bytearray(b"\0")
    return bytes(made if random.random() < 0.8 else made[: random.randrange(len(made) + 1)])


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("turns", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_mutated_log_is_a_flight_or_one_sentence(
    tmp_path: Path, kind: str, turns: int, capfd: pytest.CaptureFixture[str]
) -> None:
    random = Random(turns)  # noqa: S311 - seeded damage, not a secret
    outcomes = [read(tmp_path, kind, mutated(LOGS[kind], random)) for _ in range(turns)]
    assert sum(isinstance(outcome, FlightLog) for outcome in outcomes) > turns / 4
    assert capfd.readouterr() == ("", "")
