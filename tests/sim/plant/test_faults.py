# SPDX-License-Identifier: Apache-2.0
"""Every row of the fault table through the bytes, to the driver and the protection.

A pack hovers for a minute and a half. Under every fault each value of the driver is one that the
pack had within the last seconds, or unknown; a row names the quantity in which the gauge itself
errs. A row without an expectation is a failure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dronebms.core.clock import VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report
from dronebms.monitoring.pipeline import Pipeline
from sim.emulator.bq40_data import permanent_fail_limits, safety_limits
from sim.emulator.bus import ADAPTER_TIMEOUT_S
from sim.emulator.world import World, open_virtual
from sim.plant.faults import FAULTS, Fault, FaultSite, parse_fault
from sim.plant.gauge_spec import GaugeSpec
from sim.plant.ground_truth import GroundTruth
from sim.plant.pack_spec import PackSpec
from sim.plant.scenario import load_scenario
from smartbattery.errors import BusError, BusTimeoutError, NackError
from smartbattery.gauge import Gauge

FLIGHT = """
[pack]
chemistry = "lipo"
cells = 6
parallel = 2
cell_mah = 5000.0
cutoff_cell_v = 3.3
resistance_mohm_ah = 38.0

[gauge]
kind = "{kind}"
serial = 500
ip_scale = {ip_scale}

[[phase]]
name = "hover"
duration_s = 120.0
power_w = 600.0
gust_frac = 0.05
mode = "LOITER"
"""
DURATION_S = 90.0
STEP_S = 0.2
KEEPS_S = 2.5  # a fast value of the driver may be so old
SLOW_S = 15.5  # a slow one so old
SEED = 3
OTHERS = {"wrong_pack", "two_packs"}  # bring a second pack
NEEDS_STATUS = {"thermistor", "hot_cell"}  # by the status words of a BQ40


@dataclass(frozen=True)
class Flown:
    """A flight behind the driver, the protection, and its truth at every step."""

    reports: list[Report]
    truths: list[GroundTruth]
    other: list[GroundTruth]  # of the second pack

    def at(self, t_s: float) -> Report:
        """Return the report at a time."""
        return self.reports[round(t_s / STEP_S)]

    def true_at(self, t_s: float) -> GroundTruth:
        """Return the truth at a time."""
        return self.truths[round(t_s / STEP_S)]

    def tripped(self) -> set[str]:
        """Limits that tripped at any time."""
        return {limit for report in self.reports for limit in report.status.active}

    def unknown_s(self, name: str) -> tuple[float, float] | None:
        """The first and the last time at which a value was unknown."""
        unknown = [r.t_s for r in self.reports[5:] if getattr(r.snapshot, name) is None]
        return (unknown[0], unknown[-1]) if unknown else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the flight, once for each kind of gauge."""
    path = tmp_path_factory.mktemp("flight")
    for kind, ip_scale in (("generic", 1), ("bq40z80", 0)):
        text = FLIGHT.replace("{kind}", kind).replace("{ip_scale}", str(ip_scale))
        (path / f"{kind}.toml").write_text(text)
    return path


def flown(path: Path, *texts: str, cells: int | None = 6) -> Flown:
    clock = VirtualClock()
    bus, world = open_virtual(str(path), clock, SEED, [parse_fault(text) for text in texts])
    second = bus._worlds[1] if bus._other_devices else None
    pipeline = Pipeline(Gauge(bus, cells=cells), world.pack_data())
    run = Flown([], [], [])
    for step in range(round(DURATION_S / STEP_S) + 1):
        t_s = step * STEP_S
        clock.sleep_until(t_s)
        run.reports.append(pipeline.step(t_s, world.vehicle(t_s)))
        world.advance(t_s)
        run.truths.append(world.truth())
        if isinstance(second, World):
            second.advance(t_s)
            run.other.append(second.truth())
    return run


