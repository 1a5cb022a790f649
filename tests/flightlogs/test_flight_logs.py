# SPDX-License-Identifier: Apache-2.0
"""Flight logs: the CSV reader, the sidecar, and the source that plays a log."""

import csv
import gzip
import json
import math
import os
import re
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from statistics import median_low

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import OncePerSecond
from dronebms.core.errors import FlightLogError
from dronebms.core.pack_data import PackData
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.flightlogs import FlightLog, FlightOptions, FlightSource, flight_log, read_csv_log

HEAD = "t_s,voltage_v,current_a"
SIDECAR: dict[str, object] = {"cells": 4, "chemistry": "lipo"}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Function that writes a log and its sidecar and returns the path of the log."""

    def _write(table: str | bytes, sidecar: object = SIDECAR, name: str = "flight.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(table if isinstance(table, bytes) else table.encode())
        if sidecar is not None:
            text = sidecar if isinstance(sidecar, bytes) else json.dumps(sidecar).encode()
            (tmp_path / "flight.json").write_bytes(text)
        return path

    return _write


def table(*rows: str, head: str = HEAD) -> str:
    return "\n".join((head, *rows)) + "\n"


def source_of(path: Path) -> FlightSource:
    return FlightSource(read_csv_log(path))


def at(column: str, *fields: str) -> str:
    """Table of rows one second apart with one more column."""
    rows = (f"{index},15.5,10,{field}" for index, field in enumerate(fields))
    return table(*rows, head=f"{HEAD},{column}")


# Contents of a log.


def test_every_value_of_a_computed_flight_is_reported_at_its_time(
    computed_flights: tuple[Path, ...],
) -> None:
    assert len(computed_flights) == 5
    for path in computed_flights:
        flight = read_csv_log(path)
        source = FlightSource(flight)
        cells = flight.pack_data.cells or 0
        with gzip.open(path, "rt") as file:
            for row in csv.DictReader(file):
                snapshot = source.poll(float(row["t_s"]))
                assert snapshot.voltage_v == float(row["voltage_v"])
                assert snapshot.current_a == float(row["current_a"])
                assert snapshot.temperature_degc == float(row["temperature_degc"])
                assert snapshot.soc_pct == float(row["gauge_soc_pct"])
                assert snapshot.remaining_mah == float(row["gauge_remaining_mah"])
                assert snapshot.full_mah == float(row["gauge_full_mah"])
                if row["gauge_time_to_empty_s"]:
                    assert snapshot.time_to_empty_s == float(row["gauge_time_to_empty_s"])
                assert snapshot.cells_v == tuple(
                    float(row[f"cell{n}_v"]) for n in range(1, cells + 1)
                )
                assert snapshot.age_s("cells_v") == snapshot.age_s("voltage_v") == 0.0


def test_the_sidecar_gives_the_rated_data_of_the_pack(computed_flights: tuple[Path, ...]) -> None:
    flight = read_csv_log(next(path for path in computed_flights if "F43" in path.name))
    assert flight.name == "F43_Prada2013_P14_1"
    assert flight.pack_data.chemistry.name == "lifepo4"
    assert (flight.pack_data.cells, flight.pack_data.capacity_mah) == (6, 8000.0)
    assert (flight.pack_data.cutoff_cell_v, flight.pack_data.pack_id) == (2.6, "P14")
    assert flight.pack_data.assumed() == ()


def test_options_override_the_sidecar_and_assumptions_are_reported(write: Write) -> None:
    path = write(table("0,15,1"), {"cells": 3, "chemistry": "li-ion", "capacity_mah": None})
    flight = read_csv_log(path, options=FlightOptions(cells=4, chemistry="lipo"))
    assert (flight.pack_data.cells, flight.pack_data.chemistry) == (4, LIPO)
    assert [note.split(" is ")[0] for note in flight.pack_data.assumed()] == [
        "the rated capacity",
        "the cut-off",
    ]
    options = FlightOptions(capacity_mah=5000.0, cutoff_cell_v=3.4)
    pack_data = read_csv_log(path, options=options).pack_data
    assert (pack_data.capacity_mah, pack_data.cutoff_cell_v) == (5000.0, 3.4)


def test_a_known_cell_of_the_sidecar_gives_its_chemistry(write: Write) -> None:
    path = write(table("0,15,1"), {"cells": 4, "cell": "apr18650m1b"})
    pack_data = read_csv_log(path).pack_data
    assert (pack_data.cell, pack_data.chemistry.name) == ("APR18650M1B", "lifepo4")
    pack_data = read_csv_log(path, options=FlightOptions(cell="HG2")).pack_data
    assert (pack_data.cell, pack_data.chemistry.name) == ("HG2", "li-ion")
    for sidecar, text in (
        ({"cell": "HG3"}, r"key cell: 'HG3' is not one of 9 cells .* HG2 is the nearest"),
        ({"cell": "HG2", "chemistry": "lipo"}, r"key cell: 'HG2' is not a cell of lipo"),
    ):
        with pytest.raises(FlightLogError, match=text):
            read_csv_log(write(table("0,15,1"), {"cells": 4} | sidecar))


def test_pack_model_and_vehicle_are_names_of_the_sidecar_or_the_user(write: Write) -> None:
    rated = {"cells": 4, "chemistry": "lipo"}
    path = write(table("0,15,1"), rated | {"pack_model": "P22", "vehicle": "lifter 2"})
    pack_data = read_csv_log(path).pack_data
    assert (pack_data.pack_model, pack_data.vehicle) == ("P22", "lifter 2")
    pack_data = read_csv_log(path, options=FlightOptions(vehicle="lifter 3")).pack_data
    assert (pack_data.pack_model, pack_data.vehicle) == ("P22", "lifter 3")
    path = write(table("0,15,1"), rated)
    with pytest.raises(FlightLogError, match=r"option --vehicle-name: ' ' is not a text"):
        read_csv_log(path, options=FlightOptions(vehicle=" "))
    path = write(table("0,15,1"), rated | {"pack_model": 7})
    with pytest.raises(FlightLogError, match=r"flight\.json, key pack_model: 7 is not"):
        read_csv_log(path)


def test_options_replace_a_missing_sidecar(write: Write) -> None:
    path = write(table("0,15,1"), None)
    pack_data = read_csv_log(path, options=FlightOptions(cells=4, chemistry="lipo")).pack_data
    assert pack_data.cells == 4
    with pytest.raises(FlightLogError, match=r"needs cells and chemistry: give --cells and --chem"):
        read_csv_log(path)
    with pytest.raises(
        FlightLogError, match=r"needs chemistry: give --chemistry, or .*flight\.json"
    ):
        read_csv_log(path, options=FlightOptions(cells=4))


def test_a_plain_file_and_a_compressed_one_are_the_same_log(write: Write) -> None:
    text = table("0,15,1", "1,14,2")
    plain = source_of(write(text)).poll(1.0)
    packed = source_of(write(gzip.compress(text.encode()), name="flight.csv.gz")).poll(1.0)
    assert plain == packed
    assert plain.voltage_v == 14.0


def test_columns_come_in_any_order_with_blank_lines_byte_order_mark_and_quotes(
    write: Write,
) -> None:
    text = '\ufeff"current_a", t_s ,voltage_v\r\n\r\n"3",0,15\r\n4, 1 ,16\r\n\r\n'
    snapshot = source_of(write(text)).poll(1.0)
    assert (snapshot.voltage_v, snapshot.current_a) == (16.0, 4.0)


def test_truth_and_unknown_columns_are_never_read(write: Write) -> None:
    head = f"{HEAD},truth_remaining_s,vendor note,vendor_v,remark,remark"
    text = (
        table('0,15,1,"so, so","two\nlines",nan,x,', head=head).encode() + b"1,14,2,,,\xff\xb0,,\n"
    )
    flight = read_csv_log(write(text))
    assert set(flight.columns) == {"t_s", "voltage_v", "current_a"}
    assert FlightSource(flight).poll(1.0).voltage_v == 14.0


def test_the_later_of_two_rows_of_one_time_replaces_the_earlier(write: Write) -> None:
    source = source_of(write(table("0,15,1", "1,14,2", "1,13,", "2,12,3")))
    snapshot = source.poll(1.0)
    assert snapshot.voltage_v == 13.0
    assert snapshot.current_a == 1.0
    assert snapshot.age_s("current_a") == 1.0
    assert list(source.ticks()) == [0.0, 1.0, 2.0]


def test_a_cell_does_not_move_because_another_is_missing(write: Write) -> None:
    text = table("0,15,1,4.1,4.2,4.4", "1,15,1,,,4.3", head=f"{HEAD},cell1_v,cell2_v,cell4_v")
    source = source_of(write(text))
    assert source.poll(0.0).cells_v == (4.1, 4.2, None, 4.4)
    assert source.poll(5.5).cells_v == (None, None, None, 4.3)


def test_a_log_without_cell_columns_gives_no_cells(write: Write) -> None:
    assert source_of(write(table("0,15,1"))).poll(0.0).cells_v == ()


# Time, gaps and age.


def test_a_value_expires_after_five_seconds(write: Write) -> None:
    source = source_of(write(table("0,15,1", "1,15,1", "20,14,2")))
    assert source.poll(6.0).voltage_v == 15.0
    assert source.poll(6.0).trouble is None
    late = source.poll(6.01)
    assert (late.voltage_v, late.current_a) == (None, None)
    assert late.trouble == "the log has no sample since 1.0 s"
    assert source.poll(20.0).voltage_v == 14.0


def test_an_empty_field_is_unknown_once_the_last_value_has_expired(write: Write) -> None:
    source = source_of(write(table("0,15,1", *(f"{t},,{t}" for t in range(1, 8)))))
    assert source.poll(5.0).voltage_v == 15.0
    snapshot = source.poll(6.0)
    assert (snapshot.voltage_v, snapshot.current_a) == (None, 6.0)
    assert snapshot.age_s("voltage_v") == 6.0


def test_in_a_slow_log_a_value_expires_after_three_intervals(write: Write) -> None:
    source = source_of(write(table("0,15,1", "30,15,1", "60,15,1", "400,14,1")))
    assert source.poll(6.0).voltage_v is None  # the first interval has not ended yet
    assert source.poll(59.0).voltage_v == 15.0
    assert source.poll(150.0).voltage_v == 15.0
    assert source.poll(150.1).voltage_v is None


def test_before_the_first_sample_every_value_is_unknown(write: Write) -> None:
    snapshot = source_of(write(table("10,15,1"))).poll(9.0)
    assert snapshot.voltage_v is None
    assert snapshot.age_s("voltage_v") is None
    assert snapshot.trouble == "the log has not begun"


def test_ticks_are_the_samples_and_each_second_of_a_gap(write: Write) -> None:
    ticks = source_of(write(table("0.5,15,1", "0.9,15,1", "1.6,15,1", "4.5,15,1"))).ticks()
    assert list(ticks) == [0.5, 0.9, 1.6, 2.5, 3.5, 4.5]


def flight_of(times_s: list[float], **columns: list[float]) -> FlightLog:
    pack_data = PackData(LIPO, cells=4)
    return FlightLog("made", pack_data, {"t_s": times_s, **columns})


steps_of_ms = st.one_of(st.integers(1, 3000), st.integers(1, 40).map(lambda s: s * 1000))


@given(st.lists(steps_of_ms, max_size=60), st.integers(-5000, 2_000_000_000_000))
def test_ticks_grow_with_every_sample_and_no_second_missing(
    steps_ms: list[int], first_ms: int
) -> None:
    times_ms = list(accumulate(steps_ms, initial=first_ms))
    ticks = list(FlightSource(flight_of([ms / 1000 for ms in times_ms])).ticks())
    assert all(before < after for before, after in pairwise(ticks))
    assert {ms / 1000 for ms in times_ms} <= set(ticks)
    # Compared in whole milliseconds, without rounding.
    sampled = {(ms - first_ms) // 1000 for ms in times_ms}
    ticked = {(round(tick * 1000) - first_ms) // 1000 for tick in ticks}
    assert ticked == set(range(max(sampled) + 1))
    assert len(ticks) == len(times_ms) + len(ticked - sampled)


def test_a_gap_has_a_step_each_second(write: Write) -> None:
    source = source_of(write(table("0.5,15,1", "1.1,15,1", "1.6,15,1", "9.2,15,1", "10.4,15,1")))
    each_second = OncePerSecond()
    lines = [source.poll(t_s) for t_s in source.ticks() if each_second.due(t_s)]
    assert [snapshot.t_s for snapshot in lines] == [
        0.5,
        1.6,
        2.5,
        3.5,
        4.5,
        5.5,
        6.5,
        7.5,
        9.2,
        10.4,
    ]
    assert [snapshot.voltage_v is None for snapshot in lines].index(True) == 7  # 5 s after 1.6 s


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.1, 0.5, 1.0, 4.0, 7.0, 30.0]),
            st.sampled_from([15.0, 14.0, math.nan, 0.2, 400.0]),
        ),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.floats(0, 300), max_size=20),
)
def test_a_poll_agrees_with_the_definition_however_often_it_is_called(
    rows: list[tuple[float, float]], polled_s: list[float]
) -> None:
    times_s = list(accumulate(step for step, _ in rows))
    volts = [value for _, value in rows]
    source = FlightSource(flight_of(times_s, voltage_v=volts))
    for now_s in sorted(polled_s):
        count = bisect_right(times_s, now_s)
        steps_s = [after - before for before, after in pairwise(times_s[:count])][-15:]
        max_age_s = max(5.0, 3 * median_low(steps_s)) if steps_s else 5.0
        good = [(t_s, v) for t_s, v in zip(times_s, volts, strict=True) if 1 <= v <= 100]
        last = [(t_s, v) for t_s, v in good if t_s <= now_s][-1:]
        snapshot = source.poll(now_s)
        assert snapshot.voltage_v == (
            last[0][1] if last and last[0][0] >= now_s - max_age_s else None
        )
        assert snapshot.age_s("voltage_v") == (now_s - last[0][0] if last else None)
        assert snapshot.counts.withheld == sum(v in {0.2, 400.0} for v in volts[:count])


# Implausible values, and the vehicle.


def test_spikes_stay_in_the_log_and_are_withheld_from_the_snapshot(write: Write) -> None:
    head = f"{HEAD},temperature_degc,cell1_v,cell4_v"
    text = table("0,15,1,20,4,4", "1,6553.5,65536,-273,0,65.5", "2,15,-2,21,4,4", head=head)
    flight = read_csv_log(write(text))
    assert list(flight.columns["voltage_v"]) == [15.0, 6553.5, 15.0]
    source = FlightSource(flight)
    assert source.poll(0.0).counts.withheld == 0
    snapshot = source.poll(1.0)
    assert (snapshot.voltage_v, snapshot.current_a, snapshot.temperature_degc) == (15.0, 1.0, 20.0)
    assert snapshot.cells_v == (4.0, None, None, 4.0)
    assert snapshot.counts.withheld == 5
    assert {snapshot.age_s(name) for name in ("voltage_v", "current_a", "cells_v")} == {1.0}
    assert source.poll(2.0).current_a == -2.0


def test_the_vehicle_has_the_values_of_its_columns_until_they_expire(write: Write) -> None:
    head = (
        f"{HEAD},armed,lat_deg,lon_deg,alt_m,home_lat_deg,home_lon_deg,ground_speed_m_s,climb_m_s"
    )
    text = table("0,15,1,0,47.1,8.2,500,47,8,0,0", "1,15,1,1,95,,501,,,2.5,-1.5", head=head)
    source = source_of(write(text))
    assert source.vehicle(0.0) == VehicleState(
        armed=False, lat_deg=47.1, lon_deg=8.2, alt_m=500.0, home_lat_deg=47.0, home_lon_deg=8.0,
        ground_speed_m_s=0.0, climb_m_s=0.0,
    )  # fmt: skip
    moving = source.vehicle(1.0)
    assert (moving.armed, moving.lat_deg, moving.alt_m) == (True, 47.1, 501.0)
    assert (moving.ground_speed_m_s, moving.climb_m_s) == (2.5, -1.5)
    assert source.vehicle(5.5).home_lat_deg is None
    assert source.vehicle(6.5) == UNKNOWN_VEHICLE


def test_a_log_without_a_vehicle_does_not_report_it_disarmed(write: Write) -> None:
    assert source_of(write(table("0,15,1"))).vehicle(0.0) == UNKNOWN_VEHICLE
    assert source_of(write(at("alt_m", "5"))).vehicle(0.0) == VehicleState(alt_m=5.0)


# Unreadable files: one sentence with file, line and column.

GOOD = table("0,15,1", "1,15,1")
PACKED = gzip.compress(table(*(f"{t},15,{t}" for t in range(9000))).encode())

BAD_TABLES: list[tuple[str, str | bytes, str]] = [
    ("empty", b"", r" is empty$"),
    ("blank lines only", "\n\n", r" is empty$"),
    ("header only", HEAD + "\n", r" has a header and no samples$"),
    ("missing column", "t_s,voltage_v\n0,1\n", r", line 1: the header has no current_a$"),
    (
        "no header",
        "0,15,1\n1,15,1\n",
        r", line 1: the header has no t_s, no voltage_v, no current_a$",
    ),
    *(
        (
            f"separated by {name}",
            GOOD.replace(",", separator),
            rf", line 1: the header has no t_s, no .*: fields are separated by {name}, commas are ",
        )
        for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"))
    ),
    (
        "capital letters",
        GOOD.replace("voltage_v", "Voltage_V"),
        r", line 1: the header has no voltage_v; it has Voltage_V$",
    ),
    ("column twice", table("0,1,1,1", head=HEAD + ",t_s"), r", line 1: there are two columns t_s$"),
    (
        "text in a number",
        at("cell4_v", "4", "4V", "4"),
        r", line 3, column cell4_v: '4V' is not a number$",
    ),
    ("not a number", at("alt_m", "1", "nan"), r", line 3, column alt_m: 'nan' is not a number$"),
    ("infinite", at("alt_m", "-inf"), r", line 2, column alt_m: '-inf' is not a number$"),
    ("overflow", at("alt_m", "1e999"), r", line 2, column alt_m: '1e999' is not a number$"),
    ("armed is a flag", at("armed", "0", "1", "2"), r", line 4, column armed: '2' is not 0 or 1$"),
    ("decimal comma", table("0,15,1", "1,15,1,5"), r", line 3: 4 fields, the header has 3$"),
    ("row cut short", table("0,15,1", "1,15"), r", line 3: 2 fields, the header has 3$"),
    ("row of one field", table("0,15,1", "1"), r", line 3: 1 field, the header has 3$"),
    (
        "line after a quote",
        table('0,15,1,"a\nb"', "1,15", head=HEAD + ",remark"),
        r", line 4: 2 fields, the header has 4$",
    ),
    (
        "line after blanks",
        HEAD + "\n\n\n0,15,x\n",
        r", line 4, column current_a: 'x' is not a number$",
    ),
    ("no time", table("0,15,1", ",15,1"), r", line 3, column t_s: '' is not a number$"),
    (
        "time decreases",
        table("0,15,1", "2,15,1", "1.5,15,1"),
        r", line 4, column t_s: time decreases from 2.0 to 1.5$",
    ),
    (
        "clock was set",
        table("0,15,1", "1.7e9,15,1"),
        r", line 3, column t_s: more than a day between 0.0 and 1700000000.0: is t_s in s\?$",
    ),
    (
        "cells disagree",
        at("cell10_v", "4"),
        r": the cell columns end with cell10_v, but the pack has 4 cells$",
    ),
    (
        "quote left open",
        table("0,15,1", '1,"15,1', "2,15,1"),
        r", line 3: not a row of fields: unexpected end of data$",
    ),
    (
        "endless field",
        table("0,15," + "1" * 200_000),
        r", line 2: longer than 65536 characters$",
    ),
    (
        "long text",
        table("0,15," + "x" * 1000),
        r", line 2, column current_a: 'x{1,20}\.\.\.x+' is not a number$",
    ),
    ("another encoding", GOOD.encode("utf-16"), r", line 1: this is not UTF-8 text$"),
    (
        "latin-1 in a number",
        GOOD.encode() + b"2,15,1\xb0\n",
        r", line 4, column current_a: '1\ufffd' is not a number$",
    ),
    ("binary", bytes(range(256)) * 40, r", line 1: "),
]
BAD_PACKED: list[tuple[str, bytes, str]] = [
    ("not gzip", GOOD.encode(), r", line 1: not gzip, or damaged$"),
    ("empty", b"", r" is empty$"),
    ("truncated", PACKED[:-2000], r", line \d+: the compressed file is truncated$"),
    ("without its end", PACKED[:-8], r", line \d+: the compressed file is truncated$"),
    ("wrong checksum", PACKED[:-8] + bytes(8), r", line \d+: not gzip, or damaged$"),
    ("damaged", PACKED[:900] + b"\xff" * 60 + PACKED[960:], r", line \d+"),
    ("something after", PACKED + b"junk", r", line \d+: not gzip, or damaged$"),
]
BAD_SIDECARS: list[tuple[str, object, str]] = [
    ("not JSON", b'{"cells": 4,\n oops}', r", line 2, column 2: not JSON: "),
    ("not an object", [4], r" is not a JSON object with keys such as cells and chemistry$"),
    ("not UTF-8", b'{"cells": "\xff"}', r" is not UTF-8 text$"),
    ("too deep", b"[" * 100_000, r" is not JSON: nested too deeply$"),
    ("absurd number", b'{"cells": ' + b"9" * 5000 + b"}", r" is not JSON: "),
    ("cells as text", {**SIDECAR, "cells": "4"}, r", key cells: '4' is not a valid number$"),
    ("cells as truth", {**SIDECAR, "cells": True}, r", key cells: True is not a valid number$"),
    ("no cells", {**SIDECAR, "cells": 0}, r", key cells: 0 is not greater than or equal to 1$"),
    ("half a cell", {**SIDECAR, "cells": 4.5}, r", key cells: 4.5 is not a multiple of 1$"),
    ("cells as NaN", b'{"cells": NaN, "chemistry": "lipo"}', r", key cells: nan is not "),
    (
        "cells unknown",
        {"chemistry": "lipo"},
        r"flight\.csv needs cells: give --cells, or write cells into ",
    ),
    (
        "other chemistry",
        {**SIDECAR, "chemistry": "nimh"},
        r", key chemistry: 'nimh' is not one of lipo, ",
    ),
    (
        "chemistry a list",
        {**SIDECAR, "chemistry": []},
        r", key chemistry: \[\] is not a valid string$",
    ),
    (
        "ampere-hours",
        {**SIDECAR, "capacity_mah": 0.5},
        r", key capacity_mah: 0\.5 is not from 50 to \d+ mAh: in Ah\?$",
    ),
    (
        "millivolts",
        {**SIDECAR, "cutoff_cell_v": 3300},
        r", key cutoff_cell_v: 3300 is not from 0\.5 to 4\.2 V: in mV\?$",
    ),
    ("pack without name", {**SIDECAR, "pack_id": " "}, r", key pack_id: ' ' is not a text$"),
    ("pack by number", {**SIDECAR, "pack_id": 7}, r", key pack_id: 7 is not a valid string$"),
]


def outcome(path: Path, **known: object) -> FlightLog | str:
    """The log, or the error sentence."""
    try:
        return read_csv_log(path, options=FlightOptions(**known))  # type: ignore[arg-type]  # invalid values are under test
    except FlightLogError as error:
        return str(error)


def refusal_of(path: Path, **known: object) -> str:
    sentence = outcome(path, **known)
    assert isinstance(sentence, str)
    assert "\n" not in sentence
    assert str(path.parent) in sentence
    return sentence


@pytest.mark.parametrize(
    ("content", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in BAD_TABLES]
)
def test_a_bad_table_is_one_sentence(write: Write, content: str | bytes, sentence: str) -> None:
    path = write(content)
    assert re.search(r"flight\.csv" + sentence, refusal_of(path))
    packed = gzip.compress(content if isinstance(content, bytes) else content.encode())
    path = write(packed, name="flight.csv.gz")
    assert re.search(r"flight\.csv\.gz" + sentence, refusal_of(path))


@pytest.mark.parametrize(
    ("content", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in BAD_PACKED]
)
def test_a_bad_archive_is_one_sentence(write: Write, content: bytes, sentence: str) -> None:
    path = write(content, name="flight.csv.gz")
    assert re.search(r"flight\.csv\.gz" + sentence, refusal_of(path))


@pytest.mark.parametrize(
    ("sidecar", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in BAD_SIDECARS]
)
def test_a_bad_sidecar_is_one_sentence(write: Write, sidecar: object, sentence: str) -> None:
    assert re.search(sentence, refusal_of(write(GOOD, sidecar)))


def test_an_invalid_option_is_one_sentence(write: Write) -> None:
    path = write(at("cell4_v", "4"))
    assert "end with cell4_v, but the pack has 10 cells" in refusal_of(path, cells=10)
    assert "option --cells: 0 is not" in refusal_of(path, cells=0)
    assert "option --chemistry: 'lead'" in refusal_of(path, chemistry="lead")
    assert "option --cutoff-cell-v: nan is not" in refusal_of(path, cutoff_cell_v=math.nan)


def test_a_path_without_a_file_is_one_sentence(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    assert "folder.csv cannot be read: Is a directory" in refusal_of(folder)
    missing = tmp_path / "missing.csv.gz"
    assert "missing.csv.gz cannot be read: No such file or directory" in refusal_of(missing)
    below = write(GOOD) / "flight.csv"
    assert "cannot be read: Not a directory" in refusal_of(below)
    assert "ends in none of .csv, .csv.gz, .bin, .ulg and .tlog" in refusal_of(
        tmp_path / "flight.bin"
    )
    (tmp_path / "flight.json").unlink()
    (tmp_path / "flight.json").mkdir()
    assert "flight.json cannot be read: Is a directory" in refusal_of(tmp_path / "flight.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file; run as another user")
def test_a_file_without_permission_is_one_sentence(write: Write) -> None:
    path = write(GOOD)
    path.chmod(0)
    assert "cannot be read: Permission denied" in refusal_of(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["flight.csv", "flight.csv.gz"]))
def test_damaged_bytes_are_a_log_or_one_sentence(write: Write, seed: int, name: str) -> None:
    random = Random(seed)  # noqa: S311  # seeded damage, not a secret
    text = at("cell4_v", *("4.0" for _ in range(30))).encode()
    content = bytearray(gzip.compress(text, mtime=0) if name.endswith(".gz") else text)
    for _ in range(random.randint(1, 6)):
        content[random.randrange(len(content))] = random.randrange(256)
    flight = outcome(write(bytes(content), name=name))
    if isinstance(flight, str):
        assert flight.startswith(str(write(b"", name=name)))
        assert "\n" not in flight
    else:
        assert {len(column) for column in flight.columns.values()} == {len(flight.columns["t_s"])}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
sidecar_keys = st.sampled_from([
    "cells", "capacity_mah", "chemistry", "cutoff_cell_v", "takeoff_s", "pack_id", "truth",
])  # fmt: skip


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(sidecar_keys, json_values))
def test_any_sidecar_is_pack_data_or_one_sentence(write: Write, keys: dict[str, object]) -> None:
    flight = outcome(write(GOOD, {**SIDECAR, **keys}))
    if isinstance(flight, str):
        assert "\n" not in flight
    else:
        assert flight.pack_data.cells in range(1, 25)
        assert 0.5 <= flight.pack_data.cutoff_v <= flight.pack_data.chemistry.full_cell_v


# Recorded flights, which are not in the repository.


def test_recorded_flights_play_from_end_to_end(real_flights: tuple[Path, ...]) -> None:
    for path in real_flights:
        flight = read_csv_log(path)
        source = FlightSource(flight)
        ticks = list(source.ticks())
        snapshots = [source.poll(t_s) for t_s in ticks]
        times_s = flight.columns["t_s"]
        assert snapshots[-1].counts.withheld == 0, path.name
        assert all(after - before <= 2.0 for before, after in pairwise(ticks)), path.name
        each_second = OncePerSecond()
        lines = sum(each_second.due(t_s) for t_s in ticks)
        assert lines == int(times_s[-1] - times_s[0] + 1e-6) + 1, path.name
        for snapshot in snapshots:
            age_s = snapshot.age_s("voltage_v")
            assert age_s is not None
            assert (snapshot.voltage_v is None) == (age_s > 5.0 and snapshot.trouble is not None), (
                path.name
            )


def test_every_value_expires_in_the_gap_of_a_recorded_flight(
    real_flights: tuple[Path, ...],
) -> None:
    source = source_of(next(path for path in real_flights if "mavicpro" in path.name))
    snapshots = [source.poll(t_s) for t_s in source.ticks()]
    silent = [snapshot for snapshot in snapshots if snapshot.voltage_v is None]
    assert len(silent) >= 5
    assert all(snapshot.cells_v == (None, None, None) and snapshot.trouble for snapshot in silent)


# Bounds and units: a hostile table ends in one sentence, a column in another unit names it.


def test_gaps_are_bounded_one_by_one_and_together(write: Write) -> None:
    daily = table(*(f"{k * 86_000},15,1" for k in range(200)))
    assert len(daily) < 4000
    assert re.search(
        r"line 4, column t_s: gaps of more than a day together", refusal_of(write(daily))
    )
    hourly = table(*(f"{k * 3600},15,1" for k in range(1000)))
    assert "gaps of more than a day together" in refusal_of(write(hourly))
    slow = table(*(f"{k * 60},15,0.001" for k in range(10_300)))
    assert "a log of more than 7 days" in refusal_of(write(slow))
    assert "1e+300 s is no time" in refusal_of(write(table("1e300,15,1")))
    ticks = sum(1 for _ in source_of(write(table("0,15,1", "86399,15,1"))).ticks())
    assert ticks == 86_400


def test_the_number_of_samples_is_bounded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight_log, "MAX_ROWS", 100)
    rows = [f"{k},15,1" for k in range(101)]
    assert "line 102, column t_s: more than 100 samples" in refusal_of(write(table(*rows)))
    assert len(read_csv_log(write(table(*rows[:100]))).columns["t_s"]) == 100


def test_a_row_is_bounded_in_characters_and_lines(write: Write) -> None:
    head = f"{HEAD},remark"
    assert "longer than 65536" in refusal_of(write(table(f"0,15,1,{'x' * 70_000}", head=head)))
    many_lines = '0,15,1,"' + "x\n" * 40_000 + '"'
    assert "longer than 65536" in refusal_of(write(table(many_lines, head=head)))
    assert "longer than 65536" in refusal_of(write("t" * 70_000))


def test_a_sidecar_is_bounded(write: Write) -> None:
    sidecar = b'{"remark": "' + b"x" * (1 << 20) + b'"}'
    assert "flight.json is not a sidecar: more than 1048576 bytes" in refusal_of(
        write(GOOD, sidecar)
    )


def flown(**scales: Callable[[float], float]) -> str:
    """A 6 min flight of 4 cells; a column's values pass through its function."""
    head = ("t_s", "voltage_v", "current_a", "temperature_degc", "cell1_v", "cell4_v",
            "gauge_soc_pct", "gauge_remaining_mah", "gauge_full_mah", "lat_deg", "alt_m",
            "ground_speed_m_s")  # fmt: skip
    rows = [",".join(head)]
    for k in range(1, 721):
        cell_v = 4.1 - k * 6e-4
        mah = 4900 - k * 3
        values = (k / 2, 4 * cell_v, 21.6 + k % 3, 24.5, cell_v, cell_v, mah / 50, mah, 5000,
                  47.1, 400 + k % 50, 12.0)  # fmt: skip
        row = zip(head, values, strict=True)
        rows.append(",".join(repr(scales.get(name, float)(value)) for name, value in row))
    return "\n".join(rows) + "\n"


