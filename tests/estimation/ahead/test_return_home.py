# SPDX-License-Identifier: Apache-2.0
"""Return home against spans, energies and verdicts worked out by hand."""

import math
from dataclasses import replace

import pytest

from dronebms.core.flight_plan import (
    FlightPlan,
    ItemKind,
    MissionItem,
    Place,
    PlaceHeight,
    ReturnPlan,
    ReturnTo,
    Speeds,
)
from dronebms.core.report import Estimate, Verdict
from dronebms.core.vehicle_state import UNKNOWN_VEHICLE, VehicleState
from dronebms.estimation.ahead.reach import verdict
from dronebms.estimation.ahead.return_destination import destination
from dronebms.estimation.ahead.return_home import ReturnEstimate, ReturnHome
from dronebms.estimation.ahead.return_way import conditions, ways_along
from dronebms.estimation.estimator import Estimator
from dronebms.estimation.motion.motion_power import MotionPower
from dronebms.estimation.motion.positions import Position
from tests.estimation.ahead.flights_ahead import (
    AGILITY,
    AWAY,
    KILOMETRE_DEG,
    PLAN,
    RETURNS,
    hovered,
    lasting,
    load,
    place,
    sample,
    waypoint,
)
from tests.snapshots import FACTS, look

HOME_S = 239.0  # 200 s of way, 4 s to start and stop, 15 s down and 20 s to land
POWER_W = 400.0


def returned(
    vehicle: VehicleState = AWAY,
    low_s: float = 600.0,
    median_s: float = 600.0,
    *,
    reserve_s: float = 0.0,
    motion: MotionPower | None = None,
    power_w: float = POWER_W,
) -> ReturnEstimate:
    """The return of a vehicle that needs the same power for every motion."""
    stage = ReturnHome(reserve_s * POWER_W)
    known = MotionPower() if motion is None else motion
    remaining = lasting(low_s, median_s, power_w)
    return stage.update(sample(100.0), vehicle, known, load(power_w), remaining)


def test_the_time_home_is_that_of_the_plan() -> None:
    found = returned()
    assert found.home_s == pytest.approx(HOME_S, rel=1e-3)
    assert found.missing is None


def test_what_is_left_at_home_is_the_time_to_empty_less_the_way() -> None:
    found = returned(low_s=500.0, median_s=600.0, reserve_s=60.0)
    assert found.margin_s == pytest.approx(600.0 - HOME_S - 60.0, rel=0.01)
    assert found.reserve_s is not None
    assert found.best_s is not None
    # The power of the way home is uncertain too: the bound is below the 500 s of the pack alone.
    assert 100.0 < found.reserve_s < 500.0 - HOME_S
    assert found.best_s > 720.0 - HOME_S


def test_a_return_that_takes_less_power_than_the_flight_leaves_more() -> None:
    known = hovered(power_w=POWER_W / 2)
    still = replace(AWAY, plan=replace(PLAN, returns=replace(RETURNS, cruise_m_s=1e9)))
    found = returned(still, 300.0, 300.0, motion=known, power_w=POWER_W)
    assert found.home_s is not None
    assert found.margin_s is not None
    # The pack gives 300 s at 400 W: twice the time in a landing that takes half of it.
    assert found.margin_s == pytest.approx(600.0 - found.home_s, rel=0.15)


def test_a_landing_at_home_takes_the_rest_of_its_descent() -> None:
    low_m = 6.0  # below the height of the slow landing, and of the return
    above = replace(AWAY, lat_deg=AWAY.home_lat_deg, alt_m=(AWAY.home_alt_m or 0.0) + low_m)
    waits = replace(PLAN, returns=replace(RETURNS, height_m=30.0, wait_s=15.0))
    landing = replace(above, plan=waits, landing=True)
    assert RETURNS.landing_m_s is not None
    assert returned(landing).home_s == pytest.approx(low_m / RETURNS.landing_m_s)
    # One that has not begun to land climbs and waits first, and so does a landing elsewhere.
    home_s = returned(replace(landing, landing=None)).home_s
    assert home_s is not None
    assert home_s > 15.0 + 24.0 / 2.5
    assert returned(replace(AWAY, landing=True)).home_s == returned(AWAY).home_s


