# SPDX-License-Identifier: Apache-2.0
"""`dronebms sitl -c`: a configured service on virtual packs, with a vehicle played by the test."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from dronebms.analysis.replay import reports as replayed
from dronebms.cli.main import main
from dronebms.core.clock import VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report
from dronebms.core.toml_schema import validated
from dronebms.flightlogs import FlightOptions
from dronebms.service.config import Config
from dronebms.service.config.battery_config import BatteryConfig
from dronebms.simulation.simulated_flight import SimOptions
from dronebms.simulation.sitl import Sitl
from dronebms.simulation.sitl.rehearsal import left_out, rehearsed, scenario_of
from dronebms.telemetry import json_line
from sim.emulator.world import World, open_bus
from smartbattery.gauge import Gauge
from smartbattery.registers import ADDRESS
from tests.mavlink_bridge.simulated import SimulatedVehicle, vehicle_at

RETURN = 20  # MAV_CMD_NAV_RETURN_TO_LAUNCH
ONBOARD_COMPUTER = 191
BATTERY = '[[battery]]\nbus = "/dev/i2c-1"\naddress = 0x16\ncells = 4\ncapacity_mah = 5000\n'
ACTION = '[[action]]\non = "critical"\ndo = "return"\n'
NEARLY_EMPTY = """
[pack]
chemistry = "lipo"
cells = 4
cell_mah = 5000.0
resistance_mohm_ah = 40.0
start_charge_frac = 0.08

