# SPDX-License-Identifier: Apache-2.0
"""One fault for each limit that a gauge can report, sent as words on the bus.

The words are written here by hand and not encoded by our rows. Each fault has to trip its limit
within the row's own time and one update of what is read, to clear again, and to trip nothing else
than what it means: a milder tier of the same quantity, or what follows from it for any pack.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from dronebms.core.chemistry import LI_ION, LIFEPO4
from dronebms.core.pack_data import PackData
from dronebms.core.report import Report
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import default_limits
from dronebms.protection.quantities import mismatches
from smartbattery.errors import BusTimeoutError
from smartbattery.gauge import Gauge
from smartbattery.snapshot import Identity
from tests.scripted import SELECTORS, SPECIFICATION, STATUS, ScriptedPack

FACTS = PackData(LI_ION, cells=4, capacity_mah=6000.0, cutoff_cell_v=3.0)
ROWS = {row.limit_id: row for row in default_limits(FACTS)}
TICK_S = 0.1
UPDATE_S = 2.1  # 20 words and blocks are read in turn; a step is accepted when read again
DEGC, VOLTS, AMPS, CELL1, AVERAGE = 0x08, 0x09, 0x0A, 0x3F, 0x0B
CHARGE_PCT, REMAINING, FULL, DESIGN = 0x0D, 0x0F, 0x10, 0x18
LOAD_A, SAG_OHM, MOST_SAG_A = 6.0, 0.002, 90.0
FULL_MAH = 5800.0


@dataclass
class Bench:
    """A 4S pack that replies with words, and its pipeline."""

    cells_v: tuple[float, ...] = (3.8, 3.81, 3.79, 3.8)
    current_a: float = LOAD_A
    degc: float = 25.0
    status_raw: int = 0x00C0
    alert_raw: int = 0
    safety_raw: int = 0
    charging_a: float = 40.0  # wished
    charging_v: float = 16.8
    failure_raw: int = 0
    fet_degc: float = 30.0
    pack_v: float | None = None  # of all cells, unless it lies
    silent: bool = False
    falling: bool = False  # the cells, with the charge that is drawn
    pack_data: PackData = FACTS

    def __post_init__(self) -> None:
        self.pack = ScriptedPack(device="bq40z50")
        self.pipeline = Pipeline(Gauge(self, cells=4), self.pack_data)
        self.pack.words |= {
            SPECIFICATION: 0x1031,
            DESIGN: 600,
            FULL: round(FULL_MAH / 10),
        }  # amperes x 10
        self.tick = 0
        self.drawn_mah = 0.0
        # What the lowest cell holds: a gauge that reports another charge is refuted.
        rested_v = min(self.cells_v) + SAG_OHM * LOAD_A
        self.start_mah = FULL_MAH * FACTS.chemistry.charge_at(rested_v)

    def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
        """Reply while the pack is connected."""
        if self.silent:
            raise BusTimeoutError("the plug is off")
        return self.pack.transfer(address, tx, rx_len)

    def hold(self, for_s: float) -> Iterator[Report]:
        """Step for some time."""
        for _ in range(round(for_s / TICK_S)):
            self._write_words()
            yield self.pipeline.step(self.tick * TICK_S, UNKNOWN_VEHICLE)
            self.tick += 1

    def _rested_v(self, drawn_mah: float) -> float:
        return FACTS.chemistry.open_circuit_v((self.start_mah - drawn_mah) / FULL_MAH)

    def _write_words(self) -> None:
        noise_mv = self.tick // 3 % 2  # a living gauge's last bit
        # A load has its sag, of a sixth of a new cell's resistance: none would refute the current.
        sag_v = SAG_OHM * (min(self.current_a, MOST_SAG_A) - LOAD_A)
        fall_v = self._rested_v(0.0) - self._rested_v(self.drawn_mah) if self.falling else 0.0
        cells_v = [cell_v - sag_v - fall_v for cell_v in self.cells_v]
        words, pack_v = self.pack.words, self.pack_v or sum(cells_v)
        words[VOLTS] = round(pack_v * 1000) + noise_mv
        words[AMPS] = round(max(-self.current_a * 100, -0x8000)) & 0xFFFF
        words[AVERAGE] = words[AMPS]
        self.drawn_mah += self.current_a * TICK_S / 3.6
        left_mah = max(self.start_mah - self.drawn_mah, 0.0)
        words[REMAINING], words[CHARGE_PCT] = round(left_mah / 10), round(100 * left_mah / FULL_MAH)
        words[DEGC] = round((self.degc + 273.15) * 10)
        words[STATUS] = self.status_raw
        words[0x14], words[0x15] = round(self.charging_a * 1000), round(self.charging_v * 1000)
        for index, cell_v in enumerate(cells_v):
            words[CELL1 - index] = round(cell_v * 1000)
        kelvin = round((self.fet_degc + 273.15) * 10).to_bytes(2, "little")
        self.pack.data = {
            0x50: self.alert_raw.to_bytes(4, "little"),
            SELECTORS["SafetyStatus"]: self.safety_raw.to_bytes(4, "little"),
            SELECTORS["PFStatus"]: self.failure_raw.to_bytes(4, "little"),
            SELECTORS["OperationStatus"]: bytes(4),
            0x72: bytes(12) + kelvin + bytes(2),
        }


def cells(lowest_v: float, others_v: float) -> dict[str, object]:
    return {"cells_v": (others_v, others_v, lowest_v, others_v)}


@dataclass(frozen=True)
class Fault:
    """A fault: the healthy and the faulty words, and the other limits that it trips."""

    wrong: dict[str, object]
    well: dict[str, object] = field(default_factory=dict)
    after_s: float = 0.0  # from the words to the quantity, in addition to hold and update
    means: tuple[str, ...] = ()
    well_s: float = 5.0
    heal: dict[str, object] = field(default_factory=dict)  # where what is well does not clear it


def at(limit_id: str, share: float = 0.02) -> float:
    """A value slightly beyond a row's threshold."""
    row = ROWS[limit_id]
    return row.trip + share * (row.trip - row.clear)