@pytest.mark.parametrize(
    ("low_s", "median_s", "answer"),
    [
        (600.0, 700.0, Verdict.YES),
        (100.0, 600.0, Verdict.MARGINAL),
        (100.0, 270.0, Verdict.NO),  # home, but not with the landing reserve of 60 s
        (0.0, 0.0, Verdict.NO),
    ],
)
def test_one_verdict_of_two_bounds(low_s: float, median_s: float, answer: Verdict) -> None:
    assert returned(low_s=low_s, median_s=median_s, reserve_s=60.0).verdict is answer


def test_a_better_verdict_needs_some_seconds_more_than_the_worse_one() -> None:
    assert verdict(10.0, 10.0) is Verdict.YES
    assert verdict(10.0, 10.0, Verdict.MARGINAL) is Verdict.MARGINAL
    assert verdict(10.0, 10.0, Verdict.NO) is Verdict.NO
    assert verdict(10.0, 20.0, Verdict.NO) is Verdict.MARGINAL
    assert verdict(20.0, 20.0, Verdict.NO) is Verdict.YES
    stage, motion, found = ReturnHome(), hovered(), []
    for t, low_s in enumerate((900.0, 100.0, 455.0, 900.0)):
        estimate = stage.update(sample(float(t)), AWAY, motion, load(), lasting(low_s, 900.0))
        found.append(estimate.verdict)
    assert found == [Verdict.YES, Verdict.MARGINAL, Verdict.YES, Verdict.YES]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"lat_deg": None}, "position of the vehicle"),
        ({"lon_deg": None}, "position of the vehicle"),
        ({"home_lat_deg": None}, "home position"),
        ({"home_lon_deg": None}, "home position"),
        ({"wind_m_s": 40.0, "wind_from_deg": 180.0}, "a ground speed against this wind"),
    ],
)
def test_the_one_thing_that_is_missing_is_named(
    changes: dict[str, float | None], missing: str
) -> None:
    found = returned(replace(AWAY, **changes))  # type: ignore[arg-type]  # numbers all
    assert (found.verdict, found.missing, found.home_s) == (Verdict.UNKNOWN, missing, None)
    assert (found.reserve_s, found.margin_s, found.turn_back_in_s) == (None, None, None)


def test_without_a_load_or_a_remaining_time_there_is_no_verdict() -> None:
    stage = ReturnHome()
    idle = stage.update(sample(0.0), AWAY, MotionPower(), None, lasting(600.0, 600.0))
    assert (idle.verdict, idle.missing) == (Verdict.UNKNOWN, "load")
    unknown = stage.update(sample(1.0), AWAY, MotionPower(), load(), None)
    assert (unknown.verdict, unknown.missing) == (Verdict.UNKNOWN, "time left")
    assert unknown.home_s == pytest.approx(HOME_S, rel=1e-3)
    powerless = stage.update(sample(2.0), AWAY, MotionPower(), load(), lasting(9.0, 9.0, 0.0))
    assert powerless.missing == "time left"


def test_on_the_ground_at_home_there_is_no_way_to_judge() -> None:
    low = replace(RETURNS, height_m=0.0)
    there = replace(AWAY, lat_deg=47.0, alt_m=500.0, plan=replace(PLAN, returns=low))
    assert returned(there).missing == "load"


def test_without_a_plan_the_speed_is_the_greatest_that_was_flown() -> None:
    planless = replace(AWAY, plan=None)
    # 40 m down: 30 m at 2 m/s, 10 m at 0.7 m/s; the start and the stop by the speed.
    # By ArduCopter's defaults: 2.5 m/s² after 2.5 s of jerk, half a start of the descent by 1 m/s².
    landing_s = 15.0 + 10.0 / 0.7 + (2.0 / 1.0 + 1.0) / 2.0
    usual_s = 2.0 * math.sqrt(5.0 / 1.0)  # a start to 5 m/s has not reached 2.5 m/s²
    assert returned(planless).home_s == pytest.approx(2000.0 / 5.0 + usual_s + landing_s, rel=1e-3)
    survey = MotionPower()
    for t in range(200):
        speed_m_s = 9.0 if t < 60 else 1.0
        moving = replace(planless, ground_speed_m_s=speed_m_s)
        survey.update(float(t), 1.0, POWER_W, moving)
    found = returned(planless, motion=survey)
    assert found.home_s == pytest.approx(2000.0 / 9.0 + 3.6 + 2.5 + landing_s, rel=0.02)