def assert_nothing_is_invented(run: Flown, errs: str = "") -> None:
    """Assert that each value was true within the last seconds, except where the gauge errs.

    A byte in which two gauges pull the line low has a valid PEC by chance at times: a value may
    then be wrong by the step that is accepted without a second reading.
    """
    margin_v, margin_a, margin_cell_v = (
        (0.5, 5.0, 0.1) if errs == "by chance" else (0.02, 0.3, 0.01)
    )
    for step, report in enumerate(run.reports):
        seen = report.snapshot
        late = slice(max(0, step - round(KEEPS_S / STEP_S)), step + 3)
        true = run.truths[late] + run.other[late]

        def near(value: float | None, had: list[float], margin: float) -> bool:
            return value is None or min(had) - margin <= value <= max(had) + margin

        assert near(seen.voltage_v, [t.voltage_v for t in true], margin_v), report.t_s
        if errs != "current_a":
            assert near(seen.current_a, [t.current_a for t in true], margin_a), report.t_s
        for index, cell_v in enumerate(seen.cells_v):
            had = [t.cells_v[index] for t in true if index < len(t.cells_v)]
            assert near(cell_v, had, margin_cell_v), (report.t_s, index)
        if errs != "temperature_degc":
            lately = slice(max(0, step - round(SLOW_S / STEP_S)), step + 3)
            warm = [t.temperature_degc for t in run.truths[lately] + run.other[lately]]
            # The sensor follows the hottest cell by 20 s.
            assert seen.temperature_degc is None or seen.temperature_degc <= max(warm) + 1.0


# ---------------------------------------------------------------------- what is expected of a row


def is_mended(run: Flown) -> None:
    """Some transfers fail, no value is lost."""
    counts = run.reports[-1].snapshot.counts
    assert counts.nacks + counts.pec_errors > 20
    assert run.unknown_s("voltage_v") is None
    assert run.tripped() == set()


def is_slow(run: Flown) -> None:
    counts = run.reports[-1].snapshot.counts
    assert (counts.nacks, counts.timeouts, counts.pec_errors) == (0, 0, 0)
    assert run.unknown_s("voltage_v") is None
    assert run.tripped() == set()


def is_silent_for_20_s(run: Flown) -> None:
    unknown = run.unknown_s("voltage_v")
    assert unknown is not None
    assert 30.0 < unknown[0] <= 33.0
    assert 49.7 <= unknown[1] < 51.0
    assert {"silent", "lost"} <= set(run.at(45.0).status.active)
    assert run.at(45.0).snapshot.trouble is not None
    assert run.at(60.0).status.active == ()
    assert run.at(60.0).snapshot.identity == run.at(20.0).snapshot.identity


def is_silence_of_the_pack(run: Flown) -> None:
    """Its serial number, which is read in turn, reveals it within 5 s; it is not used in flight."""
    for report in run.reports:
        identity = report.snapshot.identity
        assert report.t_s < 1.0 or (identity.serial, identity.design_mah) == (503, 10000.0)
        if report.t_s >= 35.0:
            assert report.snapshot.voltage_v is None
            assert report.snapshot.other_pack == "serial 504, not 503"
    assert {"other_pack", "silent", "lost"} <= run.tripped()


def is_rejected_for_20_s(run: Flown) -> None:
    assert run.reports[-1].snapshot.counts.pec_errors > 100
    known = [r.snapshot.voltage_v is not None for r in run.reports if 33.0 < r.t_s < 50.0]
    assert sum(known) < 0.2 * len(known)
    assert "silent" in run.tripped()
    assert run.at(70.0).status.active == ()
    assert {r.snapshot.identity.serial for r in run.reports} <= {503, None}


def loses_the_second_cell(run: Flown) -> None:
    after = [r.snapshot for r in run.reports if r.t_s > 40.0]
    assert sum(seen.cells_v[1] is None for seen in after) > 0.5 * len(after)
    assert all(None not in (seen.cells_v[0], *seen.cells_v[2:]) for seen in after)
    assert after[-1].counts.withheld > 100
    assert run.tripped() == {"blind", "implausible"}  # words that no cell has are named