# What an end of the pack means for everything that is worked out from it.
END: tuple[str, ...] = (
    "cell_low",
    "cell_sag",
    "pack_low",
    "time_soon",
    "time_low",
    "time_critical",
    "time_over",
    "limp_home",
)
END += ("charge_low", "charge_critical", "spread_load")
LOADS: tuple[str, ...] = tuple(
    key for key, row in ROWS.items() if row.quantity in {"heat_a", "current_2s_a"}
)
LOADS += tuple(
    key for key, row in ROWS.items() if row.quantity in {"current_10s_a", "current_60s_a"}
)
LOADS += END  # a load with little voltage drop confuses the estimator
CHARGE = {"current_a": -2.0}

# fmt: off
FAULTS = {
    "cell_sag":            Fault(cells(at("cell_sag"), 3.2), cells(3.3, 3.35), means=END),
    "cell_critical":       Fault(cells(at("cell_critical"), 3.15), cells(3.3, 3.35), means=END),
    "cell_emergency":      Fault(cells(at("cell_emergency"), 2.9), cells(3.25, 3.3), means=(*END, "cell_critical")),
    "cell_high":           Fault(cells(at("cell_high"), 4.1), cells(4.15, 4.1), means=()),
    "cell_high_critical":  Fault(cells(at("cell_high_critical"), 4.15), cells(4.18, 4.15), means=("cell_high",)),
    "cell_high_emergency": Fault(cells(at("cell_high_emergency"), 4.2), cells(4.2, 4.2), means=("cell_high", "cell_high_critical")),
    "spread_load":         Fault(cells(3.4, 3.4 + at("spread_load") + 0.001), cells(3.43, 3.4 + at("spread_load") + 0.001), heal=cells(3.65, 3.4 + at("spread_load") + 0.001), means=END),
    "spread_rest":         Fault({**cells(3.6, 3.8), "current_a": 0.1}, {"current_a": 0.1}, after_s=0.0, well_s=62.0),
    "pack_low":            Fault({"cells_v": (2.99,) * 4}, {"cells_v": (3.15,) * 4}, means=(*END, "cell_critical")),
    "hot":                 Fault({"degc": at("hot")}, {"degc": 51.0}),
    "hot_critical":        Fault({"degc": at("hot_critical")}, {"degc": 60.0}, means=("hot",)),
    "hot_emergency":       Fault({"degc": at("hot_emergency")}, {"degc": 75.0}, heal={"degc": 68.0}, means=("hot", "hot_critical")),
    "cold":                Fault({"degc": at("cold")}, {"degc": -5.0}),
    "cold_critical":       Fault({"degc": at("cold_critical")}, {"degc": -15.0}, means=("cold",)),
    "cold_emergency":      Fault({"degc": at("cold_emergency")}, {"degc": -25.0}, means=("cold", "cold_critical")),
    "fet_hot":             Fault({"fet_degc": at("fet_hot")}),
    "fet_critical":        Fault({"fet_degc": at("fet_critical")}, means=("fet_hot",)),
    "warming":             Fault({"degc": 25.0 + at("warming")}, well_s=62.0),
    "warming_critical":    Fault({"degc": 25.0 + at("warming_critical")}, well_s=62.0, means=("warming",)),
    "silent":              Fault({"silent": True}, after_s=3.0),
    "lost":                Fault({"silent": True}, after_s=10.0, means=("silent",)),
    "implausible":         Fault({"pack_v": 16.5}, after_s=3.0),
    "gauge_stop":          Fault({"status_raw": 0x08C0}),
    "gauge_hot":           Fault({"status_raw": 0x10C0}),
    "alert":               Fault({"alert_raw": 1 << 4}),
    "tripped":             Fault({"safety_raw": 1 << 4}),
    "charge_tripped":      Fault({"safety_raw": 1 << 12}),
    "failed":              Fault({"failure_raw": 1 << 28}),
    "charging_cold":       Fault({**CHARGE, "degc": at("charging_cold")}, {"degc": 2.0}),
    "charging_warm":       Fault({**CHARGE, "degc": at("charging_warm")}, {"degc": 40.0}),
    "charging_hot":        Fault({**CHARGE, "degc": at("charging_hot")}, {"degc": 47.0}, means=("charging_warm",)),
    "charging_uneven":     Fault({**CHARGE, **cells(3.7, 3.81)}, {"current_a": -2.0}),
    "charging_beyond":     Fault({"charging_a": 1.8}, {"current_a": -2.0}),
    "charging_above":      Fault({"charging_v": 14.9}, {"current_a": -2.0}),
    "charging_fast":       Fault({"current_a": -at("charging_fast")}, {"current_a": -2.0}),
    "charging_too_fast":   Fault({"current_a": -at("charging_too_fast")}, {"current_a": -2.0}, means=("charging_fast",)),
    "current_2s":          Fault({"current_a": at("current_2s", 0.2)}, after_s=2.0, means=LOADS, well_s=62.0),
    "current_2s_emergency": Fault({"current_a": at("current_2s_emergency", 0.2)}, after_s=2.0, means=LOADS, well_s=62.0),
    "current_10s":         Fault({"current_a": at("current_10s", 0.2)}, after_s=10.0, means=LOADS, well_s=62.0),
    "current_60s":         Fault({"current_a": at("current_60s", 0.2)}, after_s=60.0, means=LOADS, well_s=62.0),
    "current_60s_critical": Fault({"current_a": at("current_60s_critical", 0.2)}, after_s=60.0, means=LOADS, well_s=62.0),
    "heat":                Fault({"current_a": 1.6 * at("heat")}, after_s=60.0, means=LOADS),
    "heat_critical":       Fault({"current_a": 1.6 * at("heat_critical")}, after_s=60.0, means=LOADS),
}
# fmt: on
# What no single word shows: what is worked out over a flight, and what takes hours.
ELSEWHERE = {
    "cell_low": "flights of benchmarks/protection.py: the estimator takes the sag out",
    "time_soon": "flights",
    "charge_low": "flights",
    "charge_critical": "flights",
    "time_low": "flights",
    "time_critical": "flights",
    "time_over": "flights",
    "limp_home": "test_current_governor",
    "home_soon": "test_alarms",
    "home_turn": "test_alarms",
    "home_now": "test_alarms",
    "home_lost": "test_alarms",
    "alternate": "test_alarms",
    "mission_marginal": "test_alarms",
    "mission_no": "test_alarms",
    "worn": "test_alarms",
    "worn_out": "test_alarms",
    "pack_missing": "test_multi_pack_bytes",
    "module_missing": "test_multi_pack_bytes",
    "current_beyond": "below",
    "mismatch": "below",
    "blind": "below",
    "contradiction": "test_consistency",
    "other_pack": "test_pack_recognition",
    "idle": "test_alarms",
    "stored_full": "test_alarms",
    "charging_long": "test_alarms",
}  # fmt: skip