[[phase]]
name = "hover"
duration_s = 60.0
power_w = 320.0
"""
HALF_FULL = NEARLY_EMPTY.replace("0.08", "0.50")


def flown(
    config: str | None, scenario: str, folder: Path, seconds: float = 40.0, **options: object
) -> tuple[SimulatedVehicle, list[Report], list[str]]:
    """Fly a configuration on a pack; reports, and what the user was notified of."""
    path = folder / "pack.toml"
    path.write_text(scenario)
    read = None if config is None else validated(Config, config, "rehearsal.toml")
    texts: list[str] = []
    with vehicle_at() as (flying, url), ExitStack() as stack:
        flying.power_w = lambda _t_s: 300.0
        flying.parameters["SIM_BATT_VOLTAGE"] = 15.0
        simulated = SimOptions(flight=str(path), mavlink_url=url, duration_s=seconds, **options)  # type: ignore[arg-type]
        sitl = Sitl(simulated, stack, flying.wall, texts.append, read)
        reports = list(sitl.reports())
    return flying, reports, texts


def commands(flying: SimulatedVehicle) -> list[int]:
    """Component of each command to return."""
    sent = flying.received["COMMAND_LONG"]
    return [message.get_srcComponent() for message in sent if message.command == RETURN]


def test_the_configured_actions_command_the_vehicle(tmp_path: Path) -> None:
    flying, reports, _ = flown(BATTERY + ACTION, NEARLY_EMPTY, tmp_path)
    assert max(report.status.severity for report in reports) >= 3
    assert commands(flying)
    assert set(commands(flying)) == {ONBOARD_COMPUTER}


def test_nothing_is_commanded_without_an_action_or_without_a_configuration(tmp_path: Path) -> None:
    for config in (BATTERY, None):
        flying, reports, _ = flown(config, NEARLY_EMPTY, tmp_path)
        assert max(report.status.severity for report in reports) >= 3
        assert commands(flying) == []


def test_the_configured_limits_are_in_force(tmp_path: Path) -> None:
    limit = '[[limit]]\nid = "charge_low"\ntrip = 90.0\n'
    _, reports, _ = flown(BATTERY + limit, HALF_FULL, tmp_path, 20.0)
    assert "charge_low" in reports[-1].status.active
    _, reports, _ = flown(BATTERY, HALF_FULL, tmp_path, 20.0)
    assert "charge_low" not in reports[-1].status.active


def test_the_recording_replays_to_the_identical_predictions(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    config = f'{BATTERY}{ACTION}[recording]\ndir = "{folder}"\n'
    _, reports, _ = flown(config, NEARLY_EMPTY, tmp_path, 20.0)
    (path,) = folder.glob("*.rec")
    again = [
        json_line.text(report) for report in replayed(path, FlightOptions(), lambda _done: None)
    ]
    assert again == [json_line.text(report) for report in reports]


def test_two_packs_in_series_share_the_power_and_add_their_voltages(tmp_path: Path) -> None:
    two = BATTERY + BATTERY.replace("0x16", "0x0b")
    flying, reports, _ = flown('topology = "series"\n' + two, HALF_FULL, tmp_path, 10.0)
    assert {report.index for report in reports} == {0, 1}
    first, second = reports[-2:]
    sent_v = max(value for _, value in flying.sets)
    assert first.snapshot.voltage_v is not None
    assert second.snapshot.voltage_v is not None
    assert sent_v > first.snapshot.voltage_v + 0.8 * second.snapshot.voltage_v


def test_state_and_outputs_of_the_real_service_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    config = f'{BATTERY}{ACTION}[state]\ndir = "{folder}"\n[charger]\ncommand = ["charger"]\n'
    _, _, texts = flown(config, NEARLY_EMPTY, tmp_path, 5.0)
    assert texts == ["not used in a rehearsal: [state], [charger]"]
    assert list(folder.iterdir()) == []


def test_a_stopped_vehicle_does_not_hold_up_the_end(tmp_path: Path) -> None:
    reduce = '[[action]]\non = "governor"\ndo = "reduce"\n'
    path = tmp_path / "pack.toml"
    path.write_text(NEARLY_EMPTY)
    config = validated(Config, BATTERY + reduce, "rehearsal.toml")
    with vehicle_at() as (flying, url):
        flying.power_w = lambda _t_s: 300.0
        flying.parameters |= {"MOT_BAT_CURR_MAX": 0.0, "MOT_BAT_CURR_TC": 5.0}
        options = SimOptions(flight=str(path), mavlink_url=url, duration_s=38.0)
        with ExitStack() as stack:
            for _ in Sitl(options, stack, flying.wall, lambda _text: None, config).reports():
                pass
            assert flying.parameters["MOT_BAT_CURR_MAX"] > 0.0
            flying.quiet, stopped_s = True, flying.wall.now_s()
        assert flying.wall.now_s() - stopped_s < 30.0


def test_the_rehearsed_configuration_has_virtual_packs_alone(tmp_path: Path) -> None:
    config = validated(Config, BATTERY + ACTION, "rehearsal.toml")
    changed = rehearsed(config, "tcp:127.0.0.1:5762", tmp_path)
    assert changed.battery[0].address == ADDRESS
    assert changed.vehicle_link.url == "tcp:127.0.0.1:5762"
    assert changed.state is not None
    assert changed.action == config.action
    assert left_out(config) is None


@pytest.mark.parametrize(
    ("text", "flight", "expected"),
    [
        ('bus = "sim:half_full"', None, ("lipo", 6, 16000.0)),
        ('bus = "sim:half_full"', "hover", ("li-ion", 4, 10000.0)),
        ('bus = "/dev/i2c-1"', "hover", ("li-ion", 4, 10000.0)),
        ('bus = "/dev/i2c-1"\ncells = 3\ncapacity_mah = 5000', None, ("lipo", 3, 5000.0)),
        (
            'bus = "/dev/i2c-1"\ncells = 12\ncapacity_mah = 22000\nchemistry = "li-ion"',
            None,
            ("li-ion", 12, 22000.0),
        ),
    ],
)
def test_the_pack_is_that_of_the_option_else_of_the_configuration(
    text: str, flight: str | None, expected: tuple[str, int, float]
) -> None:
    pack = scenario_of(validated(BatteryConfig, text, "battery.toml"), flight).pack
    assert (pack.chemistry, pack.cells, pack.rated_mah) == expected


def test_a_pack_of_16_cells_has_a_gauge_with_its_voltage() -> None:
    scenario = scenario_of(BatteryConfig(bus="/dev/i2c-1", cells=16), None)
    world = World(scenario, 1)
    bus = open_bus(world, VirtualClock())
    snapshot = Gauge(bus, cells=16).poll(0.0)
    assert snapshot.voltage_v == pytest.approx(world.truth().voltage_v, abs=0.006)
    assert snapshot.voltage_v == pytest.approx(sum(v or 0.0 for v in snapshot.cells_v), abs=0.05)
    assert world.truth().voltage_v > 65.535


def test_a_pack_that_no_virtual_one_matches_is_one_sentence() -> None:
    battery = BatteryConfig(bus="mavlink:0", cells=17)
    with pytest.raises(ConfigError, match=r"no virtual pack like battery monitor 0 .*; use --fl"):
        scenario_of(battery, None)


def test_a_recording_option_in_addition_to_a_configuration_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dronebms.toml"
    path.write_text(BATTERY)
    options = ("--vehicle", "udpin:127.0.0.1:14560", "--record", str(tmp_path / "a.rec"))
    assert main(["sitl", "-c", str(path), *options]) == 2
    assert "[recording]" in capsys.readouterr().err
