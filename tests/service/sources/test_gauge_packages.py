# SPDX-License-Identifier: Apache-2.0
"""Gauges of other packages: found by their entry point, refused in one sentence, isolated."""

import logging
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.gauge_package import schemes
from dronebms.recording.records import Shown, record_of, text_of
from dronebms.service.can_buses import CanBuses
from dronebms.service.config import Config, read_config
from dronebms.service.installation import refuse_unusable
from dronebms.service.machine import Wiring
from dronebms.service.sources.battery_sources import packages_of
from dronebms.service.sources.gauge_packages import (
    PackageBattery,
    checked,
    package_of,
    refuse_package,
    trouble_of,
)
from dronebms.simulation.sitl.rehearsal import VirtualMachine
from mavlink_bridge.protocol.link import open_link
from sim.emulator.world import open_virtual
from sim.source_contract import check_silence, check_snapshot, check_snapshots
from smartbattery.snapshot import Identity, Snapshot
from tests.gauge_packages import SOUND, install

ROOT = Path(__file__).parents[3]
NAME = "gauges 1.2"
READ = dict.fromkeys(("voltage_v", "current_a", "cell1_v", "soc_pct"), 10.0)
SEEN = Snapshot(10.0, voltage_v=24.0, current_a=3.0, cells_v=(4.0, None), read_at_s=READ)


def config_of(folder: Path, text: str) -> Config:
    path = folder / "dronebms.toml"
    path.write_text(text)
    return read_config(path)


def test_a_bus_of_an_installed_package_is_served_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = install(tmp_path, monkeypatch, "acme")
    assert "acme" in schemes()
    config = config_of(tmp_path, '[[battery]]\nbus = "acme:/dev/ttyX1"\ncells = 24\n')
    refuse_unusable(config)
    (battery,) = config.battery
    assert (battery.package, battery.place) == ("acme", "acme:/dev/ttyX1")
    assert (battery.is_wired, battery.is_virtual) == (False, False)
    assert trouble_of(battery.bus) is None
    clock, shown = SystemClock(), []
    with caplog.at_level(logging.INFO), ExitStack() as stack:
        sources = packages_of(
            config.battery, stack, clock, lambda index, snapshot: shown.append((index, snapshot))
        )
        assert list(sources) == [0]
        while sources[0].poll(clock.now_s()).voltage_v is None:
            assert clock.now_s() < 5.0
            clock.sleep_until(clock.now_s() + 0.01)
        snapshot = sources[0].poll(clock.now_s())
    assert snapshot.cells_v == (4.0,) * 6
    assert snapshot.identity.gauge == f"{name} 1.2"
    assert shown[-1] == (0, snapshot)
    assert f"gauge of {name} 1.2" in caplog.text


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('bus = "acme:"', 'battery.1.bus: expected a device such as "/dev/i2c-1", "acme:PLACE", '),
        ('bus = "acme"', 'battery.1.bus: expected a device such as "/dev/i2c-1", "acme:PLACE", '),
        ('bus = "other:/dev/x"', 'battery.1.bus: expected a device such as "/dev/i2c-1", "acme'),
        ('bus = "acme:x"\naddress = 11', "battery.1: expected no address with a gauge of another"),
        ('bus = "acme:x"\ngauge = "auto"', "battery.1: expected no gauge with a gauge of another"),
        (
            'bus = "acme:x"\n[[battery]]\nbus = "acme:x"',
            "battery.1 and battery.2: same acme:x",
        ),
    ],
)
def test_a_configuration_that_no_package_serves_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, complaint: str
) -> None:
    install(tmp_path, monkeypatch, "acme")
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, f"[[battery]]\n{line}\n")
    (sentence,) = str(caught.value).splitlines()
    assert complaint in sentence


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("raise OSError('no\\nlibrary')", "cannot be imported: OSError: no"),
        ("import no_such_library", "cannot be imported: ModuleNotFoundError: No module named"),
        ("def", "cannot be imported: SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("", "is for interface none of gauges, this program has 1"),
        ("INTERFACE = 2", "is for interface 2 of gauges, this program has 1"),
        ("INTERFACE = 1", "has no open_gauge"),
        ("INTERFACE = 1\nopen_gauge = print", "has no trouble_of"),
        (SOUND.replace("return Gauge()", "return None"), "has no poll"),
        (SOUND.replace("return Gauge()", "1 / 0"), "ZeroDivisionError: division by zero"),
        (
            SOUND.replace(
                "return Gauge()",
                "from dronebms.core import ConfigError; raise ConfigError('no port \\x1b[2J')",
            ),
            "acme:x: no port ?[2J",
        ),
    ],
)
def test_a_package_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, complaint: str
) -> None:
    install(tmp_path, monkeypatch, "acme", code)
    with pytest.raises(ConfigError) as caught:
        refuse_package("acme:x", None)
    sentence = str(caught.value)
    assert complaint in sentence
    assert sentence.startswith("acme:x: ")
    assert sentence.isprintable()


