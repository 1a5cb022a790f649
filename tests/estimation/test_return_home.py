"""Return home against a map, a wind triangle and an energy balance worked out by hand."""

import math
from dataclasses import replace

import pytest

from dronebms.core.report import Estimate
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.return_home import ReturnHome
from tests.snapshots import FACTS, look

# A degree of latitude is 111.2 km on a sphere of 6371 km.
KILOMETRE_DEG = 1.0 / 111.195
AWAY = VehicleState(
    lat_deg=47.0 + 2 * KILOMETRE_DEG,
    lon_deg=8.0,
    alt_m=540.0,
    home_lat_deg=47.0,
    home_lon_deg=8.0,
    home_alt_m=500.0,
    ground_speed_m_s=10.0,
)


def cruised(vehicle: VehicleState = AWAY, power_w: float = 400.0) -> ReturnHome:
    homeward = ReturnHome()
    for t in range(120):
        homeward.observe(float(t), 1.0, vehicle, power_w)
    return homeward


def test_two_kilometres_at_ten_metres_a_second_and_forty_metres_down() -> None:
    way = cruised().estimate(AWAY, 600.0, 400.0)
    # 200 s of way, 20 s down at 2 m/s, 15 s to land.
    assert way.home_s == pytest.approx(235.0, rel=0.005)
    assert way.home_reserve_s == pytest.approx(365.0, rel=0.005)
    assert way.turn_back_in_s == pytest.approx(365.0, rel=0.005)


def test_a_load_above_the_cruise_leaves_more_time_for_the_return() -> None:
    way = cruised().estimate(AWAY, 300.0, 800.0)
    # 300 s at 800 W are 600 s at 400 W; 365 s of them are spare, or 182 s at 800 W.
    assert way.home_reserve_s == pytest.approx(365.0, rel=0.005)
    assert way.turn_back_in_s == pytest.approx(182.5, rel=0.01)


def test_headwind_and_crosswind_slow_the_return_and_a_tailwind_is_no_gain() -> None:
    # Home is due south. 6 m/s from the south is against, from the west across. From behind it is no
    # gain: ArduPilot's WPNAV_SPEED and PX4's MPC_XY_CRUISE are speeds over ground.
    against = cruised().estimate(replace(AWAY, wind_m_s=6.0, wind_from_deg=180.0), 600.0, 400.0)
    across = cruised().estimate(replace(AWAY, wind_m_s=6.0, wind_from_deg=270.0), 600.0, 400.0)
    behind = cruised().estimate(replace(AWAY, wind_m_s=6.0, wind_from_deg=0.0), 600.0, 400.0)
    assert against.home_s == pytest.approx(2000.0 / 4.0 + 35.0, rel=0.005)
    assert across.home_s == pytest.approx(2000.0 / 8.0 + 35.0, rel=0.005)
    assert behind.home_s == pytest.approx(2000.0 / 10.0 + 35.0, rel=0.005)


@pytest.mark.parametrize("wind_from_deg", [180.0, 270.0])
def test_against_a_storm_the_return_is_unknown(wind_from_deg: float) -> None:
    storm = replace(AWAY, wind_m_s=20.0, wind_from_deg=wind_from_deg)
    assert cruised().estimate(storm, 600.0, 400.0).home_s is None


@pytest.mark.parametrize("name", ["lat_deg", "lon_deg", "home_lat_deg", "home_lon_deg"])
def test_without_a_position_or_a_home_the_return_is_unknown(name: str) -> None:
    way = cruised().estimate(replace(AWAY, **{name: None}), 600.0, 400.0)
    assert (way.home_s, way.home_reserve_s, way.turn_back_in_s) == (None, None, None)


def test_without_a_remaining_time_the_reserve_is_unknown() -> None:
    way = cruised().estimate(AWAY, None, 400.0)
    assert way.home_s is not None
    assert (way.home_reserve_s, way.turn_back_in_s) == (None, None)


def test_flying_away_shortens_the_time_to_turn_back() -> None:
    homeward = ReturnHome()
    vehicle = AWAY
    for t in range(120):
        vehicle = replace(AWAY, lat_deg=47.0 + (800.0 + 10.0 * t) / 1000.0 * KILOMETRE_DEG)
        homeward.observe(float(t), 1.0, vehicle, 400.0)
    way = homeward.estimate(vehicle, 600.0, 400.0)
    assert way.home_reserve_s is not None
    # Each second away lengthens the return by a second: half of the reserve.
    assert way.turn_back_in_s == pytest.approx(way.home_reserve_s / 2, rel=0.02)


def test_without_a_reserve_the_time_to_turn_back_is_zero() -> None:
    way = cruised().estimate(AWAY, 100.0, 400.0)
    assert way.home_reserve_s == pytest.approx(-135.0, rel=0.01)
    assert way.turn_back_in_s == 0.0


def test_a_return_across_the_date_line_is_short() -> None:
    east = replace(AWAY, lat_deg=0.0, home_lat_deg=0.0, lon_deg=179.995, home_lon_deg=-179.995)
    metres = math.radians(0.01) * 6_371_000.0
    way = cruised(east).estimate(east, 600.0, 400.0)
    assert way.home_s == pytest.approx(metres / 10.0 + 35.0, rel=0.01)


def test_the_return_is_unknown_without_a_vehicle_state() -> None:
    known, unknown = Estimator(FACTS), Estimator(FACTS)
    home = nothing = Estimate(0.0)
    for t in range(200):
        snapshot = look(float(t), 3.9 - 0.0004 * t, 20.0 + t % 2)
        home, nothing = known.update(snapshot, AWAY), unknown.update(snapshot, UNKNOWN_VEHICLE)
    assert home.home_s == pytest.approx(235.0, rel=0.01)
    assert home.home_reserve_s is not None
    assert home.turn_back_in_s is not None
    assert (nothing.home_s, nothing.home_reserve_s, nothing.turn_back_in_s) == (None, None, None)
    assert home.remaining_s == nothing.remaining_s