def test_a_plan_without_a_return_speed_takes_that_of_missions() -> None:
    plan = replace(PLAN, returns=replace(RETURNS, cruise_m_s=None))
    found = returned(replace(AWAY, plan=plan))
    assert found.home_s == pytest.approx(2000.0 / 8.0 + 3.2 + 35.0, rel=1e-3)


def test_headwind_slows_the_return_of_a_vehicle_that_was_not_seen_faster() -> None:
    against = replace(AWAY, wind_m_s=6.0, wind_from_deg=180.0)
    # 15 m/s through the air.
    assert returned(against).home_s == pytest.approx(2000.0 / 9.0 + 39.0, rel=0.01)
    behind = replace(against, wind_from_deg=0.0)
    assert returned(behind).home_s == pytest.approx(HOME_S, rel=1e-3)


def test_a_plane_returns_at_its_airspeed() -> None:
    returns = replace(RETURNS, cruise_m_s=20.0, landing_m_s=None, lands=False)
    plane = replace(AWAY, vehicle_class="ArduPlane", plan=replace(PLAN, returns=returns))
    windy = replace(plane, wind_m_s=5.0, wind_from_deg=0.0)
    assert returned(plane).home_s == pytest.approx(100.0, rel=1e-3)
    assert returned(windy).home_s == pytest.approx(80.0, rel=1e-3)


def test_flying_away_shortens_the_time_to_turn_back() -> None:
    stage, found, motion = ReturnHome(), ReturnEstimate(), hovered()
    for t in range(120):
        away_km = (800.0 + 10.0 * t) / 1000.0
        there = replace(AWAY, lat_deg=47.0 + away_km * KILOMETRE_DEG)
        found = stage.update(sample(float(t)), there, motion, load(), lasting(600.0, 600.0))
    assert found.reserve_s is not None
    assert found.turn_back_in_s is not None
    # Each second away lengthens the return by a second: half of the reserve.
    assert found.turn_back_in_s == pytest.approx(found.reserve_s / 2, rel=0.12)
    assert returned(low_s=100.0, median_s=100.0).turn_back_in_s == 0.0


def test_a_gap_of_the_seconds_is_no_speed() -> None:
    stage, motion = ReturnHome(), hovered()
    far = replace(AWAY, lat_deg=48.0)
    for t_s, there in ((0.0, AWAY), (60.0, far), (61.0, far)):
        stage.update(sample(t_s), there, motion, load(), lasting(9e9, 9e9))
    assert stage.state().receding_m_s == 0.0
    between = replace(sample(61.2), second=None)
    stage.update(between, AWAY, motion, load(), lasting(600.0, 600.0))
    assert stage.state().away == pytest.approx((61.0, 111_000.0), rel=0.01)


# --------------------------------------------------------------------------- alternates

NEAR = FlightPlan(
    RETURNS,
    items=(MissionItem(ItemKind.OTHER), MissionItem(ItemKind.LAND, place(1.5))),
    rally=(place(5.0), place(1.9)),
    speeds=Speeds(8.0),
    agility=AGILITY,
)


def test_an_alternate_in_reach_is_named_while_home_is_out_of_reach() -> None:
    there = replace(AWAY, plan=NEAR)
    found = returned(there, 150.0, 150.0)
    assert (found.verdict, found.alternate) == (Verdict.NO, "rally point 2")
    assert found.alternate_by_return is False  # its own return goes home
    assert returned(there).alternate is None
    assert returned(there, 30.0, 30.0).alternate is None
    landing = replace(AWAY, plan=replace(NEAR, rally=()))
    assert returned(landing, 150.0, 150.0).alternate == "landing of item 1"
    homeless = replace(AWAY, plan=replace(NEAR, rally=None, items=None))
    assert returned(homeless, 150.0, 150.0).alternate is None


