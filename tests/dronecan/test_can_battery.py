# SPDX-License-Identifier: Apache-2.0
"""A pack of the bus as a source: what other makers send, and what a bus does to it."""

import logging
import random
from typing import Any

import pytest

from dronebms.dronecan.battery_address import BatteryAddress, CanPack
from dronebms.dronecan.battery_messages import DATA_TYPES, BatteryMessage, MessageError, decode
from dronebms.dronecan.can_battery import MAX_AGE_S, CanBattery
from dronebms.dronecan.can_url import CanUrl
from dronebms.dronecan.pack_identification import COLLECT_S, FAST_S
from smartbattery.registers import (
    CELLS as CELL_ROWS,
)
from smartbattery.registers import (
    CURRENT,
    CYCLES,
    FULL,
    RELATIVE_SOC,
    REMAINING,
    TEMPERATURE,
    VOLTAGE,
)
from smartbattery.snapshot import NO_GAUGE, Identity, Snapshot
from tests.dronecan.packs import (
    AUX,
    CBAT,
    CELLS,
    CELLS_V,
    CONTINUOUS,
    CUAV,
    GAUGE,
    GAUGE_AUX,
    INFO,
    MULTI,
    MULTI_STATIC,
    NAN,
    PERIODIC,
    POWER_MODULE,
    message,
)

BUS = CanUrl("mcast", "0")
FIRST = BatteryAddress(BUS, 1)
PACK = CanPack(FIRST)
NODE = CanPack(BatteryAddress(BUS, node_id=42))
SETTLED_S = COLLECT_S + 1.0


Row = tuple[str, dict[str, Any]]


def battery(*rows: Row, pack: CanPack = PACK) -> CanBattery:
    """A source that has received messages at 0 s, of a node that is known for some time."""
    source = CanBattery(pack)
    leading = (INFO, CONTINUOUS, CBAT)
    kind, first = next(row for name in leading for row in rows if row[0] == name)
    empty = {INFO: "full_charge_capacity_wh", CBAT: "full_charge_capacity"}.get(kind)
    unknown = dict.fromkeys(("voltage", "current", "temperature"), NAN) if empty else {}
    silent = first | unknown | {"voltage": NAN, "current": NAN} | ({empty: NAN} if empty else {})
    source.receive(message(kind, silent), -COLLECT_S)
    for name, fields in rows:
        source.receive(message(name, fields), 0.0)
    return source


def polled(*rows: Row, pack: CanPack = PACK) -> Snapshot:
    return battery(*rows, pack=pack).poll(0.0)


def assert_values(snapshot: Snapshot, **values: float) -> None:
    for name, value in values.items():
        assert getattr(snapshot, name) == pytest.approx(value, rel=2e-3), name


# ---------------------------------------------------------------------- what packs send


def test_a_gauge_gives_its_charge_and_its_cells() -> None:
    snapshot = polled((INFO, GAUGE), (AUX, GAUGE_AUX), (INFO, GAUGE))
    assert_values(snapshot, voltage_v=22.5, current_a=20.0, temperature_degc=24.85, soc_pct=51.0)
    assert_values(snapshot, max_error_pct=2.0, cycles=17.0)
    assert_values(snapshot, remaining_mah=180.0 / 22.2 * 1000.0, full_mah=355.0 / 22.2 * 1000.0)
    assert snapshot.cells_v == pytest.approx(CELLS_V, abs=0.002)
    assert (snapshot.alerts, snapshot.doubts, snapshot.trouble) == ((), (), None)
    assert (snapshot.identity.serial, snapshot.identity.cells) == (4711, 6)


def test_a_power_module_gives_the_pack_alone() -> None:
    snapshot = battery((INFO, POWER_MODULE)).poll(0.0)
    assert_values(snapshot, voltage_v=22.5, current_a=20.0)
    assert (snapshot.temperature_degc, snapshot.soc_pct, snapshot.remaining_mah) == (None,) * 3
    assert snapshot.cells_v == ()
    assert snapshot.counts.withheld == 0
    source = battery((INFO, POWER_MODULE))
    source.receive(message(INFO, POWER_MODULE), SETTLED_S)
    assert source.poll(SETTLED_S).identity == Identity(gauge=NO_GAUGE)


def test_a_power_module_without_a_current_sensor_has_no_current() -> None:
    source = battery((INFO, POWER_MODULE | {"current": 0.0}))
    assert source.poll(0.0).current_a is None
    source.receive(message(INFO, POWER_MODULE, current=2.0), 1.0)
    source.receive(message(INFO, POWER_MODULE, current=0.0), 2.0)
    assert source.poll(2.0).current_a == 0.0
    assert polled((INFO, GAUGE | {"current": 0.0})).current_a == 0.0  # of a gauge: at rest