def is_found_stalled(run: Flown) -> None:
    assert run.at(50.0).snapshot.voltage_v == run.at(31.0).snapshot.voltage_v
    assert "readings frozen" in str(run.at(70.0).snapshot.trouble)
    assert run.unknown_s("voltage_v") is not None
    assert {"silent", "lost"} <= run.tripped()


def has_no_temperature_and_failed(run: Flown) -> None:
    before, after = run.at(29.0), run.at(60.0)
    assert before.snapshot.failure_raw == before.snapshot.safety_raw == 0
    assert after.snapshot.temperature_degc is None  # an open thermistor is not cold
    assert "blind" in run.tripped()
    assert not {"cold", "cold_critical", "cold_emergency"} & run.tripped()
    assert after.snapshot.failure_raw == 1 << 28  # TS1
    assert after.snapshot.safety_raw == 1 << 27  # UTD


def is_off_by_two_amperes(run: Flown) -> None:
    """No redundant measurement reveals it: the value of the gauge is reported."""
    for t_s, off_a in ((20.0, 0.0), (40.0, 2.0), (80.0, 2.0)):
        step = round(t_s / STEP_S)
        lately = [truth.current_a + off_a for truth in run.truths[step - 3 : step + 1]]
        assert min(lately) - 0.3 <= (run.at(t_s).snapshot.current_a or 0) <= max(lately) + 0.3
    assert run.tripped() == set()


def forgets_and_goes_on(run: Flown) -> None:
    before, after = run.at(29.8), run.at(45.0)
    assert before.snapshot.remaining_mah is not None
    assert after.snapshot.remaining_mah is not None
    assert after.snapshot.remaining_mah > before.snapshot.remaining_mah + 50.0
    assert after.snapshot.identity == before.snapshot.identity
    assert run.unknown_s("voltage_v") is None
    assert before.estimate.soc_pct is not None
    assert after.estimate.soc_pct is not None
    assert after.estimate.soc_pct < before.estimate.soc_pct  # it does not rise in flight


def has_a_weak_third_cell(run: Flown) -> None:
    lowest = run.reports[-1].snapshot.lowest_cell()
    assert lowest is not None
    assert lowest[0] == 2


def is_soon_empty(run: Flown) -> None:
    assert run.at(2.0).snapshot.soc_pct == pytest.approx(10.0, abs=1.0)
    assert {"charge_low", "cell_low", "cell_critical"} <= run.tripped()


def sags(run: Flown) -> None:
    """The same power through half of the cells: their resistance is twice what it was."""
    before_v, after_v = min(run.true_at(29.8).cells_v), min(run.true_at(31.0).cells_v)
    assert before_v - after_v > 0.05
    assert min(v or 9.9 for v in run.at(31.0).snapshot.cells_v) == pytest.approx(after_v, abs=0.03)
    first, last = run.true_at(35.0), run.true_at(85.0)
    full_mah = (last.drawn_mah - first.drawn_mah) / (first.soc_frac - last.soc_frac)
    assert full_mah == pytest.approx(4800.0, rel=0.03)


def overheats(run: Flown) -> None:
    assert {"hot", "hot_critical"} <= run.tripped()
    last = run.reports[-1].snapshot
    assert (last.safety_raw or 0) >> 13 & 1  # OTD
    assert (last.failure_raw or 0) >> 4 & 1  # SOT
    assert (last.status_raw or 0) >> 12 & 1  # OTA


def is_overloaded(run: Flown) -> None:
    assert "current_10s" in run.tripped()
    assert (run.at(45.0).snapshot.current_a or 0) > 2 * (run.at(20.0).snapshot.current_a or 0)
    assert "current_10s" not in run.at(80.0).status.active