def test_a_return_that_goes_to_the_nearest_rally_point_is_judged_so() -> None:
    rally = replace(AWAY, plan=replace(NEAR, returns=replace(RETURNS, to=ReturnTo.HOME_OR_RALLY)))
    found = returned(rally, 150.0, 150.0)
    assert found.home_s == pytest.approx(10.0 + 4.0 + 35.0, rel=0.01)
    assert (found.verdict, found.alternate) == (Verdict.YES, "rally point 2")
    assert found.alternate_by_return is True
    assert returned(rally).alternate is None  # home is in reach as well
    only_home = replace(rally, plan=replace(rally.plan or PLAN, rally=()))
    assert returned(only_home).home_s == pytest.approx(HOME_S, rel=1e-3)


def test_a_return_goes_to_no_rally_point_beyond_their_distance() -> None:
    def home_s(within_m: float | None, to: ReturnTo) -> float | None:
        returns = replace(RETURNS, to=to, rally_within_m=within_m)
        return returned(replace(AWAY, plan=replace(NEAR, returns=returns))).home_s

    near_s = pytest.approx(10.0 + 4.0 + 35.0, rel=0.01)
    for to in (ReturnTo.HOME_OR_RALLY, ReturnTo.RALLY):
        assert home_s(None, to) == home_s(150.0, to) == near_s
        assert home_s(50.0, to) == pytest.approx(HOME_S, rel=1e-3)


def test_a_return_to_rally_points_alone_passes_a_nearer_home() -> None:
    far = replace(NEAR, rally=(place(5.0),), returns=replace(RETURNS, to=ReturnTo.RALLY))
    found = returned(replace(AWAY, plan=far))
    assert found.home_s == pytest.approx(3000.0 / 10.0 + 4.0 + 35.0, rel=0.01)
    without = replace(far, rally=None)
    assert returned(replace(AWAY, plan=without)).home_s == pytest.approx(HOME_S, rel=1e-3)


@pytest.mark.parametrize(
    ("height", "up_m", "more_s"),
    [
        # The return from 40 m climbs at 2 m/s to its height of 40 m, and descends at 2 m/s.
        (PlaceHeight.UNUSED, 100.0, 0.0),
        (PlaceHeight.LEAST, 100.0, 30.0 + 30.0),
        (PlaceHeight.LEAST, 10.0, 0.0),
        (PlaceHeight.WAY, 100.0, 30.0 + 30.0),
        (PlaceHeight.WAY, 10.0, 0.0),  # the vehicle is higher
        (PlaceHeight.BASE, 60.0, 30.0 + 30.0),
        (PlaceHeight.BASE, -20.0, 10.0),  # its ground is 20 m below home
    ],
)
def test_the_altitude_of_a_rally_point_is_what_the_autopilot_makes_of_it(
    height: PlaceHeight, up_m: float, more_s: float
) -> None:
    returns = replace(RETURNS, to=ReturnTo.RALLY, place_height=height)

    def home_s(alt_m: float | None) -> float:
        at = replace(place(1.9), alt_m=alt_m)
        found = returned(replace(AWAY, plan=replace(PLAN, returns=returns, rally=(at,)))).home_s
        assert found is not None
        return found

    assert home_s(up_m) == pytest.approx(home_s(None) + more_s, abs=0.1)


def test_a_wait_at_a_rally_point_is_at_its_height_above_the_point() -> None:
    waits = replace(RETURNS, to=ReturnTo.RALLY, wait_s=5.0, wait_height_m=15.0)
    above = replace(waits, place_height=PlaceHeight.BASE)

    def home_s(returns: ReturnPlan, up_m: float) -> float | None:
        plan = replace(PLAN, returns=returns, rally=(place(1.9, up_m),))
        return returned(replace(AWAY, plan=plan)).home_s

    assert home_s(above, 0.0) == home_s(waits, 0.0)
    # Above a point of 20 m: 10 s more of climb and of descent, at the same rate above and below.
    assert home_s(above, 20.0) == pytest.approx((home_s(waits, 0.0) or 0.0) + 20.0)


def test_a_rally_point_at_home_is_home() -> None:
    own = replace(RETURNS, to=ReturnTo.HOME_OR_RALLY, place_height=PlaceHeight.BASE)
    plan = replace(PLAN, returns=replace(own, rally_beyond_m=10.0), rally=(place(0.005, 100.0),))
    assert returned(replace(AWAY, plan=plan)).home_s == pytest.approx(HOME_S, rel=1e-3)
    far = replace(plan, rally=(place(0.02, 100.0),))
    assert returned(replace(AWAY, plan=far)).home_s == pytest.approx(HOME_S - 2.0 + 50.0 + 50.0)


