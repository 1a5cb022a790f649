"""Cross-checks of redundant measurements: what is withheld and what is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from dronebms.core.chemistry import LIPO
from dronebms.core.clock import VirtualClock
from dronebms.core.pack_data import PackData
from dronebms.core.report import Severity
from dronebms.flightlogs import FlightSource, read_csv_log
from dronebms.monitoring.consistency import ConsistencyCheck
from dronebms.monitoring.pipeline import Pipeline
from sim.emulator.gauge import word_reply
from sim.emulator.world import open_virtual
from smartbattery.gauge import Gauge
from smartbattery.snapshot import Identity, Snapshot

FACTS = PackData(LIPO, cells=4, capacity_mah=5000.0)


def look(t_s: float, **changes: object) -> Snapshot:
    sound = Snapshot(
        t_s, voltage_v=15.2, current_a=18.0, cells_v=(3.8, 3.8, 3.8, 3.8), soc_pct=80.0,
        remaining_mah=4000.0 - 5.0 * t_s, identity=Identity(serial=7), read_at_s={"voltage_v": t_s},
    )  # fmt: skip
    return replace(sound, **changes)  # type: ignore[arg-type]  # fields of Snapshot by name


def checked(*looks: Snapshot) -> list[Snapshot]:
    consistency = ConsistencyCheck()
    return [consistency.check(one, FACTS) for one in looks]


def test_a_sound_pack_passes_unchanged() -> None:
    looks = [look(k / 2) for k in range(1200)]
    assert checked(*looks) == looks


def test_cells_that_do_not_sum_to_the_pack_are_withheld_after_three_seconds() -> None:
    wrong = (3.8, 3.8, 3.8, 2.9)
    seen = checked(*(look(k / 10, cells_v=wrong) for k in range(60)))
    assert [one.t_s for one in seen if one.doubts] == [k / 10 for k in range(30, 60)]
    assert seen[-1].cells_v == (None,) * 4
    assert seen[-1].doubts == ("cell sum 14.3 V, pack 15.2 V",)
    assert seen[-1].counts.withheld == 1
    assert seen[-1].voltage_v == 15.2


def test_one_look_amid_a_step_of_the_load_withholds_nothing() -> None:
    looks = [look(k / 10, voltage_v=13.9 if k % 20 == 0 else 15.2) for k in range(100)]
    assert checked(*looks) == looks


def test_a_cell_that_is_unknown_is_no_contradiction() -> None:
    looks = [look(k / 10, cells_v=(3.8, None, 3.8, 3.8)) for k in range(100)]
    assert checked(*looks) == looks


@pytest.mark.parametrize("per_s", [0.0, 2.0, 9.0], ids=["stands still", "too slow", "too fast"])
def test_a_charge_that_does_not_follow_the_current_is_withheld(per_s: float) -> None:
    looks = [look(k / 2, remaining_mah=4000.0 - per_s * k / 2) for k in range(600)]
    seen = checked(*looks)
    first = next(k for k, one in enumerate(seen) if one.doubts)
    # 18 A are 5 mAh a second; the difference passes a quarter of it and 150 mAh.
    assert looks[first].t_s == pytest.approx(150.0 / (abs(per_s - 5.0) - 1.25), abs=1.0)
    assert (seen[-1].remaining_mah, seen[-1].soc_pct) == (None, None)
    assert seen[-1].cells_v == looks[-1].cells_v
    assert seen[-1].doubts[0].startswith("gauge counted ")


def test_another_pack_and_a_gap_start_the_count_again() -> None:
    first = [look(k / 2) for k in range(200)]
    swapped = [
        look(100 + k / 2, remaining_mah=5000.0 - 2.5 * k, identity=Identity(serial=8))
        for k in range(200)
    ]
    after_gap = [look(300 + k / 2, remaining_mah=2000.0 - 2.5 * k) for k in range(200)]
    assert not any(one.doubts for one in checked(*first, *swapped, *after_gap))


def test_computed_gauges_with_usual_errors_are_accepted(
    computed_flights: tuple[Path, ...],
) -> None:
    for path in computed_flights:
        flight = read_csv_log(path)
        source, consistency = FlightSource(flight), ConsistencyCheck()
        doubts = {
            doubt
            for t_s in source.ticks()
            for doubt in consistency.check(source.poll(t_s), flight.pack_data).doubts
        }
        assert doubts == set(), path.name


def test_recorded_packs_do_not_contradict_themselves(real_flights: tuple[Path, ...]) -> None:
    evaluated = 0
    for path in real_flights:
        flight = read_csv_log(path)
        source, consistency = FlightSource(flight), ConsistencyCheck()
        looks = [consistency.check(source.poll(t_s), flight.pack_data) for t_s in source.ticks()]
        evaluated += any(one.cells_v for one in looks)
        assert not any(one.doubts for one in looks), path.name
    assert evaluated >= 5


def test_a_contradiction_trips_implausible() -> None:
    clock = VirtualClock()
    bus, world = open_virtual("survey", clock, 1)

    class Stubborn:
        """A gauge whose RemainingCapacity never moves."""

        def transfer(self, address: int, tx: bytes, rx_len: int) -> bytes:
            reply = bus.transfer(address, tx, rx_len)
            if tx == b"\x0f":
                reply = word_reply(address, 0x0F, 1500, with_pec=True)  # in 10 mAh: IPScale is 1
            return reply[:rx_len]

    pipeline = Pipeline(Gauge(Stubborn()), world.pack_data())
    tripped = []
    for step in range(2000):
        clock.sleep_until(step / 10)
        report = pipeline.step(step / 10, world.vehicle(step / 10))
        tripped += [event for event in report.status.events if event.tripped]
    assert [event.limit_id for event in tripped] == ["implausible"]
    assert tripped[0].severity is Severity.WARNING
    last = pipeline.step(200.0, world.vehicle(200.0)).snapshot
    assert last.remaining_mah is None
    assert last.voltage_v is not None