EXPECTED: dict[str, tuple[str, Callable[[Flown], None], str]] = {
    "nack": ("nack@10", is_mended, ""),
    "bad_pec": ("bad_pec@10", is_mended, ""),
    "bit_flips": ("bit_flips@10", is_mended, ""),
    "stretch": ("stretch@30", is_slow, ""),
    "stuck": ("stuck@30-50", is_silent_for_20_s, ""),
    "unplug": ("unplug@30-50", is_silent_for_20_s, ""),
    "wrong_pack": ("wrong_pack@30", is_silence_of_the_pack, ""),
    "two_packs": ("two_packs@30-50", is_rejected_for_20_s, "by chance"),
    "ffff_cells": ("ffff_cells=0.95@30", loses_the_second_cell, ""),
    "frozen": ("frozen@30", is_found_stalled, "everything"),
    "thermistor": ("thermistor@30", has_no_temperature_and_failed, "temperature_degc"),
    "current_offset": ("current_offset=2@30", is_off_by_two_amperes, "current_a"),
    "gauge_reset": ("gauge_reset@30", forgets_and_goes_on, ""),
    "weak_cell": ("weak_cell=0.6", has_a_weak_third_cell, ""),
    "low_charge": ("low_charge=0.1", is_soon_empty, ""),
    "lost_string": ("lost_string@30", sags, ""),
    "hot_cell": ("hot_cell=1.5@10", overheats, ""),
    "high_current": ("high_current=2@30-50", is_overloaded, ""),
}  # name: the fault, what is to be seen, and what the gauge itself then has wrong


@pytest.mark.parametrize("name", [row.name for row in FAULTS])
def test_driver_and_protection_under_each_fault(name: str, folder: Path) -> None:
    assert name in EXPECTED, f"EXPECTED lacks the fault {name}"
    text, expected, errs = EXPECTED[name]
    kind = "bq40z80" if name in NEEDS_STATUS else "generic"
    run = flown(folder / f"{kind}.toml", text, cells=None if name in OTHERS else 6)
    expected(run)
    if errs != "everything":
        assert_nothing_is_invented(run, errs)


@pytest.mark.parametrize("kind", ["generic", "bq40z80"])
def test_a_flight_without_a_fault_trips_nothing_and_loses_nothing(kind: str, folder: Path) -> None:
    run = flown(folder / f"{kind}.toml")
    assert run.tripped() == set()
    assert run.unknown_s("voltage_v") is None
    assert_nothing_is_invented(run)


# ---------------------------------------------------------------------- several, and again


def wire_log(path: Path, *texts: str, seed: int = SEED, until_s: float = 40.0) -> list[object]:
    """The outcome of every transfer of a poller."""
    clock = VirtualClock()
    bus, _ = open_virtual(str(path), clock, seed, [parse_fault(text) for text in texts])
    log: list[object] = []
    for step in range(round(until_s / STEP_S)):
        clock.sleep_until(step * STEP_S)
        for command in (0x09, 0x0A, 0x08, 0x3F):
            try:
                log.append(bus.transfer(0x0B, bytes((command,)), 3))
            except BusError as error:
                log.append(type(error))
    return log


EVERY_FAULT = [f"{row.name}@5" if row.site is not FaultSite.PACK else row.name for row in FAULTS]


def test_all_faults_at_once_are_the_same_twice(folder: Path) -> None:
    path = folder / "generic.toml"
    assert wire_log(path, *EVERY_FAULT) == wire_log(path, *EVERY_FAULT)
    assert wire_log(path, "bit_flips@5", seed=4) != wire_log(path, "bit_flips@5")


@pytest.mark.parametrize(
    "name", [row.name for row in FAULTS if row.site in {FaultSite.WIRE, FaultSite.GAUGE}]
)
def test_a_fault_of_bus_or_gauge_changes_no_gust(name: str, folder: Path) -> None:
    scenario = load_scenario(str(folder / "generic.toml"))
    truths = []
    for faults in ((), (parse_fault(f"{name}@5"),)):
        world = World(scenario, SEED, faults)
        world.advance(20.0)
        truths.append(world.truth())
    assert truths[0] == truths[1]