def test_a_return_that_lands_in_place_without_a_rally_point_is_no_way_home() -> None:
    alone = replace(PLAN, returns=replace(RETURNS, to=ReturnTo.RALLY_OR_HERE))
    without = returned(replace(AWAY, plan=alone))
    assert (without.verdict, without.missing) == (Verdict.UNKNOWN, "a rally point")
    assert without.home_s is None
    found = returned(replace(AWAY, plan=replace(alone, rally=(place(1.9),))))
    assert found.home_s == pytest.approx(10.0 + 4.0 + 35.0, rel=0.01)


def test_a_return_to_the_landing_of_the_mission_is_judged_so() -> None:
    to_landing = replace(RETURNS, to=ReturnTo.LANDING)
    found = returned(replace(AWAY, plan=replace(NEAR, returns=to_landing)))
    assert found.home_s == pytest.approx(50.0 + 4.0 + 35.0, rel=0.01)
    without = replace(NEAR, returns=to_landing, items=())
    assert returned(replace(AWAY, plan=without)).home_s == pytest.approx(HOME_S, rel=1e-3)


def test_an_alternate_against_the_wind_is_out_of_reach() -> None:
    windy = replace(AWAY, plan=NEAR, wind_m_s=14.5, wind_from_deg=0.0)
    found = returned(windy, 150.0, 150.0)  # north of the vehicle is rally point 1 alone
    assert found.alternate in {"rally point 2", "landing of item 1"}
    north = replace(windy, plan=replace(NEAR, items=(), rally=(place(5.0),)))
    assert returned(north, 150.0, 150.0).alternate is None


# --------------------------------------------------------------------------- estimator


def test_the_return_is_unknown_without_a_vehicle_state() -> None:
    known, unknown = Estimator(FACTS), Estimator(FACTS)
    home = nothing = Estimate(0.0)
    for t in range(200):
        snapshot = look(float(t), 3.9 - 0.0004 * t, 20.0 + t % 2)
        home, nothing = known.update(snapshot, AWAY), unknown.update(snapshot, UNKNOWN_VEHICLE)
    assert home.home_s == pytest.approx(HOME_S, rel=0.01)
    assert home.home_reserve_s is not None
    assert home.turn_back_in_s is not None
    assert home.home_verdict is Verdict.MARGINAL  # some 270 s left
    assert (nothing.home_s, nothing.home_reserve_s, nothing.turn_back_in_s) == (None, None, None)
    assert nothing.home_verdict is Verdict.UNKNOWN
    assert nothing.verdict_missing == "position of the vehicle"
    assert home.remaining_s == nothing.remaining_s


TAKEOFF = MissionItem(ItemKind.TAKEOFF, place(0.0))
LAND = MissionItem(ItemKind.LAND, place(4.0, 0.0))
ALONG = (TAKEOFF, waypoint(1.0, hold_s=60.0), MissionItem(ItemKind.OTHER), waypoint(3.0), LAND)
MISSION, NEARER = ReturnTo.MISSION, ReturnTo.MISSION_NEARER
STOP_S, DOWN_S = 4.0, 35.0


@pytest.mark.parametrize(
    ("to", "items", "item", "home_s"),
    [
        (MISSION, ALONG, 3, 100.0 + 100.0 + STOP_S + DOWN_S),  # on to 3 and 4 km
        (MISSION, ALONG, 4, 200.0 + STOP_S + DOWN_S),
        (MISSION, ALONG, None, 100.0 + 200.0 + 100.0 + STOP_S + DOWN_S),  # the nearest: at 1 km
        (MISSION, ALONG[:-1], 3, 100.0 + 100.0 + DOWN_S),  # back to 1 km and to the start
        (MISSION, ALONG[:-1], None, 100.0 + 100.0 + DOWN_S),
        (MISSION, (), None, HOME_S),
        (NEARER, ALONG, 1, 100.0 + 200.0 + DOWN_S - 100.0),  # three items on, one back
        (NEARER, ALONG, 3, 100.0 + 100.0 + STOP_S + DOWN_S),
        (NEARER, ALONG[:-1], 3, 100.0 + 100.0 + DOWN_S),
    ],
)
def test_a_return_along_the_mission_flies_its_items_without_holds(
    to: ReturnTo, items: tuple[MissionItem, ...], item: int | None, home_s: float
) -> None:
    plan = replace(PLAN, returns=replace(RETURNS, to=to), items=items)
    mode = "LOITER" if item is None else "MISSION"
    found = returned(replace(AWAY, plan=plan, mode=mode, mission_item=item))
    assert found.home_s == pytest.approx(home_s, rel=1e-3)