def test_two_packages_of_one_scheme_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = install(tmp_path, monkeypatch, "acme")
    second = install(tmp_path, monkeypatch, "acme", name="other_gauges")
    with pytest.raises(ConfigError, match=f"{first} 1.2 and {second} 1.2: expected one package"):
        package_of("acme:x")
    with pytest.raises(ConfigError, match="no installed package: expected one package"):
        package_of("nothing:x")


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("return 'no permission', 'sudo adduser me dialout'", ("no permission", "sudo adduser me")),
        ("raise OSError('gone')", ("1.2: OSError: gone", "see gauges")),
        ("return 'half'", ("1.2: ValueError: too many values", "see gauges")),
    ],
)
def test_what_will_not_work_on_this_machine_comes_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, trouble: tuple[str, str]
) -> None:
    install(tmp_path, monkeypatch, "acme", SOUND.replace("return None", code))
    found = trouble_of("acme:x")
    assert found is not None
    assert trouble[0] in found[0]
    assert trouble[1] in found[1]


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_broken_package_ends_check_and_run_with_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    install(tmp_path, monkeypatch, "acme", "import no_such_library")
    path = tmp_path / "dronebms.toml"
    path.write_text('[[battery]]\nbus = "acme:x"\n')
    ran = subprocess.run(  # noqa: S603 - our own command
        (sys.executable, "-m", "dronebms.cli", command, "-c", str(path)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))},
    )
    assert ran.returncode == 2
    (sentence,) = ran.stderr.splitlines()
    assert "1.2 cannot be imported: ModuleNotFoundError: No module named 'no_such_li" in sentence


def test_a_rehearsal_gives_a_battery_of_a_package_a_virtual_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "acme", "raise OSError('not imported')")
    config = config_of(tmp_path, '[[battery]]\nbus = "acme:x"\ncells = 6\n')
    clock = VirtualClock()
    bus, _ = open_virtual("survey", clock)
    with ExitStack() as stack:
        link = stack.enter_context(closing(open_link("udpout:127.0.0.1:9")))
        machine = VirtualMachine(link, [bus])
        buses = CanBuses(clock, stack)
        wiring = Wiring(stack, clock, buses, lambda *_: None, lambda *_: None)
        (source,) = machine.sources(config.battery, wiring).values()
    assert len(source.poll(0.0).cells_v) == 6


# ------------------------------------------------------------------------- what is polled


class Acting:
    """A gauge that does what a function does."""

    def __init__(self, act: Callable[[float], Any]) -> None:
        self._act = act
        self.closed = False

    def poll(self, now_s: float) -> Any:  # noqa: ANN401 - what a foreign package may return
        """Act."""
        return self._act(now_s)

    def close(self) -> None:
        """Fail: the device is gone."""
        self.closed = True
        raise OSError("gone")


def fail(_: float) -> Snapshot:
    raise KeyError("voltage\nline 2")


def seeing(**changes: object) -> Callable[[float], Snapshot]:
    return lambda now_s: replace(SEEN, t_s=now_s, **changes)  # type: ignore[arg-type]  # foreign


