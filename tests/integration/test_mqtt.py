"""What a fleet is told over MQTT, by way of a real broker that dies and comes back."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from dronebms.core.report import Report, Severity
from dronebms.core.vehicle_state import VehicleState
from dronebms.telemetry.mqtt import MqttPublisher
from smartbattery.snapshot import Identity
from tests.integration.broker import Broker, Listener, needs_mosquitto
from tests.mavlink_bridge.reports import a_report, an_event

pytestmark = [
    needs_mosquitto,
    # paho leaves the socket of a handshake that failed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DAY_S = 86_400
SERIAL = Identity(serial=1001)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.close()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    made = Listener(broker)
    yield made
    made.close()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return whether it comes to hold."""
    end_s = monotonic() + seconds
    while not (held := condition()) and monotonic() < end_s:
        sleep(0.02)
    return held


def flown(t_s: float, **values: Any) -> Report:  # noqa: ANN401 - of a report
    return a_report(t_s, identity=SERIAL, **values)


def alarm(t_s: float) -> Report:
    return flown(t_s, events=(replace(an_event(), t_s=t_s),))


def test_a_day_without_a_network_loses_nothing_and_holds_nobody_up(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    mqtt = MqttPublisher(broker.config(period_s=30.0), tmp_path / "queue.sqlite")
    for t_s in range(0, 300, 10):
        mqtt(flown(t_s))
    assert within(10.0, lambda: len(listener.first()) == 10)
    broker.kill()
    slowest_s = 0.0
    for t_s in range(300, 300 + DAY_S, 10):
        report = alarm(t_s) if t_s % 3600 == 0 else flown(t_s)
        start_s = monotonic()
        mqtt(report)
        slowest_s = max(slowest_s, monotonic() - start_s)
    assert slowest_s < 0.05  # of a loop of 0.1 s, on a busy machine
    broker.start()
    expected = 10 + DAY_S // 30 + DAY_S // 3600
    assert within(20.0, lambda: len(listener.first()) > 500)
    broker.kill()  # while messages are underway
    broker.start()
    assert within(40.0, lambda: len(listener.first()) >= expected)
    told = listener.first()
    assert [one["sequence"] for one in told] == list(range(1, expected + 1))
    assert {(one["serial"], one["boot"]) for one in told} == {("1001", told[0]["boot"])}
    assert [one["t_s"] for one in told] == sorted(one["t_s"] for one in told)
    alarms = [one for one in told if "limit_id" in one]
    assert [one["t_s"] for one in alarms] == list(range(3600, 300 + DAY_S, 3600))
    assert {topic for topic, _ in listener.told} == {"fleet/1001/report", "fleet/1001/event"}
    mqtt.close()


CRASH = """
import os, sqlite3, sys, time
from pathlib import Path
from dronebms.config_remote import MqttConfig
from dronebms.telemetry.mqtt import Mqtt
from tests.integration.test_mqtt import alarm
path = Path(sys.argv[1])
mqtt = Mqtt(MqttConfig(host="127.0.0.1", port=int(sys.argv[2]), topic="fleet"), path)
for t_s in range(50):
    mqtt(alarm(float(t_s)))
kept = []
while len(kept) < 55:
    time.sleep(0.1)
    kept = sqlite3.connect(path).execute("SELECT id FROM message").fetchall()
os.kill(os.getpid(), 9)
"""


def test_what_waited_when_the_service_was_killed_is_told_by_the_next_start(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    queue = tmp_path / "queue.sqlite"
    broker.kill()
    code = subprocess.run(  # noqa: S603 - this project's own
        [sys.executable, "-c", CRASH, str(queue), str(broker.port)], check=False, timeout=30.0
    ).returncode
    assert code == -signal.SIGKILL
    mqtt = MqttPublisher(broker.config(), queue)
    mqtt(flown(0.0))
    broker.start()
    assert within(20.0, lambda: len(listener.first()) >= 56)
    told = listener.first()
    assert [one["sequence"] for one in told] == [*range(1, 56), 1]
    assert told[0]["boot"] == told[54]["boot"] != told[55]["boot"]
    mqtt.close()


def test_a_broker_that_is_not_the_one_is_told_nothing(
    broker: Broker, listener: Listener, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strange = broker.config(ca=str(tmp_path / "stranger.pem"))
    (tmp_path / "wrong").write_text("wrong")
    refused = broker.config(password_file=str(tmp_path / "wrong"))
    both = [MqttPublisher(strange, None), MqttPublisher(refused, None)]
    for mqtt in both:
        mqtt(flown(0.0))
    assert within(10.0, lambda: "answers: Not authorized" in caplog.text)
    sleep(0.5)
    assert listener.told == []
    for mqtt in both:
        mqtt.close()


def charging(t_s: float, *, armed: bool | None) -> Report:
    report = flown(t_s, current_a=-8.0, severity=Severity.WARNING, active=("charging_warm",))
    return replace(report, vehicle=VehicleState(armed=armed))


def test_a_charger_is_told_now_or_not_at_all_and_never_in_flight(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    mqtt = MqttPublisher(broker.config(), tmp_path / "queue.sqlite", "charger/1")
    mqtt(flown(0.0))
    assert within(10.0, lambda: len(listener.told) == 1)
    mqtt(charging(1.0, armed=True))
    mqtt(charging(2.0, armed=False))
    mqtt(charging(3.0, armed=False))
    mqtt(charging(12.5, armed=None))
    assert within(10.0, lambda: len(listener.told) == 4)  # two to the charger, one report
    told = [one for topic, one in listener.told if topic == "charger/1"]
    assert told == [{"do": "reduce", "why": "charging_warm", "battery": 0}] * 2
    broker.kill()
    assert within(10.0, lambda: not mqtt._client.is_connected())
    mqtt(charging(100.0, armed=False))
    broker.start()
    mqtt(flown(200.0))
    assert within(20.0, lambda: any(one.get("t_s") == 200.0 for _, one in listener.told))
    assert len([one for topic, one in listener.told if topic == "charger/1"]) == 2
    mqtt.close()