@pytest.mark.parametrize(
    ("items", "item", "home_s"),
    [
        (ALONG, 4, 200.0 + STOP_S + DOWN_S),  # on to 4 km
        (ALONG[:-1], 1, 100.0 + 100.0 + DOWN_S),  # back by 1 km
        (ALONG[:-1], 0, 200.0 + DOWN_S),
        (ALONG, None, 100.0 + 200.0 + 100.0 + STOP_S + DOWN_S),
    ],
)
def test_a_return_along_the_mission_goes_on_from_its_present_item(
    items: tuple[MissionItem, ...], item: int | None, home_s: float
) -> None:
    plan = replace(PLAN, returns=replace(RETURNS, to=MISSION), items=items)
    vehicle = replace(
        AWAY, plan=plan, mode="RTL", mission_item=item, vehicle_class="PX4 multirotor"
    )
    assert returned(vehicle).home_s == pytest.approx(home_s, rel=0.01)


@pytest.mark.parametrize(("items", "down_s"), [(ALONG, STOP_S + DOWN_S), (ALONG[:-1], 0.0)])
def test_a_landing_of_the_mission_lands_where_a_return_home_would_circle(
    items: tuple[MissionItem, ...], down_s: float
) -> None:
    plan = replace(PLAN, returns=replace(RETURNS, to=MISSION, lands=False), items=items)
    vehicle = replace(AWAY, plan=plan, mode="MISSION", mission_item=3)
    legs, parts = ways_along(vehicle, hovered(), conditions(vehicle, hovered()))
    first, end = parts[1]  # from 1 km by 3 km to the landing at 4 km, or back to the start
    way_s = 300.0 if items[-1] is LAND else 100.0
    assert sum(leg.span_s for leg in legs[first:end]) == pytest.approx(way_s + down_s, rel=1e-3)
    found = returned(vehicle)
    assert found.home_s == pytest.approx(200.0 + down_s, rel=1e-3)


START = MissionItem(ItemKind.LANDING_START)
SEQUENCE = (waypoint(9.0), START, waypoint(3.0), waypoint(1.0), LAND)
WHOLE_S = 100.0 + 200.0 + 300.0 + STOP_S + DOWN_S  # to 3 km, to 1 km, to the landing at 4 km


@pytest.mark.parametrize(
    ("item", "items", "home_s"),
    [
        (None, SEQUENCE, WHOLE_S),
        (0, SEQUENCE, WHOLE_S),  # it has not begun
        (1, SEQUENCE, WHOLE_S),
        (3, SEQUENCE, 100.0 + 300.0 + STOP_S + DOWN_S),  # it goes on
        (4, SEQUENCE, 200.0 + STOP_S + DOWN_S),
        (None, (waypoint(9.0), waypoint(3.0), LAND), 200.0 + STOP_S + DOWN_S),  # no sequence
        (None, (START, LAND), 200.0 + STOP_S + DOWN_S),
    ],
)
def test_a_return_to_the_landing_flies_its_sequence(
    item: int | None, items: tuple[MissionItem, ...], home_s: float
) -> None:
    to = replace(RETURNS, to=ReturnTo.LANDING, climbs_on_way=True)
    plan = replace(PLAN, returns=to, items=items)
    mode = "LOITER" if item is None else "AUTO"
    found = returned(replace(AWAY, plan=plan, mode=mode, mission_item=item))
    assert found.home_s == pytest.approx(home_s, rel=1e-3)