def test_every_row_has_its_fault_or_another_test() -> None:
    assert {*FAULTS, *ELSEWHERE} == set(ROWS)
    assert not {*FAULTS} & {*ELSEWHERE}


@pytest.mark.parametrize("limit_id", FAULTS)
def test_a_fault_on_the_wire_trips_its_limit_in_time_and_no_other_and_clears(limit_id: str) -> None:
    row, fault = ROWS[limit_id], FAULTS[limit_id]
    bench = replace(Bench(), **fault.well)  # type: ignore[arg-type]  # by name
    before = {key for report in bench.hold(fault.well_s) for key in report.status.active}
    assert before <= set(fault.means)
    start_s = bench.tick * TICK_S
    vars(bench).update(fault.wrong)
    due_s = fault.after_s + row.hold_s + 2 * UPDATE_S
    tripped_s, seen = None, set[str]()
    for report in bench.hold(due_s):
        seen |= set(report.status.active)
        if limit_id in report.status.active:
            tripped_s = report.t_s - start_s
            assert report.status.severity >= row.severity
            break
    assert tripped_s is not None, seen
    assert tripped_s >= (0.0 if fault.after_s else row.hold_s) - 1e-6
    assert seen - {limit_id} <= set(fault.means)
    vars(bench).update({key: vars(Bench())[key] for key in fault.wrong} | fault.well | fault.heal)
    over = max(row.clear_s, 10.0) + 2 * UPDATE_S
    over += {"current_60s_a": 60.0, "heat_a": 60.0, "warming_k": 60.0}.get(row.quantity, 10.0)
    after = list(bench.hold(over))
    if row.latch:
        assert limit_id in after[-1].status.active
    elif row.quantity == "spread_rest_v":
        assert limit_id not in list(bench.hold(60.0))[-1].status.active
    else:
        assert limit_id not in after[-1].status.active