def test_a_cuav_pack_discharges_with_a_negative_current() -> None:
    snapshot = polled((CBAT, CUAV), pack=NODE)
    assert_values(snapshot, voltage_v=22.5, current_a=20.0, average_a=19.0, temperature_degc=27.0)
    assert_values(snapshot, soc_pct=51.0, max_error_pct=3.0, remaining_mah=8000.0, full_mah=15800.0)
    assert_values(snapshot, time_to_empty_s=23 * 60.0, cycles=12.0)
    assert snapshot.cells_v == pytest.approx(CELLS_V, abs=1e-6)


def test_continuous_data_have_their_own_units() -> None:
    snapshot = polled((PERIODIC, MULTI_STATIC), (CONTINUOUS, MULTI), (PERIODIC, MULTI_STATIC),
                      (CONTINUOUS, MULTI), (CELLS, {"voltages": CELLS_V}))  # fmt: skip
    assert_values(snapshot, voltage_v=22.5, current_a=20.0, temperature_degc=25.0, fet_degc=31.0)
    assert_values(snapshot, soc_pct=51.5, full_mah=15800.0, remaining_mah=8000.0, cycles=12.0)
    assert snapshot.cells_v == pytest.approx(CELLS_V, abs=0.002)


def test_a_consumption_since_the_start_is_no_charge() -> None:
    fields = MULTI | {"status_flags": 1}
    assert polled((CONTINUOUS, fields), (PERIODIC, MULTI_STATIC), (CONTINUOUS, fields)).remaining_mah is None  # fmt: skip  # noqa: E501 - one row


def test_of_several_data_types_the_finer_one_is_used_whatever_their_order() -> None:
    rows = (INFO, GAUGE | {"voltage": 22.0, "current": -3.0}), (CBAT, CUAV)
    for order in (rows, rows[::-1]):
        snapshot = polled(*order, *rows, *order)
        assert_values(snapshot, voltage_v=22.5, current_a=20.0)
    source = battery(*rows)
    source.receive(message(INFO, rows[0][1]), MAX_AGE_S + 0.1)  # CBAT has ended
    assert_values(source.poll(MAX_AGE_S + 0.1), voltage_v=22.0)


