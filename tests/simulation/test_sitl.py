# SPDX-License-Identifier: Apache-2.0
"""A virtual pack as the battery of a simulated vehicle, played by the test.

Over a real socket, in virtual time; real flight stacks are in tests/integration.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.analysis.replay import reports as replayed
from dronebms.cli.main import main
from dronebms.core.errors import ConfigError, LinkError
from dronebms.core.report import Report
from dronebms.flightlogs import FlightOptions
from dronebms.simulation.simulated_flight import SimOptions
from dronebms.simulation.sitl import Sitl
from dronebms.telemetry import json_line
from tests.mavlink_bridge.autopilot import PX4
from tests.mavlink_bridge.loopback import free_port
from tests.mavlink_bridge.simulated import FlownWall, SimulatedVehicle, vehicle_at

HOVER_W = 325.0
BEFORE_V = 16.0
HOVER = """
[pack]
chemistry = "lipo"
cells = 4
parallel = 2
cell_mah = 5000.0
cutoff_cell_v = 3.3
resistance_mohm_ah = 60.0
wire_mohm = 2.0

[[phase]]
name = "idle"
duration_s = 20.0
power_w = 8.0
armed = false

[[phase]]
name = "climb"
duration_s = 10.0
power_w = 400.0

[[phase]]
name = "hover"
duration_s = 30.0
power_w = 320.0
"""
PX4_PARAMETERS: dict[str, float] = {"SIM_BAT_DRAIN": 60.0, "BAT1_SOURCE": 1, "MPC_THR_HOVER": 0.5}


@pytest.fixture
def copter() -> Iterator[tuple[SimulatedVehicle, str]]:
    with vehicle_at() as (flying, url):
        flying.parameters["SIM_BATT_VOLTAGE"] = BEFORE_V
        yield flying, url


@pytest.fixture(scope="module")
def hover(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The scenario of these tests."""
    path = tmp_path_factory.mktemp("flights") / "hover.toml"
    path.write_text(HOVER)
    return str(path)


@pytest.fixture
def px4() -> Iterator[tuple[SimulatedVehicle, str]]:
    with vehicle_at(PX4) as (flying, url):
        flying.parameters = dict(PX4_PARAMETERS)
        yield flying, url


def followed(
    flying: SimulatedVehicle,
    options: SimOptions,
    watch: Callable[[Sitl, Report], None] = lambda _sitl, _report: None,
) -> tuple[Sitl, list[Report], list[str]]:
    """Follow a vehicle to the end; `watch` is called with every step."""
    texts: list[str] = []
    reports = []
    with ExitStack() as stack:
        sitl = Sitl(options, stack, flying.wall, texts.append)
        for report in sitl.reports():
            watch(sitl, report)
            reports.append(report)
    return sitl, reports, texts


def profile_w(t_s: float) -> float:
    """Power of a flight: ground, climb, hover with an oscillation of 3 s."""
    if t_s < 5.0:
        return 0.0
    return 430.0 if t_s < 11.0 else HOVER_W + 60.0 * math.sin(2.0 * math.pi * t_s / 3.0)


# ------------------------------------------------------------------------- load and voltage


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_the_pack_supplies_the_power_that_the_vehicle_draws(
    copter: tuple[SimulatedVehicle, str], speed: float, hover: str
) -> None:
    flying, url = copter
    flying.power_w, flying.speed = profile_w, speed
    flying.slow_s = 1.3  # of the wall: its clock continues before it answers
    charge_as, flown_s = [0.0, 0.0], [0.0, 0.0]

    def watch(_sitl: Sitl, report: Report) -> None:
        charge_as[report.t_s > 0.0] = flying.current_as
        flown_s[report.t_s > 0.0] = flying.t_s

    sitl, reports, _ = followed(
        flying, SimOptions(mavlink_url=url, flight=hover, duration_s=60.0), watch
    )
    assert reports[-1].t_s == 60.0
    assert flown_s[1] - flown_s[0] == pytest.approx(60.0, abs=0.2)
    drawn_mah = (charge_as[1] - charge_as[0]) / 3.6
    assert drawn_mah > 250.0
    assert sitl.world.truth().drawn_mah == pytest.approx(drawn_mah, rel=0.01)


