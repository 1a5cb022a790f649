# SPDX-License-Identifier: Apache-2.0
"""Sections [mavlink] and [[mavlink]]: which are accepted, and the links of a running service."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.cli.check import print_check
from dronebms.cli.machine_check import machine_findings
from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.report import Report
from dronebms.core.toml_schema import validated
from dronebms.core.vehicle_state import TelemetryLinkState, VehicleState
from dronebms.service.config import Config
from dronebms.service.config_reload import apply_reload
from dronebms.service.outputs.link_log import LinkLog
from dronebms.service.service import Service
from dronebms.telemetry import json_line
from tests.mavlink_bridge.autopilot import FakeAutopilot
from tests.mavlink_bridge.loopback import free_port
from tests.mavlink_bridge.reports import a_report

PACK = '[[battery]]\nbus = "sim:hover"\n'
MONITOR = '[[battery]]\nbus = "mavlink:1"\ncells = 6\n'
GROUND = '[[mavlink]]\nurl = "udpout:127.0.0.1:14551"\nrole = "telemetry"\n'
VEHICLE = '[[mavlink]]\nurl = "udpout:127.0.0.1:14550"\n'


def read(text: str) -> Config:
    return validated(Config, text, "x.toml")


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value).removeprefix("x.toml: ")


def test_a_single_section_is_the_link_of_the_vehicle() -> None:
    for text in (PACK, PACK + '[mavlink]\nurl = "udpin:0.0.0.0:1"\n', PACK + VEHICLE):
        config = read(text)
        assert config.mavlink == [config.vehicle_link]
        assert config.telemetry_links == []


def test_one_link_of_several_is_that_of_the_vehicle() -> None:
    for text in (GROUND + VEHICLE, VEHICLE + GROUND):
        config = read(PACK + text)
        assert config.vehicle_link.url == "udpout:127.0.0.1:14550"
        assert [one.url for one in config.telemetry_links] == ["udpout:127.0.0.1:14551"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            VEHICLE + GROUND.replace('role = "telemetry"', ""),
            "mavlink: expected one link to the vehicle, not mavlink.1 and mavlink.2: "
            'write role = "telemetry" to the others',
        ),
        (GROUND, 'mavlink: expected one link with role = "vehicle"'),
        ("mavlink = []\n", "mavlink: expected"),
        (
            VEHICLE + GROUND.replace("14551", "14550"),
            "mavlink: expected another url in each [[mavlink]], not udpout:127.0.0.1:14550 twice",
        ),
        (VEHICLE + '[[mavlink]]\nrole = "telemetry"\n', "mavlink.2: expected a url with role"),
        (VEHICLE + GROUND + "system_id = 1\n", "mavlink.2: expected system_id on the link of"),
        (VEHICLE + GROUND + "battery_id = 1\n", "mavlink.2: expected battery_id on the link of"),
        (VEHICLE + GROUND + "pack_voltage_only = true\n", "mavlink.2: expected pack_voltage_only"),
        (VEHICLE + '[[mavlink]]\nrole = "router"\n', "mavlink.2.role: expected 'vehicle' or"),
        (VEHICLE + "rolle = 1\n", "mavlink.1.rolle is not a known key; the nearest is role"),
        ("[mavlink]\nurl = 1\n", "mavlink.url: expected"),
        ("[mavlink]\nuri = 1\n", "mavlink.uri is not a known key; the nearest is url"),
    ],
)
def test_links_that_contradict_each_other_are_refused_in_one_sentence(text: str, why: str) -> None:
    head = text if text.startswith("mavlink") else PACK + text
    found = complaint(head + (PACK if head is text else ""))
    assert found.startswith(why)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (PACK + "battery_id = 255\n", "battery.1.battery_id: expected 0 to 254 (255 is"),
        (PACK + "battery_id = -1\n", "battery.1.battery_id: expected 0 to 254 (255 is"),
        (PACK + "battery_id = 3\n" + PACK, "battery.2: battery_id in every [[battery]] or in"),
        (2 * (PACK + "battery_id = 3\n"), "battery.2: battery_id 3 is that of battery.1"),
        (
            MONITOR + PACK + 'battery_id = 1\n[mavlink]\nurl = "udpin:0.0.0.0:1"\n',
            "battery.2: battery_id 1 is that of battery.1, which is a monitor",
        ),
        (
            MONITOR + 2 * PACK + '[mavlink]\nurl = "udpin:0.0.0.0:1"\nbattery_id = 0\n',
            "battery.3: battery_id 1 is that of battery.1, which is a monitor",
        ),
        (6 * PACK + "[mavlink]\nbattery_id = 250\n", "battery.6: battery_id 255 is beyond 254"),
        (
            PACK + "battery_id = 3\n[mavlink]\nbattery_id = 3\n",
            "battery_id in each [[battery]] or in [mavlink], not in both",
        ),
        (2 * (PACK + "reset_monitor = 1\n"), "reset_monitor 1 of one [[battery]] alone"),
        (PACK + "reset_monitor = 17\n", "battery.1.reset_monitor: expected"),
        (
            PACK + 'reset_monitor = 1\n[mavlink]\nvehicle = "px4"\n',
            "no reset_monitor with vehicle px4, which has no such command",
        ),
        (PACK + "component_id = 191\n", "battery.1: component_id 191 is this computer's"),
        (PACK + "component_id = 1\n", "battery.1.component_id: expected greater"),
        (
            MONITOR + "battery_id = 3\n",
            "battery.1: expected no battery_id with a monitor of the autopilot",
        ),
        (
            MONITOR + "component_id = 180\n",
            "battery.1: expected no component_id with a monitor of the autopilot",
        ),
    ],
)
def test_ids_that_collide_are_refused(text: str, why: str) -> None:
    assert complaint(text).startswith(why)


@pytest.mark.parametrize(
    ("text", "first_id", "ids"),
    [
        (
            MONITOR + PACK + 'battery_id = 2\n[mavlink]\nurl = "udpin:0.0.0.0:1"\n',
            -1, [(None, None, None), (None, 2, None)],
        ),
        (
            PACK + "battery_id = 7\ncomponent_id = 182\n" + PACK + "battery_id = 3\n",
            -1, [(182, 7, None), (None, 3, None)],
        ),
        (
            PACK + "reset_monitor = 1\n" + PACK + "reset_monitor = 2\n",
            -1, [(None, None, 1), (None, None, 2)],
        ),
        (5 * PACK + "[mavlink]\nbattery_id = 250\n", 250, 5 * [(None, None, None)]),
    ],
)  # fmt: skip
def test_ids_that_do_not_collide_are_accepted_as_configured(
    text: str, first_id: int, ids: list[tuple[int | None, ...]]
) -> None:
    config = read(text)
    assert config.vehicle_link.battery_id == first_id
    found = [(one.component_id, one.battery_id, one.reset_monitor) for one in config.battery]
    assert found == ids


# A running service.


@pytest.fixture
def ports() -> Iterator[tuple[FakeAutopilot, socket.socket]]:
    ground = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ground.bind(("127.0.0.1", 0))
    ground.settimeout(0.0)
    with closing(FakeAutopilot()) as autopilot, closing(ground):
        yield autopilot, ground


def received(ground: socket.socket) -> list[Any]:
    codec = mavlink.MAVLink(None)
    codec.robust_parsing = True
    found: list[Any] = []
    while True:
        try:
            found += codec.parse_buffer(ground.recv(4096)) or []
        except BlockingIOError:
            return found


def links_to(autopilot: FakeAutopilot, url: str) -> Config:
    vehicle = f'[[mavlink]]\nurl = "{autopilot.url}"\n'
    return read(f'{PACK}{vehicle}[[mavlink]]\nurl = "{url}"\nrole = "telemetry"\n')


def run(config: Config, seconds: float) -> list[Report]:
    clock = VirtualClock()
    with ExitStack() as stack:
        service = Service(config, stack, clock)
        return list(service.reports(iter([step / 10 for step in range(round(10 * seconds))])))


def test_the_ground_station_receives_reports_over_its_own_link(
    ports: tuple[FakeAutopilot, socket.socket],
) -> None:
    autopilot, ground = ports
    url = f"udpout:127.0.0.1:{ground.getsockname()[1]}"
    reports = run(links_to(autopilot, url), 5.0)
    kinds = {message.get_type() for message in received(ground)}
    assert {"HEARTBEAT", "BATTERY_STATUS"} <= kinds
    assert not {"COMMAND_LONG", "PARAM_REQUEST_READ", "MISSION_REQUEST_LIST"} & kinds
    assert reports[-1].vehicle.telemetry_links == (TelemetryLinkState(url),)
    assert json_line.line(reports[-1])["telemetry_links"] == [{"url": url, "trouble": None}]


def test_the_trouble_of_a_telemetry_link_is_its_own(
    ports: tuple[FakeAutopilot, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    autopilot, _ = ports
    caplog.set_level(logging.INFO)
    url = f"serial:/dev/{'x' * 8}"
    report = run(links_to(autopilot, url), 3.0)[-1]
    (link,) = report.vehicle.telemetry_links
    assert (link.url, report.vehicle.link_trouble) == (url, None)
    assert link.trouble is not None
    assert link.trouble.endswith("retrying")
    assert f"MAVLink telemetry: {link.trouble}" in caplog.text
    assert f"sending MAVLink to {autopilot.url}" in caplog.text


def test_each_change_of_a_link_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log, states = LinkLog("udpout:a:1"), [None, None, "b: lost", "b: lost", None]
    for trouble in states:
        state = VehicleState(telemetry_links=(TelemetryLinkState("b", trouble),))
        log(replace(a_report(), vehicle=state))
    texts = [record.message for record in caplog.records]
    sends = "sending MAVLink telemetry to b"
    assert texts == ["sending MAVLink to udpout:a:1", sends, "MAVLink telemetry: b: lost", sends]


def test_a_changed_link_waits_for_a_restart() -> None:
    single = [PACK + f'[mavlink]\nurl = "udpout:127.0.0.1:{port}"\n' for port in (1, 2)]
    waits = " waits for a restart: the link is opened once, at the start"
    config, waiting = apply_reload(read(single[0]), read(single[1]))
    assert waiting == ["mavlink.url" + waits]
    assert config.vehicle_link.url.endswith(":1")
    several = PACK + VEHICLE + GROUND
    changed = several.replace("14551", "14552")
    assert apply_reload(read(several), read(changed))[1] == ["mavlink.2.url" + waits]
    assert apply_reload(read(PACK + VEHICLE), read(several))[1] == ["mavlink" + waits]


def test_check_lists_every_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_check(tmp_path / "x.toml", read(PACK + GROUND + VEHICLE))
    lines = " ".join(capsys.readouterr().out.split())
    assert "mavlink 1: udpout:127.0.0.1:14551, telemetry alone" in lines
    assert "mavlink 2: udpout:127.0.0.1:14550" in lines
    assert "is reset after a swap" not in lines
    print_check(tmp_path / "x.toml", read(PACK + "reset_monitor = 2\n"))
    lines = " ".join(capsys.readouterr().out.split())
    assert "battery 1: ArduPilot's monitor 2 is reset after a swap" in lines
    print_check(tmp_path / "x.toml", read(PACK))
    assert "mavlink: udpout:127.0.0.1:14550" in " ".join(capsys.readouterr().out.split())


def test_check_looks_at_every_link(tmp_path: Path) -> None:
    absent = tmp_path / "ttyUSB7"
    telemetry = f'[[mavlink]]\nurl = "serial:{absent}"\nrole = "telemetry"\n'
    vehicle = VEHICLE.replace("udpout:127.0.0.1:14550", f"udpin:127.0.0.1:{free_port()}")
    found = machine_findings(read(PACK + vehicle + telemetry), SystemClock())
    assert [(one.subject, str(absent) in one.text) for one in found] == [("mavlink 2", True)]