def test_a_return_to_the_landing_by_px4_climbs_first() -> None:
    to = replace(RETURNS, to=ReturnTo.LANDING, height_m=60.0)
    plan = replace(PLAN, returns=to, items=SEQUENCE)
    found = returned(replace(AWAY, plan=plan))
    assert found.home_s == pytest.approx(20.0 / 2.0 + WHOLE_S, rel=1e-3)
    on_the_way = replace(AWAY, plan=plan, mode="MISSION", mission_item=3)
    assert returned(on_the_way).home_s == pytest.approx(400.0 + STOP_S + DOWN_S, rel=1e-3)


def test_a_return_of_px4_counts_its_height_from_the_landing() -> None:
    to = replace(RETURNS, to=ReturnTo.LANDING, height_m=60.0, place_height=PlaceHeight.BASE)

    def home_s(*items: MissionItem, up_m: float) -> float | None:
        land = MissionItem(ItemKind.LAND, place(0.0, up_m))
        plan = replace(PLAN, returns=to, items=(*items, land))
        return returned(replace(AWAY, plan=plan)).home_s

    # 30 m more of climb and of descent at 2 m/s; the first item is passed at that height.
    for items in ((), (START, waypoint(1.0))):
        flat_s = home_s(*items, up_m=0.0)
        assert home_s(*items, up_m=30.0) == pytest.approx((flat_s or 0.0) + 15.0 + 15.0)
    # A landing that is 10 m lower: 10 m less of climb, and as high above its ground.
    assert home_s(up_m=-10.0) == pytest.approx((home_s(up_m=0.0) or 0.0) - 5.0)


ON_WING = replace(
    RETURNS, height_m=60.0, circles_down_m_s=3.0, circle_m=80.0, wait_height_m=30.0, lands=False,
    landing_m_s=None, glide_m_s=1.0, approach_m_s=8.0, wait_s=5.0, to=ReturnTo.LANDING_OR_RALLY,
)  # fmt: skip
WINGED = replace(AWAY, vehicle_class="PX4 fixed wing", on_wing=True)
LOITERS = (START, MissionItem(ItemKind.LOITER, place(1.0, 30.0), level_first=True), LAND)


def test_a_wing_of_px4_circles_down_in_its_landing_pattern() -> None:
    plan = replace(PLAN, returns=ON_WING, items=LOITERS)
    found = returned(replace(WINGED, plan=plan))
    # 20 m up at 2 m/s, 1 km at 10 m/s, 30 m down at 3 m/s, 3 km to the landing at 8 m/s.
    assert found.home_s == pytest.approx(10.0 + 100.0 + 10.0 + 375.0, rel=1e-3)
    # On the way there, and at its place.
    flown = replace(WINGED, plan=plan, mode="RTL", mission_item=1, alt_m=560.0)
    for north_km, home_s in ((1.5, 50.0 + 10.0 + 375.0), (1.0, 10.0 + 375.0)):
        there = replace(flown, lat_deg=47.0 + north_km * KILOMETRE_DEG)
        assert returned(there).home_s == pytest.approx(home_s, rel=1e-3)
    passed = replace(ON_WING, circles_down_m_s=None)
    items = (START, replace(LOITERS[1], level_first=False), LAND)
    found = returned(replace(WINGED, plan=replace(plan, returns=passed, items=items)))
    assert found.home_s == pytest.approx(10.0 + 100.0 + 375.0, rel=1e-3)


@pytest.mark.parametrize(
    ("vehicle_class", "home_s"), [("PX4 fixed wing", 375.0 - 125.0), ("ArduPlane", 500.0)]
)
def test_a_return_of_px4_to_a_landing_goes_on_from_its_present_item(
    vehicle_class: str, home_s: float
) -> None:
    plan = replace(PLAN, returns=replace(ON_WING, circles_down_m_s=None), items=LOITERS)
    found = returned(
        replace(WINGED, plan=plan, mode="RTL", mission_item=2, vehicle_class=vehicle_class)
    )
    assert found.home_s == pytest.approx(home_s, rel=1e-3)


def test_a_return_without_a_class_of_vehicle_begins_its_landing_pattern() -> None:
    plan = replace(PLAN, returns=replace(ON_WING, circles_down_m_s=None), items=LOITERS)
    found = returned(replace(WINGED, plan=plan, mode="RTL", mission_item=2, vehicle_class=None))
    assert found.home_s == pytest.approx(500.0, rel=1e-3)