def test_a_machine_that_is_too_slow_leaves_steps_out_and_no_power(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    flying.power_w, flying.speed = profile_w, 1.0
    late_s: list[float] = []
    begun_s: list[float] = []
    charge_as = [0.0, 0.0]

    def watch(_sitl: Sitl, report: Report) -> None:
        if not begun_s:
            begun_s.append(flying.t_s)
            charge_as[0] = flying.current_as
        late_s.append(flying.t_s - begun_s[0] - report.t_s)
        charge_as[1] = flying.current_as
        flying.wall.sleep_until(flying.wall.now_s() + 0.7)  # of a step of 0.1 s

    options = SimOptions(mavlink_url=url, flight=hover, duration_s=60.0)
    sitl, reports, _ = followed(flying, options, watch)
    assert max(late_s) < 2.0
    assert 30 < len(reports) < 120
    drawn_mah = (charge_as[1] - charge_as[0]) / 3.6
    assert drawn_mah > 250.0
    assert sitl.world.truth().drawn_mah == pytest.approx(drawn_mah, rel=0.05)


def test_the_voltage_of_the_pack_is_sent_and_the_original_is_restored(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    flying.power_w = profile_w
    voltages_v: list[float] = []
    strays_v: list[float] = []

    def watch(sitl: Sitl, report: Report) -> None:
        voltages_v.append(sitl.world.truth().voltage_v)
        recent_v = voltages_v[-5:]  # a quarter of a second, and what the messages take
        sent_v = flying.parameters["SIM_BATT_VOLTAGE"]
        if report.t_s > 1.0:
            strays_v.append(max(min(recent_v) - sent_v, sent_v - max(recent_v), 0.0))

    _, _, texts = followed(
        flying, SimOptions(mavlink_url=url, flight=hover, duration_s=60.0), watch
    )
    assert max(strays_v) < 0.0101
    assert max(voltages_v) - min(voltages_v) > 0.5  # the voltage sags: there was something to send
    assert flying.parameters["SIM_BATT_VOLTAGE"] == pytest.approx(BEFORE_V)
    assert not texts


def test_the_voltage_is_set_four_times_a_second_at_most_and_only_when_it_changes(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    flying.power_w = lambda t_s: profile_w(t_s - 15.0)
    start_s: list[float] = []

    def watch(_sitl: Sitl, report: Report) -> None:
        if not start_s:
            start_s.append(flying.t_s - report.t_s)

    followed(flying, SimOptions(mavlink_url=url, flight=hover, duration_s=30.0), watch)
    at_s = [t_s - start_s[0] for t_s, _ in flying.sets]
    assert not [t_s for t_s in at_s if 2.0 < t_s < 8.0]  # at rest nothing changes
    assert sum(19.0 < t_s < 29.0 for t_s in at_s) in range(15, 43)


def test_the_service_reports_to_the_same_vehicle(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    flying.power_w = profile_w
    _, reports, _ = followed(flying, SimOptions(mavlink_url=url, flight=hover, duration_s=30.0))
    batteries = [m for m in flying.received["BATTERY_STATUS"] if m.get_srcComponent() == 180]
    assert len(batteries) == pytest.approx(60, abs=5)
    last = batteries[-1]
    assert last.get_srcSystem() == flying.autopilot.system_id
    sent_mv = sum(mv for mv in last.voltages if mv != 0xFFFF)
    assert sent_mv == pytest.approx(1000 * (reports[-1].snapshot.voltage_v or 0.0), abs=200)
    assert last.current_battery == pytest.approx(
        100 * (reports[-1].snapshot.current_a or 0.0), abs=600
    )
    assert reports[-1].vehicle.armed
    assert reports[-1].vehicle.mode == "GUIDED"


def test_a_pack_that_does_not_fit_the_vehicle_is_reported(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    flying.parameters["SIM_BATT_VOLTAGE"] = 25.2
    _, _, texts = followed(flying, SimOptions(mavlink_url=url, flight=hover, duration_s=1.0))
    assert len(texts) == 1
    assert re.match(r"the pack has 16\.\d V, the battery of the vehicle 25\.2 V", texts[0])


def test_a_half_full_small_pack_trips_its_limits_under_the_load_of_the_vehicle(
    copter: tuple[SimulatedVehicle, str], tmp_path: Path
) -> None:
    flying, url = copter
    flying.power_w, flying.speed = lambda _t_s: HOVER_W, 20.0
    small = tmp_path / "small.toml"
    text = HOVER.replace("cell_mah = 5000.0", "cell_mah = 1000.0")
    small.write_text(text.replace("[pack]", "[pack]\nstart_charge_frac = 0.35"))
    _, reports, _ = followed(
        flying, SimOptions(mavlink_url=url, flight=str(small), duration_s=60.0)
    )
    tripped = {event.limit_id for report in reports for event in report.status.events}
    assert {"charge_low", "time_low"} <= tripped
    assert reports[-1].estimate.remaining_s is not None


# ------------------------------------------------------------------------- faults


def test_a_vehicle_is_followed_through_a_reboot(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    flying.power_w = lambda _t_s: HOVER_W

    def watch(_sitl: Sitl, report: Report) -> None:
        if report.t_s == 25.0:
            flying.reboot()
            flying.parameters["SIM_BATT_VOLTAGE"] = BEFORE_V  # as with a wiped memory

    def watch_and_compare(sitl: Sitl, report: Report) -> None:
        watch(sitl, report)
        if report.t_s == 40.0:
            voltage_v = sitl.world.truth().voltage_v
            assert flying.parameters["SIM_BATT_VOLTAGE"] == pytest.approx(voltage_v, abs=0.03)

    sitl, reports, texts = followed(
        flying, SimOptions(mavlink_url=url, flight=hover, duration_s=45.0), watch_and_compare
    )
    assert texts == ["the vehicle has rebooted"]
    assert [report.t_s for report in reports] == [round(0.1 * step, 6) for step in range(451)]
    assert sitl.world.truth().power_w == pytest.approx(HOVER_W, rel=0.01)


def test_a_silent_vehicle_is_awaited_and_draws_nothing_meanwhile(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    flying.power_w = lambda _t_s: HOVER_W
    fly = flying.wall.flies
    again_s = math.inf

    def fly_again_after_a_minute() -> None:
        flying.quiet = flying.quiet and flying.wall.now_s() < again_s
        fly()

    def watch(_sitl: Sitl, report: Report) -> None:
        nonlocal again_s
        if report.t_s == 20.0:
            flying.quiet, again_s = True, flying.wall.now_s() + 60.0

    flying.wall.flies = fly_again_after_a_minute
    sitl, reports, texts = followed(
        flying, SimOptions(mavlink_url=url, flight=hover, duration_s=25.0), watch
    )
    assert texts == [
        "no time received from the vehicle for 3 s; waiting",
        "the vehicle sends its time again",
    ]
    assert reports[-1].t_s == 25.0
    assert sitl.world.truth().drawn_mah == pytest.approx(HOVER_W / 15.0 * 25.0 / 3.6, rel=0.1)


def test_the_end_does_not_wait_long_for_a_silent_vehicle(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter

    def watch(_sitl: Sitl, _report: Report) -> None:
        flying.quiet = True

    start_s = flying.wall.now_s()
    _, _, texts = followed(
        flying, SimOptions(mavlink_url=url, flight=hover, duration_s=0.05), watch
    )
    assert texts == ["SIM_BATT_VOLTAGE could not be restored to 16: no answer"]
    assert flying.wall.now_s() - start_s < 5.0


@pytest.mark.parametrize("way", ["udpin", "udpout"])
def test_a_missing_vehicle_is_a_link_error(way: str) -> None:
    url, wall = f"{way}:127.0.0.1:{free_port()}", FlownWall()
    with ExitStack() as stack:
        with pytest.raises(LinkError) as error:
            Sitl(SimOptions(mavlink_url=url), stack, wall, pytest.fail)
        assert str(error.value).startswith(f"no data of a vehicle within 30 s: {url}: no ")
    assert wall.now_s() == pytest.approx(30.0, abs=0.1)


@pytest.mark.parametrize(
    ("changed", "sentences"),
    [
        (
            {"SIM_BATT_VOLTAGE": None},
            [r"no parameter SIM_BATT_VOLTAGE: it is not a simulated vehicle$"],
        ),
        ({"BATT_MONITOR": 3.0, "BATT_VOLT_PIN": None}, [r"^BATT_MONITOR is 3 and must be 4"]),
        (
            {"BATT_CURR_PIN": 14.0, "BATT_AMP_PERVLT": 4.25},
            [r"^BATT_CURR_PIN is 14 and must be 12", r"^BATT_AMP_PERVLT is 4.25 and must be 17"],
        ),
        ({"BATT_MONITOR": 29.0}, [r"no parameter BATT2_MONITOR"]),
    ],
)
def test_each_wrong_parameter_is_reported_in_a_sentence(
    copter: tuple[SimulatedVehicle, str],
    changed: dict[str, float | None],
    sentences: list[str],
    hover: str,
) -> None:
    flying, url = copter
    for name, value in changed.items():
        flying.parameters.pop(name)
        flying.parameters |= {} if value is None else {name: value}
    before = dict(flying.parameters)
    with pytest.raises(ConfigError) as error:
        followed(flying, SimOptions(mavlink_url=url, flight=hover, duration_s=1.0))
    for sentence, pattern in zip(str(error.value).splitlines(), sentences, strict=True):
        assert re.search(pattern, sentence), sentence
    assert flying.parameters == before
    assert not flying.sets


def test_the_second_battery_is_the_load_if_the_driver_fills_the_first(
    copter: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = copter
    for name in [name for name in flying.parameters if name.startswith("BATT_")]:
        flying.parameters[name.replace("BATT_", "BATT2_")] = flying.parameters.pop(name)
    flying.parameters["BATT_MONITOR"] = 29.0
    flying.battery_id, powers_w = 0, []

    def power_w(_t_s: float) -> float:
        requested = [message.param_id for message in flying.received["PARAM_REQUEST_READ"]]
        if "BATT2_AMP_PERVLT" in requested and flying.steps % 40 == 0:  # some time after that
            flying.battery_id = 1
        return HOVER_W if flying.battery_id else 5000.0

    def watch(sitl: Sitl, _report: Report) -> None:
        powers_w.append(sitl.world.truth().power_w)

    flying.power_w = power_w
    followed(flying, SimOptions(mavlink_url=url, flight=hover, duration_s=5.0), watch)
    assert max(powers_w) == pytest.approx(HOVER_W, rel=0.01)


# ------------------------------------------------------------------------- PX4


def test_the_throttle_of_px4_determines_the_load_and_nothing_is_set(
    px4: tuple[SimulatedVehicle, str], hover: str
) -> None:
    flying, url = px4
    powers_w = {}
    for throttle_pct in (0, 50, 72):
        flying.throttle_pct = throttle_pct
        sitl, _, _ = followed(flying, SimOptions(mavlink_url=url, flight=hover, duration_s=3.0))
        powers_w[throttle_pct] = sitl.world.truth().power_w
    # The mean of the armed phases; then the power of a rotor at 1.44 times the thrust.
    assert powers_w[0] == pytest.approx(0.0, abs=1e-6)
    assert powers_w[50] == pytest.approx(340.0, rel=0.001)
    assert powers_w[72] == pytest.approx(1.44**1.5 * powers_w[50], rel=1e-3)
    assert not flying.sets


def test_a_px4_that_reports_its_own_battery_is_refused(
    px4: tuple[SimulatedVehicle, str],
) -> None:
    flying, url = px4
    flying.parameters["BAT1_SOURCE"] = 0
    with pytest.raises(ConfigError, match=r"^BAT1_SOURCE is 0 and must be 1, or PX4 adds"):
        followed(flying, SimOptions(mavlink_url=url, duration_s=1.0))


def test_another_flight_stack_is_refused() -> None:
    with (
        vehicle_at(mavlink.MAV_AUTOPILOT_GENERIC) as (flying, url),
        pytest.raises(ConfigError, match="neither ArduPilot nor PX4"),
    ):
        followed(flying, SimOptions(mavlink_url=url, duration_s=1.0))


# ------------------------------------------------------------------------- options


def test_a_recording_replays_to_the_same_decisions(
    copter: tuple[SimulatedVehicle, str], tmp_path: Path, hover: str
) -> None:
    flying, url = copter
    flying.power_w = profile_w
    path = tmp_path / "flight.rec"
    _, reports, _ = followed(
        flying,
        SimOptions(mavlink_url=url, flight=hover, duration_s=20.0, faults=("nack@5",), record=path),
    )
    again = list(replayed(path, FlightOptions(), lambda _share: None))
    assert list(map(json_line.text, again)) == list(map(json_line.text, reports))


def test_invalid_options_are_reported_before_a_vehicle_is_awaited(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"udpin:127.0.0.1:{free_port()}"
    for arguments, sentence in (
        (("--vehicle", "5760"), "expected udpout:HOST:PORT"),
        (("--vehicle", url, "--flight", "no_such"), "'no_such' is not a scenario"),
        (("--vehicle", url, "--fault", "no_such"), "fault 'no_such' is not one of"),
    ):
        assert main(["sitl", "--headless", *arguments]) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err
        assert len(captured.err.splitlines()) == 1
        assert not captured.out