@pytest.mark.parametrize(
    ("act", "trouble"),
    [
        (fail, "gauges 1.2: KeyError: 'voltage"),
        (lambda _: None, "gauges 1.2: poll returned a NoneType, no Snapshot"),
        (Snapshot, "gauges 1.2: no voltage"),
        (lambda t: Snapshot(t, trouble="no \x1b reply"), "gauges 1.2: no ? reply"),
        (seeing(cells_v=(4.0,) * 33), "gauges 1.2: ValueError: 33 cells"),
        (seeing(cells_v=None), "gauges 1.2: TypeError: object of type"),
        (seeing(identity="pack"), "gauges 1.2: AttributeError: 'str'"),
        (seeing(voltage_v="24"), "gauges 1.2: no voltage"),
    ],
)
def test_what_a_package_raises_or_returns_instead_of_values_is_silence(
    act: Callable[[float], Any], trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    battery = PackageBattery(Acting(act), NAME, 1)
    assert battery.poll(9.9).trouble == "gauges 1.2 has not answered yet"
    for step in range(10):
        battery.poll_bus(10.0 + step / 10)
        snapshot = battery.poll(10.0 + step / 10)
        assert snapshot.voltage_v is None
        assert snapshot.trouble is not None
        assert snapshot.trouble.startswith(trouble)
        assert snapshot.trouble.isprintable()
    assert caplog.text.count("battery 2 does not answer") == 1
    battery.close()


def test_a_gauge_that_recovers_is_used_again_and_one_that_hangs_is_stuck() -> None:
    def act(now_s: float) -> Snapshot:
        return fail(now_s) if now_s < 1.1 else replace(SEEN, read_at_s={"voltage_v": now_s})

    battery = PackageBattery(Acting(act), NAME, 0)
    battery.poll_bus(1.0)
    assert battery.poll(1.0).voltage_v is None
    battery.poll_bus(1.1)
    assert battery.poll(1.1).voltage_v == 24.0
    assert battery.poll(2.5).voltage_v is None  # no poll has ended for more than a second
    assert not battery.is_stuck(11.0)
    assert battery.is_stuck(11.2)


def test_a_gauge_keeps_the_contract_of_a_source_and_falls_silent() -> None:
    def act(now_s: float) -> Snapshot:
        if now_s >= 20.0:
            raise OSError("unplugged")
        return replace(SEEN, t_s=now_s, read_at_s=dict.fromkeys(READ, now_s))

    battery = PackageBattery(Acting(act), NAME, 0)

    class Stepped:
        """The battery, polled by its thread at the same times."""

        def poll(self, now_s: float) -> Snapshot:
            """Poll both sides."""
            battery.poll_bus(now_s)
            return battery.poll(now_s)

    assert len(check_snapshots(Stepped(), [step / 2 for step in range(40)])) == 40
    check_silence(Stepped(), 20.0)


def test_its_thread_ends_before_a_gauge_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = SOUND.replace(
        "        pass",
        "        import threading\n"
        "        log.extend(thread.name for thread in threading.enumerate())\n",
    )
    install(tmp_path, monkeypatch, "acme", f"log = []\n{code}")
    config = config_of(tmp_path, '[[battery]]\nbus = "acme:x"\n')
    module: Any = package_of("acme:x").package
    with ExitStack() as stack:
        packages_of(config.battery, stack, SystemClock(), lambda *_: None)
        assert "bus acme:x" in {thread.name for thread in threading.enumerate()}
    assert "bus acme:x" not in module.log
    assert module.log


# ------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("changes", "field", "value", "withheld"),
    [
        ({"voltage_v": math.nan}, "voltage_v", None, 1),
        ({"voltage_v": 24_000.0}, "voltage_v", None, 1),
        ({"voltage_v": True}, "voltage_v", None, 1),
        ({"voltage_v": np.float64(24.5)}, "voltage_v", 24.5, 0),
        ({"current_a": 3}, "current_a", 3.0, 0),
        ({"cells_v": (4.0, 0.0, 9.9, None)}, "cells_v", (4.0, None, None, None), 2),
        ({"soc_pct": 101.0}, "soc_pct", None, 1),
        ({"status_raw": 0x80}, "status_raw", 0x80, 0),
        ({"safety_raw": 1}, "safety_raw", None, 0),  # a word of a BQ40
        ({"rejected": ("voltage_v",)}, "rejected", (), 0),  # what the pipeline decides
        ({"other_pack": "serial"}, "other_pack", None, 0),
        ({"alerts": ("over-heat",)}, "alerts", ("over-heat",), 0),
        ({"doubts": ("cell 3\x07",)}, "doubts", ("cell 3?",), 0),
        ({"read_at_s": {"voltage_v": 7.9}}, "voltage_v", None, 0),  # holds for 2 s
        ({"read_at_s": {"voltage_v": 99.0}}, "voltage_v", 24.0, 0),
        ({"read_at_s": {"voltage_v": -1e15}}, "voltage_v", None, 0),
        ({"read_at_s": {"voltage_v": math.nan}}, "voltage_v", None, 1),
    ],
)
def test_only_values_that_a_battery_can_have_are_used(
    changes: dict[str, Any], field: str, value: object, withheld: int
) -> None:
    snapshot = checked(replace(SEEN, **changes), 10.0, NAME)
    assert getattr(snapshot, field) == value
    assert type(getattr(snapshot, field)) is type(value)
    assert snapshot.counts.withheld == withheld
    check_snapshot(snapshot, 10.0)


def test_the_identity_of_a_pack_is_one_that_a_pack_can_have() -> None:
    wrong = Identity(
        serial=70_000, device="pack\n", design_mah=-1.0, design_v=12.8, cells=40, date=(2025, 3, 14)
    )
    identity = checked(replace(SEEN, identity=wrong), 10.0, NAME).identity
    assert identity == Identity(device="pack?", design_v=12.8, date=(2025, 3, 14), gauge=NAME)
    right = Identity(serial=7, manufacturer="a", chemistry="LION", design_mah=5000, cells=24)
    found = checked(replace(SEEN, identity=right), 10.0, NAME).identity
    assert found == replace(right, gauge=NAME)


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(), st.text(max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(
        ("voltage_v", "current_a", "temperature_degc", "soc_pct", "full_mah", "cycles",
         "status_raw", "beyond_a", "fet_degc"), ANY)),
    st.lists(ANY, max_size=40).map(tuple),
    st.dictionaries(st.sampled_from(("voltage_v", "cell1_v", "soc_pct")), st.floats()),
)  # fmt: skip
def test_no_value_of_a_package_breaks_the_contract_or_a_recording(
    values: dict[str, Any], cells_v: tuple[Any, ...], read_at_s: dict[str, float]
) -> None:
    snapshot = checked(Snapshot(5.0, cells_v=cells_v, read_at_s=read_at_s, **values), 5.0, NAME)
    check_snapshot(snapshot, 5.0)
    shown = Shown(0, snapshot)
    assert record_of(text_of(shown), "here") == shown
