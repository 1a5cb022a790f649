# SPDX-License-Identifier: Apache-2.0
"""The section [dronecan]: what is refused, what `check` shows, and the service with it."""

import builtins
from contextlib import ExitStack
from pathlib import Path

import pytest
from pymavlink.dialects.v20 import common as mavlink

from dronebms.cli.check import _OUTPUTS
from dronebms.cli.machine_check import machine_findings
from dronebms.cli.main import main
from dronebms.core.clock import SystemClock, VirtualClock
from dronebms.core.errors import ConfigError
from dronebms.core.toml_schema import validated
from dronebms.dronecan.can_bus import CanBus
from dronebms.dronecan.can_url import parse_can_url
from dronebms.dronecan.node import NodeIdentity
from dronebms.service.can_buses import CanBuses
from dronebms.service.config import Config
from dronebms.service.installation import refuse_unusable
from dronebms.simulation.sitl.rehearsal import left_out, rehearsed
from mavlink_bridge.protocol.can_forward import CanForward

PACK = '[[battery]]\nbus = "sim:survey"\n'
LINK = '[mavlink]\nurl = "udpout:127.0.0.1:9"\n'


def read(text: str) -> Config:
    return validated(Config, text, "x.toml")


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    (sentence,) = str(caught.value).splitlines()
    return sentence.removeprefix("x.toml: ")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("", "dronecan.url"),
        ('url = "can0"', "dronecan.url: expected socketcan:INTERFACE, slcan:PATH, mcast:NUMBER"),
        ('url = "mcast:0"\nnode_id = 0', "dronecan.node_id: expected greater than or equal to 1"),
        ('url = "mcast:0"\nnode_id = 126', "dronecan.node_id: expected less than or equal to 125"),
        ('url = "mcast:0"\nbattery_id = 256', "dronecan.battery_id: expected less than or equal"),
        ('url = "mcast:0"\nrate_hz = 0.5', "dronecan.rate_hz: expected greater than or equal to 1"),
        ('url = "mcast:0"\nrate = 2', "dronecan.rate"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused_in_one_sentence(keys: str, sentence: str) -> None:
    assert complaint(f"{PACK}[dronecan]\n{keys}\n").startswith(sentence)


def test_px4_forwards_no_can_bus() -> None:
    text = f'{PACK}{LINK}vehicle = "px4"\n[dronecan]\nurl = "mavcan"\n'

    assert "dronecan.url of a CAN bus: PX4 forwards none over MAVLink" in complaint(text)
    assert read(text.replace("px4", "ardupilot")).dronecan is not None


@pytest.mark.parametrize(("key", "last"), [("node_id", 124), ("battery_id", 254)])
def test_the_ids_of_all_batteries_are_in_range(key: str, last: int) -> None:
    text = f'{PACK}{PACK}[dronecan]\nurl = "mcast:0"\n{key} = '

    assert read(text + str(last)).dronecan is not None
    assert f"dronecan.{key} of at most {last} with 2 batteries" in complaint(text + str(last + 1))


def test_a_battery_that_the_autopilot_measures_is_not_sent_back_to_it() -> None:
    monitor = '[[battery]]\nbus = "mavlink:0"\ncells = 6\n'
    can = '[dronecan]\nurl = "mcast:0"\n'

    assert read(monitor + PACK + LINK + can).sent_to_can() == [1]
    assert "[dronecan] with a battery that the autopilot does not read itself" in complaint(
        monitor + LINK + can
    )


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name == "dronebms.dronecan.can_bus":
            raise ModuleNotFoundError("No module named 'dronecan'", name="dronecan")
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError) as caught:
        refuse_unusable(read(f'{PACK}[dronecan]\nurl = "mcast:0"\n'))

    sentence = str(caught.value)
    assert sentence.startswith("a CAN bus needs dronecan: ")
    assert sentence.endswith("-m pip install 'dronecan>=1.0.27'")


