# SPDX-License-Identifier: Apache-2.0
"""Constant faults of a gauge behind a right PEC, closed over driver, estimate, alarms and MAVLink.

`python -m benchmarks.byte_campaign [--gauges NAME...] [--moments NAME...] [--only TEXT] [--seeds N]
[--jobs J]` flies a virtual pack to the end of its discharge for every register x fault x size x moment x gauge,
changes the bytes between gauge and driver, and prints for each: after how long it was flagged,
whether an alarm was hidden, and what was sent to the vehicle that was wrong. The last line is for
machines. Exits with 1 when a goal is missed.

Definitions:
    due: the moment from which the goals hold: when a reading differs from the reading of an
        intact gauge by the named size (cell 100 mV, pack 3 %, current 25 % or its sign, charge 10 points);
        the start for a change of scale, mode or device. A fault below these sizes is never due.
    flagged: a limit of the gauge (not of the pack) has tripped, or the driver reports trouble.
    hidden: the true weakest cell has been at its cut-off, or the true pack too hot, for 5 s while
        nothing critical is tripped.
    wrong: a value of BATTERY_STATUS beyond the bounds of `sent_values`, more than 1 s after the
        fault was flagged; `before` counts the seconds with one between due and flagged.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache

from benchmarks.constant_faults import ConstantFault, Device, FaultyWire, Readings, faults
from benchmarks.sent_values import ListeningVehicle, SentValues
from benchmarks.wire_data import WireReader
from dronebms.core.clock import VirtualClock
from dronebms.core.report import Report, Severity
from dronebms.monitoring.pipeline import Pipeline
from dronebms.protection.limits import Limit, default_limits
from mavlink_bridge.bridge import Bridge
from sim.emulator.bus import VirtualBus
from sim.emulator.world import RandomStream, World, open_bus, random_generator
from sim.plant.scenario import Phase, Scenario
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS

TICKS_PER_S = 4  # measurements of the virtual gauge per second
CELLS, CELL_MAH, HOVER_W, IDLE_S = 4, 5000.0, 370.0, 25.0
NAMED_CELL_V, NAMED_PACK_FRAC, NAMED_CURRENT_FRAC, NAMED_POINTS = 0.1, 0.03, 0.25, 10.0
REST_A = 1.0  # below it, a current has neither size nor sign
# Within which a fault is flagged: cells, pack and identity need some readings; a current or a charge
# needs as much time as the charge takes to move by the error of a gauge.
WITHIN_S = {"cell": 10.0, "pack": 10.0, "charge": 30.0, "current": 60.0, "start": 15.0}
HELD_S, GRACE_S, AFTER_END_S, LONGEST_S = 5.0, 1.0, 12.0, 400.0
FLAGS = ("doubts", "mismatches", "disputes", "other_pack", "blind_s", "silence_s", "beyond_a")


@dataclass(frozen=True, slots=True)
class GaugeUnderTest:
    """One kind of gauge."""

    name: str
    kind: str
    pec: bool


GAUGES = (
    GaugeUnderTest("sbs", "generic", pec=True),
    GaugeUnderTest("bq40z80", "bq40z80", pec=True),  # cells in blocks
    GaugeUnderTest("bq40z50", "bq40z50", pec=True),
    GaugeUnderTest("sbs_without_pec", "generic", pec=False),
    GaugeUnderTest("bq40z80_without_pec", "bq40z80", pec=False),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """When the fault begins: seconds of the flight, with a start charge."""

    name: str
    start_s: float
    charge_frac: float


MOMENTS = (
    Moment("at rest", 10.0, 0.20),  # before take-off
    Moment("in flight", IDLE_S + 15.0, 0.25),
    Moment("near the end", IDLE_S + 15.0, 0.15),
)


@dataclass(frozen=True, slots=True)
class ByteCase:
    """One flight; without a fault it shows the bounds of the judge."""

    gauge: GaugeUnderTest
    moment: Moment
    fault: ConstantFault | None
    seed: int


@dataclass
class ByteOutcome:
    """Result of one flight; times in seconds of the flight."""

    case: ByteCase
    due_s: float | None = None
    by: str = ""  # the quantity that is due
    flagged_s: float | None = None
    critical_s: float | None = None
    cut_off_s: float | None = None
    hidden: list[str] = field(default_factory=list)
    before_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    wrong_seconds: float = 0.0

    @property
    def late_s(self) -> float | None:
        """Seconds from due to flagged, `None` if it was not."""
        if self.due_s is None or self.flagged_s is None:
            return None
        return max(self.flagged_s - self.due_s, 0.0)

    @property
    def misses(self) -> list[str]:
        """Goals that the flight missed, none without a fault that is due."""
        if self.due_s is None:
            return []
        found = []
        if self.late_s is None:
            found.append("not flagged")
        elif self.late_s > WITHIN_S[self.by]:
            found.append(f"flagged after {self.late_s:.0f} s")
        if self.hidden:
            found.append(f"hidden: {self.hidden[0]}")
        if self.wrong:
            found.append(f"wrong for {self.wrong_seconds:.0f} s: {self.wrong[0]}")
        return found


def scenario(gauge: GaugeUnderTest, charge_frac: float) -> Scenario:
    """A flight of a 4S 5 Ah LiPo that hovers with 25 A until it is empty."""
    phases = (
        Phase(name="idle", duration_s=IDLE_S, power_w=6.0, armed=False),
        Phase(name="hover", duration_s=LONGEST_S, power_w=HOVER_W, gust_frac=0.05),
    )
    return Scenario.model_validate(
        {
            "name": f"{gauge.name} at {charge_frac:g}",
            "pack": {
                "chemistry": "lipo", "cells": CELLS, "cell_mah": CELL_MAH,
                "resistance_mohm_ah": 40.0, "start_charge_frac": charge_frac,
            },
            "gauge": {"kind": gauge.kind, "pec": gauge.pec, "full_error_frac": 0.01},
            "phase": [phase.model_dump() for phase in phases],
        }
    )  # fmt: skip


class ByteFlight:
    """The pack, the faulty wire, and all that reads it."""

    def __init__(self, case: ByteCase) -> None:
        plan = scenario(case.gauge, case.moment.charge_frac)
        self.clock = VirtualClock()
        self.world = World(plan, case.seed)
        own = open_bus(self.world, self.clock)
        reader = WireReader(case.gauge.kind, with_pec=case.gauge.pec)
        other = self._second(case) or own
        self.wire = FaultyWire(own, other, self.clock, reader, case.fault)
        self.wire.start_s = case.moment.start_s
        self.vehicle = ListeningVehicle()
        self._bridge = Bridge(self.vehicle)
        pack_data = self.world.pack_data()
        self._pipeline = Pipeline(Gauge(self.wire, ADDRESS, cells=CELLS), pack_data, [self._bridge])
        self._step = 0

    def _second(self, case: ByteCase) -> VirtualBus | None:
        fault = case.fault
        if fault is None or fault.device is Device.OWN:
            return None
        plan = scenario(case.gauge, fault.charge_frac)
        seed = case.seed if fault.same_serial else case.seed + 1
        other = World(plan, seed)
        return VirtualBus(
            self.clock, [other], {ADDRESS: other.device}, (),
            random_generator(seed, RandomStream.WIRE),
        )  # fmt: skip

    def step(self) -> Report:
        """Fly to the next measurement of the gauge."""
        t_s = self._step / TICKS_PER_S
        self.clock.sleep_until(t_s)
        self.world.advance(t_s)
        state = self.world.vehicle(t_s)
        if self._step % TICKS_PER_S == 0:
            self.vehicle.beat(armed=state.armed is True)
        self._step += 1
        self._bridge.pump(t_s)
        return self._pipeline.step(t_s, state)


def deviation(readings: Readings) -> str | None:
    """Quantity whose reading differs by the named size, `None` if none does."""
    true, read = readings.true, readings.read
    off = {name: abs(read[name] - true[name]) for name in true}
    cells_v = [v for name, v in off.items() if name.startswith("cell") and name.endswith("_v")]
    # The blocks of some gauges have slots for cells that are not there: both are 0 V.
    if any(v >= NAMED_CELL_V - 1e-9 for v in cells_v):
        return "cell"
    if off.get("voltage_v", 0.0) >= NAMED_PACK_FRAC * true.get("voltage_v", 1.0) - 1e-9:
        return "pack"
    amps, read_a = true.get("current_a", 0.0), read.get("current_a", 0.0)
    if amps > REST_A and abs(read_a - amps) >= NAMED_CURRENT_FRAC * amps - 0.02:
        return "current"
    full_mah = true.get("full_mah", 1.0)
    shares = [
        read["remaining_mah"] / max(read["full_mah"], 1.0)
        if "remaining_mah" in read and "full_mah" in read
        else 0.0
    ]
    whole = [true["remaining_mah"] / full_mah] if "remaining_mah" in true else [0.0]
    points = [off.get("soc_pct", 0.0), 100.0 * off.get("remaining_mah", 0.0) / full_mah]
    points.append(100.0 * abs(shares[0] - whole[0]))
    return "charge" if max(points) >= NAMED_POINTS - 0.02 else None


@cache
def _end_s(gauge: GaugeUnderTest, charge_frac: float, seed: int) -> float:
    """End of discharge of a flight: a fault of the wire does not change it."""
    world = World(scenario(gauge, charge_frac), seed)
    while world.truth().ended_s is None:
        world.advance(world.t_s + 1.0)
    return world.truth().ended_s or world.t_s


def fly(case: ByteCase) -> ByteOutcome:
    """Fly a case to the end of its pack."""
    flight, outcome = ByteFlight(case), ByteOutcome(case)
    world = flight.world
    full_mah = float(min(world._pack.cells.capacity_ah)) * 1000.0  # noqa: SLF001 - the truth is read where it is
    sent = SentValues(full_mah, world.gauge.learning.full_ah * 1000.0)
    cut_v = world.pack_data().cutoff_v
    rows = {row.limit_id: row for row in default_limits(world.pack_data())}
    hot_degc = rows["hot_critical"].trip
    since_s: dict[str, float] = {}
    end_s = _end_s(case.gauge, case.moment.charge_frac, case.seed)
    while flight.clock.now_s() < LONGEST_S:
        report = flight.step()
        truth, t_s = world.truth(), report.t_s
        sent.note(truth, max(end_s - t_s, 0.0) if t_s > IDLE_S else None)
        _mark_due(outcome, flight, t_s)
        critical = report.status.severity >= Severity.CRITICAL
        if case.fault is None or flight.wire.active:
            _mark_flags(outcome, report, rows)
            if critical and outcome.critical_s is None and truth.power_w > HOVER_W / 2:
                outcome.critical_s = t_s
        beyond = {
            "cell at cut-off": min(truth.cells_v) <= cut_v,
            "hot": truth.temperature_degc >= hot_degc,
        }
        for name, holds in beyond.items():
            start_s = since_s.setdefault(name, t_s) if holds else since_s.pop(name, t_s)
            if holds and outcome.cut_off_s is None:
                outcome.cut_off_s = t_s
            if holds and t_s - start_s >= HELD_S and not critical:
                outcome.hidden.append(f"{name} for {t_s - start_s:.0f} s at {t_s:.0f} s")
        _judge_sent(outcome, flight, sent, t_s)
        if truth.ended_s is not None and t_s >= truth.ended_s + AFTER_END_S:
            break
    return outcome


def _mark_due(outcome: ByteOutcome, flight: ByteFlight, t_s: float) -> None:
    fault = outcome.case.fault
    if fault is None or outcome.due_s is not None or not flight.wire.active:
        return
    by = "start" if fault.named else deviation(flight.wire.readings)
    if by is not None:
        outcome.due_s, outcome.by = t_s, by


def _mark_flags(outcome: ByteOutcome, report: Report, rows: Mapping[str, Limit]) -> None:
    flags = (rows[limit_id].quantity in FLAGS for limit_id in report.status.active)
    if outcome.flagged_s is None and (report.snapshot.trouble is not None or any(flags)):
        outcome.flagged_s = report.t_s


def _judge_sent(outcome: ByteOutcome, flight: ByteFlight, sent: SentValues, t_s: float) -> None:
    for message in flight.vehicle.statuses:
        texts = list(sent.wrong(message))
        if not texts:
            continue
        if outcome.case.fault is None or (
            outcome.flagged_s is not None and t_s > outcome.flagged_s + GRACE_S
        ):
            outcome.wrong += [f"{text} at {t_s:.0f} s" for text in texts]
            outcome.wrong_seconds += 0.5
        elif outcome.due_s is not None:
            outcome.before_s += 0.5
    flight.vehicle.statuses.clear()


def cases(gauges: Sequence[str], moments: Sequence[str], seeds: int) -> list[ByteCase]:
    """Every case of some gauges and moments; names as in `GAUGES` and `MOMENTS`."""
    chosen = [row for row in GAUGES if row.name in gauges]
    starts = [row for row in MOMENTS if row.name in moments]
    every = (None, *faults(CELLS))
    return [
        ByteCase(gauge, moment, fault, seed)
        for gauge, moment, fault, seed in itertools.product(
            chosen, starts, every, range(1, seeds + 1)
        )
    ]


def _row(outcome: ByteOutcome) -> str:
    fault = outcome.case.fault
    name = "no fault" if fault is None else fault.name
    due = (
        "-"
        if outcome.due_s is None
        else f"{outcome.by} {outcome.due_s - outcome.case.moment.start_s:.0f} s"
    )
    flagged = (
        "-"
        if outcome.flagged_s is None
        else f"{outcome.flagged_s - outcome.case.moment.start_s:.0f} s"
    )
    misses = "; ".join(outcome.misses)
    if outcome.due_s is None and (outcome.hidden or outcome.wrong):
        misses = "below: " + "; ".join([*outcome.hidden[:1], *outcome.wrong[:1]])
    return (
        f"| {outcome.case.gauge.name} | {outcome.case.moment.name} | {outcome.case.seed} | {name} | {due} | {flagged} "
        f"| {outcome.before_s:.0f} s | {len(outcome.hidden) > 0:d} | {outcome.wrong_seconds:.0f} s | {misses} |"
    )


def goals(outcomes: Sequence[ByteOutcome]) -> Iterator[str]:
    """Lines of the goals, and the line for machines."""
    due = [outcome for outcome in outcomes if outcome.due_s is not None]
    below = [o for o in outcomes if o.due_s is None and o.case.fault is not None]
    clean = [outcome for outcome in outcomes if outcome.case.fault is None]
    delays_s = sorted(o.late_s for o in due if o.late_s is not None)
    by_goal = {
        "unflagged_or_late": sum(o.late_s is None or o.late_s > WITHIN_S[o.by] for o in due),
        "hidden": sum(bool(o.hidden) for o in due),
        "wrong_sent_after": sum(bool(o.wrong) for o in due),
    }
    false_flags = sum(o.flagged_s is not None for o in clean)
    clean_wrong = sum(bool(o.wrong) for o in clean)
    hidden_below = sum(bool(o.hidden) for o in below)
    yield ""
    yield (
        f"no fault: {len(clean)} flights, {false_flags} flagged, {clean_wrong} with a wrong value "
        f"sent, {sum(bool(o.hidden) for o in clean)} with a hidden alarm"
    )
    if delays_s:
        yield (
            f"due: {len(due)} flights; flagged after {delays_s[len(delays_s) // 2]:.1f} s (median), "
            f"{delays_s[-1]:.1f} s (latest)"
        )
    yield from (f"  {name}: {count}" for name, count in by_goal.items())
    before_s = sum(o.before_s for o in due)
    yield f"  wrong before it was flagged: {before_s:.0f} s in {len(due)} flights"
    yield (
        f"below the named sizes: {len(below)} flights, {hidden_below} with a hidden alarm, "
        f"{sum(o.flagged_s is not None for o in below)} flagged"
    )
    yield (
        f"BYTES constant={len(outcomes)} due={len(due)} missed={sum(bool(o.misses) for o in due)} "
        + " ".join(f"{name}={count}" for name, count in by_goal.items())
        + f" hidden_below={hidden_below} false_flags={false_flags} clean_wrong={clean_wrong}"
    )


def main() -> int:
    """Fly the campaign and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--gauges", nargs="+", default=[row.name for row in GAUGES])
    parser.add_argument("--moments", nargs="+", default=[row.name for row in MOMENTS])
    parser.add_argument("--only", default="", help="faults whose name contains this text")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    every = cases(options.gauges, options.moments, options.seeds)
    chosen = [c for c in every if c.fault is None or options.only in c.fault.name]
    print(
        "| gauge | moment | seed | fault | due | flagged | wrong before | hidden | wrong after | missed |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    outcomes = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(fly, chosen):
            outcomes.append(outcome)
            print(_row(outcome), flush=True)
    print("\n".join(goals(outcomes)))
    clean = [outcome for outcome in outcomes if outcome.case.fault is None]
    failed = any(o.misses for o in outcomes)
    return int(failed or any(o.wrong or o.hidden or o.flagged_s is not None for o in clean))


if __name__ == "__main__":
    sys.exit(main())