def test_a_sensor_that_is_lost_alone_trips_blind() -> None:
    bench = Bench()
    list(bench.hold(5.0))
    bench.degc = -273.0  # its word is not believable from now on
    active = [report.t_s for report in bench.hold(40.0) if "blind" in report.status.active]
    assert active[0] == pytest.approx(5.0 + 15.0 + ROWS["blind"].trip, abs=UPDATE_S)


def test_a_saturated_current_register_trips_every_limit_below_its_range() -> None:
    pack_data = replace(FACTS, continuous_c=40.0, burst_c=50.0)  # 300 A for 10 s, 240 A for long
    bench = Bench(pack_data=pack_data, current_a=30.0, falling=True)
    list(bench.hold(62.0))
    bench.current_a = 500.0  # its word ends at 327.68 A
    tripped: dict[str, float] = {}
    for report in bench.hold(15.0):
        if report.t_s > 62.2:
            assert report.snapshot.current_a is None  # unknown, not the end of the range
        for limit_id in report.status.active:
            tripped.setdefault(limit_id, report.t_s - 62.0)
    assert tripped["current_beyond"] == pytest.approx(2.0, abs=0.2)
    # At least 327.68 A: over 10 s more than 300 A for certain, over 2 s perhaps less than 450 A.
    share = (300.0 - 30.0) / (327.68 - 30.0)
    assert tripped["current_10s"] == pytest.approx(10.0 * share, abs=0.2)
    assert "current_2s" not in tripped
    bench.current_a = 30.0
    active = set(list(bench.hold(15.0))[-1].status.active)
    assert not {name for name in active if name.startswith(("current", "heat"))}
    # By the gauge's count 2.1 of the 2.9 Ah went at 500 A; the rest lasts 80 s at 30 A, and what
    # is foreseen still reckons with more of it.
    assert "time_low" in active
    assert all(name.startswith("time") or name == "limp_home" for name in active)


def test_a_pack_of_another_chemistry_is_a_mismatch() -> None:
    iron = PackData(LIFEPO4, cells=6)
    assert mismatches(Identity(cells=6, chemistry="LION"), iron) == ("LION, not lifepo4",)
    assert mismatches(Identity(cells=6, chemistry="LiFe"), iron) == ()
    assert mismatches(Identity(cells=6, chemistry="who knows"), iron) == ()


def test_a_pack_that_differs_from_the_configuration_trips_mismatch() -> None:
    configured = replace(FACTS, capacity_mah=12_000.0)
    (report, *_) = list(Bench(pack_data=configured).hold(3.0))[::-1]
    assert report.status.active == ("mismatch",)
    assert [e.text for r in Bench(pack_data=configured).hold(3.0) for e in r.status.events] == [
        "WARNING: pack mismatch: 6000 mAh, not 12000"
    ]