# ---------------------------------------------------------------------- check


def found(url: str) -> list[str]:
    config = read(f'{PACK}{LINK}[dronecan]\nurl = "{url}"\n')
    findings = machine_findings(config, SystemClock())
    return [finding.text for finding in findings if finding.subject == "dronecan"]


def test_check_names_a_bus_that_is_not_there(tmp_path: Path) -> None:
    assert found("socketcan:can77") == ["socketcan:can77: there is no interface can77"]
    assert found("socketcan:lo") == ["socketcan:lo: the interface lo is no CAN bus"]
    assert found(f"slcan:{tmp_path}/acm") == [f"{tmp_path}/acm: no such file or directory"]
    assert found(f"slcan:{tmp_path}") == [f"{tmp_path} is no device"]


def test_check_lists_what_is_sent_and_what_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "x.toml"
    url = "socketcan:can77"
    keys = f'url = "{url}"\nnode_id = 60\ncbat = true\nrate_hz = 5\n'
    path.write_text(f"{PACK}{LINK}[dronecan]\n{keys}")

    assert main(["check", "-c", str(path)]) == 1

    out = " ".join(capsys.readouterr().out.split())
    assert f"fails dronecan: {url}: there is no interface can77 -> ip link show type can" in out
    section = read(path.read_text()).dronecan
    assert _OUTPUTS["dronecan"].format(section) == (
        f"BatteryInfo, BatteryInfoAux, CBAT at 5 Hz to {url}, node ids from 60, battery ids from 0"
    )


# ---------------------------------------------------------------------- the service


def test_a_bus_is_shared_and_its_trouble_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CanBus, "start", lambda self: self.step(0.0))  # no thread
    clock = VirtualClock()
    with ExitStack() as stack:
        buses = CanBuses(clock, stack)
        url = parse_can_url("slcan:/dev/no-adapter")
        assert buses.of(url) is buses.of(parse_can_url("slcan:/dev/no-adapter"))
        buses.start()

        assert buses.trouble == "slcan:/dev/no-adapter: no such file or directory; retrying"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mcast:0", None),
        ("mavcan", None),
        ("socketcan:can0", "not used in a rehearsal: [dronecan]"),
    ],
)
def test_a_rehearsal_sends_virtual_packs_to_the_bus_of_a_simulated_vehicle_alone(
    url: str, sentence: str | None, tmp_path: Path
) -> None:
    config = read(f'{PACK}{LINK}[dronecan]\nurl = "{url}"\n')

    assert left_out(config) == sentence
    used = rehearsed(config, "tcp:127.0.0.1:5760", tmp_path).dronecan
    assert used == (config.dronecan if sentence is None else None)


def test_the_bus_of_the_autopilot_is_behind_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CanBus, "start", lambda self: self.step(0.0))  # no thread
    port = CanForward()
    with ExitStack() as stack:
        buses = CanBuses(VirtualClock(), stack, lambda: port)
        bus = buses.of(parse_can_url("mavcan"))
        node = bus.add_node(NodeIdentity(bytes(16), "org.dronebms", (1, 0), 42))
        buses.start()
        assert buses.trouble == "mavcan: no heartbeat of the autopilot; retrying"

        port.trouble = None
        bus.step(1.0)
        assert buses.trouble is None
        assert port.filter == [1, 341]
        bus.step(3.0)
        assert port.outbox.pop()[0] & 0x7F == node.node_id == 42
        other = mavlink.MAVLink_can_frame_message(
            1, 191, 0, 8, 1 << 31 | 20 << 24 | 341 << 8 | 42, [0] * 8
        )
        port.receive(other)
        bus.step(3.1)
        assert buses.trouble == "mavcan: node id 42 is used by another node too"
        port.trouble = "the autopilot does not forward its CAN bus 1"
        bus.step(3.2)
        assert buses.trouble == f"mavcan: {port.trouble}; retrying"