def test_one_fault_twice_acts_twice(folder: Path) -> None:
    path = folder / "generic.toml"
    log = wire_log(path, "unplug@5-10", "unplug@20-25")
    refused_s = [k // 4 * STEP_S for k, end in enumerate(log) if end is NackError]
    assert len(refused_s) == 2 * 25 * 4
    assert all(5.0 <= t_s < 10.0 or 20.0 <= t_s < 25.0 for t_s in refused_s)
    run = flown(path, "current_offset=1@30", "current_offset=-3@30-50")
    assert (run.at(45.0).snapshot.current_a or 0) < run.true_at(45.0).current_a - 1.0
    assert (run.at(80.0).snapshot.current_a or 0) > run.true_at(80.0).current_a + 0.2


def test_faults_of_a_scenario_are_those_of_the_option(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "failing.toml"
    tables = (
        '[[fault]]\nname = "nack"\nsize = 0.4\nstart_s = 5.0\nduration_s = 10.0\n'
        '[[fault]]\nname = "weak_cell"\nsize = 0.5\n'
    )
    path.write_text((folder / "generic.toml").read_text() + tables)
    texts = ("nack=0.4@5-15", "weak_cell=0.5")
    assert wire_log(path) == wire_log(folder / "generic.toml", *texts)
    assert wire_log(path, "stuck@20") != wire_log(path)  # options add to them


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('name = "nak"', "fault.1.name: expected one of nack, bad_pec"),
        ("size = 1.0", "fault.1.name is needed"),
        ('name = "nack"\nsize = 2.0', "fault.1: expected the size of nack is 0 to 1 frac"),
        ('name = "stuck"\nsize = 2.0', "stuck has no size"),
        ('name = "weak_cell"\nstart_s = 3.0', "weak_cell holds from the start"),
        ('name = "gauge_reset"\nduration_s = 3.0', "happens once: no end"),
        ('name = "nack"\nduration_s = 0.0', "fault.1.duration_s: expected greater than 0"),
        ('name = "nack"\nend_s = 5.0', "fault.1.end_s is not a known key"),
        ('name = "lost_string"\nsize = 2.0', "a pack of 2 in parallel cannot lose 2"),
    ],
)
def test_a_wrong_fault_in_a_scenario_is_one_clear_sentence(
    table: str, sentence: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "failing.toml"
    path.write_text((folder / "generic.toml").read_text() + f"[[fault]]\n{table}\n")
    with pytest.raises(ConfigError) as caught:
        open_virtual(str(path), VirtualClock())
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "start_s", "duration_s", "size"),
    [
        ("stuck", 120.0, 8.0, 1.0),
        ("stuck@7.5", 7.5, 8.0, 1.0),
        ("stuck@7.5-9", 7.5, 1.5, 1.0),
        ("nack=0.5", 60.0, None, 0.5),
        ("nack=0.5@1-2", 1.0, 1.0, 0.5),
        ("current_offset=-1.5@0", 0.0, None, -1.5),
        ("weak_cell=0.7", 0.0, None, 0.7),
    ],
)
def test_an_option_sets_size_start_and_end(
    text: str, start_s: float, duration_s: float | None, size: float
) -> None:
    fault = parse_fault(text)
    assert (fault.start_s, fault.duration_s, fault.size) == (start_s, duration_s, size)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nack@5-", "'' is not a number"),
        ("nack@5-5", "the end is seconds after the start"),
        ("nack@5-inf", "the end is seconds after the start"),
        ("nack@-5", "is not a number"),
        ("nack=@5", "'' is not a number"),
        ("nack=much", "'much' is not a number"),
        ("nack=1.5", "the size of nack is 0 to 1 frac"),
        ("nack=nan", "the size of nack"),
        ("hot_cell=inf", "the size of hot_cell"),
        ("lost_string=1.5", "the size of lost_string is 1 to inf strings"),
        ("stuck=1", "stuck has no size"),
        ("lost_string@1-2", "happens once: no end"),
        ("weak_cell@0", "holds from the start"),
        ("hot_cel=1", "did you mean hot_cell"),
    ],
)
def test_an_invalid_option_is_one_clear_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        parse_fault(text)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------- the clock line