@pytest.mark.parametrize(
    ("to", "items", "rally", "name"),
    [
        (ReturnTo.LANDING_OR_RALLY, (LAND,), (place(1.0),), "rally point 1"),
        (ReturnTo.LANDING_OR_RALLY, (LAND,), (place(5.0),), "landing of item 0"),
        (ReturnTo.LANDING_OR_RALLY, (), (), "home"),
        (ReturnTo.NEAREST, (LAND,), (place(5.0),), "home"),
        (ReturnTo.NEAREST, (LAND,), (place(1.0),), "rally point 1"),
    ],
)
def test_a_return_of_px4_goes_to_the_nearest_of_the_places_that_it_may(
    to: ReturnTo, items: tuple[MissionItem, ...], rally: tuple[Place, ...], name: str
) -> None:
    plan = replace(PLAN, returns=replace(RETURNS, to=to), items=items, rally=rally)
    here = Position(1900.0 if name != "landing of item 0" else 4000.0, 0.0, 40.0)
    assert destination(here, replace(AWAY, plan=plan)).name == name


def test_a_vtol_that_hovers_flies_to_a_landing_of_the_mission_on_its_wing() -> None:
    returns = replace(
        RETURNS, on_rotors=True, cruise_m_s=4.0, to=ReturnTo.LANDING, circles_down_m_s=None
    )
    plan = replace(PLAN, returns=returns, items=(LAND,), speeds=Speeds(10.0, 2.0, 2.0))
    vehicle = replace(AWAY, vehicle_class="PX4 VTOL", on_wing=False, plan=plan)
    slow = replace(vehicle, plan=replace(plan, items=()))
    # 2 km to the landing at 10 m/s, and home at 4 m/s.
    assert returned(vehicle).home_s == pytest.approx(200.0 + 2.0 + DOWN_S, rel=0.01)
    assert returned(slow).home_s == pytest.approx(500.0 + 1.6 + DOWN_S, rel=0.01)


def test_a_plane_of_px4_that_lands_in_circles_has_the_rest_of_them() -> None:
    plan = replace(PLAN, returns=replace(ON_WING, lands=True, to=ReturnTo.HOME), items=())
    circling = replace(WINGED, plan=plan, lat_deg=47.0 + 0.08 * KILOMETRE_DEG, mode="RTL")
    assert returned(replace(circling, landing=True)).home_s == pytest.approx(40.0, rel=1e-3)


def test_a_plane_that_returns_and_then_lands_flies_home_first() -> None:
    landing = replace(LAND, place=place(1.0, 0.0))
    to = replace(RETURNS, to=ReturnTo.HOME_THEN_LANDING)
    plan = replace(PLAN, returns=to, items=(waypoint(3.0), landing, LAND))
    found = returned(replace(AWAY, plan=plan))
    assert found.home_s == pytest.approx(200.0 + 100.0 + STOP_S + DOWN_S, rel=1e-3)
    low = replace(AWAY, plan=replace(plan, returns=replace(to, height_m=120.0)))
    # It climbs on the way home, and sinks from there: 110 m at 2 m/s, 10 m at 0.5 m/s.
    assert returned(low).home_s == pytest.approx(300.0 + STOP_S + 55.0 + 20.0, rel=1e-3)
    at_landing = replace(low, lat_deg=47.0 + KILOMETRE_DEG, alt_m=505.0, landing=True)
    assert returned(at_landing).home_s == pytest.approx(10.0)
    without = replace(AWAY, plan=replace(plan, items=()))
    assert returned(without).home_s == pytest.approx(HOME_S, rel=1e-3)
    # By a rally point near home, at its altitude of 120 m.
    way = replace(to, place_height=PlaceHeight.WAY)
    rally = replace(AWAY, plan=replace(plan, returns=way, rally=(place(0.001, 120.0),)))
    assert returned(rally).home_s == pytest.approx(returned(low).home_s, abs=0.3)
    sequence = replace(AWAY, plan=replace(plan, items=(START, waypoint(3.0), landing)))
    home_s = 200.0 + 300.0 + 200.0 + STOP_S + DOWN_S  # home, to 3 km, to the landing at 1 km
    assert returned(sequence).home_s == pytest.approx(home_s, rel=1e-3)