def times(factor: float, offset: float = 0.0) -> Callable[[float], float]:
    return lambda value: value * factor + offset


UNITS = [
    ("voltage_v", times(1000), r"voltage_v 15\d+(\.\d+)? is outside 1-150 V: millivolts\?"),
    ("voltage_v", times(100), r"voltage_v 15\d+(\.\d+)? is outside 1-150 V: centivolts\?"),
    ("voltage_v", times(0), r"voltage_v has no value but 0 and unknown"),
    ("voltage_v", times(1e6), r"voltage_v \S+ is outside 1-150 V$"),
    ("voltage_v", times(1e307), r"voltage_v 1\.\d+e\+308 is outside 1-150 V$"),
    ("voltage_v", times(0.25), r"voltage_v 3\.\d+ is not that of 4 cells"),
    ("current_a", times(1000), r"current_a \d+ is outside -1000-1000 A: milliamperes or centia"),
    ("current_a", times(-1000), r"current_a -\d+ is outside .*: milliamperes or centia"),
    ("current_a", times(-1), r"current_a is negative while the voltage falls"),
    ("current_a", times(40), r"Ah were drawn from a pack of 1 Ah: current_a in mA\?"),
    ("temperature_degc", times(1, 273.15), r"outside -50-150 degC: kelvin or 0"),
    ("temperature_degc", times(10, 2731.5), r"outside -50-150 degC: 0\.1 K or 0"),
    ("temperature_degc", times(100), r"outside -50-150 degC: 0\.1 K or 0\.01 degC"),
    ("cell1_v", times(1000), r"cell1_v 3\d+\.?\d* is outside 0\.5-5 V: millivolts\?"),
    ("cell4_v", times(1000), r"cell4_v .*: millivolts\?"),
    ("gauge_soc_pct", times(0.01), r"gauge_soc_pct is at most 0\.\d+ %: a fraction\?"),
    ("gauge_soc_pct", times(100), r"gauge_soc_pct \d+ is outside 0-100 %: 0\.01 %\?"),
    ("gauge_remaining_mah", times(0.001), r"gauge_remaining_mah is at most 4\.897 of 5000 mAh: Ah"),
    ("gauge_full_mah", times(1e-4), r"gauge_full_mah 0\.5 is outside .*: ampere-hours\?"),
    ("t_s", times(1000), r"is t_s in milliseconds\?|: t_s in milliseconds\?"),
    ("t_s", times(1e6), r"more than a day between|milliseconds"),
    ("lat_deg", times(1e7), r"lat_deg .* degrees: 1e-7 degrees\?"),
    ("alt_m", times(1000), r"alt_m .*: centimetres or millimetres\?"),
    ("ground_speed_m_s", times(100), r"ground_speed_m_s 1200 is outside 0-200 m/s: cent"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "scale", "sentence"), UNITS)