UNKNOWN: dict[str, tuple[str, dict[str, Any], str]] = {
    "nan volts": (INFO, {"voltage": NAN}, "voltage_v"),
    "no volts": (INFO, {"voltage": 0.0}, "voltage_v"),
    "nan amperes": (INFO, {"current": NAN}, "current_a"),
    "infinite amperes": (INFO, {"current": float("inf")}, "current_a"),
    "nan kelvin": (INFO, {"temperature": NAN}, "temperature_degc"),
    "0 kelvin": (INFO, {"temperature": 0.0}, "temperature_degc"),
    "degC as kelvin": (INFO, {"temperature": 25.0}, "temperature_degc"),
    "soc 127": (INFO, {"state_of_charge_pct": 127}, "soc_pct"),
    "soc 101": (INFO, {"state_of_charge_pct": 101}, "soc_pct"),
    "soc without a capacity": (INFO, {"full_charge_capacity_wh": 0.0}, "soc_pct"),
    "soc with an unknown capacity": (INFO, {"full_charge_capacity_wh": NAN}, "soc_pct"),
    "no error": (INFO, {"state_of_charge_pct_stdev": 0}, "max_error_pct"),
    "nan remaining": (INFO, {"remaining_capacity_wh": NAN}, "remaining_mah"),
    "nominal 0": (AUX, {"nominal_voltage": 0.0}, "remaining_mah"),
    "nominal nan": (AUX, {"nominal_voltage": NAN}, "remaining_mah"),
    "nominal of a cell": (AUX, {"nominal_voltage": 3.7}, "full_mah"),
    "cbat soc 127": (CBAT, {"state_of_charge": 127}, "soc_pct"),
    "cbat no time": (CBAT, {"average_time_to_empty": 65535}, "time_to_empty_s"),
    "aux no cycles": (AUX, {"cycle_count": 65535}, "cycles"),
    "cbat nan": (CBAT, {"temperature": NAN}, "temperature_degc"),
    "continuous nan": (CONTINUOUS, {"state_of_charge": NAN}, "soc_pct"),
    "continuous degc": (CONTINUOUS, {"temperature_cells": NAN}, "temperature_degc"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_unknown_stays_unknown(case: str) -> None:
    kind, change, field = UNKNOWN[case]
    base = {INFO: GAUGE, AUX: GAUGE_AUX, CBAT: CUAV, CONTINUOUS: MULTI}[kind]
    rows = [(INFO, GAUGE), (AUX, GAUGE_AUX), (INFO, GAUGE)] if kind in (INFO, AUX) else []
    rows = rows or [(kind, base), (PERIODIC, MULTI_STATIC), (kind, base)]
    changed = [(name, fields | change if name == kind else fields) for name, fields in rows]
    pack = NODE if kind == CBAT else PACK
    assert getattr(polled(*rows, pack=pack), field) is not None
    assert getattr(polled(*changed, pack=pack), field) is None


# What is implausible, or no measurement of this sender, is no report of "unknown".
REPORTED = [
    *("nan volts", "no volts", "nan amperes", "nan kelvin", "0 kelvin"),
    *("soc 127", "no error", "cbat soc 127", "cbat no time", "aux no cycles", "cbat nan"),
    *("continuous nan", "continuous degc"),
]


@pytest.mark.parametrize("case", REPORTED)
def test_a_value_that_the_sender_reports_as_unknown_does_not_hold(case: str) -> None:
    kind, change, field = UNKNOWN[case]
    base = {INFO: GAUGE, AUX: GAUGE_AUX, CBAT: CUAV, CONTINUOUS: MULTI}[kind]
    rows = [(INFO, GAUGE), (AUX, GAUGE_AUX), (INFO, GAUGE)] if kind in (INFO, AUX) else []
    rows = rows or [(kind, base), (PERIODIC, MULTI_STATIC), (kind, base)]
    source = battery(*rows, pack=NODE if kind == CBAT else PACK)
    assert getattr(source.poll(0.0), field) is not None
    source.receive(message(kind, base | change), 0.5)
    assert getattr(source.poll(0.5), field) is None
    source.receive(message(kind, base), 1.0)
    assert getattr(source.poll(1.0), field) is not None


def test_a_cell_that_the_sender_reports_as_unknown_does_not_hold() -> None:
    source = battery((INFO, GAUGE), (AUX, GAUGE_AUX), (INFO, GAUGE))
    cells_v = (CELLS_V[0], NAN, *CELLS_V[2:])
    source.receive(message(AUX, GAUGE_AUX, voltage_cell=cells_v), 0.5)
    seen = source.poll(0.5).cells_v
    assert [v is None for v in seen] == [False, True, False, False, False, False]


def test_a_value_of_a_finer_data_type_holds_while_another_one_is_unknown() -> None:
    source = battery((CBAT, CUAV), (INFO, GAUGE), pack=NODE)
    before = source.poll(0.0)
    source.receive(message(INFO, GAUGE, current=NAN, temperature=NAN), 0.5)
    after = source.poll(0.5)
    assert (after.current_a, after.temperature_degc) == (before.current_a, before.temperature_degc)
    assert None not in (after.current_a, after.temperature_degc)


def test_the_configured_nominal_voltage_makes_amperehours_of_energies() -> None:
    assert polled((INFO, GAUGE)).remaining_mah is None
    pack = CanPack(FIRST, nominal_v=22.8)
    assert_values(polled((INFO, GAUGE), pack=pack), remaining_mah=180.0 / 22.8 * 1000.0)


def test_the_sign_of_a_data_type_is_reversed_by_the_configuration_alone() -> None:
    tattu = GAUGE | {"current": -20.0}
    assert polled((INFO, tattu)).current_a == -20.0
    pack = CanPack(FIRST, reversed_types=frozenset({1092}))
    assert polled((INFO, tattu), pack=pack).current_a == 20.0
    assert_values(polled((INFO, tattu), (CBAT, CUAV), pack=pack), current_a=20.0)


FLAGS: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "normal use": (INFO, GAUGE, {"status_flags": 1 | 2 | 4}, ()),
    "hot": (INFO, GAUGE, {"status_flags": 8}, ("temperature above normal",)),
    "several": (INFO, GAUGE, {"status_flags": 32 | 64}, ("overload", "bad battery")),
    "all": (INFO, GAUGE, {"status_flags": 0x7FF}, (
        "temperature above normal", "temperature below normal", "overload", "bad battery",
        "service needed", "BMS error")),
    "off": (CBAT, CUAV, {"is_powering_off": True}, ("powering off",)),
    "continuous": (CONTINUOUS, MULTI, {"status_flags": 1 << 14 | 3}, ("short circuit",)),
}  # fmt: skip


@pytest.mark.parametrize("case", FLAGS)
def test_status_flags_have_the_sense_of_the_dsdl_and_a_maker_may_be_excepted(case: str) -> None:
    kind, base, change, texts = FLAGS[case]
    pack = NODE if kind == CBAT else PACK
    assert polled((kind, base | change), pack=pack).alerts == texts
    excepted = CanPack(pack.address, ignore_flags=True)
    assert polled((kind, base | change), pack=excepted).alerts is None


def test_flags_expire() -> None:
    source = battery((INFO, GAUGE | {"status_flags": 8}))
    assert source.poll(15.0).alerts == ("temperature above normal",)
    assert source.poll(15.1).alerts is None


# ---------------------------------------------------------------------- cells


def test_a_divided_voltage_has_no_cells_until_two_differ() -> None:
    divided = GAUGE_AUX | {"voltage_cell": (3.75,) * 6}
    source = battery((INFO, GAUGE), (AUX, divided))
    assert source.poll(0.0).cells_v == ()
    source.receive(message(AUX, GAUGE_AUX), 1.0)
    source.receive(message(AUX, divided), 2.0)
    assert source.poll(2.0).cells_v == (3.75,) * 6


def test_a_cell_that_is_not_sent_is_unknown_and_moves_no_other() -> None:
    pack = CanPack(FIRST, cells=14)
    twelve = GAUGE_AUX | {"voltage_cell": tuple(3.7 + 0.01 * k for k in range(12))}
    snapshot = polled((INFO, GAUGE | {"voltage": 52.0}), (AUX, twelve), pack=pack)
    assert len(snapshot.cells_v) == 14
    assert snapshot.cells_v[12:] == (None, None)
    assert snapshot.cells_v[11] == pytest.approx(3.81, abs=0.002)
    gap = GAUGE_AUX | {"voltage_cell": (3.75, 0.0, NAN, 3.73, 3.75, 3.77)}
    snapshot = polled((INFO, GAUGE), (AUX, gap))
    assert [v is None for v in snapshot.cells_v] == [False, True, True, False, False, False]


def test_places_without_a_cell_are_no_cells() -> None:
    padded = GAUGE_AUX | {"voltage_cell": (*CELLS_V, 0.0, 0.0, NAN)}
    snapshot = polled((INFO, GAUGE), (AUX, padded), pack=CanPack(FIRST, cells=6))
    assert len(snapshot.cells_v) == 6
    cbat = CUAV | {"voltage_cell": (*CELLS_V, 3.7, 3.7)}
    assert len(polled((CBAT, cbat), pack=NODE).cells_v) == 6  # by cell_count


def test_cells_come_in_parts() -> None:
    parts: list[Row] = [
        (CELLS, {"voltages": CELLS_V[:4]}),
        (CELLS, {"voltages": CELLS_V[4:], "index": 4}),
    ]
    assert polled((INFO, GAUGE), *parts).cells_v == pytest.approx(CELLS_V, abs=0.002)
    assert polled((INFO, GAUGE), (CELLS, {"voltages": CELLS_V, "index": 60_000})).cells_v == ()


def test_a_pack_with_more_cells_than_configured_is_refused_until_it_has_them() -> None:
    source = CanBattery(CanPack(FIRST, cells=4))
    for fields in (GAUGE_AUX, GAUGE_AUX | {"voltage_cell": CELLS_V[:4]}):
        source.receive(message(INFO, GAUGE), 0.0)
        source.receive(message(AUX, fields), 0.0)
        refused = source.poll(FAST_S)
        assert (refused.voltage_v, refused.cells_v) == (None, (None,) * 4)
        assert refused.trouble == "battery 1 on mcast:0 has 6 cells, 4 are configured"
    source.receive(message(INFO, GAUGE), 9.0)
    assert source.poll(10.0).voltage_v is None
    assert source.poll(10.1).voltage_v == 22.5


@pytest.mark.parametrize(
    "parts",
    [
        [(CELLS, {"voltages": CELLS_V[:4]}), (CELLS, {"voltages": CELLS_V[4:], "index": 4})],
        [(AUX, GAUGE_AUX), (AUX, GAUGE_AUX | {"voltage_cell": (*CELLS_V[:4], NAN, NAN)})],
    ],
    ids=["in parts", "the last ones not always"],
)
def test_a_pack_with_more_cells_is_refused_without_interruption(parts: list[Row]) -> None:
    source = CanBattery(CanPack(FIRST, cells=4))
    seen = set()
    for tick in range(200):
        source.receive(message(INFO, GAUGE), tick / 10)
        name, fields = parts[tick % 2]
        source.receive(message(name, fields), tick / 10)
        if tick > 1:
            seen.add(source.poll(tick / 10).voltage_v)
    assert seen == {None}


@pytest.mark.parametrize("unknown", [(5,), (4, 5), (0, 5), (0, 1, 2, 3, 4, 5)])
def test_cells_that_become_unknown_do_not_hold_wherever_they_are(unknown: tuple[int, ...]) -> None:
    fields = {AUX: GAUGE_AUX, CBAT: CUAV, CELLS: {"voltages": CELLS_V}}
    for name, base in fields.items():
        source = battery((INFO, GAUGE), (name, base), (INFO, GAUGE))
        assert None not in source.poll(0.0).cells_v
        key = "voltages" if name == CELLS else "voltage_cell"
        cells_v = tuple(NAN if k in unknown else v for k, v in enumerate(CELLS_V))
        source.receive(message(name, base | {key: cells_v}), 0.5)
        seen = source.poll(0.5).cells_v
        assert [k for k, v in enumerate(seen) if v is None] == [*unknown]
        assert len(seen) == 6


# ---------------------------------------------------------------------- time


def test_values_expire_each_at_its_time() -> None:
    source = battery((INFO, GAUGE), (AUX, GAUGE_AUX), (INFO, GAUGE))
    late = source.poll(MAX_AGE_S)
    assert None not in (late.voltage_v, late.current_a, *late.cells_v)
    late = source.poll(MAX_AGE_S + 0.1)
    assert (late.voltage_v, late.current_a, *late.cells_v) == (None,) * 8
    assert_values(late, soc_pct=51.0, temperature_degc=24.85)
    assert late.trouble == "no battery 1 on mcast:0"
    late = source.poll(15.1)
    assert (late.soc_pct, late.temperature_degc, late.remaining_mah) == (None,) * 3
    assert source.poll(60.0).full_mah is not None
    assert source.poll(60.1).full_mah is None


def test_a_reason_names_what_is_received() -> None:
    source = CanBattery(CanPack(BatteryAddress(BUS, 7)))
    assert source.poll(0.0).trouble == "no battery 7 on mcast:0"
    source.receive(message(INFO, GAUGE), 0.0)
    source.receive(message(INFO, GAUGE, battery_id=2), 0.0)
    source.receive(message(CBAT, CUAV, 43), 0.0)
    source.receive(message(CONTINUOUS, MULTI, 44), 0.0)
    assert source.poll(1.0).trouble == (
        "no battery 7 on mcast:0 (received: battery 1 of node 44, battery 1, 2 of node 42, node 43)"
    )
    assert source.poll(9.0).trouble == "no battery 7 on mcast:0"
    assert source.poll(9.0, "mcast:0: no such device; retrying").trouble == (
        "mcast:0: no such device; retrying"
    )
    assert polled((INFO, GAUGE | {"voltage": NAN})).trouble == (
        "battery 1 on mcast:0 reports no voltage"
    )


# ---------------------------------------------------------------------- several nodes


def test_each_of_several_packs_has_its_own_values() -> None:
    sources = [CanBattery(CanPack(BatteryAddress(BUS, k))) for k in (1, 2, 3)]
    sent = [
        message(INFO, GAUGE, 42, battery_id=1, voltage=21.0),
        message(INFO, GAUGE, 42, battery_id=2, voltage=22.0),  # one node with two packs
        message(INFO, GAUGE, 43, battery_id=3, voltage=23.0),
        message(AUX, GAUGE_AUX, 42, battery_id=2),
    ]
    for one in sent:
        for source in sources:
            source.receive(one, 0.0)
    polls = [source.poll(FAST_S) for source in sources]
    assert [one.voltage_v for one in polls] == [21.0, 22.0, 23.0]
    assert [len(one.cells_v) for one in polls] == [0, 6, 0]


def test_data_without_an_id_of_a_node_with_two_packs_are_of_none() -> None:
    source = CanBattery(PACK)
    for fields in (GAUGE, GAUGE | {"battery_id": 2}):
        source.receive(message(INFO, fields), 0.0)
    for name, fields in ((CELLS, {"voltages": CELLS_V}), (CBAT, CUAV | {"voltage": 30.0})):
        source.receive(message(name, fields), 0.0)
    snapshot = source.poll(FAST_S)
    assert (snapshot.voltage_v, snapshot.cells_v) == (22.5, ())
    by_node = battery((INFO, GAUGE), (INFO, GAUGE | {"battery_id": 2}), pack=NODE)
    assert by_node.poll(0.0).trouble == "node 42 sends the batteries 1, 2: name one"


def test_a_second_id_refuses_a_pack_only_as_long_as_it_is_sent() -> None:
    by_node = CanBattery(NODE)
    by_id = CanBattery(PACK)
    seen = []
    for second in range(60):
        both = second in (20, 22)
        for number in (1, 2) if both else (1,):
            for source in (by_node, by_id):
                source.receive(message(INFO, GAUGE, battery_id=number), float(second))
        for source in (by_node, by_id):
            source.receive(message(CELLS, {"voltages": CELLS_V}), float(second))
        seen.append((by_node.poll(second).voltage_v, len(by_id.poll(second).cells_v)))
    assert seen[19] == (22.5, 6)
    assert {voltage_v for voltage_v, _ in seen[20:32]} == {None}
    assert seen[45] == (22.5, 6)


def test_two_nodes_that_exchange_their_packs_are_followed_with_them() -> None:
    sources = [CanBattery(CanPack(BatteryAddress(BUS, k))) for k in (1, 2)]
    polls: list[Snapshot] = []
    for second in range(60):
        for node, number in ((42, 1), (43, 2)) if second < 20 else ((42, 2), (43, 1)):
            serial = 100 + number
            fields = {"battery_id": number, "model_instance_id": serial, "voltage": 20.0 + number}
            for source in sources:
                source.receive(message(INFO, GAUGE, node, **fields), float(second))
                source.receive(message(CELLS, {"voltages": CELLS_V[:4]}, node), float(second))
        polls = [source.poll(float(second)) for source in sources]
        for number, snapshot in enumerate(polls, start=1):
            assert snapshot.voltage_v in (None, 20.0 + number)
            assert snapshot.voltage_v is None or snapshot.identity.serial == 100 + number
    assert [len(snapshot.cells_v) for snapshot in polls] == [4, 4]
    assert [snapshot.voltage_v for snapshot in polls] == [21.0, 22.0]
    assert [snapshot.doubts for snapshot in polls] == [(), ()]


def test_the_slot_counts_for_a_node_without_battery_info_alone() -> None:
    source = CanBattery(CanPack(BatteryAddress(BUS, 3)))
    source.receive(message(CONTINUOUS, MULTI, slot_id=3), 0.0)
    assert source.poll(COLLECT_S - 0.1).trouble == "no battery 3 on mcast:0"
    source.receive(message(CONTINUOUS, MULTI, slot_id=3), COLLECT_S)
    source.receive(message(CELLS, {"voltages": CELLS_V}), COLLECT_S)
    snapshot = source.poll(COLLECT_S)
    assert (snapshot.voltage_v, len(snapshot.cells_v)) == (22.5, 6)
    source.receive(message(INFO, GAUGE, battery_id=9), 6.1)
    source.receive(message(CONTINUOUS, MULTI, slot_id=3), 10.0)
    assert source.poll(11.1).trouble == "no battery 3 on mcast:0 (received: battery 9 of node 42)"


def test_no_value_is_used_before_the_identity_had_its_time() -> None:
    source = CanBattery(PACK)
    for second, name, fields in ((0.0, INFO, GAUGE), (1.0, CBAT, CUAV), (2.0, INFO, GAUGE)):
        source.receive(message(name, fields), second)
        early = source.poll(second)
        assert (early.voltage_v, early.identity) == (None, Identity(gauge=NO_GAUGE))
        assert early.trouble == "waiting for the identity of node 42"
    first = source.poll(FAST_S)
    assert first.voltage_v == 22.5
    assert (first.identity.serial, first.identity.device) == (1234, "Maker Pack 6S")
    source.receive(message(PERIODIC, MULTI_STATIC), 3.0)  # it names nothing any more
    assert source.poll(9.0).identity == first.identity


def test_a_second_node_with_the_same_id_is_not_used_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = CanBattery(PACK)
    for second in range(4):
        source.receive(message(INFO, GAUGE), float(second))
        for name, fields in ((AUX, GAUGE_AUX), (INFO, GAUGE | {"voltage": 18.0})):
            source.receive(message(name, fields, 43), second + 0.5)
    snapshot = source.poll(3.5)
    assert (snapshot.voltage_v, snapshot.cells_v) == (22.5, ())
    assert snapshot.doubts == ("battery 1 sent by node 43 too: unused",)
    conflicts = [one for one in caplog.records if "node 43" in one.getMessage()]
    assert [one.levelno for one in conflicts] == [logging.WARNING]
    source.receive(message(INFO, GAUGE), 8.0)
    assert source.poll(8.6).doubts == ()


def test_a_node_that_restarts_is_followed_again_with_its_pack() -> None:
    source = battery((INFO, GAUGE), (AUX, GAUGE_AUX))
    source.receive(message(INFO, GAUGE), SETTLED_S)
    identity = source.poll(SETTLED_S).identity
    assert (identity.serial, identity.device, identity.cells) == (4711, "Maker Pack 6S", 6)
    silent = source.poll(SETTLED_S + 20.0)
    assert (silent.voltage_v, silent.identity) == (None, identity)
    booting = {"voltage": 0.0, "state_of_charge_pct": 0, "full_charge_capacity_wh": 0.0,
               "model_instance_id": 0, "model_name": b""}  # fmt: skip
    source.receive(message(INFO, GAUGE | booting), SETTLED_S + 21.0)
    first = source.poll(SETTLED_S + 21.0)
    assert (first.voltage_v, first.soc_pct, first.identity) == (None, None, identity)
    source.receive(message(INFO, GAUGE), SETTLED_S + 22.0)
    assert source.poll(SETTLED_S + 22.0).voltage_v == 22.5
    assert source.poll(SETTLED_S + 22.0).identity == identity


def test_a_swapped_pack_takes_over_once_its_serial_number_is_known() -> None:
    source = battery((INFO, GAUGE), (CBAT, CUAV))
    source.receive(message(INFO, GAUGE), SETTLED_S)
    assert source.poll(SETTLED_S).identity.serial == 1234  # of CBAT, the better one
    at_s = 20.0
    source.receive(message(INFO, GAUGE, 77, model_instance_id=99), at_s)
    waiting = source.poll(at_s)
    assert (waiting.voltage_v, waiting.identity.serial) == (None, None)
    assert waiting.trouble == "waiting for the identity of node 77"
    source.receive(message(CBAT, CUAV, 77, serial_number=1300), at_s + 1.0)
    after = source.poll(at_s + 1.0)
    assert (after.voltage_v, after.identity.serial) == (22.5, 1300)


def test_a_swapped_pack_that_states_no_such_number_is_used_without_it() -> None:
    source = battery((INFO, GAUGE), (CBAT, CUAV))
    source.receive(message(INFO, GAUGE), SETTLED_S)
    assert source.poll(SETTLED_S).identity.serial == 1234
    for second in range(20, 28):
        source.receive(message(INFO, GAUGE, 77), float(second))
    after = source.poll(27.0)
    assert (after.voltage_v, after.identity.serial, after.identity.device) == (
        22.5, 4711, "Maker Pack 6S",
    )  # fmt: skip


def test_another_pack_behind_the_same_node_is_another_pack() -> None:
    source = battery((INFO, GAUGE))
    for second, serial in ((SETTLED_S, 4711), (SETTLED_S + 1.0, 4712)):
        source.receive(message(INFO, GAUGE, model_instance_id=serial), second)
        assert source.poll(second).identity.serial == serial


def test_nothing_of_a_pack_is_shown_as_of_another_one_behind_the_same_node() -> None:
    source = battery((INFO, GAUGE), (CBAT, CUAV), (AUX, GAUGE_AUX))
    source.receive(message(CBAT, CUAV), SETTLED_S)
    source.receive(message(AUX, GAUGE_AUX), SETTLED_S)
    before = source.poll(SETTLED_S)
    assert (before.identity.serial, len(before.cells_v), before.cycles) == (1234, 6, 12)
    four = {"serial_number": 1300, "cell_count": 4, "voltage_cell": CELLS_V[:4], "voltage": 15.0}
    other = CUAV | four | {"cycle_count": 65535, "full_charge_capacity": 0.0}
    source.receive(message(CBAT, other), SETTLED_S + 1.0)
    after = source.poll(SETTLED_S + 1.0)
    assert (after.identity.serial, after.identity.cells) == (1300, 4)
    assert after.cells_v == pytest.approx(CELLS_V[:4], abs=0.002)
    assert (after.cycles, after.full_mah) == (None, None)


def test_a_node_that_restarts_with_another_number_of_cells_has_another_pack() -> None:
    source = battery((CBAT, CUAV | {"serial_number": 0}), pack=NODE)
    assert len(source.poll(0.0).cells_v) == 6
    four = {"serial_number": 0, "cell_count": 4, "voltage_cell": CELLS_V[:4], "voltage": 15.0}
    for second in range(20, 40):
        source.receive(message(CBAT, CUAV | four), float(second))
    assert len(source.poll(39.0).cells_v) == 4


IDENTITIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cbat": (CBAT, {}, {"serial": 1234, "date": (2024, 5, 17), "cells": 6, "design_mah": 16000.0}),
    "cbat without": (
        CBAT,
        {"serial_number": 0, "manufacture_date": 0, "cell_count": 0, "voltage_cell": (),
         "design_capacity": NAN},
        {},
    ),
    "periodic": (
        PERIODIC,
        {},
        {"serial": 20240517, "manufacturer": "Maker", "device": "Pack 6S", "date": (2024, 5, 17),
         "cells": 6, "design_mah": 16000.0},
    ),
    "serial of letters": (
        PERIODIC,
        {"serial_number": b"A-17", "manufacture_date": b"99999999", "name": b"M_P"},
        {"manufacturer": "M", "device": "P A-17", "cells": 6, "design_mah": 16000.0},
    ),
    "huge serial": (
        PERIODIC,
        {"serial_number": b"12345678901", "manufacture_date": b"", "name": b"M_P"},
        {"manufacturer": "M", "device": "P 12345678901", "cells": 6, "design_mah": 16000.0},
    ),
    "control characters": (
        PERIODIC,
        {"serial_number": b"", "manufacture_date": b"1705202x", "name": b"M\x1b[2J\xff_\nP"},
        {"manufacturer": "M[2J\N{REPLACEMENT CHARACTER}", "device": "P", "cells": 6,
         "design_mah": 16000.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IDENTITIES)
def test_the_identity_is_what_the_pack_states(case: str) -> None:
    kind, change, fields = IDENTITIES[case]
    base = {CBAT: CUAV, PERIODIC: MULTI_STATIC}[kind]
    source = CanBattery(NODE)
    for second in (0.0, SETTLED_S):
        if kind == PERIODIC:
            source.receive(message(CONTINUOUS, MULTI), second)
        source.receive(message(kind, base | change), second)
    assert source.poll(SETTLED_S).identity == Identity(**fields, gauge=NO_GAUGE)


def test_the_identity_does_not_change_with_the_order_of_the_messages() -> None:
    rows = (INFO, GAUGE), (CBAT, CUAV), (PERIODIC, MULTI_STATIC), (AUX, GAUGE_AUX)
    sent = [message(name, fields) for name, fields in rows]
    seen = set()
    for shift in range(len(rows)):
        source = CanBattery(PACK)
        for tick in range(80):
            source.receive(sent[(tick + shift) % len(rows)], tick / 4)
            identity = source.poll(tick / 4).identity
            if tick / 4 > SETTLED_S:
                seen.add(identity)
    assert len(seen) == 1


def test_random_contents_never_raise_and_no_value_is_out_of_its_range() -> None:
    chance = random.Random(18)  # noqa: S311 - reproducible
    packs = [PACK, CanPack(BatteryAddress(BUS, 0), cells=6, nominal_v=22.2), NODE]
    sources = [CanBattery(pack) for pack in packs]
    lengths = {1092: 23, 20004: 25, 20010: 25, 20011: 52, 20012: 3, 20300: 66}
    known = 0
    for number in range(6000):
        data_type = chance.choice(list(DATA_TYPES.values()))
        payload = chance.randbytes(lengths[data_type.type_id] + chance.randrange(40))
        try:
            values = decode(data_type, payload)
        except MessageError:
            continue
        values |= {
            name: chance.randrange(2) for name in ("battery_id", "slot_id") if name in values
        }
        for source in sources:
            source.receive(BatteryMessage(data_type, chance.choice((41, 42)), values), number / 50)
            snapshot = source.poll(number / 50)
            for row in (VOLTAGE, CURRENT, TEMPERATURE, RELATIVE_SOC, REMAINING, FULL, CYCLES):
                value = getattr(snapshot, row.field)
                assert value is None or row.low <= value <= row.high, row.field
                known += value is not None
            assert all(
                v is None or CELL_ROWS[0].low <= v <= CELL_ROWS[0].high for v in snapshot.cells_v
            )
    assert known > 1000


def test_every_data_type_is_read() -> None:
    assert {row.name for row in DATA_TYPES.values()} == {
        INFO, AUX, CONTINUOUS, PERIODIC, CELLS, CBAT,
    }  # fmt: skip
