# SPDX-License-Identifier: Apache-2.0
"""Which links a configuration may have, and what it may state of each."""

import pytest
from pydantic import TypeAdapter, ValidationError

from mavlink_bridge.protocol.config import Links, MavlinkConfig

LINKS: TypeAdapter[list[MavlinkConfig]] = TypeAdapter(Links)
TO_VEHICLE = {"url": "serial:/dev/ttyAMA0:921600"}
TO_GROUND = {"url": "udpout:10.0.0.2:14550", "role": "telemetry"}


def test_one_section_is_the_link_of_the_vehicle() -> None:
    (link,) = LINKS.validate_python(TO_VEHICLE)
    assert (link.url, link.role, link.component_id) == (TO_VEHICLE["url"], "vehicle", 191)
    assert (link.battery_id, link.system_id, link.accept_systems) == (-1, None, (255,))
    assert (link.vehicle, link.report_time, link.signing_key) == ("auto", None, None)
    assert not link.pack_voltage_only
    assert LINKS.validate_python(link) == [link]


def test_further_links_are_telemetry() -> None:
    links = LINKS.validate_python(
        [TO_GROUND | {"accept_systems": [255, 250]}, TO_VEHICLE, TO_GROUND | {"url": "tcp:a:1"}]
    )
    assert [one.role for one in links] == ["telemetry", "vehicle", "telemetry"]
    assert links[0].accept_systems == (255, 250)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "at least 1 item"),
        ([TO_GROUND], 'one link with role = "vehicle"'),
        (
            [TO_VEHICLE, TO_GROUND, {"url": "tcp:a:1"}],
            'one link to the vehicle, not mavlink.1 and mavlink.3: write role = "telemetry"',
        ),
        (
            [TO_VEHICLE, TO_GROUND, TO_GROUND],
            f"another url in each .*, not {TO_GROUND['url']} twice",
        ),
        (TO_GROUND | {"system_id": 1}, "system_id on the link of the vehicle"),
        (TO_GROUND | {"battery_id": 3}, "battery_id on the link of the vehicle"),
        ({"role": "telemetry"}, "a url with role telemetry"),
        ({"url": "udp:10.0.0.2:14550"}, "udpout:HOST:PORT"),
        ({"url": "udpout:10.0.0.2"}, "url"),
        ({"component_id": 180}, "neither 180 nor 181"),
        ({"component_id": 181}, "neither 180 nor 181"),
        ({"component_id": 1}, "greater than or equal to 2"),
        ({"component_id": 251}, "less than or equal to 250"),
        ({"system_id": 0}, "greater than or equal to 1"),
        ({"system_id": 256}, "less than or equal to 255"),
        ({"battery_id": -2}, "greater than or equal to -1"),
        ({"battery_id": 251}, "less than or equal to 250"),
        ({"accept_systems": [0]}, "greater than or equal to 1"),
        ({"accept_systems": [256]}, "less than or equal to 255"),
        ({"vehicle": "inav"}, "'auto', 'ardupilot' or 'px4'"),
        ({"report_time": "high"}, "'median' or 'low'"),
        ({"mavlonk": 1}, "mavlonk"),
    ],
)
def test_a_link_that_cannot_be_is_refused_with_what_is_expected(
    given: object, sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        LINKS.validate_python(given)


@pytest.mark.parametrize("component", [2, 179, 182, 250])
def test_a_component_that_is_no_batterys_is_free(component: int) -> None:
    (link,) = LINKS.validate_python({"component_id": component})
    assert link.component_id == component


@pytest.mark.parametrize(("key", "least", "most"), [("system_id", 1, 255), ("battery_id", -1, 250)])
def test_ids_are_those_of_their_fields(key: str, least: int, most: int) -> None:
    for number in (least, most):
        (link,) = LINKS.validate_python({key: number})
        assert getattr(link, key) == number