def test_a_column_in_another_unit_is_rejected_with_the_unit(
    write: Write, column: str, scale: Callable[[float], float], sentence: str
) -> None:
    capacity_mah = 1000.0 if "1 Ah" in sentence else 5000.0
    sidecar = {**SIDECAR, "capacity_mah": capacity_mah}
    assert not isinstance(outcome(write(flown(), sidecar)), str)
    assert re.search(sentence, refusal_of(write(flown(**{column: scale}), sidecar)))


def test_a_short_log_in_milliseconds_is_no_slow_one(write: Write) -> None:
    sidecar = {**SIDECAR, "capacity_mah": 5000.0}
    for seconds in (30, 60, 90):
        rows = table(*(f"{1000 * k},{15 - k * 0.01},20" for k in range(seconds)))
        assert re.search("t_s in milliseconds", refusal_of(write(rows, sidecar)))
    slow = table(*(f"{120 * k},{16 - k * 0.1},2.5" for k in range(30)))  # of a laboratory
    assert not isinstance(outcome(write(slow, sidecar)), str)


def test_what_a_table_does_not_have_is_noted(write: Write) -> None:
    rows = table(*(f"{k},{15 - k * 0.01}," for k in range(60)))
    note = "flight.csv has no current: charge used and time left are unknown"
    log = outcome(write(rows))
    assert isinstance(log, FlightLog)
    assert log.notes == (note,)
    some = outcome(write(rows + "60,14.4,20\n"))
    assert isinstance(some, FlightLog)
    assert some.notes == ()