def test_a_stretched_transfer_takes_its_time_on_the_clock_that_was_handed_in(folder: Path) -> None:
    clock = VirtualClock()
    path = str(folder / "generic.toml")
    bus, _ = open_virtual(path, clock, SEED, [parse_fault("stretch=0.02@0")])
    for transfers in range(1, 6):
        assert len(bus.transfer(0x0B, b"\x09", 3)) == 3
        assert clock.now_s() == pytest.approx(0.02 * transfers)


def test_a_stretch_beyond_the_timeout_of_the_host_times_out(folder: Path) -> None:
    clock = VirtualClock()
    path = str(folder / "generic.toml")
    bus, _ = open_virtual(path, clock, SEED, [parse_fault("stretch=0.05@0-10")])
    with pytest.raises(BusTimeoutError, match=r"0x0b 09: the clock was stretched for 0\.050 s"):
        bus.transfer(0x0B, b"\x09", 3)
    assert clock.now_s() == ADAPTER_TIMEOUT_S
    clock.sleep_until(10.0)
    assert len(bus.transfer(0x0B, b"\x09", 3)) == 3


@pytest.mark.parametrize("wake_s", [0.02, 0.2])
def test_a_gauge_asleep_stretches_its_first_transfer(
    wake_s: float, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sleepy.toml"
    text = (folder / "generic.toml").read_text()
    path.write_text(text.replace("serial = 500", f"serial = 500\nwake_s = {wake_s}"))
    clock = VirtualClock()
    bus, _ = open_virtual(str(path), clock, SEED)
    for t_s in (0.0, 6.0):  # it sleeps again after 5 s without a transfer
        clock.sleep_until(t_s)
        if wake_s > ADAPTER_TIMEOUT_S:
            with pytest.raises(BusTimeoutError):
                bus.transfer(0x0B, b"\x09", 3)
        else:
            bus.transfer(0x0B, b"\x09", 3)
        woken_s = clock.now_s()
        assert woken_s == pytest.approx(t_s + min(wake_s, ADAPTER_TIMEOUT_S))
        bus.transfer(0x0B, b"\x09", 3)
        assert clock.now_s() == woken_s


# ---------------------------------------------------------------------- the manual

MANUAL = Path(__file__).parents[3] / "docs" / "virtual_gauge.md"


def when(row: Fault) -> str:
    if row.site is FaultSite.PACK:
        return "from the start"
    if row.once:
        return f"once, at {row.start_s:g} s"
    if row.duration_s is None:
        return f"{row.start_s:g} s on"
    return f"{row.start_s:g} to {row.start_s + row.duration_s:g} s"


def test_the_manual_has_the_rows_of_the_fault_table_in_their_order() -> None:
    lines = [
        f"| `{row.name}` | {row.sentence} | {when(row)} | "
        f"{f'{row.size:g} {row.unit}' if row.unit else '-'} |"
        for row in FAULTS
    ]
    assert "\n".join(lines) in MANUAL.read_text(encoding="utf-8")


def test_the_manual_names_every_key_of_a_gauge_and_every_protection() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    assert [key for key in GaugeSpec.model_fields if f"`{key}`" not in text] == []
    pack = PackSpec(chemistry="lipo", cells=6, cell_mah=8000.0, resistance_mohm_ah=35.0)
    for row in (*safety_limits(pack), *permanent_fail_limits(pack)):
        columns = f"| {row.name} | {row.quantity} | {row.when.value} |"
        assert f"{columns} {row.trip:.4g} for {row.delay_s:g} s |" in text


def test_the_four_lines_of_the_manual_read_a_pack(capsys: pytest.CaptureFixture[str]) -> None:
    lines = MANUAL.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert len(lines.strip().splitlines()) == 5  # and an empty one
    exec(compile(lines, str(MANUAL), "exec"), {})  # noqa: S102 - our own manual
    volts, percent = capsys.readouterr().out.splitlines()
    assert 15.0 < float(volts.removesuffix(" V")) < 17.0
    assert percent == "100 %"