def test_a_compressed_table_has_the_name_of_one(write: Write) -> None:
    assert "compressed: a name that ends in .csv.gz is needed" in refusal_of(
        write(gzip.compress(GOOD.encode()))
    )


def test_spikes_charging_offsets_and_unknown_values_are_no_unit(write: Write) -> None:
    charging = table(*(f"{k},{14 + k * 0.002},-5" for k in range(600)))
    at_rest = table(*(f"{k},{15 - k * 1e-5},-0.3" for k in range(600)))
    zeros = table(*(f"{k},15,1,0,0,{k // 400}" for k in range(600)),
                  head=f"{HEAD},temperature_degc,gauge_full_mah,gauge_soc_pct")  # fmt: skip
    sentinel = table(*(f"{k},15,1,-1" for k in range(60)), head=f"{HEAD},gauge_soc_pct")
    spikes = table(*(f"{k},{6553.5 if k % 3 == 0 else 15},1" for k in range(60)))
    gap = table(*(f"{k},15,20" for k in range(20)), *(f"{80_000 + k},15,20" for k in range(20)))
    for text in (charging, at_rest, zeros, sentinel, spikes, gap):
        assert not isinstance(outcome(write(text)), str)


def test_recorded_and_computed_flights_are_in_their_units(
    computed_flights: tuple[Path, ...], real_flights: tuple[Path, ...]
) -> None:
    for path in (*computed_flights, *real_flights):
        log = read_csv_log(path)  # raises for a column in another unit
        volts, amps = log.columns["voltage_v"], log.columns["current_a"]
        cells = log.pack_data.cells
        assert cells is None or 2.0 <= np.nanmedian(volts) / cells <= 4.5
        assert np.nanmax(np.abs(amps)) < 1000.0
